# SPDX-License-Identifier: Apache-2.0
"""The last forecast by API: of jobs that one sees and that still wait, and nothing that is old."""

from pathlib import Path

import pytest

from leitstand.core.units import HOUR_US, SECOND_US
from leitstand.twin.forecasting import kept
from leitstand.twin.forecasting.calibration import Coverage
from leitstand.twin.forecasting.forecaster import Expected, Forecast
from leitstand.twin.forecasting.kept import Latest
from tests.unit.faces_story import Plant
from tests.unit.test_api_bookings import person


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    """Four jobs that fill the machine, and two that wait, of two tenants; and a forecast of them."""
    made = Plant(tmp_path)
    for tenant in ("acme", "beta"):
        made.ask("POST", "/v1/tenants", json={"id": tenant})
    for tenant in ("acme", "acme", "acme", "beta"):
        assert made.submit(tenant=tenant, resources={"gpus": 4}).status_code == 201
    now = made.writer.now
    expected = [
        Expected("acme-2", "acme", now, now),  # it runs already
        Expected("acme-3", "acme", now + HOUR_US, None, 0.25),
        Expected("beta-1", "beta", now + HOUR_US, now + 2 * HOUR_US),
        Expected("gone-1", "beta", now, now),
    ]
    forecast = Forecast(now, now + 9 * HOUR_US, 16, expected, Coverage((10, 8), (0.5, 0.875)))
    kept.keep(tmp_path, "journal", forecast, [])
    made.faces.forecasts = Latest(tmp_path)
    return made


def test_what_still_waits_is_listed_by_page_and_tenant_to_whoever_sees_it(plant: Plant) -> None:
    found = plant.ask("GET", "/v1/forecast").json()
    assert [one["job"] for one in found["items"]] == ["acme-3", "beta-1"]
    assert (found["state"], found["forks"]) == ("ok", 16)
    assert found["p90_covered"] == {"forecasts": 8, "share": 0.875}
    assert found["items"][0]["p90"] is None
    assert found["items"][0]["deadline_chance"] == 0.25
    page = plant.ask("GET", "/v1/forecast?limit=1").json()
    assert ([one["job"] for one in page["items"]], page["next_cursor"]) == (["acme-3"], "1")
    assert [one["job"] for one in plant.ask("GET", "/v1/forecast?tenant=beta").json()["items"]] == ["beta-1"]
    own = plant.ask("GET", "/v1/forecast", person(plant, ("member", "acme", "default"))).json()
    assert [one["job"] for one in own["items"]] == ["acme-3"]


def test_an_explanation_has_the_forecast_of_a_job_that_waits(plant: Plant) -> None:
    said = plant.ask("GET", "/v1/jobs/acme-3/explanation").json()["forecast"]
    assert said["p50"] is not None
    assert said["p50_covered"] == {"forecasts": 10, "share": 0.5}
    assert plant.ask("GET", "/v1/jobs/acme-2/explanation").json()["forecast"] is None


def test_what_is_old_is_not_shown_and_health_says_so(plant: Plant) -> None:
    assert plant.ask("GET", "/healthz").json()["forecast"] == "ok"
    (listed,) = plant.ask("GET", "/v1/jobs?state=pending&tenant=acme").json()["items"]
    assert listed["forecast"] == plant.ask("GET", "/v1/jobs/acme-3").json()["forecast"]
    assert (listed["id"], listed["forecast"]["p90"], listed["forecast"]["deadline_chance"]) == (
        "acme-3",
        None,
        0.25,
    )
    assert (
        listed["forecast"].items()
        <= plant.ask("GET", "/v1/jobs/acme-3/explanation").json()["forecast"].items()
    )
    assert plant.ask("GET", "/v1/jobs/acme-2").json()["forecast"] is None, "it runs already"
    plant.writer.now += kept.STALE_US + SECOND_US
    assert plant.ask("GET", "/v1/jobs/acme-3").json()["forecast"] is None
    found = plant.ask("GET", "/v1/forecast").json()
    assert (found["state"], found["items"], found["at"]) == ("stale", [], None)
    assert plant.ask("GET", "/v1/jobs/acme-3/explanation").json()["forecast"] is None
    assert plant.ask("GET", "/healthz").json()["forecast"] == "stale"
    plant.faces.forecasts = Latest()
    assert plant.ask("GET", "/healthz").json()["forecast"] == "off"
