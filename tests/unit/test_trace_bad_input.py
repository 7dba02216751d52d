# SPDX-License-Identifier: Apache-2.0
"""What is no usable trace is refused: the message names file, place, column, value and remedy."""

import gzip
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from leitstand.twin.reading import table
from leitstand.twin.traces import TraceError, read_trace

HEADER = "job_id,tenant,submit_s,duration_s,gpus,priority"
GOOD = "a,t,0,1,1,"
SWF = "1 0 0 60 3 -1 -1 4 -1 -1 1 3 7 -1 2 -1 -1 -1"


def refusal(path: Path, *, lenient: bool = False) -> str:
    with pytest.raises(TraceError) as refused:
        read_trace(path, lenient=lenient)
    message = str(refused.value)
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    ("row", "column", "value"),
    [
        ("b,t,x,1,1,", "submit_s", "'x'"),
        ("b,t,,1,1,", "submit_s", "(absent or NaN)"),
        ("b,t,inf,1,1,", "submit_s", "inf"),
        ("b,t,1e10,1,1,", "submit_s", "1e+10"),
        ("b,t,-1e300,1,1,", "submit_s", "-1e+300"),
        ("b,t,0,nan,1,", "duration_s", "(absent or NaN)"),
        ("b,t,0,-1,1,", "duration_s", "-1"),
        ("b,t,0,,1,", "duration_s", "(absent or NaN)"),
        ("b,t,0,1h,1,", "duration_s", "'1h'"),
        ("b,t,0,1,0,", "gpus", "0"),
        ("b,t,0,1,0.46,", "gpus", "0.46"),
        ("b,t,0,1,1.5,", "gpus", "1.5"),
        ("b,t,0,1,-2,", "gpus", "-2"),
        ("b,t,0,1,,", "gpus", "(absent or NaN)"),
        ("b,t,0,1,1e9,", "gpus", "1e+09"),
        ("b,,0,1,1,", "tenant", "(absent)"),
        (",t,0,1,1,", "job_id", "(absent)"),
        ("a,t,0,1,1,", "job_id", "a"),
        ("b,t,0,1,1,101", "priority", "101"),
        ("b,t,0,1,1,0.5", "priority", "0.5"),
        ("b,t,0,1,1,high", "priority", "'high'"),
    ],
)
def test_an_unusable_value_is_named_with_line_column_value_and_remedy(
    tmp_path: Path, row: str, column: str, value: str
) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(f"{HEADER}\n{GOOD}\n\n{row}\n")
    message = refusal(path)
    assert f": line 4, column {column}: {value} is" in message
    assert "--lenient" in message
    kept = read_trace(path, lenient=True)
    assert (kept.job_ids, kept.dropped) == (["a"], 1)


def test_parquet_names_the_row_and_counts_further_ones(tmp_path: Path) -> None:
    path = tmp_path / "jobs.parquet"
    columns = {
        "job_id": ["a", "b", "c"],
        "tenant": ["t"] * 3,
        "submit_s": [0.0] * 3,
        "duration_s": [1.0, None, None],
    }
    pq.write_table(pa.table({**columns, "gpus": [1.0, 0.5, 1.0]}), path)
    message = refusal(path)
    assert "row 2, column duration_s: (absent or NaN) is not a duration" in message
    assert "(1 more such row)" in message


def test_a_trace_of_unusable_rows_only_is_refused_even_when_lenient(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(f"{HEADER}\nb,t,0,1,0.5,\n")
    assert "none of its 1 rows can be used" in refusal(path, lenient=True)


# ── files that are no tables ──────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize("suffix", [".csv", ".swf", ".parquet"])
def test_an_empty_file_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"jobs{suffix}"
    path.touch()
    assert "the file is empty (0 bytes)" in refusal(path)


@pytest.mark.parametrize(("suffix", "content"), [(".csv", HEADER + "\n"), (".swf", "; only a header\n")])
def test_a_file_without_jobs_is_refused(tmp_path: Path, suffix: str, content: str) -> None:
    path = tmp_path / f"jobs{suffix}"
    path.write_text(content)
    assert "holds no job" in refusal(path)


@pytest.mark.parametrize("kept", [0.1, 0.5, 0.99])
def test_truncated_parquet_is_refused(tmp_path: Path, kept: float) -> None:
    path = tmp_path / "jobs.parquet"
    number = range(5000)
    columns = {
        "job_id": [f"j{n}" for n in number],
        "tenant": ["t"] * 5000,
        "submit_s": [float(n) for n in number],
    }
    pq.write_table(pa.table({**columns, "duration_s": [1.0] * 5000, "gpus": [1.0] * 5000}), path)
    assert len(read_trace(path)) == 5000
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert "may be truncated" in refusal(path)


def test_parquet_with_damaged_pages_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.parquet"
    columns = {"job_id": [f"j{n}" for n in range(5000)], "tenant": ["t"] * 5000, "submit_s": [0.0] * 5000}
    pq.write_table(
        pa.table({**columns, "duration_s": [1.0] * 5000, "gpus": [1.0] * 5000}), path, compression="zstd"
    )
    content = bytearray(path.read_bytes())
    content[100:2000] = bytes(1900)
    path.write_bytes(content)
    assert "is not whole Parquet" in refusal(path)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_missing_columns_are_named(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"jobs{suffix}"
    if suffix == ".csv":
        path.write_text("job_id,tenant,start\na,t,0\n")
    else:
        pq.write_table(pa.table({"job_id": ["a"], "tenant": ["t"], "start": [0]}), path)
    message = refusal(path)
    assert "columns submit_s, duration_s, gpus missing; the file has job_id, tenant, start" in message


def test_a_doubled_column_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text("job_id,tenant,submit_s,duration_s,gpus,gpus\na,t,0,1,1,1\n")
    assert "column gpus stands twice" in refusal(path)


@pytest.mark.parametrize(
    ("column", "values", "says"),
    [
        ("gpus", ["1"], "column gpus has type string; it must be a number"),
        ("submit_s", [None], "column submit_s: (absent or NaN)"),
        ("tenant", [1.5], "column tenant has type double; it must be text"),
    ],
)
def test_a_parquet_column_of_another_type_is_refused(
    tmp_path: Path, column: str, values: list[object], says: str
) -> None:
    columns = {"job_id": ["a"], "tenant": ["t"], "submit_s": [0.0], "duration_s": [1.0], "gpus": [1.0]}
    path = tmp_path / "jobs.parquet"
    pq.write_table(pa.table({**columns, column: values}), path)
    assert says in refusal(path)


@pytest.mark.parametrize(
    ("suffix", "content", "says"),
    [
        (".csv", f"{HEADER}\n{GOOD}\na,t,0,1\n", "line 3 has 4 fields, the header has 6"),
        (".csv", f'{HEADER}\n{GOOD}\n"{"x" * 200_000}"\n', "line 3 is not CSV"),
        (".swf", f"; header\n{SWF}\n{SWF[:-3]}\n", "line 3 has 17 fields, Standard Workload Format has 18"),
        (".swf", f"{SWF.replace(' 60 ', ' -1 ')}\n", "line 1, column duration_s: (absent or NaN)"),
        (".swf", f"{SWF.replace(' 60 ', ' 1:00 ')}\n", "line 1, column duration_s: '1:00'"),
        (".swf", f"{SWF.replace(' 4 ', ' 0 ')}\n", "line 1, column gpus: 0 is"),
        (".swf", f"{SWF}\n{SWF}\n", "line 2, column job_id: 1 is the id of the job in line 1 already"),
        (
            ".txt",
            SWF,
            "neither suffix (.txt) nor content is that of a trace; name its format with --format: parquet, csv",
        ),
    ],
)
def test_a_malformed_file_is_refused_with_the_line(
    tmp_path: Path, suffix: str, content: str, says: str
) -> None:
    path = tmp_path / f"jobs{suffix}"
    path.write_text(content)
    assert says in refusal(path)


@pytest.mark.parametrize(
    ("suffix", "content"), [(".csv", f"{HEADER}\n{GOOD}\nb,t,0,1"), (".swf", f"{SWF}\n2 0 0 60 3 -1")]
)
def test_a_line_that_is_cut_can_be_dropped(tmp_path: Path, suffix: str, content: str) -> None:
    path = tmp_path / f"jobs{suffix}"
    path.write_text(content)
    assert "--lenient" in refusal(path)
    kept = read_trace(path, lenient=True)
    assert (len(kept), kept.dropped) == (1, 1)
    assert kept.dropped_why[0].startswith(f"line {content.count(chr(10)) + 1} has ")


@pytest.mark.parametrize(
    ("value", "unit"),
    [
        ("1772438400000", "milliseconds: divide the column by 1000"),
        ("1772438400000000", "microseconds: divide the column by 1000000"),
        ("1772438400000000000", "nanoseconds: divide the column by 1000000000"),
    ],
)
def test_times_in_a_finer_unit_are_told_as_such(tmp_path: Path, value: str, unit: str) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(f"{HEADER}\nb,t,{value},1,1,\n")
    assert (
        f"column submit_s: {float(value):.7g} is not a time within ±9000000000 s (it may count {unit})"
        in refusal(path)
    )


@pytest.mark.parametrize("value", ["0", "-5", "1e10", "soon", "inf"])
def test_a_time_limit_that_cannot_be_is_refused_and_none_is_none(tmp_path: Path, value: str) -> None:
    path = tmp_path / "jobs.csv"
    path.write_text(f"job_id,tenant,submit_s,duration_s,gpus,limit_s\na,t,0,1,1,\nb,t,0,1,1,{value}\n")
    assert ": line 3, column limit_s: " in refusal(path)
    assert read_trace(path, lenient=True).limit_us is None


@pytest.mark.parametrize("suffix", [".gz", ".csv", ".json", ""])
def test_a_compressed_file_is_told_as_such(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"jobs{suffix}"
    path.write_bytes(gzip.compress(f"{HEADER}\n{GOOD}\n".encode()))
    assert "is compressed; unpack it first" in refusal(path)


@pytest.mark.parametrize("suffix", [".csv", ".swf"])
def test_text_that_is_not_utf8_is_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"jobs{suffix}"
    path.write_bytes(HEADER.encode() + b"\n\xff\xfe,t,0,1,1,\n")
    assert "is not UTF-8 text" in refusal(path)


@pytest.mark.parametrize("suffix", [".csv", ".swf", ".parquet"])
def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"jobs{suffix}"
    assert "cannot be read: No such file or directory" in refusal(path)
    path.mkdir()
    assert str(path) in refusal(path)


@pytest.mark.parametrize("suffix", [".csv", ".swf", ".parquet"])
def test_more_rows_than_the_limit_are_refused(
    tmp_path: Path, suffix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(table, "ROWS_MAX", 3)
    path = tmp_path / f"jobs{suffix}"
    if suffix == ".parquet":
        names = [f"j{n}" for n in range(4)]
        numbers = [1.0] * 4
        columns = {
            "job_id": names,
            "tenant": names,
            "submit_s": numbers,
            "duration_s": numbers,
            "gpus": numbers,
        }
        pq.write_table(pa.table(columns), path)
    elif suffix == ".csv":
        path.write_text("\n".join([HEADER, *[f"j{n},t,0,1,1," for n in range(4)]]))
    else:
        path.write_text("\n".join(f"{n}{SWF[1:]}" for n in range(4)))
    assert "more than 3 rows" in refusal(path)
