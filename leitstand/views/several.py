# SPDX-License-Identifier: Apache-2.0
"""Several views as one, for a follower that feeds one. Called by the faces."""

from collections.abc import Iterable

from leitstand.runtime.ports import Entry, View


class Views(View):
    """Each of them skips what it has, so they may be at different entries."""

    def __init__(self, *views: View) -> None:
        self._views = views

    @property
    def seq(self) -> int:
        return min(view.seq for view in self._views)

    def apply(self, entries: Iterable[Entry]) -> None:
        together = list(entries)
        for view in self._views:
            view.apply(together)

    def commit(self) -> None:
        for view in self._views:
            view.commit()
