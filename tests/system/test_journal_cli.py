# SPDX-License-Identifier: Apache-2.0
"""`leitstand journal` as its users run it: exit codes, what stands on stdout and on stderr, beside a live writer."""

import hashlib
import json
import os
import shutil
import sqlite3
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from leitstand.core.facts import (
    JobAdmitted,
    JobEnded,
    JobSubmitted,
    NodeAdded,
    Resources,
    RunPlaced,
    RunStarted,
    SiteAdded,
    Task,
    TenantAdded,
)
from leitstand.journal import heads
from leitstand.journal.heads import Signer
from leitstand.journal.sqlite import SqliteJournal

ENTRIES = 13  # three of tenant and fleet, and five for each of two jobs


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("good")
    journal = SqliteJournal(folder / "journal.db", journal_id="j")
    fleet = [TenantAdded("acme"), SiteAdded("s", "simulated"), NodeAdded("n-1", "s", 8, 0, 0)]
    head = journal.append(journal.head, 1_700_000_000_123_456, fleet)
    for number in (1, 2):
        job, run = f"acme-{number}", f"acme-{number}.1"
        facts = [
            JobSubmitted(job, "acme", "default", Resources(gpus=2)),
            JobAdmitted(job, "shared", 5_000_000),
            RunPlaced(run, job, (Task.of("n-1", (2 * number - 2, 2 * number - 1)),)),
            RunStarted(run, 1_700_000_000_200_000),
            JobEnded(job, "succeeded", exit_code=0),
        ]
        head = journal.append(head, 1_700_000_001_000_000 + number, facts)
    heads.record(folder / "heads.jsonl", Signer(folder / "keys").sign("j", journal.head))
    journal.close()
    return folder


@pytest.fixture
def data(good: Path, tmp_path: Path) -> Path:
    return shutil.copytree(good, tmp_path / "data")


def leitstand(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "leitstand", "journal", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8", **environment},
    )


def change(data: Path, statement: str) -> None:
    with closing(sqlite3.connect(data / "journal.db", isolation_level=None)) as db:
        db.execute(statement)


# ── verify ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_verify_of_a_good_journal_exits_0_and_says_what_is_signed(data: Path) -> None:
    done = leitstand("verify", "--data", data)
    assert (done.returncode, done.stderr) == (0, "")
    assert "good entries: 13" in done.stdout
    assert "up to entry 13" in done.stdout


def test_verify_finds_the_folder_by_its_environment(data: Path) -> None:
    done = leitstand("verify", "--json", LEITSTAND_DATA=str(data))
    report = json.loads(done.stdout)
    assert (report["ok"], report["seq"], report["signed_seq"], report["bad"]) == (True, 13, 13, None)


def test_verify_of_a_changed_journal_exits_1_and_names_the_first_bad_entry(data: Path) -> None:
    change(data, "UPDATE facts SET at = at + 1 WHERE seq IN (5, 9)")
    done = leitstand("verify", "--data", data)
    assert done.returncode == 1
    assert "first bad entry 5: hash mismatch" in done.stderr
    done = leitstand("verify", "--data", data, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["bad"]["seq"] == 5


def test_verify_without_signed_heads_says_what_that_leaves_open(data: Path) -> None:
    (data / "heads.jsonl").unlink()
    done = leitstand("verify", "--data", data)
    assert done.returncode == 0
    assert "No signed head was checked" in done.stderr


@pytest.mark.parametrize("command", ["verify", "show", "export", "backup"])
def test_a_folder_without_a_journal_is_a_clear_error(command: str, tmp_path: Path) -> None:
    target = [tmp_path / "copy.db"] if command == "backup" else []
    done = leitstand(command, "--data", tmp_path / "none", *target)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "there is no journal at" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("command", ["verify", "show", "export", "backup"])
def test_a_damaged_file_is_a_clear_error(command: str, data: Path, tmp_path: Path) -> None:
    path = data / "journal.db"
    path.write_bytes(path.read_bytes()[:5000])
    target = [tmp_path / "copy.db"] if command == "backup" else []
    done = leitstand(command, "--data", data, *target)
    assert done.returncode == 1
    assert str(path) in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "copy.db").exists()


# ── show ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_show_prints_the_newest_as_a_table(data: Path) -> None:
    lines = leitstand("show", "--data", data, "--limit", 2).stdout.splitlines()
    assert lines[0].split() == ["SEQ", "TIME", "FACT", "DETAIL"]
    assert lines[2].split() == [
        "13",
        "2023-11-14",
        "22:13:21.000002Z",
        "JobEnded",
        "job=acme-2",
        "state=succeeded",
        "exit_code=0",
    ]
    assert len(lines) == 3


def test_show_after_a_number_and_up_to_a_limit_as_json_lines(data: Path) -> None:
    done = leitstand("show", "--data", data, "--after", 5, "--limit", 2, "--json")
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line["seq"] for line in lines] == [6, 7]
    assert lines[0]["fact"] == {
        "fact": "RunPlaced",
        "run": "acme-1.1",
        "job": "acme-1",
        "tasks": [["n-1", "3"]],
    }
    assert len(lines[0]["hash"]) == 64


def test_show_of_one_job_has_its_runs_and_nothing_else(data: Path) -> None:
    done = leitstand("show", "--data", data, "--job", "acme-1", "--json")
    facts = [json.loads(line)["fact"]["fact"] for line in done.stdout.splitlines()]
    assert facts == ["JobSubmitted", "JobAdmitted", "RunPlaced", "RunStarted", "JobEnded"]
    done = leitstand("show", "--data", data, "--job", "acme-1", "--limit", 1)
    assert "JobEnded" in done.stdout
    assert "acme-1 " not in leitstand("show", "--data", data, "--job", "acme-11").stdout


def test_show_refuses_nonsense(data: Path) -> None:
    assert leitstand("show", "--data", data, "--limit", 0).returncode == 2
    assert leitstand("show", "--data", data, "--after", "x").returncode == 2


# ── export ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_an_export_can_be_checked_without_this_code(data: Path) -> None:
    done = leitstand("export", "--data", data)
    assert done.returncode == 0
    opening, *lines, last = done.stdout.encode().splitlines()
    previous = hashlib.sha256(b"leitstand journal 1\n" + json.loads(opening)["journal"].encode()).digest()
    for line in lines:
        entry = json.loads(line)
        body = line[line.index(b'"fact":') + len(b'"fact":') : -1]
        previous = hashlib.sha256(previous + struct.pack(">qq", entry["seq"], entry["at"]) + body).digest()
        assert entry["hash"] == previous.hex()
    signed = json.loads(last)["signed_head"]
    assert (signed["seq"], signed["hash"]) == (ENTRIES, previous.hex())
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    key = Ed25519PublicKey.from_public_bytes(bytes.fromhex(json.loads(last)["public_key"]))
    key.verify(
        bytes.fromhex(signed["signature"]),
        f"leitstand head 1\nj\n{ENTRIES}\n{signed['at']}\n{signed['hash']}\n".encode(),
    )


def exported(data: Path) -> Path:
    target = data / "export.jsonl"
    assert leitstand("export", "--data", data, "--out", target).returncode == 0
    return target


def test_verify_checks_an_export_by_the_key_that_one_trusts(data: Path, tmp_path: Path) -> None:
    target = exported(data)
    done = leitstand("verify", "--file", target, "--pub", data / "keys" / "head.pub", "--json")
    assert (done.returncode, json.loads(done.stdout)["signed_seq"]) == (0, ENTRIES)
    done = leitstand("verify", "--file", target)
    assert done.returncode == 0
    assert "the key that the export brings along" in done.stderr
    Signer(tmp_path / "stranger")
    done = leitstand("verify", "--file", target, "--pub", tmp_path / "stranger" / "head.pub")
    assert done.returncode == 1
    assert "first bad entry 13: signature" in done.stderr


def test_verify_of_a_damaged_export_exits_1_and_names_the_first_bad_entry(data: Path) -> None:
    target = exported(data)
    lines = target.read_bytes().splitlines(keepends=True)
    target.write_bytes(b"".join(lines[:4] + lines[5:]))
    done = leitstand("verify", "--file", target)
    assert done.returncode == 1
    assert "first bad entry 4: dropped" in done.stderr


def test_an_export_without_the_private_key_brings_the_last_recorded_head(data: Path) -> None:
    (data / "keys" / "head.key").unlink()
    target = exported(data)
    assert leitstand("verify", "--file", target, "--pub", data / "keys" / "head.pub").returncode == 0
    (data / "heads.jsonl").unlink()
    target.unlink()
    target = exported(data)
    assert leitstand("verify", "--file", target).returncode == 0
    done = leitstand("verify", "--file", target, "--pub", data / "keys" / "head.pub")
    assert done.returncode == 1
    assert "no signed head" in done.stderr


def test_an_export_of_a_bad_journal_stops_at_the_bad_entry_and_leaves_no_file(data: Path) -> None:
    change(data, "UPDATE facts SET at = at + 1 WHERE seq = 5")
    done = leitstand("export", "--data", data, "--out", data / "export.jsonl")
    assert done.returncode == 1
    assert "entry 5 is bad" in done.stderr
    assert not list(data.glob("export*"))


def test_an_export_never_overwrites(data: Path) -> None:
    (data / "export.jsonl").write_text("mine")
    done = leitstand("export", "--data", data, "--out", data / "export.jsonl")
    assert done.returncode == 1
    assert "exists; name a new file" in done.stderr
    assert (data / "export.jsonl").read_text() == "mine"


def test_a_reader_that_goes_away_is_no_traceback(data: Path) -> None:
    command = f"{sys.executable} -m leitstand journal export --data {data} | head -c 1 > /dev/null"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert "Traceback" not in done.stderr


# ── backup ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_backup_is_one_verified_file_that_a_control_plane_can_go_on_with(
    data: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "restored"
    folder.mkdir()
    done = leitstand("backup", "--data", data, folder / "journal.db", "--json")
    assert (done.returncode, json.loads(done.stdout)["seq"]) == (0, ENTRIES)
    assert [path.name for path in folder.iterdir()] == ["journal.db"]
    assert (folder / "journal.db").stat().st_mode & 0o777 == 0o600
    journal = SqliteJournal(folder / "journal.db")
    assert journal.append(journal.head, journal.head.at, [TenantAdded("n")]).seq == ENTRIES + 1
    journal.close()


def test_a_backup_never_overwrites(data: Path) -> None:
    before = (data / "journal.db").read_bytes()
    for target in (data / "heads.jsonl", data / "journal.db"):
        done = leitstand("backup", "--data", data, target)
        assert done.returncode == 1
        assert "exists; name a new file" in done.stderr
    assert (data / "journal.db").read_bytes() == before


def test_a_backup_of_a_bad_journal_is_not_kept(data: Path, tmp_path: Path) -> None:
    change(data, "UPDATE facts SET at = at + 1 WHERE seq = 5")
    done = leitstand("backup", "--data", data, tmp_path / "copy.db")
    assert done.returncode == 1
    assert "first bad entry 5" in done.stderr
    assert not list(tmp_path.glob("copy*"))


@pytest.mark.parametrize("command", ["export", "backup"])
def test_a_target_in_no_folder_is_a_clear_error(command: str, data: Path, tmp_path: Path) -> None:
    target = tmp_path / "none" / "file"
    done = leitstand(command, "--data", data, *(["--out"] if command == "export" else []), target)
    assert done.returncode == 1
    assert "No such file or directory" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_an_export_to_a_full_disk_is_a_clear_error(data: Path) -> None:
    command = f"{sys.executable} -m leitstand journal export --data {data} > /dev/full"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "No space left on device" in done.stderr
    assert "Traceback" not in done.stderr


# ── beside a live writer, and where one may not write ─────────────────────────────────────────────────────────────
BUSY_WRITER = """
import sys
from pathlib import Path
from leitstand.core.facts import TenantAdded
from leitstand.journal.sqlite import SqliteJournal
journal = SqliteJournal(Path(sys.argv[1]))
at = journal.head.at
while True:
    journal.append(journal.head, at, [TenantAdded("n" * 200)] * 3)
    print(journal.head.seq, flush=True)
"""


@contextmanager
def busy_writer(data: Path) -> Iterator[subprocess.Popen[str]]:
    writer = subprocess.Popen(
        [sys.executable, "-c", BUSY_WRITER, str(data / "journal.db")], stdout=subprocess.PIPE, text=True
    )
    try:
        yield writer
    finally:
        writer.kill()
        assert writer.stdout is not None
        writer.stdout.close()
        writer.wait()


def test_beside_a_busy_writer_every_command_works_and_the_copy_is_whole(data: Path, tmp_path: Path) -> None:
    import threading

    with busy_writer(data) as writer:
        assert writer.stdout is not None
        seen = int(writer.stdout.readline())
        drain = threading.Thread(target=writer.stdout.read, daemon=True)
        drain.start()
        verified = json.loads(leitstand("verify", "--data", data, "--json").stdout)
        assert (verified["ok"], verified["seq"] >= seen) == (True, True)
        assert leitstand("show", "--data", data, "--limit", 5, "--json").stdout.count("\n") == 5
        assert leitstand("backup", "--data", data, tmp_path / "copy.db").returncode == 0
        done = leitstand("export", "--data", data, "--out", tmp_path / "export.jsonl")
        assert done.returncode == 0
        assert writer.poll() is None
    drain.join()
    assert leitstand("verify", "--file", tmp_path / "export.jsonl").returncode == 0
    assert leitstand("verify", "--data", data).returncode == 0


@pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root and setpriv to become another user"
)
@pytest.mark.parametrize("command", ["verify", "show", "export"])
def test_who_may_only_read_the_folder_can_still_read_a_journal_at_rest(command: str, good: Path) -> None:
    import tempfile

    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        data = Path(shutil.copytree(good, Path(folder) / "data"))
        for path in (Path(folder), data, *data.iterdir()):
            path.chmod(0o555 if path.is_dir() else 0o444)
        nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
        line = [*nobody, sys.executable, "-m", "leitstand", "journal", command, "--data", str(data)]
        done = subprocess.run(
            line, capture_output=True, text=True, timeout=60, check=False, cwd=Path(__file__).parents[2]
        )
        if (
            "can't open file" in done.stderr
            or "No module named" in done.stderr
            or "Permission denied: " in done.stderr
        ):
            pytest.skip("another user cannot run this installation")
        assert done.returncode == 0, done.stderr
        assert not list(data.glob("journal.db-*"))
