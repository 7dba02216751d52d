# SPDX-License-Identifier: Apache-2.0
"""Forecasts in the background: within their budget, of the lowest priority, kept in files that may be lost."""

import os
from pathlib import Path

import msgspec
import pytest

from leitstand.app import forecaster as background
from leitstand.app.forecaster import Background
from leitstand.app.settings import Settings
from leitstand.core import facts as f
from leitstand.core.cycle import Core
from leitstand.core.rules import Rules
from leitstand.core.units import HOUR_US, MINUTE_US, SECOND_US
from leitstand.journal.sqlite import SqliteJournal, SqliteReader
from leitstand.twin.forecasting import kept
from leitstand.twin.forecasting.budget import BURST_S, SLEEP_MAX_S, Budget
from leitstand.twin.forecasting.calibration import Coverage, Recorded
from leitstand.twin.forecasting.forecaster import Expected, Forecast
from leitstand.twin.forecasting.kept import Latest


class Played:
    """A clock and a process that uses what it is told to."""

    def __init__(self) -> None:
        self.now_s = 100.0
        self.used_s = 5.0
        self.longest_s = 0.0

    def budget(self, share: float) -> Budget:
        return Budget(share, lambda: self.used_s, lambda: self.now_s, self._sleep)

    def work(self, seconds: float) -> None:
        self.now_s += seconds
        self.used_s += seconds

    def _sleep(self, seconds: float) -> None:
        self.now_s += seconds
        self.longest_s = max(self.longest_s, seconds)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 1.0])
def test_whoever_works_on_and_on_uses_its_share_and_no_more(share: float) -> None:
    played = Played()
    budget, began_s = played.budget(share), played.now_s
    for number in range(2000):
        played.work(0.002 * (number % 7))
        budget.spend()
    used_s, passed_s = played.used_s - 5.0, played.now_s - began_s
    assert used_s <= share * passed_s + BURST_S
    assert used_s == pytest.approx(share * passed_s, abs=2 * BURST_S), (
        "nor less: it would be older than need be"
    )


def test_idle_time_is_not_saved_up_and_no_sleep_is_long() -> None:
    played = Played()
    budget = played.budget(0.1)
    played.now_s += 10_000
    budget.spend()
    began_s = played.now_s
    played.work(10.0)
    budget.spend()
    assert played.now_s - began_s >= (10.0 - BURST_S) / 0.1 - 10.0
    assert 0 < played.longest_s <= SLEEP_MAX_S


def test_it_runs_only_when_nobody_else_wants_to(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[object] = []
    monkeypatch.setattr(os, "nice", said.append)
    monkeypatch.setattr(os, "sched_setscheduler", lambda pid, policy, param: said.append((pid, policy)))
    monkeypatch.setattr(background.process, "rank_when_short", said.append)
    background.stand_back()
    assert said == [19, (0, os.SCHED_IDLE), background.process.OOM_RUN]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The data folder of a control plane with one GPU, in which two of three jobs wait."""
    core, journal = Core(), SqliteJournal(tmp_path / "journal.db", journal_id="one")
    said = [f.RulesSet(Rules(), ""), f.SiteAdded("s", "simulated"), f.TenantAdded("t")]
    jobs = [f.SubmitJob("t", "default", f.Resources(1), max_duration_us=HOUR_US)] * 3
    for at, told in ((1, [*said, f.NodeAdded("n", "s", 1, 0, 0)]), (2, jobs)):
        journal.append(journal.head, at, core.cycle(at, told))
    run = core.state.jobs["t-1"].run
    journal.append(journal.head, 3, core.cycle(3, [f.RunStarted(run, 2)]))
    journal.close()
    return tmp_path


def refreshed(folder: Path, now: int, clock_s: float = 0.0) -> bool:
    times = iter([0.0] + [clock_s] * 1_000_000)
    with SqliteReader(folder / "journal.db") as journal:
        budget = Played().budget(1.0)
        return Background(Settings(data=folder), journal, budget, lambda: next(times)).refresh(now)


def test_a_refresh_keeps_a_forecast_that_the_faces_read_until_it_is_old(folder: Path) -> None:
    latest = Latest(folder)
    assert (latest.state(0), latest.jobs(0).get("t-2")) == ("stale", None)
    now = 10 * SECOND_US
    assert refreshed(folder, now)
    first, second = latest.jobs(now).get("t-2"), latest.jobs(now).get("t-3")
    assert first is not None
    assert second is not None
    assert now < first.p50_us < second.p50_us <= now + 2 * HOUR_US  # type: ignore[operator]
    assert latest.jobs(now).get("t-1") is None
    assert latest.state(now + kept.STALE_US) == "ok"
    assert (latest.state(now + kept.STALE_US + 1), latest.jobs(now + kept.STALE_US + 1).get("t-2")) == (
        "stale",
        None,
    )
    assert [one.job for one in kept.record_of(folder, "one")] == ["t-2", "t-3"]
    assert not list(folder.glob("*.draft"))


def test_what_was_forecast_before_a_restart_is_held_against_what_came(folder: Path) -> None:
    assert refreshed(folder, 10 * SECOND_US)
    assert refreshed(folder, 20 * MINUTE_US)
    assert [one.job for one in kept.record_of(folder, "one")] == ["t-2", "t-3", "t-2", "t-3"]


def test_files_that_are_lost_damaged_or_of_another_journal_are_as_if_there_were_none(folder: Path) -> None:
    assert kept.record_of(folder, "one") == []
    forecast = Forecast(5, 9, 4, [Expected("j", "t", 6, 7)], Coverage())
    kept.keep(folder, "other", forecast, [Recorded("j", 1, (1, 2), (1, 2))])
    assert kept.record_of(folder, "one") == []
    latest = Latest(folder)
    assert latest.forecast(5) == forecast
    (folder / kept.FORECAST).write_bytes(msgspec.msgpack.encode("nothing"))
    assert (latest.forecast(5), latest.jobs(5).get("j")) == (None, None)
    assert Latest().state(5) == "off"


def test_futures_that_take_too_long_are_given_up_and_nothing_new_is_said(folder: Path) -> None:
    assert not refreshed(folder, 10 * SECOND_US, background.TOOK_MAX_S + 1)
    assert Latest(folder).state(10 * SECOND_US) == "stale"
