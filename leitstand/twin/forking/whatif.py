# SPDX-License-Identifier: Apache-2.0
"""Reads scenario files (YAML): what is planned anyway, and what is to be played beside it. Called by the CLI.

docs/twin.md describes the form. TraceError names file, line, value and remedy of what cannot be used.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from yaml import MappingNode, Node, ScalarNode

from leitstand.core.rules import PRICE_MAX, TENANT_CLASSES, WEIGHT_MAX
from leitstand.core.units import MICRO
from leitstand.twin.forking.changes import (
    Add,
    Amount,
    Arrivals,
    Change,
    Commit,
    Delay,
    Demand,
    EndCommitment,
    Entitle,
    Failures,
    Remove,
    Scenario,
    SetRules,
    What,
    WhatIf,
)
from leitstand.twin.forking.times import When, span, when
from leitstand.twin.forking.yamlfile import File, unknown
from leitstand.twin.reading.table import TraceError

CHANGES_MAX: Final = 1_000  # of a list in a file
SCENARIOS_MAX: Final = 32  # of all files
NODES_MAX: Final = 100_000
WEEKS_MAX: Final = 104
AS_PLANNED: Final = "as planned"
KINDS: Final = ("recorded", "past-weeks", "trace", "synthetic", "none")


def read_what_if(paths: Sequence[Path]) -> WhatIf:
    """All files as one: what any of them says is planned is planned in every scenario of all."""
    whole = WhatIf()
    for path in paths:
        one = _Reader(path).read()
        for field in ("start", "arrivals"):
            said, before = getattr(one, field), getattr(whole, field)
            nothing = getattr(WhatIf(), field)
            if said != before and said != nothing and before != nothing:
                raise TraceError(f"{path}: says another `{field}` than the files before it; say it once")
        whole = WhatIf(
            " · ".join(filter(None, (whole.name, one.name))),
            one.start or whole.start,
            one.arrivals if one.arrivals != Arrivals() else whole.arrivals,
            whole.base + one.base,
            whole.scenarios + one.scenarios,
        )
    _check(whole, paths)
    return whole


def _check(whole: WhatIf, paths: Sequence[Path]) -> None:
    """What only shows in all files together."""
    where = ", ".join(map(str, paths))
    names = [scenario.name for scenario in whole.scenarios]
    for name in names:
        if names.count(name) > 1:
            raise TraceError(f"{where}: two scenarios are called {name!r}; give each its own name")
    if len(names) > SCENARIOS_MAX:
        raise TraceError(f"{where}: {len(names)} scenarios, the limit is {SCENARIOS_MAX}")
    known = [change.name for change in whole.base if change.name]
    for name in known:
        if known.count(name) > 1:
            raise TraceError(f"{where}: two things under `base` are called {name!r}; give each its own name")
    for scenario in whole.scenarios:
        for delay in scenario.delays:
            if delay.name not in known:
                raise TraceError(
                    f"{where}: scenario {scenario.name!r} delays or drops what is not planned: "
                    f"{unknown(delay.name, tuple(known)) if known else 'nothing under `base` has a name'}"
                )


class _Reader(File):
    """One file."""

    def read(self) -> WhatIf:
        found = self.fields(
            self.root(),
            {
                "name": self.text,
                "start": self.parsed(when),
                "arrivals": self.arrivals,
                "base": lambda node: self.items(node, self.change, CHANGES_MAX),
                "scenarios": lambda node: self.items(node, self.scenario, SCENARIOS_MAX),
            },
        )
        if not found.get("base") and not found.get("scenarios"):
            raise TraceError(f"{self.path}: names neither `base` nor `scenarios`: nothing to play")
        if "start" in found and found["start"].since_fork:
            raise TraceError(f"{self.path}: `start` is a date, like 2027-01-04")
        return WhatIf(**found)

    def arrivals(self, node: Node) -> Arrivals:
        """A word, or a mapping with more about one of them."""
        if isinstance(node, ScalarNode):
            kind = self.word(KINDS)(node)
            return Arrivals(kind, 1 if kind == "past-weeks" else 0)
        found = self.fields(
            node,
            {
                "past-weeks": self.whole(1, WEEKS_MAX),
                "synthetic": lambda inner: self.fields(
                    inner, {"load": self.number(0.01, 3.0), "growth": self.number(-0.9, 9.0)}
                ),
            },
        )
        if len(found) != 1:
            self.wrong(node, "name one of past-weeks and synthetic")
        weeks = found.get("past-weeks", 0)
        return Arrivals("past-weeks", weeks) if weeks else Arrivals("synthetic", **found["synthetic"])

    def scenario(self, node: Node) -> Scenario:
        found = self.fields(
            node,
            {"name": self.text, "changes": lambda inner: self.items(inner, self.course, CHANGES_MAX)},
            ("name", "changes"),
        )
        if found["name"] == AS_PLANNED:
            self.wrong(
                node, f"{AS_PLANNED!r} is the scenario in which only `base` happens; choose another name"
            )
        delays = tuple(one for one in found["changes"] if isinstance(one, Delay))
        return Scenario(
            found["name"], delays, tuple(one for one in found["changes"] if isinstance(one, Change))
        )

    def course(self, node: Node) -> Change | Delay:
        """One item of a scenario: a change, or something planned that is late or does not come."""
        keys = [key.value for key, _ in node.value] if isinstance(node, MappingNode) else []
        if "drop" in keys:
            return Delay(self.fields(node, {"drop": self.text})["drop"])
        if "delay" not in keys:
            return self.change(node)
        found = self.fields(
            node, {"delay": self.text, "to": self.parsed(when), "by": self.parsed(span)}, ("delay",)
        )
        if ("to" in found) == ("by" in found):
            self.wrong(node, "a delay needs `to: DATE` or `by: SPAN`, one of them")
        return Delay(found["delay"], found.get("to"), found.get("by", 0))

    def change(self, node: Node) -> Change:
        verbs = {
            "add": self.add,
            "remove": self.remove,
            "entitlements": self.entitlements,
            "commit": self.commit,
            "end_commitment": lambda inner: EndCommitment(self.text(inner)),
            "prices": self.prices,
            "rules": self.rules,
            "demand": self.demand,
            "failures": self.failures,
        }
        found = self.fields(node, {"name": self.text, "at": self.parsed(when), **verbs})
        done = [verb for verb in verbs if verb in found]
        if len(done) != 1:
            many = f"{' and '.join(done)} in one" if done else "nothing happens in this one"
            self.wrong(node, f"{many}; each change is one of {', '.join(verbs)}, with `at: DATE`")
        what: What = found[done[0]]
        return Change(
            found.get("at", When(0, since_fork=True)), what, found.get("name", ""), self.place(node)
        )

    # ── what changes ──────────────────────────────────────────────────────────────────────────────────────────────
    def add(self, node: Node) -> Add:
        count = self.whole(1, NODES_MAX)
        known = {
            "nodes": count,
            "site": self.text,
            "racks": count,
            "gpus": self.whole(0, 1024),
            "gpu_type": self.text,
            "cpus": self.whole(0, 100_000),
            "memory_gb": self.whole(0, 1_000_000),
            "pool": self.text,
        }
        return Add(**self.fields(node, known, ("nodes",)))

    def remove(self, node: Node) -> Remove:
        found = self.fields(
            node,
            {
                "nodes": self.whole(1, NODES_MAX),
                "names": lambda inner: self.items(inner, self.text, NODES_MAX),
                "site": self.text,
                "rack": self.text,
            },
        )
        if not found or len(found.keys() - {"nodes", "site"}) > (len(found) == 1):
            self.wrong(node, "say `site`, `rack`, `names`, `nodes`, or `nodes` of a `site`")
        return Remove(**found)

    def entitlements(self, node: Node) -> Entitle:
        known = {
            "guarantee": self.gpus,
            "weight": self.whole(0, WEIGHT_MAX),
            "borrow": self.gpus,
            "lend": self.gpus,
            "recall": self.parsed(span),
            "pool": self.text,
        }
        named = self.named(node, lambda inner: self.fields(inner, known))
        if len(named) != 1:
            self.wrong(node, "name one class, tenant (class/tenant) or project in each change")
        name, said, key = named[0]
        if name and name.split("/")[0] not in TENANT_CLASSES:
            self.wrong(key, f"class {unknown(name.split('/')[0], TENANT_CLASSES)}")
        if said.get("guarantee") == Amount(-1):
            self.wrong(key, "a guarantee of `all` is none; say a number of GPUs, or +N")
        if not said.keys() - {"pool"}:
            self.wrong(key, "says nothing of it; say guarantee, weight, borrow, lend or recall")
        recall = said.pop("recall", None)
        return Entitle(name, recall_us=recall, **said)

    def commit(self, node: Node) -> Commit:
        known = {
            "of": self.text,
            "gpus": self.gpus,
            "until": self.parsed(when),
            "price": self.number(0, PRICE_MAX / MICRO),
            "recall": self.parsed(span),
            "pool": self.text,
        }
        found = self.fields(node, known, ("of", "gpus", "until"))
        if found["gpus"].milli <= 0 or found["gpus"].relative:
            self.wrong(node, "a commitment is to a number of GPUs above 0, without a sign")
        return Commit(
            found["of"],
            found["gpus"].milli,
            found["until"],
            round(found.get("price", 0.0) * MICRO),
            found.get("recall", 0),
            found.get("pool", ""),
        )

    def prices(self, node: Node) -> SetRules:
        price = self.number(0, PRICE_MAX / MICRO)
        found = self.fields(node, dict.fromkeys(TENANT_CLASSES, price))
        return SetRules(
            {"price_micro_eur_per_gpu_h": {name: round(value * MICRO) for name, value in found.items()}}
        )

    def rules(self, node: Node) -> SetRules:
        return SetRules(self.rule_fields(node, "name fields of the bundle, like `sharing: {ahead_us: 0}`"))

    def demand(self, node: Node) -> Demand:
        known = {
            "of": self.text,
            "scale": self.number(0, 100),
            "shift": self.parsed(lambda text: span(text, signed=True)),
            "until": self.parsed(when),
        }
        found = self.fields(node, known)
        if not found.keys() & {"scale", "shift"}:
            self.wrong(node, "says neither `scale` nor `shift`")
        shift = found.pop("shift", 0)
        return Demand(shift_us=shift, **found)

    def failures(self, node: Node) -> Failures:
        known = {
            "every": self.parsed(span),
            "repair": self.parsed(span),
            "site": self.text,
            "until": self.parsed(when),
        }
        found = self.fields(node, known, ("every", "repair"))
        return Failures(found["every"], found["repair"], found.get("site", ""), found.get("until"))
