# SPDX-License-Identifier: Apache-2.0
"""A TLS certificate is examined before it serves, and taken anew when its files change."""

import os
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from leitstand.app.certificate import CertificateWrong, Pair, Renewal, Times, examine, warning
from tests.certificates import Authority


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


def wrong(pair: Pair) -> str:
    with pytest.raises(CertificateWrong) as refused:
        examine(pair)
    return str(refused.value)


def replace(pair: Pair, other: tuple[Path, Path]) -> None:
    """As an ACME client does: each file at once, one after the other."""
    for here, there in zip(pair, other, strict=True):
        os.replace(there, here)


def test_a_pair_that_belongs_together_has_its_times(authority: Authority) -> None:
    times = examine(Pair(*authority.issue("one", 11, days=90)))
    assert timedelta(days=90) < times.ends - times.begins <= timedelta(days=91)


def test_each_thing_that_is_wrong_with_the_files_is_named(authority: Authority, tmp_path: Path) -> None:
    one, other = Pair(*authority.issue("one", 11)), Pair(*authority.issue("other", 12))
    locked = Pair(*authority.issue("locked", 13, phrase=b"a phrase"))
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    assert wrong(Pair(one.cert, other.key)) == (
        f"{other.key} is not the key of {one.cert}; the first certificate of that file has to be the one of this key"
    )
    assert wrong(locked).startswith(f"{locked.key} is locked with a pass phrase")
    assert (
        wrong(Pair(tmp_path / "gone.pem", one.key)) == f"{tmp_path / 'gone.pem'}: No such file or directory"
    )
    assert wrong(Pair(one.cert, tmp_path)) == f"{tmp_path}: Is a directory"
    assert wrong(Pair(empty, one.key)).startswith(f"{empty} holds no certificate in PEM")
    assert wrong(Pair(one.key, one.key)).startswith(f"{one.key} holds no certificate in PEM")
    assert wrong(Pair(one.cert, empty)).startswith(f"{empty} holds no private key in PEM")
    assert wrong(Pair(one.cert, one.cert)).startswith(f"{one.cert} holds no private key in PEM")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_key_that_may_not_be_read_is_named(authority: Authority) -> None:
    pair = Pair(*authority.issue("one", 11))
    pair.key.chmod(0)
    assert wrong(pair) == f"{pair.key}: Permission denied"


@pytest.mark.parametrize(
    ("now", "said"),
    [
        ("2026-01-01", "valid only from 2026-02-01"),
        ("2026-02-02", ""),
        ("2026-04-16", ""),
        ("2026-04-20", "expires on 2026-05-01"),
        ("2026-05-01", "expired on 2026-05-01"),
    ],
)
def test_the_operator_is_warned_of_its_times(now: str, said: str) -> None:
    times = Times(datetime(2026, 2, 1, tzinfo=UTC), datetime(2026, 5, 1, tzinfo=UTC))
    told = warning(Pair(Path("c.pem"), Path("c.key")), times, datetime.fromisoformat(now).replace(tzinfo=UTC))
    assert said in told
    assert bool(said) == bool(told)


# ── renewal ───────────────────────────────────────────────────────────────────────────────────────────────────────
def shown(context: ssl.SSLContext, authority: Authority) -> int:
    """The serial number that a client sees which trusts `authority`; both sides in memory."""
    trusting = ssl.create_default_context(cafile=str(authority.file))
    wires = [ssl.MemoryBIO() for _ in range(2)]
    server = context.wrap_bio(wires[0], wires[1], server_side=True)
    client = trusting.wrap_bio(wires[1], wires[0], server_hostname="127.0.0.1")
    todo = [client, server]
    for _ in range(20):
        for side in list(todo):
            try:
                side.do_handshake()
                todo.remove(side)
            except ssl.SSLWantReadError:
                continue
        if not todo:
            found = client.getpeercert()
            assert found is not None
            return int(str(found["serialNumber"]), 16)
    raise AssertionError("no handshake")


def test_who_connects_after_a_renewal_sees_the_new_certificate(authority: Authority) -> None:
    context, pair = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Pair(*authority.issue("one", 11))
    renewal = Renewal(context, pair)
    assert shown(context, authority) == 11
    assert renewal.take_changed() is None
    replace(pair, authority.issue("two", 22, days=50))
    times = renewal.take_changed()
    assert times is not None
    assert times.ends - datetime.now(UTC) < timedelta(days=51)
    assert shown(context, authority) == 22
    assert renewal.take_changed() is None


def test_half_a_renewal_is_refused_once_and_the_other_half_mends_it(authority: Authority) -> None:
    context, pair = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Pair(*authority.issue("one", 11))
    renewal = Renewal(context, pair)
    cert, key = authority.issue("two", 22)
    os.replace(key, pair.key)
    with pytest.raises(CertificateWrong, match="is not the key of"):
        renewal.take_changed()
    assert renewal.take_changed() is None, "told once"
    assert shown(context, authority) == 11
    os.replace(cert, pair.cert)
    assert renewal.take_changed() is not None
    assert shown(context, authority) == 22


def test_files_that_go_away_are_told_once_and_taken_when_they_are_back(authority: Authority) -> None:
    context, pair = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), Pair(*authority.issue("one", 11))
    renewal = Renewal(context, pair)
    pair.cert.unlink()
    with pytest.raises(CertificateWrong, match=r"one\.pem: No such file"):
        renewal.take_changed()
    assert renewal.take_changed() is None
    replace(pair, authority.issue("two", 22))
    assert renewal.take_changed() is not None
    assert shown(context, authority) == 22


def test_a_certificate_that_runs_out_is_warned_of_once_a_day_until_it_is_renewed(
    authority: Authority,
) -> None:
    pair = Pair(*authority.issue("one", 11, days=3))
    renewal = Renewal(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), pair)
    now = datetime.now(UTC)
    assert "expires on" in renewal.due_warning(now)
    assert renewal.due_warning(now) == ""
    assert "expires on" in renewal.due_warning(now + timedelta(days=1))
    replace(pair, authority.issue("two", 22))
    assert renewal.take_changed() is not None
    assert renewal.due_warning(now + timedelta(days=2)) == ""
