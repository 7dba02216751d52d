# SPDX-License-Identifier: Apache-2.0
"""Slurm's accounting becomes a trace: from output that a real Slurm 22.05 printed, and from lines made for one thing.

tests/data/slurm: `sacct --parsable2 --duplicates`, `sacct --json` and `sacct --parsable --allocations` of one day of a
private cluster (users, accounts and jobs invented): an array, a heterogeneous job, a preempted, a twice requeued, a
cancelled and a failed one, one lost with its node, one over its time limit, one without GPU, two that still run.
"""

import json
from pathlib import Path

import pytest

from leitstand.twin.traces import Form, Trace, TraceError, read_trace

SLURM = Path(__file__).parent.parent / "data" / "slurm"
HEADER = "JobID|User|Account|Partition|Submit|Start|End|Elapsed|Timelimit|State|AllocTRES"
GOOD = "7|u|a|main|2026-03-02T08:00:00|2026-03-02T08:01:00|2026-03-02T08:02:00|00:01:00|01:00:00|COMPLETED|gres/gpu=4"
ZERO_S = 1_772_438_400  # 2026-03-02T08:00:00Z


def written(folder: Path, *lines: str, header: str = HEADER, name: str = "jobs.txt") -> Path:
    path = folder / name
    path.write_text("\n".join([header, *lines]) + "\n")
    return path


def changed(**values: str) -> str:
    """The good line with other values."""
    fields = dict(zip(HEADER.split("|"), GOOD.split("|"), strict=True))
    assert set(values) <= set(fields)
    return "|".join((fields | values).values())


def jobs(trace: Trace) -> list[tuple[str, str, int, float, int, int]]:
    """(id, tenant, submitted in s, lasted in s, GPUs, limit in s) of each job."""
    limits = [0] * len(trace) if trace.limit_us is None else trace.limit_us.tolist()
    return [
        (job, trace.tenants[tenant], submit // 10**6, round(lasted / 10**6, 3), gpus, limit // 10**6)
        for job, tenant, submit, lasted, gpus, limit in zip(
            trace.job_ids,
            trace.tenant,
            trace.submit_us.tolist(),
            trace.duration_us.tolist(),
            trace.gpus.tolist(),
            limits,
            strict=True,
        )
    ]


def refusal(path: Path, form: Form | None = None) -> str:
    with pytest.raises(TraceError) as refused:
        read_trace(path, form=form)
    assert str(path) in str(refused.value)
    return str(refused.value)


# ── what a real Slurm printed ─────────────────────────────────────────────────────────────────────────────────────
def test_the_jobs_of_a_real_cluster_are_read_from_text() -> None:
    trace = read_trace(SLURM / "sacct.txt")
    day = 1_795_436_972  # 2026-11-23T12:29:32Z
    assert jobs(trace) == [
        ("1", "werk", day, 3, 2, 600),
        ("2", "werk", day, 3, 8, 93_600),  # two nodes of four; 1-02:00:00
        ("3", "lehre", day, 0, 1, 1800),  # failed at once
        *((f"5_{task}", "lehre", day, 2, 1, 1800) for task in range(6)),
        ("6", "acme", day, 82, 1, 60),  # preempted, then over its limit: submitted when it first was
        ("12", "werk", day + 5, 0, 1, 300),
        ("13", "werk", day + 5, 2, 3, 300),  # 13+0 with one GPU and 13+1 with two
        ("15", "werk", day + 5, 1, 1, 300),  # its name has a | in it
        ("18", "lehre", day + 20, 60, 4, 1200),
        ("19", "lehre", day + 20, 60, 4, 1200),
        ("20", "lehre", day + 20, 60, 4, 1200),
        ("21", "werk", day + 24, 20, 4, 1200),
        ("22", "lehre", day + 124, 30, 1, 1200),  # lost with its node
        ("26", "acme", day + 241, 20, 1, 1800),  # requeued twice
    ]
    assert [trace.users[code] for code in trace.user[:3]] == ["daemon", "daemon", "games"]
    assert trace.dropped == 0
    assert trace.set_aside == {
        "steps of jobs": 28,
        "earlier runs of requeued jobs": 3,
        "further parts of heterogeneous jobs": 1,
        "without GPU": 1,
        "never started": 3,  # one of them with its end as its start
        "still running": 2,
    }


def test_text_and_json_of_the_same_day_are_the_same_trace() -> None:
    text, content = read_trace(SLURM / "sacct.txt"), read_trace(SLURM / "sacct.json")
    assert sorted(jobs(content)) == sorted(jobs(text))
    assert content.set_aside["earlier runs of requeued jobs"] == 3


def test_output_with_a_separator_at_the_end_of_each_line_is_read() -> None:
    trace = read_trace(SLURM / "trailing.txt")
    assert ("2", "werk", 1_795_436_972, 3, 8, 0) in jobs(
        trace
    )  # without the column Elapsed: from start to end
    assert trace.limit_us is None


# ── forms ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_columns_may_stand_in_any_order_and_others_between_them(tmp_path: Path) -> None:
    names = HEADER.split("|")
    order = [*reversed(range(len(names)))]
    header = "|".join(["Reason", *(names[at] for at in order), "ExitCode"])
    line = "|".join(["None", *(GOOD.split("|")[at] for at in order), "0:0"])
    one, other = read_trace(written(tmp_path, GOOD)), read_trace(written(tmp_path, line, header=header))
    assert jobs(other) == jobs(one) == [("7", "a", ZERO_S, 60, 4, 3600)]


@pytest.mark.parametrize(
    ("zone", "text", "expected"),
    [
        ("UTC", "2026-03-02T08:00:00", ZERO_S),
        ("Europe/Berlin", "2026-03-02T08:00:00", ZERO_S - 3600),
        ("Europe/Berlin", "2026-07-01T12:00:00", 1_782_900_000),  # summer time
        ("Europe/Berlin", "2026-10-25T02:30:00", 1_792_888_200),  # comes twice: the first
        ("Europe/Berlin", str(ZERO_S), ZERO_S),  # SLURM_TIME_FORMAT=%s needs no zone
    ],
)
def test_local_times_are_those_of_the_zone(tmp_path: Path, zone: str, text: str, expected: int) -> None:
    path = written(tmp_path, changed(Submit=text, Start="2026-12-01T00:00:00", End="2026-12-01T00:01:00"))
    assert read_trace(path, form=Form(time_zone=zone)).submit_us[0] == expected * 10**6


def test_the_hour_that_comes_twice_makes_no_job_end_before_it_began(tmp_path: Path) -> None:
    times = {"Submit": "2026-10-25T02:50:00", "Start": "2026-10-25T02:10:00", "End": "2026-10-25T02:20:00"}
    path = written(tmp_path, changed(Elapsed="", **times))
    trace = read_trace(path, form=Form(time_zone="Europe/Berlin"))
    assert jobs(trace)[0][2:4] == (1_792_889_400, 600)  # 00:50 UTC; began at 01:10 UTC
    assert "is before the job's submission" in refusal(path)  # UTC has no such hour


def test_an_unknown_time_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match=r"time zone 'Europe/Bielefeld' is not known here"):
        read_trace(written(tmp_path, GOOD), form=Form(time_zone="Europe/Bielefeld"))


def test_the_tenant_may_be_another_column(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    assert read_trace(path, form=Form(tenant_from="Partition")).tenants == ["main"]
    assert "column qos missing" in refusal(path, Form(tenant_from="QOS"))
    csv = tmp_path / "t.csv"
    csv.write_text("job_id,tenant,submit_s,duration_s,gpus\na,t,0,1,1\n")
    assert "leave --tenant-from out" in refusal(csv, Form(tenant_from="user"))


def test_later_versions_write_numbers_and_states_in_another_way(tmp_path: Path) -> None:
    job = {
        "job_id": 9,
        "account": "a",
        "array": {"job_id": 9, "task_id": {"set": True, "infinite": False, "number": 4}},
        "het": {"job_id": 0, "job_offset": {"set": False, "infinite": False, "number": 0}},
        "state": {"current": ["COMPLETED"]},
        "time": {"submission": ZERO_S, "start": ZERO_S + 5, "end": ZERO_S + 9, "elapsed": 4,
                 "limit": {"set": True, "infinite": False, "number": 10}},
        "tres": {"allocated": [{"type": "gres", "name": "gpu:h100", "count": 2},
                               {"type": "gres", "name": "gpu:a100", "count": 1}]},
    }  # fmt: skip
    path = tmp_path / "jobs.json"
    path.write_text(json.dumps({"jobs": [job]}))
    assert jobs(read_trace(path)) == [("9_4", "a", ZERO_S, 4, 3, 600)]
    runs = job | {
        "job_id": 3,
        "array": {},
        "state": {"current": ["RUNNING"]},
    }  # its end is the one it may have
    path.write_text(json.dumps({"jobs": [job, runs]}))
    assert read_trace(path).set_aside == {"still running": 1}
    job["time"] |= {"limit": {"set": False, "infinite": True, "number": 0}}  # type: ignore[operator]
    path.write_text(json.dumps({"jobs": [job]}))
    assert read_trace(path).limit_us is None


@pytest.mark.parametrize(
    ("values", "gpus"),
    [
        ({"AllocTRES": "cpu=8,gres/gpu:h100=2,gres/gpu=2,mem=1G"}, 2),
        ({"AllocTRES": "gres/gpu:a=1,gres/gpu:b=2"}, 3),
        ({"AllocTRES": "gres/gpumem=80G,gres/gpu=1,gres/gpuutil=9"}, 1),
    ],
)
def test_gpus_are_counted_once(tmp_path: Path, values: dict[str, str], gpus: int) -> None:
    assert read_trace(written(tmp_path, changed(**values))).gpus.tolist() == [gpus]


@pytest.mark.parametrize(
    ("text", "limit_s"), [("UNLIMITED", 0), ("Partition_Limit", 0), ("2-00:00:30", 172_830), ("05:00", 300)]
)
def test_time_limits_are_read_in_all_their_writings(tmp_path: Path, text: str, limit_s: int) -> None:
    path = written(tmp_path, GOOD, changed(JobID="8", Timelimit=text))
    assert jobs(read_trace(path))[1][5] == limit_s


# ── what is no job to replay is counted ───────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"JobID": "8.batch"}, "steps of jobs"),
        ({"JobID": "8_3.0"}, "steps of jobs"),
        ({"JobID": "8_[1-5%2]", "State": "PENDING", "Start": "Unknown", "End": "Unknown"}, "never started"),
        ({"JobID": "8", "State": "CANCELLED by 1000", "Start": "None"}, "never started"),
        ({"JobID": "8", "State": "CANCELLED by 1000", "AllocTRES": ""}, "never started"),
        ({"JobID": "8", "State": "RUNNING", "End": "Unknown"}, "still running"),
        ({"JobID": "8", "State": "SUSPENDED", "End": "Unknown"}, "still running"),
        ({"JobID": "8", "AllocTRES": "cpu=4,node=1"}, "without GPU"),
    ],
)
def test_what_is_no_job_to_replay_is_counted_and_no_error(
    tmp_path: Path, values: dict[str, str], why: str
) -> None:
    trace = read_trace(written(tmp_path, GOOD, changed(**values)))
    assert trace.job_ids == ["7"]
    assert trace.set_aside == {why: 1}


@pytest.mark.parametrize(
    "state", ["COMPLETED", "FAILED", "TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "CANCELLED by 7"]
)
def test_a_job_that_ran_counts_however_it_ended(tmp_path: Path, state: str) -> None:
    assert len(read_trace(written(tmp_path, changed(State=state)))) == 1


def test_a_file_without_any_job_to_replay_says_what_it_holds(tmp_path: Path) -> None:
    path = written(tmp_path, changed(State="RUNNING", End="Unknown"), changed(JobID="7.0"))
    assert (
        "none of its rows is a job that ran on a GPU and ended (1 steps of jobs, 1 still running)"
        in refusal(path)
    )


# ── what is wrong ─────────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"Submit": "yesterday"}, "column Submit: 'yesterday' is no moment between 1990 and 2100"),
        ({"Submit": "1970-01-01T00:00:00"}, "column Submit: '1970-01-01T00:00:00' is no moment"),
        ({"Submit": "2026-02-30T00:00:00"}, "column Submit: '2026-02-30T00:00:00' is no moment"),
        ({"Submit": "Unknown"}, "column Submit: (absent or NaN)"),
        ({"End": "2106-02-07T06:28:15"}, "column End: '2106-02-07T06:28:15' is no moment"),
        ({"End": "2026-03-02T08:00:30"}, "column End: 1772438430 is before the job's start, 1772438460"),
        ({"Start": "2026-03-02T07:00:00", "End": "2026-03-02T07:00:30"}, "column End: 1772434830 is before the"),
        ({"Start": "2026-03-02T07:59:59"}, "column Start: 1772438399 is before the job's submission"),
        ({"Elapsed": "an hour"}, "column Elapsed: 'an hour' is no duration (written [days-]hours:minutes:seconds)"),
        ({"Elapsed": "-1:00"}, "column Elapsed: '-1:00' is no duration"),
        ({"Timelimit": "00:00:00"}, "column Timelimit: 0 is not a time limit over 0"),
        ({"State": "FINE"}, "column State: FINE is no state"),
        ({"AllocTRES": "cpu=4,gres/gp"}, "column AllocTRES: 'cpu=4,gres/gp' is no list like cpu=8,gres/gpu=4"),
        ({"AllocTRES": "gres/gpu=four"}, "column AllocTRES: 'gres/gpu=four' is no list"),
        ({"AllocTRES": "gres/gpu=2000000"}, "column AllocTRES: 2000000 is not a whole number of GPUs in 1..1000000"),
        ({"Account": ""}, "column Account: (absent) is needed"),
        ({"JobID": "7"}, "column JobID: 7 is the id of the job in line 2 already"),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_is_named_with_line_column_value_and_remedy(
    tmp_path: Path, values: dict[str, str], says: str
) -> None:
    path = written(tmp_path, GOOD, "", changed(**({"JobID": "8"} | values)))
    message = refusal(path)
    assert f": line 4, {says}" in message
    assert "--lenient" in message
    kept = read_trace(path, lenient=True)
    assert (kept.job_ids, kept.dropped) == (["7"], 1)


def test_an_id_that_stands_twice_is_no_requeued_job_if_its_first_run_was_not_put_back(tmp_path: Path) -> None:
    later = {"Submit": "2026-03-02T09:00:00", "Start": "2026-03-02T09:00:00", "End": "2026-03-02T09:00:09"}
    twice = written(tmp_path, GOOD, changed(**later))
    assert "7 is the id of the job in line 2 already" in refusal(twice)
    put_back = written(tmp_path, changed(**later), changed(State="REQUEUED"), name="back.txt")
    assert [job[:3] for job in jobs(read_trace(put_back))] == [("7", "a", ZERO_S)]


def test_a_file_that_ends_in_the_middle_of_a_line_is_refused_and_its_end_can_be_dropped(
    tmp_path: Path,
) -> None:
    path = written(tmp_path, GOOD, changed(JobID="8"))
    whole = path.read_text()
    for cut in (1, 2, 30, 100):
        path.write_text(whole[:-cut])
        assert ": line 3 ends the file without a line break: it may be truncated" in refusal(path)
        kept = read_trace(path, lenient=True)
        assert (kept.job_ids, kept.dropped) == (["7"], 1)


def test_a_separator_in_a_name_is_understood_only_where_it_can_be(tmp_path: Path) -> None:
    one = read_trace(written(tmp_path, f"{GOOD}|train|a|b|", header=f"{HEADER}|JobName"))
    assert one.job_ids == ["7"]
    two = written(tmp_path, f"{GOOD}|a|b|c", header=f"{HEADER}|JobName|Comment")
    assert "line 2 has 14 fields, the header has 13 (truncated, or a | in a free text)" in refusal(two)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("JobID           JobName  Partition\n------------ ------\n1  plain main\n", "line 1 is no header of sacct"),
        (f"{GOOD}\n", "line 1 is no header of sacct --parsable2"),
        ("JobID|JobName|Partition|Account|AllocCPUS|State|ExitCode\n", "columns Submit, Start, End, AllocTRES missing"),
        (f"{HEADER}|JobID\n{GOOD}|7\n", "column jobid stands twice"),
    ],
)  # fmt: skip
def test_output_of_another_form_is_refused_with_the_command_that_makes_the_right_one(
    tmp_path: Path, content: str, says: str
) -> None:
    path = tmp_path / "jobs.txt"
    path.write_text(content)
    message = refusal(path)
    assert says in message
    assert refusal(path, Form("sacct")) == message
    assert "twice" in says or "sacct --allusers --duplicates --parsable2" in message


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"time": {"submission": ZERO_S * 1000}}, "job 1, column time.submission: 1.7724384e+12 is no moment"),
        ({"time": {"submission": "now"}}, "job 1, column time.submission: 'now' is no number"),
        ({"job_id": None}, "job 1, column job_id: None is no number of a job"),
        ({"tres": {"allocated": ["gpu"]}}, "job 1, column tres.allocated: ? is no list"),
        ({"tres": {"allocated": [{"type": "gres", "name": "gpu", "count": -1}]}}, "job 1, column tres.allocated"),
        ({"account": 7}, "job 1, column account: (absent) is needed"),
    ],
)  # fmt: skip
def test_json_that_cannot_be_is_named_with_its_job(
    tmp_path: Path, change: dict[str, object], says: str
) -> None:
    job = {
        "job_id": 9,
        "account": "a",
        "state": {"current": "COMPLETED"},
        "time": {"submission": ZERO_S, "start": ZERO_S + 5, "end": ZERO_S + 9},
        "tres": {"allocated": [{"type": "gres", "name": "gpu", "count": 2}]},
    }
    path = tmp_path / "jobs.json"
    if isinstance(change.get("time"), dict):
        change = {"time": job["time"] | change["time"]}  # type: ignore[operator]
    path.write_text(json.dumps({"jobs": [job | change, job | {"job_id": 10}, 3]}))
    assert says in refusal(path)
    kept = read_trace(path, lenient=True)
    assert (kept.job_ids, kept.dropped) == (["10"], 2)
    assert kept.dropped_why[1] == "job 3 is 3, no job"
