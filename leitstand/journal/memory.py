# SPDX-License-Identifier: Apache-2.0
"""The journal in memory: the same bytes and hashes as on disk, gone with the process. Called by the twin and tests."""

from collections.abc import Iterator, Sequence
from itertools import islice

from leitstand.core.facts import Fact
from leitstand.journal import chain
from leitstand.journal.codec import DEFAULT, Codec
from leitstand.journal.pending import Pending
from leitstand.runtime.ports import Entry, Head


class MemoryJournal:
    """A `leitstand.runtime.ports.Journal`. Equal id, stamps and facts make equal hashes: `head.hash` is the digest of
    a replay."""

    def __init__(self, journal_id: str = "replay", codec: Codec = DEFAULT) -> None:
        self.journal_id = journal_id
        self._genesis = chain.genesis(journal_id)
        self._kept = Pending(self._genesis, codec, f"the journal {journal_id}")  # all of it, for good
        self._codec = codec

    @property
    def head(self) -> Head:
        return self._kept.head

    def append(self, head: Head, at: int, facts: Sequence[Fact]) -> Head:
        """All of `facts` or nothing, stamped `at`; see the port for the errors."""
        return self._kept.add(head, at, facts)

    def read(self, after: int, limit: int | None = None) -> Iterator[Entry]:
        """Entries with seq > `after`, at most `limit`."""
        return self._codec.entries((seq, at, body) for seq, at, body, _ in self.rows(after, limit))

    def rows(self, after: int, limit: int | None = None) -> Iterator[tuple[int, int, bytes, bytes]]:
        """Stored (seq, at, body, hash) with seq > `after`, at most `limit`."""
        first = max(after, 0)
        last, kept = self.head.seq, self._kept
        end = last if limit is None else min(first + limit, last)
        columns = (islice(column, first, end) for column in (kept.stamps, kept.bodies, kept.hashes))
        return zip(range(first + 1, end + 1), *columns, strict=True)

    def head_at(self, seq: int) -> Head | None:
        """The head as it was after entry `seq`; None if there is no such entry."""
        if seq == 0:
            return self._genesis
        if not 0 < seq <= self.head.seq:
            return None
        return Head(seq, self._kept.stamps[seq - 1], self._kept.hashes[seq - 1])

    def close(self) -> None:
        """Nothing to let go."""
