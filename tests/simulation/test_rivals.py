# SPDX-License-Identifier: Apache-2.0
"""The disciplines that the months are compared with (`bench/support/rivals.py`): FIFO and shortest first start every
job when the oracle does, EASY never delays the head of its queue and leaves no gap that it may fill.
"""

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.support.rivals import History, max_gpus, simulate
from leitstand.twin.studies.record import Record
from tests.simulation.oracle import Asked, starts

NODE_GPUS = 4


def record_of(jobs: Sequence[tuple[int, int, int]], sizes: Sequence[int] = (4, 4)) -> Record:
    """Jobs as (submit, duration, GPUs), by submission."""
    submit, duration, gpus = (np.array(column, np.int64) for column in zip(*jobs, strict=True))
    return Record(
        "r", ["a"], np.zeros(len(jobs), np.int64), submit, duration, gpus, [(size, 0) for size in sizes]
    )


jobs_of = st.lists(
    st.tuples(st.integers(0, 25), st.integers(1, 12), st.integers(1, 3 * NODE_GPUS)), min_size=1, max_size=30
).map(lambda jobs: sorted(jobs, key=lambda job: job[0]))


@settings(max_examples=150, deadline=None, derandomize=True)
@given(jobs_of, st.integers(1, 4), st.sampled_from(["fifo-strict", "fifo-greedy", "sjf"]))
def test_every_start_is_the_oracles(jobs: list[tuple[int, int, int]], nodes: int, discipline: str) -> None:
    played = simulate(record_of(jobs, [NODE_GPUS] * nodes), discipline)
    asked = [Asked("a", *job) for job in jobs]
    expected = starts(asked, {"a": nodes}, NODE_GPUS, discipline, static=False)
    assert [None if start < 0 else start for start in played.start_us.tolist()] == expected
    assert played.rejected == [row for row, start in enumerate(expected) if start is None]


def test_easy_by_hand() -> None:
    # Two nodes of 4. 0 holds a node until 10, 1 waits for both: it starts at 10. 2 ends at 10 and starts at once; 3
    # would end at 11 on a node that 1 needs: it waits.
    played = simulate(record_of([(0, 10, 4), (1, 5, 8), (2, 8, 2), (3, 8, 1)]), "easy")
    assert played.start_us.tolist() == [0, 10, 2, 15]
    # With a third node, which the head leaves alone, 3 need not end in time.
    played = simulate(record_of([(0, 10, 8), (1, 5, 8), (2, 8, 2), (3, 99, 1)], [4, 4, 4]), "easy")
    assert played.start_us.tolist() == [0, 10, 2, 3]
    # The head takes 11 of 12: one long job may start beside it, a second would delay it, now or later.
    for submit in (2, 3):
        played = simulate(record_of([(0, 10, 8), (1, 5, 11), (2, 99, 1), (submit, 99, 1)], [4, 4, 4]), "easy")
        assert played.start_us.tolist() == [0, 10, 2, 15]


@settings(max_examples=150, deadline=None, derandomize=True)
@given(jobs_of, st.lists(st.sampled_from([1, 2, 4]), min_size=1, max_size=4))
def test_easy_starts_the_head_no_later_than_without_backfill(
    jobs: list[tuple[int, int, int]], sizes: list[int]
) -> None:
    record = record_of(jobs, sizes)
    played = simulate(record, "easy")
    fits = [row for row in range(len(record)) if record.gpus[row] <= max_gpus(record)]
    assert all(played.end_us[row] == played.start_us[row] + record.duration_us[row] for row in fits)
    for head in fits:
        # Whoever is at the head at some time: with nobody behind it in the trace it starts no earlier from then on.
        before = [row for row in range(head) if row in fits and played.start_us[row] > played.start_us[head]]
        if before:
            continue  # it was backfilled
        behind = [row for row in fits if row > head and played.start_us[row] < played.start_us[head]]
        kept = [row for row in range(len(record)) if row not in behind]
        alone = simulate(record_of([jobs[row] for row in kept], sizes), "easy")
        first = max([played.start_us[row] for row in fits if row < head], default=0)
        if all(played.start_us[row] >= first for row in behind):  # it was the head when they passed
            assert played.start_us[head] <= alone.start_us[kept.index(head)]


@settings(max_examples=100, deadline=None, derandomize=True)
@given(jobs_of, st.sampled_from(["fifo-strict", "fifo-greedy", "sjf", "predicted", "easy"]))
def test_no_node_is_oversold(jobs: list[tuple[int, int, int]], discipline: str) -> None:
    record = record_of(jobs, [4, 2, 1])
    played = simulate(record, discipline)
    for at in sorted({start for _, start, _ in played.runs}):
        held = sum(int(record.gpus[row]) for row, start, end in played.runs if start <= at < end)
        assert held <= record.capacity


def test_predictions_lean_to_the_newest_and_know_tenant_and_size_best() -> None:
    history = History()
    assert history.predict_us(0, 1) == 3_600_000_000
    history.learn(0, 1, 100)
    history.learn(0, 1, 200)
    assert history.predict_us(0, 1) == pytest.approx(120)  # 100 and a fifth of the way to 200
    history.learn(0, 8, 1000)
    assert history.predict_us(0, 8) == 1000
    assert history.predict_us(0, 4) == pytest.approx(120 + 0.2 * (1000 - 120))  # the tenant's
    assert history.predict_us(1, 1) == history.predict_us(0, 4)  # everybody's


def test_predicted_takes_the_least_predicted_gpu_time_first() -> None:
    # 0 teaches that one GPU means 5; then 1 (8 GPUs: 40) has both nodes while 2 (4 GPUs: 20) and 3 (1 GPU: 5) queue.
    played = simulate(record_of([(0, 5, 1), (5, 10, 8), (6, 9, 8), (7, 3, 8), (8, 3, 1)]), "predicted")
    order = np.argsort(played.start_us, kind="stable").tolist()
    assert order == [0, 1, 4, 2, 3]
