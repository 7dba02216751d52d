# SPDX-License-Identifier: Apache-2.0
"""Refusals name the thing, the value, the limit and the unit, whatever the core refused."""

import ast
import json
import re
from pathlib import Path
from typing import Any, get_args

import msgspec
import pytest

from leitstand.access.oidc_http import Reason
from leitstand.api import app as api
from leitstand.api import decode, examples, schema
from leitstand.api.amounts import duration_us, span
from leitstand.api.codes import CODES
from leitstand.api.decode import Input
from leitstand.api.jobs.messages import BUDGET, binding_sentence, refusal, sentence
from leitstand.api.onboarding import legalinput
from leitstand.core import decision
from leitstand.core.admission import REASONS, RESOURCES
from leitstand.core.explaining import why
from leitstand.core.explaining.why import Binding
from leitstand.core.facts import ENDED_REASONS
from leitstand.core.units import DAY_US, HOUR_US, SECOND_US
from leitstand.views.rows import JobRow


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (("budget", 8 * HOUR_US, HOUR_US // 2, "gpu_us"), BUDGET.format(asked="8 GPU-h", limit="0.5 GPU-h")),
        (("budget", 20_000_000, 5_500_000, "micro_eur"), BUDGET.format(asked="20.00 EUR", limit="5.50 EUR")),
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
        (("deadline", 2 * HOUR_US, HOUR_US, "max_duration_us"), "asks for 2h; before its deadline are 1h"),
        (
            ("dependency_failed", 7, 0, "after"),
            "waits for job number 7 of its tenant, which ended otherwise",
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
        "gpu_us",
        "micro_eur",
    )
    for reason in REASONS:
        for resource in RESOURCES:
            if reason != "no_such_capacity" or resource not in never_lacking:
                assert refusal(reason, 7, 3, resource).startswith(
                    ("asks for", "spreads over", "belongs to", "waits for")
                )


@pytest.mark.parametrize("reason", why.REASONS)
@pytest.mark.parametrize("resource", ["", "charge_milli", "gpus"])
def test_every_reason_to_wait_has_a_sentence_with_its_numbers(reason: str, resource: str) -> None:
    said = binding_sentence(Binding(reason, 7000, 3000, resource, "industry/acme", 2, "acme-1"))
    assert said.startswith(("waits", "is held"))
    assert said.endswith("; acme-1 asks for the same and comes first; 2 of its project come first")
    assert ("(" in said) == bool(resource)


@pytest.mark.parametrize("reason", [reason for reason in ENDED_REASONS if reason])
def test_every_end_has_a_sentence(reason: str) -> None:
    row = JobRow(1, "a-1", "a", "p", 1, 1, 0, 0, 0, "", 0, state="failed", max_duration_us=90 * SECOND_US)
    assert sentence(row, reason) not in ("", reason)


@pytest.mark.parametrize("text", ["30d", "1h30m", "2.5s", "1d1s", "0.000001s"])
def test_a_span_reads_as_it_is_written(text: str) -> None:
    assert span(duration_us(text)) == text


# ── codes ─────────────────────────────────────────────────────────────────────────────────────────────────────────
ROOT = Path(__file__).parents[2]
KNOWN = {(code.status, code.name) for code in CODES}
DOCUMENT: dict[str, Any] = json.loads(schema.describe(api.routes()))
# Refusals of the core that `context.refusal` names itself; the others keep their name.
NAMED = ("busy", "request_reused", "unknown_job", "unknown_tenant", "exists", "conflict", "disk_full")


def raised() -> set[tuple[int, str]]:
    """Status and code of every problem that the code raises by literals."""
    found = set()
    for path in (ROOT / "leitstand" / "api").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            named = isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("Problem", "Unknown")
            if named and len(node.args) > 1:  # type: ignore[attr-defined]
                first, second = (getattr(part, "value", None) for part in node.args[:2])  # type: ignore[attr-defined]
                if isinstance(first, int) and isinstance(second, str):
                    found.add((first, second))
    return found


def test_every_code_is_in_the_catalogue() -> None:
    assert len(raised()) > 30
    assert raised() <= KNOWN
    kinds = ("tenant", "project", "job", "application", "user")
    assert {(404, f"unknown-{kind}") for kind in kinds} <= KNOWN
    assert {(422, reason) for reason in REASONS} <= KNOWN
    assert {(400, reason) for reason in get_args(Reason) if reason != "busy"} <= KNOWN
    words = set(re.findall(r"unknown_\w+|invalid", str(decision.Answer.__doc__))) - set(NAMED)
    for word in words:
        assert {(404, word.replace("_", "-")), (422, word)} & KNOWN, word


def test_the_page_about_the_api_has_every_code_with_its_words() -> None:
    text = (ROOT / "docs" / "api.md").read_text()
    rows = {
        (int(status), name): when
        for status, name, when in re.findall(r"\| (\d+) \| `([\w-]+)` \| (.*) \|", text)
    }
    assert rows == {(code.status, code.name): code.when for code in CODES}


def test_every_route_is_described_with_its_problems_and_no_default() -> None:
    for path, methods in DOCUMENT["paths"].items():
        for method, operation in methods.items():
            where = f"{method} {path}"
            assert operation["summary"], where
            assert operation["description"], where
            assert operation["tags"], where
            statuses = set(operation["responses"])
            assert "default" not in statuses
            if path.startswith("/v1/") and path != "/v1/openapi.json":
                assert {"401", "500", "503"} <= statuses, where
            for status, response in operation["responses"].items():
                for name, example in (
                    response.get("content", {})
                    .get("application/problem+json", {})
                    .get("examples", {})
                    .items()
                ):
                    assert (example["value"]["status"], example["value"]["code"]) == (int(status), name)


def bodies() -> dict[str, type[Any]]:
    """The bodies that routes take, by name."""
    return {
        handler.opt["body"].__name__: handler.opt["body"]
        for _, handler in api.routes()
        if "body" in handler.opt
    }


@pytest.mark.parametrize("name", sorted(bodies()))
def test_every_body_has_examples_and_they_are_accepted(name: str) -> None:
    kind = bodies()[name]
    assert examples.BODIES[name], f"no example of {name}"
    for example in examples.BODIES[name].values():
        raw = msgspec.json.encode(example["value"])
        if issubclass(kind, Input):
            decode.body(raw, kind)
        else:
            _, faults = legalinput.read(example["value"], "")
            assert not faults


@pytest.mark.parametrize("name", sorted(examples.ANSWERS))
def test_examples_of_answers_have_the_form_that_is_described(name: str) -> None:
    described = DOCUMENT["components"]["schemas"][name]
    for example in examples.ANSWERS[name].values():
        assert set(described["required"]) <= set(example["value"]) <= set(described["properties"])
