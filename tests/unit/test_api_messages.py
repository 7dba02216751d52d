# SPDX-License-Identifier: Apache-2.0
"""Refusals name the thing, the value, the limit and the unit, whatever the core refused."""

import pytest

from leitstand.api.amounts import duration_us, span
from leitstand.api.messages import refusal, sentence
from leitstand.core.admission import REASONS, RESOURCES
from leitstand.core.facts import ENDED_REASONS
from leitstand.core.units import DAY_US, SECOND_US
from leitstand.views.rows import JobRow


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (("no_such_capacity", 9, 8, "gpus"), "asks for 9 GPUs; there are 8 GPUs in all"),
        (("no_such_capacity", 2, 1, "gpus_per_node"), "asks for 2 GPUs on a node; the largest has 1 GPU"),
        (
            ("no_such_capacity", 1000, 500, "cpus_milli_per_node"),
            "asks for 1 CPUs on a node; the largest has 0.5 CPUs",
        ),
        (
            ("no_such_capacity", 2048, 1536, "memory_mib_per_node"),
            "asks for 2 GB of memory on a node; the largest has 1.5 GB of memory",
        ),
        (("no_such_capacity", 4, 2, "nodes"), "asks for 4 nodes that each hold a task of it; 2 nodes could"),
        (
            ("no_such_capacity", 0, 0, ""),
            "asks for GPUs, CPUs and memory that no single node has together",
        ),
        (
            ("limit", 30 * DAY_US + SECOND_US, 30 * DAY_US, "max_duration_us"),
            "asks for 30d1s; the limit is 30d",
        ),
        (("limit", 200_000, 100_000, "gpus"), "asks for 200000 GPUs; the limit is 100000 GPUs"),
        (("shape", 3, 2, "gpus"), "asks for 3 GPUs, which 2 nodes cannot share evenly"),
        (("gang_too_wide", 5000, 3612, "nodes"), "spreads over 5000 nodes; one gang has at most 3612 here"),
    ],
)
def test_a_refusal_says_what_was_asked_and_what_there_is(
    verdict: tuple[str, int, int, str], said: str
) -> None:
    assert refusal(*verdict) == said


def test_every_reason_and_resource_of_the_core_has_a_sentence() -> None:
    never_lacking = (
        "cpus_milli",
        "memory_mib",
        "max_duration_us",
        "expected_us",
        "retries",
        "checkpoint_every_us",
    )
    for reason in REASONS:
        for resource in RESOURCES:
            if reason != "no_such_capacity" or resource not in never_lacking:
                assert refusal(reason, 7, 3, resource).startswith(("asks for", "spreads over", "belongs to"))


@pytest.mark.parametrize("reason", [reason for reason in ENDED_REASONS if reason])
def test_every_end_has_a_sentence(reason: str) -> None:
    row = JobRow(1, "a-1", "a", "p", 1, 1, 0, 0, 0, "", 0, state="failed", max_duration_us=90 * SECOND_US)
    assert sentence(row, reason) not in ("", reason)


@pytest.mark.parametrize("text", ["30d", "1h30m", "2.5s", "1d1s", "0.000001s"])
def test_a_span_reads_as_it_is_written(text: str) -> None:
    assert span(duration_us(text)) == text
