# SPDX-License-Identifier: Apache-2.0
"""Real months: Philly September-October 2017 and ITP 2021 on their own clusters, and as many copies of them as a real
inventory of 10,412 GPUs holds. Run by bench/run.py; `python -m bench.months philly 7` plays seven days alone.

Four questions: how `fair` compares with other disciplines; whether any tenant would be better off alone on its own
nodes; how far use is from deserved shares after 30 days of backlog; how much work preemption loses, against a choice
of the youngest. docs/benchmarks.md tells how each is measured. Tables are printed, all numbers are in
build/months.json. What was played is kept in build/months, so that a run that was cut short goes on.
"""

import hashlib
import json
import os
import pickle
import sys
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from bench.support import record as recording
from bench.support.backlog import share_errors
from bench.support.record import on_inventory, recorded
from bench.support.rivals import simulate
from bench.support.table import table
from leitstand.core import cycle
from leitstand.core.rules import Sharing
from leitstand.core.sharing.fair import Fair
from leitstand.core.units import HOUR_US
from leitstand.core.yielding.offers import Yielding
from leitstand.twin.studies.judging import sharing_pays, summary
from leitstand.twin.studies.playing import Plan, Played, play
from leitstand.twin.studies.record import Record, cut

ROOT: Final = Path(__file__).parents[1]
RESULT: Final = ROOT / "build" / "months.json"
KEPT: Final = ROOT / "build" / "months"
CHECKPOINT_US: Final = HOUR_US  # declared by every job that is longer
YOUNGEST: Final = "youngest first, checkpoints"
CORE: Final = {
    "fair": Plan(),
    "fair, checkpoints": Plan(checkpoint_us=CHECKPOINT_US),
    YOUNGEST: Plan(checkpoint_us=CHECKPOINT_US),
    "alone": Plan(static=True),
    "fifo-strict": Plan("fifo-strict"),
    "fifo-greedy": Plan("fifo-greedy"),
    "sjf": Plan("sjf"),
}
SIMULATED: Final = {"predicted": "predicted", "EASY": "easy"}
IN_TABLE: Final = ("fair", "fair, checkpoints", "fifo-strict", "fifo-greedy", "sjf", "predicted", "EASY")
LARGE: Final = ("fair", "fifo-greedy", "EASY")  # of the copies on the inventory
UTILISATION_POINTS: Final = 0.5  # below EASY, at most
SHARE_ERROR_PERCENT: Final = 2.0
LOST_PERCENT: Final = 50.0  # of what youngest first loses

Figures = dict[str, dict[str, Any]]
Told = dict[str, Any]


def measure() -> dict[str, Any]:
    """All four questions for both records, and some disciplines at the size of the inventory."""
    if missing := recording.absent():
        return {"skipped": missing}
    own = {name: recorded(name) for name in recording.FILES}
    large = {f"{name}_10412": on_inventory(record) for name, record in own.items()}
    wanted = [(record, (*CORE, *SIMULATED)) for record in own.values()]
    wanted += [(record, LARGE) for record in large.values()]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        errors = pool.submit(kept_shares, own["philly"])
        begun = {
            (record.name, way): pool.submit(kept, record, way) for record, ways in wanted for way in ways
        }
        told = {
            name: judge(record, {way: begun[record.name, way].result() for way in ways})
            for (name, record), (_, ways) in zip([*own.items(), *large.items()], wanted, strict=True)
        }
        told["shares"] = errors.result()
    RESULT.write_text(json.dumps(told, indent=2) + "\n")
    print("\n\n".join(tables(told)))
    return figures_of(told)


# ── playing ───────────────────────────────────────────────────────────────────────────────────────────────────────
def kept(record: Record, way: str) -> Played:
    """What came of it; played unless that was done before by the same code."""
    return _once(f"{record.name}, {way}", lambda: played(record, way))


def kept_shares(record: Record) -> Told:
    return _once(f"{record.name}, backlog", lambda: share_errors(record))


def _once(name: str, make: Any) -> Any:
    code = hashlib.sha256(name.encode())
    for folder in (
        "leitstand/core",
        "leitstand/engines",
        "leitstand/runtime",
        "leitstand/twin/studies",
        "bench/support",
    ):
        for path in sorted((ROOT / folder).rglob("*.py")):
            code.update(path.read_bytes())
    path = KEPT / f"{code.hexdigest()[:32]}.pickle"
    if not path.exists():
        made = make()
        KEPT.mkdir(parents=True, exist_ok=True)
        path.with_suffix(".new").write_bytes(pickle.dumps(made))
        path.with_suffix(".new").rename(path)
        print(f"months: {name}: done", flush=True)
    return pickle.loads(path.read_bytes())


def played(record: Record, way: str) -> Played:
    """One record under one discipline."""
    if way in SIMULATED:
        return simulate(record, SIMULATED[way])
    with youngest_first(way == YOUNGEST):
        return play(record, CORE[way])


class YoungestFirst(Fair):
    """The same plan, but of those who may go the youngest goes first, whatever it loses."""

    def run_of(self, held: Any) -> Yielding | None:
        found = super().run_of(held)
        run = self.state.runs.get(found.run) if found is not None else None
        if found is None or run is None:  # a unit of an elastic run
            return found
        return found._replace(lost=self.now - run.placed_us)


@contextmanager
def youngest_first(wanted: bool) -> Iterator[None]:
    """Cores plan so meanwhile."""
    if wanted:
        cycle.Fair = YoungestFirst  # type: ignore[misc]
    try:
        yield
    finally:
        cycle.Fair = Fair  # type: ignore[misc]


# ── judging ───────────────────────────────────────────────────────────────────────────────────────────────────────
def judge(record: Record, came: dict[str, Played]) -> Told:
    """Numbers by discipline and, where it was played, by tenant."""
    told: Told = {
        "record": record.name,
        "jobs": len(record),
        "left_out": record.left_out,
        "gpus": record.capacity,
        "load": record.load,
        "ways": {way: summary(record, one) for way, one in came.items()},
    }
    if "alone" in came:
        told["pays"] = {
            way: sharing_pays(record, came[way], came["alone"], Sharing().recall_us)
            for way in ("fair", "fair, checkpoints")
        }
    return told


def figures_of(told: Told) -> Figures:
    figures: Figures = {}
    for name, one in told.items():
        if name == "shares":
            continue
        ways = one["ways"]
        below = 100 * (ways["EASY"]["useful"] - ways["fair"]["useful"])
        figures[f"months.{name}.utilisation_below_easy"] = _figure(below, "points", UTILISATION_POINTS)
        if "fair, checkpoints" in ways:
            below = 100 * (ways["EASY"]["useful"] - ways["fair, checkpoints"]["useful"])
            figures[f"months.{name}.utilisation_below_easy_checkpoints"] = _figure(
                below, "points", UTILISATION_POINTS
            )
        figures[f"months.{name}.promises_broken"] = _figure(ways["fair"]["promises_broken"], "promises", 0)
        for way, tenants in one.get("pays", {}).items():
            worse = sum(tenant["judged"] and not tenant["pays"] for tenant in tenants.values())
            said = "tenants_worse_off_" + ("checkpoints" if "," in way else "no_checkpoints")
            figures[f"months.{name}.{said}"] = _figure(worse, "tenants", 0)
        if YOUNGEST in ways:
            lost = [ways[way]["lost_gpu_h"] for way in ("fair, checkpoints", YOUNGEST)]
            percent = 100 * lost[0] / lost[1] if lost[1] else 0.0
            figures[f"months.{name}.lost_against_youngest_first"] = _figure(percent, "%", LOST_PERCENT)
    worst = 100 * max(told["shares"]["errors"].values(), default=1.0)
    return figures | {"months.share_error_30_days": _figure(worst, "%", SHARE_ERROR_PERCENT)}


def _figure(value: float, unit: str, most: float) -> dict[str, Any]:
    return {"value": round(value, 4), "unit": unit, "target": most, "ok": bool(value <= most)}


# ── tables ────────────────────────────────────────────────────────────────────────────────────────────────────────
def tables(told: Told) -> Iterator[str]:
    """What a person reads."""
    for name, one in told.items():
        if name == "shares":
            yield _shares_table(one)
            continue
        yield (
            f"{one['record']}: {one['jobs']:,} jobs, {one['gpus']:,} GPUs, load {one['load']:.3f}\n"
            + _ways_table(one["ways"], [way for way in IN_TABLE if way in one["ways"]])
        )
        for way, tenants in one.get("pays", {}).items():
            yield f"{one['record']}: {way} against each tenant alone\n" + _pays_table(tenants)
        if YOUNGEST in one["ways"]:
            yield f"{one['record']}: what preemption loses\n" + _lost_table(one["ways"])


def _ways_table(ways: Told, shown: Iterable[str]) -> str:
    head = ("discipline", "GPUs", "jobs", "wait mean s", "p50", "p99", "JCT mean s", "p50", "p99")
    rows: list[tuple[Any, ...]] = []
    for way in shown:
        for size, one in ways[way]["by_gpus"].items():
            times = [one[kind][part] for kind in ("wait_s", "jct_s") for part in ("mean", "p50", "p99")]
            rows.append((way, size, one["jobs"], *times))
    whole = ("discipline", "used %", "useful %", "evictions", "moves", "lost GPU-h", "starts/CPU-s", "CPU s")
    more = [
        (
            way,
            100 * one["utilisation"],
            100 * one["useful"],
            sum(one["evictions"].values()),
            one["moves"],
            one["lost_gpu_h"],
            one["starts"] / max(one["cpu_s"], 0.01),
            one["cpu_s"],
        )
        for way in shown
        for one in (ways[way],)
    ]
    return table(head, rows) + "\n\n" + table(whole, more)


def _pays_table(tenants: Told) -> str:
    head = ("tenant", "jobs", "JCT s", "alone", "slowdown", "alone", "apart", "")
    rows = []
    for tenant, one in tenants.items():
        said = ("pays" if one["pays"] else "WORSE OFF") if one["judged"] else "shown only"
        times = (one["jct_s"], one["alone_jct_s"], one["slowdown"], one["alone_slowdown"])
        rows.append((tenant, one["jobs"], *times, one["apart"], said))
    return table(head, rows)


def _lost_table(ways: Told) -> str:
    head = ("victims", "evictions", "evicted GPUs", "lost GPU-h", "restarts GPU-h")
    return table(
        head,
        [
            (
                way,
                sum(one["evictions"].values()),
                one["evicted_gpus"],
                one["lost_gpu_h"],
                one["restart_gpu_h"],
            )
            for way in ("fair, checkpoints", YOUNGEST)
            for one in (ways[way],)
        ],
    )


def _shares_table(told: Told) -> str:
    rows = [
        (node, used, deserved, 100 * told["errors"][node] if node in told["errors"] else "had enough")
        for node, (used, deserved) in sorted(told["gpu_days"].items())
    ]
    return "30 days of backlog\n" + table(("node", "used GPU-d", "deserved", "error %"), rows)


if __name__ == "__main__":
    part = cut(recorded(sys.argv[1]), float(sys.argv[2]), float(sys.argv[3]) if len(sys.argv) > 3 else 0.0)
    print("\n\n".join(tables({"part": judge(part, {way: played(part, way) for way in (*CORE, *SIMULATED)})})))
