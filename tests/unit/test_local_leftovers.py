# SPDX-License-Identifier: Apache-2.0
"""What erasure and export on this machine promise: all that runs left goes, or is given to its tenant, nothing of
anybody else, also when cut short or when a tenant changes it meanwhile."""

import io
import json
import os
import socket
import tarfile
import tracemalloc
from pathlib import Path

import pytest

from leitstand.engines.local import packing
from leitstand.engines.local.leftovers import LEFT_OUT, Leftovers


def lay(data: Path, *names: str) -> None:
    for name in names:
        (data / name / "inside").mkdir(parents=True)
        (data / name / "inside" / "file").write_text("content")


def names(data: Path) -> set[str]:
    return {str(path.relative_to(data)) for path in data.glob("*/*")}


OTHERS = {
    "runs/acme-42-1.1", "runs/acm-1.1", "runs/acme-2.1", "runs/acme-11.1", "runs/.wake",
    "checkpoints/acme-42-1-0123456789ab", "checkpoints/acme-11-0123456789ab", "homes/acme-42", "homes/acm",
}  # fmt: skip


def test_jobs_are_erased_with_all_their_runs_and_checkpoints_and_no_others(tmp_path: Path) -> None:
    mine = ("runs/acme-1.1", "runs/acme-1.2", "runs/acme-1.2.stale-1", "checkpoints/acme-1-0123456789ab")
    lay(tmp_path, *mine, *OTHERS)
    left = Leftovers(tmp_path / "runs")
    assert left.jobs() == {"acme-1", "acme-2", "acme-11", "acm-1", "acme-42-1"}
    assert left.erase_jobs({"acme-1"}) == 4
    assert names(tmp_path) == OTHERS
    assert left.erase_jobs({"acme-1"}) == 0


def test_a_tenant_is_erased_with_its_home_and_no_other_of_a_like_name(tmp_path: Path) -> None:
    lay(tmp_path, "runs/acme-1.1", "checkpoints/acme-1-0123456789ab", "homes/acme", *OTHERS)
    gone = {"runs/acme-2.1", "runs/acme-11.1", "checkpoints/acme-11-0123456789ab"}
    assert Leftovers(tmp_path / "runs").erase_tenant("acme") == 6
    assert names(tmp_path) == OTHERS - gone


@pytest.mark.parametrize("tenant", ["", ".", "..", "../homes/acm", "a/b"])
def test_what_is_no_tenant_erases_nothing(tmp_path: Path, tenant: str) -> None:
    lay(tmp_path, *OTHERS)
    assert Leftovers(tmp_path / "runs").erase_tenant(tenant) == 0
    assert names(tmp_path) == OTHERS


def test_an_erasure_that_was_cut_short_is_ended_by_the_next_one(tmp_path: Path) -> None:
    lay(tmp_path, "runs/.gone-acme-1.1", "checkpoints/.gone-acme-1-0123456789ab", "homes/.gone-acme")
    assert Leftovers(tmp_path / "runs").erase_tenant("acme") == 3
    assert names(tmp_path) == set()


def test_links_that_a_job_made_are_removed_and_not_followed(tmp_path: Path) -> None:
    lay(tmp_path, "runs/acme-1.1", "homes/other")
    (tmp_path / "runs/acme-1.1/inside/way-out").symlink_to(tmp_path / "homes/other")
    (tmp_path / "runs/acme-1.1/inside/file").unlink()
    os.link(tmp_path / "homes/other/inside/file", tmp_path / "runs/acme-1.1/inside/file")
    assert Leftovers(tmp_path / "runs").erase_tenant("acme") == 1
    assert (tmp_path / "homes/other/inside/file").read_text() == "content"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may remove what is write-protected")
def test_what_a_job_protected_from_writing_goes_too(tmp_path: Path) -> None:
    lay(tmp_path, "runs/acme-1.1/work-0/cache")
    for folder in ("work-0/cache/inside", "work-0/cache"):
        (tmp_path / "runs/acme-1.1" / folder).chmod(0o555)
    (tmp_path / "runs/acme-1.1/work-0").chmod(0)
    assert Leftovers(tmp_path / "runs").erase_tenant("acme") == 1
    assert names(tmp_path) == set()


# ── export ────────────────────────────────────────────────────────────────────────────────────────────────────────
def taken(data: Path, tenant: str = "acme") -> tuple[dict[str, tarfile.TarFile], dict[str, str]]:
    """The archives of an export, and name → why of what is not in them."""
    files = {name: b"".join(parts) for name, parts in Leftovers(data / "runs").export(tenant)}
    told = [json.loads(line) for line in files.pop(LEFT_OUT).splitlines()]
    archives = {name: opened(packed) for name, packed in files.items()}
    return archives, {f"{one['archive']}:{one['name']}": one["why"] for one in told}


def opened(packed: bytes) -> tarfile.TarFile:
    return tarfile.open(fileobj=io.BytesIO(packed))


def content(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


def test_an_export_holds_home_checkpoints_and_results_and_nothing_of_a_like_name(tmp_path: Path) -> None:
    lay(tmp_path, "runs/acme-1.1/work-0", "runs/acme-1.1/tmp", "runs/acme-1.1.stale-1/work-0", *OTHERS)
    lay(tmp_path, "checkpoints/acme-1-0123456789ab", "homes/acme", "runs/.gone-acme-3.1/work-0")
    (tmp_path / "runs/acme-4.1/work-0").mkdir(parents=True)  # it left nothing
    for name in ("order", "started.json", "task-0.log"):
        (tmp_path / "runs/acme-1.1" / name).write_text("the engine's")
        (tmp_path / "runs/acme-1.1.stale-1" / name).write_text("the engine's")
    (tmp_path / "homes/acme/notes").mkdir(mode=0o750)
    (tmp_path / "homes/acme/notes/run.sh").write_text("echo")
    (tmp_path / "homes/acme/notes/run.sh").chmod(0o754)
    archives, told = taken(tmp_path)
    assert {name: sorted(archive.getnames()) for name, archive in archives.items()} == {
        "home.tar": ["acme", "acme/inside", "acme/inside/file", "acme/notes", "acme/notes/run.sh"],
        "checkpoints/acme-1-0123456789ab.tar": [
            "acme-1-0123456789ab", "acme-1-0123456789ab/inside", "acme-1-0123456789ab/inside/file",
        ],
        "checkpoints/acme-11-0123456789ab.tar": [
            "acme-11-0123456789ab", "acme-11-0123456789ab/inside", "acme-11-0123456789ab/inside/file",
        ],
        "runs/acme-1.1.tar": [
            "tmp", "tmp/inside", "tmp/inside/file", "work-0", "work-0/inside", "work-0/inside/file",
        ],
        "runs/acme-1.1.stale-1.tar": ["task-0.log", "work-0", "work-0/inside", "work-0/inside/file"],
    }  # fmt: skip
    assert told == {}
    assert content(archives["runs/acme-1.1.tar"], "work-0/inside/file") == b"content"
    member = archives["home.tar"].getmember("acme/notes/run.sh")
    found = (tmp_path / "homes/acme/notes/run.sh").stat()
    assert (member.mode, member.mtime, member.uid) == (0o754, int(found.st_mtime), 0)


@pytest.mark.parametrize("tenant", ["", ".", "..", "../homes/acm", "a/b"])
def test_what_is_no_tenant_exports_nothing(tmp_path: Path, tenant: str) -> None:
    lay(tmp_path, *OTHERS)
    assert list(Leftovers(tmp_path / "runs").export(tenant)) == []


def test_no_link_leads_an_export_out_and_each_is_there_as_text(tmp_path: Path) -> None:
    lay(tmp_path, "homes/acme", "homes/other")
    (tmp_path / "homes/other/inside/file").write_text("of another")
    (tmp_path / "homes/acme/folder").symlink_to(tmp_path / "homes/other")
    (tmp_path / "homes/acme/file").symlink_to("../other/inside/file")
    archives, told = taken(tmp_path)
    links = {one.name: one.linkname for one in archives["home.tar"] if one.issym()}
    assert links == {"acme/folder": str(tmp_path / "homes/other"), "acme/file": "../other/inside/file"}
    assert b"of another" not in b"".join(Leftovers(tmp_path / "runs").export("acme").__next__()[1])
    assert told == {}


@pytest.mark.parametrize("place", ["file", "inside"])
def test_a_link_that_takes_a_name_while_it_is_read_leads_nowhere(
    tmp_path: Path, place: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, "homes/acme", "homes/other")
    (tmp_path / "homes/acme/file").write_text("mine")
    (tmp_path / "homes/other/file").write_text("of another")
    lstat = os.lstat

    def and_then(name: str, *, dir_fd: int) -> os.stat_result:
        found = lstat(name, dir_fd=dir_fd)
        if name == place and not (tmp_path / "homes/acme" / place).is_symlink():
            (tmp_path / "homes/acme" / place).rename(tmp_path / "aside")
            (tmp_path / "homes/acme" / place).symlink_to(tmp_path / "homes/other" / place)
        return found

    monkeypatch.setattr(os, "lstat", and_then)
    archives, told = taken(tmp_path)
    assert f"acme/{place}" not in archives["home.tar"].getnames()
    assert told == {f"home.tar:acme/{place}": "unreadable"}


def test_what_is_no_file_is_told_and_not_opened(tmp_path: Path) -> None:
    lay(tmp_path, "homes/acme")
    os.mkfifo(tmp_path / "homes/acme/pipe")
    at = os.getcwd()
    with socket.socket(socket.AF_UNIX) as server:
        os.chdir(tmp_path)
        server.bind("homes/acme/server")
        os.chdir(at)
    if os.geteuid() == 0:
        os.mknod(tmp_path / "homes/acme/zero", 0o20666, os.makedev(1, 5))
    archives, told = taken(tmp_path)
    assert told.pop("home.tar:acme/zero", "device") == "device"
    assert told == {"home.tar:acme/pipe": "fifo", "home.tar:acme/server": "socket"}
    assert "acme/inside/file" in archives["home.tar"].getnames()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make what belongs to another")
def test_what_belongs_to_another_is_told_and_not_read_also_by_a_second_name(tmp_path: Path) -> None:
    lay(tmp_path, "homes/acme", "homes/other")
    os.chown(tmp_path / "homes/acme", 200_000, 200_000)
    for name in ("inside", "inside/file"):
        os.chown(tmp_path / "homes/acme" / name, 200_000, 200_000)
    os.link(tmp_path / "homes/other/inside/file", tmp_path / "homes/acme/mine")
    archives, told = taken(tmp_path)
    assert archives["home.tar"].getnames() == ["acme", "acme/inside", "acme/inside/file"]
    assert told == {"home.tar:acme/mine": "foreign"}


@pytest.mark.parametrize("size", [0, 100, 1_000_000])
def test_a_file_that_changes_while_it_is_read_is_told_and_spoils_nothing(tmp_path: Path, size: int) -> None:
    lay(tmp_path, "homes/acme")
    growing = tmp_path / "homes/acme/inside/file"
    growing.write_bytes(b"x" * 600_000)
    files = Leftovers(tmp_path / "runs").export("acme")
    name, parts = next(files)
    read = [next(parts)]
    growing.write_bytes(b"y" * size)
    archive = opened(b"".join([*read, *parts]))
    assert len(content(archive, "acme/inside/file")) == 600_000
    (_, told), *_ = list(files)
    assert json.loads(b"".join(told)) == {"archive": name, "name": "acme/inside/file", "why": "changed"}


def test_a_file_that_vanishes_while_it_is_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lay(tmp_path, "homes/acme")
    files = Leftovers(tmp_path / "runs").export("acme")
    _, parts = next(files)
    lstat = os.lstat

    def and_gone(name: str, *, dir_fd: int) -> os.stat_result:
        found = lstat(name, dir_fd=dir_fd)
        if name == "file":
            (tmp_path / "homes/acme/inside/file").unlink()
        return found

    monkeypatch.setattr(os, "lstat", and_gone)
    assert opened(b"".join(parts)).getnames() == ["acme", "acme/inside"]
    (_, told), *_ = list(files)
    assert json.loads(b"".join(told))["why"] == "vanished"


def test_names_stay_as_they_are_and_limits_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, "homes/acme")
    odd = os.fsencode(tmp_path / "homes/acme") + b"/caf\xe9 " + b"n" * 180
    with open(odd, "wb") as file:
        file.write(b"odd")
    (tmp_path / "homes/acme/hole").touch()
    os.truncate(tmp_path / "homes/acme/hole", packing.FILE_BYTES_MAX + 1)
    deep = tmp_path / "homes/acme/deep"
    monkeypatch.setattr(packing, "DEPTH_MAX", 3)
    (deep / "2" / "3" / "4").mkdir(parents=True)
    archives, told = taken(tmp_path)
    assert content(archives["home.tar"], os.fsdecode(b"acme/caf\xe9 " + b"n" * 180)) == b"odd"
    assert told == {"home.tar:acme/hole": "large", "home.tar:acme/deep/2/3": "deep"}


def test_the_list_of_what_is_left_out_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lay(tmp_path, "homes/acme")
    for number in range(5):
        os.mkfifo(tmp_path / f"homes/acme/pipe-{number}")
    monkeypatch.setattr(packing, "LISTED_MAX", 2)
    files = {name: b"".join(parts) for name, parts in Leftovers(tmp_path / "runs").export("acme")}
    assert [json.loads(line) for line in files[LEFT_OUT].splitlines()][2:] == [{"more": 3}]


def test_an_export_of_many_files_takes_no_more_memory_and_leaves_no_file_open(tmp_path: Path) -> None:
    lay(tmp_path, "homes/acme")
    for number in range(3000):
        (tmp_path / f"homes/acme/inside/{number}").write_bytes(bytes(1000))
    opened = len(os.listdir("/proc/self/fd"))
    tracemalloc.start()
    try:
        for _, parts in Leftovers(tmp_path / "runs").export("acme"):
            for part in parts:
                assert len(part) < 3 * packing.CHUNK
        assert tracemalloc.get_traced_memory()[1] < 3_000_000
    finally:
        tracemalloc.stop()
    (_, parts), *_ = Leftovers(tmp_path / "runs").export("acme")
    next(parts)
    del parts
    assert len(os.listdir("/proc/self/fd")) == opened
