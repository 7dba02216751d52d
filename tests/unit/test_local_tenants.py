# SPDX-License-Identifier: Apache-2.0
"""Who runs as whom, and what is out of whose reach, as far as that can be told without being root."""

import os
from pathlib import Path

import click
import pytest

from leitstand.app import isolation
from leitstand.app.isolation import Isolation
from leitstand.app.settings import Settings
from leitstand.engines.local import record
from leitstand.engines.local.confine import Who, barred, not_executable
from leitstand.engines.local.spawn import CannotStart, find_command
from leitstand.engines.local.tenants import Tenants

STRANGER = 4_000_000_000  # a user id that owns nothing


def who(data: Path = Path("/nowhere"), *shown: Path, namespaces: bool = True) -> Who:
    identity = {"tenant": "acme", "uid": STRANGER, "namespaces": namespaces, "data": str(data)}
    return Who({**identity, "shown": {str(path): True for path in shown}})


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that everybody reaches: whatever lies above it is taken to be open, and /tmp not to be private."""
    look = os.stat

    def open_above(path: str | Path) -> os.stat_result:
        found = look(path)
        if Path(path) in tmp_path.parents:
            return os.stat_result((0o40755, *tuple(found)[1:10]))
        return found

    monkeypatch.setattr("leitstand.engines.local.confine.os.stat", open_above)
    monkeypatch.setattr("leitstand.engines.local.confine.PRIVATE", ("/var/tmp",))
    tmp_path.chmod(0o755)
    return tmp_path


def make(path: Path, mode: int, text: str = "") -> Path:
    path.write_text(text)
    path.chmod(mode)
    return path


def folder(path: Path, mode: int) -> Path:
    path.mkdir()
    path.chmod(mode)
    return path


# ── reach ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_first_folder_that_denies_is_named(place: Path) -> None:
    outer = folder(place / "outer", 0o711)
    inner = folder(outer / "inner", 0o700)
    file = make(inner / "file", 0o755)
    assert barred(str(outer / "inner"), who()) == ""
    assert barred(str(file), who()) == f"{inner} is 0700"
    outer.chmod(0o750)
    assert barred(str(file), who()) == f"{outer} is 0750"


def test_links_are_followed_to_what_denies(place: Path) -> None:
    closed = folder(place / "closed", 0o700)
    make(closed / "file", 0o755)
    (place / "absolute").symlink_to(closed)
    (place / "relative").symlink_to("./closed/../closed")
    for link in ("absolute", "relative"):
        assert barred(f"{place}/{link}/file", who()) == f"{closed} is 0700"
    (place / "loop").symlink_to("loop")
    assert "one link too many" in barred(f"{place}/loop/file", who())
    assert barred(f"{place}/missing/file", who()) == f"{place}/missing: No such file or directory"


def test_what_is_shown_is_reached_through_folders_that_deny_and_nothing_beside_it(place: Path) -> None:
    closed = folder(place / "closed", 0o700)
    shown = folder(closed / "shown", 0o755)
    make(shown / "file", 0o755)
    make(closed / "beside", 0o755)
    assert barred(str(shown / "file"), who(place / "data", shown)) == ""
    assert barred(str(closed / "beside"), who(place / "data", shown)) == f"{closed} is 0700"
    assert barred(str(shown / "file"), who(place / "data", shown, namespaces=False)) == f"{closed} is 0700"


def test_the_data_folder_is_out_of_reach_but_for_what_is_shown_of_it(place: Path) -> None:
    data = folder(place / "data", 0o755)
    run = folder(data / "run", 0o711)
    make(data / "journal.db", 0o644)
    assert barred(str(run / "work"), who(data, run)).startswith(f"{run}/work: No such file")
    assert barred(str(data / "journal.db"), who(data, run)) == f"every run sees a {data} of its own"


def test_a_file_needs_its_own_permission_and_that_of_its_interpreter(place: Path) -> None:
    closed = folder(place / "closed", 0o700)
    make(closed / "python", 0o755)
    assert not_executable(str(make(place / "binary", 0o755, "\x7fELF")), who()) == ""
    assert not_executable(str(make(place / "private", 0o700)), who()) == f"{place}/private is 0700"
    script = make(place / "script", 0o755, f"#!{closed}/python -x\n")
    assert not_executable(str(script), who()) == f"{closed} is 0700"
    script.chmod(0o711)
    assert "cannot be read: it is 0711" in not_executable(str(script), who())


def test_a_command_is_the_first_in_path_that_can_be_reached(place: Path) -> None:
    closed, opened = folder(place / "closed", 0o700), folder(place / "opened", 0o755)
    for place_of in (closed, opened):
        make(place_of / "python", 0o755)
    assert find_command("python", f"{closed}:{opened}", str(place), who()) == f"{opened}/python"
    assert find_command("python", f"{closed}:{opened}", str(place)) == f"{closed}/python"
    with pytest.raises(CannotStart) as refused:
        find_command("python", str(closed), str(place), who())
    assert refused.value.detail == "not_reachable"
    assert refused.value.line == (
        f"{closed}/python cannot be executed by tenant acme (uid {STRANGER}): {closed} is 0700"
    )


# ── user ids ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_operator_has_no_other_user_id(tmp_path: Path) -> None:
    assert Tenants(tmp_path, range(200_000, 200_001), namespaces=True).identity("operator") is None


def test_no_tenant_gets_a_user_id_that_containers_of_local_users_have(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subuids = tmp_path / "subuid"
    subuids.write_text("eve:100000:65536\nmallory:200000:2\n\nbroken:line\n1000:200003:1\n")
    monkeypatch.setattr("leitstand.engines.local.tenants.SUBUIDS", subuids)
    monkeypatch.setattr("leitstand.engines.local.tenants.os.chown", lambda *_: None)
    tenants = Tenants(tmp_path, range(200_000, 200_005), namespaces=True)
    given = [tenants.identity(name) for name in ("acme", "beta")]
    assert [one and one.uid for one in given] == [200_002, 200_004]
    with pytest.raises(CannotStart, match="no user id is left"):
        tenants.identity("late")


def test_a_damaged_table_of_user_ids_is_refused_and_not_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "uids.json").write_text('{"acme":')
    with pytest.raises(ValueError, match="truncated"):
        Tenants(tmp_path, range(200_000, 200_001), namespaces=True)


@pytest.mark.parametrize("text", ["", "5", "a-b", "999-2000", "3000-2000", "2000-4294967294", "2000-", "-1"])
def test_a_range_of_user_ids_that_cannot_be_is_refused_by_value(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a range of user ids"):
        isolation.parse_uids(None, None, text)  # type: ignore[arg-type]


def test_a_range_of_user_ids_is_read() -> None:
    assert isolation.parse_uids(None, None, "1000-1000") == (1000, 1000)  # type: ignore[arg-type]


# ── what the start-up text says ───────────────────────────────────────────────────────────────────────────────────
def test_it_is_said_once_and_plainly_that_tenants_are_not_isolated(tmp_path: Path) -> None:
    (line,) = isolation.lines(Settings(data=tmp_path), Isolation(users=False, namespaces=False))
    assert "not isolated" in line


def test_it_is_said_that_arguments_are_visible_and_what_tenants_cannot_reach(place: Path) -> None:
    closed = folder(place / "closed", 0o700)
    python = make(closed / "python", 0o755)
    settings = Settings(data=closed / "data", python=python)
    visible, executable, reachable = isolation.lines(settings, Isolation(users=True, namespaces=False))
    assert "arguments of processes are visible" in visible
    assert f"cannot execute {python}: {closed} is 0700" in executable
    assert f"cannot reach {closed}/data: {closed} is 0700" in reachable
    with pytest.raises(click.BadParameter, match="cannot execute"):
        isolation.check_python(settings, Isolation(users=True, namespaces=True))
    isolation.check_python(settings, Isolation(users=False, namespaces=False))


def test_with_namespaces_it_says_isolated(tmp_path: Path) -> None:
    (line,) = isolation.lines(Settings(data=tmp_path, uids=(5000, 6000)), Isolation(True, True))
    assert line.startswith("isolated: ")
    assert "5000-6000" in line


# ── temporary folders ─────────────────────────────────────────────────────────────────────────────────────────────
def test_a_long_temporary_folder_has_a_short_link_which_is_removed(tmp_path: Path) -> None:
    run = tmp_path / ("deep" * 20)
    (run / "tmp").mkdir(parents=True)
    link = record.link_tmp(str(run))
    assert len(link) <= record.TMP_BYTES_MAX
    assert Path(link).resolve() == run / "tmp"
    assert record.link_tmp(str(run)) == link
    record.unlink_tmp(str(run))
    assert not os.path.islink(link)


def test_a_link_of_somebody_else_is_neither_used_nor_removed(tmp_path: Path) -> None:
    run = tmp_path / ("deep" * 20)
    (run / "tmp").mkdir(parents=True)
    short = Path(record.short_tmp(str(run)))
    short.symlink_to(tmp_path)
    try:
        assert record.link_tmp(str(run)) == f"{run}/tmp"
        record.unlink_tmp(str(run))
        assert short.is_symlink()
    finally:
        short.unlink()
