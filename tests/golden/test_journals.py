# SPDX-License-Identifier: Apache-2.0
"""Journals of released fact versions: every later version must fold them to the same state and write them alike.

`0001.jsonl` holds one of each fact, as [at, stored fact] a line. A new version of a fact adds a file; none is edited.
"""

import json
from pathlib import Path

import pytest

from leitstand.core.facts import FACTS
from leitstand.core.state import PROJECTION_VERSION, State
from leitstand.journal.codec import DEFAULT
from leitstand.journal.memory import MemoryJournal

FOLDER = Path(__file__).parent / "journals"
# file -> (projection version, digest of the state, hash of the chain's end under the id "golden")
GOLDEN = {
    "0001.jsonl": (
        1,
        "15b236b39dd1254be85383182528d0789217ddc65f612671060e48765e9a4ccb",
        "443e84b1937e0b66f4e4ccc3b963ec65b88bb4cfc388ba0a72dd82fb0548629a",
    ),
}


def entries(name: str) -> list[tuple[int, bytes]]:
    lines = (FOLDER / name).read_text().splitlines()
    return [(at, json.dumps(fact, separators=(",", ":")).encode()) for at, fact in map(json.loads, lines)]


@pytest.mark.parametrize("name", GOLDEN)
def test_a_released_journal_folds_to_the_state_it_always_gave(name: str) -> None:
    version, digest, _ = GOLDEN[name]
    state = State()
    for at, body in entries(name):
        state.apply(at, DEFAULT.decode(body))
    assert version == PROJECTION_VERSION, (
        "a new projection: give the digests that it makes of the old journals"
    )
    assert state.digest() == digest


@pytest.mark.parametrize("name", GOLDEN)
def test_current_facts_are_still_written_as_they_were(name: str) -> None:
    journal = MemoryJournal("golden")
    for at, body in entries(name):
        fact = DEFAULT.decode(body)
        assert DEFAULT.encode([fact]) == [body]
        journal.append(journal.head, at, [fact])
    assert journal.head.hash.hex() == GOLDEN[name][2]


def test_the_journals_hold_every_fact() -> None:
    held = {type(DEFAULT.decode(body)) for name in GOLDEN for _, body in entries(name)}
    assert held == set(FACTS)


def test_every_golden_file_is_checked() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(GOLDEN)
