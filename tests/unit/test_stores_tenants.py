# SPDX-License-Identifier: Apache-2.0
"""What a tenant takes along when it leaves, and what is left of it, and of a person, after an erasure."""

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from leitstand.runtime.spec import RunSpec
from leitstand.stores import tenants as module
from leitstand.stores.blobs import Blobs
from leitstand.stores.legal import LegalIdentity
from leitstand.stores.people import People, Person
from leitstand.stores.records import Records
from leitstand.stores.secrets import Secrets
from leitstand.stores.tenants import Erased, Stores, erase_person, erase_tenant, export
from tests.unit.archives import archive

LEGAL = LegalIdentity("Acme GmbH", "Straße 1", "1", "Bonn", "DE", "small")


@pytest.fixture
def stores(folder: Path) -> Stores:
    """Two tenants with the same of everything; u1 works for both."""
    stores = Stores(
        People(folder / "people.db"),
        Records(folder / "records.db"),
        Secrets(folder / "secrets.db", lambda: 5_000),
        Blobs(folder / "blobs"),
    )
    for user in ("u1", "u2"):
        stores.people.put_person(user, Person(f"Person {user}", f"{user}@example.org", "https://id", user))
    content = archive()
    for tenant in ("acme", "umbrella"):
        stores.people.put_legal(tenant, LEGAL)
        stores.people.note(tenant, "checked")
        stores.secrets.put(tenant, "default", "token", f"value of {tenant}", "u1")
        stores.secrets.put_for_job(tenant, "default", {"A": "value of a job"})
        for user in ("u1", "u2"):
            for number in range(3):
                stores.records.put(tenant, user, RunSpec(name=f"{user} {number}", secrets={"T": "token@1"}))
        with stores.blobs.upload(tenant, hashlib.sha256(content).hexdigest()) as upload:
            upload.write(content)
            upload.commit()
    return stores


def exported(stores: Stores, tenant: str) -> dict[str, Any]:
    found = list(export(stores, tenant, ["u1", "u2", "u3"]))
    assert len({path for path, _ in found}) == len(found)
    return {path: msgspec.json.decode(content) for path, content in found}


def test_the_export_has_everything_of_one_tenant_and_no_value_of_a_secret(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "SPECS", 4)
    found = exported(stores, "acme")
    jobs = {path: spec for path, spec in found.items() if path.startswith("jobs/")}
    assert sorted(spec["name"] for spec in jobs.values()) == ["u1 0", "u1 1", "u1 2", "u2 0", "u2 1", "u2 2"]
    assert {path[5:-5] for path in jobs} == set(stores.records.refs_of("acme"))
    assert {path for path in found if path not in jobs} == {
        "legal.json",
        "people.json",
        "secrets.json",
        "blobs.json",
    }
    assert found["legal.json"]["name"] == "Acme GmbH"
    assert found["people.json"]["u1"] == {"name": "Person u1", "email": "u1@example.org"}
    assert list(found["people.json"]) == ["u1", "u2"]
    assert found["secrets.json"] == {
        "default": [{"name": "token", "version": 1, "created_us": 5, "by": "u1"}]
    }
    content = archive()
    assert found["blobs.json"] == [{"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}]
    assert "value of" not in str(found)


def test_a_tenant_with_nothing_has_an_export_too(stores: Stores) -> None:
    assert exported(stores, "nobody")["blobs.json"] == []


def test_erasing_a_tenant_leaves_nothing_of_it_and_all_of_the_others(stores: Stores) -> None:
    before = exported(stores, "umbrella")
    assert erase_tenant(stores, "acme") == Erased(records=6, profiles=2, secrets=2, blobs=1)
    after = exported(stores, "acme")
    assert (after["secrets.json"], after["blobs.json"]) == ({}, [])
    assert set(after) == {"people.json", "secrets.json", "blobs.json"}
    assert exported(stores, "umbrella") == before
    assert stores.secrets.read("umbrella", "default", "token") == "value of umbrella"
    assert erase_tenant(stores, "acme") == Erased()


def test_erasing_a_person_takes_its_jobs_in_every_tenant_and_what_was_cut_short_can_be_done_again(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as cut:
        cut.setattr(stores.people, "erase", _killed)
        with pytest.raises(KeyboardInterrupt):
            erase_person(stores, "u1")
    assert stores.people.person("u1") is None  # its key is gone with its records
    assert erase_person(stores, "u1") == Erased(records=0, profiles=1)
    for tenant in ("acme", "umbrella"):
        left = exported(stores, tenant)
        assert list(left["people.json"]) == ["u2"]
        assert sum(path.startswith("jobs/") for path in left) == 3
        assert "u1 " not in str(left)


def _killed(subject: str) -> int:
    raise KeyboardInterrupt
