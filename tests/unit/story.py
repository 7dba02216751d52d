# SPDX-License-Identifier: Apache-2.0
"""A small language for core tests: given facts, when observations, then facts."""

from collections.abc import Sequence
from hashlib import sha256
from typing import Any

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules
from leitstand.core.units import SECOND_US


def cluster(
    *gpus: int,
    rules: Rules | None = None,
    cpus_milli: int = 64_000,
    memory_mib: int = 512_000,
    colocate: bool = False,
    pools: Sequence[str] = (),
    tenants: Sequence[str] = ("acme", "beta"),
    prefix: str = "n",
    resizes: bool = False,
) -> Core:
    """A core at time 0 with nodes n0, n1, … of these GPU counts and two tenants."""
    core = Core()
    seen: list[f.Observation] = [f.RulesSet(rules or Rules(), "")]
    seen += [f.TenantAdded(tenant) for tenant in tenants]
    seen.append(f.SiteAdded("s", "simulated", logical=True, colocate=colocate, resizes=resizes))
    for i, count in enumerate(gpus):
        pool = pools[i] if pools else "shared"
        seen.append(f.NodeAdded(f"{prefix}{i}", "s", count, cpus_milli, memory_mib, pool=pool))
    core.cycle(0, seen)
    assert [a for a in core.answers if a.refused] == []
    return core


def ask(gpus: int = 1, nodes: int = 1, tenant: str = "acme", **more: Any) -> f.SubmitJob:
    amounts = {key: more.pop(key) for key in ("cpus_milli", "memory_mib") if key in more}
    return f.SubmitJob(tenant, "default", f.Resources(gpus, nodes, **amounts), **more)


def at(core: Core, seconds: int, *observations: f.Observation) -> list[f.Fact]:
    return core.cycle(seconds * SECOND_US, observations)


def placed(facts: Sequence[f.Fact]) -> dict[str, list[tuple[str, tuple[int, ...]]]]:
    """run → [(node, GPUs)] of the placements among `facts`."""
    return {
        fact.run: [(task.node, task.gpus) for task in fact.tasks]
        for fact in facts
        if isinstance(fact, f.RunPlaced)
    }


def ended(run: str, seconds: int, exit_code: int = 0, started: int = 0) -> f.RunEnded:
    started_us = started * SECOND_US
    return f.RunEnded(run, seconds * SECOND_US, "exited", exit_code, started_us=started_us)


def started(run: str, seconds: int) -> f.RunStarted:
    return f.RunStarted(run, seconds * SECOND_US)


def names(facts: Sequence[f.Fact]) -> list[str]:
    return [type(fact).__name__ for fact in facts]


def act(core: Core, seconds: int, asked: f.Observation) -> str:
    """What the act made; it must not be refused."""
    at(core, seconds, asked)
    assert core.answers[-1].refused == "", core.answers[-1]
    return core.answers[-1].made


def refused(core: Core, seconds: int, asked: f.Observation) -> tuple[str, str]:
    """Why the act is refused, and the detail; nothing may be recorded."""
    before = core.state.digest()
    assert at(core, seconds, asked) == []
    assert core.state.digest() == before
    assert core.answers[-1].refused
    assert core.answers[-1].made == ""
    return core.answers[-1].refused, core.answers[-1].detail


def sha(text: object) -> str:
    """A digest as faces make it of a token, a code or a claim."""
    return sha256(str(text).encode()).hexdigest()
