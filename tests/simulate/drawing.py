# SPDX-License-Identifier: Apache-2.0
"""A seed → its plan: a small cloud, what is asked of it, and what fails how often. Called by `__main__` and the tests.

The seed draws rates before it draws things: of faults, of gangs, of elastic jobs. So some worlds are calm and some are
on fire, and every feature also occurs alone.
"""

import random
from typing import Final

from msgspec.structs import replace

from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.places.types import pool_of
from leitstand.core.rules import BUDGETS, TENANT_CLASSES, Choosing, Rules, Sharing
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from tests.simulate.plan import APART, CRASHES, FAULTS, START_US, Ask, Fault, Plan, Truth

DISCIPLINES: Final = ("fair", "fair", "fair", "fair", "fifo-strict", "fifo-greedy", "sjf", "priority")
GPU_TYPES: Final = ("H100", "B200", "")
NODES_MAX: Final = 40
JOBS_MAX: Final = 60
FAULTS_MAX: Final = 60
FAILS: Final = ("exit_code", "exit_code", "signal", "lost", "start_failed")
NO_LIMIT: Final = -1


def draw(seed: int) -> Plan:
    """The plan of this seed; the same on every machine."""
    told = random.Random(f"leitstand {seed}")
    plain = told.random() < 0.15
    rules = _rules(told)
    if plain:  # a calm world in which what is owed is owed at once
        sharing = replace(rules.sharing, start_interval_us=0)
        rules = replace(rules, discipline="fair", sharing=sharing)
    sites, nodes = _fleet(told, rules.discipline == "fair")
    tenants = _tenants(told)
    span_us = told.choice([20 * MINUTE_US, HOUR_US, HOUR_US, 3 * HOUR_US, 8 * HOUR_US])
    plan = Plan(seed, rules, sites, nodes, tenants, {}, [], {}, [], START_US + span_us)
    plan.through_sites = len(sites) > 1 or told.random() < 0.3
    if rules.discipline == "fair":
        plan.entitled = _entitled(told, plan, plain)
    _Asks(told, plan, span_us, plain).draw()
    plan.quiet_us = max([plan.quiet_us, *(ask.at_us + 1 for ask in plan.asks)])
    if not plain and told.random() < 0.85:
        plan.faults = _faults(told, plan, span_us)
        plan.faults = sorted([*plan.faults, *_apart(seed, span_us)], key=lambda one: (one.at_us, one.kind))
    plan.snapshot_every = told.choice([0, 0, 7, 30])
    plan.refold_every = told.choice([0, 40, 150])
    plan.retold = told.random() < 0.4
    return plan


def pools_of(plan: Plan) -> dict[str, int]:
    """GPUs by pool."""
    found: dict[str, int] = {}
    for node in plan.nodes:
        pool = node.pool or pool_of(node.site, node.gpu_type, node.gpus)
        found[pool] = found.get(pool, 0) + node.gpus
    return found


# ── rules and fleet ───────────────────────────────────────────────────────────────────────────────────────────────────
def _rules(told: random.Random) -> Rules:
    sharing = Sharing(
        protected_us=told.choice([1, 5, 10]) * MINUTE_US,
        grace_us=told.choice([0, 10, 30]) * SECOND_US,
        stop_us=told.choice([0, 10, 30]) * SECOND_US,
        recall_us=told.choice([12, 15, 30]) * MINUTE_US,
        tick_us=told.choice([1, 5, 5, 10]) * MINUTE_US,
        ahead_us=told.choice([0, 0, HOUR_US]),
        spare_milli=told.choice([0, 0, 0, 1000]),
        restart_us=told.choice([0, MINUTE_US]),
        predicted_max_us=told.choice([0, 7 * 24 * HOUR_US]),
        reservations_leaf_max=told.choice([1, 1, 4, 4]),
        moves_max=told.choice([0, 10_000]),
        start_interval_us=told.choice([0, 0, 0, 0, SECOND_US]),
    )
    price = told.choice([0, 2_000_000, 3_600_007])
    return Rules(
        discipline=told.choice(DISCIPLINES),
        sharing=sharing,
        choosing=Choosing(gain_s=told.choice([60, 600])),
        pending_jobs_max=told.choice([3, 20, 100_000]),
        budgets=told.choice(["granted"] * 6 + list(BUDGETS)),
        price_micro_eur_per_gpu_h=dict.fromkeys(TENANT_CLASSES, price),
        request_ttl_us=told.choice([24 * HOUR_US, 24 * HOUR_US, 4 * HOUR_US]),
    )


def _fleet(told: random.Random, has_pools: bool) -> tuple[list[f.SiteAdded], list[f.NodeAdded]]:
    count = told.choice([1, 1, 1, 2, 3])
    many = told.choice([2, 3, 4, 8, 8, NODES_MAX])
    sites, nodes = [], []
    for number in range(count):
        name, kind = f"s{number}", told.choice(GPU_TYPES)
        levels = told.choice([(), ("rack",), ("rack",), ("block", "rack")])
        sites.append(
            f.SiteAdded(
                name,
                "simulated",
                logical=told.random() < 0.5,
                colocate=told.random() < 0.2,
                jurisdiction=told.choice(["DE", "FR"]),
                levels=levels,
                resizes=told.random() < 0.5,
            )
        )
        shared, per_rack = told.random() < 0.5, told.choice([2, 3, 4])
        for index in range(told.randint(2 if count == 1 else 1, max(2, many // count))):
            rack = index // per_rack
            domains = tuple(
                {"block": f"b{rack // 2}", "rack": f"b{rack // 2}-r{rack}"}[one] for one in levels
            )
            gpus = told.choice([4, 8, 8]) if told.random() < 0.95 else told.choice([0, 1, 3])
            pool = "shared" if shared or not has_pools else ""
            amounts = (told.choice([0, 4_000]) + 2_000 * gpus, 16_000 * (gpus + 1))
            nodes.append(f.NodeAdded(f"{name}n{index}", name, gpus, *amounts, kind, pool, domains=domains))
    return sites, nodes


def _tenants(told: random.Random) -> dict[str, tuple[str, tuple[str, ...]]]:
    names = ("acme", "funke", "uni", "amt", "labor")[: told.randint(1, 5)]
    return {name: (told.choice(TENANT_CLASSES), told.choice([(), (), ("second",)])) for name in names}


def leaves_of(plan: Plan) -> list[tuple[str, str, str]]:
    """(class, tenant, project)."""
    return [
        (kind, tenant, project)
        for tenant, (kind, further) in plan.tenants.items()
        for project in ("default", *further)
    ]


def _entitled(told: random.Random, plan: Plan, plain: bool) -> dict[str, tuple[a.Entitlement, ...]]:
    """Guarantees of classes, of their tenants, of their projects: each within that of what is above."""
    share = told.choice([0.0, 0.4, 0.9])
    if plain:  # one project is owed most of everything
        owner = "/".join(told.choice(leaves_of(plan)))
        return {pool: _owned(plan, owner, int(gpus * 0.75)) for pool, gpus in pools_of(plan).items() if gpus}
    return {
        pool: _tree(told, plan, int(gpus * share))
        for pool, gpus in pools_of(plan).items()
        if gpus and told.random() < 0.9
    }


def _owned(plan: Plan, owner: str, gpus: int) -> tuple[a.Entitlement, ...]:
    parts = owner.split("/")
    return tuple(a.Entitlement("/".join(parts[:depth]), gpus * 1000) for depth in (1, 2, 3))


def _tree(told: random.Random, plan: Plan, room: int) -> tuple[a.Entitlement, ...]:
    limited = told.choice([0.0, 0.3])
    paths = ["/".join(leaf) for leaf in leaves_of(plan)]
    left, found = {"": room}, []
    for depth in (1, 2, 3):
        for path in dict.fromkeys("/".join(path.split("/")[:depth]) for path in paths):
            above = path.rpartition("/")[0]
            guarantee = min(told.choice([0, 0, 1, 4, 8, 16, room]), left[above])
            left[above] -= guarantee
            left[path] = guarantee
            borrow = told.choice([0, 4, 8]) * 1000 if told.random() < limited else NO_LIMIT
            lend = min(told.choice([0, 4]), guarantee) * 1000 if told.random() < limited else NO_LIMIT
            found.append(a.Entitlement(path, guarantee * 1000, told.choice([0, 1, 1, 2]), borrow, lend))
    return tuple(found)


# ── what is asked ─────────────────────────────────────────────────────────────────────────────────────────────────────
class _Asks:
    """Draws the requests of a plan. Rates come first, so that most worlds have few features. `plain`: whole GPUs and
    gangs alone, more than there is room for, and nothing that changes contracts."""

    def __init__(self, told: random.Random, plan: Plan, span_us: int, plain: bool) -> None:
        self.told = told
        self.plan = plan
        self.span_us = span_us
        self.leaves = leaves_of(plan)
        self.largest = max(node.gpus for node in plan.nodes)
        self.levels = sorted({level for site in plan.sites for level in site.levels})
        self.is_fair = plan.rules.discipline == "fair"
        rate = told.choice([0.0, 0.3])
        self.rates = {
            name: told.choice([0.0, 0.0, rate, 0.5])
            for name in ("gang", "elastic", "array", "after", "begin", "deadline", "held", "fails", "part")
        } | {name: told.choice([0.0, 0.2]) for name in ("choice", "cpus", "idle")}
        self.rates["level"] = told.choice([0.0, 0.3, 0.8])
        if plain:
            self.rates = dict.fromkeys(self.rates, 0.0) | {"gang": told.choice([0.0, 0.2])}
        self.plain = plain
        self.jobs = told.randint(15 if plain else 5, told.choice([15, 25, JOBS_MAX]))
        self.length_us = self._length_us()
        self.slow_us = 0 if plain else told.choice([0, 0, SECOND_US, 20 * SECOND_US])

    def draw(self) -> None:
        told, plan = self.told, self.plan
        for number in range(told.choice([0, 0, 1, 3])):
            plan.asks.append(self._grant(number))
        for number in range(self.jobs):
            self._job(f"j{number}")
        jobs = [ask for ask in plan.asks if isinstance(ask.what, f.SubmitJob)]
        for number in range(told.choice([0, 1, 4])):
            act = told.choice([f.CancelJob(""), f.CancelJob(""), f.HoldJob(""), f.ReleaseJob("")])
            about = told.choice(jobs)
            at_us = about.at_us + told.choice([0, told.randint(0, self.span_us)])
            self._ask(f"d{number}", act, about.key, at_us)
        if not self.plain and told.random() < 0.2:
            self._suspension()
        if self.is_fair and not self.plain:
            if told.random() < 0.25:
                self._maintenance()
            if told.random() < 0.2:
                self._contracts()
            if told.random() < 0.15:
                self._bookings()
        if not self.plain and told.random() < 0.05:
            rules = _rules(told)
            self._ask("rules", f.RulesSet(rules, "", by="rules"))
        plan.asks.sort(key=lambda ask: ask.at_us)

    def _length_us(self) -> int:
        """The longest job, so that all jobs together ask for so many times what there is."""
        load = 3 if self.plain else self.told.choice([0.5, 2, 4, 8])
        gpus = sum(node.gpus for node in self.plan.nodes)
        each_us = int(load * gpus * self.span_us / (2 * self.jobs))
        return max(MINUTE_US, min(2 * each_us, 4 * HOUR_US))

    def _at(self) -> int:
        return START_US + self.told.randint(1, self.span_us // SECOND_US) * SECOND_US

    def _ask(self, key: str, what: f.Observation, of: str = "", at_us: int = 0) -> None:
        self.plan.asks.append(Ask(key, at_us or self._at(), what, of))

    def _has(self, name: str) -> bool:
        return self.told.random() < self.rates[name]

    def _grant(self, number: int) -> Ask:
        told = self.told
        amount = told.choice([2, 10, 60, 400]) * HOUR_US
        ends = START_US + told.choice([2, 12, 24 * 30]) * HOUR_US
        micro_eur = 0
        if told.random() < 0.3 and max(self.plan.rules.price_micro_eur_per_gpu_h.values()):
            amount, micro_eur = 0, told.choice([1_000_000, 40_000_000, 900_000_000])
        tenant, key = told.choice(sorted(self.plan.tenants)), f"b{number}"
        return Ask(key, START_US + 1, a.BudgetGranted("", tenant, amount, ends, by=key, micro_eur=micro_eur))

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _job(self, key: str) -> None:
        told, plan = self.told, self.plan
        _, tenant, project = told.choice(self.leaves)
        length_us = told.randint(1, self.length_us // SECOND_US) * SECOND_US
        factor = told.choice([1, 1, 2, 4, 0.5])
        limit_us = int(length_us * factor) + told.choice([0, 30 * SECOND_US])
        at_us = self._at()
        elastic = self._has("elastic")
        resources = self._elastic() if elastic else self._shape()
        plan.truths[key] = Truth(
            length_us,
            told.randint(0, self.slow_us),
            told.randint(0, plan.rules.sharing.freed_us),
            tuple(told.choice(FAILS) for _ in range(told.randint(1, 3))) if self._has("fails") else (),
        )
        asked = f.SubmitJob(
            tenant,
            project,
            resources,
            user=told.choice(["u1", "u2"]),
            priority=told.choice([0, 0, 1, 2]),
            max_duration_us=limit_us,
            expected_us=told.choice([0, length_us]),
            spec=key,
            request=key,
            request_digest=f"of {key}",
            retries=told.choice([0, 1, 3]) if self.rates["fails"] else 0,
            retry_on=told.choice([(), (), ("lost", "start_failed")]),
            checkpoint_every_us=told.choice([0, 0, MINUTE_US, 10 * MINUTE_US]),
            begin_us=at_us + told.randint(0, self.span_us // 2) if self._has("begin") else 0,
            deadline_us=at_us + limit_us + told.randint(0, self.span_us) if self._has("deadline") else 0,
            held=self._has("held") and told.random() < 0.3,
            array=told.randint(2, 5) if self._has("array") and told.random() < 0.5 else 0,
            alternatives=(self._shape(),) if self._has("choice") and not elastic else (),
            data_sites=(told.choice(plan.sites).site,) if self._has("choice") else (),
            elastic=elastic,
        )
        earlier = [one.key for one in plan.asks if isinstance(one.what, f.SubmitJob) and one.at_us < at_us]
        after: tuple[tuple[str, str], ...] = ()
        if earlier and self._has("after"):
            after = ((told.choice(earlier), told.choice(["ok", "any", "any", "failed"])),)
        plan.asks.append(Ask(key, at_us, asked, after=after))

    def _shape(self) -> f.Resources:
        told = self.told
        kind = told.choice([site.site for site in self.plan.sites]) if self._has("choice") else ""
        more: dict[str, object] = {"sites": (kind,)} if kind else {}
        if self._has("part"):
            return f.Resources(0, 1, gpu_milli=told.choice([250, 500, 500, 700]), **more)  # type: ignore[arg-type]
        if self._has("cpus"):
            more |= {"cpus_milli": told.choice([1000, 3000, 12_000]), "memory_mib": told.choice([0, 8000])}
        if self._has("idle"):
            return f.Resources(0, 1, **({"cpus_milli": 500} | more))  # type: ignore[arg-type]
        if not self._has("gang"):
            return f.Resources(told.choice([1, 1, 1, 2, 4, self.largest or 1]), 1, **more)  # type: ignore[arg-type]
        tasks = told.choice([2, 2, 3, 4])
        for name in ("cpus_milli", "memory_mib"):
            if name in more:
                more[name] = int(more[name]) * tasks  # type: ignore[call-overload]
        if told.random() < 0.2:
            return f.Resources(told.choice([3, 6, 12]), 0)
        if self.levels and self._has("level"):
            more[told.choice(["level", "prefer"])] = told.choice(self.levels)
        return f.Resources(tasks * told.choice([1, 2, 4, self.largest]), tasks, **more)  # type: ignore[arg-type]

    def _elastic(self) -> f.Resources:
        told = self.told
        least = told.choice([1, 1, 2])
        level = told.choice(self.levels) if self.levels and self._has("level") else ""
        most = least + told.randint(1, 4)
        return f.Resources(least * told.choice([1, 2, 4]), least, nodes_max=most, level=level)

    # ── acts ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _suspension(self) -> None:
        told = self.told
        tenant = told.choice(sorted(self.plan.tenants))
        at_us = self._at()
        stop = told.choice(["finish", "stop"])
        self._ask("suspend", a.TenantSuspended(tenant, "unpaid", stop, by="suspend"), at_us=at_us)
        back_us = min(at_us + told.randint(1, 60) * MINUTE_US, self.plan.quiet_us - SECOND_US)
        self._ask("resume", a.TenantResumed(tenant, by="resume"), at_us=max(back_us, at_us + 1))

    def _maintenance(self) -> None:
        told = self.told
        for number in range(told.randint(1, 2)):
            some = tuple(sorted({told.choice(self.plan.nodes).node for _ in range(told.randint(1, 2))}))
            at_us, key = self._at(), f"m{number}"
            emergency = told.random() < 0.3
            from_us = 0 if emergency else at_us + told.randint(2, 60) * MINUTE_US
            until_us = max(from_us, at_us) + told.randint(1, 60) * MINUTE_US
            asked = a.MaintenancePlanned(
                "", from_us, until_us, some, emergency=emergency, scale=told.random() < 0.7, by=key
            )
            self._ask(key, asked, at_us=at_us)
            if told.random() < 0.3:
                later_us = at_us + told.randint(1, 60) * MINUTE_US
                self._ask(f"{key}x", a.MaintenanceCancelled("", by=f"{key}x"), key, later_us)

    def _contracts(self) -> None:
        told, plan = self.told, self.plan
        pools = pools_of(plan)
        for number in range(told.randint(1, 3)):
            pool, key, at_us = told.choice(sorted(pools)), f"c{number}", self._at()
            from_us = told.choice([0, at_us + told.randint(1, 60) * MINUTE_US])
            if told.random() < 0.5:
                room = int(pools[pool] * told.choice([0.0, 0.5, 1.0]))
                self._ask(
                    key,
                    a.EntitlementsChanged(
                        pool, _tree(told, plan, room), from_us, scaled=told.random() < 0.3, by=key
                    ),
                    at_us=at_us,
                )
                continue
            leaf = told.choice(self.leaves)
            node = "/".join(leaf[: told.randint(1, 3)])
            until_us = max(from_us, at_us) + told.randint(1, 120) * MINUTE_US
            amount = told.choice([1, 4, 8]) * 1000
            self._ask(key, a.CommitmentMade("", pool, node, amount, from_us, until_us, by=key), at_us=at_us)

    def _bookings(self) -> None:
        told, plan = self.told, self.plan
        for number in range(told.randint(1, 3)):
            _, tenant, project = told.choice(self.leaves)
            at_us, key = self._at(), f"r{number}"
            from_us = at_us + told.randint(12, 60) * MINUTE_US
            until_us = from_us + told.randint(12, 90) * MINUTE_US
            gpus, nodes = told.choice([(1, 1), (2, 1), (4, 1), (8, 2), (3, 0)])
            asked = f.BookingMade(
                "", tenant, project, f.Resources(gpus, nodes), from_us, until_us,
                release_idle_us=told.choice([0, 0, 10 * MINUTE_US]),
                by=key, request=key, request_digest=f"of {key}", pool=told.choice(["", *pools_of(plan)]),
            )  # fmt: skip
            self._ask(key, asked, at_us=at_us)
            for index in range(told.randint(0, 3)):
                name = f"{key}j{index}"
                span_us = told.randint(1, 60) * MINUTE_US
                plan.truths[name] = Truth(span_us, 0, 0)
                job = f.SubmitJob(
                    tenant, project, f.Resources(told.choice([1, gpus]), 1), max_duration_us=span_us,
                    spec=name, request=name, request_digest=f"of {name}", booking=key,
                )  # fmt: skip
                when_us = told.randint(at_us // SECOND_US + 1, until_us // SECOND_US) * SECOND_US
                self._ask(name, job, key, when_us)
            if told.random() < 0.3:
                when_us = told.randint(at_us // SECOND_US + 1, until_us // SECOND_US) * SECOND_US
                self._ask(f"{key}x", f.BookingCancelled("", by=f"{key}x"), key, when_us)


# ── what fails ────────────────────────────────────────────────────────────────────────────────────────────────────────
def _faults(told: random.Random, plan: Plan, span_us: int) -> list[Fault]:
    """Of most kinds none, of some a few, of one perhaps many."""
    usual = told.choice([0.2, 0.5, 1.0])
    found: list[Fault] = []
    for kind in FAULTS:
        if kind in APART:
            continue
        if told.random() >= usual:
            continue
        most = 4 if kind in CRASHES or kind.startswith(("node", "clock")) else told.choice([3, 10])
        for _ in range(told.randint(1, most)):
            at_us = START_US + told.randint(0, span_us // SECOND_US) * SECOND_US
            found.append(Fault(kind, at_us, _value_us(told, kind), told.randrange(1000)))
    if len(found) > FAULTS_MAX:
        found = told.sample(found, FAULTS_MAX)
    return sorted(found, key=lambda fault: (fault.at_us, fault.kind))


def _apart(seed: int, span_us: int) -> list[Fault]:
    """Bad GPUs: in two worlds of five."""
    told = random.Random(f"leitstand {seed} health")
    count = told.choice([0, 0, 0, 1, 3])
    return [
        Fault(
            "gpu_fails",
            START_US + told.randint(0, span_us // SECOND_US) * SECOND_US,
            told.choice([1, 60, 600, 3600]) * SECOND_US,
            told.randrange(1000),
        )
        for _ in range(count)
    ]


def _value_us(told: random.Random, kind: str) -> int:
    if kind.startswith("clock"):
        return told.choice([1, 30, 90, 600, 1800]) * SECOND_US
    if kind in CRASHES or kind == "append_slow":
        return told.choice([0, 1, 20, 300]) * SECOND_US
    if kind.startswith("node"):
        return told.choice([1, 5, 60, 600, 3600]) * SECOND_US
    return told.choice([1, 1, 5, 45, 400]) * SECOND_US
