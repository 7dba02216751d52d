# SPDX-License-Identifier: Apache-2.0
"""A journal says all that its core was told: told it again, a core decides the same, fact for fact, on any history.
LEITSTAND_HUNT=1000 looks for new counter-examples."""

from collections.abc import Iterable

from hypothesis import given

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.runtime.ports import Entry
from leitstand.twin.history import moments, tell_again
from tests.properties.test_promises import History, histories, many
from tests.properties.test_restart import Compared, again


class Kept(Compared):
    """A cloud, and what its journal holds."""

    def __init__(self, history: History, late_s: tuple[int, int, int] | None = None) -> None:
        self.entries: list[Entry] = []
        self.opened: Core | None = None
        super().__init__(history, (), late_s)

    def cycle(self, now: int, seen: Iterable[f.Observation]) -> list[f.Fact]:
        self.opened = self.opened or again(self.cloud.core)
        facts = super().cycle(now, seen)
        self.entries += [Entry(len(self.entries) + 1 + n, now, fact) for n, fact in enumerate(facts)]
        return facts


def told_again(kept: Kept) -> Core:
    core = kept.opened or kept.cloud.core
    for moment in moments(kept.entries):
        assert tell_again(core, moment) == list(moment.facts), f"at {moment.at}"
    return core


@many(40)
@given(histories(failing=True, changing=True))
def test_what_a_journal_holds_is_decided_again_fact_for_fact(history: History) -> None:
    kept = Kept(history)
    assert told_again(kept).state.digest() == kept.cloud.core.state.digest()
