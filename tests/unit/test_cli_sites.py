# SPDX-License-Identifier: Apache-2.0
"""The commands about sites: what they send, show and ask."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.unit.test_cli_commands import Plane
from tests.unit.test_site_file import SITE, written

pytestmark = pytest.mark.usefixtures("alone")

HEALTH: dict[str, Any] = {
    "error": "",
    "since_at": "2026-11-23T08:00:00Z",
    "asked_at": "2026-11-23T08:00:10Z",
    "version": "22.05.8",
    "nodes": 4,
    "in_service": 4,
    "gpus": 32,
}
LISTED: dict[str, Any] = {
    "id": "aachen",
    "engine": "slurm",
    "jurisdiction": "de",
    "logical": False,
    "colocate": False,
    "nodes": 4,
    "gpus": 32,
    "gpus_free": 30,
    "mode": "directed",
    "operator": "RWTH Aachen",
    "levels": ["block", "rack"],
    "status": "ok",
    "health": HEALTH,
}
UNWELL = {
    **LISTED,
    "id": "bonn",
    "status": "unwell",
    "health": {**HEALTH, "error": "the token in /t has expired"},
}
SLURM = {
    "conf": "/etc/slurm/slurm.conf",
    "rest": "http://slurm.example.org:6820",
    "folder": "/shared/leitstand",
    "partition": "leitstand",
    "parts": ["leaf*"],
    "token_file": "/etc/leitstand/token",
    "account": "",
    "user": "root",
    "users": {"acme": "acme-runs"},
}
DESCRIBED = {
    "name": "aachen",
    "engine": "slurm",
    "mode": "directed",
    "slurm": SLURM,
    "jurisdiction": "de",
    "operator": "RWTH Aachen",
    "expect": {"nodes": 4, "gpus": 32},
    "quota": {"gpus": 0, "nodes": 0},
}
DETAIL = {"site": LISTED, "description": DESCRIBED, "runs": 2}
WELL = {"well": True, "checks": [{"name": "tools", "outcome": "ok", "said": "Slurm 22.05"}]}
ILL = {
    "well": False,
    "checks": [
        *WELL["checks"],  # type: ignore[misc]
        {"name": "partition", "outcome": "failed", "said": "there is no partition x; there are main"},
    ],
}


def bodies(plane: Plane) -> list[tuple[str, Any]]:
    return [
        (f"{method} {path}".rstrip(), json.loads(body) if isinstance(body, bytes | str) and body else body)
        for method, path, body in plane.asked
    ]


def test_sites_are_listed_and_what_is_not_well_says_why() -> None:
    done = Plane(**{"GET /v1/sites": {"items": [LISTED, UNWELL]}}).run("sites")
    first, second = (" ".join(line.split()) for line in done.stdout.splitlines()[1:])
    assert (first, second[-8:]) == ("aachen slurm directed de 4 real 32 30 ok", "not well")
    assert "bonn: not well since " in done.stderr
    assert "the token in /t has expired" in done.stderr


def test_a_site_is_shown_with_how_it_was_added() -> None:
    said = Plane(**{"GET /v1/sites/aachen": DETAIL}).run("sites", "show", "aachen").stdout
    assert "block > rack" in said
    assert "acme: acme-runs" in said
    assert "4 nodes, 32 GPUs" in said


def test_a_site_is_tested_then_added(tmp_path: Path) -> None:
    answers = {"POST /v1/sites/test": WELL, "PUT /v1/sites/aachen": DETAIL, "GET /v1/sites/aachen": DETAIL}
    plane = Plane(**answers)
    done = plane.run("sites", "add", str(written(tmp_path, SITE)))
    assert done.exit_code == 0, done.output
    assert "site aachen is there: 4 nodes with 32 GPUs in service" in done.stdout
    assert [sent for sent in bodies(plane) if not sent[0].startswith("GET")] == [
        ("POST /v1/sites/test", DESCRIBED),
        ("PUT /v1/sites/aachen", DESCRIBED),
    ]


def test_a_site_that_fails_a_test_is_not_added_unless_anyway(tmp_path: Path) -> None:
    answers = {"POST /v1/sites/test": ILL, "PUT /v1/sites/aachen": DETAIL, "GET /v1/sites/aachen": DETAIL}
    plane, file = Plane(**answers), str(written(tmp_path, SITE))
    done = plane.run("sites", "add", file)
    assert done.exit_code == 1
    assert "there is no partition x; there are main" in done.stderr
    assert "Slurm 22.05" not in done.stderr
    assert "Site aachen was not added" in done.stderr
    assert len(plane.asked) == 1
    assert plane.run("sites", "add", file, "--anyway").exit_code == 0


def test_a_wrong_file_is_named_with_its_line_and_nothing_is_sent(tmp_path: Path) -> None:
    plane = Plane()
    file = written(tmp_path, SITE.replace("mode: directed", "mode: direct"))
    done = plane.run("sites", "add", str(file))
    assert done.exit_code != 0
    assert f"{file}:3: is 'direct'; known: directed, delegated" in done.stderr
    assert plane.asked == []


def test_a_site_is_tested_by_its_name_too_and_the_exit_code_tells() -> None:
    plane = Plane(**{"GET /v1/sites/aachen": DETAIL, "POST /v1/sites/test": ILL})
    done = plane.run("sites", "test", "aachen")
    assert done.exit_code == 1
    assert "FAILED" in done.stdout
    assert bodies(plane)[-1] == ("POST /v1/sites/test", DESCRIBED)
    assert "There is no file none.yaml" in Plane().run("sites", "test", "none.yaml").stderr


def test_a_site_is_removed_by_who_is_sure() -> None:
    plane = Plane(**{"DELETE /v1/sites/aachen": {}})
    assert plane.run("sites", "remove", "aachen").exit_code != 0
    assert plane.asked == []
    assert "site aachen is removed" in plane.run("sites", "remove", "aachen", "--yes").stdout
