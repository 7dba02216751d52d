# SPDX-License-Identifier: Apache-2.0
"""The account of own partitions on real traces at 10,412 GPUs: what each tenant got in one fleet, and what it would
have got with its guarantee as a static partition. `python -m bench.own itp 5 FILE.md`.

As many copies of a recorded trace's tenants as a real inventory holds share its nodes under `fair`, each guaranteed as
many GPUs as its part of the nodes has. So many days are played to their end and kept as a journal; the account is made
of that by the code of `leitstand twin partition`.
"""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from bench.support import record as recording
from bench.support.record import on_inventory, recorded
from leitstand.core.units import HOUR_US, MINUTE_US
from leitstand.journal.sqlite import SqliteJournal
from leitstand.twin.page import Page, Section, Table, markdown
from leitstand.twin.partition import Account, Month, accounts
from leitstand.twin.partition_page import page
from leitstand.twin.studies.playing import Plan, recount
from leitstand.twin.studies.record import Record, cut

CHECKPOINT_US: Final = HOUR_US  # declared by every job that is longer
TICK_US: Final = 10 * MINUTE_US  # shares are looked at so often; else 96 own partitions tick every minute
COMMIT_EVERY: Final = 10_000  # facts


def measure(name: str, days: float) -> Page:
    """The account of the first `days` of a trace (philly, itp)."""
    begun_s = time.process_time()
    record = cut(on_inventory(recorded(name)), days)
    plan = Plan(checkpoint_us=CHECKPOINT_US, changes={"sharing": {"tick_us": TICK_US}})
    with TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        journal = SqliteJournal(path, journal_id="own", commit_every=COMMIT_EVERY)
        recount(record, plan, journal)
        facts = journal.head.seq
        months = accounts(lambda: journal.read(0))
        journal.close()
    said = page(months)
    took = f"{facts:,} facts; {time.process_time() - begun_s:,.0f} CPU seconds, both histories together."
    setting = Section("What was played", [_setting(record, name, days), took])
    return Page(f"{said.title}: {record.name}", said.lead, [setting, _summed(months), *said.sections])


def _setting(record: Record, name: str, days: float) -> str:
    """What is compared, and how to do it again."""
    return (
        f"`python -m bench.own {name} {days:g} FILE` makes this page again, from the recorded trace and the inventory "
        f"that stand beside the project. {len(record):,} jobs of {len(record.tenants)} tenants on "
        f"{record.capacity:,} GPUs, load {record.load:.2f} (GPU time asked for, of all there is meanwhile), under "
        f"`fair`; shares are looked at every {TICK_US // MINUTE_US} minutes, the fleet is empty at first. Jobs longer "
        f"than {CHECKPOINT_US // HOUR_US} h save their work as often. Months count from 1970, since the days of the "
        "trace do."
    )


def _summed(months: Sequence[Month]) -> Section:
    """All tenants together, weighted by their jobs."""
    rows = []
    for month in months:
        told = [one for one in month.tenants if one.jobs]
        judged = [one for one in told if one.judged]
        better = sum(_mean([one], "jct_s") < _mean([one], "alone_jct_s") for one in judged)
        rows.append(
            (
                month.month,
                f"{sum(one.jobs for one in told):,}",
                *(
                    f"{_mean(told, figure):,.0f}"
                    for figure in ("wait_s", "alone_wait_s", "jct_s", "alone_jct_s")
                ),
                *(f"{_mean(told, figure):,.2f}" for figure in ("slowdown", "alone_slowdown")),
                str(len(judged)),
                str(better),
                str(sum(one.worse_off for one in judged)),
            )
        )
    head = (
        "month",
        "jobs",
        "wait [s]",
        "alone",
        "JCT [s]",
        "alone",
        "slowdown",
        "alone",
        "judged",
        "sooner",
        "worse",
    )
    words = (
        "**judged**: tenants with 100 jobs or more. **sooner**: of these, by mean JCT. **worse**: worse off."
    )
    return Section("All tenants together", [Table("Means over jobs", head, rows), words])


def _mean(told: Sequence[Account], figure: str) -> float:
    """Over all jobs of these tenants."""
    jobs = sum(one.jobs for one in told)
    return sum((getattr(one, figure) or 0.0) * one.jobs for one in told) / max(jobs, 1)


if __name__ == "__main__":
    if missing := recording.absent():
        raise SystemExit(missing)
    target = Path(sys.argv[3])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(markdown(measure(sys.argv[1], float(sys.argv[2]))), encoding="utf-8")
