# SPDX-License-Identifier: Apache-2.0
"""The hash chain over stored entries. Called by every journal on append, and by verify.

The hash of an entry is SHA-256 over the previous entry's hash, its sequence number and stamp (eight bytes each,
big-endian, signed) and its stored body. The first entry's previous hash is the genesis, made of the journal's id, so
that entries of one journal do not fit into another.
"""

import hashlib
import re
from collections.abc import Iterable
from struct import Struct
from typing import Final

from leitstand.core.units import INT64_MAX
from leitstand.runtime.ports import Head

CHAIN_FORMAT: Final = b"leitstand journal 1\n"
HASH_BYTES: Final = 32
BEFORE_ALL: Final = (
    -INT64_MAX - 1
)  # the stamp of an empty journal's head: any time may follow, also a trace's < 0

_JOURNAL_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,64}", re.ASCII)
_pack = Struct(">qq").pack


def genesis(journal_id: str) -> Head:
    """The head of an empty journal; ValueError for an id that is not 1 to 64 of A-Z a-z 0-9 . _ -"""
    if not _JOURNAL_ID.fullmatch(journal_id):
        raise ValueError(f"journal id {journal_id!r} is not 1 to 64 of A-Z a-z 0-9 . _ -")
    return Head(0, BEFORE_ALL, hashlib.sha256(CHAIN_FORMAT + journal_id.encode()).digest())


def extend(head: Head, at: int, bodies: Iterable[bytes]) -> list[bytes]:
    """The hashes of `bodies`, stamped `at`, as the entries after `head`."""
    sha256, pack, previous, seq, hashes = hashlib.sha256, _pack, head.hash, head.seq, []
    for body in bodies:
        seq += 1
        previous = sha256(previous + pack(seq, at) + body).digest()
        hashes.append(previous)
    return hashes


def check_stamp(head: Head, at: int) -> None:
    """ValueError unless `at` may follow `head`."""
    if not head.at <= at <= INT64_MAX:
        raise ValueError(
            f"stamp {at} µs is not between the head's {head.at} (entry {head.seq}) and {INT64_MAX}"
        )
