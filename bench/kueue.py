# SPDX-License-Identifier: Apache-2.0
"""Kueue's performance configurations as decisions: `bench/workloads/kueue-*.yaml`, in Kueue's own form, each at the
pace of its `kueue-*.figures.json` and at no pace.

Cohorts become tenants that borrow from nobody, each with a node of its own kind; queues become their projects; CPUs
are the only resource: where pods lie is not asked. Any such configuration can be played: `replay(read_generator(path),
0)`.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.support.cloud import Story, play
from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules, Sharing
from leitstand.core.units import SECOND_US
from leitstand.twin.reading.generator import Cohort, Queue, Workload, read_generator

FOLDER = Path(__file__).parent / "workloads"
MS_US = 1000
ENTITLED_AT_ONCE = 200  # so that one fact stays under 64 KiB
# Kueue takes runs back at once, without grace, and forgets what was; its jobs have no time limit of their own
SHARING = Sharing(protected_us=10 * SECOND_US, grace_us=0, stop_us=0, restart_us=0, reservations_leaf_max=1)


def measure() -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, Any]] = {}
    for path in sorted(FOLDER.glob("kueue-*.yaml")):
        cohorts = read_generator(path)
        config = json.loads(path.with_suffix(".figures.json").read_text())
        for pace in (0, config["pace_per_s"]):
            name = f"{path.stem}_{'capped' if pace else 'uncapped'}"
            figures |= _judge(name, cohorts, config, pace)
    return figures


def _judge(
    name: str, cohorts: Sequence[Cohort], config: dict[str, Any], pace: int
) -> dict[str, dict[str, Any]]:
    story, classes = replay(cohorts, pace)
    makespan_s = max(story.ended.values()) / SECOND_US
    reference = config["published"] if pace else config["ideal"]
    most = (1.0, 1.0) if pace else (1.05, 1.1)
    limit = reference["makespan_s"] * most[0]
    figures = {f"{name}.makespan": _figure(makespan_s, limit, story)}
    for cls, wait_s in reference["wait_s"].items():
        waits = [story.wait_us(job) for job, of in classes.items() if of == cls]
        limit = 1.0 if pace and cls == "large" else wait_s * most[1]
        figures[f"{name}.wait_{cls}"] = _figure(sum(waits) / len(waits) / SECOND_US, limit, story)
    return figures


def _figure(value: float, limit: float, story: Story) -> dict[str, Any]:
    return {
        "value": round(value, 3),
        "unit": "s",
        "target": f"<= {round(limit, 2)}",
        "ok": value <= limit,
        "evictions": story.evictions,
        "cpu_s": round(story.cpu_s, 2),
    }


def replay(cohorts: Sequence[Cohort], pace: int) -> tuple[Story, dict[str, str]]:
    """The configuration under the discipline `fair`; with `pace` at most so many starts a second. (What became of the
    jobs, the class of each job.)"""
    interval_us = SECOND_US // pace if pace else 0
    sharing = Sharing(
        **{name: getattr(SHARING, name) for name in SHARING.__struct_fields__}
        | {"start_interval_us": interval_us}
    )
    core = Core()
    opening: list[f.Observation] = [f.RulesSet(Rules(name="kueue", discipline="fair", sharing=sharing), "")]
    timed: list[tuple[int, str, f.SubmitJob]] = []
    entitled: list[a.Entitlement] = []  # parents before children
    nodes: list[f.NodeAdded] = []
    for cohort in cohorts:
        own = sum(queue.nominal_milli for queue in cohort.queues)
        opening.append(f.TenantAdded(cohort.name))
        entitled.append(a.Entitlement(f"industry/{cohort.name}", own, 1, 0))
        nodes.append(f.NodeAdded(f"n-{cohort.name}", "s", 0, own, 0, gpu_type=cohort.name))
        for number, queue in enumerate(cohort.queues):
            project = f"q{number}"
            leaf = f"industry/{cohort.name}/{project}"
            opening.append(a.ProjectAdded(cohort.name, project))
            entitled.append(a.Entitlement(leaf, queue.nominal_milli, 1, queue.borrow_milli))
            timed += _created(cohort.name, project, queue)
    entitled.insert(0, a.Entitlement("industry", sum(node.cpus_milli for node in nodes)))
    opening += [f.SiteAdded("s", "simulated"), *nodes]
    opening += [
        a.EntitlementsChanged("shared", tuple(entitled[first : first + ENTITLED_AT_ONCE]))
        for first in range(0, len(entitled), ENTITLED_AT_ONCE)
    ]
    core.cycle(0, opening)
    refused = [answer for answer in core.answers if answer.refused]
    assert not refused, refused
    timed.sort(key=lambda entry: entry[0])
    story = play(core, [(at, job) for at, _, job in timed])
    assert not core.state.jobs, f"{len(core.state.jobs)} jobs never ended"
    return story, dict(zip(story.submitted, (cls for _, cls, _ in timed), strict=True))


def _created(tenant: str, project: str, queue: Queue) -> Iterator[tuple[int, str, f.SubmitJob]]:
    """(creation in µs, class, job) of each workload of a queue."""
    made: dict[Workload, f.SubmitJob] = {}
    for at_ms, _, workload, _ in queue.created():
        if workload not in made:
            made[workload] = f.SubmitJob(
                tenant,
                project,
                f.Resources(cpus_milli=workload.milli, gpu_type=tenant),
                priority=workload.priority,
                max_duration_us=max(workload.run_ms * MS_US, 1),
                expected_us=max(workload.run_ms * MS_US, 1),
            )
        yield at_ms * MS_US, workload.kind, made[workload]
