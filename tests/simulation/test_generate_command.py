# SPDX-License-Identifier: Apache-2.0
"""`leitstand twin generate` as a user types it, and what it writes through the real replay."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from leitstand.cli.twin import twin
from leitstand.twin.cluster import read_cluster
from leitstand.twin.replay import Setting, replay
from leitstand.twin.synthetic.demand import Demand
from leitstand.twin.synthetic.generate import generate
from leitstand.twin.synthetic.replayable import cluster_of, trace_of
from leitstand.twin.traces import read_trace


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def generated(*arguments: str) -> Result:
    return CliRunner().invoke(twin, ["generate", *arguments])


def test_what_is_written_goes_through_the_real_replay(tmp_path: Path) -> None:
    out = tmp_path / "cloud.parquet"
    result = generated("--gpus", "32", "--days", "2", "--load", "0.8", "--seed", "3", str(out), "--json")
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    assert said["load"] == pytest.approx(0.8, rel=0.01)
    assert (said["trace"], said["cluster"]) == (str(out), str(tmp_path / "cloud.cluster.json"))
    for rules in ("sjf", "fair"):
        outcome = replay(Setting(trace=out, cluster=tmp_path / "cloud.cluster.json", discipline=rules))
        assert (outcome.jobs, outcome.rejected, outcome.left_out, outcome.dropped) == (said["jobs"], 0, 0, 0)


def test_the_file_holds_the_jobs_and_says_where_they_are_from(tmp_path: Path) -> None:
    out = tmp_path / "cloud.parquet"
    assert generated("--gpus", "512", "--days", "5", "--seed", "9", str(out)).exit_code == 0
    workload = generate(Demand(gpus=512, days=5, seed=9))
    trace, cluster = read_trace(out), read_cluster(tmp_path / "cloud.cluster.json")
    jobs = workload.jobs
    assert (trace.submit_us == jobs.submit_s * 10**6).all()
    assert (trace.duration_us == jobs.duration_s * 10**6).all()
    assert (trace.gpus == jobs.gpus).all()
    assert [trace.tenants[at] for at in trace.tenant] == [workload.tenants[at] for at in jobs.tenant]
    assert [trace.users[at] for at in trace.user] == [workload.users[at] for at in jobs.user]
    assert cluster.gpus == 512
    again = trace_of(workload)
    for name in ("job_ids", "submit_us", "duration_us", "gpus", "priority", "limit_us"):
        assert list(getattr(again, name)) == list(getattr(trace, name)), name
    assert [again.tenants[at] for at in again.tenant] == [trace.tenants[at] for at in trace.tenant]
    assert [again.users[at] for at in again.user] == [trace.users[at] for at in trace.user]
    assert cluster_of(workload) == cluster
    assert cluster.nodes_of == dict(zip(workload.tenants, workload.nodes, strict=True))
    table = pq.read_table(out)
    notes = table.schema.metadata
    assert notes[b"leitstand.digest"].decode() == workload.digest
    assert b"CC-BY-4.0" in notes[b"leitstand.sources"]
    for tenant, project, user, named in zip(
        *(table[name].to_pylist() for name in ("tenant", "project", "user", "class")), strict=True
    ):
        assert project.startswith(f"{tenant}-p")
        assert user.startswith(f"{tenant}-u")
        assert tenant.startswith(f"{named}-")
    assert set(table["kind"].to_pylist()) == {"batch", "service", "notebook"}
    assert set(table["state"].to_pylist()) == {"completed", "failed", "cancelled"}
    assert len(set(table["job_id"].to_pylist())) == len(jobs)


def test_the_same_numbers_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert generated("--gpus", "64", "--days", "3", str(tmp_path / f"{name}.parquet")).exit_code == 0
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()
    assert (tmp_path / "a.cluster.json").read_bytes() == (tmp_path / "b.cluster.json").read_bytes()


def test_a_person_gets_a_table_of_classes(tmp_path: Path) -> None:
    result = generated("--gpus", "1000", "--days", "3", str(tmp_path / "a.parquet"))
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert any(line.startswith("load:") and line.endswith("95.00%") for line in lines)
    assert any(line.split()[:3] == ["CLASS", "TENANTS", "BATCH"] for line in lines)
    assert [line.split()[0] for line in lines[-4:]] == ["industry", "startup", "research", "public"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ("--gpus", "0", "--days", "3", "a.parquet"),
            "gpus is 0, not in 1..200000; ask for a cloud of another size",
        ),
        (
            ("--gpus", "64", "--days", "3", "--load", "95", "a.parquet"),
            "1 is as much work as the cloud can do",
        ),
        (("--gpus", "64", "--days", "3", "a.csv"), "name the file .parquet"),
        (("--gpus", "64", "--days", "3", "there.parquet"), "exists already; name another file"),
        (("--gpus", "64", "--days", "3", "beside.parquet"), "beside.cluster.json: exists already"),
        (
            ("--gpus", "64", "--days", "3", "no/such/folder.parquet"),
            "cannot be written: No such file or directory",
        ),
        (("--gpus", "64", "--days", "3", "--tenants", "5", "a.parquet"), "No such option"),
        (("--gpus", "many", "--days", "3", "a.parquet"), "'many' is not a valid integer"),
        (("--days", "3", "a.parquet"), "Missing option '--gpus'"),
    ],
)
def test_what_makes_no_sense_is_refused_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there.parquet").write_bytes(b"mine")
    (tmp_path / "beside.cluster.json").write_bytes(b"mine")
    result = generated(*arguments)
    assert result.exit_code != 0
    assert said in result.output
    assert sorted(path.name for path in tmp_path.iterdir()) == ["beside.cluster.json", "there.parquet"]
    assert (tmp_path / "there.parquet").read_bytes() == b"mine"
