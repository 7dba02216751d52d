# SPDX-License-Identifier: Apache-2.0
"""The recorded months: where their files are, and how they stand on their own cluster or on a real inventory. Called by
bench/months.py.
"""

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
import pyarrow.parquet as pq

from leitstand.twin.cluster import read_cluster
from leitstand.twin.studies.record import Record, copies, on_nodes, owned_nodes, record_of
from leitstand.twin.traces import read_trace

TRACES: Final = Path(__file__).resolve().parents[3] / "shared" / "traces"
FILES: Final = {
    "philly": ("philly_2017_sep_oct.parquet", "philly_tight60.cluster.json"),
    "itp": ("itp_2021_c1_3_5_7_9_10.parquet", "itp_2021_c1_3_5_7_9_10.cluster.json"),
}
INVENTORY: Final = "alibaba_spot_2026_nodes.parquet"


def absent() -> str:
    """Which of the recorded files are not there; '' for none."""
    names = [*(name for files in FILES.values() for name in files), INVENTORY]
    missing = [name for name in names if not (TRACES / name).exists()]
    return f"the recorded traces are absent: {', '.join(missing)}" if missing else ""


def recorded(name: str) -> Record:
    """The months of `name` (philly, itp) on their own cluster, in one fleet of the partitions of all."""
    trace_file, cluster_file = FILES[name]
    return record_of(read_trace(TRACES / trace_file), read_cluster(TRACES / cluster_file), name)


def on_inventory(record: Record) -> Record:
    """As many copies of the record as the real inventory holds, on its nodes, each partition with as large a part of
    them as it has of the recorded cluster. GPU models are not looked at: recorded jobs name none."""
    sizes = pq.read_table(TRACES / INVENTORY, columns=["gpu_capacity_num"])[0].to_pylist()
    number = sum(sizes) // record.capacity
    many = on_nodes(copies(record, number), Counter(sizes), np.tile(owned_nodes(record), number))
    return replace(many, name=f"{record.name} on {sum(sizes):,} GPUs")
