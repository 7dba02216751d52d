# SPDX-License-Identifier: Apache-2.0
"""Rows that cannot be used, anywhere among rows that can: strict, the first is named; lenient, exactly they are dropped
and nothing else changes."""

from typing import Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leitstand.twin.traces import TraceError, read_trace


class Lines(NamedTuple):
    """A format of lines: its header ('' for none), a good line of a number, and bad ones that start as it does."""

    suffix: str
    header: str
    good: str
    bad: tuple[str, ...]


SACCT: Final = (
    "{n}|u{n}|a|2026-03-02T08:00:{s:02}|2026-03-02T08:01:00|2026-03-02T08:02:00|COMPLETED|gres/gpu=4"
)
FORMATS: Final = {
    "csv": Lines(
        ".csv",
        "job_id,tenant,submit_s,duration_s,gpus",
        "j{n},t,{s},60,4",
        ("j{n},t,{s},60", "j{n},t,{s},-1,4", "j{n},t,{s},60,0.5", "j{n},t,soon,60,4", "j{n},,{s},60,4", ",t,{s},60,4"),
    ),
    "swf": Lines(
        ".swf",
        "; a header",
        "{n} {s} 0 60 3 -1 -1 4 900 -1 1 3 7 -1 2 -1 -1 -1",
        (
            "{n} {s} 0 60",
            "{n} {s} 0 -1 3 -1 -1 4 900 -1 1 3 7 -1 2 -1 -1 -1",
            "{n} x 0 60 3 -1 -1 4 900 -1 1 3 7 -1 2 -1 -1 -1",
        ),
    ),
    "sacct": Lines(
        ".txt",
        "JobID|User|Account|Submit|Start|End|State|AllocTRES",
        SACCT,
        (
            SACCT.replace("08:02:00", "08:00:59"),
            SACCT.replace("gpu=4", "gpu=four"),
            SACCT.replace("|a|", "||"),
            SACCT.replace("COMPLETED|", ""),
            SACCT.replace("COMPLETED", "WELL"),
            SACCT.replace("2026-03-02T08:01", "1970-01-01T00:00"),
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_what_cannot_be_used_is_named_and_dropped_and_nothing_else(
    name: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    form = FORMATS[name]
    folder = tmp_path_factory.mktemp(name)

    @settings(max_examples=60, deadline=None, derandomize=True, database=None)
    @given(
        st.lists(st.tuples(st.integers(0, 59), st.integers(-1, len(form.bad) - 1)), min_size=1, max_size=12)
    )
    def read(rows: list[tuple[int, int]]) -> None:
        rows = [(0, -1), *rows]
        lines = [
            (form.good if kind < 0 else form.bad[kind]).format(n=number, s=second)
            for number, (second, kind) in enumerate(rows, 1)
        ]
        only = [line for line, (_, kind) in zip(lines, rows, strict=True) if kind < 0]
        bad = [number for number, (_, kind) in enumerate(rows, 2) if kind >= 0]
        mixed, pure = folder / f"mixed{form.suffix}", folder / f"pure{form.suffix}"
        mixed.write_text("\n".join([form.header, *lines, ""]))
        pure.write_text("\n".join([form.header, *only, ""]))
        expected, found = read_trace(pure), read_trace(mixed, lenient=True)
        assert found.job_ids == expected.job_ids
        for column in ("submit_us", "duration_us", "gpus", "tenant", "user"):
            assert getattr(found, column).tolist() == getattr(expected, column).tolist()
        assert found.dropped == len(bad)
        assert [int(why.split()[1].rstrip(",")) for why in found.dropped_why] == bad
        if bad:
            with pytest.raises(TraceError, match=rf": line {bad[0]}\b") as refused:
                read_trace(mixed)
            assert len(bad) == 1 or f"({len(bad) - 1} more such row" in str(refused.value)

    read()
