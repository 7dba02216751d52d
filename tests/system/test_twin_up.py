# SPDX-License-Identifier: Apache-2.0
"""`leitstand up --twin` as a process: a simulated cloud behind the same API, command line and pages; what it survives,
what it refuses, and that its journal is one that is decided again fact for fact."""

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from leitstand.core import facts as f
from leitstand.journal.sqlite import SqliteReader
from leitstand.twin.live.cloud import cloud_of
from leitstand.twin.live.scenario import read_scenario
from tests.browser import Visitor, needs_browser, running
from tests.plane import LEITSTAND, Plane

pytestmark = pytest.mark.system

WITHIN_S = 90.0
SCENARIO = """\
name: A cloud of the tests
cluster: {gpus: 64, gpus_per_node: 8, gpu_type: H100}
workload: {synthetic: {days: 2, load: 0.9, seed: 3}}
failures: {every: 5d, repair: 2h}
"""


def until(condition: Callable[[], Any], what: str) -> Any:
    """What the condition gives once it is true; fail by name at the deadline."""
    deadline = time.monotonic() + WITHIN_S
    while not (found := condition()):
        assert time.monotonic() < deadline, f"not within {WITHIN_S} s: {what}"
        time.sleep(0.1)
    return found


def twin_plane(folder: Path, speed: str) -> Plane:
    scenario = folder / "cloud.yaml"
    scenario.write_text(SCENARIO)
    command = (LEITSTAND, "up", "--twin", str(scenario), "--speed", speed)
    return Plane(folder / "data", gpus=None, command=command)


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """A twin at a thousand times the speed of the world."""
    with twin_plane(tmp_path_factory.mktemp("twin"), "1000x") as plane:
        yield plane


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Plane]:
    """A faster one of the test's own, so that it may be harmed."""
    plane = twin_plane(tmp_path, "5000x")
    yield plane
    if plane.process is not None and plane.process.poll() is None:
        plane.stop()


def health(plane: Plane) -> dict[str, Any]:
    answer: dict[str, Any] = plane.http("GET", "/healthz")[1]
    return answer


def here(plane: Plane) -> float:
    """The twin's time, in seconds since 1970."""
    return datetime.fromisoformat(health(plane)["twin"]["now"]).timestamp()


def ended(plane: Plane, job: str) -> dict[str, Any] | None:
    found: dict[str, Any] = plane.http("GET", f"/v1/jobs/{job}")[1]
    return found if found["state"] in ("succeeded", "failed", "cancelled") else None


# ── watching ──────────────────────────────────────────────────────────────────────────────────────────────────────
def test_what_up_says_names_the_twin_its_speed_and_its_time(twin: Plane) -> None:
    said = twin.output.read_text()
    assert "TWIN   A cloud of the tests: simulated, 1000x as fast as the world; it is 2026-01-05 0" in said
    assert "nothing that is submitted here is executed" in said
    assert "8 node(s), 64 logical GPU(s)" in said


def test_jobs_come_run_and_end_in_the_twins_time(twin: Plane) -> None:
    rows = until(lambda: twin.json("jobs", "--state", "succeeded"), "a job of the twin has ended")
    for row in rows:
        started, done = (datetime.fromisoformat(row[name]) for name in ("started_at", "ended_at"))
        assert row["name"] == ""
        assert (started.year, started.month) == (2026, 1)
        assert (done - started).total_seconds() == pytest.approx(row["usage"]["wall_s"], abs=1)
    assert health(twin)["twin"]["speed"] == 1000
    assert health(twin)["forecast"] == "off"


def test_time_goes_on_a_thousand_times_as_fast_or_says_how_fast(twin: Plane) -> None:
    begun, at = time.monotonic(), here(twin)
    time.sleep(2)
    passed = (here(twin) - at) / (time.monotonic() - begun)
    assert 0 < passed <= 1000 * 1.5  # the reading is a little later than what it reads
    assert 0 < health(twin)["twin"]["reached"] <= 1000


def test_the_command_line_shows_ages_in_the_twins_time(twin: Plane) -> None:
    until(lambda: twin.json("jobs"), "a job has come")
    done = twin.cli("jobs", "--limit", "5")
    assert done.returncode == 0, done.stderr
    ages = [line.split("  ")[-1].strip() for line in done.stdout.splitlines()[1:]]
    assert ages
    assert all(re.fullmatch(r"(-?\d+[smh] ?)+", age) for age in ages), ages


def test_a_job_of_a_person_holds_its_gpus_for_as_long_as_it_says_and_ends_well(twin: Plane) -> None:
    done = twin.cli("submit", "--gpus", "2", "--expected-duration", "30m", "--name", "mine", "--", "false")
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    assert job in [row["id"] for row in twin.json("jobs", "--tenant", "operator")]
    found = until(lambda: ended(twin, job), "the job has ended")
    assert (found["state"], found["exit_code"], found["name"]) == ("succeeded", 0, "mine")
    assert found["usage"]["wall_s"] == pytest.approx(1800, abs=1)
    assert "nothing is executed" in twin.cli("logs", job).stdout


def test_run_follows_a_job_to_its_end(twin: Plane) -> None:
    done = twin.cli("run", "--gpus", "1", "--expected-duration", "5m", "--", "false")
    assert done.returncode == 0, done.stderr
    assert "nothing is executed" in done.stdout


def test_a_job_that_waits_is_explained_and_a_job_can_be_cancelled(twin: Plane) -> None:
    done = twin.cli("submit", "--gpus", "8", "--hold", "--", "true")
    assert done.returncode == 0, done.stderr
    job = done.stdout.strip()
    assert twin.json("explain", job)["reason"] == "held"
    assert twin.cli("cancel", job).returncode == 0
    assert until(lambda: ended(twin, job), "it is cancelled")["state"] == "cancelled"


def test_a_job_of_the_scenario_has_no_command_and_every_face_copes(twin: Plane) -> None:
    job = until(lambda: twin.json("jobs", "--tenant", "industry-001"), "a job of industry")[0]["id"]
    for command in ("job", "logs"):
        done = twin.cli(command, job)
        assert done.returncode == 0, done.stderr
    assert twin.cli("explain", job).returncode in (0, 1)


def test_signing_in_lasts_although_the_twins_hours_are_seconds(twin: Plane) -> None:
    issued = twin.http("POST", "/v1/users/me/tokens", {"expires_in": "1h"})[1]
    at = here(twin)
    until(lambda: here(twin) - at > 2 * 3600, "two hours of the twin")
    asked = {"Authorization": f"Bearer {issued['secret']}"}
    assert twin.http("GET", "/v1/self", headers=asked)[0] == 200


@needs_browser
def test_every_page_says_that_it_is_a_twin_and_its_time_goes_on(twin: Plane) -> None:
    until(lambda: twin.json("jobs"), "a job has come")
    with running() as browser:
        visitor = Visitor(browser, twin.url, timezone_id="UTC")
        page = visitor.page
        page.goto("/")
        banner = page.get_by_role("complementary", name="Twin")
        banner.wait_for()
        visitor.sign_in(twin.token)
        first = banner.inner_text()
        assert re.search(r"Twin · 1000x · Jan \d+, 2026, ", first), first
        assert "nothing that is submitted here is executed" in first
        page.wait_for_function("text => document.querySelector('.twin').innerText !== text", arg=first)
        age = page.locator("tbody time").first.inner_text()
        assert "month" not in age
        assert "day" not in age
        page.locator("tbody a").first.click()
        page.get_by_role("heading", name="Log").wait_for()
        page.get_by_text("nothing is executed").wait_for()
        assert banner.is_visible()
        assert visitor.overflow() == 0
        assert visitor.errors == []


# ── ending and going on ───────────────────────────────────────────────────────────────────────────────────────────
def test_a_twin_that_is_killed_goes_on_where_it_was(own: Plane) -> None:
    own.start()
    job = own.cli("submit", "--gpus", "1", "--expected-duration", "3h", "--", "true").stdout.strip()
    until(lambda: health(own)["seq"] > 400, "something happens")
    before = health(own)
    assert own.process is not None
    os.killpg(own.process.pid, signal.SIGKILL)
    own.process.wait()
    time.sleep(1)
    assert own.cli("journal", "verify", "--data", str(own.data)).returncode == 0
    last_us = head_us(own)
    own.start()
    after = health(own)
    assert after["seq"] >= before["seq"]
    gone_s = datetime.fromisoformat(after["twin"]["now"]).timestamp() - last_us / 1e6
    assert gone_s >= 0, "time does not go back"
    assert until(lambda: ended(own, job), "the job that ran has ended")["usage"]["wall_s"] == pytest.approx(
        3 * 3600, abs=1
    )
    reached = health(own)["seq"]
    until(lambda: health(own)["seq"] > reached + 200, "it goes on")
    assert own.stop() == 0
    assert "stopping; the same command goes on from here" in own.output.read_text()
    came = [
        (fact.tenant, fact.resources.gpus, fact.expected_us)
        for fact in facts(own)
        if isinstance(fact, f.JobSubmitted) and fact.tenant != "operator"
    ]
    rounds = cloud_of(read_scenario(own.data.parent / "cloud.yaml")).rounds
    wanted = [
        (one.tenant, one.resources.gpus, one.expected_us)
        for number in range(20)
        for one in rounds(number).asked
    ]
    assert came == wanted[: len(came)], "every job of the scenario comes once, in order"
    assert own.cli("journal", "verify", "--data", str(own.data)).returncode == 0
    again = own.cli("twin", "replay", str(own.data))
    assert again.returncode == 0, again.stdout
    assert "all decided again as they are" in again.stdout


def facts(plane: Plane) -> list[f.Fact]:
    with SqliteReader(plane.data / "journal.db") as journal:
        return [entry.fact for entry in journal.read(0)]


def head_us(plane: Plane) -> int:
    with SqliteReader(plane.data / "journal.db") as journal:
        return journal.head.at


# ── what it refuses ───────────────────────────────────────────────────────────────────────────────────────────────
def refused(*words: str) -> str:
    """What is said by a twin that does not start."""
    done = subprocess.run(
        [LEITSTAND, "up", *words],
        env={**os.environ, "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode != 0
    assert "Traceback" not in done.stderr
    return " ".join(done.stderr.split())


def test_the_folder_of_a_twin_is_for_its_scenario_alone(own: Plane, tmp_path: Path) -> None:
    own.start()
    own.stop()
    data = str(own.data)
    assert "is that of a twin; start it with --twin SCENARIO" in refused("--data", data)
    other = tmp_path / "other.yaml"
    other.write_text(SCENARIO.replace("64", "72"))
    said = refused("--data", data, "--twin", str(other))
    assert 'goes on with the scenario "A cloud of the tests", and this is another one' in said


def test_the_folder_of_a_real_control_plane_is_for_no_twin(tmp_path: Path) -> None:
    (tmp_path / "cloud.yaml").write_text(SCENARIO)
    with Plane(tmp_path / "real", gpus=1):
        pass
    said = refused("--data", str(tmp_path / "real"), "--twin", str(tmp_path / "cloud.yaml"))
    assert "is that of a real control plane; name another folder for the twin" in said
    assert not (tmp_path / "real/twin.json").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--speed", "10x"), "--speed is for a twin: name its scenario with --twin"),
        (("--twin", "cloud.yaml", "--speed", "fast"), '"fast" is no speed from 0.01x to 100000x'),
        (("--twin", "cloud.yaml", "--speed", "0"), '"0" is no speed'),
        (("--twin", "cloud.yaml", "--gpus", "4"), "--gpus is not for a twin"),
        (("--twin", "cloud.yaml", "--discipline", "fair"), "--discipline is not for a twin"),
        (("--twin", "nowhere.yaml"), "nowhere.yaml: cannot be read"),
        (("--twin", "wrong.yaml"), "wrong.yaml:1: 'clusters' is unknown; did you mean 'cluster'?"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cloud.yaml").write_text(SCENARIO)
    (tmp_path / "wrong.yaml").write_text("clusters: {gpus: 64}\n")
    assert said in refused("--data", str(tmp_path / "data"), *words)
    assert not (tmp_path / "data").exists()
