# SPDX-License-Identifier: Apache-2.0
"""Where control plane and runs stand when memory is short: what is said to the kernel, and what refusals do."""

from pathlib import Path

import pytest

from leitstand.engines.local import process


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for the kernel's file of this process."""
    file = tmp_path / "oom_score_adj"
    file.write_text("0\n")
    monkeypatch.setattr(process, "OOM", str(file))
    return file


@pytest.mark.parametrize(("before", "after"), [("0\n", "-500"), ("200\n", "-500"), ("-900\n", "-900\n")])
def test_the_control_plane_goes_late_and_never_earlier_than_it_was_told(
    said: Path, before: str, after: str
) -> None:
    said.write_text(before)
    process.outlast_runs()
    assert said.read_text() == after


def test_who_may_not_go_later_stays_where_it_is(monkeypatch: pytest.MonkeyPatch, said: Path) -> None:
    monkeypatch.setattr("builtins.open", _refusing(PermissionError(13, "denied")))
    process.rank_when_short(process.OOM_PLANE)
    assert said.read_text() == "0\n"


def test_any_other_refusal_is_heard(monkeypatch: pytest.MonkeyPatch, said: Path) -> None:
    monkeypatch.setattr("builtins.open", _refusing(OSError(5, "broken")))
    with pytest.raises(OSError, match="broken"):
        process.rank_when_short(process.OOM_PLANE)


def _refusing(error: OSError) -> object:
    def refuse(*_: object, **__: object) -> None:
        raise error

    return refuse
