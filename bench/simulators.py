# SPDX-License-Identifier: Apache-2.0
"""The twin beside simulators of others on the same jobs: equal results where the rules are equal, and jobs per
CPU-second, measured in one run. Run by name by bench/run.py.

AccaSim 1.1.3 is really run: `LEITSTAND_ACCASIM` names a Python that has it, else an environment is made under build/.
It places the GPUs of a job on any nodes, so here all GPUs are on one node; its FIFO and SJF wait for their head, as
`fifo-strict` and `sjf` do. Played are the recorded months of ITP on their 640 GPUs, and, if `LEITSTAND_ITP_06` names
`cluster06.csv` of microsoft/elasticflow-traces (data/raw-traces.tar.gz, MIT), that on 15 nodes of 8, with which its
means were published; jobs of one second stand there in the order of their ids.

HeliosArtifact is not run: its figures for philly_peer_slice_1206 are the published ones. That the means are equal is
measured by bench/replay.py; here our jobs per CPU-second are set against its.
"""

import csv
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, Final, NamedTuple

from bench.replay import SLICE, TRACES
from bench.support import record as recording
from leitstand.core.facts import RunPlaced
from leitstand.core.units import DAY_US, SECOND_US
from leitstand.journal.sqlite import SqliteReader
from leitstand.twin.outcome import Outcome
from leitstand.twin.replay import Setting, replay

ROOT: Final = Path(__file__).parents[1]
DRIVER: Final = ROOT / "bench" / "support" / "accasim_driver.py"
OWN: Final = ROOT / "build" / "accasim"
VERSION: Final = "1.1.3"
RULES: Final = ("fifo-strict", "sjf")
SECONDS_MAX: Final = 900
ROUNDS: Final = 3
HELIOS_JOBS_PER_CPU_S: Final = {"fifo-strict": 28.0, "sjf": 35.0}
ITP_06_MEAN_WAIT_S: Final = {"fifo-strict": 100_493.75, "sjf": 15_356.14}
TENANT: Final = "group-1"  # what the reader of SWF calls group 1

Figures = dict[str, dict[str, Any]]


class Job(NamedTuple):
    """Whole seconds."""

    submit_s: int
    duration_s: int
    gpus: int


def measure() -> dict[str, Any]:
    """All that can be measured here; what is absent is said by name."""
    figures: Figures = {}
    skipped = []
    if (TRACES / f"{SLICE}.parquet").exists():
        figures |= beside_helios()
    else:
        skipped.append(f"{SLICE} is absent")
    python, why = accasim()
    if python is None:
        return {**figures, "skipped": "; ".join([*skipped, why])}
    if absent := recording.absent():
        skipped.append(absent)
    else:
        figures |= beside_accasim("itp", itp(), (80, 8), python, rounds=1)
    if path := os.environ.get("LEITSTAND_ITP_06", ""):
        found = beside_accasim("itp_06", itp_06(Path(path)), (15, 8), python, rounds=ROUNDS)
        figures |= found | published(found)
    else:
        skipped.append("LEITSTAND_ITP_06 names no cluster06.csv")
    return {**figures, "skipped": "; ".join(skipped)} if skipped else figures


# ── HeliosArtifact ────────────────────────────────────────────────────────────────────────────────────────────────
def beside_helios() -> Figures:
    """Our jobs per CPU-second on its slice, as a multiple of the published ones."""
    trace, cluster = TRACES / f"{SLICE}.parquet", TRACES / f"{SLICE}.cluster.json"
    figures = {}
    for rules, theirs in HELIOS_JOBS_PER_CPU_S.items():
        rates = [_rate(replay(Setting(trace, cluster, rules, static=True))) for _ in range(ROUNDS)]
        figures[f"simulators.helios.{rules}.speed_ratio"] = _at_least(median(rates) / theirs, 50.0)
    return figures


# ── AccaSim ───────────────────────────────────────────────────────────────────────────────────────────────────────
def accasim() -> tuple[str | None, str]:
    """A Python that has AccaSim; else None and why."""
    named = os.environ.get("LEITSTAND_ACCASIM", "")
    python = named or str(OWN / "bin" / "python")
    try:
        if not named and _version(python) != VERSION:
            _run(sys.executable, "-m", "venv", str(OWN))
            _run(python, "-m", "pip", "install", "--quiet", f"accasim=={VERSION}")
    except (OSError, subprocess.SubprocessError) as error:
        return None, f"AccaSim {VERSION} cannot be installed under build/ (LEITSTAND_ACCASIM): {error}"
    if (found := _version(python)) != VERSION:
        return None, f"{python} has AccaSim {found or 'not at all'}, not {VERSION} (LEITSTAND_ACCASIM)"
    return python, ""


def _version(python: str) -> str:
    """That of AccaSim which this Python has; '' for none."""
    try:
        return _run(python, "-c", "from importlib.metadata import version; print(version('accasim'))").strip()
    except (OSError, subprocess.SubprocessError):
        return ""


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=SECONDS_MAX).stdout


def beside_accasim(name: str, jobs: list[Job], nodes: tuple[int, int], python: str, rounds: int) -> Figures:
    """Both on the same file, by turns: which jobs start at another second, both mean waits, and jobs per CPU-second."""
    figures: Figures = {}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        trace, cluster = folder / "trace.swf", folder / "one.cluster.json"
        trace.write_text("".join(swf(jobs)))
        one = {"gpus_per_node": nodes[0] * nodes[1], "vc_nodes": {TENANT: 1}}
        cluster.write_text(json.dumps(one))
        for rules in RULES:
            theirs, ours = [], []
            for _ in range(rounds):
                theirs.append(_accasim(python, trace, rules, nodes, folder / "answer.json"))
                ours.append(replay(Setting(trace, cluster, rules)))
            starts = dict(_starts(Setting(trace, cluster, rules, journal=folder / f"{rules}.db")))
            wait_s = ours[0].queue_s.mean or 0.0
            rate = median(map(_rate, ours))
            their_rate = median(one["jobs"] / one["cpu_s"] for one in theirs)
            figures |= {
                f"simulators.{name}.{rules}.other_starts": {
                    "value": sum(starts.get(job) != at for job, at in theirs[0]["starts"].items()),
                    "unit": f"of {theirs[0]['jobs']} jobs",
                    "target": 0,
                    "ok": starts == theirs[0]["starts"],
                },
                f"simulators.{name}.{rules}.mean_wait_s": _equal(wait_s, theirs[0]["mean_wait_s"]),
                f"simulators.{name}.{rules}.jobs_per_cpu_s": _shown(rate, "jobs/CPU-s"),
                f"simulators.{name}.{rules}.accasim_jobs_per_cpu_s": _shown(their_rate, "jobs/CPU-s"),
                f"simulators.{name}.{rules}.speed_ratio": _shown(rate / their_rate, "x"),
            }
    return figures


def published(found: Figures) -> Figures:
    """The mean waits against those that were published of AccaSim."""
    return {
        f"simulators.itp_06.{rules}.published_mean_wait_s": _equal(
            found[f"simulators.itp_06.{rules}.mean_wait_s"]["value"], wait_s
        )
        for rules, wait_s in ITP_06_MEAN_WAIT_S.items()
    }


def _accasim(python: str, trace: Path, rules: str, nodes: tuple[int, int], answer: Path) -> dict[str, Any]:
    """What came of it; its starts by our ids of the jobs."""
    command = [python, str(DRIVER), str(trace), rules, *map(str, nodes), str(answer)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=SECONDS_MAX)
    found: dict[str, Any] = json.loads(answer.read_text())
    return found | {"starts": {f"{TENANT}-{job}": at for job, at in found["starts"].items()}}


def _starts(setting: Setting) -> Iterator[tuple[str, int]]:
    """Every job and the second in which it started."""
    replay(setting)
    assert setting.journal is not None
    with SqliteReader(setting.journal) as reader:
        for entry in reader.read(0):
            if isinstance(entry.fact, RunPlaced):
                yield entry.fact.job, entry.at // SECOND_US


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def itp() -> list[Job]:
    """The recorded months of six clusters, from the second day on: AccaSim takes 0 for no time."""
    record = recording.recorded("itp")
    submit_s = (record.submit_us - record.submit_us[0] + DAY_US) // SECOND_US
    columns = (submit_s, record.duration_us // SECOND_US, record.gpus)
    return [Job(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]


def itp_06(path: Path) -> list[Job]:
    """The raw trace of one cluster, jobs of one second in the order of their ids."""
    with path.open(newline="") as file:
        rows = sorted(csv.DictReader(file), key=lambda row: (int(row["submission_time"]), row["job_id"]))
    return [Job(int(row["submission_time"]), int(row["duration"]), int(row["num_gpu"])) for row in rows]


def swf(jobs: Iterable[Job]) -> Iterator[str]:
    """Lines of Standard Workload Format: one GPU is one processor, the time limit is the true duration."""
    for number, job in enumerate(jobs, 1):
        asked = f"{job.gpus} {job.duration_s}"
        yield f"{number} {job.submit_s} -1 {job.duration_s} {job.gpus} -1 -1 {asked} -1 1 1 1 -1 1 1 -1 -1\n"


# ── figures ───────────────────────────────────────────────────────────────────────────────────────────────────────
def _rate(outcome: Outcome) -> float:
    return outcome.jobs / outcome.cpu_s


def _equal(value: float, target: float) -> dict[str, Any]:
    return {
        "value": round(value, 4),
        "unit": "s",
        "target": round(target, 4),
        "ok": abs(value - target) <= 0.01,
    }


def _at_least(value: float, target: float) -> dict[str, Any]:
    return {"value": round(value, 2), "unit": "x", "target": f">= {target:g}", "ok": value >= target}


def _shown(value: float, unit: str) -> dict[str, Any]:
    return {"value": round(value, 2), "unit": unit, "target": "shown", "ok": True}
