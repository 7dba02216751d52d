# SPDX-License-Identifier: Apache-2.0
"""How fairly a record was played: use against entitlements day by day, and how evenly tenants were slowed down. Called
by `leitstand.twin.studies.cells`.

What a tenant deserves is worked out here from what was asked and owned alone, by the same rule for every discipline:
in each hour it may have as much as it asks for (jobs that are submitted and have not ended), and where not everybody
can, all who want more get equal parts of what they own (weighted max-min: progressive filling). Nobody gets less than
the least of what it asks for and what it owns.
"""

import numpy as np
import numpy.typing as npt

from leitstand.core.units import HOUR_US
from leitstand.twin.studies.playing import Played
from leitstand.twin.studies.record import Record

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

BIN_US = HOUR_US
WINDOW = 24  # bins: use may be made up for within a day
OWNED_LEAST = 1e-6  # GPUs: who owns nothing has what all others leave


def share_error(record: Record, played: Played) -> float:
    """The part of the GPU time used that went to other tenants than those who deserved it, day by day, 0..1: half the
    sum over tenants of |used - φ × deserved|, over what was used. φ scales what is deserved to what was used on the
    day, so that idle GPUs count under utilisation alone. From the first submission to the last."""
    first, last = record.span_us
    many, bins = len(record.tenants), -(-max(last - first, 1) // BIN_US)
    runs = np.array(played.runs, np.int64).reshape(-1, 3)
    rows = np.flatnonzero(played.end_us >= 0)
    asked = _by_bin(record, rows, record.submit_us[rows], played.end_us[rows], bins)
    used = _by_bin(record, runs[:, 0], runs[:, 1], runs[:, 2], bins)
    owned = np.bincount(
        [owner for _, owner in record.nodes], [float(gpus) for gpus, _ in record.nodes], minlength=many
    )
    due = deserved(asked, np.maximum(owned, OWNED_LEAST), float(record.capacity))
    days = np.arange(0, bins, WINDOW)
    had, owed = np.add.reduceat(used, days, axis=1), np.add.reduceat(due, days, axis=1)
    phi = had.sum(axis=0) / np.maximum(owed.sum(axis=0), OWNED_LEAST)
    return float(np.abs(had - phi * owed).sum() / 2 / max(float(had.sum()), OWNED_LEAST))


def deserved(asked: Floats, owned: Floats, capacity: float) -> Floats:
    """By tenant (rows) and hour (columns), GPUs: the least of what is asked and λ × owned, λ of the hour so large that
    all GPUs are had, or all that is asked. `owned`: over 0, by tenant."""
    ratio = asked / owned[:, None]
    order = np.argsort(ratio, axis=0, kind="stable")
    in_order = np.take_along_axis(asked, order, axis=0)
    before = np.cumsum(in_order, axis=0) - in_order  # had by those who ask for less
    left = np.cumsum(owned[order][::-1], axis=0)[::-1]  # owned by this one and those who ask for more
    level = np.maximum(capacity - before, 0.0) / left
    binds = level <= np.take_along_axis(ratio, order, axis=0)
    first = np.argmax(binds, axis=0)
    found = np.where(binds.any(axis=0), level[first, np.arange(asked.shape[1])], np.inf)
    with np.errstate(invalid="ignore"):
        least: Floats = np.minimum(asked, np.where(np.isinf(found), asked, found * owned[:, None]))
    return least


def jain(values: Floats) -> float | None:
    """Jain's index of these: 1 where all are equal, 1/n where one has all (Jain, Chiu, Hawe 1984)."""
    squares = float((values**2).sum())
    return float(values.sum()) ** 2 / (len(values) * squares) if squares else None


def _by_bin(record: Record, rows: Ints, begin: Ints, end: Ints, bins: int) -> Floats:
    """Mean GPUs by tenant and bin that the jobs of `rows` had, or asked for, from `begin` to `end` (µs)."""
    first = record.span_us[0]
    tenant, gpus = record.tenant[rows], record.gpus[rows].astype(np.float64)
    whole = np.zeros((len(record.tenants), bins + 1))
    part = np.zeros((len(record.tenants), bins + 1))
    for at, weight in ((begin, gpus), (end, -gpus)):
        since = np.clip(at - first, 0, bins * BIN_US)
        bin_ = np.minimum(since // BIN_US, bins - 1)
        np.add.at(part, (tenant, bin_), weight * (1 - (since - bin_ * BIN_US) / BIN_US))
        np.add.at(whole, (tenant, bin_ + 1), weight)
    found: Floats = (part + np.cumsum(whole, axis=1))[:, :bins]
    return np.maximum(found, 0.0)
