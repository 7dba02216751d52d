# SPDX-License-Identifier: Apache-2.0
"""Whatever bytes stand where a journal, a message, a policy or a setting should be: a refusal in words, or what is
right; and no refusal tells the secret in them. The long rounds are `make fuzz`."""

import functools
import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.fuzz.__main__ import TARGETS
from tests.fuzz.jobfiles import FOLDERS
from tests.fuzz.parsers import PART, READERS, SECRET

ROOT = Path(__file__).resolve().parents[2]
SLOW = ("journal", "policies", "provider")  # ms an input
PIECES = st.binary(max_size=8) | st.sampled_from(
    [
        *(
            b"\0",
            b"\xff\xff\xff\xff",
            b"\xc1",
            b'"',
            b"\\",
            b"{",
            b"[",
            b"}",
            b":",
            b"\n",
            b"9" * 30,
            b"-1",
            b"1e999",
        ),
        *(
            b"|",
            b",",
            b"1970-01-01T00:00:00",
            b"gres/gpu=",
            b"[x]: ",
            b"- ",
            b"e9",
            b"Unknown",
            b".0",
            b"NaN",
            b"count",
        ),
        *(b"@id", b'"\\u{d800}"', b"permit(", b"//", b"!!int ''", b"&a *a", b"? [a]", b"2026-99-99", b"null"),
        SECRET.encode(),
    ]
)


@functools.cache
def seeds(name: str) -> tuple[bytes, ...]:
    return tuple(READERS[name].seeds())


@st.composite
def spoiled(draw: st.DrawFn, name: str) -> bytes:
    """An input that was right, with pieces cut out, put in or written over."""
    data = draw(st.sampled_from(seeds(name)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        cut = draw(st.sampled_from([0, 0, 1, 4, 40, len(data)]))
        data = data[:at] + draw(PIECES) + data[at + cut :]
    return data


@pytest.mark.parametrize("name", sorted(READERS))
def test_what_is_right_is_read(name: str) -> None:
    assert seeds(name)
    for seed in seeds(name):
        READERS[name].check(seed)


@pytest.mark.parametrize("name", sorted(READERS))
def test_what_was_spoiled_is_refused_in_words(name: str) -> None:
    @settings(
        max_examples=40 if name in SLOW else 150, deadline=None, derandomize=True, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )  # fmt: skip
    @given(spoiled(name) | st.binary(max_size=64))
    def read(data: bytes) -> None:
        READERS[name].check(data)

    read()


def test_every_reader_and_every_kind_of_job_file_is_a_target() -> None:
    assert set(READERS) | set(FOLDERS) | {"requests", "doors"} == set(TARGETS)
    assert PART in SECRET


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("target", ["wire", "doors"])
def test_a_seeded_round_of_atheris_breaks_no_promise(target: str, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", target, "-runs=100", "-seed=1", f"-artifact_prefix={tmp_path}/"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done 100 runs" in done.stderr
