# SPDX-License-Identifier: Apache-2.0
"""What a study asks, as its file says it (YAML): workloads × sizes × rules, with seeds. Called by the command and by
all of this package. docs/twin.md tells what each key means.
"""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import yaml
from msgspec import Struct
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from leitstand.core.rules import DISCIPLINES, TENANT_CLASSES, Rules
from leitstand.core.units import MINUTE_US
from leitstand.twin.reading.nodes import compose, entries, mapping, number, place, text, whole
from leitstand.twin.reading.table import TraceError
from leitstand.twin.rulefile import changed_rules, overlaid
from leitstand.twin.synthetic.demand import Demand, DemandError, checked

WORKLOADS_MAX: Final = 20
SIZES_MAX: Final = 20
RULES_MAX: Final = 12
SEEDS_MAX: Final = 100
CELLS_MAX: Final = 10_000
SEEDS: Final = 5  # unless the file says otherwise
COPIES_MAX: Final = 1_000
GPUS_MAX: Final = 200_000
DAYS_MAX: Final = 1830

_TOP: Final = ("title", "workloads", "sizes", "rules", "seeds", "alone", "prices", "energy")
_WORKLOAD: Final = ("name", "trace", "cluster", "days", "first_day", "synthetic")
_SYNTHETIC: Final = ("gpus", "days", "load", "growth", "gpus_per_node")
_RULE: Final = ("name", "rules", "set", "checkpoint_every_min")
_ENERGY: Final = ("busy_w", "idle_w", "pue", "source")
_SIZE: Final = ("name", "nodes", "copies")


class Workload(Struct, frozen=True, kw_only=True):
    """Recorded jobs (`trace`, `cluster`: paths) or made ones (`synthetic`; its seed is set by the study). `days`: how
    much of it is played, from `first_day` on; 0: all."""

    name: str
    trace: str = ""
    cluster: str = ""
    days: float = 0.0
    first_day: float = 0.0
    synthetic: Demand | None = None


class Size(Struct, frozen=True, kw_only=True):
    """How large the cloud is: `times` its own, or `gpus` in nodes as it has them, or `nodes` (GPUs of a node, how
    many). Jobs grow with it, in whole copies of the tenants: as many as their own nodes fill, or `copies`."""

    name: str
    times: int = 0
    gpus: int = 0
    nodes: tuple[tuple[int, int], ...] = ()
    copies: int = 0


class Rule(Struct, frozen=True, kw_only=True):
    """`changes`: of the bundle. `checkpoint_us`: every job that is longer says that it saves so often; 0: none does."""

    name: str
    changes: dict[str, Any]
    checkpoint_us: int = 0


class Energy(Struct, frozen=True, kw_only=True):
    """Watts of a GPU with its part of the node, busy and idle; `pue`: what the site takes for each of them; `source`:
    where the numbers are from."""

    busy_w: float
    idle_w: float
    pue: float
    source: str


class Prices(Struct, frozen=True, kw_only=True):
    """EUR for a GPU and hour, by tenant class; `source`: where the numbers are from."""

    eur_per_gpu_h: dict[str, float]
    source: str


class Study(Struct, frozen=True, kw_only=True):
    """`seeds`: each makes other jobs, the same for all rules; (0,): as recorded, once. `alone`: play each tenant on its
    own nodes, too, under the first rule."""

    path: str
    title: str
    workloads: tuple[Workload, ...]
    sizes: tuple[Size, ...]
    rules: tuple[Rule, ...]
    seeds: tuple[int, ...]
    alone: bool
    prices: Prices | None = None
    energy: Energy | None = None


def read_study(path: Path) -> Study:
    """The study in `path`; TraceError names file, line, value and remedy of what is wrong."""
    keys = mapping(path, "a study", compose(path), _TOP, ("workloads", "rules"))
    seeds = tuple(_seeds(path, keys.get("seeds")))
    study = Study(
        path=str(path),
        title=text(path, "title", keys["title"]) if "title" in keys else path.stem,
        workloads=tuple(
            _workload(path, node, seeds)
            for node in _some(path, "workloads", keys["workloads"], WORKLOADS_MAX)
        ),
        sizes=tuple(_size(path, node) for node in _some(path, "sizes", keys["sizes"], SIZES_MAX))
        if "sizes" in keys
        else (Size(name="1x", times=1),),
        rules=tuple(_rule(path, node) for node in _some(path, "rules", keys["rules"], RULES_MAX)),
        seeds=seeds,
        alone=_flag(path, "alone", keys["alone"]) if "alone" in keys else True,
        prices=_prices(path, keys["prices"]) if "prices" in keys else None,
        energy=_energy(path, keys["energy"]) if "energy" in keys else None,
    )
    _check_names(path, keys, study)
    return study


def _workload(path: Path, node: Node, seeds: tuple[int, ...]) -> Workload:
    keys = mapping(path, "a workload", node, _WORKLOAD, ("name",))
    name = text(path, "name", keys["name"])
    if "synthetic" in keys:
        for other in ("trace", "cluster", "days", "first_day"):
            if other in keys:
                raise TraceError(
                    f"{path}: {place(keys[other])}: workload {name!r} has both synthetic and {other}; keep one of them "
                    "(synthetic has days of its own)"
                )
        return Workload(name=name, synthetic=_synthetic(path, keys["synthetic"]))
    for needed in ("trace", "cluster"):
        if needed not in keys:
            raise TraceError(
                f"{path}: {place(node)}: workload {name!r} lacks the key {needed!r}; name trace and cluster, or "
                "synthetic: {gpus: …, days: …}"
            )
    days = number(path, "days", keys["days"], 0.01, DAYS_MAX) if "days" in keys else 0.0
    first_day = number(path, "first_day", keys["first_day"], 0, DAYS_MAX) if "first_day" in keys else 0.0
    if first_day and seeds != (0,):
        raise TraceError(
            f"{path}: {place(keys['first_day'])}: first_day is for a record as it is; with seeds, days are drawn from "
            "all of it: leave it out, or say seeds: 0"
        )
    return Workload(
        name=name,
        trace=_file(path, "trace", keys["trace"]),
        cluster=_file(path, "cluster", keys["cluster"]),
        days=days,
        first_day=first_day,
    )


def _synthetic(path: Path, node: Node) -> Demand:
    keys = mapping(path, "synthetic", node, _SYNTHETIC, ("gpus", "days"))
    asked: dict[str, float] = {}
    for key, value in keys.items():
        if key in ("load", "growth"):
            asked[key] = number(path, key, value, -1, 1000)
        else:
            asked[key] = whole(path, key, value, 1, GPUS_MAX)
    try:
        return checked(msgspec.convert(asked, Demand))
    except DemandError as error:
        raise TraceError(f"{path}: {place(node)}: {error}") from error


def _size(path: Path, node: Node) -> Size:
    if isinstance(node, MappingNode):
        keys = mapping(path, "a size", node, _SIZE, ("nodes",))
        nodes = dict(_nodes(path, keys["nodes"]))
        gpus = sum(each * count for each, count in nodes.items())
        if gpus > GPUS_MAX:
            raise TraceError(f"{path}: {place(node)}: nodes add up to {gpus} GPUs; the limit is {GPUS_MAX}")
        copies = whole(path, "copies", keys["copies"], 1, COPIES_MAX) if "copies" in keys else 0
        of_tenants = f", {copies} copies" if copies else ""
        name = text(path, "name", keys["name"]) if "name" in keys else f"{gpus:,} GPUs{of_tenants}"
        return Size(name=name, nodes=tuple(nodes.items()), copies=copies)
    said = str(node.value) if isinstance(node, ScalarNode) else ""
    digits = said.removesuffix("x")
    if not (
        digits.isascii()
        and digits.isdigit()
        and 0 < int(digits) <= (COPIES_MAX if digits != said else GPUS_MAX)
    ):
        raise TraceError(
            f"{path}: {place(node)}: a size is {said[:60]!r}; write 4x (times the cluster, up to {COPIES_MAX}), "
            f"10412 (GPUs, up to {GPUS_MAX}), or nodes: {{8: 872, 4: 10}} (GPUs of a node: how many)"
        )
    if digits != said:
        return Size(name=said, times=int(digits))
    return Size(name=f"{int(digits):,} GPUs", gpus=int(digits))


def _nodes(path: Path, node: Node) -> Iterator[tuple[int, int]]:
    if not isinstance(node, MappingNode) or not node.value:
        raise TraceError(
            f"{path}: {place(node)}: nodes is no mapping of the GPUs of a node to how many there are"
        )
    for key, value in node.value:
        yield whole(path, "GPUs of a node", key, 1, 1024), whole(path, "nodes", value, 1, GPUS_MAX)


def _rule(path: Path, node: Node) -> Rule:
    if isinstance(node, ScalarNode):
        return Rule(name=Path(node.value).stem, changes=_changes(path, node))
    keys = mapping(path, "a rule", node, _RULE, ("name",))
    name = text(path, "name", keys["name"])
    changes = _changes(path, keys["rules"]) if "rules" in keys else {}
    if "set" in keys:
        changes = _with(path, changes, keys["set"])
    if not changes:
        raise TraceError(
            f"{path}: {place(node)}: rule {name!r} says nothing; add rules (a discipline: {', '.join(DISCIPLINES)}; "
            "or a file) or set (fields of the bundle)"
        )
    every = keys.get("checkpoint_every_min")
    minutes = 0.0 if every is None else number(path, "checkpoint_every_min", every, 0.01, 100_000)
    return Rule(name=name, changes=changes, checkpoint_us=round(minutes * MINUTE_US))


def _changes(path: Path, node: Node) -> dict[str, Any]:
    wanted = text(path, "rules", node)
    try:
        return _without_static(changed_rules(wanted if wanted in DISCIPLINES else _beside(path, wanted)))
    except TraceError as error:
        raise TraceError(f"{path}: {place(node)}: {error}") from error


def _with(path: Path, changes: dict[str, Any], node: Node) -> dict[str, Any]:
    """What `set` says on top of `changes`."""
    said = yaml.SafeLoader("").construct_object(node, deep=True)
    where = f"{path}: {place(node)}"
    if not isinstance(said, dict):
        raise TraceError(
            f"{where}: set is no mapping of fields of the bundle, like {{sharing: {{ahead_us: 0}}}}"
        )
    try:
        overlaid(overlaid(Rules(), changes, where), said, where)
        return _without_static({**changes, **said})
    except TraceError as error:
        raise TraceError(str(error) if str(error).startswith(where) else f"{where}: {error}") from error


def _without_static(changes: dict[str, Any]) -> dict[str, Any]:
    if "static" in changes:
        raise TraceError("static is not a rule of a study: alone: true plays each tenant on its own nodes")
    return changes


def _prices(path: Path, node: Node) -> Prices:
    keys = mapping(path, "prices", node, (*TENANT_CLASSES, "source"), ("source",))
    prices = {str(kind): number(path, kind, keys[kind], 0, 10_000) for kind in TENANT_CLASSES if kind in keys}
    if not prices:
        raise TraceError(
            f"{path}: {place(node)}: prices names no class; say EUR per GPU-hour of {', '.join(TENANT_CLASSES)}"
        )
    return Prices(eur_per_gpu_h=prices, source=text(path, "source", keys["source"]))


def _energy(path: Path, node: Node) -> Energy:
    keys = mapping(path, "energy", node, _ENERGY, _ENERGY)
    return Energy(
        busy_w=number(path, "busy_w", keys["busy_w"], 0, 100_000),
        idle_w=number(path, "idle_w", keys["idle_w"], 0, 100_000),
        pue=number(path, "pue", keys["pue"], 1, 10),
        source=text(path, "source", keys["source"]),
    )


def _seeds(path: Path, node: Node | None) -> Iterator[int]:
    """1..n for a number; (0,): none, jobs as they are."""
    if node is None:
        yield from range(1, SEEDS + 1)
    elif isinstance(node, SequenceNode):
        for seed in _some(path, "seeds", node, SEEDS_MAX):
            yield whole(path, "a seed", seed, 1, 2**48)
    else:
        count = whole(path, "seeds", node, 0, SEEDS_MAX)
        yield from range(1, count + 1) if count else (0,)


def _some(path: Path, key: str, node: Node, most: int) -> list[Node]:
    found = entries(path, key, node)
    if not 0 < len(found) <= most:
        raise TraceError(f"{path}: {place(node)}: {key} has {len(found)} entries, not 1..{most}")
    return found


def _flag(path: Path, key: str, node: Node) -> bool:
    said = node.value if isinstance(node, ScalarNode) else ""
    if said not in ("true", "false"):
        raise TraceError(f"{path}: {place(node)}: {key} is {str(said)[:60]!r}; write true or false")
    return bool(said == "true")


def _file(path: Path, key: str, node: Node) -> str:
    """A path that is there, as seen from the study's folder."""
    said = _beside(path, text(path, key, node))
    if not Path(said).is_file():
        raise TraceError(
            f"{path}: {place(node)}: {key} {said} is no file; paths are seen from the folder of the study"
        )
    return said


def _beside(path: Path, said: str) -> str:
    return str(path.parent / said)


def _check_names(path: Path, keys: dict[str, Node], study: Study) -> None:
    """Cells are told apart by their names; and how many of them there may be."""
    for key, names in (
        ("workloads", [one.name for one in study.workloads]),
        ("sizes", [one.name for one in study.sizes]),
        ("rules", [one.name for one in study.rules]),
        ("seeds", [str(one) for one in study.seeds]),
    ):
        doubled = [name for at, name in enumerate(names) if name in names[:at]]
        if doubled:
            raise TraceError(
                f"{path}: {place(keys[key])}: {key} names {doubled[0]!r} twice; rename or leave out one"
            )
    cells = math.prod(len(part) for part in (study.workloads, study.sizes, study.rules, study.seeds))
    if cells > CELLS_MAX:
        raise TraceError(
            f"{path}: asks for {cells} cells; the limit is {CELLS_MAX}: take fewer seeds, sizes or rules"
        )


def as_data(study: Study) -> Any:
    """The study as plain data, for JSON."""
    return msgspec.to_builtins(study)
