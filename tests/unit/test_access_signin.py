# SPDX-License-Identifier: Apache-2.0
"""Limits on sign-in: a burst, then a rate; who knows the secret is not slowed down; memory is bounded."""

import pytest

from leitstand.access.signin import (
    BUCKETS_MAX,
    IN_ALL,
    PER_ACCOUNT,
    PER_SOURCE,
    Rate,
    SignIns,
    network,
)
from leitstand.core.units import SECOND_US

NOW = 1_800_000_000 * SECOND_US


def limits() -> SignIns:
    return SignIns(Rate(3, 10 * SECOND_US), Rate(2, 60 * SECOND_US), Rate(100, SECOND_US))


def test_after_a_burst_a_source_waits_and_is_told_how_long() -> None:
    signins = limits()
    assert [signins.attempt(NOW, "192.0.2.1") for _ in range(4)] == [0, 0, 0, 10]
    assert signins.attempt(NOW + 9_500_000, "192.0.2.1") == 1
    assert signins.attempt(NOW + 10 * SECOND_US, "192.0.2.1") == 0
    assert signins.attempt(NOW + 10 * SECOND_US, "192.0.2.1") == 10
    assert signins.attempt(NOW, "192.0.2.2") == 0, "others go on"


def test_an_account_is_guarded_whatever_the_source() -> None:
    signins = limits()
    assert [signins.attempt(NOW, f"192.0.2.{n}", "u1") for n in range(3)] == [0, 0, 60]
    assert signins.attempt(NOW, "192.0.2.9", "u2") == 0


def test_all_together_are_limited() -> None:
    signins = limits()
    assert [signins.attempt(NOW, f"192.0.2.{n}") for n in range(101)] == [0] * 100 + [1]


def test_what_is_refused_counts_for_nothing() -> None:
    signins = limits()
    for _ in range(3):
        signins.attempt(NOW, "192.0.2.1")
    for _ in range(500):
        assert signins.attempt(NOW, "192.0.2.1", "u1") == 10
    assert signins.attempt(NOW, "192.0.2.2", "u1") == 0


def test_who_knows_the_secret_is_not_slowed_down_and_not_remembered() -> None:
    signins = limits()
    for _ in range(1000):
        assert signins.attempt(NOW, "192.0.2.1", "u1") == 0
        signins.succeeded(NOW, "192.0.2.1", "u1")
    assert signins.remembered() == 0


def test_success_does_not_forgive_failures() -> None:
    signins = limits()
    for _ in range(2):
        assert signins.attempt(NOW, "192.0.2.1") == 0
    assert signins.attempt(NOW, "192.0.2.1") == 0
    signins.succeeded(NOW, "192.0.2.1")
    assert signins.attempt(NOW, "192.0.2.1") == 0
    assert signins.attempt(NOW, "192.0.2.1") == 10


def test_nothing_is_forgotten_before_it_is_over() -> None:
    """All together can never fill the table within the time the slowest bucket needs."""
    slowest_us = max(PER_SOURCE.full_us, PER_ACCOUNT.full_us)
    assert IN_ALL.burst + slowest_us // IN_ALL.every_us < BUCKETS_MAX


def test_memory_is_bounded() -> None:
    signins = SignIns()
    for n in range(3 * BUCKETS_MAX):
        now = NOW + n * IN_ALL.every_us
        assert signins.attempt(now, f"2001:db8:{n:x}::1", f"u{n}" * 1000) == 0
    assert signins.remembered() == 2 * BUCKETS_MAX + 1


@pytest.mark.parametrize(
    ("source", "counted"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("fe80::1%eth0", "fe80::/64"),
        ("unix", "unix"),
    ],
)
def test_a_network_of_one_customer_is_one_source(source: str, counted: str) -> None:
    assert network(source) == counted
