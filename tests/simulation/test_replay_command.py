# SPDX-License-Identifier: Apache-2.0
"""`leitstand twin replay` as a user types it: table, JSON of the documented form, clear errors, exit codes."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from leitstand.cli.twin import twin

DATA = Path(__file__).parent.parent / "data"
TRACE, CLUSTER = str(DATA / "synthetic.csv"), str(DATA / "synthetic.cluster.json")


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def replayed(*arguments: str) -> Result:
    return CliRunner().invoke(twin, ["replay", *arguments])


def test_json_has_the_documented_form() -> None:
    result = replayed(TRACE, "--cluster", CLUSTER, "--rules", "sjf", "--static", "--json")
    assert result.exit_code == 0
    assert result.stderr == ""
    outcome = json.loads(result.stdout)
    spread = {"mean", "p50", "p99"}
    assert set(outcome) >= {
        "jobs",
        "makespan_s",
        "queue_s",
        "jct_s",
        "utilisation",
        "per_tenant",
        "digest",
        "cpu_s",
    }
    assert set(outcome["queue_s"]) == set(outcome["jct_s"]) == spread
    assert list(outcome["per_tenant"]) == ["city", "forge", "lab"]
    for tenant in outcome["per_tenant"].values():
        assert set(tenant) == {"jobs", "queue_s", "jct_s"}
        assert set(tenant["queue_s"]) == set(tenant["jct_s"]) == spread
    assert sum(tenant["jobs"] for tenant in outcome["per_tenant"].values()) == outcome["jobs"]
    assert (outcome["rules"], outcome["static"], outcome["trace"]) == ("sjf", True, "synthetic")
    assert len(bytes.fromhex(outcome["digest"])) == 32


def test_a_person_gets_tables_with_units() -> None:
    result = replayed(TRACE, "--cluster", CLUSTER, "--rules", "fifo-strict")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert any(line.startswith("makespan:") and line.endswith(" s") for line in lines)
    assert any(line.startswith("utilisation:") and line.endswith("%") for line in lines)
    assert any("QUEUE MEAN [s]" in line and "JCT P99 [s]" in line for line in lines)
    assert lines[-1].startswith("(all)")


def test_dropped_rows_are_listed_on_stderr_up_to_ten(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    rows = [f"j{number},lab,0,1,0.5" for number in range(12)]
    trace.write_text("\n".join(["job_id,tenant,submit_s,duration_s,gpus", "good,lab,0,1,1", *rows]))
    result = replayed(str(trace), "--cluster", CLUSTER, "--rules", "sjf", "--lenient")
    assert result.exit_code == 0
    lines = result.stderr.splitlines()
    assert lines[0] == "dropped: line 3, column gpus: 0.5 is not a whole number of GPUs in 1..1000000"
    assert len(lines) == 11
    assert lines[-1].startswith("dropped: 2 more")


def test_what_is_too_large_and_who_has_no_nodes_is_named_on_stderr(tmp_path: Path) -> None:
    trace = tmp_path / "t.csv"
    trace.write_text(
        "job_id,tenant,submit_s,duration_s,gpus\na,lab,0,1,1\nb,lab,0,1,9999\nc,x,0,1,1\nd,x,0,1,1\n"
    )
    result = replayed(str(trace), "--cluster", CLUSTER, "--rules", "sjf")
    assert result.exit_code == 0
    assert [line.partition(", its")[0] for line in result.stderr.splitlines()] == [
        "rejected: job b asks for 9999 GPUs",
        "left out: 2 of tenant x, which has no nodes",
    ]


@pytest.mark.parametrize("name", ["slurm/sacct.txt", "slurm/sacct.json", "kubernetes/jobs.yaml"])
def test_traces_of_other_systems_are_replayed(tmp_path: Path, name: str) -> None:
    cluster = tmp_path / "c.json"
    tenants = ("werk", "lehre", "acme", "werk-nord", "uni-sued")
    cluster.write_text(json.dumps({"gpus_per_node": 4, "vc_nodes": dict.fromkeys(tenants, 3)}))
    result = replayed(str(DATA / name), "--cluster", str(cluster), "--rules", "fair", "--json")
    assert result.exit_code == 0
    outcome = json.loads(result.stdout)
    assert outcome["jobs"] == (2 if "kubernetes" in name else 19)
    assert outcome["set_aside"]["still running"] >= 1


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (
            ["absent.csv", "--cluster", CLUSTER, "--rules", "sjf"],
            1,
            "absent.csv: cannot be read: No such file",
        ),
        (
            [TRACE, "--cluster", "absent.json", "--rules", "sjf"],
            1,
            "absent.json: cannot be read: No such file",
        ),
        ([TRACE, "--cluster", TRACE, "--rules", "sjf"], 1, "synthetic.csv: is no cluster file"),
        (
            [CLUSTER, "--cluster", CLUSTER, "--rules", "sjf"],
            1,
            "is neither a listing of Kubernetes (kind, items)",
        ),
        (
            [TRACE, "--cluster", CLUSTER, "--rules", "lifo"],
            2,
            "--rules lifo is not one of: fifo-strict, fifo-greedy, sjf, priority, fair",
        ),
        ([TRACE, "--rules", "sjf"], 2, "--cluster FILE is needed for a trace"),
        ([TRACE, "--cluster", CLUSTER], 2, "--rules is needed for a trace, one of: fifo-strict"),
        (
            [TRACE, "--cluster", CLUSTER, "--rules", "sjf", "--journal", TRACE],
            1,
            "synthetic.csv: exists already",
        ),
        (
            [TRACE, "--cluster", CLUSTER, "--rules", "sjf", "--journal", "/absent/j.db"],
            1,
            "cannot write the journal",
        ),
        (
            [TRACE, "--cluster", CLUSTER, "--rules", "sjf", "--journal", TRACE + "/j.db"],
            1,
            "cannot write the journal",
        ),
    ],
)
def test_errors_say_what_and_where_and_fail(arguments: list[str], code: int, says: str) -> None:
    result = replayed(*arguments)
    assert result.exit_code == code
    assert result.stdout == ""
    assert says in result.stderr
    assert "Traceback" not in result.stderr
