# SPDX-License-Identifier: Apache-2.0
"""Reads the scenario of a twin that people watch (YAML): which cloud, which work, which rules, which failures.

Called by `leitstand up --twin` and by its writer. docs/twin.md describes the form. TraceError names file, line, value
and remedy of what cannot be used.
"""

import hashlib
from pathlib import Path
from typing import Any, Final

import msgspec
from yaml import MappingNode, Node, ScalarNode

from leitstand.core.units import SECOND_US
from leitstand.twin.forking.times import span, when
from leitstand.twin.forking.yamlfile import File
from leitstand.twin.reading.formats import FORMATS
from leitstand.twin.reading.table import TraceError
from leitstand.twin.rulefile import changed_rules
from leitstand.twin.synthetic.demand import DAYS_MAX, GPUS_MAX, SEED_MAX, Demand, DemandError, checked

START_US: Final = 1_767_571_200 * SECOND_US  # Monday 2026-01-05, where nothing else is said
DAYS: Final = 28
LOAD: Final = 0.9
NAME_MAX: Final = 60  # characters: it stands at the top of every page
_CHUNK: Final = 1 << 20


class Synthetic(msgspec.Struct, frozen=True):
    """Work that is drawn: see `twin.synthetic.demand`. After `days` it is drawn anew, with the next seed."""

    days: int = DAYS
    load: float = LOAD
    seed: int = 1
    growth: float = 0.0


class Recorded(msgspec.Struct, frozen=True):
    """Work as a trace holds it, from its first day on; again once it is over. The rest as `twin replay` takes it."""

    trace: str
    format: str = ""
    time_zone: str = ""
    tenant_from: str = ""


class Sized(msgspec.Struct, frozen=True):
    """A cloud of the synthetic model: its tenants, each with its part of so many GPUs."""

    gpus: int
    gpus_per_node: int = 0
    gpu_type: str = ""


class Outage(msgspec.Struct, frozen=True):
    """Each node fails once in `every_us` on average, with what runs there, and is back after `repair_us`."""

    every_us: int
    repair_us: int
    seed: int = 1


class Scenario(msgspec.Struct, frozen=True):
    """`cluster`: a file, or a cloud of the model; `rules`: what is to be other in the bundle; `start_us`: when it is
    at the beginning; `digest`: of all that it says, the contents of its files included."""

    name: str
    cluster: str | Sized
    workload: Synthetic | Recorded
    rules: dict[str, Any]
    start_us: int = START_US
    failures: Outage | None = None
    digest: str = ""


def read_scenario(path: Path) -> Scenario:
    """The scenario in `path`; TraceError."""
    return _Reader(path).read()


class _Reader(File):
    """One file. Paths in it are seen from its folder."""

    def read(self) -> Scenario:
        root = self.root("a scenario begins with keys like `cluster:` and `workload:`")
        found = self.fields(
            root,
            {
                "name": self.name,
                "start": self.start,
                "cluster": self.cluster,
                "workload": self.workload,
                "rules": self.rules,
                "failures": self.failures,
            },
            ("cluster", "workload"),
        )
        scenario = Scenario(
            found.get("name", self.path.stem),
            found["cluster"],
            found["workload"],
            found.get("rules", {"discipline": "fair"}),
            found.get("start", START_US),
            found.get("failures"),
        )
        self._check(scenario, root)
        return msgspec.structs.replace(scenario, digest=self._digest(scenario))

    # ── its parts ─────────────────────────────────────────────────────────────────────────────────────────────────
    def name(self, node: Node) -> str:
        found = self.text(node)
        if not 0 < len(found) <= NAME_MAX or not found.isprintable():
            self.wrong(node, f"the name has {len(found)} characters, not 1..{NAME_MAX} printable ones")
        return found

    def start(self, node: Node) -> int:
        found = self.parsed(when)(node)
        if found.since_fork or found.us <= 0:
            self.wrong(node, "`start` is a date after 1970, like 2026-01-05")
        return found.us

    def cluster(self, node: Node) -> str | Sized:
        if isinstance(node, ScalarNode):
            return self.file(node)
        known = {
            "gpus": self.whole(1, GPUS_MAX),
            "gpus_per_node": self.whole(1, 1024),
            "gpu_type": self.text,
        }
        return Sized(**self.fields(node, known, ("gpus",)))

    def workload(self, node: Node) -> Synthetic | Recorded:
        if isinstance(node, ScalarNode):
            return Synthetic() if self.text(node) == "synthetic" else Recorded(self.file(node))
        if isinstance(node, MappingNode) and any(key.value == "trace" for key, _ in node.value):
            known = {
                "trace": self.file,
                "format": self.word(tuple(FORMATS)),
                "time_zone": self.text,
                "tenant_from": self.text,
            }
            return Recorded(**self.fields(node, known))
        found = self.fields(node, {"synthetic": self.synthetic, "trace": self.file})
        if not found:
            self.wrong(node, "says nothing; name `trace: FILE` or `synthetic: {load: 0.9}`")
        return found["synthetic"]  # type: ignore[no-any-return]

    def synthetic(self, node: Node) -> Synthetic:
        known = {
            "days": self.whole(1, DAYS_MAX),
            "load": self.number(0.01, 3.0),
            "seed": self.whole(0, SEED_MAX // 2),
            "growth": self.number(-0.9, 9.0),
        }
        return Synthetic(**self.fields(node, known))

    def rules(self, node: Node) -> dict[str, Any]:
        if isinstance(node, ScalarNode):
            said = self.text(node)
            try:
                beside = self.path.parent / said
                return changed_rules(str(beside) if beside.is_file() else said)
            except TraceError as error:
                self.wrong(node, str(error))
        changes = self.rule_fields(node, "name a discipline, a file, or fields of the bundle")
        return {"discipline": "fair", **changes}

    def failures(self, node: Node) -> Outage:
        known = {"every": self.parsed(span), "repair": self.parsed(span), "seed": self.whole(0, SEED_MAX)}
        found = self.fields(node, known, ("every", "repair"))
        return Outage(found["every"], found["repair"], found.get("seed", 1))

    def file(self, node: Node) -> str:
        """The path of a file that is there."""
        found = self.path.parent / self.text(node)
        if not found.is_file():
            self.wrong(
                node, f"there is no file {str(found)!r}; paths are seen from the folder of the scenario"
            )
        return str(found.absolute())

    # ── the whole ─────────────────────────────────────────────────────────────────────────────────────────────────
    def _check(self, scenario: Scenario, root: Node) -> None:
        cluster, work = scenario.cluster, scenario.workload
        if not isinstance(cluster, Sized):
            return
        if isinstance(work, Recorded):
            self.wrong(
                root,
                "a trace needs the cluster that it was recorded on: `cluster: FILE.cluster.json`, no `gpus`",
            )
        try:
            checked(demand_of(cluster, work))
        except DemandError as error:
            self.wrong(root, str(error))

    def _digest(self, scenario: Scenario) -> str:
        """Equal digests, equal clouds: names of files do not count, what is in them does."""
        said = msgspec.to_builtins(scenario)
        cluster, work = scenario.cluster, scenario.workload
        if isinstance(cluster, str):
            said["cluster"] = _digest_of(Path(cluster))
        if isinstance(work, Recorded):
            said["workload"]["trace"] = _digest_of(Path(work.trace))
        del said["name"]
        return hashlib.sha256(msgspec.json.encode(said, order="sorted")).hexdigest()


def demand_of(cluster: Sized, work: Synthetic, number: int = 0) -> Demand:
    """What is drawn for that part of the work, counted from 0."""
    return Demand(
        gpus=cluster.gpus,
        days=work.days,
        load=work.load,
        seed=work.seed + number,
        growth=work.growth,
        gpus_per_node=cluster.gpus_per_node or None,
    )


def _digest_of(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while part := file.read(_CHUNK):
                digest.update(part)
    except OSError as error:
        raise TraceError(f"{path}: cannot be read: {error.strerror or error}") from error
    return digest.hexdigest()
