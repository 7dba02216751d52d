# SPDX-License-Identifier: Apache-2.0
"""Kueue's performance configurations as decisions: `bench/workloads/kueue-*.yaml`, each at its own pace and at no pace.

Cohorts become tenants that borrow from nobody, each with a node of its own kind; queues become their projects; CPUs
are the only resource.
"""

from pathlib import Path
from typing import Any

import yaml

from bench.support.cloud import Story, play
from leitstand.core import acts as a
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules, Sharing
from leitstand.core.units import SECOND_US

FOLDER = Path(__file__).parent / "workloads"
MS_US = 1000
# Kueue takes runs back at once, without grace, and forgets what was; its jobs have no time limit of their own
SHARING = Sharing(protected_us=10 * SECOND_US, grace_us=0, stop_us=0, restart_us=0, reservations_leaf_max=1)


def measure() -> dict[str, dict[str, Any]]:
    figures: dict[str, dict[str, Any]] = {}
    for path in sorted(FOLDER.glob("kueue-*.yaml")):
        config = yaml.safe_load(path.read_text())
        for pace in (0, config["pace_per_s"]):
            figures |= _judge(f"{path.stem}_{'capped' if pace else 'uncapped'}", config, pace)
    return figures


def _judge(name: str, config: dict[str, Any], pace: int) -> dict[str, dict[str, Any]]:
    story, classes = replay(config, pace)
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


def replay(config: dict[str, Any], pace: int) -> tuple[Story, dict[str, str]]:
    """The configuration under the discipline `fair`; with `pace` at most so many starts a second."""
    interval_us = SECOND_US // pace if pace else 0
    sharing = Sharing(
        **{name: getattr(SHARING, name) for name in SHARING.__struct_fields__}
        | {"start_interval_us": interval_us}
    )
    core = Core()
    opening: list[f.Observation] = [f.RulesSet(Rules(name="kueue", discipline="fair", sharing=sharing), "")]
    timed: list[tuple[int, str, f.SubmitJob]] = []
    entitled: list[a.Entitlement] = []
    nodes: list[f.Observation] = []
    cpus = 0
    for cohort, tenant in _each(config["cohorts"], "c"):
        opening.append(f.TenantAdded(tenant))
        own = 0
        for queue, project in _each(cohort["queues"], "q"):
            opening.append(a.ProjectAdded(tenant, project))
            nominal, borrow = queue["nominal_cpus"] * 1000, queue["borrow_cpus"] * 1000
            entitled.append(a.Entitlement(f"industry/{tenant}/{project}", nominal, 1, borrow))
            own += nominal
            for cls, asked in queue["classes"].items():
                job = f.SubmitJob(
                    tenant,
                    project,
                    f.Resources(cpus_milli=asked["cpus"] * 1000, gpu_type=tenant),
                    priority=asked["priority"],
                    max_duration_us=asked["run_ms"] * MS_US,
                    expected_us=asked["run_ms"] * MS_US,
                )
                timed += [(n * asked["every_ms"] * MS_US, cls, job) for n in range(1, asked["count"] + 1)]
        entitled.append(a.Entitlement(f"industry/{tenant}", own, 1, 0))
        nodes.append(f.NodeAdded(f"n-{tenant}", "s", 0, own, 0, gpu_type=tenant))
        cpus += own
    entitled.append(a.Entitlement("industry", cpus))
    opening += [f.SiteAdded("s", "simulated"), *nodes]
    opening.append(a.EntitlementsChanged("shared", tuple(entitled)))
    core.cycle(0, opening)
    refused = [answer for answer in core.answers if answer.refused]
    assert not refused, refused
    timed.sort(key=lambda entry: entry[0])
    story = play(core, [(at, job) for at, _, job in timed])
    assert not core.state.jobs, f"{len(core.state.jobs)} jobs never ended"
    return story, dict(zip(story.submitted, (cls for _, cls, _ in timed), strict=True))


def _each(entries: list[dict[str, Any]], letter: str) -> list[tuple[dict[str, Any], str]]:
    return [
        (entry, f"{letter}{kind}-{number}")
        for kind, entry in enumerate(entries)
        for number in range(entry["count"])
    ]
