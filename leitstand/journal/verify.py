# SPDX-License-Identifier: Apache-2.0
"""Walks a journal's chain and names the first bad entry. Called by `leitstand journal verify|export|backup`.

Works on a file at rest and beside a live writer: it reads, and never changes anything. What it can tell: any entry
changed, dropped, doubled or put elsewhere; an end cut off (against the head row, and against every signed head); a
chain rewritten by its owner (against signed heads only).
"""

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from hashlib import sha256
from pathlib import Path
from struct import Struct
from struct import error as StructError
from typing import TYPE_CHECKING, Final

import msgspec

from leitstand.core.facts import Fact
from leitstand.core.state import State
from leitstand.core.units import INT64_MAX
from leitstand.journal import chain, heads
from leitstand.journal.codec import DEFAULT, Codec, JournalUnusable
from leitstand.journal.database import passes
from leitstand.journal.heads import SignedHead
from leitstand.journal.place import Reader, exists, open_reader
from leitstand.journal.snapshots import UNFIT, digests
from leitstand.runtime.ports import Head

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

Row = tuple[int, int, bytes, bytes]  # seq, at, body, hash
Rows = Callable[[], Iterator[Row]]

_pack = Struct(">qq").pack
_FIRST: Final = -INT64_MAX - 1  # also rows numbered below 1 are looked at


class Bad(msgspec.Struct, frozen=True):
    """The first entry that is wrong (`seq`; 0: the journal as a whole), in a word and in full."""

    seq: int
    what: str
    detail: str


class Report(msgspec.Struct, frozen=True):
    """What a walk found. `seq`, `at`, `hash`: the last good entry; `signed_heads`: how many were checked, the last at
    entry `signed_seq` (0: none), signed by `key_id`; `bad`: None if all is well."""

    ok: bool
    journal: str
    seq: int
    at: int
    hash: str
    signed_heads: int
    signed_seq: int
    key_id: str
    bad: Bad | None


def verify(
    path: Path,
    signed: Path | None = None,
    public: Path | None = None,
    snapshots: Path | None = None,
    codec: Codec = DEFAULT,
) -> Report:
    """Checks the journal at `path`, against the signed heads in the file `signed` by the key in the file `public`, and
    the snapshots in the folder `snapshots` against a fold of all entries.

    JournalUnusable if there is none, sqlite3.Error or JournalAway if it cannot be read just now; everything that
    is wrong with it is in the report.
    """
    if not exists(path):
        raise JournalUnusable(f"there is no journal at {path}; name the data folder of a control plane")
    walk = Walk(codec)
    try:
        with open_reader(path, codec) as reader:
            walk.begin(reader.journal_id)
            walk.trust(signed, public)
            if snapshots is not None:
                walk.fold = Fold(digests(snapshots))
            bad = walk.bad or _walk_database(walk, reader)
    except (sqlite3.Error, UnicodeDecodeError, JournalUnusable) as error:
        if passes(error):
            raise
        bad = Bad(walk.head.seq + 1 if walk.journal_id else 0, "unreadable", str(error))
    return walk.report(bad)


class Fold:
    """The state of all entries so far, held against what snapshots say of it."""

    def __init__(self, claimed: dict[int, str]) -> None:
        self.state = State()
        self._claimed = claimed

    def take(self, seq: int, at: int, fact: Fact) -> Bad | None:
        """Entry `seq` does not fit what stands before it, or a snapshot taken at it holds another state."""
        try:
            self.state.apply(at, fact)
        except UNFIT as error:
            return Bad(seq, "does not fold", f"{type(fact).__name__}: {type(error).__name__} {error}")
        claimed = self._claimed.get(seq)
        if claimed and claimed != self.state.digest():
            return Bad(
                seq,
                "snapshot",
                f"the snapshot of entry {seq} holds another state than the entries give; delete that file",
            )
        return None

    @property
    def last_claimed(self) -> int:
        """The entry of the latest snapshot; 0 if there is none."""
        return max(self._claimed, default=0)


class Walk:
    """One pass over rows in order; remembers how far all was well."""

    def __init__(self, codec: Codec = DEFAULT) -> None:
        self.journal_id = ""
        self.head = Head(0, chain.BEFORE_ALL, b"")
        self.bad: Bad | None = None
        self.public: Ed25519PublicKey | None = None
        self.fold: Fold | None = None
        self._decode = codec.decode
        self._signed: dict[int, list[SignedHead]] = {}
        self._checked: list[int] = []

    def begin(self, journal_id: str) -> None:
        """It is this journal's chain; ValueError if that can be no id."""
        self.head = chain.genesis(journal_id)
        self.journal_id = journal_id

    def trust(self, signed: Path | None, public: Path | None) -> None:
        """Check against these files, too; `bad` says if they cannot be used."""
        if signed is None:
            return
        try:
            found = heads.load_heads(signed)
            if found and public is None:
                raise ValueError(f"there are {len(found)} signed heads, but no public key to check them with")
            self.expect(found, heads.load_public(public) if public else None)
        except (ValueError, OSError) as error:
            self.bad = Bad(0, "signed heads", str(error))

    def expect(self, signed: Iterable[SignedHead], public: "Ed25519PublicKey | None") -> None:
        """The rows must agree with these signed heads."""
        self.public = public
        for head in signed:
            self._signed.setdefault(head.seq, []).append(head)

    def over(self, rows: Iterable[Row], again: Rows) -> Bad | None:
        """The first bad one of the next `rows`; `again` gives all rows anew, to find what was put elsewhere."""
        seq, at, previous = self.head.seq, self.head.at, self.head.hash
        decode, signed, fold = self._decode, self._signed, self.fold
        for number, stamp, body, stored in rows:
            try:
                if number != seq + 1:
                    return self._out_of_order(number, again)
                if sha256(previous + _pack(number, stamp) + body).digest() != stored:
                    return self._mismatch(stored, again)
                if stamp < at:
                    return Bad(number, "stamp", f"its stamp {stamp} is before the one of entry {seq}, {at}")
                fact = decode(body)
            except (TypeError, StructError):
                return Bad(seq + 1, "malformed", "a column holds another type than it must")
            except JournalUnusable as error:
                return Bad(number, "undecodable", str(error))
            seq, at, previous = number, stamp, stored
            self.head = Head(seq, at, previous)
            if seq in signed and (bad := self._check_signed()):
                return bad
            if fold is not None and (bad := fold.take(seq, at, fact)):
                return bad
        return None

    def end(self) -> Bad | None:
        """After the last row: does a signed head or a snapshot know of more?"""
        if min(self._signed, default=1) < 1:
            return Bad(0, "signed head", f"a signed head names entry {min(self._signed)}")
        witnesses = {
            "signed head": max(self._signed, default=0),
            "snapshot": self.fold.last_claimed if self.fold is not None else 0,
        }
        for witness, seq in witnesses.items():
            if seq > self.head.seq:
                return Bad(
                    self.head.seq + 1,
                    "dropped",
                    f"a {witness} names entry {seq}, the last entry is {self.head.seq}: the end was cut off",
                )
        return None

    def report(self, bad: Bad | None) -> Report:
        """What was found, `bad` being the verdict."""
        return Report(
            ok=bad is None,
            journal=self.journal_id,
            seq=self.head.seq,
            at=self.head.at,
            hash=self.head.hash.hex(),
            signed_heads=len(self._checked),
            signed_seq=self._checked[-1] if self._checked else 0,
            key_id=heads.key_id(self.public) if self.public else "",
            bad=bad,
        )

    def _check_signed(self) -> Bad | None:
        seq, at, stored = self.head.seq, self.head.at, self.head.hash
        for head in self._signed[seq]:
            if head.journal != self.journal_id:
                return Bad(
                    seq, "signed head", f"the signed head of entry {seq} is of journal {head.journal!r}"
                )
            assert self.public is not None
            if reason := heads.fault(head, self.public):
                return Bad(seq, "signature", f"the signed head of entry {seq} does not count: {reason}")
            if (head.at, head.hash) != (at, stored.hex()):
                after = self._checked[-1] if self._checked else 0
                return Bad(
                    seq,
                    "rewritten",
                    f"the chain disagrees with the signed head of entry {seq}: entries {after + 1} to {seq} were "
                    "rewritten after it was signed",
                )
            self._checked.append(seq)
        return None

    def _out_of_order(self, number: int, again: Rows) -> Bad:
        expected = self.head.seq + 1
        if number < 1:
            return Bad(number, "numbering", f"an entry is numbered {number}; the first is 1")
        if number < expected:
            return Bad(number, "doubled", f"entry {number} stands again after entry {self.head.seq}")
        if any(row[0] == expected for row in again()):
            return Bad(expected, "reordered", f"entry {expected} does not follow entry {self.head.seq}")
        missing = (
            f"entry {expected} is" if number == expected + 1 else f"entries {expected} to {number - 1} are"
        )
        return Bad(expected, "dropped", f"{missing} missing")

    def _mismatch(self, found: bytes, again: Rows) -> Bad:
        """What stands at the next number, its stored hash being `found`, which does not fit."""
        seq, previous = self.head.seq + 1, self.head.hash
        for number, at, body, stored in again():
            if number < seq and stored == found:
                return Bad(seq, "doubled", f"what stands at entry {seq} is entry {number} again")
            try:
                if number > seq and sha256(previous + _pack(seq, at) + body).digest() == stored:
                    return Bad(seq, "reordered", f"what belongs at entry {seq} stands at entry {number}")
            except (TypeError, StructError):
                continue
        return Bad(seq, "hash mismatch", f"the hash of entry {seq} does not fit its content")


def _walk_database(walk: Walk, reader: Reader) -> Bad | None:
    def everything() -> Iterator[Row]:
        return reader.rows(0)

    if bad := walk.over(reader.rows(_FIRST), everything):
        return bad
    # Beside a live writer the end moves: head row and last rows are compared as of one moment.
    with reader.one_moment():
        bad = walk.over(reader.rows(walk.head.seq), everything)
        bad = bad or _head_row(walk.head, reader.head) or walk.end()
        if bad is None and (found := reader.foreign_parts()):
            bad = Bad(walk.head.seq, "schema", f"the entries are whole, but {found}")
        if bad is None and (found := reader.structure_fault()):
            bad = Bad(
                walk.head.seq,
                "unreadable",
                f"the entries are whole, but the database file is damaged: {found}",
            )
    return bad


def _head_row(last: Head, row: Head) -> Bad | None:
    if row.seq > last.seq:
        return Bad(
            last.seq + 1, "dropped", f"the head row names entry {row.seq}, the last entry is {last.seq}"
        )
    if row != last:
        return Bad(last.seq, "head row", f"the head row disagrees with the last entry {last.seq}")
    return None
