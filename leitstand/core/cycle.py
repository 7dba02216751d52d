# SPDX-License-Identifier: Apache-2.0
"""The main path: what happens when something happens. Called by the loop, in every mode.

    cycle(now, observations):  each observation: observe → fact → apply → react → facts → apply
                               then one plan: whose turn, does it fit, place → apply

The core has no clock, no I/O and no randomness; the same observations at the same times under the same rules give the
same facts on every machine. It never asks back: what it does not know, it refuses with a reason.
"""

from collections.abc import Callable, Iterable, Sequence
from heapq import heappop, heapreplace
from typing import Any, Final

from msgspec import UNSET
from msgspec.structs import replace

from leitstand.core import acts as a
from leitstand.core import budgets, fleet, onboarding, people, resizing, tenancy
from leitstand.core import facts as f
from leitstand.core import rules as bundle
from leitstand.core.admission import admit
from leitstand.core.bookings import booked, inside, mending
from leitstand.core.bookings import deciding as booking
from leitstand.core.choosing import switching
from leitstand.core.decision import DIGEST_MAX, ID_MAX, NOTED, Answer, Decision, is_id, record, refuse
from leitstand.core.fleet import Node, Pool
from leitstand.core.health import deciding as health
from leitstand.core.jobs import Job, Run
from leitstand.core.maintenance import deciding, windows
from leitstand.core.metering import kept, lost, meter
from leitstand.core.places.mig import mig_fault, model_of, models_fault
from leitstand.core.places.placement import tasks_of
from leitstand.core.places.topology import domain_faults, level_faults
from leitstand.core.places.types import pool_of
from leitstand.core.queue import STRICT
from leitstand.core.sharing import granting, keeping, repair
from leitstand.core.sharing.fair import Fair
from leitstand.core.state import State
from leitstand.core.tenancy import Tenant
from leitstand.core.waiting import fault_of


class Core:
    """State and the decisions on it. `answers` are those to the last cycle's observations, in their order."""

    def __init__(self, state: State | None = None) -> None:
        self.state = state or State()
        self.answers: list[Answer] = []
        self._facts: list[f.Fact] = []
        self._now = 0
        # What the plan need not look at again: classes that did not fit since capacity was last freed. Only a cache:
        # with it empty and every pool touched, the plan decides the same.
        self._asleep: dict[str, set[f.Resources]] = {}
        self._touched: dict[str, None] = dict.fromkeys(self.state.pools)
        self._fair: dict[str, Fair] = {}  # the plans of pools under the discipline `fair`: caches, too
        self._goes_on = False  # whether it has decided anything yet, or what it has are recorded facts

    def cycle(self, now: int, observations: Iterable[f.Observation]) -> list[f.Fact]:
        """Everything that is decided at `now` (µs, never before the last cycle's), in order; already applied."""
        self._now = now
        self._facts = []
        for plan in self._plans():
            plan.tick(now)
        self._goes_on = True
        if self.state.exits and min(self.state.exits.values()) <= now:
            self._advance_exits()
        if self.state.latest_starts.waits:
            self._renew_budgets()
        self.answers = [_OBSERVE[type(observation)](self, observation) for observation in observations]
        if self.state.maintenance.windows:
            self._maintain()
        if self.state.bookings.of:
            self._advance_bookings()
        if not self._settle() or self._renews(now):
            return self._facts
        if self.state.rules.discipline == "fair":
            self._plan_fairly()
        elif self._touched:
            self._plan()
        return self._facts

    @property
    def decided(self) -> Sequence[f.Fact]:
        """The facts of the last cycle, or of this one so far."""
        return self._facts

    def take_over(self, fact: f.Fact) -> None:
        """Within a cycle: record what was decided before, without deciding it again."""
        self._emit(fact)

    def fold(self, facts: Iterable[tuple[int, f.Fact]]) -> None:
        """Take over recorded facts with their stamps, without deciding anything."""
        apply = self.state.apply
        for at, fact in facts:
            apply(at, fact)
        self._asleep.clear()
        self._fair.clear()
        self._goes_on = False
        self.state.waiting.woken.clear()
        self._touched = dict.fromkeys(self.state.pools)

    def next_wake(self) -> int | None:
        """When time alone will require a cycle (µs): a stage of a tenant's exit, a reserved start, a tick of shares, a
        job's begin or deadline, or that what pays for a waiting job would expire before its end."""
        state = self.state
        due = list(state.exits.values())
        if (waiting_us := state.waiting.next_time()) is not None:
            due.append(waiting_us)
        if (latest := state.latest_starts.first()) is not None:
            due.append(latest + 1)
        if (window_us := windows.next_time(state)) is not None:
            due.append(window_us)
        for time in (booked.next_time(state), inside.next_time(state, self._now)):
            if time is not None:
                due.append(time)
        if state.rules.discipline == "fair":
            due += [time for plan in self._plans() if (time := plan.next_wake(self._now)) is not None]
            if (tick := switching.next_wake(state)) is not None:
                due.append(tick)
        return min(due) if due else None

    def _emit(self, fact: f.Fact) -> None:
        self.state.apply(self._now, fact)
        self._facts.append(fact)

    def _freed(self, pool: str, tasks: Sequence[f.Task] | None = None) -> None:
        """Capacity (what these tasks held) or order of the pool changed for the better: every class may fit again."""
        self._asleep.pop(pool, None)
        self._touched[pool] = None
        if self.state.inside.waiting:
            self.state.inside.wake(self.state, pool)
        if pool in self._fair:
            nodes = self.state.nodes
            self._fair[pool].wake(None if tasks is None else [nodes[task.node].position for task in tasks])

    def _plans(self) -> list[Fair]:
        """The plans of all pools, in the order of the fleet; none under another discipline."""
        if self.state.rules.discipline != "fair":
            return []
        for name in self.state.pools:
            if name not in self._fair:
                plan = self._fair[name] = Fair(self.state, name, self._emit)
                if self._goes_on:
                    plan.heads.forget()
                else:
                    plan.resume()
        return list(self._fair.values())

    def _settle(self) -> bool:
        """Say what time and the ends of other jobs make of those that wait. False: more is due than one cycle says, so
        that it plans nothing."""
        waiting = self.state.waiting
        if not waiting.has_times:
            if waiting.woken:
                self._touched.update(waiting.woken)
                waiting.woken.clear()
            return True
        for _ in range(DUE_MAX):
            fact = waiting.due(self.state, self._now)
            if fact is None:
                break
            if isinstance(fact, f.JobEnded):
                self._give_way(self.state.jobs[fact.job])
            self._emit(fact)
        self._touched.update(waiting.woken)
        waiting.woken.clear()
        return waiting.due(self.state, self._now) is None

    def _give_way(self, job: Job) -> None:
        """A pending job is about to leave: a strict queue may have waited for it, or capacity is held for it."""
        if job.id in self.state.reservations:
            self._freed(job.pool)
        self._touched[job.pool] = None

    # ── plan ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _plan_fairly(self) -> None:
        inside.start(self.state, self._now, self._emit)
        if any(plan.ticked for plan in self._plans()) or any(type(fact) in _FLEET for fact in self._facts):
            for pool in switching.switch(self.state, self._now, self._emit):
                self._freed(pool)
        touched, self._touched = self._touched, {}
        for plan in self._plans():
            if plan.name in touched or plan.ticked or plan.is_due(self._now):
                plan.plan(self._now)

    def _plan(self) -> None:
        strict = self.state.rules.discipline in STRICT
        touched, self._touched = self._touched, {}
        for name, pool in self.state.pools.items():  # in the order of the fleet, whatever was touched first
            if name in touched and pool.queue.waiting:
                self._plan_pool(name, pool, strict)

    def _plan_pool(self, name: str, pool: Pool, strict: bool) -> None:
        """Heads in order of their keys; the first of a class that does not fit sends its class to sleep. Under a strict
        discipline it ends the plan, unless the fleet has become too small for it: nobody waits for what cannot be."""
        asleep: set[f.Resources] = set() if strict else self._asleep.setdefault(name, set())
        heads = pool.queue.heads(asleep)
        while heads:
            (_, _, job), shape = heads[0]
            places = pool.find(shape)
            if places is None:
                if strict and pool.could_hold(shape):
                    return
                asleep.add(shape)
                heappop(heads)
                continue
            run = f"{job}.{self.state.jobs[job].runs + 1}"
            tasks = tasks_of(places, pool.free, pool.names, shape.gpu_milli, shape.mig)
            self._emit(f.RunPlaced(run, job, tasks))
            rest = pool.queue.classes.get(shape)
            if rest:
                heapreplace(heads, (rest[0], shape))
            else:
                heappop(heads)

    # ── acts ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _act(self, asked: Any) -> Answer:
        """What an administrative act leads to; the modules of `DECIDE` know."""
        long = next((name for name in asked.__struct_fields__ if _is_long(getattr(asked, name))), "")
        if long:
            return Answer(refused="invalid", detail=f"{long} has more than {DIGEST_MAX} characters")
        decision = DECIDE[type(asked)](self.state, self._now, asked)
        for fact in decision.facts:
            self._emit(fact)
        if type(asked) is a.TenantResumed and decision.facts:
            for pool in self.state.pools:
                self._freed(pool)
        elif type(asked) is a.TenantSuspended and decision.facts:
            self._touched = dict.fromkeys(
                self.state.pools
            )  # a strict queue may have waited for one of its jobs
        elif type(asked) is a.MaintenancePlanned and decision.facts and asked.emergency:
            window = self.state.maintenance.windows[decision.answer.made]
            self._mend_bookings(dict.fromkeys(window.nodes), f.MAINTENANCE)
            self._look_again()
        elif decision.facts and (type(asked) in deciding.DECIDE or type(asked) in booking.DECIDE):
            self._look_again()
        elif type(asked) in granting.DECIDE and decision.facts:
            for pool in self.state.pools:  # who has to yield under a contract is told in this cycle
                self._freed(pool)
        return decision.answer

    def _maintain(self) -> None:
        """Windows drain, begin and end."""
        while facts := windows.due(self.state, self._now):
            for fact in facts:
                self._emit(fact)
            self._look_again()

    def _advance_bookings(self) -> None:
        """Bookings begin and end."""
        while facts := booked.due(self.state, self._now):
            for fact in facts:
                self._emit(fact)
            self._look_again()

    def _mend_bookings(self, nodes: Iterable[str], cause: str) -> None:
        """These nodes are gone: bookings get others in their place, or break by name."""
        for id in mending.losing(self.state, nodes):
            for fact in mending.lose(self.state, self._now, id, nodes, cause):
                self._emit(fact)

    def _look_again(self) -> None:
        """Nodes close, or are booked, at other times than before: nothing that was worked out before holds."""
        self._fair.clear()
        for pool in self.state.pools:
            self._freed(pool)

    def _advance_exits(self) -> None:
        while len(self._facts) < tenancy.DRAINED_MAX and (facts := tenancy.advance(self.state, self._now)):
            for fact in facts:
                self._emit(fact)
            self._touched = dict.fromkeys(self.state.pools)

    # ── budgets ───────────────────────────────────────────────────────────────────────────────────────────────────
    def _renew_budgets(self) -> None:
        """Jobs that can no more end before what pays them expires reserve again, or end."""
        for name in budgets.overdue(self.state, self._now):
            job = self.state.jobs[name]
            fact = budgets.renew(self.state, self._now, job)
            assert fact is not None, "what is too late for its budget is not kept"
            self._emit(fact)
            if isinstance(fact, f.JobEnded):
                self._touched[job.pool] = None  # a strict queue may have waited for it

    def _renews(self, now: int) -> bool:
        """Whether there are more of them, for the next cycle: nothing is placed before that."""
        latest = self.state.latest_starts.first()
        return latest is not None and latest < now

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def _submit(self, asked: f.SubmitJob) -> Answer:
        state = self.state
        if asked.request:
            known = state.requests.get(asked.request)
            if known is not None and known.at > self._now - state.rules.request_ttl_us:
                if known.digest != asked.request_digest:
                    return Answer(refused="request_reused", detail=known.job)
                return Answer(known.job)
        tenant = state.tenants.get(asked.tenant)
        if tenant is None:
            return Answer(refused="unknown_tenant", detail=asked.tenant[:ID_MAX])
        if asked.project not in tenant.projects:
            return Answer(refused="unknown_project", detail=asked.project[:ID_MAX])
        digests = (asked.user, asked.spec, asked.request, asked.request_digest)
        if max(map(len, digests)) > DIGEST_MAX or (asked.retry_on and not _can_retry_on(asked.retry_on)):
            return Answer(refused="invalid", detail="digests or reasons to retry")
        if fault := fault_of(asked):
            return Answer(refused="invalid", detail=fault)
        if asked.request and self._remembers_too_much(tenant):
            return Answer(refused="busy", detail=str(state.rules.requests_max))
        if tenant.pending + max(asked.array, 1) > state.rules.pending_jobs_max:
            return Answer(refused="busy", detail=str(state.rules.pending_jobs_max))
        first = f"{asked.tenant}-{tenant.jobs + 1}"
        for index in range(max(asked.array, 1)):
            if not self._enter(asked, first, index) and not index:
                break
        return Answer(first)

    def _enter(self, asked: f.SubmitJob, first: str, index: int) -> bool:
        """One job of a submission whose first is `first`; that alone is remembered for the Idempotency-Key. False: it
        is refused. Whom it waits for is looked up before it is there, so that it cannot be itself."""
        state = self.state
        if state.rules.discipline == "fair":
            for pool in state.pools:
                keeping.refresh(state, pool, self._now)
        verdict = admit(state, asked, self._now)
        job = f"{asked.tenant}-{state.tenants[asked.tenant].jobs + 1}"
        self._emit(
            f.JobSubmitted(
                job,
                asked.tenant,
                asked.project,
                asked.resources,
                asked.user,
                asked.priority,
                asked.max_duration_us,
                asked.expected_us,
                asked.spec,
                "" if index else asked.request,
                "" if index else asked.request_digest,
                asked.retries,
                asked.retry_on,
                asked.checkpoint_every_us,
                asked.begin_us,
                asked.after,
                asked.deadline_us,
                asked.held,
                first if asked.array else "",
                index,
                asked.array,
                asked.alternatives,
                asked.data_sites,
                asked.elastic,
                asked.booking,
            )
        )
        if verdict.reason:
            lack = (verdict.reason, verdict.asked, verdict.limit, verdict.resource)
            self._emit(f.JobRejected(job, *lack, verdict.lacks))
            return False
        shape = (asked.resources, *asked.alternatives)[verdict.alternative]
        charge_milli = 0 if asked.booking else keeping.charge_of(state, verdict.pool, shape)
        alternative = verdict.alternative
        admitted = (job, verdict.pool, verdict.max_duration_us, charge_milli, *verdict.payment, alternative)
        self._emit(f.JobAdmitted(*admitted, verdict.score))
        if state.rules.discipline == "fair" or shape not in self._asleep.get(verdict.pool, ()):
            self._touched[verdict.pool] = None
        return True

    def _remembers_too_much(self, tenant: Tenant) -> bool:
        """Whether the tenant's Idempotency-Keys are at their limit, and none of all of them has expired."""
        state = self.state
        if tenant.requests < state.rules.requests_max:
            return False
        oldest = state.requests[state.request_ages[0]]
        return oldest.at > self._now - state.rules.request_ttl_us

    def _cancel(self, asked: f.CancelJob) -> Answer:
        job = self.state.jobs.get(asked.job)
        if job is None:
            return Answer(refused="unknown_job", detail=asked.job)
        if job.run and self.state.runs[job.run].stopping not in ("", *f.AGAIN):
            return Answer(job.id)
        self._emit(f.CancelRequested(job.id, asked.user[:DIGEST_MAX]))
        if job.run and job.id in self.state.reservations:
            self._give_way(job)
            self._emit(f.ReservationDropped(job.id, "ended"))
        if job.run:
            self._emit(f.RunStopOrdered(job.run, "cancel"))
            self._touched[job.pool] = None  # it counts no more
        else:
            self._give_way(job)
            self._emit(f.JobEnded(job.id, "cancelled", "cancelled"))
        return Answer(job.id)

    def _hold(self, asked: f.HoldJob) -> Answer:
        job = self.state.jobs.get(asked.job)
        if job is None:
            return Answer(refused="unknown_job", detail=asked.job)
        if job.state != "pending":
            return Answer(
                refused="conflict", detail=f"job {job.id} is {job.state}: only one that waits is held"
            )
        if not job.held:
            self._give_way(job)
            self._emit(f.JobHeld(job.id, asked.user[:DIGEST_MAX]))
        return Answer(job.id)

    def _release(self, asked: f.ReleaseJob) -> Answer:
        job = self.state.jobs.get(asked.job)
        if job is None:
            return Answer(refused="unknown_job", detail=asked.job)
        if job.held:
            self._emit(f.JobReleased(job.id, "user", asked.user[:DIGEST_MAX]))
        return Answer(job.id)

    # ── engine reports ────────────────────────────────────────────────────────────────────────────────────────────
    def _run_queued(self, report: f.RunQueued) -> Answer:
        run = self.state.runs.get(report.run)
        if run is None or run.has_started:
            return NOTED
        if len(report.reason) > DIGEST_MAX or not 0 <= report.start_us <= tenancy.AMOUNT_MAX:
            return Answer(refused="invalid", detail=report.run)
        self._emit(report)
        return NOTED

    def _run_started(self, report: f.RunStarted) -> Answer:
        run = self.state.runs.get(report.run)
        if run is None or run.has_started:
            return NOTED  # reported twice, or of a run that is over
        self._start(run.id, run.placed_us, report.at_us)
        return NOTED

    def _start(self, run: str, placed_us: int, at_us: int) -> None:
        clipped = min(max(at_us, placed_us), self._now)
        self._emit(f.RunStarted(run, clipped, at_us - clipped))

    def _run_resized(self, report: f.RunResized) -> Answer:
        run = self.state.runs.get(report.run)
        if (
            run is None
            or run.sizes is UNSET
            or report.number not in [one.number for one in run.sizes.pending]
        ):
            return NOTED  # reported twice, or of a run that is over
        job = self.state.jobs[run.job]
        left = [task for one in run.sizes.pending if one.number <= report.number for task in one.leaving]
        clipped = min(max(report.at_us, run.sizes.steps[-1][0]), self._now)
        self._emit(f.RunResized(run.id, report.number, clipped, report.at_us - clipped))
        if left:
            paid = resizing.released(self.state, self._now, job, run)
            if paid is not None:
                self._emit(paid)
            self._freed(job.pool, left)
        return NOTED

    def _run_ended(self, report: f.RunEnded) -> Answer:
        run = self.state.runs.get(report.run)
        if run is None:
            return NOTED
        if report.started_us and not run.has_started:
            self._start(run.id, run.placed_us, report.started_us)
        job = self.state.jobs[run.job]
        tasks = (*run.tasks, *run.leaving)
        earliest = run.started_us if run.has_started else run.placed_us
        clipped = min(max(report.at_us, earliest), self._now)
        self._emit(
            f.RunEnded(
                run.id,
                clipped,
                report.outcome,
                report.exit_code,
                report.signal,
                report.started_us,
                report.at_us - clipped,
                report.detail,
            )
        )
        ended, kept_us = _ended(job.id, report, run), kept(job, run, clipped)
        again = _again(job, run, ended, kept_us)
        if run.has_started:
            # what a failed node, its maintenance or a move cost is not its tenant's: budgets pay what checkpoints keep
            paid_us = clipped - lost(job, run, clipped) if again in f.UNPAID else clipped
            outcome = "stopped" if again == f.NODE_FAILED else report.outcome
            posted = budgets.use(self.state, job, run, outcome, paid_us)
            self._emit(meter(job, run, clipped, posted))
        if again:
            self._requeue(job, f.JobRequeued(job.id, again, ended.exit_code, kept_us))
        else:
            self._emit(ended)
        self._freed(job.pool, tasks)
        if job.burn_in is not UNSET:
            self._emit(health.ended(job.id, job.burn_in, ended))
            self._freed(job.pool)
        return NOTED

    def _requeue(self, job: Job, again: f.JobRequeued) -> None:
        """The job waits for another run, if budgets can pay one."""
        paid = budgets.renew(self.state, self._now, job, again.exit_code)
        if paid is not None:
            self._emit(paid)
        if not isinstance(paid, f.JobEnded):
            self._emit(again)

    # ── operator ──────────────────────────────────────────────────────────────────────────────────────────────────
    def _writer_started(self, fact: f.WriterStarted) -> Answer:
        self._emit(fact)
        return NOTED

    def _rules_set(self, fact: f.RulesSet) -> Answer:
        faults = bundle.check(fact.rules)
        if faults:
            return Answer(refused="invalid", detail="; ".join(faults))
        digest = bundle.digest(fact.rules)
        if digest != self.state.rules_digest:
            self._emit(f.RulesSet(fact.rules, digest, fact.by))
            self._fair.clear()
            for pool in self.state.pools:
                self._freed(pool)
        return NOTED

    def _site_added(self, fact: f.SiteAdded) -> Answer:
        site = self.state.sites.get(fact.site)
        fault = level_faults(fact.levels) or models_fault(fact.mig_models)
        if fault:
            return Answer(refused="invalid", detail=fault)
        if (
            site is None
            or (fact.engine, fact.logical, fact.colocate, fact.levels, fact.jurisdiction)
            != (
                (
                    site.engine,
                    site.logical,
                    site.colocate,
                    site.levels,
                    fact.jurisdiction and site.jurisdiction,
                )
            )
            or fact.resizes != (site.resizes is True)
            or fact.delegated != (site.delegated is True)
            or fact.mig_models != (site.mig_models or ())
        ):
            self._emit(fact)
            for pool in self.state.pools:
                self._freed(pool)
        return NOTED

    def _node_added(self, fact: f.NodeAdded) -> Answer:
        if fact.site not in self.state.sites:
            return Answer(refused="invalid", detail=fact.site)
        node = self.state.nodes.get(fact.node)
        if not fact.pool:
            pool = node.pool if node is not None else pool_of(fact.site, fact.gpu_type, fact.gpus)
            fact = replace(fact, pool=pool)
        if not (is_id(fact.node) and is_id(fact.pool)):
            return Answer(refused="invalid", detail=f"node {fact.node[:ID_MAX]} of pool {fact.pool[:ID_MAX]}")
        if min(fact.gpus, fact.cpus_milli, fact.memory_mib) < 0:
            return Answer(refused="invalid", detail=fact.node)
        fault = self._mixes(fact)
        if fault:
            return Answer(refused="invalid", detail=fault)
        fault = domain_faults(fact.domains, self.state.sites[fact.site].levels)
        if fault:
            return Answer(refused="invalid", detail=f"{fact.node}: {fault}")
        if fact.mig is not None:
            described = self.state.sites[fact.site].mig_models or ()
            fault = mig_fault(fact.mig, fact.gpus, model_of(fact.gpu_type, described))
            if fault:
                return Answer(refused="invalid", detail=f"{fact.node}: {fault}")
        if node is not None and node.pool != fact.pool:
            return Answer(refused="invalid", detail=f"{fact.node} serves pool {node.pool}")
        if node is None or _amounts(fact) != _amounts(node) or not health.is_there(node):
            self._emit(fact)
            self._freed(fact.pool)
            if node is not None:
                self._lose(node)
        return NOTED

    def _mixes(self, fact: f.NodeAdded) -> str:
        """What is wrong with a pool in which there would be both nodes that are ours and slots of a delegated site, or
        those of two; '' if nothing is."""
        pool = self.state.pools.get(fact.pool)
        if pool is None or not (pool.delegated or self.state.sites[fact.site].delegated is True):
            return ""
        others = [site for site in pool.sites if site != fact.site]
        return f"pool {fact.pool} is of site {others[0]}; a delegated site has its own" if others else ""

    def _lose(self, node: Node, failed: bool = False) -> None:
        """What was to start on a node that is gone, or another than it was, has to start elsewhere; if it `failed`,
        what ran there, too."""
        for plan in self._plans():
            if plan.name == node.pool:
                repair.lose(plan, node.position, self._now)
                if failed:
                    repair.fail(plan, node.position, self._now)
                self._mend_bookings((node.id,), f.NODE_FAILED if failed else "capacity_lost")
                self._freed(node.pool)

    def _runs_on(self, node: Node) -> bool:
        """Whether something runs there, under `fair`, that nobody has told to end for a failure."""
        standing = self.state.pools[node.pool].standing
        return standing is not None and repair.is_there(self.state, standing, node.position)

    def _node_removed(self, fact: f.NodeRemoved) -> Answer:
        node = self.state.nodes.get(fact.node)
        if node is None:
            return Answer(refused="invalid", detail=fact.node)
        if health.is_there(node) or (fact.failed and self._runs_on(node)):
            self._emit(fact)
            self._lose(node, fact.failed)
        return NOTED

    def _node_reported(self, told: f.NodeReported) -> Answer:
        decision = health.report(self.state, self._now, told)
        for fact in decision.facts:
            self._emit(fact)
            if isinstance(fact, f.NodeDrained):
                self._drain(self.state.nodes[fact.node])
        return decision.answer

    def _drain(self, node: Node) -> None:
        """What runs on the node ends, with the time to save its work, and goes on elsewhere."""
        self._lose(node, failed=True)
        if self.state.rules.discipline == "fair":
            return
        for run in list(self.state.runs.values()):
            if run.stopping in ("", *f.MADE_WAY) and any(task.node == node.id for task in run.tasks):
                self._emit(f.RunStopOrdered(run.id, f.NODE_FAILED))

    def _node_repaired(self, asked: f.NodeRepaired) -> Answer:
        decision = health.repair(self.state, self._now, asked)
        for fact in decision.facts:
            self._emit(fact)
        if decision.facts:
            self._freed(self.state.nodes[asked.node].pool)
        return decision.answer


def _amounts(node: Any) -> tuple[object, ...]:
    return (
        node.site,
        node.gpus,
        node.cpus_milli,
        node.memory_mib,
        node.gpu_type,
        node.domains,
        node.mig or None,
    )


def _again(job: Job, run: Run, ended: f.JobEnded, kept_us: int) -> str:
    """Why a job whose run ended so waits for another, '' if it does not: it made way, or lost a node, perhaps before it
    began; or it failed for a reason that it wants retried, nobody told it to end, and it has retries left."""
    if job.burn_in is not UNSET:
        return ""  # it has told enough
    if run.stopping == f.NODE_FAILED:
        return f.NODE_FAILED if repair.runs_again(job, ended, kept_us) else ""
    if run.stopping in f.MADE_WAY and ended.state == "cancelled":
        return run.stopping
    if ended.reason == "lost" and repair.never_ran(job, run):
        return f.NODE_FAILED
    wanted = job.retry_on or f.RETRYABLE
    again = job.retried < job.retries and job.state != "stopping" and ended.reason in wanted
    return ended.reason if again else ""


def _ended(job: str, report: f.RunEnded, run: Run) -> f.JobEnded:
    """What the end of its run makes of the job."""
    if report.outcome == "exited":
        if report.exit_code == 0:
            return f.JobEnded(job, "succeeded", "", 0)
        return f.JobEnded(job, "failed", "exit_code" if report.signal is None else "signal", report.exit_code)
    if run.stopping == f.NODE_FAILED and report.outcome == "stopped":
        return f.JobEnded(job, "failed", "lost", report.exit_code)
    if report.outcome == "stopped":
        return f.JobEnded(job, "cancelled", _CANCELLED.get(run.stopping, "cancelled"), report.exit_code)
    reason = "max_duration_exceeded" if report.outcome == "time_limit" else report.outcome
    return f.JobEnded(job, "failed", reason, report.exit_code)


def _can_retry_on(reasons: tuple[str, ...]) -> bool:
    return len(reasons) <= len(f.RETRYABLE) and set(reasons) <= set(f.RETRYABLE)


def _is_long(value: object) -> bool:
    return isinstance(value, str) and len(value) > DIGEST_MAX


def _authored(observe: Callable[[Core, Any], Answer]) -> Callable[[Core, Any], Answer]:
    """The same for facts whose author a fact can hold."""

    def checked(core: Core, fact: Any) -> Answer:
        if _is_long(fact.by):
            return Answer(refused="invalid", detail=f"by has more than {DIGEST_MAX} characters")
        return observe(core, fact)

    return checked


def _secret(state: State, now: int, asked: a.SecretSet | a.SecretDeleted) -> Decision:
    tenant = state.tenants.get(asked.tenant)
    if tenant is None or asked.project not in tenant.projects:
        return refuse("unknown_project", f"{asked.tenant[:ID_MAX]} {asked.project[:ID_MAX]}")
    if not is_id(asked.name):
        return refuse("invalid", asked.name[:ID_MAX])
    if isinstance(asked, a.SecretSet) and not 0 < asked.version <= tenancy.AMOUNT_MAX:
        return refuse("invalid", f"version {asked.version}")
    return record(asked)


def _erased(state: State, now: int, asked: a.RecordsErased) -> Decision:
    return record(asked) if is_id(asked.subject) else refuse("invalid", asked.subject[:ID_MAX])


_FLEET: Final = (
    f.SiteAdded,
    f.NodeAdded,
    f.NodeRemoved,
    f.NodeDrained,
    f.NodeReturned,
    a.SiteDescribed,
)
DUE_MAX: Final = 10_000  # facts about waiting jobs that one cycle says
_CANCELLED: Final = {
    "suspended": "tenant_suspended",
    "exit": "tenant_exit",
    f.BOOKING: "booking_ended",
}  # cause of a stop → reason

DECIDE: Final[dict[type, Callable[[State, int, Any], Decision]]] = {
    **tenancy.DECIDE,
    **budgets.DECIDE,
    **granting.DECIDE,
    **fleet.DECIDE,
    **deciding.DECIDE,
    **booking.DECIDE,
    **people.DECIDE,
    **onboarding.DECIDE,
    a.SecretSet: _secret,
    a.SecretDeleted: _secret,
    a.RecordsErased: _erased,
}
_OBSERVE: Final[dict[type, Callable[[Core, Any], Answer]]] = {
    f.SubmitJob: Core._submit,
    f.CancelJob: Core._cancel,
    f.HoldJob: Core._hold,
    f.ReleaseJob: Core._release,
    f.RunQueued: Core._run_queued,
    f.RunStarted: Core._run_started,
    f.RunResized: Core._run_resized,
    f.RunEnded: Core._run_ended,
    f.WriterStarted: Core._writer_started,
    f.RulesSet: _authored(Core._rules_set),
    f.SiteAdded: _authored(Core._site_added),
    f.NodeAdded: _authored(Core._node_added),
    f.NodeRemoved: _authored(Core._node_removed),
    f.NodeReported: Core._node_reported,
    f.NodeRepaired: _authored(Core._node_repaired),
    **dict.fromkeys(DECIDE, Core._act),
}
