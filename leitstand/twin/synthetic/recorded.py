# SPDX-License-Identifier: Apache-2.0
"""The recorded workloads that the synthetic one is fitted to, each in two parts: one to fit on, one to test on.

Called by the fit and by the goodness of fit. Only traces under CC-BY-4.0 and MIT; they are not part of the project.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow.parquet as pq

from leitstand.twin.synthetic.demand import DAY_S, HOUR_S
from leitstand.twin.synthetic.exact import Floats, Ints

BATCH_GAP_S: Final = 60  # jobs of one tenant and size that are closer are one batch


@dataclass(frozen=True, slots=True)
class Trace:
    """A table of jobs and where its two parts begin and end, in its own seconds. `monday_s`: some Monday, 0 h."""

    file: str
    title: str
    url: str
    licence: str
    parts: tuple[tuple[float, float], tuple[float, float]]
    said: tuple[str, str]
    monday_s: float


TRACES: Final = {
    "philly": Trace(
        "philly_2017_sep_oct.parquet",
        "Microsoft Philly, GPU jobs of 2017",
        "https://github.com/msr-fiddle/philly-traces",
        "CC-BY-4.0",
        ((-7 * DAY_S, 12 * DAY_S), (12 * DAY_S, 31 * DAY_S)),
        ("24 September to 12 October 2017", "13 to 31 October 2017"),
        DAY_S,  # second 0 is in Sunday, 1 October 2017; the hour is not known
    ),
    "itp": Trace(
        "itp_2021_c1_3_5_7_9_10.parquet",
        "Microsoft ITP, six clusters of 2021, jobs of 600 s and more",
        "https://github.com/microsoft/elasticflow-traces",
        "MIT",
        ((0, 30 * DAY_S), (30 * DAY_S, 60 * DAY_S)),
        ("days 1 to 30", "days 31 to 60"),
        0,  # neither day nor hour is known
    ),
}
HELIOS: Final = (
    "helios_venus_throughput_10min.parquet",
    "Helios Venus (S-Lab), submissions per ten minutes of 2020",
    "https://github.com/S-Lab-System-Group/HeliosData",
    "CC-BY-4.0",
    ("April to June 2020", "July to September 2020"),
)
HELIOS_SPLIT: Final = np.datetime64("2020-07-01")
EARTH: Final = (
    "helios_earth_vc_occupancy_1min.parquet",
    "Helios Earth (S-Lab), occupancy of 16 tenants of May 2020",
    "https://github.com/S-Lab-System-Group/HeliosData",
    "CC-BY-4.0",
    ("1 to 15 May 2020", "16 to 31 May 2020"),
)
EARTH_SPLIT: Final = np.datetime64("2020-05-16")
AZURE: Final = (
    "azure_llm_2023_conv.parquet",
    "Azure LLM inference, conversation, of 2023",
    "https://github.com/Azure/AzurePublicDataset",
    "CC-BY-4.0",
    ("the first 29 minutes", "the 29 minutes after"),
)
AZURE_SPLIT_S: Final = 1750.0


@dataclass(frozen=True, slots=True)
class Jobs:
    """Recorded or generated jobs by submit time. `submit_s` counts from a Monday, 0 h; `hours`: of the part."""

    tenant: Ints
    submit_s: Floats
    duration_s: Floats
    gpus: Ints
    first_h: int
    hours: int

    def batches(self) -> tuple[Ints, Ints]:
        """Rows by tenant and time, and the number of the batch of each: its tenant's jobs of one size, one soon after
        another."""
        order = np.lexsort((self.submit_s, self.tenant))
        tenant, submit_s, gpus = self.tenant[order], self.submit_s[order], self.gpus[order]
        fresh = np.ones(len(order), np.bool_)
        fresh[1:] = (np.diff(tenant) != 0) | (np.diff(submit_s) > BATCH_GAP_S) | (np.diff(gpus) != 0)
        return order, np.cumsum(fresh) - 1

    def by_hour(self, of: Floats | None = None) -> Ints:
        """How many were submitted in each hour of the part: jobs, or what was submitted at the times `of`."""
        at = np.floor((self.submit_s if of is None else of) / HOUR_S).astype(np.int64) - self.first_h
        return np.bincount(at, minlength=self.hours)[: self.hours]


def jobs(folder: Path, name: str, part: int) -> Jobs:
    """One part (0 or 1) of a recorded trace."""
    trace = TRACES[name]
    table: Any = pq.read_table(folder / trace.file)
    submit_s = table["submit_s"].to_numpy()
    begin, end = trace.parts[part]
    rows = np.flatnonzero((submit_s >= begin) & (submit_s < end))
    rows = rows[np.argsort(submit_s[rows], kind="stable")]
    _, tenant = np.unique(np.array(table["tenant"].to_pylist())[rows], return_inverse=True)
    shift = (begin - trace.monday_s) % (7 * DAY_S) - begin
    return Jobs(
        tenant.astype(np.int64),
        submit_s[rows] + shift,
        np.maximum(table["duration_s"].to_numpy()[rows], 1.0),
        table["gpus"].to_numpy()[rows].astype(np.int64),
        int((begin + shift) // HOUR_S),
        int((end - begin) // HOUR_S),
    )


def helios_by_hour(folder: Path, part: int) -> tuple[Ints, int]:
    """GPU jobs submitted per hour in one part of Helios Venus, and the hour of the week of the first."""
    table: Any = pq.read_table(folder / HELIOS[0])
    time, count = table["time"].to_numpy(), table["submit_gpu_job"].to_numpy()
    rows = np.flatnonzero((time >= HELIOS_SPLIT) == bool(part))
    rows = rows[: len(rows) // 6 * 6]
    first = int(time[rows[0]].astype("datetime64[h]").astype(np.int64))
    return count[rows].reshape(-1, 6).sum(axis=1), (first + 3 * 24) % 168  # 1 January 1970 was a Thursday


def earth_shares(folder: Path, part: int) -> Floats:
    """Shares of the running GPUs of Helios Earth by tenant, the largest first."""
    table: Any = pq.read_table(folder / EARTH[0])
    later = table["time"].to_numpy() >= EARTH_SPLIT
    _, tenant = np.unique(np.array(table["vc"].to_pylist()), return_inverse=True)
    rows = np.flatnonzero(later == bool(part))
    running = np.bincount(tenant[rows], weights=table["running_gpu_num"].to_numpy()[rows].astype(np.float64))
    shares: Floats = np.sort(running / running.sum())[::-1]
    return shares


def azure(folder: Path, part: int) -> tuple[Floats, Floats, Floats]:
    """Requests of one part: arrival in seconds, tokens of context, tokens generated."""
    table: Any = pq.read_table(folder / AZURE[0])
    arrival_s = table["arrival_s"].to_numpy()
    rows = np.flatnonzero((arrival_s >= AZURE_SPLIT_S) == bool(part))
    rows = rows[np.argsort(arrival_s[rows], kind="stable")]
    context, generated = (table[name].to_numpy()[rows].astype(np.float64)
                          for name in ("context_tokens", "generated_tokens"))  # fmt: skip
    return arrival_s[rows], context, generated
