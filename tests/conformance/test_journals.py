# SPDX-License-Identifier: Apache-2.0
"""One suite for every journal: what the loop, the followers and the twin may rely on."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from leitstand.core.facts import Fact, JobAdmitted, JobSubmitted, NodeAdded, NodeRemoved, Resources
from leitstand.journal.codec import FACT_BYTES_MAX
from leitstand.journal.memory import MemoryJournal
from leitstand.journal.postgres import PostgresJournal
from leitstand.journal.sqlite import SqliteJournal
from leitstand.runtime.ports import Entry, Head, Journal, StaleHead
from tests.postgres import Server

NODE = NodeAdded(node="n-1", site="here", gpus=8, cpus_milli=64_000, memory_mib=4096)
SUBMITTED = JobSubmitted(job="acme-1", tenant="acme", project="default", resources=Resources(gpus=1))
ADMITTED = JobAdmitted(job="acme-1", pool="shared", max_duration_us=5)
TOO_LONG = NodeRemoved(node="x" * FACT_BYTES_MAX)


POSTGRES = [
    pytest.param("postgres", marks=pytest.mark.system),
    pytest.param("postgres with large commits", marks=pytest.mark.system),
]
STORED = ["sqlite", "sqlite with large commits", *POSTGRES]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    started = Server()
    yield started
    started.close()


@pytest.fixture
def journals(request: pytest.FixtureRequest, tmp_path: Path) -> Callable[[str], Journal]:
    """Opens the one journal of a kind."""

    def opened(kind: str) -> Journal:
        commit_every = 1000 if kind.endswith("large commits") else 1
        if kind == "memory":
            return MemoryJournal("replay")
        if kind.startswith("sqlite"):
            return SqliteJournal(tmp_path / f"{kind}.db", journal_id="replay", commit_every=commit_every)
        url = request.getfixturevalue("empty").url
        return PostgresJournal(url, journal_id="replay", commit_every=commit_every)

    return opened


@pytest.fixture
def empty(server: Server) -> Server:
    """The server, without a journal."""
    server.empty()
    return server


@pytest.fixture(params=["memory", *STORED])
def journal(request: pytest.FixtureRequest, journals: Callable[[str], Journal]) -> Iterator[Journal]:
    opened = journals(request.param)
    yield opened
    opened.close()


# ── append and read ───────────────────────────────────────────────────────────────────────────────────────────────
def test_an_empty_journal_has_head_zero_before_all_time_and_no_entries(journal: Journal) -> None:
    assert journal.head.seq == 0
    assert journal.head.at == -(2**63)
    assert len(journal.head.hash) == 32
    assert list(journal.read(0)) == []


def test_what_is_appended_is_read_back_in_order_with_its_stamps(journal: Journal) -> None:
    head = journal.append(journal.head, 10, [NODE, SUBMITTED])
    assert head == journal.head
    head = journal.append(head, 10, [ADMITTED])
    assert (head.seq, head.at) == (3, 10)
    assert list(journal.read(0)) == [Entry(1, 10, NODE), Entry(2, 10, SUBMITTED), Entry(3, 10, ADMITTED)]


def test_every_append_moves_the_hash(journal: Journal) -> None:
    hashes = [journal.head.hash]
    for _ in range(3):
        hashes.append(journal.append(journal.head, 7, [NODE]).hash)
    assert len(set(hashes)) == 4


def test_appending_nothing_changes_nothing(journal: Journal) -> None:
    head = journal.append(journal.head, 10, [NODE])
    assert journal.append(head, 20, []) == head
    assert journal.head == head


@pytest.mark.parametrize(
    ("after", "limit", "expected"),
    [
        (0, None, [1, 2, 3, 4, 5]),
        (3, None, [4, 5]),
        (5, None, []),
        (99, None, []),
        (-1, None, [1, 2, 3, 4, 5]),
        (0, 2, [1, 2]),
        (2, 2, [3, 4]),
        (4, 10, [5]),
        (0, 0, []),
        (1, 1, [2]),
    ],
)
def test_read_starts_after_and_stops_at_the_limit(
    journal: Journal, after: int, limit: int | None, expected: list[int]
) -> None:
    journal.append(journal.head, 1, [NODE] * 5)
    assert [entry.seq for entry in journal.read(after, limit)] == expected


def test_reads_longer_than_one_fetch_miss_nothing(journal: Journal) -> None:
    journal.append(journal.head, 1, [NODE] * 10_000)
    assert [entry.seq for entry in journal.read(0)] == list(range(1, 10_001))
    assert [entry.seq for entry in journal.read(5, 9_000)] == list(range(6, 9_006))


# ── all or nothing ────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_stale_head_is_refused_and_nothing_is_written(journal: Journal) -> None:
    stale = journal.head
    head = journal.append(stale, 10, [NODE])
    with pytest.raises(StaleHead):
        journal.append(stale, 11, [ADMITTED])
    with pytest.raises(StaleHead):
        journal.append(Head(head.seq, head.at, bytes(32)), 11, [ADMITTED])
    assert_unchanged(journal, head, [NODE])


def test_a_fact_over_the_limit_is_refused_by_name_and_nothing_of_its_append_is_written(
    journal: Journal,
) -> None:
    head = journal.append(journal.head, 10, [NODE])
    with pytest.raises(ValueError, match=r"NodeRemoved is 65\d\d\d bytes long, over the limit of 65536"):
        journal.append(head, 11, [ADMITTED, TOO_LONG, SUBMITTED])
    assert_unchanged(journal, head, [NODE])


def test_a_fact_of_exactly_the_limit_is_kept(journal: Journal) -> None:
    frame = len(b'{"fact":"NodeRemoved","node":""}')
    fact = NodeRemoved(node="x" * (FACT_BYTES_MAX - frame))
    journal.append(journal.head, 0, [fact])
    assert [entry.fact for entry in journal.read(0)] == [fact]


def test_what_is_no_fact_is_refused_and_nothing_is_written(journal: Journal) -> None:
    with pytest.raises(TypeError, match="Resources"):
        journal.append(journal.head, 0, [NODE, Resources()])  # type: ignore[list-item]
    assert_unchanged(journal, journal.head, [])


@pytest.mark.parametrize("at", [9, -10, -(2**63)])
def test_a_stamp_before_the_heads_is_refused(journal: Journal, at: int) -> None:
    head = journal.append(journal.head, 10, [NODE])
    with pytest.raises(ValueError, match="stamp"):
        journal.append(head, at, [ADMITTED])
    assert_unchanged(journal, head, [NODE])


def test_a_stamp_beyond_64_bits_is_refused(journal: Journal) -> None:
    with pytest.raises(ValueError, match="stamp"):
        journal.append(journal.head, 2**63, [NODE])
    assert_unchanged(journal, journal.head, [])


def test_trace_time_may_start_before_zero(journal: Journal) -> None:
    head = journal.append(journal.head, -5, [NODE])
    journal.append(head, 0, [ADMITTED])
    assert [entry.at for entry in journal.read(0)] == [-5, 0]


def assert_unchanged(journal: Journal, head: Head, facts: list[Fact]) -> None:
    assert journal.head == head
    assert [entry.fact for entry in journal.read(0)] == facts
    journal.append(head, 100, [NODE])  # and it goes on from there
    assert [entry.fact for entry in journal.read(0)] == [*facts, NODE]


# ── the same chain everywhere ─────────────────────────────────────────────────────────────────────────────────────
def test_equal_id_stamps_and_facts_make_equal_chains_in_every_journal(journal: Journal) -> None:
    memory = MemoryJournal("replay")
    for at in range(50):
        for one in (memory, journal):
            one.append(one.head, at - 3, [NODE, SUBMITTED, ADMITTED][: at % 4])
    assert journal.head == memory.head
    assert list(journal.read(0)) == list(memory.read(0))


def test_the_chain_is_the_documented_one(journal: Journal) -> None:
    import hashlib

    head = journal.append(journal.head, -2, [NodeRemoved(node="n-1")])
    genesis = hashlib.sha256(b"leitstand journal 1\nreplay").digest()
    body = b'{"fact":"NodeRemoved","node":"n-1"}'
    entry = genesis + b"\0\0\0\0\0\0\0\x01" + b"\xff\xff\xff\xff\xff\xff\xff\xfe" + body
    assert head.hash == hashlib.sha256(entry).digest()


# ── what survives (journals that are stored) ──────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("kind", ["sqlite", POSTGRES[0]])
def test_of_two_writers_the_second_to_append_is_fenced(kind: str, journals: Callable[[str], Journal]) -> None:
    one, two = journals(kind), journals(kind)
    head = one.append(one.head, 10, [NODE])
    with pytest.raises(StaleHead, match="another writer took over"):
        two.append(two.head, 11, [ADMITTED])
    assert [entry.fact for entry in two.read(0)] == [NODE]
    assert one.append(head, 12, [SUBMITTED]).seq == 2
    one.close()
    two.close()


@pytest.mark.parametrize("kind", STORED)
def test_a_closed_journal_reopens_with_head_and_entries(
    kind: str, journals: Callable[[str], Journal]
) -> None:
    journal = journals(kind)
    head = journal.append(journal.head, 10, [NODE, SUBMITTED])
    journal.close()
    journal = journals(kind)
    assert journal.head == head
    assert [entry.fact for entry in journal.read(0)] == [NODE, SUBMITTED]
    journal.append(head, 10, [ADMITTED])
    journal.close()


WRITE_AND_SAY = """
import sys
from pathlib import Path
from leitstand.core.facts import NodeRemoved
from leitstand.journal.sqlite import SqliteJournal
journal = SqliteJournal(Path(sys.argv[1]))
for number in range(1, 1_000_000):
    head = journal.append(journal.head, number, [NodeRemoved(node="a"), NodeRemoved(node="b"), NodeRemoved(node="c")])
    print(head.seq, head.hash.hex(), flush=True)
"""


@pytest.mark.system
@pytest.mark.parametrize("acknowledged", [1, 7, 40])
def test_after_kill_9_every_acknowledged_append_is_there_and_whole(acknowledged: int, tmp_path: Path) -> None:
    path = tmp_path / "journal.db"
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_SAY, str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    said = [writer.stdout.readline().split() for _ in range(acknowledged)]
    os.kill(writer.pid, signal.SIGKILL)
    said += [line.split() for line in writer.stdout.read().splitlines() if line.count(" ") == 1]
    writer.wait()
    journal = SqliteJournal(path)
    rows = {seq: hash_.hex() for seq, _, _, hash_ in journal.rows(0)}
    assert all(rows[int(seq)] == hash_ for seq, hash_ in said if len(hash_) == 64)
    assert journal.head.seq == len(rows)
    assert len(rows) % 3 == 0
    assert journal.append(journal.head, 10**9, [NODE]).seq == len(rows) + 1
    journal.close()
