# SPDX-License-Identifier: Apache-2.0
"""Pages of listings that come from the state: what is listed there keeps its place, so a place is the cursor."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import ClassVar, Final, TypeVar

from leitstand.api.checks import between
from leitstand.api.decode import Check, Input

PAGE_MAX: Final = 1000
PLACE_MAX: Final = 2**53
BREATH: Final = 1000  # looked at between two moments in which others are answered

T = TypeVar("T")


class PageQuery(Input, frozen=True):
    """`limit`: at most so many; `cursor`: of the page before."""

    limit: int = PAGE_MAX
    cursor: int = 0

    checks: ClassVar[Mapping[str, Check]] = {
        "limit": between(1, PAGE_MAX),
        "cursor": between(0, PLACE_MAX),
    }


def page_of(items: Sequence[T], query: PageQuery) -> tuple[list[T], str | None]:
    """The items of the page, and the cursor of the next one, None on the last."""
    end = query.cursor + query.limit
    return list(items[query.cursor : end]), str(end) if end < len(items) else None


async def one_by_one(items: Iterable[T]) -> AsyncIterator[T]:
    """Each of the items that are there now, however many; others have their turn in between."""
    for number, item in enumerate(list(items), start=1):
        yield item
        if number % BREATH == 0:
            await asyncio.sleep(0)
