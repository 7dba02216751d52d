# SPDX-License-Identifier: Apache-2.0
"""The last forecast and the record of those before it, as files that may be lost. Written by the background process,
read by the faces.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import msgspec

from leitstand.core.units import MINUTE_US
from leitstand.twin.forecasting.calibration import Recorded
from leitstand.twin.forecasting.forecaster import Expected, Forecast

STALE_US: Final = 30 * MINUTE_US  # after which nothing is shown rather than something old
FORECAST: Final = "forecast.latest"
RECORD: Final = "forecast.record"
RECORD_VERSION: Final = 1


class Record(msgspec.Struct, frozen=True):
    """Past forecasts of the jobs of one journal."""

    version: int
    journal: str
    recorded: list[Recorded]


def keep(folder: Path, journal: str, forecast: Forecast, recorded: Sequence[Recorded]) -> None:
    """Store both, each whole or not at all; not durably, so that no disk is kept busy for what may be lost. OSError:
    the old ones stand."""
    _replace(folder / RECORD, msgspec.msgpack.encode(Record(RECORD_VERSION, journal, list(recorded))))
    _replace(folder / FORECAST, msgspec.msgpack.encode(forecast))


def _replace(path: Path, content: bytes) -> None:
    draft = path.with_name(path.name + ".draft")
    draft.unlink(missing_ok=True)
    with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb") as file:
        file.write(content)
    os.replace(draft, path)


def record_of(folder: Path, journal: str) -> list[Recorded]:
    """The past forecasts of this journal; none if they are lost, damaged or of another one."""
    try:
        found = msgspec.msgpack.decode((folder / RECORD).read_bytes(), type=Record)
    except (OSError, msgspec.DecodeError):
        return []
    return found.recorded if (found.version, found.journal) == (RECORD_VERSION, journal) else []


class Latest:
    """The forecast that is in the folder, read again when it changed; None: the folder of nobody who forecasts."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = None if folder is None else folder / FORECAST
        self._seen: tuple[int, int] | None = None
        self._forecast: Forecast | None = None
        self._jobs: dict[str, Expected] = {}

    def state(self, now: int) -> str:
        """off | ok | stale: there is none, or it is too old to be shown."""
        if self._path is None:
            return "off"
        return "stale" if self.forecast(now) is None else "ok"

    def forecast(self, now: int) -> Forecast | None:
        """The forecast, unless there is none that may still be shown at `now` (µs)."""
        if self._path is None:
            return None
        try:
            stat = self._path.stat()
            if (stat.st_mtime_ns, stat.st_ino) != self._seen:
                self._seen = stat.st_mtime_ns, stat.st_ino
                self._forecast = msgspec.msgpack.decode(self._path.read_bytes(), type=Forecast)
                self._jobs = {job.job: job for job in self._forecast.jobs}
        except (OSError, msgspec.DecodeError):
            self._forecast = None
        found = self._forecast
        return found if found is not None and now - found.at_us <= STALE_US else None

    def jobs(self, now: int) -> Mapping[str, Expected]:
        """What is expected of each job that waits; nothing where no forecast may be shown."""
        return {} if self.forecast(now) is None else self._jobs
