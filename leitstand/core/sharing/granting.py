# SPDX-License-Identifier: Apache-2.0
"""What may be promised: decides on changes of entitlements and on commitments. Called by the cycle, and by the API for
what a change would do.

A change is granted if at every time from now on, with all that is scheduled and committed, no node's children are
guaranteed more than it is, and the root no more than the pool has less its spare, and if every start that was promised
before can still be kept (`upholding`). Capacity that fails later takes no
contract back, and what does not promise more than before is granted even then.
"""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from leitstand.core import acts as a
from leitstand.core.acts import Entitlement
from leitstand.core.decision import Answer, Decision, record, refuse
from leitstand.core.rules import AMOUNT_MAX, SPAN_MAX_US, TENANT_CLASSES, WEIGHT_MAX, Sharing
from leitstand.core.sharing.entitlements import (
    Contracts,
    Guarantees,
    above,
    capacity,
    change,
    contracts_of,
    end,
    find_commitment,
    make,
    node_of,
    times,
    upwards,
)
from leitstand.core.sharing.shares import apportion
from leitstand.core.sharing.upholding import Danger, earliest, endangered
from leitstand.core.tenancy import WORKING
from leitstand.core.units import SECOND_US

if TYPE_CHECKING:
    from leitstand.core.state import State

CYCLE_US: Final = SECOND_US  # the longest that a cycle takes before a recall is decided
NODES_MAX: Final = 100_000  # with an entitlement, of a pool
SCHEDULED_MAX: Final = 1_000  # changes of nodes, of a pool
COMMITMENTS_MAX: Final = 10_000
CHANGE_BYTES_MAX: Final = 60 * 1024  # of one change in the journal: a fact has 64 KiB
FAULTS_MAX: Final = 10  # told at once
DEPTH_MAX: Final = 3


# ── decide ────────────────────────────────────────────────────────────────────────────────────────────────────────
def change_entitlements(state: "State", now: int, asked: a.EntitlementsChanged) -> Decision:
    """`scaled` asks that guarantees which do not fit are shrunk; the fact has what they became."""
    faults = _change_faults(state, now, asked)
    if faults:
        return refuse("invalid", _told(faults))
    before = contracts_of(state, asked.pool)
    room = capacity(state, asked.pool) - state.rules.sharing.spare_milli
    granted = _scaled(before, now, asked, room) if asked.scaled else asked
    if _is_so(before, now, granted):
        return Decision((), Answer(asked.pool))
    after = before.copy()
    change(after, now, granted)
    if len(after.entitlements) > NODES_MAX or len(after.scheduled) > SCHEDULED_MAX:
        return refuse("busy", f"{NODES_MAX} entitlements and {SCHEDULED_MAX} scheduled ones of a pool")
    faults = _misfits(before, after, now, room, [one.node for one in granted.entitlements])
    if faults:
        return refuse("conflict", _told(faults))

    def at(from_us: int) -> Contracts | None:
        later = before.copy()
        change(later, now, msgspec.structs.replace(granted, from_us=from_us))
        named = [one.node for one in granted.entitlements]
        return None if from_us > granted.from_us and _misfits(before, later, now, room, named) else later

    danger = _danger(_Asked(state, asked.pool, now, granted.from_us, before, at))
    return refuse("conflict", danger) if danger else record(granted, made=asked.pool)


def commit(state: "State", now: int, asked: a.CommitmentMade) -> Decision:
    """`from_us` 0: from now on; the fact has the time and the id."""
    made = f"c{sum(one.made for one in state.contracts.values()) + 1}"
    wanted = msgspec.structs.replace(asked, commitment=made, from_us=asked.from_us or now)
    faults = _commitment_faults(state, now, wanted)
    if faults:
        return refuse("invalid", _told(faults))
    before = contracts_of(state, asked.pool)
    if len(before.commitments) >= COMMITMENTS_MAX:
        return refuse("busy", f"{COMMITMENTS_MAX} commitments of a pool")
    after = before.copy()
    make(after, now, wanted)
    room = capacity(state, asked.pool) - state.rules.sharing.spare_milli
    faults = _misfits(before, after, now, room, [])
    if faults:
        return refuse("conflict", _told(faults))

    def at(from_us: int) -> Contracts | None:
        later = before.copy()
        make(later, now, msgspec.structs.replace(wanted, from_us=from_us))
        return None if from_us >= wanted.to_us or _misfits(before, later, now, room, []) else later

    danger = _danger(_Asked(state, asked.pool, now, wanted.from_us, before, at))
    return refuse("conflict", danger) if danger else record(wanted, made=made)


def end_commitment(state: "State", now: int, asked: a.CommitmentEnded) -> Decision:
    """`at_us` 0: now."""
    found = find_commitment(state, asked.commitment)
    if found is None or found[1].to_us <= now:
        return refuse("unknown_commitment", asked.commitment[:64])
    at = asked.at_us or now
    if not now <= at < found[1].to_us:
        return refuse("invalid", f"an end at {at} µs is not in {now}..{found[1].to_us - 1}")
    wanted = msgspec.structs.replace(asked, at_us=at)
    before = contracts_of(state, found[0])

    def ended(from_us: int) -> Contracts | None:
        later = before.copy()
        end(later, now, msgspec.structs.replace(wanted, at_us=from_us))
        return None if from_us > found[1].to_us else later

    danger = _danger(_Asked(state, found[0], now, at, before, ended))
    return refuse("conflict", danger) if danger else record(wanted, made=asked.commitment)


DECIDE: Final[dict[type, Callable[["State", int, Any], Decision]]] = {
    a.EntitlementsChanged: change_entitlements,
    a.CommitmentMade: commit,
    a.CommitmentEnded: end_commitment,
}


# ── what is said ──────────────────────────────────────────────────────────────────────────────────────────────────
def _change_faults(state: "State", now: int, asked: a.EntitlementsChanged) -> list[str]:
    faults = _pool_faults(state, asked.pool)
    if asked.from_us and not now <= asked.from_us <= AMOUNT_MAX:
        faults.append(f"from_us is {asked.from_us}, not in {now}..{AMOUNT_MAX}")
    if not asked.entitlements:
        faults.append("no node is named")
    size = len(msgspec.json.encode(asked.entitlements))
    if size > CHANGE_BYTES_MAX:
        faults.append(f"the change has {size} bytes, the limit is {CHANGE_BYTES_MAX}: split it")
    said: set[str] = set()
    for one in asked.entitlements:
        if one.node in said:
            faults.append(f"{_name(one.node)} is named twice")
        said.add(one.node)
        faults += _node_faults(state, one.node) or _amount_faults(state.rules.sharing, one)
    return faults


def _commitment_faults(state: "State", now: int, asked: a.CommitmentMade) -> list[str]:
    faults = _pool_faults(state, asked.pool) + _node_faults(state, asked.node)
    if not asked.node:
        faults.append("a commitment is to a class, a tenant or a project, not to the root")
    latest = now + SPAN_MAX_US
    for name, value, least, most in (
        ("milli", asked.milli, 1, AMOUNT_MAX),
        ("from_us", asked.from_us, now, latest - 1),
        ("to_us", asked.to_us, asked.from_us + 1, latest),
        ("recall_us", asked.recall_us, 0, SPAN_MAX_US),
        ("price_micro_eur", asked.price_micro_eur, 0, AMOUNT_MAX),
    ):
        if not least <= value <= most:
            faults.append(f"{name} is {value}, not in {least}..{most}")
    return faults + _recall_faults(state.rules.sharing, asked.node, asked.recall_us)


def _pool_faults(state: "State", pool: str) -> list[str]:
    return [] if pool in state.pools else [f"there is no pool {pool[:64]!r}"]


def _node_faults(state: "State", node: str) -> list[str]:
    """Whether there is such a node, and whether it is where the path says."""
    if not node:
        return []
    parts = node[:256].split("/")
    if len(parts) > DEPTH_MAX or not all(parts):
        return [f"{node[:256]!r} is no path of a class, a tenant and a project"]
    if parts[0] not in TENANT_CLASSES:
        return [f"{node[:256]}: there is no class {parts[0][:64]!r}; known: {', '.join(TENANT_CLASSES)}"]
    if len(parts) == 1:
        return []
    tenant = state.tenants.get(parts[1])
    if tenant is None:
        return [f"{node[:256]}: there is no tenant {parts[1][:64]!r}"]
    if tenant.tenant_class != parts[0]:
        return [f"{node[:256]}: tenant {tenant.id} is of the class {tenant.tenant_class}: {node_of(tenant)}"]
    if tenant.stage not in WORKING:
        return [f"{node[:256]}: {tenant.id} is in the stage {tenant.stage} of its exit"]
    if len(parts) == DEPTH_MAX and parts[2] not in tenant.projects:
        return [f"{node[:256]}: tenant {tenant.id} has no project {parts[2][:64]!r}"]
    return []


def _amount_faults(sharing: Sharing, one: Entitlement) -> list[str]:
    faults = [
        f"{_name(one.node)}: {name} is {value}, not in {least}..{most}"
        for name, value, least, most in (
            ("guarantee_milli", one.guarantee_milli, -1, AMOUNT_MAX),
            ("weight", one.weight, 0, WEIGHT_MAX),
            ("borrow_milli", one.borrow_milli, -1, AMOUNT_MAX),
            ("lend_milli", one.lend_milli, -1, AMOUNT_MAX),
            ("recall_us", one.recall_us, 0, SPAN_MAX_US),
        )
        if not least <= value <= most
    ]
    if 0 <= one.guarantee_milli < one.lend_milli:
        faults.append(
            f"{_name(one.node)}: {shown(one.lend_milli)} to lend is more than the guarantee of "
            f"{shown(one.guarantee_milli)}"
        )
    if one.guarantee_milli or one.recall_us:
        faults += _recall_faults(sharing, one.node, one.recall_us)
    return faults


def _recall_faults(sharing: Sharing, node: str, recall_us: int) -> list[str]:
    """A guarantee must be back in time although the run that has it is young and saves its work."""
    recall = recall_us or sharing.recall_us
    least = sharing.until_freed_us + CYCLE_US
    if recall >= least:
        return []
    took = "protected runtime, grace, stop and a cycle take"
    return [f"{_name(node)}: back within {recall / SECOND_US:g} s; {took} {least / SECOND_US:g} s"]


def _is_so(contracts: Contracts, now: int, asked: a.EntitlementsChanged) -> bool:
    """Whether the change would change nothing, now or later."""
    named = {one.node for one in asked.entitlements}
    return (
        asked.from_us <= now
        and not any(contracts.entitlements.get(one.node) != one for one in asked.entitlements)
        and not any(one.entitlement.node in named for one in contracts.scheduled)
    )


# ── what fits ─────────────────────────────────────────────────────────────────────────────────────────────────────
def _misfits(before: Contracts, after: Contracts, now: int, room: int, changed: list[str]) -> list[str]:
    """What is promised twice, at any time from `now` on. `changed`: nodes with another base than before."""
    moments = sorted({now, *(due for due in (*times(before), *times(after)) if due > now)})
    earlier = promised_at(before, moments)
    committed = _committed(after, moments)
    base, due, faults = Guarantees(after.entitlements.values()), 0, []
    touched = dict.fromkeys(changed)
    for index, at in enumerate(moments):
        while due < len(after.scheduled) and after.scheduled[due].from_us <= at:
            base.put(after.scheduled[due].entitlement)
            touched[after.scheduled[due].entitlement.node] = None
            due += 1
        when = f" from {at} µs on" if at > now else ""
        for node in dict.fromkeys(node for one in touched for node in upwards(one)):
            if base.below.get(node, 0) > base.of.get(node, 0):
                faults.append(
                    f"{_name(node)}: its children would be guaranteed {shown(base.below[node])} together, "
                    f"more than its guarantee of {shown(base.of[node])}{when}"
                )
        touched.clear()
        promised = base.of.get("", 0) + committed[index]
        if promised > max(room, earlier[index]):
            faults.append(
                f"{_name('')}: {shown(promised)} would be guaranteed, more than the {shown(max(room, 0))} that "
                f"the pool has less its spare{when}"
            )
        if len(faults) >= FAULTS_MAX:
            break
    return faults


def promised_at(contracts: Contracts, moments: list[int]) -> list[int]:
    """What the root is guaranteed at each of `moments`, ascending."""
    base, due, found = Guarantees(contracts.entitlements.values()), 0, []
    for at, committed in zip(moments, _committed(contracts, moments), strict=True):
        while due < len(contracts.scheduled) and contracts.scheduled[due].from_us <= at:
            base.put(contracts.scheduled[due].entitlement)
            due += 1
        found.append(base.of.get("", 0) + committed)
    return found


def _committed(contracts: Contracts, moments: list[int]) -> list[int]:
    """What commitments add to the root at each of `moments`, ascending."""
    steps: list[tuple[int, int]] = []
    for one in contracts.commitments.values():
        steps += [(one.from_us, one.milli), (one.to_us, -one.milli)]
    steps.sort()
    found, total, done = [], 0, 0
    for at in moments:
        while done < len(steps) and steps[done][0] <= at:
            total += steps[done][1]
            done += 1
        found.append(total)
    return found


# ── what was promised before ──────────────────────────────────────────────────────────────────────────────────────
class _Asked(NamedTuple):
    """A change of a pool's contracts, asked at `now`, to be in force from `from_us` on. `at`: the contracts if it is so
    from another time on; None: it cannot be."""

    state: "State"
    pool: str
    now: int
    from_us: int
    before: Contracts
    at: Callable[[int], Contracts | None]


def _danger(asked: _Asked) -> str:
    """Which promised start the change puts in danger, and from when on it endangers none; '' if it does not."""

    def met(contracts: Contracts) -> Danger | None:
        return endangered(asked.state, asked.pool, asked.now, asked.before, contracts)

    after = asked.at(asked.from_us)
    assert after is not None, "what is asked was looked at"
    danger = met(after)
    if danger is None:
        return ""
    why = "and who is in its way cannot be gone by then" if danger.late else "if all guarantees are called"
    told = (
        f"the start promised to {danger.job} could not be kept: {_name(danger.node)} would lack "
        f"{shown(danger.milli)} from {danger.at_us} µs on, {why}"
    )
    later = (date for date in danger.ends if date > asked.from_us)
    date = earliest(later, lambda date: (found := asked.at(date)) is not None and met(found) is None)
    if date is None:
        return f"{told}; no later time was found at which nothing that was promised is in danger"
    return f"{told}; nothing that was promised is in danger from {date} µs on"


# ── scaling ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _scaled(before: Contracts, now: int, asked: a.EntitlementsChanged, room: int) -> a.EntitlementsChanged:
    """The change with guarantees that fit, at every time while they are in force; other contracts stay as they are."""
    start = max(now, asked.from_us)
    after = before.copy()
    change(after, now, asked)
    moments = sorted({start, *(due for due in times(after) if due > start)})
    committed = _committed(after, moments)
    base, due = Guarantees(after.entitlements.values()), 0
    least = {one.node: one.guarantee_milli for one in asked.entitlements if one.guarantee_milli > 0}
    lowest = None  # room that the guarantees of this moment were shrunk to already
    for index, at in enumerate(moments):
        while due < len(after.scheduled) and after.scheduled[due].from_us <= at:
            base.put(after.scheduled[due].entitlement)
            due, lowest = due + 1, None
        left = room - committed[index]
        if lowest is None or left < lowest:
            lowest = left
            movable = [one.node for one in asked.entitlements if base.said.get(one.node) is one]
            for node, fits in _Shrink(base, movable).to(max(left, 0)).items():
                least[node] = min(least[node], fits)
    entitlements = tuple(_with_guarantee(one, least) for one in asked.entitlements)
    shrunk = entitlements != asked.entitlements
    return msgspec.structs.replace(asked, entitlements=entitlements, scaled=shrunk)


def _with_guarantee(one: Entitlement, guarantees: dict[str, int]) -> Entitlement:
    fits = guarantees.get(one.node, one.guarantee_milli)
    lend = min(one.lend_milli, fits) if one.lend_milli >= 0 and fits >= 0 else one.lend_milli
    return msgspec.structs.replace(one, guarantee_milli=fits, lend_milli=lend)


class _Shrink:
    """Guarantees of `movable` nodes, shrunk top down in proportion; those of other nodes are contracts and stay."""

    def __init__(self, base: Guarantees, movable: Iterable[str]) -> None:
        self.base = base
        self.movable = {node for node in movable if (base.fixed(node) or 0) > 0}
        self.children: dict[str, list[str]] = {}
        for node in sorted({node for one in self.movable for node in upwards(one)} - {""}):
            self.children.setdefault(above(node), []).append(node)
        self.fits: dict[str, int] = {}

    def to(self, room: int) -> dict[str, int]:
        """What each movable node is guaranteed if the root has `room`."""
        self._divide("", room)
        return self.fits

    def _divide(self, node: str, limit: int) -> None:
        base, children = self.base, self.children.get(node, [])
        fixed = base.fixed(node)
        if node in self.movable:
            limit = self.fits[node] = min(limit, base.of[node])
        elif fixed is not None:
            limit = fixed if node else min(limit, fixed)
        stays = [self._stays(child) for child in children]
        yields = [base.of[child] - part for child, part in zip(children, stays, strict=True)]
        others = base.below.get(node, 0) - sum(yields)
        parts = yields
        if sum(yields) > limit - others:
            parts = apportion(yields, max(limit - others, 0))
        for child, stay, part in zip(children, stays, parts, strict=True):
            self._divide(child, stay + part)

    def _stays(self, node: str) -> int:
        """How much of the guarantee of `node` does not shrink."""
        if node in self.movable:
            return 0
        if self.base.fixed(node) is not None:
            return self.base.of[node]
        inside = self.children.get(node, [])
        return self.base.of[node] - sum(self.base.of[child] - self._stays(child) for child in inside)


def shown(milli: int) -> str:
    """A charge in GPUs (cores in a pool without GPUs), exact: 0.5, 64."""
    whole, rest = divmod(milli, 1000)
    return f"{whole}.{rest:03d}".rstrip("0") if rest else str(whole)


def _name(node: str) -> str:
    return node[:256] or "the root"


def _told(faults: list[str]) -> str:
    more = len(faults) - FAULTS_MAX
    return "; ".join(faults[:FAULTS_MAX]) + (f"; and {more} more" if more > 0 else "")
