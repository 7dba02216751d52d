# SPDX-License-Identifier: Apache-2.0
"""Whatever is in a job file or a batch script becomes a request or a refusal, and no message tells a secret in it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from leitstand.cli import jobfile_keys
from leitstand.cli.sbatch_options import LETTERS, OPTIONS
from tests.fuzz.jobfiles import FOLDERS, SECRET, check, seeds

ROOT = Path(__file__).resolve().parents[2]
ROUNDS = 1000

KEYS = st.sampled_from(
    [
        *(
            "name",
            "tenant",
            "project",
            "resources",
            "num_nodes",
            "envs",
            "secrets",
            "workdir",
            "setup",
            "run",
        ),
        *("max_duration", "priority", "checkpoint", "retry", "path", "every", "signal", "grace", "max", "on"),
        *("accelerators", "cpus", "memory", "job_recovery", "strategy", "max_restarts_on_errors", "<<", "A"),
        *jobfile_keys.LATER,
        *jobfile_keys.IGNORED,
    ]
)
WORDS = st.sampled_from(
    ["H100:8", "GPU", "1h30m", "16+", "64GB", "SIGUSR1", "lost", "SKYPILOT_NODE_RANK", "", "~", "\0"]
)
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.just(SECRET)
    | WORDS
    | st.text(max_size=20)
    | st.builds("{}{}".format, WORDS, st.just(SECRET))
)
TREES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS | st.just(SECRET), inner, max_size=5),
)


@pytest.fixture(autouse=True)
def _english(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C")


@given(st.dictionaries(KEYS, TREES, max_size=8))
def test_any_tree_under_the_keys_is_a_request_or_a_refusal(tree: dict[str, object]) -> None:
    check("yaml", yaml.safe_dump({"run": "x", **tree}, allow_unicode=True))


@given(st.text(alphabet=":-[]{}&*!|>'\"%@`#,? \n\t\r\0aSECRT\x85\u2028", max_size=80))
def test_any_text_is_a_request_or_a_refusal(text: str) -> None:
    check("yaml", text)
    check("sbatch", text)


VALUES = st.sampled_from(
    [
        "2",
        "1-4",
        "gpu:2",
        "gpu:a100:2",
        "64G",
        "1-02:30:00",
        "USR1@60",
        "ALL",
        "A=b,C",
        "'",
        '"',
        "#",
        SECRET,
        "0",
        "k",
    ]
) | st.text(max_size=12)


@st.composite
def option_lines(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(sorted(OPTIONS)))
    value = draw(VALUES) + draw(st.sampled_from(["", SECRET, f":{SECRET}", f",{SECRET}"]))
    letter = OPTIONS[name].short or "N"
    return draw(
        st.sampled_from([f"--{name}={value}", f"--{name} {value}", f"--{name}", f"-{letter}{value}", value])
    )


@given(
    st.lists(option_lines(), max_size=6),
    st.sampled_from(["hostname", "srun x", "mpirun x", f"echo {SECRET}"]),
)
def test_any_options_are_a_request_or_a_refusal(lines: list[str], body: str) -> None:
    check("sbatch", "\n".join(["#!/bin/bash", *(f"#SBATCH {line}" for line in lines), body]))


@pytest.mark.parametrize("kind", sorted(FOLDERS))
def test_a_secret_in_every_value_of_the_corpus_is_told_by_no_message(kind: str) -> None:
    texts = list(seeds(kind))
    assert len(texts) > 80
    for text in texts:
        check(kind, text)


def test_every_letter_belongs_to_one_option() -> None:
    assert len(LETTERS) == sum(bool(option.short) for option in OPTIONS.values())


@pytest.mark.skipif(importlib.util.find_spec("atheris") is None, reason="atheris is not installed")
@pytest.mark.parametrize("kind", sorted(FOLDERS))
def test_a_seeded_round_of_atheris_breaks_no_promise(kind: str, tmp_path: Path) -> None:
    for number, text in enumerate(seeds(kind)):
        (tmp_path / f"{number:04}").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.jobfiles", kind, f"-runs={ROUNDS}", "-seed=1", "-timeout=10",
         f"-artifact_prefix={tmp_path}/", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert "Done" in done.stderr
