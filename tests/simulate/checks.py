# SPDX-License-Identifier: Apache-2.0
"""What has to be so, whatever fails: places, jobs and runs, time, money. Each check is a small function with a name;
`shares` has those of sharing, `records` those of the journal and of the end. Called by way of `checking`.

They read the tally (what the journal says), the machines (what is true) and the live state. Some checks are made where
the thing happens: in `machines` and in `world`.
"""

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from leitstand.core import facts as f
from leitstand.core.decision import Answer
from leitstand.core.units import SECOND_US
from tests.simulate.checking import NAMES, Broken, after, before, broken

if TYPE_CHECKING:
    from tests.simulate.plan import Ask
    from tests.simulate.tally import TellJob, TellRun
    from tests.simulate.world import World

WHOLE_MILLI: Final = 1000


# ── places ────────────────────────────────────────────────────────────────────────────────────────────────────────────
@before(f.RunPlaced, f.RunResizeOrdered)
def nothing_is_oversold(world: "World", at: int, fact: Any) -> None:
    """Who gets places gets such as are in service and free: GPUs by mask, parts of them by thousandths, CPU, memory."""
    tally = world.tally
    run = tally.runs.get(fact.run)
    job = tally.jobs[fact.job if isinstance(fact, f.RunPlaced) else tally.runs[fact.run].job]
    known = set() if run is None else set(run.tasks)
    new = [task for task in fact.tasks if task not in known]
    nodes = {task.node for task in new}
    if not nodes:
        return
    gpus: Counter[tuple[str, int]] = Counter()
    cpus: Counter[str] = Counter()
    memory: Counter[str] = Counter()
    held = [
        (tally.jobs[one.job], task)
        for one in tally.runs.values()
        for task in one.holds()
        if task.node in nodes
    ]
    for owner, task in [*held, *((job, task) for task in new)]:
        milli = owner.resources.gpu_milli or WHOLE_MILLI
        gpus.update({(task.node, gpu): milli for gpu in task.gpus})
        part = owner.resources.part(task.bits.bit_count())
        cpus[task.node] += part[0]
        memory[task.node] += part[1]
    for name in nodes:
        node = tally.nodes[name]
        if name in tally.out and job.said.burn_in != name:
            raise broken(nothing_is_oversold, f"{fact.run} gets {name}, which is out of service")
        if cpus[name] > node.cpus_milli and any(job.resources.part(1)):
            raise broken(nothing_is_oversold, f"{cpus[name]} of {node.cpus_milli} milli-cores of {name}")
        if memory[name] > node.memory_mib and any(job.resources.part(1)):
            raise broken(nothing_is_oversold, f"{memory[name]} of {node.memory_mib} MiB of {name}")
        for task in new:
            if task.node == name and task.bits >> node.gpus:
                raise broken(nothing_is_oversold, f"{fact.run} gets GPUs that {name} does not have")
            for gpu in task.gpus if task.node == name else ():
                if gpus[name, gpu] > WHOLE_MILLI:
                    raise broken(nothing_is_oversold, f"GPU {gpu} of {name} is sold twice, to {fact.run}")


@before(f.RunPlaced)
def gangs_have_their_shape(world: "World", at: int, fact: f.RunPlaced) -> None:
    """So many tasks with so many GPUs each, of the right type, at one site, in the domain that was asked for."""
    tally = world.tally
    asked, said = tally.jobs[fact.job].resources, tally.jobs[fact.job].said
    nodes = [tally.nodes[task.node] for task in fact.tasks]
    counts = [task.bits.bit_count() for task in fact.tasks]
    least = asked.nodes
    if asked.gpu_milli:
        good = counts == [1] * max(least, 1)
    elif not least:
        good = sum(counts) == asked.gpus
    else:
        each = asked.gpus // least
        good = len(counts) == least and set(counts) == {each}
    if not good:
        raise broken(gangs_have_their_shape, f"{fact.run} has {counts} GPUs for {asked}")
    if len({node.site for node in nodes}) > 1 or (asked.sites and nodes[0].site not in asked.sites):
        raise broken(gangs_have_their_shape, f"{fact.run} is at {sorted({node.site for node in nodes})}")
    levels = tally.levels[nodes[0].site]
    if asked.level in levels:
        depth = levels.index(asked.level) + 1
        if len({node.domains[:depth] for node in nodes}) > 1:
            raise broken(gangs_have_their_shape, f"{fact.run} is not together in one {asked.level}")
    if not said.elastic and asked.nodes > 1 and len(set(nodes)) < len(nodes):
        site = next(one for one in world.plan.sites if one.site == nodes[0].site)
        if not site.colocate:
            raise broken(gangs_have_their_shape, f"{fact.run} has two tasks on one node")


@before(f.RunPlaced)
def nobody_starts_too_early(world: "World", at: int, fact: f.RunPlaced) -> None:
    """Who is held, suspended, before its time, waits for another job, or in a closed node's window does not start."""
    tally = world.tally
    job = tally.jobs[fact.job]
    why = ""
    if job.held:
        why = "is held"
    elif job.said.begin_us > at or not job.begun:
        why = "begins later"
    elif job.said.tenant in tally.suspended:
        why = "is of a suspended tenant"
    for one in job.said.after:
        members = [name for name, other in tally.jobs.items() if one.job in (name, other.said.array)]
        if members:
            why = f"waits for {one.job}"
        elif (how := tally.ended.get(one.job)) is not None and not _met(one.on, how, one.job, world):
            why = f"waits for {one.job} to end otherwise"
    if why:
        raise broken(nobody_starts_too_early, f"{fact.run} starts and {why}")
    if job.said.deadline_us and at + job.limit_us > job.said.deadline_us:
        raise broken(nobody_starts_too_early, f"{fact.run} starts too late for its deadline")


def _met(on: str, how: str, name: str, world: "World") -> bool:
    if on == "any" or any(job.array == name for job in _arrays(world)):
        return True
    return (on == "ok") == (how == "succeeded")


def _arrays(world: "World") -> list[f.JobSubmitted]:
    found: list[f.JobSubmitted] = world.notes.setdefault("arrays", [])
    return found


@before(f.JobSubmitted)
def quotas_hold(world: "World", at: int, fact: f.JobSubmitted) -> None:
    """No tenant has more waiting than the rules allow; its ids count up."""
    if fact.array:
        _arrays(world).append(fact)
    tally = world.tally
    if fact.burn_in:
        world.notes.setdefault("numbers", Counter())[fact.tenant] += 1
        return
    waits = sum(job.waits and job.said.tenant == fact.tenant for job in tally.jobs.values())
    if waits + 1 > tally.rules.pending_jobs_max:
        raise broken(quotas_hold, f"{fact.job} is job {waits + 1} of {fact.tenant} that waits")
    known = world.notes.setdefault("numbers", Counter())
    known[fact.tenant] += 1
    if fact.job != f"{fact.tenant}-{known[fact.tenant]}":
        raise broken(quotas_hold, f"{fact.job} is number {known[fact.tenant]} of {fact.tenant}")


@before(f.RunPlaced)
def nobody_starts_into_a_window(world: "World", at: int, fact: f.RunPlaced) -> None:
    """A run on nodes that will be closed is over before, by its limit; on closed ones there is none."""
    tally = world.tally
    if tally.rules.discipline != "fair":
        return
    nodes = {task.node for task in fact.tasks}
    job = tally.jobs[fact.job]
    if job.said.burn_in:
        return
    end_us, booking = at + job.limit_us, tally.bookings.get(job.said.booking)
    if booking is not None:  # who runs in it is told to end before
        end_us = min(end_us, booking.said.until_us)
    for planned, _ in tally.windows.values():
        until_us = planned.until_us or 2**62
        if nodes & set(planned.nodes) and planned.from_us < end_us and at < until_us:
            raise broken(nobody_starts_into_a_window, f"{fact.run} starts into {planned.window}")


@after
def bad_nodes_are_left(world: "World") -> None:
    """What runs on a node that is drained is told to end; nothing but its burn-in begins there."""
    tally = world.tally
    for name, run in tally.runs.items() if tally.drained else ():
        if run.stopping or tally.jobs[run.job].said.burn_in:
            continue
        for task in run.tasks:
            if task.node in tally.drained:
                raise broken(bad_nodes_are_left, f"{name} runs on {task.node}, and nobody told it to end")


# ── jobs and runs ─────────────────────────────────────────────────────────────────────────────────────────────────────
@before(f.JobSubmitted)
def requests_are_admitted_once(world: "World", at: int, fact: f.JobSubmitted) -> None:
    """However often a client asks."""
    if fact.request and fact.request in world.tally.requests:
        raise broken(
            requests_are_admitted_once,
            f"{fact.request} is {world.tally.requests[fact.request]} and {fact.job}",
        )


def answered(world: "World", ask: "Ask", answer: Answer) -> None:
    """See `answers_are_durable`, and that the same request has the same answer."""
    known = world.answers.get(ask.key)
    if isinstance(ask.what, f.SubmitJob) and not answer.refused:
        tally = world.tally
        world.out.looks["answers_are_durable"] += 1
        if answer.made not in tally.jobs and answer.made not in tally.ended:
            raise Broken("answers_are_durable", f"{ask.key} was answered {answer.made}, which no journal has")
        if known is not None and not known.refused and known.made != answer.made:
            raise broken(requests_are_admitted_once, f"{ask.key} is {known.made} and {answer.made}")


NAMES.append("answers_are_durable")


@before(f.JobEnded, f.JobRejected, f.JobSubmitted, f.JobAdmitted, f.JobRequeued, f.RunPlaced)
def jobs_end_once(world: "World", at: int, fact: Any) -> None:
    """A job is submitted once and ends once, and nothing happens to it afterwards, or while it has a run."""
    tally = world.tally
    if fact.job in tally.ended:
        raise broken(jobs_end_once, f"{type(fact).__name__} of {fact.job}, which {tally.ended[fact.job]}")
    lives = fact.job in tally.jobs
    if lives is isinstance(fact, f.JobSubmitted):
        raise broken(jobs_end_once, f"{type(fact).__name__} of {fact.job}")
    if lives and tally.jobs[fact.job].run:
        raise broken(
            jobs_end_once, f"{type(fact).__name__} of {fact.job} while {tally.jobs[fact.job].run} lives"
        )


@before(f.RunPlaced)
def runs_count_up(world: "World", at: int, fact: f.RunPlaced) -> None:
    """One run after the other, each with the next number, of jobs that wait."""
    job = world.tally.jobs[fact.job]
    if fact.run != f"{fact.job}.{job.runs + 1}" or not job.waits:
        raise broken(runs_count_up, f"{fact.run} is run {job.runs + 1}")


@before(f.JobEnded, f.JobRequeued)
def retries_are_counted(world: "World", at: int, fact: Any) -> None:
    """A job that fails runs again as often as it said, and no more."""
    if isinstance(fact, f.JobEnded) or fact.reason not in f.RETRYABLE:
        return
    used = world.notes.setdefault("retried", Counter())
    used[fact.job] += 1
    if used[fact.job] > world.tally.jobs[fact.job].said.retries:
        raise broken(retries_are_counted, f"{fact.job} is run again {used[fact.job]} times")


# ── time ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
@before(f.RunStarted, f.RunEnded, f.RunResized)
def times_are_clipped(world: "World", at: int, fact: Any) -> None:
    """What an engine measured lies between the placement and the stamp, and what was clipped is recorded; of an end it
    is what the engine says."""
    run = world.tally.runs.get(fact.run)
    if run is None:
        raise broken(times_are_clipped, f"{type(fact).__name__} of {fact.run}, which is over")
    earliest = run.steps[-1][0] if isinstance(fact, f.RunResized) else run.placed
    if isinstance(fact, f.RunEnded) and run.steps:
        earliest = run.steps[0][0]
    measured = fact.at_us + fact.skew_us
    if fact.at_us != min(max(measured, earliest), at):
        raise broken(times_are_clipped, f"{fact} is not in [{earliest}, {at}]")
    said = world.said.get(fact.run)
    if isinstance(fact, f.RunEnded) and said is not None and measured != said.at_us:
        raise broken(times_are_clipped, f"{fact.run} ended at {said.at_us}, the journal says {measured}")


@before(f.RunEnded)
def nobody_stops_without_an_order(world: "World", at: int, fact: f.RunEnded) -> None:
    """An engine stops whom it is told to, and nobody else."""
    if fact.outcome == "stopped" and not world.tally.runs[fact.run].stopping:
        raise broken(nobody_stops_without_an_order, f"{fact.run} was stopped, and nobody ordered it")


@before(f.RunEnded)
def stops_take_effect(world: "World", at: int, fact: f.RunEnded) -> None:
    """Who is told to end is gone as soon as the rules say, where no engine is late."""
    tally = world.tally
    run = tally.runs[fact.run]
    if world.plan.faults or not run.stopping:
        return
    late_us = fact.at_us - run.stopped - world.freed_us(run.job)
    if late_us > SECOND_US:
        raise broken(stops_take_effect, f"{fact.run} was told to end, and went {late_us} µs too late")


@before(f.UsageMetered)
def usage_is_the_true_busy_time(world: "World", at: int, fact: f.UsageMetered) -> None:
    """Once for each run that started: from its start to its end as the engine measured them, times what it held."""
    tally = world.tally
    if fact.run in tally.metered or fact.run not in tally.ends:
        raise broken(usage_is_the_true_busy_time, f"{fact.run} is metered again, or never ended")
    _, end_fact, run = tally.ends[fact.run]
    job = tally.jobs[run.job]
    wall_us = end_fact.at_us - run.steps[0][0]
    truth = world.said.get(fact.run)
    if truth is not None and truth.started_us:
        began_us = min(max(truth.started_us, run.placed), run.started)
        wall_us = min(max(truth.at_us, began_us), tally.ends[fact.run][0]) - began_us
    gpu_us, cpu_us = _used(job, run, end_fact.at_us)
    if (fact.wall_us, fact.gpu_us, fact.cpu_milli_us) != (wall_us, gpu_us, cpu_us):
        raise broken(usage_is_the_true_busy_time, f"{fact} is not {wall_us}, {gpu_us}, {cpu_us} µs")


def _used(job: "TellJob", run: "TellRun", until_us: int) -> tuple[int, int]:
    """GPU·µs and milli-core·µs of a run."""
    asked = job.resources
    if job.said.elastic:
        steps = [*run.steps, (until_us, 0)]
        tasks_us = sum(
            count * max(min(end, until_us) - begin, 0) for (begin, count), (end, _) in pairwise(steps)
        )
        each = asked.gpus // asked.nodes
        return tasks_us * each, tasks_us * asked.part(each)[0]
    wall_us = until_us - run.steps[0][0]
    gpus = sum(asked.gpu_milli or task.bits.bit_count() * WHOLE_MILLI for task in run.tasks)
    cores = sum(asked.part(task.bits.bit_count())[0] for task in run.tasks)
    return wall_us * gpus // WHOLE_MILLI, wall_us * cores


@before(f.JobEnded, f.JobRequeued)
def runs_that_started_are_metered(world: "World", at: int, fact: Any) -> None:
    """Before anything is said of the job whose run ended."""
    tally = world.tally
    run = f"{fact.job}.{tally.jobs[fact.job].runs}" if fact.job in tally.jobs else ""
    if run in tally.ends and run not in tally.metered:
        raise broken(runs_that_started_are_metered, f"{run} started, ended and is not metered")


# ── money ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
@after
def budgets_hold(world: "World") -> None:
    """What is reserved and what is spent is never more than was granted."""
    tally = world.tally
    held = reserved(world)
    for name, granted in tally.budgets.items():
        spent = tally.posted[name]
        if spent + held[name] > (granted.micro_eur or granted.gpu_us):
            raise broken(budgets_hold, f"{name}: {spent} spent and {held[name]} held")
        if held[name] < 0:
            raise broken(budgets_hold, f"{name}: more was spent than was held")


@after
def debits_equal_credits(world: "World") -> None:
    """The state knows of each budget what the facts say: what live jobs and bookings hold, what was spent."""
    assert world.plane is not None
    held, tally = reserved(world), world.tally
    for tenant in world.plane.core.state.tenants.values():
        for budget in tenant.budgets:
            if (budget.reserved, budget.posted) != (held[budget.id], tally.posted[budget.id]):
                raise broken(
                    debits_equal_credits,
                    f"{budget.id}: state {budget.reserved} held and {budget.posted} spent, facts "
                    f"{held[budget.id]} and {tally.posted[budget.id]}",
                )


@before(f.RunPlaced)
def what_runs_is_paid(world: "World", at: int, fact: f.RunPlaced) -> None:
    """A run of a tenant with budgets has reserved all that it can cost, of budgets that last until its end."""
    tally = world.tally
    job = tally.jobs[fact.job]
    if job.said.booking or not job.reserved or tally.bundles > 1:  # who was not charged before is now
        return
    for name, amount in job.reserved.items():
        if amount and at + job.limit_us > tally.budgets[name].expires_us:
            raise broken(what_runs_is_paid, f"{fact.run} may outlast {name}")
    if all(not tally.budgets[name].micro_eur for name in job.reserved):
        least = job.charge_milli or (job.resources.gpus * WHOLE_MILLI or job.resources.gpu_milli)
        if sum(job.reserved.values()) < least * job.limit_us // WHOLE_MILLI:
            raise broken(what_runs_is_paid, f"{fact.run} has reserved {job.reserved}")


@before(f.UsageMetered)
def what_ran_is_paid(world: "World", at: int, fact: f.UsageMetered) -> None:
    """What is posted of a run that nobody disturbed is what it used."""
    tally = world.tally
    _, ended, run = tally.ends[fact.run]
    job = tally.jobs[run.job]
    if ended.outcome in ("lost", "start_failed") and run.stopping != f.NODE_FAILED:
        if fact.posted:
            raise broken(what_ran_is_paid, f"{fact.run} was {ended.outcome} and its tenant pays")
        return
    if run.stopping or job.said.elastic or not sum(job.reserved.values()) or tally.bundles > 1:
        return
    if all(not tally.budgets[name].micro_eur for name in job.reserved):
        least = job.charge_milli or (job.resources.gpus * WHOLE_MILLI or job.resources.gpu_milli)
        used = -(-least * min(fact.wall_us, job.limit_us) // WHOLE_MILLI)
        if not 0 <= sum(amount for _, amount in fact.posted) - used <= len(fact.posted):
            raise broken(what_ran_is_paid, f"{fact.run} used {used} and pays {fact.posted}")


def reserved(world: "World") -> Counter[str]:
    held: Counter[str] = Counter()
    for job in world.tally.jobs.values():
        held.update(job.reserved)
    for booking in world.tally.bookings.values():
        held.update(dict(booking.said.reserved))
    return held
