# SPDX-License-Identifier: Apache-2.0
"""The journal in memory: the same bytes and hashes as on disk, gone with the process. Called by the twin and tests."""

from collections.abc import Iterator, Sequence
from itertools import islice

from leitstand.core.facts import Fact
from leitstand.journal import chain
from leitstand.journal.codec import DEFAULT, Codec
from leitstand.runtime.ports import Entry, Head, StaleHead


class MemoryJournal:
    """A `leitstand.runtime.ports.Journal`. Equal id, stamps and facts make equal hashes: `head.hash` is the digest of
    a replay."""

    def __init__(self, journal_id: str = "replay", codec: Codec = DEFAULT) -> None:
        self.journal_id = journal_id
        self._head = self._genesis = chain.genesis(journal_id)
        self._codec = codec
        # parallel lists of what no garbage collection has to walk
        self._stamps: list[int] = []
        self._bodies: list[bytes] = []
        self._hashes: list[bytes] = []

    @property
    def head(self) -> Head:
        return self._head

    def append(self, head: Head, at: int, facts: Sequence[Fact]) -> Head:
        """All of `facts` or nothing, stamped `at`; see the port for the errors."""
        if head is not self._head and head != self._head:
            raise StaleHead(f"append names entry {head.seq} as the head, the journal's is {self._head.seq}")
        chain.check_stamp(head, at)
        if not facts:
            return head
        bodies = self._codec.encode(facts)
        hashes = chain.extend(head, at, bodies)
        self._stamps += [at] * len(bodies)
        self._bodies += bodies
        self._hashes += hashes
        self._head = Head(head.seq + len(bodies), at, hashes[-1])
        return self._head

    def read(self, after: int, limit: int | None = None) -> Iterator[Entry]:
        """Entries with seq > `after`, at most `limit`."""
        return self._codec.entries((seq, at, body) for seq, at, body, _ in self.rows(after, limit))

    def rows(self, after: int, limit: int | None = None) -> Iterator[tuple[int, int, bytes, bytes]]:
        """Stored (seq, at, body, hash) with seq > `after`, at most `limit`."""
        first = max(after, 0)
        end = self._head.seq if limit is None else min(first + limit, self._head.seq)
        columns = (islice(column, first, end) for column in (self._stamps, self._bodies, self._hashes))
        return zip(range(first + 1, end + 1), *columns, strict=True)

    def head_at(self, seq: int) -> Head | None:
        """The head as it was after entry `seq`; None if there is no such entry."""
        if seq == 0:
            return self._genesis
        if not 0 < seq <= self._head.seq:
            return None
        return Head(seq, self._stamps[seq - 1], self._hashes[seq - 1])

    def close(self) -> None:
        """Nothing to let go."""
