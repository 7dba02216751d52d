# SPDX-License-Identifier: Apache-2.0
"""The values of `#SBATCH` options: counts, memory, times, GPUs, signals, as the manual of Slurm gives them.

Called by `leitstand.cli.sbatch`. All raise Wrong, and no fault quotes a long value.
"""

import re
from typing import Final, NamedTuple

from leitstand.cli.amounts import DURATION_MAX_S
from leitstand.cli.jobfile_faults import Wrong, quoted, signal_name
from leitstand.cli.text import t

_COUNT: Final = re.compile(r"(\d{1,9})([kKmM]?)", re.ASCII)
_MEMORY: Final = re.compile(r"(\d{1,12})(?:([KMGT])B?)?", re.ASCII | re.IGNORECASE)
_TIME: Final = re.compile(r"(?:(\d{1,6})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?", re.ASCII)
_GRES: Final = re.compile(
    r"(?:gres[:/])?([A-Za-z][A-Za-z0-9_]*)(?:[:=]([A-Za-z][A-Za-z0-9_.+-]*))?(?:[:=](\d{1,9}[kKmM]?))?(?:\(.*\))?",
    re.ASCII,
)
_GPUS: Final = re.compile(r"(?:([A-Za-z][A-Za-z0-9_.+-]*):)?(\d{1,9})", re.ASCII)
_KIB: Final = {"K": 1, "M": 1024, "G": 1024**2, "T": 1024**3}
SIGNAL_TIME_S: Final = 60  # how long before the end, if nothing is said
SIGNAL_TIME_MAX_S: Final = 3600


class Gpus(NamedTuple):
    """`number` GPUs, of the type `kind` if one was named."""

    number: int
    kind: str = ""


def count(text: str) -> int:
    """A number from 1 on, k for 1024 of them."""
    found = _COUNT.fullmatch(text.strip())
    if not found or not int(found[1]):
        raise Wrong(t('"{text}" is not a count from 1 on', text=quoted(text)))
    return int(found[1]) * {"": 1, "k": 1024, "m": 1024**2}[found[2].lower()]


def nodes(text: str) -> tuple[int, int]:
    """(least, most) of `2`, `2-4`."""
    least, dash, most = text.partition("-")
    low = count(least)
    high = count(most) if dash else low
    if high < low or "," in text or ":" in text:
        raise Wrong(t('"{text}" is not a number of nodes; write it like 2', text=quoted(text)))
    return low, high


def memory_gb(text: str) -> float:
    """GB (1024 MiB) of `64G`, `4000` (MB), `1T`; 0: all that a node has."""
    found = _MEMORY.fullmatch(text.strip())
    if not found:
        raise Wrong(t('"{text}" is not an amount of memory; write it like 64G', text=quoted(text)))
    return int(found[1]) * _KIB[(found[2] or "M").upper()] / 1024**2


def time_s(text: str) -> int:
    """Seconds of minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes and
    days-hours:minutes:seconds; 0: no limit."""
    text = text.strip()
    if text.lower() in ("unlimited", "infinite", "-1"):
        return 0
    found = _TIME.fullmatch(text)
    if not found:
        raise Wrong(
            t('"{text}" is not a time; write minutes, hours:minutes:seconds or days-hours', text=quoted(text))
        )
    days, *parts = found.groups()
    given = [int(part) for part in parts if part is not None]
    if days is not None or len(given) == 3:
        hours, minutes, seconds = (*given, 0, 0)[:3]
    else:
        hours, minutes, seconds = 0, *(*given, 0)[:2]
    total = ((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + seconds
    if total > DURATION_MAX_S:
        limit = DURATION_MAX_S // 86_400
        raise Wrong(t('"{text}" is longer than {limit} days', text=quoted(text), limit=limit))
    return total


def gpus(text: str) -> Gpus:
    """`8`, `a100:8`; several types are summed by none: refused."""
    found = _GPUS.fullmatch(text.strip())
    if not found:
        raise Wrong(t('"{text}" is not a number of GPUs; write it like 8 or a100:8', text=quoted(text)))
    return Gpus(int(found[2]), "" if (found[1] or "").lower() == "gpu" else found[1] or "")


def gres(text: str) -> tuple[Gpus | None, list[str]]:
    """The GPUs in `gpu:a100:2,nvme:1`, and the names of the other resources."""
    asked: Gpus | None = None
    others: list[str] = []
    for part in text.strip().split(","):
        found = _GRES.fullmatch(part.strip())
        if not found:
            raise Wrong(t('"{text}" is not a resource; write it like gpu:2 or gpu:a100:2', text=quoted(part)))
        name, kind, number = found[1].lower(), found[2] or "", found[3]
        if name == "none":
            continue
        if name in ("shard", "mps"):
            raise Wrong(t("a share of a GPU cannot be asked for; ask for whole ones: gpu:1"))
        if name != "gpu":
            others.append(name)
            continue
        if asked:
            raise Wrong(t("several kinds of GPUs in one job are not supported; name one"))
        asked = Gpus(count(number) if number and number != "0" else int(not number), kind)
    return asked, others


def signal(text: str) -> tuple[str, int]:
    """(signal, seconds before the end) of `[R|B:]USR1@120`: whom Slurm would send it to makes no difference here."""
    head, at, seconds = text.strip().partition("@")
    whom, colon, name = head.rpartition(":")
    if (colon and not set(whom) <= set("RB")) or (
        at and not (seconds.isascii() and seconds.isdigit() and len(seconds) < 10)
    ):
        raise Wrong(t('"{text}" is not a signal; write it like USR1@120', text=quoted(text)))
    before = int(seconds) if at else SIGNAL_TIME_S
    if before > SIGNAL_TIME_MAX_S:
        what = t("{seconds} s before the end are too long; the limit is {limit}")
        raise Wrong(what.format(seconds=before, limit=SIGNAL_TIME_MAX_S))
    return signal_name(name), before
