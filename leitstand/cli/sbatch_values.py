# SPDX-License-Identifier: Apache-2.0
"""The values of `#SBATCH` options: counts, memory, times, GPUs, signals, as the manual of Slurm gives them.

Called by `leitstand.cli.sbatch`. All raise Wrong, and no fault quotes a long value.
"""

import re
from datetime import datetime, time, timedelta
from typing import Final, NamedTuple

from leitstand.cli.amounts import DURATION_MAX_S
from leitstand.cli.jobfile_faults import Wrong, quoted, signal_name
from leitstand.cli.text import t

_COUNT: Final = re.compile(r"(\d{1,9})([kKmM]?)", re.ASCII)
_MEMORY: Final = re.compile(r"(\d{1,12})(?:([KMGT])B?)?", re.ASCII | re.IGNORECASE)
_TIME: Final = re.compile(r"(?:(\d{1,6})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?", re.ASCII)
_KIND: Final = r"(?:[A-Za-z][A-Za-z0-9_.+-]*|\d{1,2}g\.\d{1,4}gb(?:\+me)?)"  # a type of GPU, or a MIG profile
PROFILE: Final = re.compile(r"(?:.*_)?(\d{1,2}g\.\d{1,4}gb(?:\+me)?)", re.ASCII | re.IGNORECASE)
_GRES: Final = re.compile(
    rf"(?:gres[:/])?([A-Za-z][A-Za-z0-9_]*)(?:[:=]({_KIND}))?(?:[:=](\d{{1,9}}[kKmM]?))?(?:\(.*\))?",
    re.ASCII,
)
_GPUS: Final = re.compile(rf"(?:({_KIND}):)?(\d{{1,9}})", re.ASCII)
_ARRAY: Final = re.compile(r"(\d{1,8})(?:-(\d{1,8})(?::(\d{1,8}))?)?(?:%(\d{1,8}))?", re.ASCII)
_JOB: Final = re.compile(r"(?:[a-z0-9][a-z0-9-]{0,62}-)?\d{1,15}", re.ASCII)
_ENDS: Final = {"afterok": "ok", "afterany": "any", "afternotok": "failed"}
_LATER: Final = re.compile(r"now\+(\d{1,8})(seconds?|minutes?|hours?|days?|weeks?)?", re.ASCII)
_CLOCK: Final = re.compile(r"\d{1,2}:\d{2}(?::\d{2})?", re.ASCII)
_SECONDS: Final = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400, "week": 604_800}
ARRAY_MAX: Final = 10_000
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


class Numbers(NamedTuple):
    """The numbers of an array: `size` of them from `first` on, each `step` after the one before; `at_once`: '' or how
    many may run together."""

    first: int
    step: int
    size: int
    at_once: str = ""


def numbers(text: str) -> Numbers:
    """`0-9`, `1-10:2`, `5`, each with `%4`."""
    found = _ARRAY.fullmatch(text.strip())
    if not found:
        what = t(
            '"{text}" is not a range of numbers; write it like 0-9 or 1-9:2, and several as arrays of their own'
        )
        raise Wrong(what.format(text=quoted(text)))
    first, step = int(found[1]), int(found[3] or 1)
    last = int(found[2] or first)
    if last < first or not step:
        raise Wrong(t('"{text}" holds no number', text=quoted(text)))
    count = (last - first) // step + 1
    if count > ARRAY_MAX:
        raise Wrong(t("{count} jobs in one array; the limit is {limit}", count=count, limit=ARRAY_MAX))
    return Numbers(first, step, count, found[4] or "")


def dependencies(text: str) -> list[str]:
    """`afterok:acme-1:acme-2,afterany:3`; all of them have to be met."""
    found = []
    for part in text.strip().split(","):
        how, *jobs = part.split(":")
        if how not in _ENDS or not jobs or not all(_JOB.fullmatch(job) for job in jobs):
            what = t(
                '"{text}" is not a dependency to use; write afterok, afterany or afternotok and jobs, separated by '
                "commas",
                text=quoted(part),
            )
            raise Wrong(what)
        found += [f"{job}:{_ENDS[how]}" for job in jobs]
    return found


def moment(text: str, now: datetime) -> str:
    """A time as the API takes it, of `now+1hour`, `16:00`, `tomorrow`, `2026-03-01T08:00`; without a zone that of
    `now`."""
    word = text.strip().lower()
    later = _LATER.fullmatch(word)
    if later:
        seconds = int(later[1]) * _SECONDS[(later[2] or "seconds").rstrip("s")]
        return f"{seconds}s" if seconds else now.isoformat()
    days = {"now": 0, "today": 0, "midnight": 1, "tomorrow": 1, "noon": 0}
    try:
        if word == "now":
            return now.isoformat()
        if word in days:
            hour = 12 if word == "noon" else 0 if word == "midnight" else now.hour
            minute, second = (now.minute, now.second) if word in ("today", "tomorrow") else (0, 0)
            found = now.replace(hour=hour, minute=minute, second=second) + timedelta(days=days[word])
        elif _CLOCK.fullmatch(word):
            found = datetime.combine(now.date(), time.fromisoformat(word.zfill(5)), now.tzinfo)
        else:
            found = datetime.fromisoformat(text.strip())
    except (ValueError, OverflowError):
        what = t('"{text}" is not a time; write it like now+2hours, 16:00, tomorrow or 2026-03-01T08:00')
        raise Wrong(what.format(text=quoted(text))) from None
    found = (found if found.tzinfo else found.replace(tzinfo=now.tzinfo)).replace(microsecond=0)
    if found <= now and (word == "noon" or _CLOCK.fullmatch(word)):
        found += timedelta(days=1)  # the next time that a clock shows it
    return found.isoformat()


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
