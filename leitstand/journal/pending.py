# SPDX-License-Identifier: Apache-2.0
"""What a writer appended and has not committed yet: the same for every journal. Called by them alone."""

from collections.abc import Sequence

from leitstand.core.facts import Fact
from leitstand.journal import chain
from leitstand.journal.codec import Codec
from leitstand.runtime.ports import Head, StaleHead


class Pending:
    """`head`: after the last append, `committed`: after the last commit. Stamps (µs), bodies and hashes of the entries
    between them are parallel lists, since a garbage collection need not walk what is in those."""

    __slots__ = ("_codec", "_name", "bodies", "committed", "hashes", "head", "stamps")

    def __init__(self, head: Head, codec: Codec, name: str) -> None:
        """`name`: of the journal, for refusals."""
        self.head = self.committed = head
        self._codec = codec
        self._name = name
        self.stamps: list[int] = []
        self.bodies: list[bytes] = []
        self.hashes: list[bytes] = []

    def add(self, head: Head, at: int, facts: Sequence[Fact]) -> Head:
        """All of `facts` or nothing, stamped `at` (µs); errors as `Journal.append`."""
        if head is not self.head and head != self.head:
            raise StaleHead(
                f"append names entry {head.seq} as the head of {self._name}, it is {self.head.seq}"
            )
        chain.check_stamp(head, at)
        if not facts:
            return head
        bodies = self._codec.encode(facts)
        hashes = chain.extend(head, at, bodies)
        self.stamps += [at] * len(bodies)
        self.bodies += bodies
        self.hashes += hashes
        self.head = Head(head.seq + len(bodies), at, hashes[-1])
        return self.head

    def done(self) -> None:
        """All of it is committed."""
        self.committed = self.head
        self._clear()

    def drop(self) -> None:
        """None of it will be."""
        self.head = self.committed
        self._clear()

    def _clear(self) -> None:
        self.stamps, self.bodies, self.hashes = [], [], []
