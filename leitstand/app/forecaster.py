# SPDX-License-Identifier: Apache-2.0
"""Forecasts in the background: follows the journal by reading it, plays futures, keeps the result for the faces.

Started by the faces as `python -m leitstand.app.forecaster SETTINGS`, and again when it ends; ends when its standard
input does. It asks nobody for anything, has the lowest priority that there is, and uses no more of a core than
`--forecast-cpu` says: the loop does not know of it.
"""

import contextlib
import logging
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

from leitstand.app.serving import saying_why
from leitstand.app.settings import Settings
from leitstand.engines.local import process
from leitstand.journal.place import Reader, open_reader
from leitstand.twin.forecasting import kept
from leitstand.twin.forecasting.budget import Budget
from leitstand.twin.forecasting.calibration import SPAN_US
from leitstand.twin.forecasting.forecaster import Forecaster, Wanted
from leitstand.twin.forking.past import start_of

EVERY_S: Final = 60.0  # between two forecasts, at least
TOOK_MAX_S: Final = 600.0  # after which what was begun is told with as many futures as there are, or given up
SPENT_EVERY: Final = 256  # entries between two looks at the budget
_log = logging.getLogger("leitstand.forecaster")


def main() -> None:
    settings = Settings.from_json(sys.argv[1])
    stand_back()
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with saying_why(settings), open_reader(settings.journal) as journal:
        background = Background(settings, journal, Budget(settings.forecast_cpu / 100))
        while True:
            begun_s = time.monotonic()
            background.refresh(time.time_ns() // 1000)
            time.sleep(max(EVERY_S - (time.monotonic() - begun_s), 0.0))


def stand_back() -> None:
    """Run only when nobody else wants to, and be the first to go when memory is short."""
    os.nice(19)
    if hasattr(os, "SCHED_IDLE"):
        with contextlib.suppress(OSError):  # a container may forbid it
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    process.rank_when_short(process.OOM_RUN)


class Background:
    """The forecaster of one data folder."""

    def __init__(
        self,
        settings: Settings,
        journal: Reader,
        budget: Budget,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings, self._journal, self._budget, self._clock = settings, journal, budget, clock
        state, self._seq = start_of(journal, settings.snapshots, journal.head.at - SPAN_US)
        recorded = kept.record_of(settings.data, journal.journal_id)
        self._forecaster = Forecaster(state, recorded)

    def refresh(self, now: int) -> bool:
        """Take up what the journal has, forecast as of `now` (µs), keep it. False: it took too long, nothing new."""
        last_us = 0
        for entry in self._journal.read(self._seq):
            self._forecaster.apply(entry.at, entry.fact)
            self._seq, last_us = entry.seq, entry.at
            if entry.seq % SPENT_EVERY == 0:
                self._budget.spend()
        late_s = self._clock() + TOOK_MAX_S
        found = self._forecaster.forecast(max(now, last_us), Wanted(stop=lambda: self._is_late(late_s)))
        if found is None:
            _log.warning("no forecast: its futures took over %g s; --forecast-cpu gives more", TOOK_MAX_S)
            return False
        try:
            kept.keep(
                self._settings.data,
                self._journal.journal_id,
                found,
                self._forecaster.calibration.recorded,
            )
        except OSError as error:
            _log.warning("the forecast was not kept: %s", error)
            return False
        return True

    def _is_late(self, late_s: float) -> bool:
        self._budget.spend()
        return self._clock() > late_s


def _end_with_parent() -> None:
    """Standard input is a pipe whose other end the faces hold."""
    while os.read(0, 4096):
        pass
    os._exit(0)


if __name__ == "__main__":
    main()
