# SPDX-License-Identifier: Apache-2.0
"""Budgets: what a tenant may use until when, what is reserved of it for jobs, and what was used. Called by admission
and the cycle (decide), by the state (applies) and by the faces (read).

    granted = available + reserved + posted

At admission a job reserves what one run of it can cost at most: charge × time limit. When a run ends, what it used is
posted; when the job ends, the rest is void. A budget is GPU·µs or millionths of a euro; the sums are made in milli·µs
(thousandths of a GPU × µs) and rounded up once, when they become an amount of a budget. What expires first pays first,
several budgets can pay one job, and a budget pays no run whose time limit ends after it expires.
"""

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec

from leitstand.core.acts import BudgetGranted
from leitstand.core.decision import Decision, record, refuse
from leitstand.core.fact import Fact
from leitstand.core.facts import BudgetReserved, JobEnded, Parts, Resources
from leitstand.core.metering import tasks_us
from leitstand.core.units import GPU_HOUR_MILLI_US

if TYPE_CHECKING:
    from leitstand.core.bookings.booked import Booking
    from leitstand.core.jobs import Job, Run
    from leitstand.core.rules import Rules
    from leitstand.core.state import State
    from leitstand.core.tenancy import Tenant

ORIGINS: Final = ("paid", "grant", "subsidised")
BUDGETS_MAX: Final = 1_000  # of a tenant, ever
RENEWED_MAX: Final = 10_000  # jobs that reserve again in one cycle because a budget ends
AMOUNT_MAX: Final = 2**63 - 1
OPERATOR: Final = "operator"  # the built-in tenant: the cloud itself has no budget
UNPAID: Final = ("lost", "start_failed")  # outcomes of runs that the operator pays
_MILLI: Final = 1000


class Budget(msgspec.Struct, gc=False):
    """`gpu_us` GPU·µs or `micro_eur` millionths of a euro, the other is 0, for runs that end by `expires_us`.
    `reserved` for jobs that live, `posted` for what runs used, in the same unit."""

    id: str
    gpu_us: int
    expires_us: int
    origin: str
    micro_eur: int = 0
    posted: int = 0
    reserved: int = 0

    @property
    def granted(self) -> int:
        """The whole amount in its unit."""
        return self.micro_eur or self.gpu_us

    @property
    def unit(self) -> str:
        """gpu_us or micro_eur."""
        return "micro_eur" if self.micro_eur else "gpu_us"

    @property
    def free(self) -> int:
        """What is neither reserved nor posted."""
        return self.granted - self.posted - self.reserved

    def available(self, now: int) -> int:
        """What a new job can reserve; 0 once the budget has expired."""
        return self.free if now < self.expires_us else 0

    def covers(self, amount: int, price_micro_eur: int) -> int:
        """The milli·µs that `amount` pays, at so much for one GPU and hour; 0 for euros without a price."""
        if not self.micro_eur:
            return amount * _MILLI
        return amount * GPU_HOUR_MILLI_US // price_micro_eur if price_micro_eur else 0

    def cost(self, milli_us: int, price_micro_eur: int) -> int:
        """The amount that pays `milli_us`, rounded up."""
        if not self.micro_eur:
            return -(-milli_us // _MILLI)
        return euros(milli_us, price_micro_eur)


class Payment(NamedTuple):
    """`parts`: (budget, amount) in the order in which they pay; none for a job that no budget limits. Euros at
    `price_micro_eur` for one GPU and hour."""

    parts: Parts = ()
    price_micro_eur: int = 0


class Short(NamedTuple):
    """The budgets that last long enough do not reach: `asked` of `resource` (gpu_us | micro_eur) against `limit`."""

    asked: int
    limit: int
    resource: str


class Need(NamedTuple):
    """What one run can use at most: its charge × its limit, or `milli_us` if that is named."""

    charge_milli: int
    limit_us: int
    pool: str = ""
    milli_us: int = 0

    @property
    def amount(self) -> int:
        """In milli·µs."""
        return self.milli_us or self.charge_milli * self.limit_us


# ── reserve and post ──────────────────────────────────────────────────────────────────────────────────────────────
def reserve(state: "State", tenant: "Tenant", need: Need, now: int, own: Parts = ()) -> Payment | Short:
    """Who pays a run that starts at `now` or later; `own`: what its job has reserved, which it may use again."""
    left = need.amount
    if not left or not is_limited(state.rules, tenant):
        return Payment()
    price = price_of(state.rules, tenant, need.pool)
    lasting = [one for one in tenant.budgets if now + need.limit_us <= one.expires_us]
    lasting.sort(key=lambda one: one.expires_us)  # of equal ones the oldest
    mine, parts = dict(own), []
    for budget in lasting:
        take = min(left, budget.covers(budget.free + mine.get(budget.id, 0), price))
        if take:
            parts.append((budget.id, budget.cost(take, price)))
            left -= take
        if not left:
            return Payment(tuple(parts), price)
    return _short(tenant, need, [(one, one.free + mine.get(one.id, 0)) for one in lasting], price)


def renew(state: "State", now: int, job: "Job", exit_code: int | None = None) -> Fact | None:
    """What lets a job wait for a run from now on: nothing, if what it has reserved is still good for one; another
    reservation; or its end, if no budget can pay."""
    if job.booking is not msgspec.UNSET:  # that has paid
        return None
    tenant = state.tenants[job.tenant]
    need = Need(most(job.resources, job.charge_milli), job.max_duration_us, job.pool)
    known = {one.id: one for one in tenant.budgets}
    paid = sum(known[budget].covers(amount, job.price_micro_eur) for budget, amount in job.reserved)
    lasts = all(now + need.limit_us <= known[budget].expires_us for budget, _ in job.reserved)
    if job.reserved and lasts and paid >= need.amount and not job.nodes_most:
        return None
    if not job.reserved and not has_gpus(state, job.pool):
        return None
    found = reserve(state, tenant, need, now, job.reserved)
    if isinstance(found, Short):
        return JobEnded(job.id, "failed", "budget", exit_code)
    return None if found.parts == job.reserved else BudgetReserved(job.id, *found)


def use(state: "State", job: "Job", run: "Run", outcome: str, ended_us: int) -> Parts:
    """What the end of a run posts. Its time counts up to its limit: how long the engine then takes to stop it is not
    its tenant's, and neither is a run that the cloud lost."""
    if outcome in UNPAID or not job.reserved:
        return ()
    wall_us = min(ended_us - run.started_us, job.max_duration_us)
    left = charge(job.resources, job.charge_milli, len(run.tasks)) * wall_us
    if run.sizes is not msgspec.UNSET:
        left = _used(job, run, run.started_us + wall_us)
    return paid(state, job, left)


def paid(state: "State", holder: "Job | Booking", milli_us: int) -> Parts:
    """What the budgets of a tenant pay for so much charge × time, out of what they have reserved for it."""
    known = {one.id: one for one in state.tenants[holder.tenant].budgets}
    parts = []
    for name, amount in holder.reserved:
        budget = known[name]
        take = min(milli_us, budget.covers(amount, holder.price_micro_eur))
        if take:
            parts.append((name, min(amount, budget.cost(take, holder.price_micro_eur))))
            milli_us -= take
    return tuple(parts)


def resized(state: "State", now: int, job: "Job", run: "Run", tasks: int) -> BudgetReserved | Short | None:
    """What is reserved if the run of an elastic job has `tasks` from now on until its limit, with what it has used so
    far; None: nothing else than is. At another price than that of its start nothing is reserved anew."""
    tenant = state.tenants[job.tenant]
    if not job.reserved:
        return None
    milli = job.charge_milli + (tasks - job.resources.nodes) // job.unit_nodes * job.unit_milli
    left_us = max(run.started_us + job.max_duration_us - now, 0)
    need = Need(milli, max(run.placed_us + job.max_duration_us - now, 0), job.pool)
    need = need._replace(milli_us=_used(job, run, now) + milli * left_us)
    if price_of(state.rules, tenant, job.pool) != job.price_micro_eur:
        return _short(tenant, need, [], job.price_micro_eur)
    found = reserve(state, tenant, need, now, job.reserved)
    if isinstance(found, Short):
        return found
    return None if found.parts == job.reserved else BudgetReserved(job.id, *found)


def _used(job: "Job", run: "Run", until_us: int) -> int:
    """What the run of an elastic job has used by then, in milli·µs: charge x time, segment by segment."""
    wall_us = until_us - run.started_us
    units_us = (tasks_us(run, until_us) - job.resources.nodes * wall_us) // job.unit_nodes
    milli = job.charge_milli or charge(job.resources, 0, len(run.tasks))
    return milli * wall_us + job.unit_milli * units_us


def overdue(state: "State", now: int) -> list[str]:
    """The waiting jobs whose runs would outlast what pays them, if they started now; the first RENEWED_MAX."""
    return state.latest_starts.before(now, RENEWED_MAX)


# ── readings ──────────────────────────────────────────────────────────────────────────────────────────────────────
def is_limited(rules: "Rules", tenant: "Tenant") -> bool:
    """Whether the tenant's jobs need a budget."""
    if rules.budgets == "off" or tenant.id == OPERATOR:
        return False
    return bool(tenant.budgets) or rules.budgets == "required"


def price_of(rules: "Rules", tenant: "Tenant", pool: str = "") -> int:
    """Millionths of a euro for one GPU and hour in the pool, rounded up; 0: no price is in force."""
    price = rules.price_micro_eur_per_gpu_h.get(tenant.tenant_class, 0)
    return -(-price * rules.choosing.price_milli.get(pool, _MILLI) // _MILLI)


def euros(milli_us: int, price_micro_eur: int) -> int:
    """What `milli_us` cost, in millionths of a euro, rounded up."""
    return -(-milli_us * price_micro_eur // GPU_HOUR_MILLI_US)


def has_gpus(state: "State", pool: str) -> bool:
    """Whether the pool charges GPUs; budgets are of GPU time, so a pool without any costs none."""
    known = state.pools[pool]
    return known.amounts()[0] > 0 or any(known.whole.gpus) or known.widest > 0  # also of nodes out of service


def charge(asked: Resources, charge_milli: int, tasks: int) -> int:
    """What a job counts for while it runs with so many tasks, in milli-GPU. `charge_milli`: at its least size, 0 under
    rules that do not charge: its GPUs then."""
    least = charge_milli or asked.gpus * _MILLI or asked.gpu_milli * max(asked.nodes, 1)
    return -(-least * tasks // asked.nodes) if asked.nodes_max > asked.nodes > 0 else least


def most(asked: Resources, charge_milli: int) -> int:
    """What it counts for at its largest size."""
    return charge(asked, charge_milli, asked.nodes_max)


def latest_start_us(state: "State", job: "Job") -> int | None:
    """Until when a run may start to end, at its limit, before what pays it expires; None: at any time."""
    names = {name for name, _ in job.reserved}
    ends = [one.expires_us for one in state.tenants[job.tenant].budgets if one.id in names]
    return min(ends) - job.max_duration_us if ends else None


class LatestStarts:
    """Waiting jobs by the time by which they have to start. Derived; a heap whose stale entries go when they come up,
    or when they outnumber the living."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    @property
    def waits(self) -> bool:
        """Whether anybody has to start by some time."""
        return bool(self._due)

    def put(self, job: str, due: int | None) -> None:
        """The job has to start by `due`; None: it need not, or it waits no more."""
        if due is None:
            if self._due.pop(job, None) is None:
                return
        elif self._due.get(job) != due:
            self._due[job] = due
            heappush(self._heap, (due, job))
        if len(self._heap) > 2 * len(self._due) + 1024:
            self._heap = [(due, job) for job, due in self._due.items()]
            heapify(self._heap)

    def first(self) -> int | None:
        """The earliest of them, None if nobody waits for a budget's sake."""
        heap = self._heap
        while heap and self._due.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else None

    def before(self, now: int, limit: int) -> list[str]:
        """The jobs that are too late at `now`, by time and id, at most `limit`."""
        if not self._due:
            return []
        found: dict[str, int] = {}
        while len(found) < limit and (due := self.first()) is not None and due < now:
            found[self._heap[0][1]] = due
            heappop(self._heap)
        for job, due in found.items():  # they go when their job changes, not by being read
            heappush(self._heap, (due, job))
        return list(found)


def _short(tenant: "Tenant", need: Need, lasting: list[tuple[Budget, int]], price: int) -> Short:
    """In euros if the tenant has no budget but in euros, else in GPU time."""
    milli_us = need.amount
    if price and tenant.budgets and all(one.micro_eur for one in tenant.budgets):
        asked, limit, resource = euros(milli_us, price), sum(free for _, free in lasting), "micro_eur"
    else:
        covered = sum(budget.covers(free, price) for budget, free in lasting)
        asked, limit, resource = -(-milli_us // _MILLI), covered // _MILLI, "gpu_us"
    return Short(min(asked, AMOUNT_MAX), min(limit, AMOUNT_MAX), resource)


# ── decide ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _grant(state: "State", now: int, asked: BudgetGranted) -> Decision:
    tenant = state.tenants.get(asked.tenant)
    if tenant is None:
        return refuse("unknown_tenant", asked.tenant[:64])
    in_unit = 0 < asked.gpu_us <= AMOUNT_MAX if not asked.micro_eur else asked.gpu_us == 0
    if not in_unit or not 0 <= asked.micro_eur <= AMOUNT_MAX or not now < asked.expires_us <= AMOUNT_MAX:
        euro = f" and {asked.micro_eur} millionths of a euro" if asked.micro_eur else ""
        return refuse("invalid", f"{asked.gpu_us} GPU·µs{euro} until {asked.expires_us}")
    if asked.origin not in ORIGINS:
        return refuse("invalid", asked.origin[:64])
    if asked.micro_eur and not price_of(state.rules, tenant):
        return refuse(
            "conflict",
            f"no price for a GPU and hour is in force for the class {tenant.tenant_class}, so a budget in euros "
            "would pay nothing",
        )
    if len(tenant.budgets) >= BUDGETS_MAX:
        return refuse("busy", str(BUDGETS_MAX))
    budget = f"b{state.budgets + 1}"
    return record(msgspec.structs.replace(asked, budget=budget), made=budget)


DECIDE: Final[dict[type, Callable[["State", int, Any], Decision]]] = {BudgetGranted: _grant}


# ── apply ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def hold(state: "State", job: "Job", parts: Parts, price_micro_eur: int = 0) -> None:
    """From now on this is reserved for the job, instead of what was."""
    if job.reserved or parts:
        known = {one.id: one for one in state.tenants[job.tenant].budgets}
        for name, amount in job.reserved:
            known[name].reserved -= amount
        for name, amount in parts:
            known[name].reserved += amount
            assert known[name].free >= 0, "a budget is overdrawn"
    job.reserved, job.price_micro_eur = parts, price_micro_eur
    watch(state, job)


def spend(state: "State", job: "Job", posted: Parts) -> None:
    """What a run used is posted, out of what was reserved for its job."""
    if not posted:
        return
    known = {one.id: one for one in state.tenants[job.tenant].budgets}
    used = dict(posted)
    for name, amount in posted:
        known[name].reserved -= amount
        known[name].posted += amount
    rest = [(name, amount - used.get(name, 0)) for name, amount in job.reserved]
    assert min(amount for _, amount in rest) >= 0, "more is posted than was reserved"
    job.reserved = tuple((name, amount) for name, amount in rest if amount)


def watch(state: "State", job: "Job") -> None:
    """Note until when the job has to start, if it waits."""
    if job.reserved and job.state == "pending" and job.id in state.jobs:
        state.latest_starts.put(job.id, latest_start_us(state, job))
    elif state.latest_starts.waits:
        state.latest_starts.put(job.id, None)


def _granted(state: "State", at: int, fact: BudgetGranted) -> None:
    state.budgets += 1
    budget = Budget(fact.budget, fact.gpu_us, fact.expires_us, fact.origin, fact.micro_eur)
    state.tenants[fact.tenant].budgets.append(budget)


APPLY: Final[dict[type[Fact], Callable[["State", int, Any], None]]] = {BudgetGranted: _granted}
