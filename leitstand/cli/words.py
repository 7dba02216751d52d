# SPDX-License-Identifier: Apache-2.0
"""The codes of the control plane in the words of the locale: states, reasons, outcomes, refusals. Called by whatever
shows them to people; JSON and exit codes keep the codes. In English a code is its own word.
"""

from collections.abc import Mapping
from typing import Any

import click

from leitstand.cli.amounts import show_duration
from leitstand.cli.german_others import CODES, MESSAGES, PROBLEMS
from leitstand.cli.text import is_german


def word(code: str) -> str:
    """A state, reason or outcome."""
    return CODES.get(code, code) if is_german() else code


def message(job: Mapping[str, Any]) -> str:
    """What the state of a job means, in a sentence; a refusal stays as the control plane says it."""
    text = MESSAGES.get(job["reason"], "") if is_german() and job["state"] != "rejected" else ""
    if not text:
        return job.get("message") or ""
    return text.format(
        exit_code=job["exit_code"], signal=job["signal"], max_duration=show_duration(job["max_duration_s"])
    )


def problem(code: str, detail: str) -> str:
    """The sentence of a problem that the API answered."""
    return PROBLEMS.get(code, detail) if is_german() else detail


def amount(value: int, resource: str) -> str:
    """An amount of one of the resources that admission refuses, with its unit."""
    if resource.endswith("_us"):
        return show_duration(value / 1_000_000)
    if resource.startswith("cpus_milli"):
        return f"{value / 1000:.12g} CPUs"
    if resource.startswith("memory_mib"):
        return f"{value / 1024:.12g} GB"
    return f"{value} GPUs" if resource.startswith("gpus") else str(value)


class State(click.Choice[str]):
    """A state by its code, or as a listing in the language of the locale shows it."""

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        codes = {word(code): code for code in self.choices}
        return super().convert(codes.get(value, value), param, ctx)
