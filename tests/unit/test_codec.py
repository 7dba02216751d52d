# SPDX-License-Identifier: Apache-2.0
"""The codec: stored forms that never change, old versions that stay readable, newer ones that are refused."""

import msgspec
import pytest

from leitstand.core.facts import (
    FACTS,
    Fact,
    JobAdmitted,
    JobSubmitted,
    NodeRemoved,
    Resources,
    RulesSet,
    RunPlaced,
    Task,
)
from leitstand.core.rules import Rules, digest
from leitstand.journal.codec import (
    DEFAULT,
    FACT_BYTES_MAX,
    Codec,
    JournalUnusable,
    Undecodable,
    UnknownFact,
    name_of,
)


# versions of a fact as three releases knew it
class Weighed(Fact, frozen=True, gc=False, tag="Weighed"):
    node: str
    kg: int


class Weighed2(Fact, frozen=True, gc=False, tag="Weighed.2"):
    node: str
    grams: int


class Weighed3(Fact, frozen=True, gc=False, tag="Weighed.3"):
    node: str
    grams: int
    scale: str


def second_of(old: Weighed) -> Weighed2:
    return Weighed2(node=old.node, grams=old.kg * 1000)


def third_of(old: Weighed2) -> Weighed3:
    return Weighed3(node=old.node, grams=old.grams, scale="unknown")


FIRST = Codec([Weighed, NodeRemoved], {})
THIRD = Codec([Weighed3, NodeRemoved], {Weighed: second_of, Weighed2: third_of})


# ── stored form ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("fact", "stored"),
    [
        (NodeRemoved(node="n-1"), b'{"fact":"NodeRemoved","node":"n-1"}'),
        (
            JobSubmitted(job="acme-1", tenant="acme", project="p", resources=Resources(gpus=8)),
            b'{"fact":"JobSubmitted","job":"acme-1","tenant":"acme","project":"p","resources":{"gpus":8}}',
        ),
        (
            RunPlaced(run="acme-1.1", job="acme-1", tasks=(Task.of("n-1", (0, 1)),)),
            b'{"fact":"RunPlaced","run":"acme-1.1","job":"acme-1","tasks":[["n-1","3"]]}',
        ),
    ],
)
def test_released_facts_keep_their_stored_form(fact: Fact, stored: bytes) -> None:
    assert DEFAULT.encode([fact]) == [stored]
    assert DEFAULT.decode(stored) == fact


def test_every_fact_of_the_vocabulary_has_a_name_of_its_own() -> None:
    assert len({name_of(fact) for fact in FACTS}) == len(FACTS)


def test_rules_come_back_whole() -> None:
    rules = Rules(name="x", discipline="sjf")
    fact = RulesSet(rules=rules, digest=digest(rules))
    (body,) = DEFAULT.encode([fact])
    assert DEFAULT.decode(body) == fact


def test_two_facts_with_one_stored_name_are_refused() -> None:
    class Other(Fact, frozen=True, tag="Weighed"):
        node: str

    with pytest.raises(ValueError, match="share a stored name"):
        Codec([Weighed, Other], {})


def test_a_fact_over_the_limit_is_named_with_its_size_and_the_limit() -> None:
    with pytest.raises(
        ValueError, match=rf"NodeRemoved is \d+ bytes long, over the limit of {FACT_BYTES_MAX}"
    ):
        DEFAULT.encode([NodeRemoved(node="n"), NodeRemoved(node="x" * FACT_BYTES_MAX)])


# ── old versions ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_the_first_version_wrote_reads_as_the_third() -> None:
    (body,) = FIRST.encode([Weighed(node="n-1", kg=3)])
    assert THIRD.decode(body) == Weighed3(node="n-1", grams=3000, scale="unknown")
    assert [entry.fact for entry in THIRD.entries([(1, 0, body)])] == [THIRD.decode(body)]


def test_the_second_version_is_upcast_once_and_the_third_not_at_all() -> None:
    second = msgspec.json.encode(Weighed2(node="n-1", grams=7))
    assert THIRD.decode(second) == Weighed3(node="n-1", grams=7, scale="unknown")
    third = Weighed3(node="n-1", grams=7, scale="s")
    assert THIRD.decode(THIRD.encode([third])[0]) == third


def test_facts_without_old_versions_are_untouched_beside_upcasts() -> None:
    assert THIRD.decode(b'{"fact":"NodeRemoved","node":"n"}') == NodeRemoved(node="n")


def test_an_old_version_is_no_longer_written() -> None:
    with pytest.raises(TypeError, match=r"current version only, not Weighed$"):
        THIRD.encode([Weighed(node="n-1", kg=3)])


def test_an_upcast_that_ends_nowhere_is_a_broken_invariant() -> None:
    broken = Codec([NodeRemoved], {Weighed: second_of})
    with pytest.raises(AssertionError, match=r"Weighed\.2"):
        broken.decode(msgspec.json.encode(Weighed(node="n", kg=1)))


# ── newer and damaged bodies ──────────────────────────────────────────────────────────────────────────────────────
def test_older_code_refuses_newer_facts_by_entry_and_name() -> None:
    (body,) = THIRD.encode([Weighed3(node="n-1", grams=3, scale="s")])
    with pytest.raises(UnknownFact, match=r"entry 12: fact 'Weighed\.3' is unknown .* use a newer leitstand"):
        list(FIRST.entries([(12, 0, body)]))


@pytest.mark.parametrize(
    "body",
    [
        b'{"fact":"JobAdmitted","job":"a-1","pool":"p","max_duration_us":1,"colour":"red"}',
        b'{"fact":"JobSubmitted","job":"a-1","tenant":"a","project":"p","resources":{"gpus":1,"tpus":2}}',
        b'{"fact":"RunPlaced","run":"a-1.1","job":"a-1","tasks":[["n","3",7]]}',
        b'{"fact":"RulesSet","digest":"","rules":{"colour":"red"}}',
    ],
)
def test_older_code_refuses_a_field_that_newer_code_added_instead_of_losing_it(body: bytes) -> None:
    with pytest.raises(UnknownFact, match="carries more than this version knows"):
        DEFAULT.decode(body)


def test_a_field_that_an_older_version_did_not_write_yet_takes_its_default() -> None:
    assert DEFAULT.decode(
        b'{"fact":"JobAdmitted","job":"a-1","pool":"p","max_duration_us":1}'
    ) == JobAdmitted(job="a-1", pool="p", max_duration_us=1)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"7",
        b"{}",
        b'{"fact":7}',
        b'{"fact":"NodeRemoved"}',
        b'{"fact":"NodeRemoved","node":7}',
        b'{"fact":"NodeRemoved","node":"\xff"}',
        b'{"fact":"NodeRemoved","node":"n"} trailing',
        b"[" * 100_000,
    ],
)
def test_a_damaged_body_is_undecodable_and_named_by_entry(body: bytes) -> None:
    with pytest.raises(Undecodable, match=r"^entry 3: "):
        list(DEFAULT.entries([(3, 0, body)]))
    with pytest.raises(JournalUnusable):
        DEFAULT.decode(body)
