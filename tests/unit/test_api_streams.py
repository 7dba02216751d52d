# SPDX-License-Identifier: Apache-2.0
"""What the API promises about logs and events: every byte once, with its true offset, and every job's last state."""

import asyncio
import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leitstand.api import context
from leitstand.api.auth import ROOT, Identity
from leitstand.api.jobs import blobs, events, logs
from leitstand.api.jobs.logs import one_to_one
from leitstand.core.acts import RoleGranted, RoleRevoked, TokenIssued, TokenRevoked, UserAdded
from leitstand.core.facts import Observation, TenantAdded
from leitstand.views.rows import JobRow
from tests.unit.archives import archive
from tests.unit.faces_story import Plant, first, problem


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def parse(stream: bytes) -> list[tuple[str, Any, str]]:
    """Events of a stream: (name, data, id); comments are left out."""
    found = []
    for block in stream.decode().split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and not line.startswith(":"))
        if fields:
            found.append((fields["event"], json.loads(fields["data"]), fields.get("id", "")))
    return found


def row(plant: Plant, job: str = "operator-1") -> JobRow:
    """The job as the views have it."""
    found = plant.faces.reading.job(job)
    assert found is not None
    return found.job


def member(plant: Plant) -> Identity:
    """A member of the tenant `operator`, user u1 with token k1."""
    plant.writer.cycle(
        UserAdded(""),
        RoleGranted("u1", "member", "operator"),
        TokenIssued("", "u1", "ab" * 32, plant.writer.now + 3_600_000_000),
    )
    return Identity("k1", "u1")


def log_of(found: list[tuple[str, Any, str]], task: int) -> bytes:
    """The log that the events spell, checking that each continues the one before."""
    spelled = b""
    for name, data, _ in found:
        if name == "log" and data["task"] == task:
            assert data["offset"] == len(spelled)
            spelled += data["text"].encode()
    return spelled


# ── logs ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_log_is_read_from_an_offset(plant: Plant) -> None:
    plant.submit()
    content = bytes(range(256)) * 1000
    plant.logs["operator-1.1", 0] = content
    answer = plant.ask("GET", "/v1/jobs/operator-1/logs?offset=70000")
    assert answer.content == content[70000:]
    assert answer.headers["content-type"].startswith("text/plain")
    assert plant.ask("GET", f"/v1/jobs/operator-1/logs?offset={len(content)}").content == b""


def test_a_job_without_a_run_or_a_file_has_an_empty_log(plant: Plant) -> None:
    for gpus in (4, 4, 4):
        plant.submit(resources={"gpus": gpus})
    for job in ("operator-1", "operator-3"):
        assert plant.ask("GET", f"/v1/jobs/{job}/logs").content == b""


def test_a_task_that_the_job_does_not_have_is_not_found(plant: Plant) -> None:
    plant.submit(num_nodes=2)
    problem(plant.ask("GET", "/v1/jobs/operator-1/logs?task=2"), 404, "unknown-task")
    problem(plant.ask("GET", "/v1/jobs/operator-1/logs?task=-1&offset=x"), 400, "invalid-request")


def test_following_gives_all_tasks_and_then_the_end(plant: Plant) -> None:
    plant.submit(num_nodes=2)
    plant.logs["operator-1.1", 0] = b"zero\n" * 40_000
    plant.logs["operator-1.1", 1] = "eins: ü\n".encode()
    plant.finish("operator-1.1", exit_code=3)
    answer = plant.ask("GET", "/v1/jobs/operator-1/logs?follow=true")
    assert answer.headers["content-type"].startswith("text/event-stream")
    found = parse(answer.content)
    assert log_of(found, 0) == b"zero\n" * 40_000
    assert log_of(found, 1) == "eins: ü\n".encode()
    assert found[-1][:2] == (
        "end",
        {"state": "failed", "reason": "exit_code", "exit_code": 3, "signal": None},
    )
    assert [name for name, _, _ in found].count("end") == 1


def test_a_long_log_comes_whole_before_the_end(plant: Plant) -> None:
    plant.submit(num_nodes=2)
    long = b"0123456789abcde\n" * 200_000
    plant.logs["operator-1.1", 0] = plant.logs["operator-1.1", 1] = long
    plant.finish("operator-1.1")
    found = parse(plant.ask("GET", "/v1/jobs/operator-1/logs?follow=true").content)
    assert log_of(found, 0) == log_of(found, 1) == long
    assert [name for name, _, _ in found].index("end") == len(found) - 1


def test_following_one_task_resumes_at_its_offset(plant: Plant) -> None:
    plant.submit(num_nodes=2)
    plant.logs["operator-1.1", 0] = b"other"
    plant.logs["operator-1.1", 1] = b"0123456789"
    plant.finish("operator-1.1")
    found = parse(plant.ask("GET", "/v1/jobs/operator-1/logs?follow=true&task=1&offset=4").content)
    assert [data for name, data, _ in found if name == "log"] == [{"task": 1, "offset": 4, "text": "456789"}]


def test_following_sees_what_is_written_until_the_job_ends(plant: Plant) -> None:
    plant.submit()
    plant.logs["operator-1.1", 0] = b"a"

    async def main() -> list[bytes]:
        parts = []
        async for part in logs._follow(plant.faces, ROOT, row(plant), logs.LogQuery(follow=True)):
            parts.append(part)
            if len(parts) == 1:
                plant.logs["operator-1.1", 0] += "ü".encode()[:1]  # half a character
            if len(parts) == 1:
                asyncio.get_running_loop().call_later(0.01, grow)
            if len(parts) == 2:
                plant.finish("operator-1.1")
        return parts

    def grow() -> None:
        plant.logs["operator-1.1", 0] += "ü".encode()[1:]

    found = parse(b"".join(first(main())))
    assert [data["text"] for name, data, _ in found if name == "log"] == ["a", "ü"]
    assert found[-1][0] == "end"


@given(st.binary(max_size=200), st.lists(st.integers(1, 7), max_size=60))
def test_text_and_bytes_of_a_log_count_the_same(content: bytes, cuts: list[int]) -> None:
    """However the log is cut, the pieces spell the same text, and offsets in text and file agree."""
    spelled, offset = "", 0
    for size in [*cuts, len(content)]:
        chunk = content[offset : offset + size]
        text = one_to_one(chunk, final=offset + size >= len(content))
        spelled += text
        offset += len(text.encode())
    assert offset == len(content)
    assert len(spelled.encode()) == len(content)
    valid = content.decode("utf-8", "ignore")
    assert spelled.replace("?", "") == valid.replace("?", "")


# ── events ────────────────────────────────────────────────────────────────────────────────────────────────────────
def take(plant: Plant, after: int, count: int) -> list[tuple[str, Any, str]]:
    async def main() -> bytes:
        found = b""
        async for part in events._events(plant.faces, ROOT, after):
            found += part
            if found.count(b"\n\n") == count:
                break
        return found

    return parse(first(main()))


def test_each_job_comes_once_in_its_last_state_in_order_of_change(plant: Plant) -> None:
    for gpus in (4, 4, 4):
        plant.submit(resources={"gpus": gpus}, name=f"n{gpus}")
    plant.finish("operator-1.1")
    found = take(plant, 0, 3)
    assert [(name, data["id"], data["state"], data["name"]) for name, data, _ in found] == [
        ("job", "operator-2", "starting", "n4"),
        ("job", "operator-1", "succeeded", "n4"),
        ("job", "operator-3", "starting", "n4"),
    ]
    ids = [int(event_id) for _, _, event_id in found]
    assert ids == sorted(ids)
    resumed = take(plant, ids[0], 2)
    assert [data["id"] for _, data, _ in resumed] == ["operator-1", "operator-3"]


def test_what_changes_later_arrives_without_asking_again(plant: Plant) -> None:
    async def main() -> bytes:
        stream = events._events(plant.faces, ROOT, plant.faces.follower.folded)
        arriving = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        spec = await plant.faces.commit.put("operator", "admin", logs_spec())
        await plant.faces.ask(
            plant.faces.tokens.identify(b"Bearer a token of the tests"), "operator", ask(spec)
        )
        return await arriving

    ((name, data, _),) = parse(first(main()))
    assert (name, data["id"], data["name"]) == ("job", "operator-1", "late")


def test_an_id_beyond_the_journal_hears_what_comes_next(plant: Plant) -> None:
    async def main() -> bytes:
        stream = events._events(plant.faces, ROOT, 10**9)
        arriving = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        await plant.faces.ask(
            plant.faces.tokens.identify(b"Bearer a token of the tests"), "operator", ask("")
        )
        return await arriving

    assert parse(first(main()))[0][1]["id"] == "operator-1"


LOSSES: dict[str, Observation] = {
    "its token is revoked": TokenRevoked("k1"),
    "its role is revoked": RoleRevoked("u1", "member", "operator"),
}


@pytest.mark.parametrize("loss", LOSSES)
def test_who_loses_the_right_hears_no_more_of_a_log_that_is_followed(plant: Plant, loss: str) -> None:
    plant.submit()
    plant.logs["operator-1.1", 0] = b"before\n"
    who = member(plant)

    async def main() -> bytes:
        heard = b""
        async for part in logs._follow(plant.faces, who, row(plant), logs.LogQuery(follow=True)):
            heard += part
            plant.writer.cycle(LOSSES[loss])
            plant.logs["operator-1.1", 0] += b"after\n"
        return heard

    assert log_of(parse(first(main())), 0) == b"before\n"


def test_a_stream_of_events_ends_with_its_token_at_once_and_is_silent_without_a_role(plant: Plant) -> None:
    who = member(plant)
    plant.submit()

    async def main() -> list[bytes]:
        heard = []
        async for part in events._events(plant.faces, who, 0):
            heard.append(part)
            if len(heard) == 1:
                plant.writer.cycle(LOSSES["its role is revoked"])
                plant.writer.cycle(TenantAdded("acme"))
                plant.faces.follower.release()
                await plant.faces.ask(ROOT, "operator", ask(""))
                asyncio.get_running_loop().call_soon(plant.writer.cycle, LOSSES["its token is revoked"])
        return heard

    assert [name for name, _, _ in parse(b"".join(first(main())))] == ["job"]


def test_a_long_log_is_cut_off_when_the_right_is_lost(plant: Plant) -> None:
    plant.submit()
    plant.logs["operator-1.1", 0] = b"x" * (3 * logs.CHUNK)
    who = member(plant)
    found = plant.faces.reading.job("operator-1")
    assert found is not None

    async def main() -> int:
        size = 0
        async for part in logs._whole(plant.faces, who, found, logs.LogQuery()):
            size += len(part)
            plant.writer.cycle(LOSSES["its role is revoked"])
        return size

    assert first(main()) == logs.CHUNK


def test_streams_end_when_the_faces_close(plant: Plant) -> None:
    plant.faces.closing.set()
    plant.submit()
    for path in ("/v1/events?after=0", "/v1/jobs/operator-1/logs?follow=true"):
        assert parse(plant.ask("GET", path).content) == []


def test_a_last_event_id_wins_and_nonsense_is_refused(plant: Plant) -> None:
    answer = plant.ask("GET", "/v1/events", headers={"Last-Event-ID": "x"})
    problem(answer, 400, "invalid-request")
    problem(plant.ask("GET", "/v1/events?after=-1"), 400, "invalid-request")


def held(plant: Plant, what: str, count: int) -> contextlib.ExitStack:
    stack = contextlib.ExitStack()
    for _ in range(count):
        stack.enter_context(plant.faces.limits.hold((what, count)))
    return stack


@pytest.mark.parametrize(
    ("what", "most"),
    [("event streams of user 'admin'", context.STREAMS_MAX), ("event streams", context.STREAMS_IN_ALL)],
)
def test_more_streams_than_the_limit_are_refused(plant: Plant, what: str, most: int) -> None:
    plant.submit()
    with held(plant, what, most):
        answer = plant.ask("GET", "/v1/jobs/operator-1/logs?follow=true")
        assert "event streams" in problem(answer, 429, "busy")["detail"]
    plant.finish("operator-1.1")
    assert plant.ask("GET", "/v1/jobs/operator-1/logs?follow=true").status_code == 200


def test_more_tokens_are_no_more_streams(plant: Plant) -> None:
    plant.submit()
    other = plant.ask("POST", "/v1/users/me/tokens", json={}).json()["secret"]
    with held(plant, "event streams of user 'admin'", context.STREAMS_MAX):
        problem(plant.ask("GET", "/v1/events", other), 429, "busy")


@pytest.mark.parametrize(
    ("what", "most"),
    [
        ("uploads of user 'admin'", blobs.UPLOADS_MAX),
        ("uploads of tenant 'operator'", blobs.UPLOADS_OF_TENANT_MAX),
    ],
)
def test_more_uploads_than_the_limit_are_refused(plant: Plant, what: str, most: int) -> None:
    packed = archive()
    path = f"/v1/blobs/{hashlib.sha256(packed).hexdigest()}"
    with held(plant, what, most):
        assert "uploads" in problem(plant.ask("PUT", path, content=packed), 429, "busy")["detail"]
    assert plant.ask("PUT", path, content=packed).status_code == 201


def logs_spec() -> Any:
    from leitstand.runtime.spec import RunSpec

    return RunSpec(name="late", argv=("true",))


def ask(spec: str) -> Any:
    from leitstand.core.facts import Resources, SubmitJob

    return SubmitJob("operator", "default", Resources(gpus=1), spec=spec)
