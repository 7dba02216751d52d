# SPDX-License-Identifier: Apache-2.0
"""The journal as JSON lines that a third party can check without this code. Called by `leitstand journal export`.

The first line names the journal; then one line an entry: `{"seq", "at", "hash", "fact"}`; the last line says how many,
and carries a signed head with its public key. To check it by other means: take the exact bytes of each `fact`, chain
them as `leitstand.journal.chain` says, and verify the signature as `leitstand.journal.heads` says.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, TypeVar

import msgspec

from leitstand.journal import heads
from leitstand.journal.codec import DEFAULT, FACT_BYTES_MAX, Codec, JournalUnusable
from leitstand.journal.heads import SignedHead
from leitstand.journal.place import Reader
from leitstand.journal.verify import Bad, Report, Row, Walk

EXPORT_FORMAT: Final = 1
LINE_BYTES_MAX: Final = FACT_BYTES_MAX + 1024

T = TypeVar("T")


class Opening(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The first line."""

    leitstand_export: int
    journal: str


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry; `fact` is its stored body as it is, `hash` hexadecimal."""

    seq: int
    at: int
    hash: str
    fact: msgspec.Raw


class Closing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The last line; `public_key`: 32 bytes in hexadecimal, '' without a signed head."""

    entries: int
    signed_head: SignedHead | None
    public_key: str


def export(reader: Reader, out: BinaryIO, keys: Path, signed: Path) -> Closing:
    """Writes the whole journal to `out` and checks it on the way.

    The last head is signed with the key in the folder `keys` if it can be read; else the last one of the file `signed`
    goes along. JournalUnusable names the first bad entry; what is written by then has no closing line.
    """
    write, encode = out.write, msgspec.json.Encoder().encode
    walk = Walk()
    walk.begin(reader.journal_id)
    write(encode(Opening(EXPORT_FORMAT, reader.journal_id)) + b"\n")

    def lines() -> Iterator[Row]:
        for row in reader.rows(0):
            yield row  # checked by the walk before the next step
            seq, at, body, stored = row
            write(b'{"seq":%d,"at":%d,"hash":"%s","fact":%s}\n' % (seq, at, stored.hex().encode(), body))

    if bad := walk.over(lines(), lambda: reader.rows(0)):
        raise JournalUnusable(f"entry {bad.seq} is bad ({bad.what}): {bad.detail}")
    closing = _closing(walk, keys, signed)
    write(encode(closing) + b"\n")
    return closing


def _closing(walk: Walk, keys: Path, signed: Path) -> Closing:
    if walk.head.seq and os.access(keys / "head.key", os.R_OK):
        signer = heads.Signer(keys)
        head = signer.sign(walk.journal_id, walk.head)
        return Closing(walk.head.seq, head, heads.raw_hex(signer.public))
    found = heads.load_heads(signed) if signed.is_file() else []
    found = [head for head in found if head.seq <= walk.head.seq]
    if found and (keys / "head.pub").is_file():
        return Closing(walk.head.seq, found[-1], heads.raw_hex(heads.load_public(keys / "head.pub")))
    return Closing(walk.head.seq, None, "")


def verify_export(path: Path, public: Path | None = None, codec: Codec = DEFAULT) -> Report:
    """Checks an export, by the public key in the file `public` or, without one, by the key it brings along.

    JournalUnusable if it cannot be opened; everything that is wrong with it is in the report.
    """
    walk = Walk(codec)
    try:
        return walk.report(_walk_export(walk, path, public))
    except OSError as error:
        raise JournalUnusable(f"cannot read the export {path}: {error.strerror}") from error
    except (ValueError, JournalUnusable) as error:
        return walk.report(Bad(walk.head.seq + 1 if walk.journal_id else 0, "unreadable", str(error)))


def _walk_export(walk: Walk, path: Path, public: Path | None) -> Bad | None:
    closing = _closing_of(path)
    with path.open("rb") as file:
        opening = _decode(file.readline(LINE_BYTES_MAX), Opening, 1)
    if opening.leitstand_export != EXPORT_FORMAT:
        raise ValueError(
            f"export format {opening.leitstand_export} is not {EXPORT_FORMAT}: use a newer leitstand"
        )
    walk.begin(opening.journal)
    if closing and closing.signed_head:
        key = heads.load_public(public) if public else heads.public_of(closing.public_key)
        walk.expect([closing.signed_head], key)
    closed = closing is not None
    bad = walk.over(_rows(path, closed), lambda: _rows(path, closed)) or walk.end()
    if bad:
        return bad
    if closing is None:
        return Bad(walk.head.seq + 1, "dropped", "the closing line is missing: the export was cut off")
    if walk.head.seq != closing.entries:
        first = min(walk.head.seq, closing.entries) + 1
        return Bad(
            first, "dropped", f"the closing line counts {closing.entries} entries, there are {walk.head.seq}"
        )
    if public and not closing.signed_head:
        return Bad(0, "unsigned", "the export carries no signed head to check with the key")
    return None


def _closing_of(path: Path) -> Closing | None:
    """The last line; None if that is no closing line."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - LINE_BYTES_MAX))
        last = file.read().rstrip(b"\n").rpartition(b"\n")[2]
    try:
        return msgspec.json.decode(last, type=Closing)
    except msgspec.DecodeError:
        return None


def _rows(path: Path, closed: bool) -> Iterator[Row]:
    """All lines between opening and closing line; of a file that was cut off, all whole ones."""
    with path.open("rb") as file:
        file.readline(LINE_BYTES_MAX)
        number, line = 2, file.readline(LINE_BYTES_MAX)
        while line:
            following = file.readline(LINE_BYTES_MAX)
            if not following and (closed or not line.endswith(b"\n")):
                return
            entry = _decode(line, Line, number)
            yield entry.seq, entry.at, bytes(entry.fact), bytes.fromhex(entry.hash)
            number, line = number + 1, following


def _decode(line: bytes, kind: type[T], number: int) -> T:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError as error:
        raise ValueError(f"line {number} is not what it must be: {error}") from error
