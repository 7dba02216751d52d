# SPDX-License-Identifier: Apache-2.0
"""The export of a tenant: everything of it and nothing of another, in formats that anybody can read."""

import asyncio
import hashlib
import io
import json
import os
import random
import tarfile
import tracemalloc
import zipfile
from pathlib import Path
from typing import Any

import pytest

from leitstand.api.auth import ROOT
from leitstand.api.tenancy import export
from leitstand.core.acts import TenantExported
from leitstand.engines.local import packing
from tests.unit.archives import archive
from tests.unit.faces_story import TOKEN, Plant, left_by, problem
from tests.unit.onboarding_story import DAY, LEGAL, join, later, person


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    plant = Plant(tmp_path)
    _populate(plant, "acme", "weld")
    _populate(plant, "other", "paint")
    return plant


def _populate(plant: Plant, tenant: str, mark: str) -> None:
    """A tenant with one of everything; each thing of it says `mark`."""
    admin = join(plant, tenant)
    legal = {**LEGAL, "name": f"{mark} GmbH"}
    kept = plant.ask("GET", f"/v1/tenants/{tenant}/legal", admin).headers["etag"]
    plant.ask("PUT", f"/v1/tenants/{tenant}/legal", admin, json=legal, headers={"If-Match": kept})
    plant.ask("POST", f"/v1/tenants/{tenant}/projects", admin, json={"name": f"{mark}-line"})
    user = max(plant.faces.follower.state.people.users, key=lambda one: int(one[1:]))
    packed = archive(f"{mark} work directory")
    with plant.faces.blobs.upload(tenant, hashlib.sha256(packed).hexdigest()) as upload:
        upload.write(packed)
        upload.commit()
    plant.faces.secrets.put(tenant, "default", f"{mark}-secret", f"{mark}-value", user)
    for number in range(3):
        body = {"run": ["echo", f"{mark} {number}"], "name": f"{mark}-{number}", "tenant": tenant}
        assert (
            plant.ask("POST", "/v1/jobs", admin, json={**body, "resources": {"gpus": 1}}).status_code == 201
        )
        plant.logs[f"{tenant}-{number + 1}.1", 0] = f"{mark} printed {number}\n".encode()
        plant.finish(f"{tenant}-{number + 1}.1")


def unpack(content: bytes) -> dict[str, bytes]:
    packed = zipfile.ZipFile(io.BytesIO(content))
    assert packed.testzip() is None
    names = packed.namelist()
    assert len(names) == len(set(names))
    return {name: packed.read(name) for name in names}


def lines(content: bytes) -> list[Any]:
    return [json.loads(line) for line in content.splitlines()]


def test_an_export_holds_everything_of_the_tenant(plant: Plant) -> None:
    answer = plant.ask("GET", "/v1/tenants/acme/export")
    assert answer.headers["content-type"] == "application/zip"
    assert answer.headers["content-disposition"] == 'attachment; filename="acme.zip"'
    files = unpack(answer.content)
    assert json.loads(files["tenant.json"])["id"] == "acme"
    assert json.loads(files["legal.json"])["name"] == "weld GmbH"
    assert json.loads(files["people.json"]) == {
        "u1": {"name": "Grace Hopper", "email": "grace@werk-nord.example"}
    }
    assert json.loads(files["members.json"]) == [
        {"user": "u1", "role": "tenant_admin", "project": "", "origin": ""}
    ]
    assert [one["name"] for one in json.loads(files["projects.json"])] == ["default", "weld-line"]
    assert json.loads(files["budgets.json"])[0]["gpu_hours"] == 100
    assert json.loads(files["usage.json"])[0]["jobs"] == 3
    assert [one["name"] for one in json.loads(files["secrets.json"])["default"]] == ["weld-secret"]
    jobs = lines(files["jobs.jsonl"])
    assert [job["name"] for job in jobs] == ["weld-2", "weld-1", "weld-0"]
    assert json.loads(files[jobs[0]["spec"]])["argv"] == ["echo", "weld 2"]
    assert files["logs/acme-3.1.0.log"] == b"weld printed 2\n"
    acts = [act["name"] for act in lines(files["acts.jsonl"])]
    assert {"TenantAdded", "RoleGranted", "BudgetGranted", "ProjectAdded"} <= set(acts)
    (blob,) = json.loads(files["blobs.json"])
    with tarfile.open(fileobj=io.BytesIO(files[f"blobs/{blob['sha256']}"])) as tar:
        file = tar.extractfile("train.py")
        assert file is not None
        assert file.read() == b"weld work directory"
    for name in files:
        kind = name.split("/")[0] + "/" if "/" in name else name
        assert name == "README.txt" or kind.rstrip("/") in files["README.txt"].decode(), (
            f"{name} is explained"
        )


def test_an_export_holds_what_runs_left_on_the_machine(plant: Plant, tmp_path: Path) -> None:
    for job in ("acme-1", "other-1"):
        left_by(tmp_path, job)
        for folder in (f"homes/{job[:-2]}", f"runs/{job}.1/work-0", f"checkpoints/{job}-0123456789ab"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / folder / "result").write_text(f"of {job}")
    os.mkfifo(tmp_path / "homes/acme/pipe")
    files = unpack(plant.ask("GET", "/v1/tenants/acme/export").content)
    inside = {
        "home.tar": "acme/result",
        "runs/acme-1.1.tar": "work-0/result",
        "runs/acme-1.1.stale-1.tar": "task-0.log",
        "checkpoints/acme-1-0123456789ab.tar": "acme-1-0123456789ab/result",
    }
    assert {name for name in files if name.endswith(".tar")} == set(inside)
    for name, member in inside.items():
        with tarfile.open(fileobj=io.BytesIO(files[name])) as tar:
            file = tar.extractfile(member)
            assert file is not None
            assert file.read() == (b"somebody's name" if "stale" in name else b"of acme-1")
    assert lines(files["left-out.jsonl"]) == [{"archive": "home.tar", "name": "acme/pipe", "why": "fifo"}]


def test_the_readme_tells_the_limits_of_what_runs_left(plant: Plant) -> None:
    readme = " ".join(
        unpack(plant.ask("GET", "/v1/tenants/acme/export").content)["README.txt"].decode().split()
    )
    assert f"in more than {packing.DEPTH_MAX} folders" in readme
    assert f"over {packing.FILE_BYTES_MAX >> 30} GiB" in readme
    assert f"After {packing.LISTED_MAX:,} entries" in readme
    for word in ("fifo", "socket", "device", "foreign", "unreadable", "vanished", "deep", "large", "changed"):
        assert word in readme


def test_who_takes_all_data_is_a_fact_before_the_first_byte(plant: Plant) -> None:
    admin, member = person(plant, ("tenant_admin", "acme")), person(plant, ("member", "acme"))
    plant.ask("GET", "/v1/tenants/acme/export", member)  # who may not has not
    assert exported(plant) == []
    files = unpack(plant.ask("GET", "/v1/tenants/acme/export", admin).content)
    (fact,) = exported(plant)
    assert fact == TenantExported("acme", "u3")
    assert lines(files["acts.jsonl"])[0]["name"] == "TenantExported"
    shown = plant.ask("GET", "/v1/acts?tenant=acme", admin).json()["items"][0]
    assert (shown["act"], shown["by"]["id"], shown["subject"]) == ("TenantExported", "u3", "acme")


def test_without_the_fact_nothing_is_given(plant: Plant) -> None:
    plant.writer.connected = False
    problem(plant.ask("GET", "/v1/tenants/acme/export"), 503, "writer-away")


def exported(plant: Plant) -> list[TenantExported]:
    return [e.fact for e in plant.writer.journal.read(0) if isinstance(e.fact, TenantExported)]


def test_an_export_holds_nothing_of_another_tenant_and_no_secret(plant: Plant) -> None:
    files = unpack(plant.ask("GET", "/v1/tenants/acme/export").content)
    for name, content in files.items():
        for word in (b"paint", b"other", b"weld-value", b"u2"):
            assert word not in content or name == "README.txt", f"{name} holds {word!r}"
    own = unpack(plant.ask("GET", "/v1/tenants/other/export").content)
    assert b"paint" in own["jobs.jsonl"]


def test_administrators_fetch_their_data_until_the_end_of_retrieval(plant: Plant) -> None:
    admin = person(plant, ("tenant_admin", "acme"))
    member = person(plant, ("member", "acme"))
    problem(plant.ask("GET", "/v1/tenants/acme/export", member), 403, "forbidden")
    plant.ask("POST", "/v1/tenants/acme/exit", json={"notice": "1d"})
    later(plant, 2 * DAY)
    later(plant, 31 * DAY)
    assert plant.ask("GET", "/v1/tenants/acme", admin).json()["stage"] == "retrieval"
    assert "jobs.jsonl" in unpack(plant.ask("GET", "/v1/tenants/acme/export", admin).content)
    later(plant, 31 * DAY)
    problem(plant.ask("GET", "/v1/tenants/acme/export", admin), 404, "unknown-tenant")
    assert plant.ask("GET", "/v1/tenants/acme/export", TOKEN).status_code == 200


def test_an_export_takes_no_more_memory_the_more_there_is(plant: Plant) -> None:
    size = 64 * 1024 * 1024
    plant.logs["acme-1.1", 0] = random.Random(1).randbytes(size)  # what does not shrink
    tenant = plant.faces.follower.state.tenants["acme"]

    async def fetch() -> int:
        sent = 0
        async for part in export.archive(plant.faces, ROOT, tenant):
            sent += len(part)
            assert len(part) < 4 * export.CHUNK
        return sent

    tracemalloc.start()
    try:
        assert asyncio.run(fetch()) > size
        assert tracemalloc.get_traced_memory()[1] < 16 * 1024 * 1024
    finally:
        tracemalloc.stop()


def test_an_export_that_is_cut_off_ends_quietly_and_the_next_ones_are_whole(plant: Plant) -> None:
    tenant = plant.faces.follower.state.tenants["acme"]

    async def cut() -> None:
        parts = export.archive(plant.faces, ROOT, tenant)
        await anext(parts)
        await parts.aclose()  # type: ignore[attr-defined]

    asyncio.run(cut())
    for _ in range(export.EXPORTS_MAX + 1):
        assert plant.ask("GET", "/v1/tenants/acme/export").status_code == 200
