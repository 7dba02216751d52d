# SPDX-License-Identifier: Apache-2.0
"""The account of own partitions as a page. Called by `leitstand twin partition --out`."""

from collections.abc import Sequence
from typing import Final

from leitstand.twin.page import Page, Section, Table
from leitstand.twin.partition import Account, Month

LEAD: Final = (
    "What each tenant got with all in one fleet, and what it would have got with its guarantee as a static partition: "
    "nodes of its own and nothing else. Both are histories of the same jobs, decided by the same scheduler; each job "
    "takes as long as it took in truth."
)
MEANING: Final = """\
**guarantee**: mean over the month, commitments included. **jobs**: those submitted in the month that ran to their own \
end in both histories; all that stands to their right is about them. **wait**: from submission to the first start. \
**JCT**: from submission to the final end. **slowdown**: JCT over the longer of duration and 10 minutes. **GPU-h**: \
metered, with what was done again.

**apart**: jobs that the own partition, as it was when they were submitted, could never hold. **left out**: jobs that \
were cancelled, or had not ended when the journal did.

A tenant is **worse off** if its mean JCT was more than R over that alone, or its mean slowdown more than 1.02 times \
that alone. With fewer than 100 jobs it is only shown.

The own partition is made of copies of the pool's nodes, the largest first; the last is cut to what is left of the \
guarantee. It never fails and is never maintained, although the fleet did and was: that is in favour of alone. It \
follows the guarantee when that changes. Entitlements of projects are not kept in it, nor are bookings."""


def page(months: Sequence[Month]) -> Page:
    """All of these months."""
    title = "Own partitions" + (f", {months[0].month}" if len(months) == 1 else "")
    sections = [Section(month.month, [_verdict(month), _table(month)]) for month in months]
    return Page(title, LEAD, [*sections, Section("What the figures mean", [*MEANING.split("\n\n")])])


def _verdict(month: Month) -> str:
    worse = [one.tenant for one in month.tenants if one.worse_off]
    judged = sum(one.judged for one in month.tenants)
    if worse:
        return f"**Worse off than on its own partition: {', '.join(worse)}** ({judged} tenants have 100 jobs or more)."
    return f"None of the {judged} tenants with 100 jobs or more was worse off than on its own partition."


def _table(month: Month) -> Table:
    head = (
        "tenant", "class", "guarantee [GPUs]", "jobs", "wait [s]", "alone", "JCT [s]", "alone", "R [s]", "slowdown",
        "alone", "GPU-h", "alone", "apart", "left out", "verdict",
    )  # fmt: skip
    return Table(f"{month.month} (UTC), means over jobs", head, [_row(one) for one in month.tenants])


def _row(one: Account) -> tuple[str, ...]:
    verdict = "shown only" if not one.judged else "worse" if one.worse_off else "not worse off"
    return (
        one.tenant, one.tenant_class, f"{one.guarantee_gpus:,.2f}", f"{one.jobs:,}", _shown(one.wait_s),
        _shown(one.alone_wait_s), _shown(one.jct_s), _shown(one.alone_jct_s), f"{one.recall_s:,.0f}",
        _shown(one.slowdown, 2), _shown(one.alone_slowdown, 2), _shown(one.gpu_hours, 1),
        _shown(one.alone_gpu_hours, 1), f"{one.apart:,}", f"{one.left_out:,}", verdict,
    )  # fmt: skip


def _shown(value: float | None, digits: int = 0) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
