# SPDX-License-Identifier: Apache-2.0
"""Forecasts of a small cloud in which it is known how likely what is, and `leitstand twin forecast` on a journal."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from leitstand.cli.twin import twin
from leitstand.core import facts as f
from leitstand.core.rules import Rules
from leitstand.core.state import State
from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US
from leitstand.journal.memory import MemoryJournal
from leitstand.runtime.ports import Entry
from leitstand.twin.forecasting.forecaster import Forecaster, Wanted
from leitstand.twin.forecasting.hindsight import Asked, forecast_of
from leitstand.twin.history import Moment
from leitstand.twin.retelling import Play, play
from leitstand.twin.truth import Truth

DATA = Path(__file__).parents[2] / "examples" / "traces"
BATCHES = 40
FIVE = 5  # jobs of a batch, on one GPU


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def world(deadline_us: int = 0) -> list[Entry]:
    """One GPU; each day, at no steady time, five jobs whose lengths are uniform in (0, 2 h]. Of the last batch nobody
    has started but the first."""
    chance = np.random.default_rng(5)
    said: list[f.Observation] = [f.RulesSet(Rules(), ""), f.SiteAdded("s", "simulated"), f.TenantAdded("t")]
    told = [Moment(0, 0, (*said, f.NodeAdded("n", "s", 1, 0, 0)))]  # type: ignore[arg-type]
    for day in range(1, BATCHES + 1):
        at = day * DAY_US + int(chance.integers(12)) * HOUR_US
        batch = [
            f.JobSubmitted(
                "",
                "t",
                "default",
                f.Resources(1),
                max_duration_us=2 * HOUR_US,
                expected_us=max(int(chance.random() * 2 * HOUR_US), 1),
                deadline_us=at + deadline_us if deadline_us else 0,
            )
            for _ in range(FIVE)
        ]
        told.append(Moment(at, 0, tuple(batch)))
    journal = MemoryJournal("forecast")
    last = told[-1].at
    play(Play(Truth(), told, until_us=last), watch=lambda at, facts: _keep(journal, at, facts))
    return list(journal.read(0))


def _keep(journal: MemoryJournal, at: int, facts: object) -> None:
    journal.append(journal.head, at, facts)  # type: ignore[arg-type]


def test_where_it_is_known_how_likely_what_is_the_forecast_says_it() -> None:
    """The k-th of a batch waits for a sum of k uniform lengths."""
    entries = world()
    found = forecast_of(entries, Asked(entries[-1].at, 0, Wanted(forks=64)))
    assert len(found.jobs) == FIVE - 1
    chance = np.random.default_rng(0)
    sums = np.cumsum(chance.uniform(0, 2, (20_000, FIVE - 1)), axis=1)
    for job, hours in zip(found.jobs, sums.T, strict=True):
        assert job.p50_us is not None
        assert job.p90_us is not None
        for at_us, level in ((job.p50_us, 0.5), (job.p90_us, 0.9)):
            share = np.mean(hours <= (at_us - found.at_us) / HOUR_US)
            assert share == pytest.approx(level, abs=0.12)


def test_the_chance_to_meet_a_deadline_is_that_to_start_in_time_for_it() -> None:
    """With time limits of two hours: who has not started after one is ended."""
    entries = world(deadline_us=3 * HOUR_US)
    found = forecast_of(entries, Asked(entries[-1].at, 0, Wanted(forks=64)))
    chance = np.random.default_rng(0)
    waits = np.cumsum(chance.uniform(0, 2, (20_000, FIVE - 1)), axis=1)
    assert [job.chance for job in found.jobs] == pytest.approx(np.mean(waits <= 1, axis=0).tolist(), abs=0.13)


def test_equal_histories_give_equal_forecasts_and_leave_the_state_as_it_is() -> None:
    entries = world()
    forecaster = Forecaster()
    for entry in entries:
        forecaster.apply(entry.at, entry.fact)
    before = forecaster.state.digest()
    found = forecaster.forecast(entries[-1].at + MINUTE_US)
    assert found is not None
    assert forecaster.state.digest() == before
    again = forecast_of(entries, Asked(entries[-1].at + MINUTE_US, 0))
    assert again.jobs == found.jobs


def test_who_cannot_start_is_not_said_to_and_who_stops_it_early_gets_nothing() -> None:
    forecaster = Forecaster(State())
    for entry in world():
        forecaster.apply(entry.at, entry.fact)
    now = entry.at
    first, *_ = [job for job in forecaster.state.jobs.values() if job.state == "pending"]
    forecaster.apply(now, f.JobHeld(first.id))
    found = forecaster.forecast(now, Wanted(forks=4))
    assert found is not None
    assert (found.jobs[0].p50_us, found.jobs[0].p90_us) == (None, None)
    assert found.jobs[1].p50_us is not None
    assert forecaster.forecast(now, Wanted(stop=lambda: True)) is None


# ── the command ───────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "journal.db"
    arguments = [
        str(DATA / "week.csv"),
        "--cluster",
        str(DATA / "week.cluster.json"),
        "--rules",
        "fifo-greedy",
    ]
    told = CliRunner().invoke(twin, ["replay", *arguments, "--journal", str(path)])
    assert told.exit_code == 0
    return path


def foretold(*arguments: str) -> Result:
    return CliRunner().invoke(twin, ["forecast", *arguments])


def test_the_command_says_when_each_waiting_job_starts_by_file_and_by_folder(journal: Path) -> None:
    wanted = ("--at", "1970-01-04T12:00", "--past", "3", "--forks", "4")
    found = json.loads(foretold(str(journal), *wanted, "--json").stdout)
    assert found["at"] == "1970-01-04T12:00:00+00:00"
    assert found["forks"] == 4
    assert {job["id"] for job in found["jobs"]}
    assert set(found["coverage"]) == {"p50", "p90"}
    told = foretold(str(journal.parent), *wanted).stdout
    assert all(job["id"] in told for job in found["jobs"])
    assert "START P50" in told


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--at", "2030-01-01"), "2030-01-01 00:00:00 UTC is not within the journal, 1970-01-01"),
        (("--at", "soon"), '"soon" is neither the number of an entry nor a time like 2026-11-23T14:00'),
        (("--at", "99999999"), "entry 99999999 is not in 1.."),
        (("--horizon", "0"), "is not above 0"),
    ],
)
def test_what_cannot_be_asked_is_said(journal: Path, arguments: tuple[str, str], named: str) -> None:
    told = foretold(str(journal), *arguments)
    assert told.exit_code != 0
    assert named in told.output


def test_a_journal_without_entries_or_without_waiting_jobs_is_said_so(journal: Path, tmp_path: Path) -> None:
    from leitstand.journal.sqlite import SqliteJournal

    told = foretold(str(DATA / "week.csv"))
    assert (told.exit_code, "no journal and no data directory" in told.output) == (1, True)
    SqliteJournal(tmp_path / "journal.db").close()
    told = foretold(str(tmp_path))
    assert (told.exit_code, "the journal is empty" in told.output) == (1, True)
    told = foretold(str(journal), "--past", "0")
    assert (told.exit_code, "No job waits." in told.output) == (0, True)
