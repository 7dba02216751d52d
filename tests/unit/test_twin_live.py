# SPDX-License-Identifier: Apache-2.0
"""A watched twin without processes: what its scenario file may say, which cloud comes of it, and that a restart goes on
with the same jobs, lengths and failures as if there had been none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules
from leitstand.core.state import State
from leitstand.core.units import DAY_US, HOUR_US, SECOND_US
from leitstand.journal.memory import MemoryJournal
from leitstand.runtime.loop import Loop, resume
from leitstand.twin.live.arrivals import Arrivals, Round
from leitstand.twin.live.cloud import Cloud, cloud_of
from leitstand.twin.live.lives import LEAST, MOST, Lives
from leitstand.twin.live.logs import LOG, read_log
from leitstand.twin.live.outages import Outages
from leitstand.twin.live.scenario import START_US, Outage, Recorded, Scenario, Sized, Synthetic, read_scenario
from leitstand.twin.reading.table import TraceError
from leitstand.twin.retelling import Span
from leitstand.twin.truth import RetoldEngine

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples/twin/small-cloud.yaml"
WEEK = ROOT / "examples/traces"
S = SECOND_US

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """A scenario file, beside a recorded week and its cluster."""
    for name in ("week.csv", "week.cluster.json"):
        (tmp_path / name).write_bytes((WEEK / name).read_bytes())

    def write(text: str) -> Path:
        path = tmp_path / "scenario.yaml"
        path.write_text(text)
        return path

    return write


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_the_shipped_example_is_a_cloud_of_512_gpus_and_four_classes() -> None:
    scenario = read_scenario(EXAMPLE)
    assert scenario.cluster == Sized(512, 8, "H100")
    assert scenario.workload == Synthetic(28, 0.95, 1)
    cloud = cloud_of(scenario)
    assert sum(node.gpus for node in cloud.nodes) == 512
    assert {node.gpu_type for node in cloud.nodes} == {"H100"}
    tenants = [fact for fact in cloud.opening if isinstance(fact, f.TenantAdded)]
    assert {tenant.tenant_class for tenant in tenants} == {"industry", "startup", "research", "public"}
    assert len(cloud.rounds(0).asked) > 1000


def test_a_scenario_says_little(write: Write) -> None:
    scenario = read_scenario(write("cluster: {gpus: 64}\nworkload: synthetic\n"))
    assert scenario.name == "scenario"
    assert scenario.workload == Synthetic()
    assert scenario.rules == {"discipline": "fair"}
    assert scenario.start_us == START_US
    assert START_US % (7 * DAY_US) == 4 * DAY_US, "a Monday"
    assert scenario.failures is None


@pytest.mark.parametrize("workload", ["week.csv", "{trace: week.csv}", "{trace: week.csv, format: csv}"])
def test_work_may_be_a_trace_in_any_format(write: Write, workload: str) -> None:
    scenario = read_scenario(write(f"cluster: week.cluster.json\nworkload: {workload}\nrules: sjf\n"))
    assert isinstance(scenario.workload, Recorded)
    cloud = cloud_of(scenario)
    assert len(cloud.rounds(0).asked) == 600
    assert cloud.rounds(0) is cloud.rounds(5), "the week comes again and again"
    assert cloud.period_us == 7 * DAY_US
    assert (cloud.anchor_us, cloud.left_out) == (START_US, 0)


def test_synthetic_work_is_for_the_tenants_of_a_cluster_file_and_drawn_anew_each_round(write: Write) -> None:
    cloud = cloud_of(
        read_scenario(write("cluster: week.cluster.json\nworkload: {synthetic: {days: 7, seed: 5}}\n"))
    )
    first, second = cloud.rounds(0), cloud.rounds(1)
    assert {one.tenant for one in first.asked} <= {"werk-nord", "funke-ai", "uni-sued", "stadt-see"}
    assert first.after_us != second.after_us
    assert cloud.period_us == 7 * DAY_US


def test_the_week_of_the_model_begins_on_a_monday_whatever_the_start(write: Write) -> None:
    cloud = cloud_of(
        read_scenario(write("start: 2026-01-08T06:00\ncluster: {gpus: 64}\nworkload: synthetic\n"))
    )
    assert cloud.anchor_us == START_US


def test_no_job_of_the_scenario_meets_the_limits_of_its_rules_and_those_of_people_have_usual_ones(
    write: Write,
) -> None:
    cloud = cloud_of(read_scenario(write("cluster: week.cluster.json\nworkload: week.csv\n")))
    (rules,) = [fact.rules for fact in cloud.opening if isinstance(fact, f.RulesSet)]
    asked = cloud.rounds(0).asked
    assert all(one.expected_us <= one.max_duration_us <= rules.max_duration_limit_us for one in asked)
    assert rules.max_duration_default_us == Rules().max_duration_default_us


def test_equal_clouds_have_equal_digests_wherever_their_files_lie(write: Write, tmp_path: Path) -> None:
    said = "cluster: week.cluster.json\nworkload: week.csv\n"
    digest = read_scenario(write(said)).digest
    (tmp_path / "other.csv").write_bytes((tmp_path / "week.csv").read_bytes())
    assert (
        read_scenario(write("name: another name\n" + said.replace("week.csv", "other.csv"))).digest == digest
    )
    assert read_scenario(write(said + "rules: sjf\n")).digest != digest
    with (tmp_path / "week.csv").open("a") as file:
        file.write("601,werk-nord,1,1,1\n")
    assert read_scenario(write(said)).digest != digest


@pytest.mark.parametrize(
    ("text", "place", "what"),
    [
        ("cluster: {gpus: 64}\nworkloads: synthetic\n", ":2: ", "did you mean 'workload'"),
        ("cluster: {gpu: 64}\nworkload: synthetic\n", ":1: ", "did you mean 'gpus'"),
        ("cluster: {gpus: 64}\n", ":1: ", "'workload' is missing"),
        ("cluster: {gpus: none}\nworkload: synthetic\n", ":1: ", "no whole number in 1.."),
        ("cluster: nowhere.json\nworkload: synthetic\n", ":1: ", "paths are seen from the folder"),
        ("cluster: {gpus: 64}\nworkload: nowhere.csv\n", ":2: ", "there is no file"),
        ("cluster: {gpus: 64}\nworkload: week.csv\n", ":1: ", "a trace needs the cluster"),
        ("cluster: {gpus: 64}\nworkload: {}\n", ":2: ", "says nothing"),
        ("cluster: {gpus: 65, gpus_per_node: 8}\nworkload: synthetic\n", ":1: ", "no multiple of 8"),
        ("cluster: {gpus: 64}\nworkload: {synthetic: {load: 9}}\n", ":2: ", "no number in 0.01..3"),
        (
            "cluster: {gpus: 64}\nworkload: synthetic\nrules: fare\n",
            ":3: ",
            "neither a file nor a discipline",
        ),
        ("cluster: {gpus: 64}\nworkload: synthetic\nrules: {tick: 1}\n", ":3: ", "unknown field `tick`"),
        ("cluster: {gpus: 64}\nworkload: synthetic\nstart: 30d\n", ":3: ", "`start` is a date"),
        ("cluster: {gpus: 64}\nworkload: synthetic\nfailures: {every: 9d}\n", ":3: ", "'repair' is missing"),
        (
            "cluster: {gpus: 64}\nworkload: synthetic\nfailures: {every: often, repair: 1h}\n",
            ":3: ",
            "no span",
        ),
        ("cluster: {gpus: 64}\nworkload: synthetic\nname: ''\n", ":3: ", "the name has 0 characters"),
        ("cluster: {gpus: 64}\ncluster: {gpus: 64}\nworkload: synthetic\n", ":2: ", "given twice"),
        ("- cluster\n", "", "holds no mapping"),
        ("cluster: [\n", ":", "no YAML"),
    ],
)
def test_what_cannot_be_is_named_with_its_line_and_a_remedy(
    write: Write, text: str, place: str, what: str
) -> None:
    path = write(text)
    with pytest.raises(TraceError) as refused:
        read_scenario(path)
    assert f"{path}{place}" in str(refused.value)
    assert what in str(refused.value)


def test_a_trace_of_other_tenants_is_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("job_id,tenant,submit_s,duration_s,gpus\n1,somebody,0,60,1\n")
    scenario = read_scenario(write("cluster: week.cluster.json\nworkload: other.csv\n"))
    with pytest.raises(TraceError, match=r"names none of the tenants of other \(somebody\)"):
        cloud_of(scenario)


# ── the work ──────────────────────────────────────────────────────────────────────────────────────────────────────
def asked(*tenants: str) -> list[f.SubmitJob]:
    return [f.SubmitJob(tenant, "default", f.Resources(gpus=1, nodes=0)) for tenant in tenants]


def test_each_job_comes_once_at_its_own_time_round_after_round() -> None:
    rounds = [Round([0, 5, 5], asked("a", "b", "c")), Round([3], asked("d"))]
    source = Arrivals(lambda number: rounds[number % 2], 10, 100, 99)
    told = []
    for _ in range(4):
        due = source.next_time()
        assert due is not None
        told.append((due, [one.tenant for one in source.take(due)]))
    assert told == [(100, ["a"]), (105, ["b", "c"]), (113, ["d"]), (120, ["a"])]
    assert source.take(120) == []


@pytest.mark.parametrize(
    ("done", "due", "tenants"),
    [(99, 100, ["a"]), (100, 105, ["b", "c"]), (104, 105, ["b", "c"]), (105, 113, ["d"]), (113, 120, ["a"])],
)
def test_after_a_restart_nothing_comes_again_and_nothing_is_left_out(
    done: int, due: int, tenants: list[str]
) -> None:
    rounds = [Round([0, 5, 5], asked("a", "b", "c")), Round([3], asked("d"))]
    source = Arrivals(lambda number: rounds[number % 2], 10, 100, done)
    assert source.next_time() == due
    assert [one.tenant for one in source.take(due)] == tenants


class Twin:
    """A twin in virtual time, with its journal. `until` goes on to a time; a new one on the same journal is a
    restart."""

    def __init__(self, scenario: Scenario, cloud: Cloud, journal: MemoryJournal) -> None:
        state = State()
        for entry in journal.read(0):
            state.apply(entry.at, entry.fact)
        self.journal = journal
        done_us = journal.head.at or scenario.start_us - 1
        sources: list[Any] = [Arrivals(cloud.rounds, cloud.period_us, cloud.anchor_us, done_us)]
        if scenario.failures is not None:
            sources.insert(0, Outages(scenario.failures, cloud.nodes, scenario.start_us, done_us, state))
        engine = RetoldEngine(Lives(), state)
        self.core = Core(state)
        self.loop = Loop(self.core, journal, Span(done_us, None), engine, sources)
        resume(engine, state)
        if not journal.head.seq:
            at = scenario.start_us
            journal.append(journal.head, at, self.core.cycle(at, cloud.opening))

    def until(self, at: int) -> "Twin":
        self.loop.clock = Span(self.journal.head.at, at)
        self.loop.run()
        return self

    def facts(self) -> list[tuple[int, f.Fact]]:
        return [(entry.at, entry.fact) for entry in self.journal.read(0)]


def test_a_restart_changes_nothing_that_happens() -> None:
    scenario = Scenario(
        "a day",
        Sized(32, 8),
        Synthetic(1, 0.9, 3),
        {"discipline": "fair"},
        failures=Outage(2 * DAY_US, 2 * HOUR_US),
    )
    cloud = cloud_of(scenario)
    end = START_US + 30 * HOUR_US
    whole = Twin(scenario, cloud, MemoryJournal()).until(end).facts()
    assert any(isinstance(fact, f.NodeRemoved) for _, fact in whole)
    assert {type(fact) for _, fact in whole} >= {f.JobSubmitted, f.RunPlaced, f.RunEnded, f.NodeAdded}
    journal = MemoryJournal()
    for hours in (1, 7, 20, 25, 29):
        Twin(scenario, cloud, journal).until(START_US + hours * HOUR_US)
    assert Twin(scenario, cloud, journal).until(end).facts() == whole


# ── what people submit ────────────────────────────────────────────────────────────────────────────────────────────
def test_a_job_of_a_person_lasts_as_long_as_it_says_else_a_drawn_part_of_its_limit() -> None:
    core = Core()
    core.cycle(
        1,
        [
            f.TenantAdded("acme", "industry"),
            f.SiteAdded("twin", "simulated", logical=True),
            f.NodeAdded("n1", "twin", 8, 8000, 1024),
        ],
    )
    one_gpu = f.Resources(gpus=1, nodes=0)
    for expected in (0, 90 * S, 0):
        ask = f.SubmitJob("acme", "default", one_gpu, max_duration_us=HOUR_US, expected_us=expected, spec="x")
        core.cycle(2, [ask])
    core.cycle(3, [f.SubmitJob("acme", "default", one_gpu, max_duration_us=HOUR_US)])
    drawn, stated, again, recorded = [Lives().attempt(core.state.jobs[f"acme-{n}"]) for n in (1, 2, 3, 4)]
    assert stated is None, "the engine takes what the job expects"
    assert recorded is None, "also of the scenario's jobs, whose lengths are known"
    assert drawn is not None
    assert again is not None
    assert LEAST * HOUR_US <= drawn.work_us <= MOST * HOUR_US
    assert drawn.work_us != again.work_us
    assert drawn == Lives().attempt(core.state.jobs["acme-1"]), "the same at every start"
    assert (drawn.end.outcome, drawn.end.exit_code) == ("exited", 0)


def test_logs_say_that_nothing_was_executed() -> None:
    assert read_log("acme-1.1", 0, 0, 20) + read_log("acme-1.1", 0, 20, 1000) == LOG
    assert b"nothing is executed" in LOG
    assert read_log("acme-1.1", 3, len(LOG), 10) == b""
