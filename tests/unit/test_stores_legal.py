# SPDX-License-Identifier: Apache-2.0
"""What is wrong with a legal identity is told at once, each fault by name; what is doubtful is left to a person."""

from typing import Any

import msgspec
import pytest

from leitstand.stores.countries import COUNTRIES
from leitstand.stores.legal import Contact, LegalIdentity, Linked, doubts, email_fault, faults, size_class

GOOD = LegalIdentity(
    "Acme GmbH", "Hüttenstraße 1", "44137", "Dortmund", "DE", "small",
    vat_id="DE136695976", headcount=30, turnover_eur=5_000_000,
    contacts=(Contact("contract", "Grace Hopper", "grace@example.org", "+49 (231) 12-34"),),
)  # fmt: skip


def changed(**fields: Any) -> LegalIdentity:
    return msgspec.structs.replace(GOOD, **fields)


def test_a_good_one_has_neither_faults_nor_doubts() -> None:
    assert (faults(GOOD), doubts(GOOD)) == ([], [])


def test_everything_wrong_is_told_at_once() -> None:
    bad = LegalIdentity(
        " ", "x" * 201, "1\n", "", "de", "small",
        vat_id="DE1", leitweg_id="991-03730-18", headcount=-1,
        linked_enterprises=(Linked("", "partner"), Linked("B", "linked", share_percent=60),
                            Linked("C", "partner", share_percent=51)),
        contacts=(Contact("billing", "", "no address", "call me"),),
    )  # fmt: skip
    assert [fault.where for fault in faults(bad)] == [
        "/name", "/street", "/postcode", "/city", "/country", "/vat_id", "/leitweg_id", "/headcount",
        "/linked_enterprises/0/name", "/linked_enterprises/0/share_percent", "/linked_enterprises/1/share_percent",
        "/linked_enterprises/2/share_percent", "/contacts/0/name", "/contacts/0/email", "/contacts/0/phone",
        "/contacts",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("country", "vat_id", "good"),
    [
        ("DE", "DE136695976", True), ("DE", "de 136 695 976", True), ("DE", "DE136695978", False),
        ("DE", "ATU13585627", False), ("AT", "ATU13585627", True), ("AT", "ATU13585626", False),
        ("GR", "EL094259216", True), ("GR", "GR094259216", False), ("FR", "FR40303265045", True),
        ("CH", "CHE-107.787.577 IVA", True), ("CH", "CHE-107.787.578 IVA", False),
        ("GB", "XI432525179", True), ("US", "US12345", True), ("DE", "DE", False), ("DE", "DÉ136695976", False),
    ],
)  # fmt: skip
def test_vat_ids_are_checked_by_the_rules_of_their_country(country: str, vat_id: str, good: bool) -> None:
    assert ([fault.where for fault in faults(changed(country=country, vat_id=vat_id))] == []) == good


@pytest.mark.parametrize(
    ("leitweg_id", "good"),
    [
        ("991-03730-19", True), ("04011000-1234512345-06", True), ("04011000-1234512345-60", False),
        ("17-03730-19", False), ("x", False), ("991-0373\uff10-19", False),
    ],
)  # fmt: skip
def test_leitweg_ids_are_checked_by_their_digits(leitweg_id: str, good: bool) -> None:
    assert (faults(changed(leitweg_id=leitweg_id)) == []) == good


@pytest.mark.parametrize(
    ("email", "good"),
    [
        ("grace@example.org", True), ("a.b+c@sub.example.museum", True), ("jö@münchen.de", True),
        ("grace", False), ("grace@localhost", False), ("a b@example.org", False), ("@example.org", False),
        ("a@@example.org", False), ("a@.org", False), ("a@-b.org", False), ("a@b.1", False),
        ("a@example.org\n", False), ("x" * 65 + "@example.org", False), ("a@" + "b." * 200 + "org", False),
    ],
)  # fmt: skip
def test_addresses_are_plausible(email: str, good: bool) -> None:
    assert (email_fault(email) == "") == good


@pytest.mark.parametrize(
    ("heads", "turnover", "balance", "expected"),
    [
        (9, 2_000_000, 50_000_000, "micro"), (9, 50_000_000, 2_000_000, "micro"), (10, 2_000_000, 0, "small"),
        (9, 2_000_001, 2_000_001, "small"), (49, 10_000_000, None, "small"), (50, 10_000_000, None, "medium"),
        (249, 50_000_000, None, "medium"), (249, 50_000_001, 43_000_000, "medium"),
        (249, 50_000_001, 43_000_001, "large"),
        (250, 1, 1, "large"), (5, None, None, None), (None, 1, 1, None),
    ],
)  # fmt: skip
def test_the_size_class_follows_the_ceilings_of_the_recommendation(
    heads: int | None, turnover: int | None, balance: int | None, expected: str | None
) -> None:
    assert size_class(changed(headcount=heads, turnover_eur=turnover, balance_eur=balance)) == expected


def test_linked_enterprises_count_in_full_and_partners_by_their_share() -> None:
    linked = Linked("Mother SE", "linked", 230, 40_000_000)
    assert size_class(changed(linked_enterprises=(linked,))) == "large"  # 260 heads
    partner = Linked("Friend KG", "partner", 79, 1_000_000, share_percent=25)
    assert size_class(changed(linked_enterprises=(partner,))) == "small"  # 30 + 19.75 heads
    assert (
        size_class(changed(linked_enterprises=(msgspec.structs.replace(partner, headcount=80),))) == "medium"
    )
    assert size_class(changed(linked_enterprises=(Linked("Unknown", "linked"),))) is None


def test_a_class_that_figures_contradict_or_do_not_tell_is_a_doubt_and_no_fault() -> None:
    contradicted = changed(headcount=300)
    assert faults(contradicted) == []
    (doubt,) = doubts(contradicted)
    assert doubt.where == "/size_class"
    assert "large enterprise" in doubt.what
    assert [doubt.where for doubt in doubts(changed(headcount=None))] == ["/size_class"]
    assert doubts(changed(size_class="large", headcount=None)) == []
    public = changed(size_class="public", vat_id="")
    assert [doubt.where for doubt in doubts(public)] == ["/leitweg_id"]
    assert [doubt.where for doubt in doubts(changed(vat_id=""))] == ["/vat_id"]


def test_too_many_entries_are_told_and_not_walked() -> None:
    many = changed(contacts=(Contact("contract", "", ""),) * 21)
    found = faults(many)
    assert (found[0].where, found[0].what) == ("/contacts", "has 21 entries; the limit is 20")
    assert len(found) == 41


def test_the_countries_are_those_of_the_standard() -> None:
    assert len(COUNTRIES) == 249
    assert {"DE", "FR", "AX", "XK", "UK", "EU"} & COUNTRIES == {"DE", "FR", "AX"}
