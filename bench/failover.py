# SPDX-License-Identifier: Apache-2.0
"""Failover: seconds from kill -9 of the leader (parent, writer and faces at once) to the first submission that the
standby acknowledges, under load, over many rounds. `python bench/run.py failover`; LEITSTAND_FAILOVER_ROUNDS (10).

Two real control planes, PostgreSQL, a real Slurm where orders go, and clients that ask whichever leads, as through a
proxy. At the end every acknowledged job is looked up, and nothing may be there twice: no job, no start, no order.
"""

import os
import tempfile
import time
from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.pair import Client, Pair, kill
from tests.postgres import Server
from tests.slurm import running

ROUNDS = int(os.environ.get("LEITSTAND_FAILOVER_ROUNDS", "10"))
CLIENTS = 8
PAUSE_S = 0.05  # of a client between two submissions
TARGET_S = 5.0
WARM_S = 2.0  # of load before each kill


def measure() -> dict[str, dict[str, Any]]:
    try:
        with running(nodes=4, extra="JobRequeue=0\nMinJobAge=36000") as cluster:
            server = Server()
            server.add_database("keys")
            pair = Pair(Path(tempfile.mkdtemp(prefix="leitstand-failover-")), server)
            try:
                pair.start()
                pair.add_site(cluster)
                return rounds(pair) | doubled(
                    pair, cluster.ask("squeue", "-h", "-a", "-t", "all", "-o", "%j")
                )
            finally:
                pair.close()
                server.close()
    except pytest.skip.Exception as reason:
        return {"skipped": {"why": str(reason)}}


def rounds(pair: Pair) -> dict[str, dict[str, Any]]:
    took, all_served, acknowledged, answers = [], [], {}, []
    for number in range(ROUNDS):
        clients = [Client(pair, f"r{number}-c{one}", PAUSE_S) for one in range(CLIENTS)]
        for client in clients:
            client.start()
        pair.until(lambda started=clients: all(one.answers for one in started), "all are served")
        time.sleep(WARM_S)
        leader = pair.leader()
        killed_s = kill(leader)
        pair.until(
            lambda started=clients, at=killed_s: all(one.answers[-1][0] > at for one in started),
            "all are served again",
        )
        for client in clients:
            client.stop()
        later = [[when for when, _ in one.answers if when > killed_s] for one in clients]
        took.append(min(one[0] for one in later) - killed_s)
        all_served.append(max(one[0] for one in later) - killed_s)
        answers += [lasted for one in clients for when, lasted in one.answers if when < killed_s]
        acknowledged |= {job: key for one in clients for key, job in one.acknowledged.items()}
        print(f"round {number}: {took[-1]:.2f} s, all clients {all_served[-1]:.2f} s", flush=True)
        pair.begin(leader)
    listed = pair.leader().json("jobs", "--all")
    found = {job["id"]: job["name"] for job in listed}
    lost = [job for job, key in acknowledged.items() if found.get(job) != key]
    twice = sum(count - 1 for count in Counter(found.values()).values())
    return {
        "failover.first_submission": {
            "value": round(median(took), 2), "unit": "s", "target": f"max <= {TARGET_S:g}",
            "ok": max(took) <= TARGET_S, "max": round(max(took), 2), "rounds": ROUNDS,
            "all_clients_max": round(max(all_served), 2),
            "submissions_per_s_before": round(len(answers) / (ROUNDS * WARM_S), 1),
        },
        "failover.acknowledged_and_lost": _none(len(lost), "jobs") | {"acknowledged": len(acknowledged)},
        "failover.jobs_doubled": _none(twice, "jobs"),
    }  # fmt: skip


def doubled(pair: Pair, submitted: str) -> dict[str, dict[str, Any]]:
    orders, starts = Counter(submitted.split()), Counter(pair.marks.read_text().split())
    return {
        "failover.orders_doubled": _none(sum(orders.values()) - len(orders), "orders")
        | {"orders": len(orders)},
        "failover.starts_doubled": _none(sum(starts.values()) - len(starts), "starts")
        | {"starts": len(starts)},
    }


def _none(value: int, unit: str) -> dict[str, Any]:
    return {"value": value, "unit": unit, "target": "== 0", "ok": value == 0}
