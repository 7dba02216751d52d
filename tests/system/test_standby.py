# SPDX-License-Identifier: Apache-2.0
"""Two control planes that take turns: the leader is killed, stopped, cut off from its database; the standby takes over.
Nothing acknowledged is lost, nothing is doubled, no run begins twice.

Real processes, PostgreSQL and Slurm. `make soak` plays many rounds (LEITSTAND_SOAK_ROUNDS, LEITSTAND_SEED)."""

import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

import pytest

from leitstand.stores import place
from tests.pair import Client, Pair, kill, send
from tests.plane import Plane
from tests.postgres import Server
from tests.slurm import Cluster, running

pytestmark = [pytest.mark.system, pytest.mark.timeout(600)]

TAKES_OVER_S = 5.0
LEASE_S = 3.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(nodes=4, extra="JobRequeue=0\nMinJobAge=3600") as made:
        yield made


@pytest.fixture(scope="module")
def pair(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    server = Server()
    server.add_database("keys")
    folder = tmp_path_factory.mktemp("pair")
    both = Pair(folder, server)
    try:
        both.start()
        both.add_site(cluster)
        yield both
    finally:
        both.close()
        server.close()


def in_load(pair: Pair, clients: int = 3) -> list[Client]:
    """Clients that submit, each of them acknowledged at least once."""
    number = time.monotonic_ns()
    started = [Client(pair, f"c{number}-{one}", pause_s=0.1) for one in range(clients)]
    for client in started:
        client.start()
    pair.until(lambda: all(client.answers for client in started), "all clients are served")
    return started


def served_since(pair: Pair, clients: list[Client], at_s: float) -> float:
    """When, after `at_s`, the first submission was acknowledged; all clients were served since."""
    pair.until(lambda: all(client.answers[-1][0] > at_s for client in clients), "all are served again")
    return min(when for client in clients for when, _ in client.answers if when > at_s)


def holds(pair: Pair, cluster: Cluster, clients: list[Client]) -> None:
    """What was acknowledged is there with its name, once; every job came to its end, no run began twice."""
    for client in clients:
        client.stop()
        assert client.unexpected == []
    leader = pair.leader()
    acknowledged = {job: key for client in clients for key, job in client.acknowledged.items()}
    assert len(acknowledged) == sum(len(client.acknowledged) for client in clients)

    def listed() -> list[dict[str, Any]]:
        return list(leader.json("jobs", "--all"))

    ended = ("succeeded", "failed", "cancelled")
    pair.until(lambda: all(job["state"] in ended for job in listed()), "all jobs end")
    jobs = {job["id"]: job for job in listed()}
    assert {job: jobs[job]["name"] for job in acknowledged} == acknowledged
    assert Counter(jobs[job]["state"] for job in acknowledged) == {"succeeded": len(acknowledged)}
    once("names", (job["name"] for job in jobs.values()))
    marks = pair.marks.read_text().split()
    once("starts", marks)
    assert set(acknowledged) <= {run.rpartition(".")[0] for run in marks}
    once("orders in Slurm", cluster.ask("squeue", "-h", "-a", "-t", "all", "-o", "%j").split())
    verified = leader.cli("journal", "verify", "--data", str(leader.data), "--json")
    assert verified.returncode == 0, verified.stdout + verified.stderr


def once(what: str, found: Iterable[str]) -> None:
    """None of what was found was found twice."""
    assert [(what, one) for one, count in Counter(found).items() if count > 1] == []


# ── quick ones; the leader is killed at last ──────────────────────────────────────────────────────────────────────────
def test_the_standby_answers_readings_and_says_who_leads(pair: Pair) -> None:
    leader, standby = pair.leader(), pair.standby()
    assert [site["id"] for site in standby.json("sites", "list")] == ["aachen"]
    status, problem = standby.http("POST", "/v1/jobs", {"run": ["true"]})
    assert (status, problem["code"], problem["hint"]) == (503, "standby", f"send it to {leader.url}")
    assert standby.http("POST", "/v1/plan", {"run": ["true"]})[0] == 200
    assert standby.http("GET", "/healthz")[1]["status"] == "standby"
    turn = standby.json("status")["turn"]
    assert (turn["role"], turn["leader"]) == ("standby", leader.url)
    roles = {one["address"]: one["role"] for one in turn["members"]}
    assert roles == {leader.url: "leader", standby.url: "standby"}


def test_nothing_that_must_outlive_a_machine_is_a_file_of_it_and_another_needs_copies_of_the_rest(
    pair: Pair,
) -> None:
    gone = (*place.FILES, "journal.db", "blobs", "sites")
    for plane in pair.planes:
        assert [name for name in gone if (plane.data / name).exists()] == []
        assert set(os.listdir(plane.data / "keys")) <= {"secrets.key", "head.key", "head.pub"}
    command = [*pair.planes[0].command, "--data", str(pair.folder / "third")]
    started = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert started.returncode == 2
    assert "admin.token is missing: copy it from the machine" in started.stderr


def test_the_leader_is_killed_under_load_and_the_standby_goes_on(pair: Pair, cluster: Cluster) -> None:
    clients = in_load(pair)
    killed_s = kill(pair.leader())
    assert served_since(pair, clients, killed_s) - killed_s <= TAKES_OVER_S
    holds(pair, cluster, clients)


# ── rounds ────────────────────────────────────────────────────────────────────────────────────────────────────────────
def kill_leader(pair: Pair) -> None:
    leader = pair.leader()
    kill(leader)
    pair.until(lambda: pair.leader() is not leader, "the other leads")
    pair.begin(leader)


def kill_standby(pair: Pair) -> None:
    leader, standby = pair.leader(), pair.standby()
    kill(standby)
    time.sleep(LEASE_S)
    assert pair.leader() is leader
    pair.begin(standby)


def stop_leader(pair: Pair) -> None:
    leader = pair.leader()
    send(leader, signal.SIGSTOP)
    time.sleep(LEASE_S + 2)
    send(leader, signal.SIGCONT)


def kill_server(pair: Pair) -> None:
    pair.server.kill()
    time.sleep(random.random())
    pair.server.start()


def restart_politely(pair: Pair) -> None:
    leader: Plane = pair.leader()
    leader.stop()
    pair.leader()
    pair.begin(leader)


DONE = (kill_leader, kill_standby, stop_leader, kill_server, restart_politely)


@pytest.fixture
def both(pair: Pair) -> Pair:
    """Both of them up."""
    for plane in pair.planes:
        if plane.process is None or plane.process.poll() is not None:
            pair.begin(plane)
    return pair


@pytest.mark.soak
def test_a_leader_that_was_stopped_for_longer_than_its_lease_does_nothing_more(
    both: Pair, cluster: Cluster
) -> None:
    leader, standby = both.leader(), both.standby()
    clients = in_load(both)
    send(leader, signal.SIGSTOP)
    served_since(both, clients, time.monotonic() + 1)
    send(leader, signal.SIGCONT)
    both.until(lambda: leader.http("GET", "/healthz")[1]["status"] == "standby", "it stands by")
    assert both.leader() is standby
    assert "the writer ended (signal 14)" in leader.output.read_text()  # before it did anything
    holds(both, cluster, clients)


@pytest.mark.soak
def test_rounds_of_faults_lose_nothing_and_double_nothing(both: Pair, cluster: Cluster) -> None:
    seed = int(os.environ.get("LEITSTAND_SEED", "1"))
    drawn = random.Random(seed)
    for number in range(int(os.environ.get("LEITSTAND_SOAK_ROUNDS", "10"))):
        clients = in_load(both)
        done = drawn.choice(DONE)
        print(f"seed {seed}, round {number}: {done.__name__}", flush=True)
        done(both)
        served_since(both, clients, time.monotonic())
        holds(both, cluster, clients)
    for plane in both.planes:  # each has signed heads with a key of its own
        verified = plane.cli("journal", "verify", "--data", str(plane.data), "--json")
        assert verified.returncode == 0, verified.stdout + verified.stderr
