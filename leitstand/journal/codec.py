# SPDX-License-Identifier: Apache-2.0
"""Facts to stored bytes and back: uncompressed JSON that carries the fact's versioned name. Called by every journal.

`JobSubmitted` is stored under that name as long as it means what it first meant. A changed meaning gets the next name,
`JobSubmitted.2`; the struct of the old version moves to `UPCASTS` with a function that makes the next version of it,
and journals written by every released version stay readable for ever. A name, or a field, that this code does not
know was written by newer code: it is refused, never skipped.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final, Union

import msgspec

from leitstand.core.facts import FACTS, Fact
from leitstand.runtime.ports import Entry

FACT_BYTES_MAX: Final = 64 * 1024

Upcasts = Mapping[type[Fact], Callable[[Any], Fact]]

# old version -> function that makes the next version of it; empty as long as no fact has changed its meaning
UPCASTS: Final[Upcasts] = MappingProxyType({})


class JournalUnusable(Exception):
    """The journal cannot be opened or read as it is; the message says what, where, and what to do."""


class UnknownFact(JournalUnusable):
    """A body carries a fact, or a field of one, that newer code wrote."""


class Undecodable(JournalUnusable):
    """A body is not the JSON of a fact."""


class Codec:
    """Encodes the current `facts`, decodes them and the old versions that `upcasts` leads on from."""

    def __init__(self, facts: Sequence[type[Fact]] = FACTS, upcasts: Upcasts = UPCASTS) -> None:
        types = (*facts, *upcasts)
        names = [name_of(fact) for fact in types]
        if len(set(names)) != len(names):
            raise ValueError(f"two facts share a stored name in {sorted(names)}")
        self._current = frozenset(facts)
        self._upcasts = dict(upcasts)
        self._names = frozenset(names)
        self._encode = msgspec.json.Encoder().encode
        self._decode: Callable[[bytes], Fact] = msgspec.json.Decoder(Union[types]).decode  # noqa: UP007

    def encode(self, facts: Sequence[Fact]) -> list[bytes]:
        """The stored bytes of each fact.

        ValueError for one over FACT_BYTES_MAX, TypeError for what is no current fact.
        """
        if not self._current.issuperset(map(type, facts)):
            strangers = sorted({type(fact).__name__ for fact in facts if type(fact) not in self._current})
            raise TypeError(
                f"the journal holds facts in their current version only, not {', '.join(strangers)}"
            )
        bodies = list(map(self._encode, facts))
        if bodies and max(map(len, bodies)) > FACT_BYTES_MAX:
            position = next(i for i, body in enumerate(bodies) if len(body) > FACT_BYTES_MAX)
            raise ValueError(
                f"fact {name_of(type(facts[position]))} is {len(bodies[position])} bytes long, "
                f"over the limit of {FACT_BYTES_MAX} bytes a fact; keep what is long in stores/ and refer to it"
            )
        return bodies

    def decode(self, body: bytes) -> Fact:
        """The fact in its current version; UnknownFact or Undecodable."""
        try:
            fact = self._decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise self._refusal(body, error) from error
        return self._upcast(fact) if type(fact) in self._upcasts else fact

    def entries(self, rows: Iterable[tuple[int, int, bytes]]) -> Iterator[Entry]:
        """Entries of stored (seq, at, body); an error names the entry."""
        decode, upcasts, seq, body = self._decode, self._upcasts, 0, b""
        try:
            for seq, at, body in rows:
                fact = decode(body)
                if upcasts and type(fact) in upcasts:
                    fact = self._upcast(fact)
                yield Entry(seq, at, fact)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            refusal = self._refusal(body, error)
            raise type(refusal)(f"entry {seq}: {refusal}") from error

    def _upcast(self, fact: Fact) -> Fact:
        for _ in range(len(self._upcasts)):
            step = self._upcasts.get(type(fact))
            if step is None:
                break
            fact = step(fact)
        if type(fact) not in self._current:
            raise AssertionError(f"upcasts end at {name_of(type(fact))}, which is not a current fact")
        return fact

    def _refusal(self, body: bytes, error: Exception) -> JournalUnusable:
        """Why `body` was not decoded: newer code, or damage."""
        try:
            name = _name_decoder.decode(body).fact
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return Undecodable(f"not the JSON of a fact: {error}")
        if name not in self._names:
            return UnknownFact(
                f"fact {name!r} is unknown to this version; it was written by a newer one: use a newer leitstand"
            )
        if "unknown field" in str(error) or "at most length" in str(error):
            return UnknownFact(
                f"fact {name!r} carries more than this version knows ({error}): use a newer leitstand"
            )
        return Undecodable(f"fact {name!r} does not hold what it must: {error}")


def name_of(fact: type[Fact]) -> str:
    """The stored name, with its version if that is above 1."""
    return str(fact.__struct_config__.tag)


class _Named(msgspec.Struct):
    fact: str


_name_decoder = msgspec.json.Decoder(_Named)

DEFAULT: Final = Codec()
