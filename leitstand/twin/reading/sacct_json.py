# SPDX-License-Identifier: Apache-2.0
"""Jobs as `sacct --json` prints them, of Slurm 22.05 and later. Called by `leitstand.twin.reading.formats`.

Later versions write a number as {"set": …, "infinite": …, "number": …} and a state as a list; both are read. Times
are seconds since 1970, the time limit is in minutes.
"""

from collections.abc import Iterator, Mapping
from math import nan
from pathlib import Path
from typing import Any, Final

from leitstand.twin.reading.dates import FIRST_S, LAST_S
from leitstand.twin.reading.slurm import Record, state_of, table_of, tres_gpus
from leitstand.twin.reading.table import Broken, Form, Table, TraceError, check_rows, empty, shown

Faults = list[tuple[str, str, str]]
TIME_MAX_S: Final = 9 * 10**9  # as `leitstand.twin.traces` has it
LIMIT_MAX: Final = 150_000_000  # minutes
_MOMENT: Final = "is no moment between 1990 and 2100, in s since 1970 (it may count ms)"
_CALLED: Final = {
    "submit_s": "time.submission",
    "duration_s": "time.elapsed",
    "limit_s": "time.limit",
    "gpus": "tres.allocated",
}


def read_sacct_json(path: Path, content: Any, form: Form) -> Table:
    """The jobs in `content`, the decoded file; places are positions in its list of jobs, from 1."""
    jobs = content.get("jobs") if isinstance(content, Mapping) else None
    if not isinstance(jobs, list):
        raise TraceError(f'{path}: has no list "jobs" as `sacct --json` prints it; export it again')
    check_rows(path, len(jobs))
    table = empty(path, "job")
    tenant = form.tenant_from.lower() or "account"
    return table_of(list(_records(jobs, tenant, table)), table, _CALLED | {"tenant": shown(tenant)})


def _records(jobs: list[Any], tenant: str, table: Table) -> Iterator[Record]:
    for number, job in enumerate(jobs, 1):
        if isinstance(job, Mapping):
            yield _record(number, job, tenant)
        else:
            table.broken.append(Broken(number, f"is {shown(repr(job))}, no job"))


def _record(number: int, job: Mapping[str, Any], tenant: str) -> Record:
    faults: Faults = []

    def counted(name: str, value: Any, least: float, most: float, what: str) -> float:
        found = _number(value)
        if found is None:
            faults.append((name, shown(repr(value)), "is no number"))
            return nan
        if not (found != found or least <= found <= most):
            faults.append((name, f"{found:.10g}", what))
            return nan
        return found

    def moment(name: str) -> float:
        never = _number(time.get(name)) == 0
        return nan if never else counted(f"time.{name}", time.get(name), FIRST_S, LAST_S, _MOMENT)

    time = _within(job, "time")
    return Record(
        number,
        _id(job, faults),
        _text(job.get(tenant)),
        _text(job.get("user")),
        _state(job),
        moment("submission"),
        moment("start"),
        moment("end"),
        counted("time.elapsed", time.get("elapsed"), 0, TIME_MAX_S, f"is not in 0..{TIME_MAX_S} s"),
        counted("time.limit", time.get("limit"), 0, LIMIT_MAX, f"is not in 0..{LIMIT_MAX} minutes") * 60
        or nan,
        _gpus(job, faults),
        bool(_within(job, "tres").get("allocated", True)),
        faults,
    )


def _id(job: Mapping[str, Any], faults: Faults) -> str:
    """`12`, of an array `12_3`, of a heterogeneous job `12+1`, as sacct's JobID."""
    array, het = _within(job, "array"), _within(job, "het")
    own, task, part = (_number(of) for of in (job.get("job_id"), array.get("task_id"), het.get("job_offset")))
    whole, gang = _number(array.get("job_id")), _number(het.get("job_id"))
    if own is None or own != own or own <= 0:
        faults.append(("job_id", shown(repr(job.get("job_id"))), "is no number of a job"))
        return ""
    if whole and whole == whole and task is not None and task == task:
        return f"{whole:.0f}_{task:.0f}"
    if gang and gang == gang and part is not None and part == part:
        return f"{gang:.0f}+{part:.0f}"
    return f"{own:.0f}"


def _gpus(job: Mapping[str, Any], faults: Faults) -> float:
    tres = _within(job, "tres")
    for name in ("allocated", "requested"):
        held = tres.get(name)
        if not held:
            continue
        items = held if isinstance(held, list) else [held]
        written = ",".join(map(_tres, items))
        gpus = tres_gpus(written)
        if gpus != gpus:
            faults.append(
                (f"tres.{name}", shown(written), 'is no list like [{"type": "gres", "name": "gpu", …}]')
            )
        return gpus
    return 0.0


def _tres(item: Any) -> str:
    """`gres/gpu:h100=4`, as sacct writes it in text; '?' for what is none."""
    if not isinstance(item, Mapping):
        return "?"
    count = _number(item.get("count"))
    name = f"{item.get('type')}/{item.get('name')}" if item.get("name") else str(item.get("type"))
    whole = count is not None and count == count and count == int(count) and count >= 0
    return f"{name}={count:.0f}".replace(",", ".") if whole else f"{name}=?".replace(",", ".")


def _state(job: Mapping[str, Any]) -> str:
    current = _within(job, "state").get("current")
    if isinstance(current, list):
        current = current[0] if current else ""
    return state_of(_text(current))


def _number(value: Any) -> float | None:
    """A number in any of its writings, NaN where it is not set; None if it is no number."""
    if isinstance(value, Mapping):
        if value.get("infinite") or not value.get("set", True):
            return nan
        value = value.get("number")
    if value is None:
        return nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if abs(value) < 2**62 else None


def _within(job: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = job.get(name)
    return found if isinstance(found, Mapping) else {}


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
