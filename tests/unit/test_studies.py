# SPDX-License-Identifier: Apache-2.0
"""Studies: what their files may say, which jobs a seed makes, what the figures are, by hand; and the page."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from leitstand.core.units import DAY_US, HOUR_US, SECOND_US
from leitstand.twin.alone import Times
from leitstand.twin.reading.table import TraceError
from leitstand.twin.studies import cells as cell_by_cell
from leitstand.twin.studies.cells import Judged, alone_of, grid, keep, kept, place_of, played, record_for
from leitstand.twin.studies.fairness import deserved, jain, share_error
from leitstand.twin.studies.figures import BY_NAME, amount, change, shown
from leitstand.twin.studies.playing import Played
from leitstand.twin.studies.record import Record, blocks_drawn, limits_us, whole_blocks
from leitstand.twin.studies.running import Results
from leitstand.twin.studies.study import Energy, Size, Study, Workload, read_study
from leitstand.twin.studies.summing import Estimate, energy_kwh, estimate, summed, t_975
from leitstand.twin.studies.writing import write

ROOT = Path(__file__).parents[2]
WEEK = (ROOT / "examples" / "traces" / "week.csv", ROOT / "examples" / "traces" / "week.cluster.json")


def written(folder: Path, text: str) -> Path:
    path = folder / "study.yaml"
    path.write_text(text)
    return path


def week(folder: Path, more: str = "") -> Path:
    """A study of the example week."""
    return written(folder, f"workloads: [{{name: week, trace: {WEEK[0]}, cluster: {WEEK[1]}}}]\n{more}")


def record_of(*jobs: tuple[int, int, int, int]) -> Record:
    """Jobs as (tenant, submit in h, duration in h, GPUs) on two nodes of 4, one of each tenant."""
    tenant, submit, duration, gpus = (np.array(column, np.int64) for column in zip(*jobs, strict=True))
    times = (DAY_US + submit * HOUR_US, duration * HOUR_US)
    return Record("r", ["a", "b"], tenant, *times, gpus, [(4, 0), (4, 1)])


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_study_says_what_it_asks(tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text("sharing: {ahead_us: 0}\n")
    study = read_study(
        week(
            tmp_path,
            "sizes: [2x, 112, {nodes: {8: 3, 4: 8}}, {nodes: {8: 7}, copies: 2}]\n"
            "rules:\n- sjf\n- slow.yaml\n"
            "- {name: both, rules: slow.yaml, set: {discipline: fair}, checkpoint_every_min: 90}\n"
            "seeds: [7, 9]\nalone: false\n",
        )
    )
    assert [size.name for size in study.sizes] == ["2x", "112 GPUs", "56 GPUs", "56 GPUs, 2 copies"]
    assert [rule.name for rule in study.rules] == ["sjf", "slow", "both"]
    assert study.rules[2].changes == {"discipline": "fair", "sharing": {"ahead_us": 0}}
    assert study.rules[2].checkpoint_us == 90 * 60 * SECOND_US
    assert (study.seeds, study.alone) == ((7, 9), False)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ("rules: [sjf]\nsedes: 3", "line 3: key 'sedes' of a study is not known; did you mean seeds?"),
        ("rules: [sfj]", "line 2: .*sfj: neither a file nor a discipline"),
        ("rules: [sjf, sjf]", "line 2: rules names 'sjf' twice"),
        ("rules: [{name: x}]", "line 2: rule 'x' says nothing; add rules"),
        (
            "rules: [{name: x, set: {sharing: {ahed_us: 0}}}]",
            "line 2: .*unknown field `ahed_us` .*did you mean ahead_us",
        ),
        ("rules: [{name: x, set: {static: true}}]", "line 2: static is not a rule of a study"),
        ("rules: [sjf]\nsizes: [0x]", "line 3: a size is '0x'; write 4x"),
        ("rules: [sjf]\nseeds: -1", "line 3: seeds is '-1', no whole number in 0..100"),
        ("rules: [sjf]\nalone: maybe", "line 3: alone is 'maybe'; write true or false"),
        ("rules: [sjf]\nenergy: {busy_w: 1, idle_w: 1, pue: 1}", "line 3: energy lacks the key 'source'"),
        ("rules: [sjf]\nprices: {source: none}", "line 3: prices names no class"),
        ("rules: []", "line 2: rules has 0 entries, not 1..12"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(tmp_path: Path, more: str, said: str) -> None:
    with pytest.raises(TraceError, match=f"study.yaml: {said}"):
        read_study(week(tmp_path, more))


@pytest.mark.parametrize(
    ("workload", "said"),
    [
        ("name: x", "lacks the key 'trace'"),
        (
            "name: x, trace: gone.csv, cluster: gone.json",
            "trace .*gone.csv is no file; paths are seen from the folder",
        ),
        ("name: x, synthetic: {gpus: 8, days: 2}, days: 1", "has both synthetic and days"),
        ("name: x, synthetic: {gpus: 8, days: 2, load: 9}", "load is 9, not in 0.01..3"),
        (
            f"name: x, trace: {WEEK[0]}, cluster: {WEEK[1]}, first_day: 2",
            "first_day is for a record as it is",
        ),
    ],
)
def test_what_is_wrong_of_a_workload_is_named(tmp_path: Path, workload: str, said: str) -> None:
    with pytest.raises(TraceError, match=f"study.yaml: line 1: .*{said}"):
        read_study(written(tmp_path, f"workloads: [{{{workload}}}]\nrules: [sjf]\n"))


# ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_blocks_are_whole_days_at_their_hours_and_only_seeds_make_them_other() -> None:
    record = record_of((0, 0, 1, 1), (0, 30, 1, 2), (1, 50, 1, 3), (1, 90, 1, 4))
    assert whole_blocks(record, DAY_US) == 4
    drawn = blocks_drawn(record, 30, DAY_US, np.random.default_rng(1))
    hours = (drawn.submit_us - DAY_US) // HOUR_US % 24
    of_size = {1: 0, 2: 6, 3: 2, 4: 18}
    assert [of_size[gpus] for gpus in drawn.gpus.tolist()] == hours.tolist()
    days = (drawn.submit_us - DAY_US) // DAY_US
    assert days.tolist() == list(range(30)), "one job in each of the four days, so one in each that is drawn"
    assert set(drawn.gpus.tolist()) == {1, 2, 3, 4}
    again = blocks_drawn(record, 30, DAY_US, np.random.default_rng(1))
    other = blocks_drawn(record, 30, DAY_US, np.random.default_rng(2))
    assert again.gpus.tolist() == drawn.gpus.tolist() != other.gpus.tolist()


def test_sizes_are_whole_copies_of_the_tenants_on_as_many_nodes() -> None:
    workload = Workload(name="week", trace=str(WEEK[0]), cluster=str(WEEK[1]))
    once, twice = (record_for(workload, Size(name="", times=times), 0) for times in (1, 2))
    assert (len(twice), twice.capacity) == (2 * len(once), 2 * once.capacity)
    assert len(twice.tenants) == 2 * len(once.tenants)
    by_tenant = [sum(twice.partition(tenant)) for tenant in range(len(twice.tenants))]
    assert by_tenant == 2 * [sum(once.partition(tenant)) for tenant in range(len(once.tenants))]
    odd = record_for(workload, Size(name="", nodes=((8, 10), (1, 60))), 0)
    assert (odd.capacity, len(odd)) == (140, 2 * len(once)), "two copies fit on 140 GPUs"
    more = record_for(workload, Size(name="", nodes=((8, 10),), copies=3), 0)
    assert (more.capacity, len(more)) == (80, 3 * len(once)), "more of them than fill it"
    seeds = [record_for(workload, Size(name="", times=1), seed).submit_us.tolist() for seed in (1, 1, 2)]
    assert seeds[0] == seeds[1] != seeds[2]
    with pytest.raises(TraceError, match="week: 48 GPUs are fewer than the 56 of its cluster"):
        record_for(workload, Size(name="", gpus=48), 0)


def test_known_time_limits_are_kept_and_others_are_the_least_usual_one() -> None:
    record = replace(
        record_of((0, 0, 2, 1), (0, 1, 2, 1), (0, 2, 2, 1)), limit_us=np.array([0, 5, 1]) * HOUR_US
    )
    assert limits_us(record, 60 * SECOND_US).tolist() == [
        3 * HOUR_US,
        5 * HOUR_US,
        2 * HOUR_US + 60 * SECOND_US,
    ]


# ── figures ───────────────────────────────────────────────────────────────────────────────────────────────────────
@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), min_size=1, max_size=6), st.integers(1, 40)
)
def test_nobody_deserves_less_than_the_least_of_what_it_asks_and_owns(
    tenants: list[tuple[int, int]], spare: int
) -> None:
    asked = np.array([[float(asks)] for asks, _ in tenants])
    owned = np.array([float(owns) for _, owns in tenants])
    capacity = float(owned.sum())
    found = deserved(asked, owned, capacity)[:, 0]
    assert np.all(found >= np.minimum(asked[:, 0], owned) - 1e-9)
    assert np.all(found <= asked[:, 0] + 1e-9)
    assert found.sum() == pytest.approx(min(asked.sum(), capacity))
    short = found < asked[:, 0] - 1e-9
    level = (found / owned)[short]
    assert np.allclose(level, level[:1]), "who wants more has equal parts of what it owns"
    assert np.all((found / owned) <= (level[0] if len(level) else np.inf) + 1e-9)


def test_the_share_error_is_what_others_had_of_a_day() -> None:
    # Both ask for all eight GPUs all day; the last submission ends the day that is looked at.
    jobs = [(tenant, 0, 24, 8) for tenant in (0, 1)] + [(0, 24, 1, 1)]
    record = record_of(*jobs)
    end = np.array([DAY_US + 24 * HOUR_US] * 2 + [DAY_US + 25 * HOUR_US])

    def error(*runs: tuple[int, int, int]) -> float:
        hours = [(row, DAY_US + begin * HOUR_US, DAY_US + until * HOUR_US) for row, begin, until in runs]
        return share_error(record, Played(record.submit_us, end, runs=hours))

    assert error((0, 0, 12), (1, 12, 24)) == pytest.approx(0), "it is made up for within the day"
    assert error((0, 0, 24)) == pytest.approx(0.5), "half of it was the other's"
    assert error((0, 0, 18), (1, 18, 24)) == pytest.approx(0.25)
    assert error((0, 0, 6), (1, 6, 12)) == pytest.approx(0), "idle GPUs are told by utilisation"


def test_jain_is_one_for_equals_and_a_part_for_one_alone() -> None:
    assert jain(np.array([3.0, 3.0, 3.0])) == pytest.approx(1)
    assert jain(np.array([5.0, 0.0, 0.0, 0.0])) == pytest.approx(1 / 4)
    assert jain(np.array([])) is None


def test_energy_by_hand() -> None:
    judged = Judged(
        drawn="made", jobs=1, gpus=10, load=1.0, span_h=100.0, figures={"used": 0.6}, used_gpu_h={}, tenants={},
        rejected=(), recall_us=0, cpu_s=0.0,
    )  # fmt: skip
    energy = Energy(busy_w=1000, idle_w=200, pue=1.5, source="")
    assert energy_kwh(energy, judged) == pytest.approx(1.5 * 100 * (6 * 1.0 + 4 * 0.2))


def test_intervals_after_student() -> None:
    assert estimate([None, None], drawn_again=False) == Estimate(None)
    assert estimate([3.0], drawn_again=False) == Estimate(3.0)
    found = estimate([1.0, 2.0, 3.0], drawn_again=False)
    assert (found.mean, found.high) == (2.0, pytest.approx(2 + 4.303 / 3**0.5))
    assert estimate([1.0, 2.0, 3.0], drawn_again=True).high == pytest.approx(2 + 4.303), (
        "a bootstrap's own spread"
    )
    assert [round(t_975(freedom), 2) for freedom in (1, 30, 40, 99, 10**6)] == [12.71, 2.04, 2.02, 1.98, 1.96]


def test_a_difference_is_better_or_worse_only_where_its_interval_leaves_out_0() -> None:
    wait, used = BY_NAME["wait_mean_s"], BY_NAME["useful"]
    assert change(wait, Estimate(-5.0, -7.0, -3.0)) == "-5.00 ± 2.00 better"
    assert change(wait, Estimate(5.0, 3.0, 7.0)) == "+5.00 ± 2.00 worse"
    assert change(used, Estimate(0.05, 0.03, 0.07)) == "+5.00 ± 2.00 better"
    assert change(wait, Estimate(5.0, -1.0, 11.0)) == "+5.00 ± 6.00"
    assert shown(used, Estimate(0.5)) == "50.0"
    assert [amount(value) for value in (12345.6, 99.94, 1.005, 0.0012, 0.00001, 0)] == [
        "12,346", "99.9", "1.00", "0.001", "1e-05", "0",
    ]  # fmt: skip


# ── cells ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_cell_is_kept_under_all_that_it_depends_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trace = tmp_path / "t.csv"
    trace.write_bytes(WEEK[0].read_bytes())
    text = (
        f"workloads: [{{name: w, trace: t.csv, cluster: {WEEK[1]}}}]\nrules: [sjf, fifo-greedy]\nseeds: 2\n"
    )
    study = read_study(written(tmp_path, text))
    every = list(grid(study))
    places = {place_of(cell, tmp_path) for cell in every} | {place_of(alone_of(study, every[0]), tmp_path)}
    assert len(places) == 5
    before = place_of(every[0], tmp_path)
    cell_by_cell.file_digest.cache_clear()
    trace.write_bytes(WEEK[0].read_bytes() + b"late,funke-ai,999999,5,1\n")
    assert place_of(every[0], tmp_path) != before, "another trace"
    trace.write_bytes(WEEK[0].read_bytes())
    cell_by_cell.file_digest.cache_clear()
    assert place_of(every[0], tmp_path) == before
    monkeypatch.setattr(cell_by_cell, "code_digest", lambda: "newer")
    assert place_of(every[0], tmp_path) != before, "another version of what decides"


def test_a_kept_cell_comes_back_and_a_damaged_one_is_played_again(tmp_path: Path) -> None:
    study = read_study(week(tmp_path, "rules: [fifo-greedy]\nseeds: 0\n"))
    (cell,) = grid(study)
    judged = played(cell)
    place = place_of(cell, tmp_path)
    keep(place, judged)
    assert kept(place) == judged
    place.write_bytes(place.read_bytes()[:50])
    assert kept(place) is None


def results(study: Study) -> Results:
    """All cells, played here."""
    own = {}
    for cell in grid(study):
        own.setdefault((cell.workload.name, cell.size.name, cell.seed), played(alone_of(study, cell)))
    every = []
    for cell in grid(study):
        apart = own[cell.workload.name, cell.size.name, cell.seed].rejected
        every.append((cell, played(structs.replace(cell, apart=apart))))
    return Results(every, own)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> tuple[Study, Results]:
    """A study of the example week, with all that a study may say."""
    study = read_study(
        week(
            tmp_path_factory.mktemp("study"),
            "rules: [fifo-strict, fifo-greedy]\nseeds: 2\ntitle: A <b>study</b> | of two\n"
            "prices: {industry: 3, startup: 2, research: 1, public: 1.5, source: test}\n"
            "energy: {busy_w: 1000, idle_w: 100, pue: 1.2, source: test}\n",
        )
    )
    return study, results(study)


def test_differences_are_those_of_the_same_jobs(small: tuple[Study, Results]) -> None:
    study, came = small
    found = summed(study, came)
    (block,) = found.blocks
    strict, greedy = block.rows
    assert strict.against == {}
    waits = {(cell.rule.name, cell.seed): figures["wait_mean_s"] for cell, _, figures in found.cells}
    differences = [waits["fifo-greedy", seed] - waits["fifo-strict", seed] for seed in (1, 2)]
    assert greedy.against["wait_mean_s"] == estimate(differences, drawn_again=True)
    assert greedy.against["wait_mean_s"].mean < 0, "who is passed over waits no longer"


def test_the_files_hold_every_cell_and_the_page_needs_nothing_else(
    small: tuple[Study, Results], tmp_path: Path
) -> None:
    study, came = small
    paths = write(study, summed(study, came), tmp_path)
    assert {path.name for path in paths} == {
        "study.html",
        "study.md",
        "study.json",
        "study-1.svg",
        "cells.parquet",
    }
    assert pq.read_table(tmp_path / "cells.parquet").num_rows == 4
    assert json.loads((tmp_path / "study.json").read_text())["blocks"][0]["rows"][1]["rule"] == "fifo-greedy"
    page = (tmp_path / "study.html").read_text()
    assert "<b>study" not in page, "what a file says is text"
    assert "<script" not in page
    assert not re.search(r"(?:src|href)=\"(?!data:|#)", page), "no address but its own"
    Checked().feed(page)
    before = {path.name: path.read_bytes() for path in paths if path.suffix != ".parquet"}
    write(study, summed(study, came), tmp_path)
    assert {name: (tmp_path / name).read_bytes() for name in before} == before, "equal results, equal bytes"


class Checked(HTMLParser):
    """Every picture says what is seen on it, every head of a table what it heads."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        assert tag != "img" or given.get("alt")
        assert tag != "th" or given.get("scope")


def judged(**tenants: Times) -> Judged:
    """A cell of which nothing else matters."""
    return Judged(
        drawn="made", jobs=1, gpus=10, load=1.0, span_h=100.0, figures={"used": 0.5, "useful": 0.4},
        used_gpu_h={"industry": 300.0, "public": 200.0}, tenants=tenants, rejected=(), recall_us=900 * SECOND_US,
        cpu_s=0.0,
    )  # fmt: skip


def test_who_is_worse_off_than_alone_is_counted_and_named(tmp_path: Path) -> None:
    study = read_study(week(tmp_path, "rules: [sjf]\nseeds: 2\n"))
    first, second = grid(study)
    alone = judged(slow=Times(200, 1000.0, 1.0), few=Times(99, 1000.0, 1.0), even=Times(200, 1000.0, 2.0))
    worse = judged(slow=Times(200, 1901.0, 1.0), few=Times(99, 9000.0, 9.0), even=Times(200, 1900.0, 2.04))
    slowed = judged(slow=Times(200, 1000.0, 1.03), even=Times(200, 1000.0, 2.0))
    own = {("week", "1x", 1): alone, ("week", "1x", 2): alone}
    found = summed(study, Results([(first, worse), (second, slowed)], own))
    (row,) = found.blocks[0].rows
    assert [figures["worse_off"] for _, _, figures in found.cells] == [1, 1]
    assert [(one.tenant, one.seeds, one.jct_s, one.alone_jct_s) for one in row.worse] == [
        ("slow", 2, 1450.5, 1000)
    ]
    better = Results([(first, alone), (second, alone)], own)
    assert summed(study, better).blocks[0].rows[0].worse == ()


def test_revenue_needs_a_price_of_every_class(tmp_path: Path) -> None:
    for prices, eur in (("industry: 3, public: 1.5", 1200.0), ("industry: 3", None)):
        more = f"rules: [sjf]\nseeds: 0\nalone: false\nprices: {{{prices}, source: test}}\n"
        study = read_study(week(tmp_path, more))
        (cell,) = grid(study)
        results = Results([(cell, judged())], {})
        if eur is None:
            with pytest.raises(
                TraceError, match="nothing of class public, of which workload 'week' has tenants"
            ):
                summed(study, results)
        else:
            assert summed(study, results).cells[0][2]["revenue_eur"] == eur
