# SPDX-License-Identifier: Apache-2.0
"""The faces as a process, with a real writer and real runs: what is promised over HTTP holds across restarts of either
side."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from leitstand.app.settings import Settings
from leitstand.journal import heads
from leitstand.journal.sqlite import SqliteReader
from tests.plane import free_port

pytestmark = [pytest.mark.system, pytest.mark.timeout(180)]

PATIENCE_S = 60.0


class Pair:
    """Writer and faces, each started and ended by the test."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(mode=0o700, exist_ok=True)
        self.settings = Settings(data=folder, port=free_port(), gpus=4)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, *names: str) -> None:
        for name in names:
            argv = [sys.executable, "-P", "-m", f"leitstand.app.{name}", self.settings.to_json()]
            self.processes[name] = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for name in names:
            output = self.processes[name].stdout
            assert output is not None
            assert output.readline() == b"ready\n", f"the {name} did not start"

    def kill(self, name: str) -> None:
        process = self.processes.pop(name)
        process.kill()
        process.wait()

    def end(self, name: str) -> int:
        """Let go of it, as a parent that ends; its exit code."""
        process = self.processes.pop(name)
        assert process.stdin is not None
        process.stdin.close()
        return process.wait(PATIENCE_S)

    def client(self) -> httpx2.Client:
        token = self.settings.admin_token.read_text().strip()
        url = f"http://127.0.0.1:{self.settings.port}"
        return httpx2.Client(base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=PATIENCE_S)

    def close(self) -> None:
        with contextlib.suppress(Exception), self.client() as client:
            for job in client.get("/v1/jobs?state=starting,running").json()["items"]:
                client.post(f"/v1/jobs/{job['id']}/cancel")
        for name in ("faces", "writer"):
            if name in self.processes:
                self.end(name)


@pytest.fixture
def pair(tmp_path: Path) -> Iterator[Pair]:
    """A pair for one test, which may do to it what it likes."""
    pair = Pair(tmp_path / "data")
    try:
        pair.start("writer", "faces")
        yield pair
    finally:
        pair.close()


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A pair for tests that only submit and read."""
    pair = Pair(tmp_path_factory.mktemp("calm") / "data")
    try:
        pair.start("writer", "faces")
        yield pair
    finally:
        pair.close()


def until(true: Callable[[], Any], what: str) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := true()):
        assert time.monotonic() < deadline, f"not in {PATIENCE_S} s: {what}"
        time.sleep(0.01)
    return found


def submit(client: httpx2.Client, run: Any = "true", **more: Any) -> dict[str, Any]:
    answer = client.post("/v1/jobs", json={"run": run, **more})
    assert answer.status_code == 201, answer.text
    job: dict[str, Any] = answer.json()
    return job


def ended(client: httpx2.Client, job: str) -> dict[str, Any]:
    def look() -> Any:
        found = client.get(f"/v1/jobs/{job}").json()
        return found if found["ended_at"] else None

    found: dict[str, Any] = until(look, f"{job} has ended")
    return found


def events(client: httpx2.Client, path: str, **headers: str) -> Iterator[httpx2.ServerSentEvent]:
    with client.stream("GET", path, headers=headers) as response:
        assert response.status_code == 200, response.read()
        yield from httpx2.EventSource(response)


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_log_is_followed_while_it_is_written(calm: Pair, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    script = f"echo one\nuntil [ -e {gate} ]; do sleep 0.05; done\necho two >&2\nexit 5"
    with calm.client() as client:
        job = submit(client, script, name="gated", resources={"gpus": 2})
        text = ""
        for event in events(client, f"/v1/jobs/{job['id']}/logs?follow=true"):
            data = json.loads(event.data)
            if event.event == "end":
                assert data == {"state": "failed", "reason": "exit_code", "exit_code": 5, "signal": None}
                break
            assert data["offset"] == len(text)
            text += data["text"]
            gate.touch()  # only what was seen lets it go on
        assert text == "one\ntwo\n"
        found = ended(client, job["id"])
        assert (found["state"], found["exit_code"], found["name"]) == ("failed", 5, "gated")
        assert found["usage"]["gpu_us"] == 2 * found["usage"]["wall_us"] > 0
        assert client.get(f"/v1/jobs/{job['id']}/logs?offset=4").text == "two\n"
        by_job = client.get("/v1/usage?by=job&limit=1").json()["items"]
        assert [(item["job"], item["gpu_us"]) for item in by_job] == [(job["id"], found["usage"]["gpu_us"])]


def test_events_resume_without_loss_after_a_cut_connection(calm: Pair) -> None:
    with calm.client() as client:
        ended(client, submit(client, name="first")["id"])
        before = client.get("/healthz").json()["seq"]
        first = submit(client, name="second")["id"]
        ended(client, first)
        seen: dict[str, str] = {}
        last = ""
        for event in events(client, f"/v1/events?after={before}"):
            seen[json.loads(event.data)["id"]] = json.loads(event.data)["state"]
            last = str(event.id)
            break  # the connection is cut here
        more = [submit(client, name=f"job {number}")["id"] for number in range(3)]
        for event in events(client, "/v1/events", **{"Last-Event-ID": last}):
            data = json.loads(event.data)
            seen[data["id"]] = data["state"]
            if set(seen) == {first, *more} and set(seen.values()) == {"succeeded"}:
                break


def test_a_running_job_is_cancelled(calm: Pair) -> None:
    with calm.client() as client:
        job = submit(client, ["sleep", "600"])["id"]
        until(lambda: client.get(f"/v1/jobs/{job}").json()["state"] == "running", "it runs")
        assert client.post(f"/v1/jobs/{job}/cancel").json()["state"] == "stopping"
        found = ended(client, job)
        assert (found["state"], found["reason"]) == ("cancelled", "cancelled")


def test_sixteen_clients_at_once_get_a_job_of_their_own_each_time(calm: Pair) -> None:
    token = calm.settings.admin_token.read_text().strip()
    url = f"http://127.0.0.1:{calm.settings.port}/v1/jobs"

    async def main() -> list[tuple[int, str]]:
        headers = {"Authorization": f"Bearer {token}"}
        async with httpx2.AsyncClient(headers=headers, timeout=PATIENCE_S) as client:

            async def one(number: int) -> list[tuple[int, str]]:
                found = []
                for _ in range(20):
                    body = {"run": ["true"], "name": f"c{number}", "resources": {"gpus": 4}}
                    answer = await client.post(url, json=body)
                    found.append((answer.status_code, answer.json()["id"]))
                    assert answer.json()["name"] == f"c{number}"
                return found

            return [pair for found in await asyncio.gather(*map(one, range(16))) for pair in found]

    answers = asyncio.run(main())
    assert {status for status, _ in answers} == {201}
    assert len({job for _, job in answers}) == 320
    with calm.client() as client:
        for _, job in answers:
            client.post(f"/v1/jobs/{job}/cancel")


# ── the writer goes and comes ─────────────────────────────────────────────────────────────────────────────────────
def test_without_the_writer_readings_go_on_and_with_it_everything_does(pair: Pair) -> None:
    with pair.client() as client:
        job = submit(client, name="before")["id"]
        ended(client, job)
        pair.kill("writer")
        until(lambda: client.get("/healthz").status_code == 503, "the loss is noticed")
        refused = client.post("/v1/jobs", json={"run": "true"})
        assert (refused.status_code, refused.json()["code"]) == (503, "writer-away")
        assert int(refused.headers["retry-after"]) >= 1
        assert client.get(f"/v1/jobs/{job}").json()["name"] == "before"
        assert [found["id"] for found in client.get("/v1/jobs").json()["items"]] == [job]
        pair.start("writer")
        until(lambda: client.get("/healthz").status_code == 200, "the writer is found again")
        assert submit(client, name="after")["id"] == "operator-2"


def test_a_submission_with_a_key_survives_the_death_of_the_writer_that_had_it(pair: Pair) -> None:
    answers: list[httpx2.Response] = []

    def ask() -> None:
        with pair.client() as client:
            answers.append(client.post("/v1/jobs", json={"run": "true"}, headers={"Idempotency-Key": "once"}))

    with pair.client() as client:
        submit(client)
        pair.processes["writer"].send_signal(signal.SIGSTOP)
        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: "leitstand_asks_in_flight 1.0" in client.get("/metrics").text, "the writer has it")
        pair.kill("writer")
        pair.start("writer")
        asking.join(PATIENCE_S)
        assert [answer.status_code for answer in answers] == [201]
        again = client.post("/v1/jobs", json={"run": "true"}, headers={"Idempotency-Key": "once"})
        assert again.json()["id"] == answers[0].json()["id"] == "operator-2"


def test_a_submission_without_a_key_says_that_its_fate_is_unknown(pair: Pair) -> None:
    answers: list[httpx2.Response] = []

    def ask() -> None:
        with pair.client() as client:
            answers.append(client.post("/v1/jobs", json={"run": "true"}))

    with pair.client() as client:
        pair.processes["writer"].send_signal(signal.SIGSTOP)
        asking = threading.Thread(target=ask)
        asking.start()
        until(lambda: "leitstand_asks_in_flight 1.0" in client.get("/metrics").text, "the writer has it")
        pair.kill("writer")
        asking.join(PATIENCE_S)
    assert [answer.status_code for answer in answers] == [503]
    assert "not known" in answers[0].json()["detail"]


# ── the faces go and come ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("harm", ["none", "killed", "views deleted", "views damaged"])
def test_faces_that_start_again_answer_as_before(pair: Pair, harm: str) -> None:
    with pair.client() as client:
        for name in ("p0", "p1"):
            assert client.post("/v1/tenants/operator/projects", json={"name": name}).status_code == 201
        for number in range(5):
            ended(client, submit(client, name=f"n{number}", project=f"p{number % 2}")["id"])
        before = [client.get(path).json() for path in ("/v1/jobs", "/v1/usage?by=project", "/v1/nodes")]
    if harm == "killed":
        pair.kill("faces")
    else:
        assert pair.end("faces") == 0
    if harm == "views deleted":
        pair.settings.views.unlink()
    if harm == "views damaged":
        pair.settings.views.write_bytes(os.urandom(50_000))
    pair.start("faces")
    with pair.client() as client:
        assert [
            client.get(path).json() for path in ("/v1/jobs", "/v1/usage?by=project", "/v1/nodes")
        ] == before


def test_faces_that_are_told_to_end_close_streams_and_sign_the_head(pair: Pair) -> None:
    with pair.client() as client, client.stream("GET", "/v1/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": welcome"
        ended_job = submit(client)["id"]
        ended(client, ended_job)
        pair.processes["faces"].send_signal(signal.SIGTERM)
        for _ in lines:  # until the server ends it
            pass
        assert pair.processes.pop("faces").wait(PATIENCE_S) == 0
    (signed,) = heads.load_heads(pair.settings.heads)
    with SqliteReader(pair.settings.journal) as journal:
        head = journal.head_at(signed.seq)
        assert head is not None
        assert head.hash.hex() == signed.hash
        assert journal.head.seq == signed.seq
    public = heads.load_public(pair.settings.keys / "head.pub")
    assert heads.fault(signed, public) == ""


def test_faces_end_when_their_parent_does(pair: Pair) -> None:
    assert pair.end("faces") == 0


def test_a_taken_port_is_named_with_the_remedy(pair: Pair) -> None:
    argv = [sys.executable, "-P", "-m", "leitstand.app.faces", pair.settings.to_json()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 3
    where = f"127.0.0.1:{pair.settings.port}"
    remedy = "stop what uses it, or give another --port"
    assert done.stderr == f"cannot listen on {where}: Address already in use; {remedy}\n"


def test_an_address_that_others_can_reach_needs_tls(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, host="0.0.0.0", port=free_port())
    argv = [sys.executable, "-P", "-m", "leitstand.app.faces", settings.to_json()]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 2
    assert "without TLS" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_data_folder_with_a_long_name_works(tmp_path: Path) -> None:
    pair = Pair(tmp_path / ("long-" * 30))
    try:
        pair.start("writer", "faces")
        with pair.client() as client:
            assert submit(client)["id"] == "operator-1"
    finally:
        pair.close()


def test_a_snapshot_is_written_beside_a_live_writer_and_used_at_the_next_start(pair: Pair) -> None:
    with pair.client() as client:
        ended(client, submit(client, name="kept")["id"])
    argv = [sys.executable, "-P", "-m", "leitstand.app.snapshot", pair.settings.to_json()]
    subprocess.run(argv, check=True, timeout=PATIENCE_S)
    (snapshot,) = pair.settings.snapshots.iterdir()
    with SqliteReader(pair.settings.journal) as journal:
        assert int(snapshot.name.partition(".")[0]) == journal.head.seq
    pair.end("faces")
    pair.start("faces")
    with pair.client() as client:
        assert client.get("/v1/jobs").json()["items"][0]["name"] == "kept"
