# SPDX-License-Identifier: Apache-2.0
"""What is shipped is all of what is needed, and the bill of materials names every package of the lock."""

import json
import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest

from deploy import sbom
from deploy.shipped import LOCK, locked, shipped


@pytest.fixture(scope="module")
def bill() -> dict[str, Any]:
    return dict(json.loads(sbom.written()))


def test_what_is_shipped_is_what_runs_and_not_what_develops() -> None:
    names = {one.name for one in shipped(locked())}
    assert {"numpy", "uvicorn", "anyio", "psycopg", "psycopg-binary"} <= names, (
        "needed, needed by these, an extra"
    )
    assert names & {"pytest", "mypy", "ruff", "hypothesis", "cyclonedx-python-lib", "scikit-learn"} == set()


def test_the_bill_has_every_package_of_the_lock_with_its_digests(bill: dict[str, Any]) -> None:
    text = LOCK.read_text()
    wanted = set(re.findall(r"^([\w.-]+)==([\w.!+-]+)", text, re.MULTILINE))
    assert {(part["name"], part["version"]) for part in bill["components"]} == wanted
    listed = {one["content"] for part in bill["components"] for one in part["hashes"]}
    assert listed == set(re.findall(r"sha256:([0-9a-f]{64})", text))
    assert all(part["purl"] == f"pkg:pypi/{part['name']}@{part['version']}" for part in bill["components"])


def test_whatever_is_shipped_has_its_licence(bill: dict[str, Any]) -> None:
    required = [part for part in bill["components"] if part["scope"] == "required"]
    assert {part["name"] for part in required} == {one.name for one in shipped(locked())}
    assert [part["name"] for part in required if not part.get("licenses")] == []


def test_the_same_lock_gives_the_same_bytes(bill: dict[str, Any]) -> None:
    assert sbom.written() == json.dumps(bill, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    assert "timestamp" not in bill["metadata"]


def test_the_bill_is_what_its_format_asks_for(bill: dict[str, Any]) -> None:
    spec = find_spec("cyclonedx.schema")
    assert spec is not None
    assert spec.submodule_search_locations is not None
    folder = Path(spec.submodule_search_locations[0]) / "_res"
    names = ("bom-1.6", "spdx", "jsf-0.82")
    schema, *others = (json.loads((folder / f"{name}.SNAPSHOT.schema.json").read_text()) for name in names)
    places = (f"http://cyclonedx.org/schema/{name}.SNAPSHOT.schema.json" for name in names[1:])
    registry = jsonschema_rs.Registry(list(zip(places, others, strict=True)))
    validator = jsonschema_rs.validator_for(schema, registry=registry)
    assert [error.message for error in validator.iter_errors(bill)] == []
    assert not validator.is_valid({**bill, "components": [{"name": "no type"}]})
