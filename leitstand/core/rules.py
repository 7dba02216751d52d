# SPDX-License-Identifier: Apache-2.0
"""The frozen bundle in force: which algorithms of a closed list apply, with which numbers. Data, whole in the journal.

Called by admission, queue and placement. A bundle never changes: another one is set by the fact `RulesSet`.
"""

import hashlib
from typing import Final

import msgspec

from leitstand.core.units import DAY_US, HOUR_US

DISCIPLINES: Final = ("fifo-strict", "fifo-greedy", "sjf", "priority")
NAME_MAX: Final = 63
TENANT_CLASSES: Final = ("industry", "startup", "research", "public")


class Rules(msgspec.Struct, frozen=True, omit_defaults=False, forbid_unknown_fields=True):
    """One bundle.

    `discipline`: who starts next, one of `DISCIPLINES`. `static`: every tenant has only the nodes of its own pool.
    `max_duration_default_us`: per tenant class, for jobs that name none. Limits refuse, they never truncate.
    """

    name: str = "default"
    version: int = 1
    discipline: str = "fifo-greedy"
    static: bool = False
    max_duration_default_us: dict[str, int] = msgspec.field(
        default_factory=lambda: dict.fromkeys(TENANT_CLASSES, 24 * HOUR_US)
    )
    max_duration_limit_us: int = 30 * DAY_US
    pending_jobs_max: int = 100_000  # live jobs that wait, per tenant
    request_ttl_us: int = DAY_US  # how long an Idempotency-Key is remembered
    requests_max: int = 250_000  # of them, per tenant: about 100 MB


def digest(rules: Rules) -> str:
    """SHA-256 over the canonical JSON (sorted keys) of the bundle, hexadecimal."""
    return hashlib.sha256(msgspec.json.encode(rules, order="sorted")).hexdigest()


def check(rules: Rules) -> list[str]:
    """What is wrong with the bundle, one sentence per fault; empty if it can be put in force."""
    faults = []
    if not 0 < len(rules.name) <= NAME_MAX:
        faults.append(f"the name has {len(rules.name)} characters, not 1..{NAME_MAX}")
    if set(rules.max_duration_default_us) != set(TENANT_CLASSES):
        faults.append(f"max_duration_default_us names other classes than {', '.join(TENANT_CLASSES)}")
    if rules.discipline not in DISCIPLINES:
        faults.append(f"discipline {rules.discipline!r} is unknown; known: {', '.join(DISCIPLINES)}")
    for tenant_class in TENANT_CLASSES:
        default = rules.max_duration_default_us.get(tenant_class, 0)
        if not 0 < default <= rules.max_duration_limit_us:
            faults.append(
                f"max_duration_default_us of class {tenant_class!r} is {default}, "
                f"not in 1..{rules.max_duration_limit_us}"
            )
    return faults
