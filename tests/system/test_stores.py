# SPDX-License-Identifier: Apache-2.0
"""The stores beside a control plane that runs: what they hide, and what is left after an erasure."""

import hashlib
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leitstand.core.facts import JobSubmitted
from leitstand.journal import snapshots
from leitstand.journal.sqlite import SqliteReader
from leitstand.runtime.spec import RunSpec
from leitstand.stores.blobs import Blobs
from leitstand.stores.people import People, Person
from leitstand.stores.records import Records
from leitstand.stores.secrets import Secrets
from leitstand.stores.tenants import Stores, erase_person, erase_tenant
from tests.plane import Plane

pytestmark = pytest.mark.system

VALUE = "planted-secret-value-9f3c"
WITHIN_S = 60.0
# prints the digest of its secret once the test says go, so that the value itself would be found only if we leaked it
PROGRAM = """
import hashlib, os, time
print(hashlib.sha256(os.environ["TOKEN"].encode()).hexdigest(), flush=True)
while not os.path.exists(os.environ["GO"]):
    time.sleep(0.02)
"""


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    with Plane(tmp_path / "data", gpus=2) as plane:
        yield plane


def until_state(plane: Plane, job: str, *states: str) -> Any:
    deadline = time.monotonic() + WITHIN_S
    while True:
        found = plane.json("job", job)
        if found["state"] in states:
            return found
        assert time.monotonic() < deadline, f"job {job} is {found['state']}, not {states}"
        time.sleep(0.05)


def holding(word: str, *folders: Path) -> list[Path]:
    """The files below `folders` that hold `word`, sockets and FIFOs aside."""
    return [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and word.encode() in path.read_bytes()
    ]


def command_lines(word: str) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and word.encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:
            continue
    return found


def test_a_secret_reaches_its_job_and_no_file_listing_log_or_command_line(
    plane: Plane, tmp_path: Path
) -> None:
    secrets = Secrets(plane.data / "secrets.db")
    assert secrets.put("operator", "default", "token", VALUE) == 1
    go = tmp_path / "go"
    status, job = plane.http(
        "POST",
        "/v1/jobs",
        {
            "run": [sys.executable, "-c", PROGRAM],
            "envs": {"GO": str(go)},
            "secrets": {"TOKEN": "token@1"},
            "resources": {"gpus": 1},
        },
    )
    assert status == 201, job
    until_state(plane, job["id"], "running")
    shown = hashlib.sha256(VALUE.encode()).hexdigest()
    deadline = time.monotonic() + WITHIN_S
    while shown not in plane.cli("logs", job["id"]).stdout:
        assert time.monotonic() < deadline, "the job did not get its secret"
        time.sleep(0.05)
    running = holding(VALUE, plane.data), command_lines(VALUE)
    go.touch()
    until_state(plane, job["id"], "succeeded", "ended", "completed")
    listed = [str(plane.http("GET", path)) for path in ("/v1/jobs", f"/v1/jobs/{job['id']}", "/v1/tenants")]
    assert running == ([], [])
    assert holding(VALUE, plane.data) == []
    assert [text for text in listed if VALUE in text] == []
    assert VALUE not in plane.output.read_text()


def test_after_an_erasure_the_journal_verifies_and_folds_and_nothing_tells_who_it_was(plane: Plane) -> None:
    name = "Zeppelin-Nachfolge-4711"
    status, job = plane.http("POST", "/v1/jobs", {"name": name, "run": ["true"], "resources": {"gpus": 1}})
    assert status == 201
    assert until_state(plane, job["id"], "succeeded", "ended", "completed")["name"] == name
    people = People(plane.data / "people.db")
    people.put_person(
        "admin", Person("Ferdinand Adolf", "ferdinand@example.org", "https://id.example", "fa-1838")
    )
    people.put_person("u7", Person("Hugo", "hugo@example.org"))
    records = Records(plane.data / "records.db")
    stores = Stores(people, records, Secrets(plane.data / "secrets.db"), Blobs(plane.data / "blobs"))
    ref = records.put("operator", "u7", RunSpec(name="kept"))
    with SqliteReader(plane.data / "journal.db") as journal:
        (spec,) = [entry.fact.spec for entry in journal.read(0) if isinstance(entry.fact, JobSubmitted)]
    assert records.get(spec) is not None
    erased = erase_person(stores, "admin")
    assert (erased.records, erased.profiles) == (1, 1)
    shown = plane.json("job", job["id"])  # by processes that had the stores open all the time
    assert (shown["id"], shown["name"]) == (job["id"], "")
    assert records.names([ref]) == {ref: "kept"}
    assert erase_tenant(stores, "operator").records == 1
    assert records.names([ref]) == {}
    assert people.person("u7") == Person("Hugo", "hugo@example.org")
    assert plane.stop() == 0
    for word in (name, "Ferdinand", "ferdinand@", "fa-1838"):
        assert holding(word, plane.data) == [], word
    assert [path for path in holding(spec, plane.data) if path.name.startswith("records.db")] == []
    done = plane.cli("journal", "verify", "--data", str(plane.data))
    assert done.returncode == 0, done.stderr
    with SqliteReader(plane.data / "journal.db") as journal:
        state, head = snapshots.restore(journal, plane.data / "snapshots")
        assert head.seq == journal.head.seq
        assert "operator" in state.tenants
    plane.start()
    assert plane.json("job", job["id"])["name"] == ""
    status, _ = plane.http("POST", "/v1/jobs", {"name": name, "run": ["true"], "resources": {"gpus": 1}})
    assert status == 201  # the same person, under a key of a new life


def test_stores_that_several_processes_open_at_once_have_one_key_for_each_subject(tmp_path: Path) -> None:
    program = """
import sys
from pathlib import Path
from leitstand.runtime.spec import RunSpec
from leitstand.stores.records import Records
from leitstand.stores.secrets import Secrets
sys.stdin.readline()
records, secrets = Records(Path(sys.argv[1]) / "records.db"), Secrets(Path(sys.argv[1]) / "secrets.db")
for number in range(20):
    secrets.put("acme", "default", sys.argv[2] + str(number), "value")
    print(records.put("acme", f"u{number}", RunSpec(name="same")))
"""
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), f"of-{number}-"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )
        for number in range(4)
    ]  # fmt: skip
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    said = [process.communicate(timeout=WITHIN_S)[0].split() for process in processes]
    assert [process.returncode for process in processes] == [0] * 4
    assert len(said[0]) == 20
    assert said == [said[0]] * 4
    secrets = Secrets(tmp_path / "secrets.db")
    listed = secrets.list("acme", "default")
    assert len(listed) == 80
    assert {secrets.read("acme", "default", one.name) for one in listed} == {"value"}
