# SPDX-License-Identifier: Apache-2.0
"""The synthetic workload: a year of 10,412 GPUs, drawn and written. Run by bench/run.py.

Seconds are those of the CPU; the load that is met is checked by the whole numbers of the jobs.
"""

import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from leitstand.twin.synthetic.demand import Demand
from leitstand.twin.synthetic.generate import generate
from leitstand.twin.synthetic.parameters import shipped
from leitstand.twin.synthetic.writing import write

YEAR = Demand(gpus=10_412, days=365, load=0.95, seed=1)
SECONDS_TARGET = 60.0
MISSING_TARGET = 0.001  # of the load


def measure() -> dict[str, dict[str, Any]]:
    """CPU time, jobs, load, memory."""
    shipped()
    begun_s = time.process_time()
    workload = generate(YEAR)
    drawn_s = time.process_time() - begun_s
    with tempfile.TemporaryDirectory() as folder:
        write(workload, shipped(), Path(folder) / "year.parquet")
        megabytes = (Path(folder) / "year.parquet").stat().st_size / 1e6
    seconds = time.process_time() - begun_s
    missing = abs(workload.load - YEAR.load) / YEAR.load
    memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
    return {
        "generate.year_of_10412_gpus": _figure(
            seconds, "CPU s", f"<= {SECONDS_TARGET:g}", seconds <= SECONDS_TARGET
        ),
        "generate.year_drawn": _figure(drawn_s, "CPU s", "", True),
        "generate.year_jobs": _figure(len(workload.jobs), "jobs", "", True),
        "generate.load_missed_by": _figure(
            missing, "part", f"<= {MISSING_TARGET:g}", missing <= MISSING_TARGET
        ),
        "generate.memory": _figure(memory_gb, "GB", "", True),
        "generate.file": _figure(megabytes, "MB", "", True),
    }


def _figure(value: float, unit: str, target: str, ok: bool) -> dict[str, Any]:
    return {"value": round(value, 6), "unit": unit, "target": target, "ok": ok}
