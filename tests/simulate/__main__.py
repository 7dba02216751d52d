# SPDX-License-Identifier: Apache-2.0
"""Plays seeds and plants bugs. `make simulate` calls it.

    python -m tests.simulate                 200 seeds and all planted bugs
    python -m tests.simulate --seeds 10000   so many seeds, on all cores
    python -m tests.simulate --seed 4711     one seed; if it fails, the shortest story of it that was found
    … --bug NAME                             with this bug planted

Writes build/simulate.json: what was played, injected, visited and killed. Ends with 1 if a check failed.
"""

import argparse
import json
import logging
import os
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any, Final

from tests.simulate.bugs import BUGS, Bug, planted
from tests.simulate.checking import NAMES
from tests.simulate.drawing import draw
from tests.simulate.shrink import shrunk
from tests.simulate.story import story
from tests.simulate.world import play

RESULT: Final = Path("build/simulate.json")
SHARD: Final = 50  # seeds that one process plays before it says something
FAILED_MAX: Final = 20  # of which it is told


@dataclass
class Told:
    """What seeds came to."""

    seeds: int = 0
    cycles: int = 0
    facts: int = 0
    cpu_s: float = 0.0
    faults: Counter[str] = field(default_factory=Counter)
    looks: Counter[str] = field(default_factory=Counter)
    states: set[int] = field(default_factory=set)
    failed: list[tuple[int, str, str]] = field(default_factory=list)

    def add(self, other: "Told") -> None:
        self.seeds += other.seeds
        self.cycles += other.cycles
        self.facts += other.facts
        self.cpu_s += other.cpu_s
        self.faults += other.faults
        self.looks += other.looks
        self.states |= other.states
        self.failed += other.failed


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=200, help="play the seeds from 0 (or --from) on")
    parser.add_argument("--from", type=int, default=0, dest="first", help="the first seed")
    parser.add_argument("--seed", type=int, help="play this one alone")
    parser.add_argument("--bug", choices=[bug.name for bug in BUGS], help="plant this bug first")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--no-bugs", action="store_true", help="plant none of the bugs")
    asked = parser.parse_args()
    logging.disable(logging.CRITICAL)  # what fails is meant to
    chosen = next((bug for bug in BUGS if bug.name == asked.bug), None)
    if asked.seed is not None:
        raise SystemExit(one(asked.seed, chosen))
    told = many(range(asked.first, asked.first + asked.seeds), asked.processes, asked.bug or "")
    alive = [] if asked.no_bugs or asked.bug else survivors()
    raise SystemExit(report(told, alive, bugs=not (asked.no_bugs or asked.bug)))


# ── seeds ─────────────────────────────────────────────────────────────────────────────────────────────────────────────
def one(seed: int, chosen: Bug | None) -> int:
    """Play one seed; tell the shortest story of its failure."""
    with planted(chosen) if chosen else nullcontext():
        plan = draw(seed)
        out = play(plan)
        if out.broken is None:
            print(
                f"seed {seed}: {out.facts} facts in {out.cycles} cycles, {sum(out.faults.values())} faults: all is well"
            )
            print(f"digest {out.digest}")
            return 0
        print(f"seed {seed} fails: {out.broken}\nmaking it shorter …", flush=True)
        small = shrunk(plan, out.broken.check)
        print(story(play(small, keep=True)))
        print(f"\n{_found(seed, chosen.name if chosen else '')}")
    return 1


def many(seeds: range, processes: int, name: str = "") -> Told:
    """Play seeds, in so many processes."""
    told = Told()
    shards = [seeds[start : start + SHARD] for start in range(0, len(seeds), SHARD)]
    with ProcessPoolExecutor(processes) as pool:
        for number, part in enumerate(pool.map(_shard, shards, repeat(name)), 1):
            told.add(part)
            for seed, check, why in part.failed[: max(FAILED_MAX - len(told.failed) + len(part.failed), 0)]:
                print(f"{check}: {why[:300]}\n  {_found(seed, name)}", flush=True)
            if number % 20 == 0:
                print(f"{told.seeds} seeds, {told.cpu_s:.0f} CPU s", flush=True)
    return told


def _shard(seeds: range, name: str) -> Told:
    logging.disable(logging.CRITICAL)
    chosen = next((bug for bug in BUGS if bug.name == name), None)
    told, begun = Told(), time.process_time()
    with planted(chosen) if chosen else nullcontext():
        for seed in seeds:
            out = play(draw(seed))
            told.seeds += 1
            told.cycles += out.cycles
            told.facts += out.facts
            told.faults += out.faults
            told.looks += out.looks
            told.states |= out.states
            if out.broken is not None:
                told.failed.append((seed, out.broken.check, out.broken.why))
    told.cpu_s = time.process_time() - begun
    return told


def _found(seed: int, name: str = "") -> str:
    """How to see it again."""
    bug = f" BUG={name}" if name else ""
    return f"seed {seed}, commit {_commit()}; again: make simulate SEED={seed}{bug}"


def _commit() -> str:
    said = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True, check=False
    )
    return said.stdout.strip() or "unknown"


# ── bugs ──────────────────────────────────────────────────────────────────────────────────────────────────────────────
def killed_by(bug: Bug) -> int | None:
    """How many seeds it takes until the bug's check fails; None: it survives all that it is given."""
    with planted(bug):
        for seed in range(bug.within):
            broken = play(draw(seed)).broken
            if broken is not None and broken.check == bug.check:
                return seed + 1
    return None


def survivors() -> list[str]:
    """The planted bugs that no check finds."""
    found = []
    for bug in BUGS:
        seeds = killed_by(bug)
        print(f"  {bug.name:48} {bug.check:32} {'SURVIVES' if seeds is None else seeds}", flush=True)
        if seeds is None:
            found.append(bug.name)
    return found


# ── the report ────────────────────────────────────────────────────────────────────────────────────────────────────────
def report(told: Told, alive: list[str], bugs: bool) -> int:
    result: dict[str, Any] = {
        "commit": _commit(),
        "seeds": told.seeds,
        "failed": [{"seed": seed, "check": check, "why": why} for seed, check, why in told.failed],
        "cycles": told.cycles,
        "facts": told.facts,
        "states": len(told.states),
        "cpu_s": round(told.cpu_s, 1),
        "faults": dict(sorted(told.faults.items())),
        "looks": {name: told.looks.get(name, 0) for name in sorted(NAMES)},
        "bugs": {"planted": len(BUGS) if bugs else 0, "survive": alive},
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    injected = sum(count for kind, count in told.faults.items() if not kind.startswith("known"))
    print(f"{told.seeds} seeds: {told.cycles} cycles, {told.facts} facts, {len(told.states)} distinct states")
    print(
        f"{injected} faults: " + ", ".join(f"{count} {kind}" for kind, count in sorted(told.faults.items()))
    )
    if bugs:
        print(f"{len(BUGS) - len(alive)} of {len(BUGS)} planted bugs killed")
    each_ms = 1000 * told.cpu_s / max(told.seeds, 1)
    print(
        f"{told.cpu_s:.0f} CPU seconds, {each_ms:.0f} ms a seed; {len(told.failed)} seeds failed; see {RESULT}"
    )
    return 1 if told.failed or alive else 0


if __name__ == "__main__":
    sys.exit(main())
