# SPDX-License-Identifier: Apache-2.0
"""Signed heads: one key per folder, lines that survive a crash, signatures that count only for what they cover."""

import stat
from pathlib import Path

import msgspec
import pytest

from leitstand.journal import heads
from leitstand.journal.heads import SignedHead, Signer, fault, last_recorded, load_heads, load_public, record
from leitstand.runtime.ports import Head

HEAD = Head(7, -5, bytes(range(32)))


def test_a_signed_head_is_vouched_for_by_the_public_key(tmp_path: Path) -> None:
    signed = Signer(tmp_path / "keys").sign("j", HEAD)
    assert (signed.journal, signed.seq, signed.at, signed.hash) == ("j", 7, -5, HEAD.hash.hex())
    assert fault(signed, load_public(tmp_path / "keys" / "head.pub")) == ""


@pytest.mark.parametrize(
    "changed",
    [
        {"journal": "k"},
        {"seq": 8},
        {"at": -4},
        {"hash": "00" * 32},
        {"signature": "00" * 64},
        {"signature": "x"},
    ],
)
def test_a_signature_does_not_count_for_anything_else(tmp_path: Path, changed: dict[str, object]) -> None:
    signer = Signer(tmp_path)
    signed = msgspec.structs.replace(signer.sign("j", HEAD), **changed)
    assert "its signature is not by key" in fault(signed, signer.public)


def test_another_key_does_not_vouch(tmp_path: Path) -> None:
    signed = Signer(tmp_path / "one").sign("j", HEAD)
    other = Signer(tmp_path / "two")
    assert f"not by {other.key_id}" in fault(signed, other.public)


def test_the_private_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    first = Signer(keys)
    assert stat.S_IMODE((keys / "head.key").stat().st_mode) == 0o600
    assert Signer(keys).key_id == first.key_id
    assert sorted(path.name for path in keys.iterdir()) == ["head.key", "head.pub"]


def test_a_lost_public_key_is_made_again_from_the_private_one(tmp_path: Path) -> None:
    first = Signer(tmp_path)
    (tmp_path / "head.pub").unlink()
    Signer(tmp_path)
    assert heads.key_id(load_public(tmp_path / "head.pub")) == first.key_id


def test_a_key_half_written_by_a_crash_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "head.key.draft").write_text("-----BEGIN")
    assert fault(Signer(tmp_path).sign("j", HEAD), load_public(tmp_path / "head.pub")) == ""


@pytest.mark.parametrize(
    "content", ["", "no key", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"]
)
def test_a_damaged_private_key_is_refused_and_left_as_it_is(tmp_path: Path, content: str) -> None:
    (tmp_path / "head.key").write_text(content)
    with pytest.raises(ValueError, match=r"head\.key holds no readable private key"):
        Signer(tmp_path)
    assert (tmp_path / "head.key").read_text() == content


def test_a_damaged_public_key_is_refused(tmp_path: Path) -> None:
    (tmp_path / "head.pub").write_text("no key")
    with pytest.raises(ValueError, match=r"head\.pub holds no readable public key"):
        load_public(tmp_path / "head.pub")


def some(number: int) -> SignedHead:
    return SignedHead("j", number, number, "00" * 32, "k" * 16, "11" * 64)


def test_recorded_heads_come_back_in_order(tmp_path: Path) -> None:
    for number in range(3):
        record(tmp_path / "heads.jsonl", some(number))
    assert load_heads(tmp_path / "heads.jsonl") == [some(0), some(1), some(2)]


@pytest.mark.parametrize("kept", [1, 20, 200])
def test_a_line_cut_short_by_a_crash_is_left_out_and_then_taken_off(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "heads.jsonl"
    record(path, some(1))
    record(path, some(2))
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1][:kept])
    assert load_heads(path) == [some(1)]
    assert last_recorded(path) == some(1)
    record(path, some(3))
    assert load_heads(path) == [some(1), some(3)]
    assert last_recorded(path) == some(3)


def test_the_last_head_is_found_without_reading_all(tmp_path: Path) -> None:
    path = tmp_path / "heads.jsonl"
    assert last_recorded(path) is None
    for number in range(50):
        record(path, some(number))
        assert last_recorded(path) == some(number)


def test_a_first_line_cut_short_is_taken_off_too(tmp_path: Path) -> None:
    path = tmp_path / "heads.jsonl"
    path.write_bytes(b'{"journal":"j"')
    record(path, some(3))
    assert load_heads(path) == [some(3)]


def test_a_line_that_is_no_signed_head_is_named(tmp_path: Path) -> None:
    path = tmp_path / "heads.jsonl"
    record(path, some(1))
    with path.open("ab") as file:
        file.write(b"junk\n")
    with pytest.raises(ValueError, match=r"the last line of heads\.jsonl is no signed head"):
        last_recorded(path)
    with pytest.raises(ValueError, match=r"heads\.jsonl line 2 is no signed head"):
        load_heads(path)
