# SPDX-License-Identifier: Apache-2.0
"""What the API promises about sites: who sees what of them, what is refused, and what becomes of the book."""

import copy
from pathlib import Path
from typing import Any

import pytest

from leitstand.core import facts as f
from leitstand.core.rules import Rules
from leitstand.engines import health
from leitstand.engines.book import SiteBook, health_path
from leitstand.engines.health import Health
from leitstand.engines.slurm.checks import Check
from tests.unit.faces_story import TOKEN, Plant, problem
from tests.unit.onboarding_story import person

SITES = "/v1/sites"
SITE: dict[str, Any] = {
    "name": "aachen",
    "engine": "slurm",
    "mode": "directed",
    "jurisdiction": "de",
    "operator": "RWTH Aachen",
    "slurm": {"conf": "/c", "rest": "unix:/r", "folder": "/shared", "partition": "main"},
    "expect": {"nodes": 2},
}


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    made = Plant(tmp_path)
    made.writer.cycle(f.RulesSet(Rules(discipline="fair"), ""))
    made.faces.sites = SiteBook(tmp_path / "sites")
    return made


def add(plant: Plant, name: str = "aachen", token: str = TOKEN, **changes: Any) -> Any:
    return plant.ask("PUT", f"{SITES}/{name}", token, json={**SITE, "name": name, **changes})


def says(tmp_path: Path, plant: Plant, **changes: Any) -> None:
    """The engine of aachen tells how it is."""
    stamp = plant.faces.sites.read().stamps["aachen"]
    told = {
        "error": "",
        "since_us": 1,
        "asked_us": 2,
        "version": "22.05.8",
        "nodes": 2,
        "in_service": 2,
        "gpus": 2,
    }
    health.keep(health_path(tmp_path / "sites"), {"aachen": Health(**{**told, "stamp": stamp, **changes})})


def site(plant: Plant, name: str = "aachen", token: str = TOKEN) -> Any:
    listed = plant.ask("GET", SITES, token).json()["items"]
    return next((one for one in listed if one["id"] == name), None)


def serve(plant: Plant) -> None:
    """Its engine has found a node."""
    plant.writer.cycle(
        f.SiteAdded("aachen", "slurm", jurisdiction="de", levels=("rack",)),
        f.NodeAdded("aachen.n1", "aachen", 8, 64_000, 65_536, "h100", pool="", domains=("r1",)),
    )


def test_a_site_is_listed_from_the_moment_it_is_added_and_opening_until_it_was_asked(
    plant: Plant, tmp_path: Path
) -> None:
    made = add(plant).json()
    assert (made["site"]["status"], made["site"]["nodes"], made["runs"]) == ("opening", 0, 0)
    assert made["description"]["slurm"]["user"] == "root"
    says(tmp_path, plant)
    serve(plant)
    listed = site(plant)
    assert (listed["status"], listed["gpus"], listed["levels"]) == ("ok", 8, ["rack"])
    assert listed["health"]["version"] == "22.05.8"
    says(tmp_path, plant, stamp=1)  # of the engine before the last change
    assert site(plant)["status"] == "opening"


def test_this_machine_is_a_site_too_of_which_nobody_has_to_ask(plant: Plant) -> None:
    here = plant.ask("GET", f"{SITES}/here").json()
    assert (here["site"]["status"], here["site"]["health"], here["description"]) == ("ok", None, None)
    assert problem(plant.ask("DELETE", f"{SITES}/here"), 409, "conflict")
    assert problem(plant.ask("GET", f"{SITES}/nowhere"), 404, "unknown-site")
    assert problem(plant.ask("DELETE", f"{SITES}/nowhere"), 404, "unknown-site")
    assert "is there with the engine local" in problem(add(plant, "here"), 409, "exists")["detail"]


def test_less_than_expected_is_named_as_trouble(plant: Plant, tmp_path: Path) -> None:
    add(plant)
    says(tmp_path, plant, in_service=1, gpus=8)
    listed = site(plant)
    assert listed["status"] == "unwell"
    assert "1 nodes with 8 GPUs are in service, less than the 2 nodes" in listed["health"]["error"]


def test_why_a_site_is_unwell_is_told_to_those_who_run_the_cloud_alone(plant: Plant, tmp_path: Path) -> None:
    add(plant)
    says(tmp_path, plant, error="the token in /etc/secret has expired")
    assert site(plant)["health"]["error"] == "the token in /etc/secret has expired"
    plant.ask("POST", "/v1/tenants", json={"id": "acme"})
    member = person(plant, "member", "acme")
    told = site(plant, token=member)
    assert (told["status"], told["health"]["error"]) == ("unwell", "not well; who runs the cloud sees why")
    assert problem(plant.ask("GET", f"{SITES}/aachen", member), 403, "forbidden")
    assert problem(add(plant, token=member), 403, "forbidden")


@pytest.mark.parametrize(
    ("where", "value", "fault"),
    [
        (("slurm", "conf"), "c", "/slurm/conf is 'c'; give the whole path"),
        (
            ("slurm", "rest"),
            "http://r:6820",
            "/slurm/token_file is missing: slurmrestd at a port wants a token",
        ),
        (("slurm", "port"), 1, "/slurm/port is unknown"),
        (("mode",), "direct", "/mode is 'direct'; known: directed, delegated"),
        (("name",), "bonn", "/name is 'bonn', and the path says 'aachen'"),
        (("expect", "nodes"), -1, "/expect/nodes is -1; the limits are 0 to 1000000"),
    ],
)
def test_a_wrong_value_is_named_with_its_place(
    plant: Plant, where: tuple[str, ...], value: Any, fault: str
) -> None:
    body = copy.deepcopy(SITE)
    part = body
    for key in where[:-1]:
        part = part[key]
    part[where[-1]] = value
    said = problem(plant.ask("PUT", f"{SITES}/aachen", json=body), 400, "invalid-request")
    assert fault in said["detail"]
    assert site(plant) is None


def test_what_cannot_be_served_is_refused_with_what_helps(plant: Plant) -> None:
    without = problem(add(plant, mode="delegated"), 400, "invalid-request")["detail"]
    assert "/quota is to say either `gpus` or `nodes`" in without
    add(plant)
    assert (
        "its folder /shared is that of site aachen" in problem(add(plant, "bonn"), 409, "conflict")["detail"]
    )
    plant.writer.cycle(f.RulesSet(Rules(discipline="fifo-strict"), ""))
    said = problem(add(plant), 409, "conflict")
    assert "the discipline is fifo-strict" in said["detail"]
    assert "--discipline fair" in said["hint"]


def test_no_site_is_added_to_a_twin(plant: Plant) -> None:
    plant.faces.sites = SiteBook(None)
    assert "its sites are those of its scenario" in problem(add(plant), 409, "conflict")["detail"]
    plant.writer.cycle(f.SiteAdded("muc", "slurm"))
    assert site(plant, "muc")["status"] == "ok"


def test_a_site_where_a_run_lives_is_not_removed_then_it_is_and_is_listed_no_more(plant: Plant) -> None:
    add(plant)
    serve(plant)
    job = plant.submit(resources={"gpus": 1, "sites": ["aachen"]}).json()["id"]
    said = problem(plant.ask("DELETE", f"{SITES}/aachen"), 409, "conflict")
    assert said["detail"] == f"1 run lives at site aachen (first: {job}.1)"
    plant.writer.cycle(f.RunStarted(f"{job}.1", plant.writer.now))
    plant.writer.cycle(f.RunEnded(f"{job}.1", plant.writer.now, "exited", exit_code=0))
    assert plant.ask("DELETE", f"{SITES}/aachen").status_code == 204
    assert site(plant)["status"] == "leaving"  # until the writer has seen it
    plant.writer.cycle(f.NodeRemoved("aachen.n1"))
    assert site(plant) is None
    assert "aachen.n1" not in [node["id"] for node in plant.ask("GET", "/v1/nodes").json()["items"]]


def test_a_damaged_file_is_named_and_can_be_removed(plant: Plant, tmp_path: Path) -> None:
    add(plant)
    (tmp_path / "sites" / "aachen.json").write_text("{")
    listed = site(plant)
    assert (listed["status"], listed["nodes"]) == ("unwell", 0)
    assert f"{tmp_path}/sites/aachen.json: is no JSON" in listed["health"]["error"]
    assert plant.ask("DELETE", f"{SITES}/aachen").status_code == 204
    assert site(plant) is None


def test_a_test_gives_each_look_and_adds_nothing(plant: Plant) -> None:
    asked: list[str] = []

    def looks(file: Any) -> list[Check]:
        asked.append(file.name)
        return [Check("tools", "ok", "Slurm 22.05"), Check("conf", "failed", "/c is not there")]

    plant.faces.test_site = looks
    said = plant.ask("POST", f"{SITES}/test", json=SITE).json()
    assert (said["well"], [one["outcome"] for one in said["checks"]]) == (False, ["ok", "failed"])
    assert (asked, site(plant)) == (["aachen"], None)
