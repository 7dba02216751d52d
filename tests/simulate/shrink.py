# SPDX-License-Identifier: Apache-2.0
"""The smallest plan that still fails by the same check, by leaving out what does not matter. Called by `__main__`.

Faults, requests, nodes, tenants, sites and rates go, first in halves, then one by one (delta debugging: Zeller and
Hildebrandt, 2002); then what is left is made simpler. All of it is deterministic, and bounded.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from msgspec.structs import replace

from leitstand.core import facts as f
from leitstand.core.rules import Rules, Sharing
from tests.simulate.plan import Ask, Plan, Truth
from tests.simulate.world import play

TRIES_MAX: Final = 2_000
CPU_S_MAX: Final = 120.0

Fails = Callable[[Plan], bool]


def shrunk(plan: Plan, check: str) -> Plan:
    """The smallest plan found in which `check` fails, too."""
    left, until = TRIES_MAX, time.process_time() + CPU_S_MAX

    def fails(one: Plan) -> bool:
        nonlocal left
        left -= 1
        if left < 0 or time.process_time() > until:
            return False
        broken = play(one).broken
        return broken is not None and broken.check == check

    before = None
    while before != plan and left > 0:
        before = plan
        for name in ("faults", "asks", "nodes"):
            plan = _fewer(plan, name, fails)
        plan = _fewer_tenants(plan, fails)
        plan = _fewer_sites(plan, fails)
        plan = _plainer(plan, fails)
    return plan


def _fewer(plan: Plan, name: str, fails: Fails) -> Plan:
    """Without what can be left out of this list."""
    size = len(getattr(plan, name))
    while size:
        start = 0
        while start < len(getattr(plan, name)):
            whole = getattr(plan, name)
            tried = replace(plan, **{name: [*whole[:start], *whole[start + size :]]})
            if (getattr(tried, name) or name == "faults") and fails(tried):
                plan = tried
                continue
            start += size
        size //= 2
    return plan


def _fewer_tenants(plan: Plan, fails: Fails) -> Plan:
    for tenant in list(plan.tenants):
        rest = {name: said for name, said in plan.tenants.items() if name != tenant}
        asks = [ask for ask in plan.asks if getattr(ask.what, "tenant", "") != tenant]
        trees = {
            pool: tuple(one for one in said if tenant not in one.node.split("/"))
            for pool, said in plan.entitled.items()
        }
        tried = replace(plan, tenants=rest, asks=asks, entitled=trees)
        if rest and fails(tried):
            plan = tried
    for pool in list(plan.entitled):
        tried = replace(plan, entitled={name: said for name, said in plan.entitled.items() if name != pool})
        if fails(tried):
            plan = tried
    return plan


def _fewer_sites(plan: Plan, fails: Fails) -> Plan:
    for site in plan.sites[1:]:
        rest = [one for one in plan.sites if one.site != site.site]
        nodes = [node for node in plan.nodes if node.site != site.site]
        tried = replace(plan, sites=rest, nodes=nodes)
        if nodes and fails(tried):
            plan = tried
    return plan


def _plainer(plan: Plan, fails: Fails) -> Plan:
    """With less of everything that is left."""
    for tried in _whole(plan):
        tried = tried(plan)
        if tried != plan and fails(tried):
            plan = tried
    for index, ask in enumerate(plan.asks):
        for simpler in _simpler(ask):
            tried = replace(plan, asks=[*plan.asks[:index], simpler, *plan.asks[index + 1 :]])
            if simpler != plan.asks[index] and fails(tried):
                plan = tried
    for key, truth in list(plan.truths.items()):
        for plain in (Truth(truth.length_us), replace(truth, fails=()), replace(truth, start_us=0)):
            tried = replace(plan, truths={**plan.truths, key: plain})
            if plain != plan.truths[key] and any(ask.key == key for ask in plan.asks) and fails(tried):
                plan = tried
                break
    return plan


def _whole(plan: Plan) -> Sequence[Callable[[Plan], Plan]]:
    """Features of the whole plan that may not matter."""
    plain = Rules(discipline=plan.rules.discipline, sharing=plan.rules.sharing)
    return (
        lambda one: replace(one, through_sites=False),
        lambda one: replace(one, snapshot_every=0),
        lambda one: replace(one, refold_every=0),
        lambda one: replace(one, retold=False),
        lambda one: replace(one, rules=plain),
        lambda one: replace(one, rules=replace(one.rules, sharing=Sharing())),
        lambda one: replace(one, sites=[replace(site, levels=()) for site in one.sites], nodes=_flat(one)),
    )


def _flat(plan: Plan) -> list[f.NodeAdded]:
    return [replace(node, domains=()) for node in plan.nodes]


def _simpler(ask: Ask) -> Iterator[Ask]:
    what: Any = ask.what
    if not isinstance(what, f.SubmitJob):
        return
    plain = {
        "priority": 0, "retries": 0, "retry_on": (), "checkpoint_every_us": 0, "begin_us": 0, "deadline_us": 0,
        "held": False, "array": 0, "alternatives": (), "data_sites": (), "elastic": False, "expected_us": 0,
        "user": "", "booking": "",
    }  # fmt: skip
    yield replace(ask, what=replace(what, **plain), after=())
    for name, value in plain.items():
        yield replace(ask, what=replace(what, **{name: value}))
    yield replace(ask, what=replace(what, resources=f.Resources(1)))
    yield replace(ask, after=())
