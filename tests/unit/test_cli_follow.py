# SPDX-License-Identifier: Apache-2.0
"""Following a log: each byte once, over lost connections; and the exit code that tells how the job ended."""

import errno
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from leitstand.cli import exits, follow
from leitstand.cli.client import Client
from leitstand.cli.follow import Follower, follow_to_the_end
from leitstand.cli.refusals import CommandFailed, Refused, Unreachable

JOB = {"id": "operator-1", "num_nodes": 1}
GANG = {"id": "operator-1", "num_nodes": 2}


class Dropping(httpx2.SyncByteStream):
    """A body that ends with a lost connection."""

    def __init__(self, parts: list[bytes]) -> None:
        self.parts = parts

    def __iter__(self) -> Iterator[bytes]:
        yield from self.parts
        raise httpx2.ReadError("reset")


class Server:
    """Keeps the logs of the tasks; every connection sends `per_connection` pieces and then drops."""

    def __init__(self, logs: list[bytes], end: dict[str, Any], per_connection: int = 1000) -> None:
        self.logs = logs
        self.end = {"state": "succeeded", "reason": "", "exit_code": 0, "signal": None, **end}
        self.per_connection = per_connection
        self.queries: list[dict[str, str]] = []
        self.slept: list[float] = []
        self.failures: list[httpx2.Response | Exception] = []

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        self.queries.append(dict(request.url.params))
        if self.failures:
            failure = self.failures.pop(0)
            if isinstance(failure, Exception):
                raise failure
            return failure
        only = request.url.params.get("task")
        start = int(request.url.params.get("offset", 0))
        pieces = []
        for task, log in enumerate(self.logs):
            if only in (None, str(task)):
                for at in range(start, len(log), 3):
                    data = {"task": task, "offset": at, "text": log[at : at + 3].decode()}
                    pieces.append(f": keep-alive\n\nevent: log\ndata: {json.dumps(data)}\n\n".encode())
        pieces.append(f"event: end\ndata: {json.dumps(self.end)}\n\n".encode())
        headers = {"Content-Type": "text/event-stream"}
        if len(pieces) <= self.per_connection:
            return httpx2.Response(200, headers=headers, content=b"".join(pieces))
        return httpx2.Response(200, headers=headers, stream=Dropping(pieces[: self.per_connection]))

    def client(self) -> Client:
        return Client("http://plane.test", "x", transport=httpx2.MockTransport(self), sleep=self.slept.append)


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")


def test_a_log_is_printed_as_it_is(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log = b"\x1b[1mbold\x1b[0m\r50%\r100%\nno end of line"
    assert follow_to_the_end(Server([log], {}).client(), JOB) == 0
    assert capfdbinary.readouterr().out == log


def test_lost_connections_lose_and_double_no_byte(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    log = b"".join(b"line %d\n" % n for n in range(20))
    server = Server([log], {}, per_connection=4)
    assert follow_to_the_end(server.client(), JOB) == 0
    assert capfdbinary.readouterr().out == log
    offsets = [int(query["offset"]) for query in server.queries]
    assert offsets == sorted(set(offsets))
    assert len(offsets) > 10


def test_the_lines_of_a_gang_carry_their_rank_and_stay_whole(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    server = Server([b"alpha\nbeta\n", b"gamma\ndelta"], {})
    assert follow_to_the_end(server.client(), GANG) == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert sorted(lines) == [b"[0] alpha", b"[0] beta", b"[1] delta", b"[1] gamma"]


def test_a_gang_is_resumed_without_doubling(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    server = Server([b"alpha\nbeta\n", b"gamma\n"], {}, per_connection=3)
    server.per_connection = 3
    follower = Follower(server.client(), GANG)
    connection = follower._connection()
    with pytest.raises(Unreachable):
        list(connection)
    server.per_connection = 1000
    assert follower.follow() is not None
    assert sorted(capfdbinary.readouterr().out.splitlines()) == [b"[0] alpha", b"[0] beta", b"[1] gamma"]


def test_a_long_line_of_a_gang_is_not_cut(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "LINE_MAX", 8)
    server = Server([b"x" * 40 + b"\nend\n", b"y" * 20], {})
    assert follow_to_the_end(server.client(), GANG) == 0
    lines = capfdbinary.readouterr().out.splitlines()
    assert lines == [b"[0] " + b"x" * 40, b"[0] end", b"[1] " + b"y" * 20]


def test_a_long_line_gives_way_to_another_task_on_a_line_of_its_own(
    capfdbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(follow, "LINE_MAX", 4)
    printer = follow.Printer(ranked=True)
    printer.write(0, 0, b"xxxx")
    printer.write(1, 0, b"short\n")
    printer.write(0, 4, b"xx\n")
    printer.flush()
    assert capfdbinary.readouterr().out == b"[0] xxxx\n[1] short\n[0] xx\n"


def test_a_log_followed_as_json_is_lines_with_their_places(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    server = Server([b"al\npha\nbeta"], {})
    assert follow_to_the_end(server.client(), JOB, as_json=True) == 0
    said = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert said == [
        {"task": 0, "offset": 0, "text": "al\n"},
        {"task": 0, "offset": 3, "text": "pha\n"},
        {"task": 0, "offset": 7, "text": "beta"},
    ]


@pytest.mark.parametrize("job", [JOB, GANG])
def test_a_full_disk_under_the_output_ends_the_following_by_name_not_the_job(
    job: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(follow, "_write", full)
    with pytest.raises(CommandFailed, match="No space left on device") as caught:
        follow_to_the_end(Server([b"x\n", b""], {}).client(), job)
    assert caught.value.exit_code == 1
    assert "operator-1 goes on" in caught.value.message


def test_a_restart_of_the_control_plane_is_waited_for(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    server = Server([b"on it goes\n"], {})
    server.failures += [httpx2.ConnectError("refused") for _ in range(5)]
    server.failures += [httpx2.Response(503, json={"title": "away"}) for _ in range(3)]
    assert follow_to_the_end(server.client(), JOB) == 0
    assert capfdbinary.readouterr().out == b"on it goes\n"
    assert server.slept == [*follow.BACKOFF_S, *[follow.BACKOFF_S[-1]] * 3]


def test_an_outage_without_end_is_given_up_and_told(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    server = Server([b""], {})
    server.failures += [httpx2.ConnectError("refused") for _ in range(10_000)]
    assert follow_to_the_end(server.client(), JOB) == exits.UNFINISHED
    assert follow.OUTAGE_MAX_S <= sum(server.slept) < follow.OUTAGE_MAX_S + 10
    assert b"leitstand logs -f operator-1" in capfdbinary.readouterr().err


def test_a_job_that_is_not_there_is_an_error_at_once() -> None:
    server = Server([b""], {})
    server.failures = [httpx2.Response(404, json={"title": "no such job", "code": "unknown-job"})]
    with pytest.raises(Refused):
        follow_to_the_end(server.client(), JOB)
    assert server.slept == []


@pytest.mark.parametrize(
    ("end", "code", "said"),
    [
        ({}, 0, ""),
        ({"state": "failed", "reason": "exit_code", "exit_code": 7}, 7, "exit code 7"),
        ({"state": "failed", "reason": "signal", "exit_code": None, "signal": 9}, 137, "signal 9"),
        ({"state": "failed", "reason": "max_duration_exceeded", "signal": 15}, 124, "max_duration_exceeded"),
        ({"state": "cancelled", "reason": "cancelled", "signal": 15, "exit_code": None}, 103, "cancelled"),
        ({"state": "rejected", "reason": "limit", "exit_code": None}, 104, "limit"),
        ({"state": "failed", "reason": "start_failed", "exit_code": None}, 105, "start_failed"),
        ({"state": "failed", "reason": "lost", "exit_code": None}, 106, "lost"),
        ({"state": "failed", "reason": "exit_code", "exit_code": None}, 100, "failed"),
    ],
)
def test_the_exit_code_tells_how_the_job_ended(
    end: dict[str, Any], code: int, said: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert follow_to_the_end(Server([b""], end).client(), JOB) == code
    assert said in capfd.readouterr().err


class Interrupted(Server):
    """Ctrl-C comes while the log is followed."""

    cancelled = False

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            assert request.url.path == "/v1/jobs/operator-1/cancel"
            self.cancelled = True
            return httpx2.Response(202, json={})
        if not self.cancelled:
            raise KeyboardInterrupt
        return super().__call__(request)


def test_ctrl_c_without_a_terminal_detaches_and_stops_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    server = Interrupted([b""], {})
    assert follow_to_the_end(server.client(), JOB) == exits.UNFINISHED
    assert not server.cancelled
    said = capfd.readouterr().err
    assert "leitstand logs -f operator-1" in said
    assert "leitstand cancel operator-1" in said


@pytest.mark.parametrize(("answer", "code"), [("s", exits.CANCELLED), ("d", exits.UNFINISHED)])
def test_ctrl_c_on_a_terminal_asks(monkeypatch: pytest.MonkeyPatch, answer: str, code: int) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.prompt", lambda *_, **__: answer)
    server = Interrupted([b""], {"state": "cancelled", "reason": "cancelled"})
    assert follow_to_the_end(server.client(), JOB) == code
    assert server.cancelled == (answer == "s")
