# SPDX-License-Identifier: Apache-2.0
"""The codes of the control plane in the words of the locale: states, reasons, outcomes, refusals. Called by whatever
shows them to people; JSON and exit codes keep the codes. In English a code is its own word.
"""

import re
from collections.abc import Mapping
from typing import Any

import click

from leitstand.cli.amounts import show_duration
from leitstand.cli.german_access import ACCESS_CODES, NEXT
from leitstand.cli.german_others import CODES, DENIALS, HINTS, MESSAGES, PROBLEMS
from leitstand.cli.text import is_german, t


def word(code: str) -> str:
    """A state, reason, outcome, role, stage, check or kind."""
    return CODES.get(code) or ACCESS_CODES.get(code, code) if is_german() else code


def next_of(application: Mapping[str, Any]) -> str:
    """What happens next to an application, in the language of the locale; in English as the control plane says it, but
    for what it says of requests."""
    said = str(application["next"])
    unclaimed = "/v1/" in said
    if not is_german():
        tenant = application["tenant"]
        return (
            f"Tenant {tenant} is there. Fetch its first token: leitstand application claim"
            if unclaimed
            else said
        )
    failed = [word(check["name"]) for check in application["checks"] if check["outcome"] == "failed"]
    waiting = [
        f"{word(check['name'])} ({word(check['owner'])})"
        for check in application["checks"]
        if check["outcome"] == "open"
    ]
    state = application["state"]
    if state == "open":
        state = "failed" if failed else "waiting" if waiting else "checked"
    elif state == "approved" and not unclaimed:
        state = "claimed"
    return NEXT[state].format(checks=", ".join(failed or waiting), tenant=application["tenant"])


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
    if not is_german():
        return detail
    for pattern, text in DENIALS.items():
        if code == "forbidden" and (found := re.fullmatch(pattern, detail)):
            return text.format(*found.groups())
    return PROBLEMS.get(code, detail)


def hint(text: str) -> str:
    """What the API advises."""
    return HINTS.get(text, text) if is_german() else text


def amount(value: int, resource: str) -> str:
    """An amount of one of the resources that admission refuses, with its unit."""
    if resource == "gpu_us":
        return f"{value / 3_600_000_000:.6g} GPU-h"
    if resource == "micro_eur":
        return f"{value / 1_000_000:.2f} EUR"
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


def right_so_far(said: Mapping[str, Mapping[str, Any]]) -> str:
    """How often forecasts were right; p50 and p90 each with its `share` (null: not known) of `forecasts`."""
    known = {name: one for name, one in said.items() if one["share"] is not None}
    if not known:
        return t("not yet known")
    shares = ", ".join(f"{name} {one['share']:.0%}" for name, one in known.items())
    return t(
        "{shares}, of {count} forecasts", shares=shares, count=max(one["forecasts"] for one in known.values())
    )
