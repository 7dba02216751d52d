# SPDX-License-Identifier: Apache-2.0
"""Journals of released fact versions: every later version must fold them to the same state and write them alike.

Together the files hold one of each fact, as [at, stored fact] a line. A new version of a fact adds a file; none is
edited. A projection of a new version gives new digests of the old files; the hashes of their bytes stay for ever.
"""

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leitstand.core.facts import FACTS, JobSubmitted, RulesSet
from leitstand.core.state import PROJECTION_VERSION, Projection, State
from leitstand.journal.chain import extend, genesis
from leitstand.journal.codec import DEFAULT

FOLDER = Path(__file__).parent / "journals"
# file -> (projection version, digest of the state, hash of the chain's end over the stored bytes under the id "golden")
GOLDEN = {
    "0001.jsonl": (
        6,
        "a0b6a49d6d3a12099844b7b89a28d385272cebae41326a4e7c9115faf52ba4a3",
        "443e84b1937e0b66f4e4ccc3b963ec65b88bb4cfc388ba0a72dd82fb0548629a",
    ),
    "0002.jsonl": (
        6,
        "ba9194ac7e48770d8f95edbfe8e452513e6a682cf56daa8cda603104f45f2c9c",
        "38ce45956eb33dfdf3e0e967997964a420f35db0685b0c046396534a5f824594",
    ),
    "0003.jsonl": (
        6,
        "42891e44b3a97cd5d7d552a40a95d55d19d810aca05e84a9628bc01f6e35bfdd",
        "bf40e98eab2639e31cbc5725d122c6658a20d5dfef2a242f063e5c6548cebb9c",
    ),
    "0004.jsonl": (
        6,
        "579090c21c1940a54a6ec4eddf307a3a83e8e0264446d908c340101bed4bb766",
        "f4452820f32c596a44890624cf82704d084bbce6663dbb51c073a19e87fee9dd",
    ),
    "0005-sites.jsonl": (
        6,
        "43d54bc14df45e5610ab6a39117bea50354e382b6798ae2e89d6ebcb0c0ffbf7",
        "fcf4cdec50a95f9b83638a558fb6ab6b50ffc686936f92c88760d8b47e20021a",
    ),
    "bookings.jsonl": (
        6,
        "867bb6f8022d191e2bb4400ca88123ec60c21598b16c27e9cea1911bed450753",
        "d1d3824bb8dced4805df01b9b9cbced51baa194b39c3a75047c1b2f5bf2c03af",
    ),
    "delegated.jsonl": (
        6,
        "aaadbcae994b794464397c0d3061be942d624a066a00cc7926473e364cf88b05",
        "666873afe75c4cd562de8237a9f20f08baf22aa9e168bc26078d6a352ea333ae",
    ),
    "elastic.jsonl": (
        6,
        "1a8ac108049bc2093d62c51c070f2837f827b5f4c92afd67ab760c1560561375",
        "9565c251febb60abef69f486f8caf7c4a0f104bf25bd27d9a81c3a31f3ee7087",
    ),
    "health.jsonl": (
        6,
        "7d3cb5b0efbc5ce965ff9ccabc5b7e42c74a72c5a29a07aade7188e892fd5960",
        "655c59ab9ac45b776701b23336d2f8d2a2eaa276e8d8e80ca6f5965de7780ca7",
    ),
    "maintenance.jsonl": (
        6,
        "65666080b1a68d9cd913439491700eb7ca94803b0b2b472a5478bf88d0fa4d10",
        "b9f11361063a88c68c396627e133238fd043af1b27c37208758904aa1df0f058",
    ),
    "phases.jsonl": (
        6,
        "51639dadf195ad968dd8c50652588413adab8124db6de827e81bbd7a11c943a7",
        "1f25a7019c1ad5601d4372ef8fc8cabb4faab2775001ecf4c064a25e107538f9",
    ),
    "promised.jsonl": (
        6,
        "2458cabc78436c0c6085b8868841f49a1497cf4da4e4bd89a51dfab45c16b11b",
        "b281b3149364fb8b653a4faab53e46705d9e23013fe12b3612b07377d649ab5b",
    ),
}


def entries(name: str) -> list[tuple[int, bytes]]:
    lines = (FOLDER / name).read_text().splitlines()
    return [(at, json.dumps(fact, separators=(",", ":")).encode()) for at, fact in map(json.loads, lines)]


def folded(name: str) -> State:
    state = State()
    for at, body in entries(name):
        state.apply(at, DEFAULT.decode(body))
    return state


@pytest.mark.parametrize("name", GOLDEN)
def test_a_released_journal_folds_to_the_state_it_always_gave(name: str) -> None:
    version, digest, _ = GOLDEN[name]
    assert version == PROJECTION_VERSION, (
        "a new projection: give the digests that it makes of the old journals"
    )
    assert folded(name).digest() == digest


@pytest.mark.parametrize("name", GOLDEN)
def test_the_bytes_of_a_released_journal_stay(name: str) -> None:
    head = genesis("golden")
    for at, body in entries(name):
        (hashed,) = extend(head, at, [body])
        head = msgspec.structs.replace(head, seq=head.seq + 1, at=at, hash=hashed)
    assert head.hash.hex() == GOLDEN[name][2]


@pytest.mark.parametrize("name", GOLDEN)
def test_current_facts_are_still_written_as_they_were(name: str) -> None:
    """To the byte; but a bundle of rules is written whole, so what a later version added to it is there too."""
    for _, body in entries(name):
        fact = DEFAULT.decode(body)
        (again,) = DEFAULT.encode([fact])
        if isinstance(fact, RulesSet):
            assert_within(json.loads(body), json.loads(again))
        else:
            assert again == body


def assert_within(stored: Any, written: Any) -> None:
    """Everything of `stored` is in `written`, with the same values, in the same order."""
    if not isinstance(stored, dict):
        assert stored == written
        return
    assert [key for key in written if key in stored] == list(stored)
    for key, value in stored.items():
        assert_within(value, written[key])


@pytest.mark.parametrize("name", GOLDEN)
def test_a_snapshot_in_the_middle_of_a_released_journal_leads_to_the_same_state(name: str) -> None:
    journal = [(at, DEFAULT.decode(body)) for at, body in entries(name)]
    for cut in range(0, len(journal), 7):
        state = State()
        for at, fact in journal[:cut]:
            state.apply(at, fact)
        stored = msgspec.msgpack.encode(state.project())
        state = State.restore(msgspec.msgpack.decode(stored, type=Projection))
        for at, fact in journal[cut:]:
            state.apply(at, fact)
        assert state.digest() == GOLDEN[name][1], cut


def test_the_journals_hold_every_fact() -> None:
    held = [DEFAULT.decode(body) for name in GOLDEN for _, body in entries(name)]
    assert {type(fact) for fact in held} == set(FACTS)
    assert any(isinstance(fact, JobSubmitted) and fact.retries for fact in held)


def test_every_golden_file_is_checked() -> None:
    assert {path.name for path in FOLDER.iterdir()} == set(GOLDEN)
