# SPDX-License-Identifier: Apache-2.0
"""What unit tests of the command line share."""

from importlib import import_module
from pathlib import Path

import pytest


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """English, and nothing of whoever runs the tests."""
    monkeypatch.setenv("LC_ALL", "C")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    for name in ("LEITSTAND_URL", "LEITSTAND_TOKEN", "LEITSTAND_DATA"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody is there to answer."""
    names = ("run", "apply", "invitations", "login", "tenant", "asking")
    for module in [
        import_module(f"leitstand.cli.{name}") for name in names
    ]:  # all, before any of them is changed
        monkeypatch.setattr(module, "is_interactive", lambda: True)
