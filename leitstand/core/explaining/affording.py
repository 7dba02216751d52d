# SPDX-License-Identifier: Apache-2.0
"""The smallest changes with which a job that no budget can pay would be admitted: of one dimension at a time, all else
equal, found with the test that refuses it. Called by the plan of a job.

Admission reserves for the whole time limit, so a job that waits is paid already: a budget is a reason to be refused,
not a reason to wait, and this dimension belongs here rather than to `remedies`.
"""

from collections.abc import Iterator
from copy import copy

from msgspec.structs import replace

from leitstand.core.admission import Verdict, admit
from leitstand.core.budgets import Budget
from leitstand.core.explaining.remedies import Remedy, sizes
from leitstand.core.explaining.searching import first_that
from leitstand.core.facts import SubmitJob
from leitstand.core.state import State
from leitstand.core.units import SECOND_US


def affording(state: State, asked: SubmitJob, now: int, refused: Verdict) -> tuple[Remedy, ...]:
    """Time limit, size and budget, each if it would do alone; none for a job that is `refused` for another reason."""
    if refused.reason != "budget":
        return ()
    return (*_time_limit(state, asked, now), *_size(state, asked, now), *_budget(state, asked, now, refused))


def _time_limit(state: State, asked: SubmitJob, now: int) -> Iterator[Remedy]:
    """The longest time limit that is paid, in whole seconds."""
    limit_us = _limit_us(state, asked)

    def admits(seconds: int) -> bool | None:
        return not admit(state, replace(asked, max_duration_us=seconds * SECOND_US), now).reason or None

    found = first_that(range(-(-limit_us // SECOND_US) - 1, 0, -1), admits, beside=0)
    if found:
        yield Remedy("max_duration", found[0] * SECOND_US, limit_us, "max_duration_us")


def _size(state: State, asked: SubmitJob, now: int) -> Iterator[Remedy]:
    """The largest size that is paid."""
    smaller, steps, whole, resource = sizes(asked.resources)

    def admits(value: int) -> bool | None:
        return not admit(state, replace(asked, resources=smaller(value)), now).reason or None

    found = first_that(range(steps, 0, -1), admits)
    if found:
        yield Remedy("size", found[0] * (whole // (steps + 1)), whole, resource)


def _budget(state: State, asked: SubmitJob, now: int, refused: Verdict) -> Iterator[Remedy]:
    """The least further budget that lasts for the whole time limit; `now` is what is left of those that do."""
    expires_us = now + _limit_us(state, asked)
    in_euros = refused.resource == "micro_eur"

    def admits(amount: int) -> bool | None:
        further = Budget("", 0 if in_euros else amount, expires_us, "paid", amount if in_euros else 0)
        return not admit(_granted(state, asked.tenant, further), asked, now).reason or None

    found = first_that(range(1, refused.asked + 1), admits, beside=0)
    if found:
        yield Remedy("budget", found[0], refused.limit, refused.resource)


def _granted(state: State, name: str, further: Budget) -> State:
    """The same state, for reading, in which the tenant has one more budget."""
    tenant = state.tenants[name]
    other = copy(state)
    other.tenants = {**state.tenants, name: replace(tenant, budgets=[*tenant.budgets, further])}
    return other


def _limit_us(state: State, asked: SubmitJob) -> int:
    default = state.rules.max_duration_default_us[state.tenants[asked.tenant].tenant_class]
    return asked.max_duration_us or default
