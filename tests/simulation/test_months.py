# SPDX-License-Identifier: Apache-2.0
"""What the benchmark of real months plays and counts (`bench/months.py`), on records small enough to follow by hand."""

from dataclasses import replace

import numpy as np
import pytest

from bench import months
from bench.support.backlog import Shares, backlogged
from bench.support.table import table
from leitstand.core.units import DAY_US, HOUR_US, SECOND_US
from leitstand.twin.studies.judging import sharing_pays, spread, utilisation
from leitstand.twin.studies.playing import Plan, Played, play
from leitstand.twin.studies.record import LIMITS, Record, copies, limits_us


def record_of(
    *jobs: tuple[int, int, int, int], nodes: tuple[tuple[int, int], ...] = ((4, 0), (4, 1))
) -> Record:
    """Jobs as (tenant, submit in s, duration in s, GPUs)."""
    tenant, submit, duration, gpus = (np.array(column, np.int64) for column in zip(*jobs, strict=True))
    times = (DAY_US + submit * SECOND_US, duration * SECOND_US)
    return Record("r", ["a", "b"], tenant, *times, gpus, list(nodes))


# b holds both nodes when a comes and wants its own
LENT = record_of(*[(1, 0, 100_000, 1)] * 8, (0, 3_600, 60, 4))


def test_lost_work_is_what_was_done_since_the_last_checkpoint() -> None:
    played = play(LENT, Plan())
    assert (sum(played.evictions.values()), played.evicted_gpus) == (4, 4)
    assert played.lost_gpu_us == 4 * 3_600 * SECOND_US
    assert played.restart_gpu_us == 4 * 120 * SECOND_US
    assert (played.end_us - DAY_US).tolist()[-1] == 3_660 * SECOND_US
    assert play(LENT, Plan(checkpoint_us=3_500 * SECOND_US)).lost_gpu_us == 4 * 100 * SECOND_US


def test_used_is_what_ran_while_jobs_were_submitted_and_useful_what_was_kept_of_it() -> None:
    record = record_of((0, 0, 100, 4), (1, 50, 100, 2))
    played = play(record, Plan())
    assert utilisation(record, played) == ((4 * 50) / (8 * 50), (4 * 50) / (8 * 50))
    played.lost_gpu_us, played.restart_gpu_us = 60 * SECOND_US, 40 * SECOND_US
    assert utilisation(record, played) == (0.5, 0.25)


def test_alone_each_tenant_has_its_own_nodes() -> None:
    record = record_of((0, 0, 60, 4), (0, 0, 60, 4), (0, 0, 60, 8))
    assert (play(record, Plan()).start_us - DAY_US).tolist()[:2] == [0, 0]
    alone = play(record, Plan(static=True))
    assert (alone.start_us[:2] - DAY_US).tolist() == [0, 60 * SECOND_US]
    assert alone.rejected == [2]


def test_sharing_pays_if_neither_time_nor_slowdown_is_worse() -> None:
    record = record_of(*[(0, 0, 1_200, 1)] * 100, (1, 0, 60, 1), (0, 0, 1_200, 8))
    jobs = len(record)

    def ended(after_s: int) -> Played:
        return Played(np.full(jobs, DAY_US), np.full(jobs, DAY_US + after_s * SECOND_US))

    alone = replace(ended(2_000), rejected=[jobs - 1])
    same = sharing_pays(record, ended(2_000), alone, recall_us=900 * SECOND_US)
    assert (same["a"]["jobs"], same["a"]["apart"], same["a"]["judged"], same["a"]["pays"]) == (
        100,
        1,
        True,
        True,
    )
    assert not same["b"]["judged"]
    assert same["a"]["slowdown"] == pytest.approx(2_000 / 1_200)
    assert same["b"]["slowdown"] == pytest.approx(2_000 / 600), "short jobs count as ten minutes"
    # slower by 2 %, then by more
    assert sharing_pays(record, ended(2_040), alone, 900 * SECOND_US)["a"]["pays"]
    assert not sharing_pays(record, ended(2_041), alone, 900 * SECOND_US)["a"]["pays"]
    assert not sharing_pays(record, ended(2_040), alone, 39 * SECOND_US)["a"]["pays"]


def test_youngest_first_takes_the_youngest_and_fair_who_loses_least() -> None:
    # At 9,000 s, the older of b's runs in a's node saved two hours into its life; the younger never did.
    record = record_of((1, 0, 100_000, 4), (1, 0, 100_000, 2), (1, 7_000, 100_000, 2), (0, 7_800, 60, 2))
    plan = Plan(checkpoint_us=HOUR_US)
    assert play(record, plan).lost_gpu_us == 2 * 600 * SECOND_US
    with months.youngest_first(True):
        assert play(record, plan).lost_gpu_us == 2 * 800 * SECOND_US
    assert play(record, plan).lost_gpu_us == 2 * 600 * SECOND_US, "afterwards all is as before"


def test_copies_keep_sizes_lengths_and_hours_of_the_day() -> None:
    record = record_of((0, 0, 60, 4), (1, 3 * 86_400 + 7, 90, 2))
    twice = copies(record, 2)
    assert twice.tenants == ["ac1", "bc1", "ac2", "bc2"]
    assert sorted(zip(twice.gpus.tolist(), twice.duration_us.tolist(), strict=True)) == sorted(
        [*zip(record.gpus.tolist(), record.duration_us.tolist(), strict=True)] * 2
    )
    assert np.all(np.diff(twice.submit_us) >= 0)
    second = {twice.tenants[tenant]: at for tenant, at in zip(twice.tenant, twice.submit_us, strict=True)}
    assert second["ac2"] - second["ac1"] == 2 * DAY_US, "turned by half of the four days"
    assert second["bc2"] == DAY_US + DAY_US + 7 * SECOND_US, "and round the end to the second day"


def test_a_limit_is_the_least_that_the_job_keeps() -> None:
    record = record_of((0, 0, 300, 1), (0, 0, 181, 1), (0, 0, 180, 1), (0, 0, 50 * 86_400, 1))
    assert [at // SECOND_US for at in limits_us(record, 120 * SECOND_US)] == [600, 600, 300, 60 * 86_400]
    assert sorted(LIMITS) == LIMITS


def test_a_backlog_is_always_ahead_of_what_a_tenant_can_get() -> None:
    record = record_of((0, 0, 36_000, 2), (0, 5, 7_200, 4), (1, 0, 600, 1), (1, 9, 600, 8))
    full = backlogged(record, days=3)
    assert 8 not in full.gpus, "larger than its nodes"
    for tenant, owned in ((0, 4), (1, 4)):
        rows = full.tenant == tenant
        work = np.cumsum((full.gpus * full.duration_us)[rows])
        for day in (0.5, 1.5, 2.5):
            asked = work[full.submit_us[rows] <= DAY_US + day * DAY_US][-1]
            assert asked > owned * (day + 0.4) * DAY_US


def test_share_errors_by_hand() -> None:
    shares = Shares(0, 10)
    shares.used = {"x": 150, "y": 50, "x/a": 90, "x/b": 60, "y/c": 50}
    shares.deserved = {"x": 100, "y": 100, "x/a": 50, "x/b": 50, "y/c": 50}
    shares.served = {"y": None}
    # φ among x and y is 1, among x/a and x/b 1.5
    assert shares.errors() == {"x": 0.5, "x/a": (90 - 75) / 50, "x/b": 15 / 50, "y/c": 0}


def test_shares_count_what_was_so_until_now() -> None:
    job = (0, 10_000, 4)
    record = record_of((0, *job), (0, *job), (1, *job), (1, *job), (1, *job))
    shares = Shares(DAY_US + 10 * SECOND_US, DAY_US + 90 * SECOND_US)
    play(record, Plan(owed=False), shares.watch)
    assert shares.used["industry/a"] == shares.deserved["industry/a"] == 4000 * 80 * SECOND_US
    leaves = {"industry/a/default", "industry/b/default"}
    assert set(shares.errors()) == {"industry", "industry/a", "industry/b", *leaves}


def test_percentiles_are_times_of_jobs() -> None:
    assert spread(np.array([3, 1, 2], np.int64) * SECOND_US) == {"mean": 2, "p50": 2, "p99": 3}
    assert spread(np.array([], np.int64)) == {"mean": None, "p50": None, "p99": None}


def test_tables_have_columns_of_equal_width() -> None:
    assert table(("what", "n"), [("a", 12_345), ("long name", None)]).splitlines() == [
        "what            n",
        "a          12,345",
        "long name       -",
    ]
