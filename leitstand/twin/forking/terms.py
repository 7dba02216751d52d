# SPDX-License-Identifier: Apache-2.0
"""What is guaranteed and what is paid at one time of a course. Called by `tally`."""

from dataclasses import dataclass, field
from typing import Final

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.sharing.entitlements import Commitment, changes, contracts_of, in_force
from leitstand.core.state import State
from leitstand.core.units import HOUR_US, MICRO

# what changes the terms, beside time
TERMS: Final = frozenset((f.RulesSet, a.EntitlementsChanged, a.CommitmentMade, a.CommitmentEnded))


@dataclass(frozen=True, slots=True)
class Terms:
    """`guaranteed`: by class, in thousandths of a GPU; `prices`: by class, EUR for a GPU and hour; `commitments`: that
    are not over; `may_change`: with time alone."""

    guaranteed: dict[str, int] = field(default_factory=dict)
    prices: dict[str, float] = field(default_factory=dict)
    commitments: tuple[Commitment, ...] = ()
    may_change: bool = False

    def earned(self, used: dict[str, float], from_us: int, to_us: int) -> dict[str, float]:
        """EUR by class in this time, in which leaves used so many GPUs on average: at the price of the class, and
        commitments at theirs, used or not; what is used within one is paid by it."""
        hours = (to_us - from_us) / HOUR_US
        earned: dict[str, float] = {}
        for leaf, gpus in used.items():
            name = leaf.partition("/")[0]
            earned[name] = earned.get(name, 0.0) + gpus * hours * self.prices.get(name, 0.0)
        for one in self.commitments:
            both_us = min(to_us, one.to_us) - max(from_us, one.from_us)
            if both_us <= 0 or not one.price_micro_eur:
                continue
            name, gpu_hours = one.node.partition("/")[0], one.milli / 1000 * both_us / HOUR_US
            inside = sum(gpus for leaf, gpus in used.items() if f"{leaf}/".startswith(f"{one.node}/"))
            paid = min(gpu_hours, inside * hours) * self.prices.get(name, 0.0)
            earned[name] = earned.get(name, 0.0) + gpu_hours * one.price_micro_eur / MICRO - paid
        return {name: eur for name, eur in earned.items() if eur}


def terms_of(state: State, at: int) -> Terms:
    """Those that are in force at `at` (µs)."""
    guaranteed: dict[str, int] = {}
    commitments: list[Commitment] = []
    for pool in state.contracts:
        commitments += contracts_of(state, pool).commitments.values()
        for node, one in in_force(state, pool, at).items():
            if node and "/" not in node and one.guarantee_milli > 0:
                guaranteed[node] = guaranteed.get(node, 0) + one.guarantee_milli
    prices = {name: micro / MICRO for name, micro in state.rules.price_micro_eur_per_gpu_h.items()}
    may_change = any(changes(state, pool) for pool in state.contracts)
    return Terms(guaranteed, prices, tuple(commitments), may_change)
