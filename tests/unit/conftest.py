# SPDX-License-Identifier: Apache-2.0
"""What unit tests of the command line share, and those of the stores: where these are."""

from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from leitstand.stores import place
from tests.postgres import Server


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


@pytest.fixture(scope="session")
def databases() -> Iterator[Server]:
    """A PostgreSQL server with a second database, for keys."""
    server = Server(durable=False)
    server.add_database("keys")
    yield server
    server.close()


@pytest.fixture(params=["files", pytest.param("databases", marks=pytest.mark.system)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """A data folder that keeps its stores in files, or in databases, which are empty. What is about files alone says so
    with `ON_FILES` (`tests.unit.faults`)."""
    if request.param == "databases":
        server: Server = request.getfixturevalue("databases")
        server.empty()
        place.settle(tmp_path, server.url, server.url_of("keys"))
    return tmp_path
