# SPDX-License-Identifier: Apache-2.0
"""What the API promises about jobs: 201 means recorded, refusals are named, a retry is the same job, names stay out of
the journal."""

import asyncio
import hashlib
import sqlite3
from pathlib import Path
from typing import Any

import httpx2
import pytest

from leitstand.api import context
from leitstand.core.acts import ProjectAdded, RecordsErased, UserAdded
from leitstand.core.facts import JobSubmitted, Resources, RulesSet, SubmitJob, TenantAdded
from leitstand.core.rules import Rules
from leitstand.runtime.follower import ViewBroken
from leitstand.stores import records
from leitstand.stores.blobs import Room
from leitstand.stores.people import Person
from leitstand.views import database
from tests.unit.archives import archive
from tests.unit.faces_story import Plant, problem
from tests.unit.faults import files_that_cannot_grow, sqlite_error


@pytest.fixture
def plant(tmp_path: Path) -> Plant:
    return Plant(tmp_path)


def test_a_submission_answers_with_the_job_once_it_is_recorded(plant: Plant) -> None:
    answer = plant.submit(
        name="train",
        resources={"gpus": 2, "cpus": 1.5, "memory_gb": 2},
        num_nodes=2,
        max_duration="1h30m",
        priority=7,
    )
    assert answer.status_code == 201
    job = answer.json()
    assert {
        key: job[key] for key in ("id", "name", "tenant", "project", "state", "num_nodes", "priority")
    } == {
        "id": "operator-1",
        "name": "train",
        "tenant": "operator",
        "project": "default",
        "state": "starting",
        "num_nodes": 2,
        "priority": 7,
    }
    assert job["resources"] == {"gpus": 2, "cpus": 1.5, "memory_gb": 2.0}
    assert job["max_duration_s"] == 5400
    assert job["submitted_at"] == "1970-01-01T00:00:02Z"
    assert (job["started_at"], job["ended_at"], job["exit_code"], job["signal"]) == (None, None, None, None)
    (run,) = job["runs"]
    assert run["tasks"] == [{"node": "node-1", "gpus": [0, 1]}, {"node": "node-2", "gpus": [0, 1]}]
    (fact,) = [entry.fact for entry in plant.writer.journal.read(0) if isinstance(entry.fact, JobSubmitted)]
    assert (fact.resources.gpus, fact.resources.cpus_milli, fact.resources.memory_mib) == (4, 3000, 4096)
    assert plant.ask("GET", "/v1/jobs/operator-1").json() == job


def test_one_core_is_the_default_unless_gpus_are_asked_for(plant: Plant) -> None:
    assert plant.submit(resources={}).json()["resources"]["cpus"] == 1
    assert plant.submit(resources={"gpus": 1}).json()["resources"]["cpus"] == 0
    assert plant.submit(resources={"cpus": 0}).json()["resources"]["cpus"] == 0


def test_nothing_personal_enters_the_journal_and_the_engine_finds_it_by_digest(plant: Plant) -> None:
    words = {"name": "my-secret-name", "run": ["my-secret-command"], "envs": {"KEY": "my-secret-value"}}
    assert plant.submit(key="my-secret-key", setup="my-secret-setup", **words).status_code == 201
    stored = b"".join(body for _, _, body, _ in plant.writer.journal.rows(0))
    assert b"JobSubmitted" in stored
    assert b"my-secret" not in stored
    spec = plant.faces.records.get(plant.faces.follower.state.jobs["operator-1"].spec)
    assert spec is not None
    assert (spec.name, spec.argv, spec.envs) == (
        "my-secret-name",
        ("my-secret-command",),
        {"KEY": "my-secret-value"},
    )


def test_an_erased_name_is_shown_as_empty(plant: Plant) -> None:
    plant.submit(name="somebody")
    plant.faces.records.erase("admin")
    assert plant.ask("GET", "/v1/jobs/operator-1").json()["name"] == ""


def test_a_string_is_a_script(plant: Plant) -> None:
    plant.submit(run="echo a\necho b")
    spec = plant.faces.records.get(plant.faces.follower.state.jobs["operator-1"].spec)
    assert spec is not None
    assert (spec.argv, spec.script) == ((), "echo a\necho b")


def test_a_job_that_never_fits_is_refused_with_its_recorded_reason(plant: Plant) -> None:
    refusal = problem(plant.submit(resources={"gpus": 5}), 422, "no_such_capacity")
    assert refusal["job"] == "operator-1"
    assert "5 GPUs" in refusal["detail"]
    job = plant.ask("GET", "/v1/jobs/operator-1").json()
    assert (job["state"], job["reason"]) == ("rejected", "no_such_capacity")
    long = problem(plant.submit(max_duration="31d"), 422, "limit")
    assert "asks for 31d; the limit is 30d" in long["detail"]


def test_an_unknown_tenant_is_refused_and_not_recorded(plant: Plant) -> None:
    head = plant.writer.journal.head
    problem(plant.submit(tenant="nobody"), 422, "unknown-tenant")
    assert plant.writer.journal.head == head


# ── idempotency ───────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_retry_with_the_same_key_is_the_same_job(plant: Plant) -> None:
    one = plant.submit(key="k1", name="a")
    again = plant.ask(
        "POST",
        "/v1/jobs",
        content=b'{ "resources": {"gpus": 1}, "name": "a", "run": ["true"] }',  # other bytes, the same request
        headers={"Idempotency-Key": "k1"},
    )
    assert (one.status_code, again.status_code) == (201, 201)
    assert one.json()["id"] == again.json()["id"] == "operator-1"
    assert plant.submit(key="k2", name="a").json()["id"] == "operator-2"
    assert plant.submit(name="a").json()["id"] == "operator-3"


def test_a_retry_of_a_refused_job_is_refused_again_as_the_same_job(plant: Plant) -> None:
    first = problem(plant.submit(key="k", resources={"gpus": 99}), 422, "no_such_capacity")
    again = problem(plant.submit(key="k", resources={"gpus": 99}), 422, "no_such_capacity")
    assert first["job"] == again["job"] == "operator-1"


def test_a_key_used_again_with_another_body_is_a_conflict(plant: Plant) -> None:
    plant.submit(key="k", name="a")
    refusal = problem(plant.submit(key="k", name="b"), 409, "request-reused")
    assert "operator-1" in refusal["detail"]
    assert len(plant.faces.follower.state.jobs) == 1


def test_a_key_over_its_limit_is_refused(plant: Plant) -> None:
    assert plant.submit(key="k" * 255).status_code == 201
    assert "255" in problem(plant.submit(key="k" * 256), 400, "invalid-request")["detail"]


# ── trouble ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_without_a_writer_nothing_is_accepted_and_readings_go_on(plant: Plant) -> None:
    plant.submit()
    plant.writer.connected = False
    for answer in (plant.submit(), plant.ask("POST", "/v1/jobs/operator-1/cancel")):
        problem(answer, 503, "writer-away")
        assert answer.headers["retry-after"] == "1"
    assert plant.ask("GET", "/v1/jobs/operator-1").status_code == 200
    assert len(plant.ask("GET", "/v1/jobs").json()["items"]) == 1


def test_without_a_writer_not_even_a_record_is_written(plant: Plant) -> None:
    plant.writer.connected = False
    problem(plant.submit(name="x"), 503, "writer-away")
    assert plant.faces.records._tables.read("SELECT count(*) FROM records") == [(0,)]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [(sqlite3.SQLITE_FULL, 507, "disk-full"), (sqlite3.SQLITE_BUSY, 503, "storage-away")],
)
def test_a_record_that_cannot_be_written_refuses_the_job_unasked(
    plant: Plant, monkeypatch: pytest.MonkeyPatch, error: int, status: int, code: str
) -> None:
    def refuse(_: object) -> None:
        raise sqlite_error(error)

    monkeypatch.setattr(plant.faces.records, "put_all", refuse)
    head = plant.writer.journal.head
    problem(plant.submit(), status, code)
    assert plant.writer.journal.head == head


def test_a_list_that_the_views_cannot_show_is_refused_by_name_and_they_are_given_up(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "COMMIT_S", 3600)
    plant.submit()
    with files_that_cannot_grow():
        problem(plant.ask("GET", "/v1/jobs"), 507, "disk-full")
    with pytest.raises(ViewBroken):
        plant.writer.cycle(TenantAdded("acme"))


def test_a_submission_whose_record_would_be_too_large_harms_no_other(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body within its limit can be over it as a record, where every control character takes six bytes."""
    monkeypatch.setattr(records, "SPEC_BYTES_MAX", 1000)
    big = {"run": "x" * 1000}

    async def both(client: httpx2.AsyncClient) -> list[httpx2.Response]:
        bodies = ({"run": ["true"]}, big, {"run": ["false"]})
        return await asyncio.gather(*(client.post("/v1/jobs", json=body) for body in bodies))

    one, refused, other = plant.run(both)
    assert (one.status_code, other.status_code) == (201, 201)
    problem(refused, 413, "too-large")


def test_a_busy_writer_is_told_with_retry_after(plant: Plant) -> None:
    plant.writer.refuses = "busy"
    answer = plant.submit()
    problem(answer, 429, "busy")
    assert answer.headers["retry-after"] == "3"


@pytest.mark.parametrize("who", ["faces", "writer"])
def test_a_disk_below_its_reserve_refuses_submissions_and_nothing_else(plant: Plant, who: str) -> None:
    plant.submit()
    if who == "faces":
        plant.low = True
    else:
        plant.writer.refuses = "disk_full"
    problem(plant.submit(), 507, "disk-full")
    plant.writer.refuses = ""
    assert plant.ask("POST", "/v1/jobs/operator-1/cancel").status_code == 202


def test_more_requests_at_once_than_the_limit_are_refused_by_name(
    plant: Plant, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(context, "ASKS_MAX", 1)
    with plant.faces.limits.hold(("tenant 'operator'", 1)):
        answer = plant.submit()
    assert "tenant 'operator'" in problem(answer, 429, "busy")["detail"]
    assert answer.headers["retry-after"] == "1"
    assert plant.submit().status_code == 201


# ── reading ───────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_job_that_ended_shows_how_and_what_it_used(plant: Plant) -> None:
    plant.submit(resources={"gpus": 2, "cpus": 3})
    plant.finish("operator-1.1", exit_code=7)
    job = plant.ask("GET", "/v1/jobs/operator-1").json()
    assert (job["state"], job["reason"], job["exit_code"]) == ("failed", "exit_code", 7)
    assert job["message"] == "ended with exit code 7"
    assert job["usage"] == {
        "wall_s": 1.0,
        "gpu_s": 2.0,
        "cpu_s": 3.0,
        "wall_us": 10**6,
        "gpu_us": 2 * 10**6,
        "cpu_milli_us": 3000 * 10**6,
    }
    assert (job["runs"][0]["state"], job["runs"][0]["outcome"]) == ("ended", "exited")


def test_a_waiting_job_says_what_it_waits_for(plant: Plant) -> None:
    rules = Rules(discipline="fifo-strict")
    plant.writer.cycle(RulesSet(rules, ""))
    for gpus in (4, 4, 4, 0):
        plant.submit(resources={"gpus": gpus})
    jobs = plant.ask("GET", "/v1/jobs?state=pending").json()["items"]
    assert [(job["id"], job["reason"]) for job in jobs] == [
        ("operator-4", "order"),
        ("operator-3", "capacity"),
    ]
    assert jobs[0]["message"] == "waits until its turn comes"


def test_pages_follow_each_other_newest_first_until_the_last(plant: Plant) -> None:
    plant.writer.cycle(ProjectAdded("operator", "p0"), ProjectAdded("operator", "p1"))
    for number in range(7):
        plant.submit(project=f"p{number % 2}")
    seen, cursor = [], ""
    while True:
        page = plant.ask("GET", f"/v1/jobs?limit=3{cursor}").json()
        seen += [job["id"] for job in page["items"]]
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == [f"operator-{number}" for number in range(7, 0, -1)]
    of_project = plant.ask("GET", "/v1/jobs?project=p1&tenant=operator&state=starting,running").json()[
        "items"
    ]
    assert [job["id"] for job in of_project] == ["operator-6", "operator-4", "operator-2"]


def test_a_wrong_query_names_every_fault(plant: Plant) -> None:
    answer = plant.ask("GET", "/v1/jobs?state=done&limit=0&statee=x&tenant=A")
    errors = {error["where"]: error["what"] for error in problem(answer, 400, "invalid-request")["errors"]}
    assert set(errors) == {"state", "limit", "statee", "tenant"}
    assert errors["statee"] == "is unknown; did you mean 'state'?"


@pytest.mark.parametrize("path", ["/v1/jobs/nobody-1", "/v1/jobs/nobody-1/logs", "/v1/jobs/%00"])
def test_an_unknown_job_is_not_found(plant: Plant, path: str) -> None:
    problem(plant.ask("GET", path), 404, "unknown-job")


def test_cancelling_ends_a_waiting_job_stops_a_running_one_and_leaves_an_ended_one(plant: Plant) -> None:
    for gpus in (4, 4, 4):
        plant.submit(resources={"gpus": gpus})
    stopping = plant.ask("POST", "/v1/jobs/operator-1/cancel")
    assert (stopping.status_code, stopping.json()["state"]) == (202, "stopping")
    cancelled = plant.ask("POST", "/v1/jobs/operator-3/cancel")
    assert (cancelled.status_code, cancelled.json()["state"]) == (202, "cancelled")
    plant.finish("operator-2.1")
    ended = plant.ask("POST", "/v1/jobs/operator-2/cancel")
    assert (ended.status_code, ended.json()["state"]) == (202, "succeeded")
    problem(plant.ask("POST", "/v1/jobs/operator-9/cancel"), 404, "unknown-job")


# ── plan, tenants, usage, fleet ───────────────────────────────────────────────────────────────────────────────────
def test_a_plan_tells_what_would_happen_and_changes_nothing(plant: Plant) -> None:
    def plan(**body: Any) -> httpx2.Response:
        return plant.ask("POST", "/v1/plan", json={"run": ["true"], **body})

    before = (plant.writer.journal.head, plant.faces.follower.state.digest())
    now = plan(resources={"gpus": 3}).json()
    assert (now["admitted"], now["starts_now"], now["waits_for"]) == (True, True, "")
    assert now["tasks"] == [{"node": "node-1", "gpus": [0, 1, 2]}]
    never = plan(resources={"gpus": 9}).json()
    assert (never["admitted"], never["reason"], never["asked"], never["limit"]) == (
        False,
        "no_such_capacity",
        9,
        8,
    )
    problem(plan(tenant="nobody"), 422, "unknown-tenant")
    problem(plan(num_nodes=0), 400, "invalid-request")
    assert (plant.writer.journal.head, plant.faces.follower.state.digest()) == before
    for _ in range(2):
        plant.submit(resources={"gpus": 4})
    later = plan(resources={"gpus": 1}).json()
    assert (later["starts_now"], later["waits_for"], later["jobs_ahead"]) == (False, "capacity", 0)


def test_tenants_are_added_once_and_listed(plant: Plant) -> None:
    added = plant.ask("POST", "/v1/tenants", json={"id": "acme", "class": "startup"})
    assert added.status_code == 201
    assert {key: added.json()[key] for key in ("id", "class", "jobs", "pending")} == {
        "id": "acme", "class": "startup", "jobs": 0, "pending": 0,
    }  # fmt: skip
    again = plant.ask("POST", "/v1/tenants", json={"id": "acme", "class": "startup"})
    # the answer to the first may have been lost
    assert (again.status_code, again.json()) == (200, added.json())
    problem(plant.ask("POST", "/v1/tenants", json={"id": "acme"}), 409, "exists")
    wrong = problem(plant.ask("POST", "/v1/tenants", json={"id": "-A", "class": "x"}), 400, "invalid-request")
    assert [error["where"] for error in wrong["errors"]] == ["/id", "/class"]
    assert [tenant["id"] for tenant in plant.ask("GET", "/v1/tenants").json()["items"]] == [
        "operator",
        "acme",
    ]
    assert plant.submit(tenant="acme").json()["id"] == "acme-1"


def test_usage_is_summed_by_tenant_by_project_and_listed_by_job(plant: Plant) -> None:
    plant.ask("POST", "/v1/tenants", json={"id": "acme"})
    plant.writer.cycle(*(ProjectAdded(*one) for one in (("operator", "a"), ("operator", "b"), ("acme", "a"))))
    for tenant, project in (("operator", "a"), ("operator", "b"), ("acme", "a")):
        job = plant.submit(tenant=tenant, project=project, name=f"{tenant}-{project}").json()
        plant.finish(job["runs"][0]["id"])

    def usage(by: str) -> list[tuple[Any, ...]]:
        items = plant.ask("GET", f"/v1/usage?by={by}").json()["items"]
        return [
            (u["tenant"], u.get("project"), u.get("job"), u["jobs"], u["gpu_us"], u["wall_s"]) for u in items
        ]

    million = 10**6
    assert usage("tenant") == [
        ("acme", None, None, 1, million, 1.0),
        ("operator", None, None, 2, 2 * million, 2.0),
    ]
    assert usage("project") == [
        ("acme", "a", None, 1, million, 1.0),
        ("operator", "a", None, 1, million, 1.0),
        ("operator", "b", None, 1, million, 1.0),
    ]
    assert [item[2] for item in usage("job")] == ["acme-1", "operator-2", "operator-1"]
    problem(plant.ask("GET", "/v1/usage?by=user"), 400, "invalid-request")


def test_nodes_and_sites_show_what_is_free(plant: Plant) -> None:
    plant.submit(resources={"gpus": 3}, num_nodes=2)
    nodes = plant.ask("GET", "/v1/nodes").json()["items"]
    assert [
        (node["id"], node["gpus"], node["gpus_free"], node["runs"], node["logical"]) for node in nodes
    ] == [
        ("node-1", 4, 1, ["operator-1.1"], True),
        ("node-2", 4, 1, ["operator-1.1"], True),
    ]
    assert (nodes[0]["cpus"], nodes[0]["memory_gb"], nodes[0]["gpu_type"]) == (8.0, 16.0, "logical")
    (site,) = plant.ask("GET", "/v1/sites").json()["items"]
    assert (site["id"], site["nodes"], site["gpus"], site["gpus_free"]) == ("here", 2, 8, 2)


# ── people ────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_jobs_show_who_submitted_them_until_the_name_is_erased(plant: Plant) -> None:
    plant.writer.cycle(UserAdded(""))
    plant.faces.people.put_person("u1", Person("Ada Lovelace", "ada@example.org"))
    plant.submit()
    plant.writer.cycle(SubmitJob("operator", "default", Resources(gpus=1), user="u1"))

    def shown() -> list[dict[str, str]]:
        items = plant.ask("GET", "/v1/jobs").json()["items"]
        assert [job["user"] for job in items] == [
            plant.ask("GET", f"/v1/jobs/{job['id']}").json()["user"] for job in items
        ]
        return [job["user"] for job in items]

    administrator = {"id": "admin", "name": "administrator"}
    assert shown() == [{"id": "u1", "name": "Ada Lovelace"}, administrator]
    plant.faces.people.erase("u1")
    plant.writer.cycle(RecordsErased("u1"))
    assert shown() == [{"id": "u1", "name": ""}, administrator]


# ── blobs ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_work_directory_is_uploaded_once_and_then_known(plant: Plant) -> None:
    content = archive()
    digest = hashlib.sha256(content).hexdigest()
    unknown = plant.submit(workdir=digest)
    assert digest in problem(unknown, 400, "unknown-blob")["detail"]
    assert plant.ask("PUT", f"/v1/blobs/{digest}", content=content).status_code == 201
    assert plant.ask("PUT", f"/v1/blobs/{digest}", content=content).status_code == 200
    assert plant.submit(workdir=digest).status_code == 201


def test_a_work_directory_belongs_to_the_tenant_it_was_sent_for(plant: Plant) -> None:
    plant.writer.cycle(TenantAdded("acme", "industry"))
    content = archive()
    digest = hashlib.sha256(content).hexdigest()
    assert plant.ask("PUT", f"/v1/blobs/{digest}?tenant=acme", content=content).status_code == 201
    problem(plant.submit(workdir=digest), 400, "unknown-blob")
    assert plant.submit(workdir=digest, tenant="acme").status_code == 201
    problem(plant.ask("PUT", f"/v1/blobs/{digest}?tenant=..", content=content), 400, "invalid-request")


def test_what_is_no_archive_and_what_is_too_much_for_a_tenant_is_refused(
    plant: Plant, tmp_path: Path
) -> None:
    plain = b"this is no archive"
    digest = hashlib.sha256(plain).hexdigest()
    problem(plant.ask("PUT", f"/v1/blobs/{digest}", content=plain), 400, "not-an-archive")
    assert list((tmp_path / "blobs").iterdir()) == []
    plant.faces.blobs.room = Room(1000, 100)
    digest = hashlib.sha256(archive()).hexdigest()
    refused = problem(plant.ask("PUT", f"/v1/blobs/{digest}", content=archive()), 413, "tenant-full")
    assert "limit of 100" in refused["detail"]
    assert plant.faces.blobs.open("operator", digest) is None


def test_wrong_uploads_are_refused_and_leave_nothing(plant: Plant, tmp_path: Path) -> None:
    digest = hashlib.sha256(b"right").hexdigest()
    problem(plant.ask("PUT", f"/v1/blobs/{digest}", content=b"wrong"), 400, "wrong-digest")
    problem(plant.ask("PUT", "/v1/blobs/ABC", content=b"right"), 400, "invalid-request")
    problem(plant.ask("PUT", f"/v1/blobs/{digest}", content=b"x" * 1001), 413, "too-large")
    plant.low = True
    problem(plant.ask("PUT", f"/v1/blobs/{digest}", content=b"right"), 507, "disk-full")
    assert list((tmp_path / "blobs").iterdir()) == []
