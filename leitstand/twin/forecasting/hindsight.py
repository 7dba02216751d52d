# SPDX-License-Identifier: Apache-2.0
"""A forecast out of a journal, with the forecasts that would have been made before, so that their errors are known.
Called by the CLI and by studies.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from leitstand.runtime.ports import Entry
from leitstand.twin.forecasting.calibration import SPAN_US
from leitstand.twin.forecasting.forecaster import Forecast, Forecaster, Wanted


@dataclass(frozen=True, slots=True)
class Asked:
    """What is wanted to know: the forecast at `at_us`, after so many at equal distances in the two weeks before it, as
    far as the journal goes."""

    at_us: int
    past: int = 24
    wanted: Wanted = field(default_factory=Wanted)


def forecast_of(
    entries: Iterable[Entry], asked: Asked, progress: Callable[[int, int], None] | None = None
) -> Forecast:
    """The forecast that `asked` wants of a journal; `progress` is told how many forecasts are done, of how many."""
    forecaster, times, done = Forecaster(), list[int](), 0
    for number, entry in enumerate(entries):
        if entry.at > asked.at_us:
            break
        if not number:
            times = _before(entry.at, asked)
        while times and times[-1] < entry.at:
            forecaster.forecast(times.pop(), asked.wanted)
            done += 1
            if progress is not None:
                progress(done, asked.past + 1)
        forecaster.apply(entry.at, entry.fact)
    found = forecaster.forecast(asked.at_us, asked.wanted)
    assert found is not None, "nobody stopped it"
    return found


def _before(first_us: int, asked: Asked) -> list[int]:
    """When to forecast on the way, the last first."""
    begin_us = max(first_us, asked.at_us - SPAN_US)
    step_us = (asked.at_us - begin_us) // (asked.past + 1)
    return [asked.at_us - step_us * number for number in range(1, asked.past + 1)] if step_us else []
