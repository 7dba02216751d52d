# SPDX-License-Identifier: Apache-2.0
"""A plan that failed, in words: what the world is, who did what when, what failed, and which check saw it. Called by
`__main__`.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from leitstand.core import facts as f
from tests.simulate.plan import START_US, Plan
from tests.simulate.world import Outcome

FACTS_MAX: Final = 120  # of the story's end that are told
LEFT_OUT: Final = frozenset(
    {"user", "spec", "request", "request_digest", "by", "cpu_milli_us", "memory_mib_us"}
)


def story(out: Outcome) -> str:
    """The story of an outcome whose entries were kept. Times in seconds since the plan's begin."""
    assert out.broken is not None
    lines = ["The world:", *_world(out.plan), "", "What happened:"]
    entries = [(entry.at, 1, f"  {_seconds(entry.at)}  {_fact(entry.fact)}") for entry in out.entries]
    told = [(at, 0, f"  {_seconds(at)}  * {what}") for at, what in out.told]
    happened = [line for _, _, line in sorted([*entries, *told], key=lambda one: one[:2])]
    if len(happened) > FACTS_MAX:
        lines.append(f"  … {len(happened) - FACTS_MAX} more before")
    lines += happened[-FACTS_MAX:]
    return "\n".join([*lines, "", f"Then {out.broken.check} failed: {out.broken.why}"])


def _world(plan: Plan) -> Iterator[str]:
    yield f"  {plan.rules.discipline}; {_less(plan.rules.sharing, type(plan.rules.sharing)())}"
    for site in plan.sites:
        yield f"  {_fact(site)}"
    for node in plan.nodes:
        yield f"  {node.node}: {node.gpus} GPUs, {node.cpus_milli} milli-cores, pool {node.pool or 'of its own'}"
    for pool, said in plan.entitled.items():
        for one in said:
            yield f"  {pool}: {_less(one, type(one)(one.node))} for {one.node}"
    for ask in plan.asks:
        truth = plan.truths.get(ask.key)
        long = f", takes {truth.length_us / 1e6:g} s" if truth else ""
        long += f", fails {truth.fails}" if truth and truth.fails else ""
        about = f" about {ask.of}" if ask.of else "".join(f" after {key} ({how})" for key, how in ask.after)
        yield f"  {_seconds(ask.at_us)}  {ask.key} asks{about}: {_fact(ask.what)}{long}"


def _fact(fact: Any) -> str:
    if isinstance(fact, f.RulesSet):
        return f"RulesSet {fact.rules.discipline}"
    said = [
        f"{name}={_value(value) if not name.endswith('_us') else _span(value)}"
        for name in fact.__struct_fields__
        if name not in LEFT_OUT and (value := getattr(fact, name)) not in ("", 0, (), None, False)
    ]
    return f"{type(fact).__name__} {' '.join(said)}"


def _value(value: Any) -> str:
    if isinstance(value, f.Resources):
        return "(" + _less(value, f.Resources()) + ")"
    if isinstance(value, tuple) and value and isinstance(value[0], f.Task):
        return ",".join(f"{task.node}:{task.mask}" for task in value)
    return str(value)


def _span(us: int) -> str:
    """A time, or how long something takes."""
    return f"{(us - START_US if us > START_US // 2 else us) / 1e6:g}s"


def _less(value: msgspec.Struct, usual: msgspec.Struct) -> str:
    """What is not as usual."""
    names = [name for name in value.__struct_fields__ if getattr(value, name) != getattr(usual, name)]
    return " ".join(f"{name}={getattr(value, name)}" for name in names) or "as usual"


def _seconds(at_us: int) -> str:
    return f"{(at_us - START_US) / 1e6:12.6f}"
