# SPDX-License-Identifier: Apache-2.0
"""Rounds in which daemons of a real Slurm and the engine itself are killed under load: nothing is lost, nothing begins
twice, and every run is reported once.

A round is drawn from its seed: `LEITSTAND_SOAK_ROUNDS=200 pytest -m soak tests/system/test_slurm_faults.py` plays as
many; without it a few are played. A failure names the seed.
"""

import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from leitstand.core.facts import RunEnded
from leitstand.runtime.ports import StartRun
from leitstand.runtime.spec import RunSpec
from tests.conformance.engine_cases import SlurmCase
from tests.slurm import Cluster, running

RUNS: Final = (8, 24)  # of a round
FAULTS: Final = ("slurmctld", "slurmctld", "slurmrestd", "engine", "engine", "both", "slurmd")
GENTLE: Final = ("slurmrestd", "engine", "engine")  # after which Slurm knows what it did
ROUNDS: Final = int(os.environ.get("LEITSTAND_SOAK_ROUNDS", "50"))
FEW: Final = 4
PATIENCE_S: Final = (
    300.0  # a tool of Slurm that asked a controller which died waits for half a minute, or twice
)
SLACK_US: Final = 15_000_000  # of launching, on a busy machine
SRUN_US: Final = 300_000_000  # a gang ends with its srun, which waits for a slurmctld that is away
COUNT: Final = 'echo "$RANK" >> "$COUNTED"; sleep "$LENGTH"'


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running() as made:
        yield made


def play(cluster: Cluster, folder: Path, seed: int, faults: tuple[str, ...] = FAULTS) -> None:
    """One round. A slurmd takes half a minute to be missed, so it is killed in every tenth at most."""
    chance = random.Random(seed)
    case = SlurmCase(cluster, folder)
    case.patience_s = PATIENCE_S
    try:
        orders = _orders(case, folder, chance)
        half = chance.randrange(len(orders))
        case.send(*orders[:half])
        usual = tuple(fault for fault in faults if fault != "slurmd")
        for fault in chance.sample(usual, 2):
            time.sleep(chance.choice((0.0, 0.1, 0.5, 1.5)))
            _do(fault, case, cluster, orders[:half])
        case.send(*orders[half:])
        time.sleep(chance.choice((0.0, 0.1, 0.5, 1.5)))
        _do(chance.choice(usual if seed % 10 else faults), case, cluster, orders)
        for order in orders:
            _check(case, folder, order, case.end(order.run), may_be_lost=faults is FAULTS)
    finally:
        for daemon in ("slurmctld", "slurmrestd"):
            if not cluster.is_up(daemon):
                cluster.start_daemon(daemon)
        case.close()


def _orders(case: SlurmCase, folder: Path, chance: random.Random) -> list[StartRun]:
    orders = []
    for number in range(chance.randint(*RUNS)):
        run = f"a-{number}.1"
        envs = {"COUNTED": str(folder / run), "LENGTH": str(chance.choice((0, 0.2, 1, 4)))}
        tasks = chance.choice((1, 1, 1, 1, 2))
        orders.append(case.execution(run, RunSpec(script=COUNT, envs=envs), tasks=tasks))
    return orders


def _do(fault: str, case: SlurmCase, cluster: Cluster, sent: list[StartRun]) -> None:
    """Something is killed, and comes back."""
    if fault == "slurmd":
        cluster.kill("slurmd-n0002")
        time.sleep(1)
        cluster.start_node("n0002")
        return
    for daemon in ("slurmctld", "slurmrestd"):
        if fault == daemon or (fault == "both" and daemon == "slurmctld"):
            cluster.kill(daemon)
    if fault in ("engine", "both"):
        over = {one.run for one in case.seen if isinstance(one, RunEnded)}
        seen = [one for one in case.seen if one.run in over]  # what the journal holds
        case.restart(*(order for order in sent if order.run not in over))
        case.seen = [*seen, *case.seen]
    for daemon in ("slurmctld", "slurmrestd"):
        if not cluster.is_up(daemon):
            cluster.start_daemon(daemon)


def _check(case: SlurmCase, folder: Path, order: StartRun, end: RunEnded, *, may_be_lost: bool) -> None:
    """It ran to its end, once; or it began, once, and Slurm lost or killed it, and that is said; or it never began, and
    its place is given back."""
    ranks = sorted((folder / order.run).read_text().split()) if (folder / order.run).exists() else []
    every = [str(rank) for rank in range(len(order.tasks))]
    assert len(case.ends(order.run)) == 1, case.ends(order.run)
    if may_be_lost and end.outcome == "lost" and not end.started_us:  # it is placed elsewhere
        assert (ranks, case.starts(order.run)) == ([], [])
        return
    assert len(case.starts(order.run)) == 1
    assert set(ranks) <= set(every), ranks
    assert len(ranks) == len(set(ranks)), f"{order.run} began twice: {ranks}"
    if may_be_lost and end.outcome == "lost":
        return
    assert (end.outcome, end.exit_code, ranks) == ("exited", 0, every), end
    length_us = float(case.specs[order.spec].envs["LENGTH"]) * 1_000_000
    slack_us = SRUN_US if may_be_lost and len(order.tasks) > 1 else SLACK_US
    assert length_us <= end.at_us - end.started_us <= length_us + slack_us


@pytest.mark.system
@pytest.mark.parametrize("seed", range(1, FEW + 1))
def test_a_few_rounds_of_faults_lose_nothing_and_begin_nothing_twice(
    cluster: Cluster, tmp_path: Path, seed: int
) -> None:
    play(cluster, tmp_path, seed, GENTLE)


@pytest.mark.soak
@pytest.mark.timeout(7200)
def test_many_rounds_of_faults_lose_nothing_and_begin_nothing_twice(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> None:
    for seed in range(ROUNDS):
        try:
            play(cluster, tmp_path_factory.mktemp("round"), seed)
        except AssertionError as broken:
            raise AssertionError(f"round {seed}: {broken}") from broken
