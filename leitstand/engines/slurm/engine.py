# SPDX-License-Identifier: Apache-2.0
"""The Slurm engine: runs as jobs of a Slurm cluster. Called by the writer's loop, which it never makes wait.

One thread looks: a list of all our jobs for everything, never a call for each. A few more submit. All truth is in the
cluster and in the folders of the runs: whatever this object forgets when its process dies, `resume` finds again. Slurm
loses jobs that it acknowledged and keeps others that it did not; so a run is found by a name that only its placement
has, and executes only if it can claim its folder (`folder`), which it can once. One function, `_look`, tells what
became of a run, whether it was sent, adopted or lost.
"""

import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from leitstand.core.facts import OUTCOMES, Observation, RunEnded, RunQueued, RunStarted
from leitstand.core.units import SECOND_US
from leitstand.engines.health import Health
from leitstand.engines.refused import CannotStart
from leitstand.engines.slurm import ending, script, submitting
from leitstand.engines.slurm.commands import Commands, Finished, Listed, SlurmAway
from leitstand.engines.slurm.folder import Claim, Ended, RunFolders
from leitstand.engines.slurm.live import RETRY_S, Live, Look, Pace
from leitstand.engines.slurm.nodehealth import NodeHealth
from leitstand.engines.slurm.nodes import Nodes
from leitstand.engines.slurm.rest import Refused, Rest
from leitstand.engines.slurm.site import DIRECTED, Place
from leitstand.engines.slurm.slots import Slots
from leitstand.engines.slurm.topology import Partitions, domains_of
from leitstand.engines.surroundings import NotYet
from leitstand.runtime.ports import Engine, Order, ResizeRun, StartRun, StopRun

SUBMITTERS: Final = 4
ORDERS_MAX: Final = 1_000_000  # orders that wait for the thread
TRIES_MAX: Final = 3  # of a run that Slurm takes and cannot launch
FENCE_S: Final = 4.0 * script.LOOK_S  # from when on a run that was fenced is over, if it does not say so
BACKSTOP_S: Final = 30.0  # beyond its grace, before Slurm is told to kill it
# Why slurmctld drains a node to which it sent a job with an id that it had given before it crashed. Nothing is wrong
# with the node, and what both jobs do is settled by their folders.
DUPLICATE: Final = "Duplicate jobid"
HELD: Final = (
    "requeued held"  # of a job that Slurm could not launch, or begins the second time: it never starts
)
PARTS: Final = ("site", "slurmrestd", "nodes", "health", "jobs")
HARMLESS: Final = {"health"}  # a site that does not say how its GPUs are runs on
MOVED_US: Final = 60 * SECOND_US  # by which an expected start has moved, if that is worth a word,
AGAIN_S: Final = 300.0  # at most so often
SUBMISSION: Final = "submission"  # wrong while Slurm takes none of ours
NEVER_S: Final = 1e9
PRUNE_EVERY: Final = 1_000  # ends
OVER_KEPT: Final = 10_000
WORD_MAX: Final = 64

_log = logging.getLogger(__name__)


class SlurmEngine(Engine):
    """Implements `leitstand.runtime.ports.Engine` for one site in Slurm."""

    def __init__(self, place: Place, pace: Pace | None = None, kept_runs_max: int = 10_000) -> None:
        slurm = place.slurm
        self._place = place
        self._pace = pace or Pace()
        self._kept_runs_max = kept_runs_max
        self._folders = RunFolders(slurm.folder, place.around.journal)
        self._directed = place.mode == DIRECTED
        self._commands = Commands(slurm.conf, token_file=None if self._directed else slurm.token_file)
        self._users = () if self._directed else tuple(sorted({slurm.user, *slurm.users.values()}))
        self._rest = Rest(slurm.rest, slurm.user, slurm.token_file, SUBMITTERS)
        self._nodes = Nodes(place) if self._directed else Slots(place)
        self._node_health = NodeHealth(place)
        self._partitions: Partitions | None = None
        self._domains: dict[str, tuple[str, ...]] | None = None
        self._orders: deque[Order | tuple[StartRun, ...]] = deque()
        self._reports: deque[Observation] = deque()
        self._handed: deque[tuple[Live, int | Exception]] = deque()
        self._live: dict[str, Live] = {}
        self._over: dict[str, None] = {}  # names of runs whose end was reported, the latest
        self._resumed = False
        self._due_s = dict.fromkeys(PARTS, 0.0)  # monotonic: when to look at each next
        self._wrong: dict[str, str] = {}  # by part
        self._well_s = time.monotonic()
        self._away = False
        self._ends = 0
        self.health = Health("not asked yet", time.time_ns() // 1000, 0)
        self._closing = False
        self._failure: BaseException | None = None
        self._called = threading.Event()
        self._submitters = ThreadPoolExecutor(SUBMITTERS, f"slurm-{place.name}")
        self._thread = threading.Thread(target=self._work, name=f"slurm-{place.name}", daemon=True)
        self._thread.start()

    # ── the port ──────────────────────────────────────────────────────────────────────────────────────────────────
    def next_time(self) -> int | None:
        return None

    def take(self, now: int) -> Sequence[Observation]:
        """What was reported since the last call. RuntimeError if the engine's thread has failed: restart heals."""
        if self._failure is not None:
            raise RuntimeError(f"the engine of site {self._place.name} has failed") from self._failure
        return [self._reports.popleft() for _ in range(len(self._reports))]

    def send(self, orders: Sequence[Order]) -> None:
        """RuntimeError beyond ORDERS_MAX orders that wait, which no placement can reach."""
        if len(self._orders) + len(orders) > ORDERS_MAX:
            raise RuntimeError(f"over {ORDERS_MAX} orders wait for site {self._place.name}")
        self._orders.extend(orders)
        self._called.set()

    def resume(self, runs: Sequence[StartRun]) -> None:
        self._orders.append(tuple(runs))
        self._called.set()

    def read_log(self, run: str, task: int, offset: int, limit: int) -> bytes:
        return self._folders.read_log(run, task, offset, limit)

    def close(self) -> None:
        """Orders not yet carried out are left to `resume`; a second call does nothing."""
        if self._closing:
            return
        self._closing = True
        self._called.set()
        self._thread.join()
        self._submitters.shutdown()
        self._rest.close()

    # ── the thread ────────────────────────────────────────────────────────────────────────────────────────────────
    def _work(self) -> None:
        try:
            while not self._closing:
                self._called.clear()
                if self._try("site", self._open):
                    self._carry_out()
                    self._take_back()
                    self._try("slurmrestd", self._check)
                    self._try("nodes", self._look_at_nodes)
                    self._try("health", self._look_at_health)
                    self._try("jobs", self._look_at_jobs)
                self._called.wait(max(0.0, min(self._due_s.values()) - time.monotonic()))
        except BaseException as error:
            self._failure = error
            self._place.around.wake()
            raise

    def _try(self, part: str, look: Callable[[], float]) -> bool:
        """Look at a part of the site if it is time; `look` says in how many seconds it is again. Whether it is well:
        what fails, of the cluster or of the shared file system, may be well later."""
        now_s = time.monotonic()
        if now_s >= self._due_s[part]:
            try:
                self._due_s[part] = time.monotonic() + look()
                self._well(part)
            except (OSError, ValueError) as error:
                self._due_s[part] = time.monotonic() + self._pace.jobs
                self._fail(part, str(error))
        return part not in self._wrong

    def _open(self) -> float:
        """The site is what it is said to be."""
        slurm = self._place.slurm
        if not slurm.conf.is_file():
            raise FileNotFoundError(f"{slurm.conf} is not there: it is to be the cluster's slurm.conf")
        self._partitions = Partitions(self._commands, slurm.partition, slurm.parts)
        self._folders.open()
        self._node_health.open()
        return NEVER_S

    def _check(self) -> float:
        """It would take a job. Looked at now and then, and after each that it did not take."""
        try:
            version = self._rest.check()
        except Refused as refusal:
            raise ValueError(str(refusal)) from None
        self.health = msgspec.structs.replace(self.health, version=version)
        return self._pace.check

    def _fail(self, part: str, line: str) -> None:
        """The site is not well; once it has not been for long, it takes nothing new."""
        if self._wrong.get(part) != line:
            _log.warning("site %s: %s", self._place.name, line)
            self._wrong[part] = line
            self._tell()
        if part not in HARMLESS and not self._away and time.monotonic() - self._well_s >= self._pace.away:
            self._away = True
            self._report(*self._nodes.away())

    def _well(self, part: str) -> None:
        if self._wrong.pop(part, None) is not None:
            _log.info("site %s: %s is well again", self._place.name, part)
            self._due_s["nodes"] = 0.0
        if HARMLESS.issuperset(self._wrong):
            self._well_s, self._away = time.monotonic(), False
        self._tell()

    def _tell(self) -> None:
        now_us = _now_us()
        error = next(iter(self._wrong.values()), "")
        nodes, in_service, gpus = self._nodes.totals
        self.health = msgspec.structs.replace(
            self.health,
            error=error,
            since_us=self.health.since_us if error == self.health.error else now_us,
            asked_us=self.health.asked_us if error else now_us,
            nodes=nodes,
            in_service=in_service,
            gpus=gpus,
        )

    # ── orders ────────────────────────────────────────────────────────────────────────────────────────────────────
    def _carry_out(self) -> None:
        for _ in range(len(self._orders)):
            match self._orders.popleft():
                case StartRun() as order:
                    if order.run not in self._live and self._folders.name(order) not in self._over:
                        self._submit(self._take_on(order))
                case StopRun() as order:
                    self._stop(order)
                case ResizeRun() as order:
                    raise AssertionError(f"run {order.run}: this site does not say that it resizes runs")
                case runs:
                    for order in runs:
                        if order.run not in self._live:
                            # what became of it, or that it was never sent, the next list says
                            self._take_on(order)
                    self._resumed = True
                    self._due_s["jobs"] = 0.0

    def _take_on(self, order: StartRun) -> Live:
        live = self._live[order.run] = Live(order, self._folders.name(order), self._folders.of(order))
        return live

    def _stop(self, order: StopRun) -> None:
        live = self._live.get(order.run)
        if live is not None:
            live.stopping = order.cause
            self._due_s["jobs"] = 0.0

    def _submit(self, live: Live) -> None:
        live.submitting = True
        self._submitters.submit(self._hand_over, live)

    def _hand_over(self, live: Live) -> None:
        """In a thread of its own: the run's folder, then the job. What came of it is taken back by the engine's."""
        try:
            came: int | Exception = self._submitted(live)
        except Exception as error:
            came = error
        self._handed.append((live, came))
        self._called.set()

    def _submitted(self, live: Live) -> int:
        """The id of the job in Slurm; 0 if the run has begun before, or never will."""
        if live.folder.claim() is not None:
            return 0
        assert self._partitions is not None, "the site is open"
        gpu_type = "" if isinstance(self._nodes, Nodes) else self._nodes.gpu_type
        ready = submitting.prepared(self._place, live.order, live.name, live.folder)
        live.grace_s = ready.grace_s
        return self._rest.submit(ready.submission(self._partitions, gpu_type), ready.user)

    def _take_back(self) -> None:
        """What came of submissions."""
        for _ in range(len(self._handed)):
            live, came = self._handed.popleft()
            live.submitting = False
            live.known_s = time.monotonic()
            match came:
                case int():
                    live.job = came
                    if SUBMISSION in self._wrong:
                        self._well(SUBMISSION)
                case SlurmAway():  # it may have been taken or not
                    self._postpone(live, str(came))
                    self._due_s["slurmrestd"] = 0.0
                case CannotStart():
                    self._refuse(live, came.detail, came.line)
                case Refused() if came.of_site:
                    self._postpone(live, str(came))
                    self._fail(SUBMISSION, str(came))
                case Refused():
                    self._refuse(live, "slurm_refused", f"Slurm does not take it: {came}")
                case NotYet() | OSError():
                    self._postpone(live, str(came))
                case _:
                    raise came
            self._due_s["jobs"] = min(self._due_s["jobs"], live.known_s + self._pace.jobs)

    def _postpone(self, live: Live, line: str) -> None:
        """The run stays ordered, and is tried again."""
        if not live.due_s:
            _log.warning("run %s cannot be submitted now, it is tried again: %s", live.order.run, line)
        live.due_s = time.monotonic() + live.pause_s
        live.pause_s = min(live.pause_s * 2, RETRY_S[1])

    def _refuse(self, live: Live, detail: str, line: str) -> None:
        """The run never begins."""
        if live.folder.prevent("start_failed"):
            with contextlib.suppress(OSError):
                live.folder.say(len(live.order.tasks), f"the run could not start: {line}")
            self._conclude(RunEnded(live.order.run, _now_us(), "start_failed", detail=detail))

    # ── what became of it ─────────────────────────────────────────────────────────────────────────────────────────
    def _look_at_nodes(self) -> float:
        if self._domains is None:
            self._domains = domains_of(self._commands) if self._directed else {}
        listed = self._commands.nodes(self._place.slurm.partition)
        for index, node in enumerate(listed):
            if self._directed and node.state in ("drained", "draining") and node.reason == DUPLICATE:
                _log.warning("site %s: node %s serves again: %s", self._place.name, node.name, node.reason)
                self._commands.resume(node.name)
                listed[index] = msgspec.structs.replace(node, state="idle")
        if not self._away:
            self._report(*self._nodes.news(listed, self._domains))
        return self._pace.nodes

    def _look_at_health(self) -> float:
        """Before the ends of runs: who died of a GPU is known to have."""
        self._report(*self._node_health.news(self._nodes.ids))
        return self._pace.health

    def _look_at_jobs(self) -> float:
        """One list of all jobs, and of those that it misses one more."""
        if not self._live and not self._resumed:
            return self._pace.idle
        if SUBMISSION in self._wrong and all(live.job for live in self._live.values()):
            self._well(SUBMISSION)
        look = Look(time.monotonic())
        assert self._partitions is not None, "the site is open"
        listed = self._commands.jobs(self._partitions.names, self._users)
        took_s = time.monotonic() - look.asked_s
        named: dict[str, list[Listed]] = {}
        for job in listed:
            named.setdefault(job.name, []).append(job)
        for live in list(self._live.values()):
            jobs = named.pop(live.name, [])
            if jobs:
                self._look_at(live, jobs, look)
            elif not live.submitting and live.known_s < look.asked_s and self._is_doubtful(live):
                look.doubtful.append(live)
        if self._resumed:
            look.kill += [
                job.job for name, jobs in named.items() if self._folders.is_ours(name) for job in jobs
            ]
        if look.kill:
            self._commands.cancel(look.kill)
        if look.tell:
            self._commands.tell(look.tell)
        if look.doubtful:
            found = self._commands.finished([live.job for live in look.doubtful if live.job])
            for live in look.doubtful:
                self._settle(live, found.get(live.job))
        return max(self._pace.jobs, 10 * took_s) if self._live else self._pace.idle

    def _look_at(self, live: Live, jobs: list[Listed], look: Look) -> None:
        """Slurm lists it: once, or more often if it was submitted without an answer."""
        job = next((one for one in jobs if one.state != "PENDING"), jobs[0])
        live.job = job.job
        claim = live.folder.claim()
        if claim is not None and claim.job:
            look.kill += [one.job for one in jobs if one.job != claim.job]
            # else the list may be older than the claim
            began_before = live.begun_s and live.begun_s < look.asked_s
            self._begun(live, claim.at_us)
            if job.state == "PENDING" and claim.job == job.job and began_before:  # Slurm queued it again
                look.kill.append(job.job)
                self._lose(live, claim, 0)
                return
        if not live.stopping:
            if job.state != "PENDING":
                if claim is None and self._is_stuck(live, job):
                    look.kill += [one.job for one in jobs]
            elif self._has_no_place(live) or (HELD in job.reason.replace("_", " ") and self._relaunch(live)):
                look.kill += [one.job for one in jobs]
            elif not self._directed:
                self._queued(live, job)
            return
        if job.state == "PENDING":
            look.kill += [one.job for one in jobs]
            if live.folder.prevent("stopped"):
                self._conclude(RunEnded(live.order.run, _now_us(), "stopped"))
        elif not live.told_s:
            live.told_s = time.monotonic()
            look.tell.append(job.job)
        elif time.monotonic() >= live.told_s + live.grace_s + BACKSTOP_S:
            live.told_s = time.monotonic()
            look.kill.append(job.job)

    def _is_stuck(self, live: Live, job: Listed) -> bool:
        """Whether a run never begins that Slurm says it runs, as when its node refused the job for an id that it has
        already: it is reported lost, and placed again."""
        if job.state != "RUNNING" or not live.launched_s:
            live.launched_s = time.monotonic()
        return time.monotonic() >= live.launched_s + self._pace.launch and self._give_back(live)

    def _queued(self, live: Live, job: Listed) -> None:
        """It waits there for others: said when the reason changes, and now and then when the expected start does."""
        said = RunQueued(live.order.run, _word(job.reason), job.start_us)
        if live.queued is not None and said.reason == live.queued.reason:
            moved = abs(said.start_us - live.queued.start_us) >= MOVED_US
            if not moved or (live.queued.start_us and time.monotonic() < live.queued_s + AGAIN_S):
                return
        live.queued, live.queued_s = said, time.monotonic()
        self._report(said)

    def _is_doubtful(self, live: Live) -> bool:
        """Slurm does not list it. Whether only Slurm can tell what became of it; otherwise that is seen to here."""
        claim = live.folder.claim()
        run = live.order.run
        if claim is not None and not claim.job:
            never = claim.never if claim.never in OUTCOMES else "start_failed"
            self._conclude(RunEnded(run, claim.at_us, "stopped" if live.stopping else never))
            return False
        if claim is not None:
            self._begun(live, claim.at_us)
            ended = live.folder.ended()
            if ended is None or not _is_sure(live, ended):
                return True
            self._written(live, claim, ended)
            return False
        if live.order.started_us:  # the journal knows of a start that is not to be found here
            self._conclude(RunEnded(run, live.order.started_us, "lost", started_us=live.order.started_us))
            return False
        if live.stopping:
            if live.folder.prevent("stopped"):
                self._conclude(RunEnded(run, _now_us(), "stopped"))
            return False
        if self._has_no_place(live):
            return False
        if live.job:
            return True
        if time.monotonic() >= live.due_s:
            self._submit(live)
        return False

    def _has_no_place(self, live: Live) -> bool:
        """Whether a run that has not begun was to begin on a node that is out of service, and is given back."""
        return any(self._nodes.is_out(task.node) for task in live.order.tasks) and self._give_back(live)

    def _give_back(self, live: Live) -> bool:
        """Report a run that has not begun as lost, so that it is placed elsewhere; False if it has begun after all."""
        if not live.folder.prevent("lost"):
            return False
        self._conclude(RunEnded(live.order.run, _now_us(), "lost"))
        return True

    def _settle(self, live: Live, found: Finished | None) -> None:
        """What Slurm says of a run that it does not list; `found` None: it knows nothing of it (any more)."""
        if found is not None and found.name != live.name:
            found = None  # its id was given to another job
        if found is not None and found.state not in ending.OVER:
            return  # it was about to be listed
        claim, run = live.folder.claim(), live.order.run
        if claim is None:
            self._launch_again(live, found)
            return
        if not claim.job:
            return  # the next look sees it
        ended = live.folder.ended()
        if found is not None and (ending.OVER[found.state] == "lost" or live.folder.is_fenced()):
            self._lose(live, claim, found.ended_us)
        elif ended is not None and ending.by_mistake(
            ended, found, stopping=bool(live.stopping), now_us=_now_us()
        ):
            self._lose(live, claim, ended.at_us)
        elif ended is not None:
            ended = ending.cancelled(ended, found)
            if not self._awaits_health(live, claim, ended):
                self._written(live, claim, ended)
        elif found is not None:
            self._conclude(ending.of_slurm(run, claim, found, stopping=bool(live.stopping)))
        else:
            self._lose(live, claim, 0)

    def _awaits_health(self, live: Live, claim: Claim, ended: Ended) -> bool:
        """Whether its end is not said yet: it used GPUs, ran for a while and failed, and nobody has looked at its nodes
        since, where somebody does. Once they were looked at, what is wrong there is said first."""
        failed = ended.outcome == "exited" and ended.status and not live.stopping
        ran_s = (ended.at_us - claim.at_us) / SECOND_US
        if not failed or ran_s < self._pace.suspicious or not any(task.gpus for task in live.order.tasks):
            return False
        nodes = [self._place.slurm_node(task.node) for task in live.order.tasks]
        if self._node_health.awaited(nodes, ended.at_us, _now_us()):
            return True
        self._due_s["health"] = 0.0
        self._try("health", self._look_at_health)
        return False

    def _lose(self, live: Live, claim: Claim, at_us: int) -> None:
        """A node of it is gone, or Slurm knows nothing of it any more. What still runs of it is fenced, and given the
        time to notice, before anybody may start it elsewhere."""
        ended = live.folder.ended()
        if ended is not None and _is_sure(live, ended):
            self._written(live, claim, ended)
        elif not live.fenced_s:
            live.fenced_s = time.monotonic()
            live.folder.fence()
            self._due_s["nodes"] = 0.0  # a node that is gone is reported before its runs are
        elif time.monotonic() >= live.fenced_s + FENCE_S:
            at_us = max(at_us or _now_us(), claim.at_us)
            self._conclude(RunEnded(live.order.run, at_us, "lost", started_us=claim.at_us))

    def _written(self, live: Live, claim: Claim, ended: Ended) -> None:
        """Its script wrote how it ended."""
        refused, stopping = live.folder.refused(), bool(live.stopping)
        self._conclude(ending.of_script(live.order.run, claim, ended, refused=refused, stopping=stopping))

    def _launch_again(self, live: Live, found: Finished | None) -> None:
        """Slurm took it and it did not begin: a controller that died has lost it, a node could not launch it, or
        somebody cancelled it there."""
        run = live.order.run
        live.job = 0
        if found is None:
            _log.warning("run %s: Slurm lost what it had acknowledged; submitted again", run)
            self._submit(live)
        else:  # also what was cancelled: after a crash Slurm takes the end of a run for that of the next with its id
            live.launches += 1
            if live.launches < TRIES_MAX:
                self._postpone(live, f"Slurm could not launch it: {found.state}")
            elif found.state != "CANCELLED":
                self._refuse(live, "launch_failed", f"Slurm could not launch it: {found.state}")
            elif live.folder.prevent("stopped"):
                self._conclude(RunEnded(run, _now_us(), "stopped", detail=ending.SIGNALLED))

    def _relaunch(self, live: Live) -> bool:
        """Ask Slurm again, and after TRIES_MAX times somebody else: its job of this run is to go. True."""
        live.job = 0
        live.launches += 1
        if live.launches < TRIES_MAX:
            self._postpone(live, "Slurm could not launch it, and holds it")
        else:
            self._give_back(live)
        return True

    def _begun(self, live: Live, at_us: int) -> None:
        if not live.begun_s:
            live.begun_s = time.monotonic()
            self._report(RunStarted(live.order.run, at_us))

    def _conclude(self, end: RunEnded) -> None:
        """The run is over: reported, forgotten."""
        live = self._live.pop(end.run)
        self._over[live.name] = None
        if len(self._over) > OVER_KEPT:
            del self._over[next(iter(self._over))]
        if end.started_us:
            self._begun(live, end.started_us)
        self._report(end)
        self._ends += 1
        if self._ends % PRUNE_EVERY == 0:
            self._submitters.submit(self._folders.prune, self._kept_runs_max)

    def _report(self, *observations: Observation) -> None:
        if observations:
            self._reports.extend(observations)
            self._place.around.wake()


def _word(reason: str) -> str:
    """One word of Slurm's, as it may stand in a journal."""
    word = "".join(letter for letter in reason if letter.isascii() and letter.isalnum())[:WORD_MAX]
    return "" if word in ("", "None") else word


def _is_sure(live: Live, ended: Ended) -> bool:
    """Whether what the script wrote says all. Who failed may have failed because a node did, and who was told to end,
    and not by us, may have been told so by mistake."""
    if ended.outcome == "stopped":
        return bool(live.stopping)
    return ended.outcome != "exited" or not ended.status


def _now_us() -> int:
    return time.time_ns() // 1000
