# SPDX-License-Identifier: Apache-2.0
"""What the journals that are stored have in common: reading page by page, and what their meta table and head row must
say. Called by them alone."""

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

from leitstand.journal import chain
from leitstand.journal.codec import JournalUnusable
from leitstand.runtime.ports import Head

FORMAT: Final = 1
READ_ROWS: Final = 4096  # a query fetches: no read transaction outlives it, nothing waits for a reader

Fetch = Callable[[int, int], list[Any]]


def paged(fetch: Fetch, after: int, limit: int | None, *, name: object, whole: bool) -> Iterator[Any]:
    """Rows with seq > `after`, at most `limit`, as `fetch(after, count)` gives them, the seq first.

    JournalUnusable names the journal and, where the rows have to be `whole`, the entry that is missing."""
    while limit is None or limit > 0:
        wanted = READ_ROWS if limit is None else min(limit, READ_ROWS)
        rows = fetch(after, wanted)
        if not rows:
            return
        last = rows[-1][0]
        if whole and last - after != len(rows):
            sequence = [after, *(row[0] for row in rows)]
            missing = next(one + 1 for one, other in pairwise(sequence) if other != one + 1)
            raise JournalUnusable(f"{name}: entry {missing} is missing; run `leitstand journal verify`")
        if last <= after:
            raise JournalUnusable(f"{name} is damaged: entries after {after} end at {last}")
        yield from rows
        if len(rows) < wanted:
            return
        after = last
        if limit is not None:
            limit -= len(rows)


def checked_id(meta: Mapping[str, str], name: object) -> str:
    """The journal's id; JournalUnusable for another format, or if that can be none."""
    if meta.get("format") != str(FORMAT):
        raise JournalUnusable(
            f"{name} has journal format {meta.get('format')!r}, this code knows {FORMAT}: use a newer leitstand"
        )
    try:
        chain.genesis(meta.get("journal", ""))
    except (TypeError, ValueError) as error:
        raise JournalUnusable(f"{name}: {error}") from error
    return str(meta["journal"])


def check_head(head: Head, last: Head, name: object) -> None:
    """JournalUnusable if the head row is not the last entry."""
    if head != last:
        raise JournalUnusable(
            f"{name}: the head row names entry {head.seq}, the last entry is {last.seq}, or their hashes "
            "differ; run `leitstand journal verify`"
        )
