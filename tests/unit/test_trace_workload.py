# SPDX-License-Identifier: Apache-2.0
"""A trace in numbers, written as Parquet and read back, and shown: what an operator checks before a replay."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.cli.twin import twin
from leitstand.twin.convert import write_trace
from leitstand.twin.traces import Trace, TraceError, read_trace
from leitstand.twin.workload import Quantiles, TenantWorkload, describe

DATA = Path(__file__).parent.parent / "data"
HEADER = "job_id,tenant,user,submit_s,duration_s,gpus,limit_s"


@pytest.fixture(autouse=True)
def english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


def written(folder: Path, *lines: str) -> Path:
    path = folder / "jobs.csv"
    path.write_text("\n".join([HEADER, *lines]) + "\n")
    return path


def asked(*arguments: object) -> Result:
    return CliRunner().invoke(twin, list(map(str, arguments)))


def columns(trace: Trace) -> dict[str, Any]:
    names = (
        "job_ids",
        "tenants",
        "tenant",
        "users",
        "user",
        "submit_us",
        "duration_us",
        "gpus",
        "priority",
        "limit_us",
    )
    return {name: None if (held := getattr(trace, name)) is None else list(held) for name in names}


# ── in numbers ────────────────────────────────────────────────────────────────────────────────────────────────────
def test_a_trace_in_numbers_is_what_one_counts_by_hand(tmp_path: Path) -> None:
    path = written(
        tmp_path, "a,t,u,0,3600,1,", "b,t,v,60,1800,4,3600", "c,s,u,10800,7200,8,", "d,t,,3599,0.5,1,", "e,t,,x,1,1,"
    )  # fmt: skip
    found = describe(read_trace(path, lenient=True))
    assert (found.jobs, found.tenants, found.users) == (4, 2, 2)
    assert (found.first_s, found.last_s, found.span_h) == (0, 10_800, 3)
    assert found.gpu_h == pytest.approx(1 + 2 + 16 + 0.5 / 3600)
    assert found.mean_gpus == pytest.approx(found.gpu_h / 3)
    assert (found.one_gpu, found.limited, found.unsorted, found.dropped) == (0.5, 1, 1, 1)
    assert found.gpus == Quantiles(3.5, 1, 8, 8, 8)
    assert found.duration_s == Quantiles(3150.125, 1800, 7200, 7200, 7200)
    assert found.per_hour == Quantiles(1, 0, 3, 3, 3)  # 3, 0, 0 and 1
    assert found.per_tenant == {
        "s": TenantWorkload(1, 1, 16, 8),
        "t": TenantWorkload(3, 2, pytest.approx(3 + 0.5 / 3600), 4),
    }


def test_one_job_has_no_span() -> None:
    trace = read_trace(DATA / "synthetic.csv")
    one = Trace("x", ["a"], ["t"], trace.tenant[:1] * 0, [], trace.user[:1] * 0 - 1, *[trace.gpus[:1]] * 4)
    found = describe(one)
    assert (found.span_h, found.mean_gpus, found.per_hour) == (0, None, Quantiles(1, 1, 1, 1, 1))


# ── written and read back ─────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    "name", ["synthetic.csv", "synthetic.swf", "slurm/sacct.txt", "kubernetes/jobs.yaml"]
)
def test_what_is_converted_is_read_back_as_it_was(tmp_path: Path, name: str) -> None:
    trace, path = read_trace(DATA / name), tmp_path / "out.parquet"
    write_trace(trace, path)
    assert columns(read_trace(path)) == columns(trace)


TIMES_US = st.integers(-(2**32) * 10**6, 2**32 * 10**6)


@settings(max_examples=100, deadline=None, derandomize=True, database=None)
@given(
    st.lists(
        st.tuples(TIMES_US, TIMES_US, TIMES_US, st.sampled_from("ab"), st.booleans()), min_size=1, max_size=8
    )
)
def test_every_microsecond_survives(tmp_path_factory: pytest.TempPathFactory, jobs: list[Any]) -> None:
    jobs.sort(key=lambda job: job[0])
    submit, duration, limit, tenant, named = (list(column) for column in zip(*jobs, strict=True))
    first = list(dict.fromkeys(tenant))
    trace = Trace(
        "x",
        [f"j{number}" for number in range(len(jobs))],
        first,
        np.array([first.index(name) for name in tenant]),
        ["u"] if any(named) else [],
        np.array([0 if has else -1 for has in named]),
        np.array(submit),
        np.maximum(np.abs(np.array(duration)), 1),
        np.arange(len(jobs)) + 1,
        np.arange(len(jobs)) * 7,
        limit_us=np.abs(np.array(limit)) if any(limit) else None,
    )
    path = tmp_path_factory.mktemp("out") / "x.parquet"
    write_trace(trace, path)
    assert columns(read_trace(path)) == columns(trace)


def test_nothing_is_written_over_and_no_half_file_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trace, path = read_trace(DATA / "synthetic.csv"), tmp_path / "out.parquet"
    path.write_text("mine")
    with pytest.raises(TraceError, match="exists already"):
        write_trace(trace, path)
    assert path.read_text() == "mine"
    with pytest.raises(TraceError, match=r"suffix \.csv is not \.parquet"):
        write_trace(trace, tmp_path / "out.csv")
    with pytest.raises(TraceError, match="cannot be written: No such file"):
        write_trace(trace, tmp_path / "absent" / "out.parquet")

    def full(table: object, file: Any, **options: object) -> None:
        file.write(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("leitstand.twin.convert.pq.write_table", full)
    with pytest.raises(TraceError, match="cannot be written: No space left"):
        write_trace(trace, tmp_path / "half.parquet")
    assert not (tmp_path / "half.parquet").exists()


# ── the commands ──────────────────────────────────────────────────────────────────────────────────────────────────
def test_show_tells_a_person_what_was_read(tmp_path: Path) -> None:
    result = asked("show", DATA / "slurm" / "sacct.txt")
    assert (result.exit_code, result.stderr) == (0, "")
    lines = result.stdout.splitlines()
    assert "first:       2026-11-23T12:29:32Z" in lines
    assert "jobs:        19, 63.2% with one GPU" in lines
    assert any(line.startswith("set aside:   28 steps of jobs, 3 earlier runs") for line in lines)
    assert any(line.split()[:3] == ["lehre", "11", "1"] for line in lines)


def test_show_for_programs_is_json_with_what_was_dropped(tmp_path: Path) -> None:
    path = written(tmp_path, "a,t,u,0,1,1,", "b,t,u,0,1,0.5,", "c,t,u,0,1", "d,t,u,0,1")
    result = asked("show", path, "--lenient", "--json")
    assert result.exit_code == 0
    shown = json.loads(result.stdout)
    assert (shown["jobs"], shown["dropped"]) == (1, 3)
    assert (
        shown["dropped_why"][1] == "line 4 has 5 fields, the header has 7 (a comma in a value needs quotes)"
    )


def test_convert_says_how_many_jobs_and_what_was_left(tmp_path: Path) -> None:
    out = tmp_path / "x.parquet"
    result = asked("convert", DATA / "kubernetes" / "jobs.yaml", out)
    assert result.exit_code == 0
    assert result.stdout == f"2 jobs written to {out}\n"
    assert result.stderr.startswith("set aside: 1 never started, 1 still running, 1 without GPU")
    assert len(read_trace(out)) == 2
    again = asked("convert", DATA / "kubernetes" / "jobs.yaml", out)
    assert (again.exit_code, "exists already" in again.stderr) == (1, True)


def test_options_say_what_the_file_does_not(tmp_path: Path) -> None:
    renamed = tmp_path / "jobs"
    renamed.write_bytes((DATA / "synthetic.swf").read_bytes())
    assert "neither suffix (none) nor content" in asked("show", renamed).stderr
    assert asked("show", renamed, "--format", "swf").exit_code == 0
    berlin = asked(
        "show", DATA / "slurm" / "sacct.txt", "--time-zone", "Europe/Berlin", "--tenant-from", "QOS"
    )
    assert "2026-11-23T11:29:32Z" in berlin.stdout
    assert any(line.startswith("hoch") for line in berlin.stdout.splitlines())
