# SPDX-License-Identifier: Apache-2.0
"""By when a job that waits starts, as a forecast says it, for people. Called by the commands that show jobs."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from leitstand.cli.amounts import show_duration, show_span, show_time
from leitstand.cli.text import t

LEVELS: Final = ("p50", "p90")


def headers() -> tuple[str, ...]:
    """Of the columns that `cells` fills."""
    return (f"{t('START')} P50", f"{t('START')} P90", t("BY DEADLINE"))


def cells(said: Mapping[str, Any] | None, now_s: float) -> tuple[str | None, ...]:
    """How long from now (seconds since 1970) a job starts with each probability, and how probably in time; None: not
    known."""
    if said is None:
        return (None,) * (len(LEVELS) + 1)
    beyond = _beyond(said)
    spans = [beyond if said[name] is None else ahead(seconds(said[name]) - now_s) for name in LEVELS]
    return (*spans, chance(said["deadline_chance"]))


def fields(said: Mapping[str, Any] | None) -> list[tuple[str, str]]:
    """The same of one job, with times; nothing where nothing is known."""
    if said is None:
        return []
    beyond, share = _beyond(said), chance(said["deadline_chance"])
    times = [f"{name.upper()} {show_time(said[name]) if said[name] else beyond}" for name in LEVELS]
    found = [(t("forecast"), ", ".join(times))]
    return [*found, (t("by its deadline"), share)] if share is not None else found


def ahead(span_s: float) -> str:
    """How long it is from now; what should have been counts as now."""
    return t("in {span}", span=show_span(span_s))


def chance(share: float | None) -> str | None:
    """A probability in whole percent."""
    return None if share is None else f"{share:.0%}"


def seconds(text: str) -> float:
    """Seconds since 1970."""
    return datetime.fromisoformat(text).timestamp()


def _beyond(said: Mapping[str, Any]) -> str:
    """What is not expected as far as the forecast looks."""
    return t("not within {span}", span=show_duration(seconds(said["until"]) - seconds(said["at"])))
