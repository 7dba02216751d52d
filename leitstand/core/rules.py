# SPDX-License-Identifier: Apache-2.0
"""The frozen bundle in force: which algorithms of a closed list apply, with which numbers. Data, whole in the journal.

Called by admission, queue and placement. A bundle never changes: another one is set by the fact `RulesSet`.
"""

import hashlib
from typing import Final

import msgspec

from leitstand.core.units import DAY_US, HOUR_US, MINUTE_US, SECOND_US

DISCIPLINES: Final = ("fifo-strict", "fifo-greedy", "sjf", "priority", "fair")
NAME_MAX: Final = 63
SPAN_MAX_US: Final = 10_000 * DAY_US
CHECKS_MAX: Final = 100  # of an application
AMOUNT_MAX: Final = 2**63 - 1
WEIGHT_MAX: Final = 1_000_000
RESERVATIONS_MAX: Final = 100_000
LOOKED_MAX: Final = 10_000  # waiting jobs that one tick looks at for another pool
PRICE_MILLI_MAX: Final = 1_000_000
BOOKINGS_MAX: Final = 256  # of a tenant, and of all of them together
PRICE_MAX: Final = 10**10  # millionths of a euro
BUDGETS: Final = ("granted", "required", "off")
TENANT_CLASSES: Final = ("industry", "startup", "research", "public")


class Onboarding(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How tenants come in. `checks`: what has to pass → the role that does it; `agreement`: the version of the
    data-processing contract (GDPR Art. 28(3)) in force; `first_budget_gpu_us`: per class, valid for
    `first_budget_us`."""

    checks: dict[str, str] = msgspec.field(
        default_factory=lambda: {
            "identity": "reviewer",
            "sanctions": "reviewer",
            "export_control": "reviewer",
            "size_class": "reviewer",
            "agreement": "applicant",
        }
    )
    agreement: str = "2026-11"
    first_budget_gpu_us: dict[str, int] = msgspec.field(
        default_factory=lambda: dict.fromkeys(TENANT_CLASSES, 100 * HOUR_US)
    )
    first_budget_us: int = 90 * DAY_US


class Exit(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How tenants leave: the longest notice, the transition, the longest one after an extension, and how long data can
    be fetched (Regulation (EU) 2023/2854, Art. 25: two months, 30 days, seven months, 30 days). The seven months bind
    the provider; a customer's own extension ends with `customer_max_us`, which is ours."""

    notice_us: int = 60 * DAY_US
    transition_us: int = 30 * DAY_US
    transition_max_us: int = 213 * DAY_US
    customer_max_us: int = 730 * DAY_US
    retrieval_us: int = 30 * DAY_US


class Sharing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How capacity is shared under the discipline `fair` (docs/scheduling.md has the letters).

    A run is taken for another job only once it is `protected_us` old (M); it has `grace_us` (g) to save its work, and
    its engine has stopped it `stop_us` (e) later. `recall_us`: R where an entitlement names none. `half_life_us`: H of
    the lag; `tick_us`: Δ. `ahead_us`: who had so long more than it deserved, for the size of its share, is ahead: it
    yields to those in whose place it ran (rebalancing), and reserves nothing beyond its guarantee. `spare_milli`: kept
    out of all guarantees, for failures. `restart_us`: what a restart costs each GPU of a run. `predicted_max_us`: in a
    project a job stands behind its age by its predicted length, by so much at most; 0: age alone.
    `reservations_leaf_max`, `reservations_max`: of a project (for the first so many of its jobs guarantees are called,
    too), of a pool. `moves_max`: runs that one tick moves, so
    that jobs find their shape; 0: nobody moves. `start_interval_us`: from one start to the next, for engines that take
    no more; 0: none. `weights`: of the tenant classes."""

    protected_us: int = 10 * MINUTE_US
    grace_us: int = 30 * SECOND_US
    stop_us: int = 30 * SECOND_US
    recall_us: int = 15 * MINUTE_US
    half_life_us: int = 14 * DAY_US
    tick_us: int = MINUTE_US
    ahead_us: int = HOUR_US
    spare_milli: int = 0
    restart_us: int = 2 * MINUTE_US
    predicted_max_us: int = 7 * DAY_US
    reservations_leaf_max: int = 4
    reservations_max: int = 2_000
    moves_max: int = 10_000
    start_interval_us: int = 0
    weights: dict[str, int] = msgspec.field(default_factory=lambda: dict.fromkeys(TENANT_CLASSES, 1))

    @property
    def tick_s(self) -> int:
        """The interval of ticks in seconds, rounded up: the unit of lag is a charge times a second."""
        return -(-self.tick_us // SECOND_US)

    @property
    def ahead_s(self) -> int:
        """What is ahead, in seconds of a share."""
        return self.ahead_us // SECOND_US

    @property
    def freed_us(self) -> int:
        """How long until what a run that is told to end has is free: grace and stop."""
        return self.grace_us + self.stop_us

    @property
    def until_freed_us(self) -> int:
        """How long it can take from the start of a run until its capacity is free for another (m)."""
        return self.protected_us + self.freed_us


class Choosing(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a job with a choice gets its pool and shape under `fair`: the least sum of these, in seconds of waiting, and
    of the wait that is expected (docs/scheduling.md, "Choosing among sites").

    `order_s`: each step down its own list of alternatives; `level_s`: not together at the preferred level now;
    `data_s`: no site with its data; `cost_s`, `carbon_s`: the dearest, the dirtiest of all that are eligible, others in
    proportion. Together the last four stay below `order_s`. `price_milli`: by pool, thousandths of the price of the
    class, 1000 if not named. At a tick at most `looked_max` waiting jobs are looked at, `reservations_max` of them with
    a reservation; a job switches for a gain of `gain_s`, twice that for its second time, and so on."""

    order_s: int = 3600
    level_s: int = 600
    data_s: int = 1200
    cost_s: int = 900
    carbon_s: int = 600
    gain_s: int = 600
    looked_max: int = 500
    reservations_max: int = 16
    price_milli: dict[str, int] = {}


class Booking(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What tenants may book ahead. `bookings_max`: of a tenant, that are not over; `lead_max_us`: how long before they
    begin; `length_max_us`: how long they last. One that is cancelled at least `cancel_free_us` before it begins costs
    nothing, later `cancel_milli` thousandths of its price, and all of it once it has begun."""

    bookings_max: int = 16
    lead_max_us: int = 180 * DAY_US
    length_max_us: int = 31 * DAY_US
    cancel_free_us: int = DAY_US
    cancel_milli: int = 500


class Rules(msgspec.Struct, frozen=True, omit_defaults=False, forbid_unknown_fields=True):
    """One bundle.

    `discipline`: who starts next, one of `DISCIPLINES`. `static`: every tenant has only the nodes of its own pool.
    `max_duration_default_us`: per tenant class, for jobs that name none. Limits refuse, they never truncate.
    `budgets`: who needs one: tenants that were ever granted one, every tenant but the built-in one, or nobody.
    `price_micro_eur_per_gpu_h`: per tenant class, at which budgets in euros pay; 0: no price is in force.
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
    onboarding: Onboarding = Onboarding()
    exit: Exit = Exit()
    sharing: Sharing = msgspec.field(default_factory=Sharing)
    choosing: Choosing = msgspec.field(default_factory=Choosing)
    budgets: str = "granted"
    price_micro_eur_per_gpu_h: dict[str, int] = msgspec.field(
        default_factory=lambda: dict.fromkeys(TENANT_CLASSES, 0)
    )
    token_ttl_max_us: int = 366 * DAY_US
    invitation_ttl_max_us: int = 30 * DAY_US
    claim_again_us: int = HOUR_US  # how long a claim can be shown again, since an answer can be lost
    booking: Booking | msgspec.UnsetType = msgspec.UNSET  # unset: as `Booking` has it


def booking_of(rules: Rules) -> Booking:
    """What the bundle says of bookings."""
    return Booking() if rules.booking is msgspec.UNSET else rules.booking


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
    faults += _onboarding_faults(rules.onboarding)
    faults += _sharing_faults(rules.sharing)
    faults += _choosing_faults(rules.choosing)
    faults += _booking_faults(booking_of(rules))
    faults += _budget_faults(rules)
    for name, value in (
        ("first_budget_us", rules.onboarding.first_budget_us),
        ("exit.notice_us", rules.exit.notice_us),
        ("exit.transition_us", rules.exit.transition_us),
        ("exit.transition_max_us", rules.exit.transition_max_us),
        ("exit.customer_max_us", rules.exit.customer_max_us),
        ("exit.retrieval_us", rules.exit.retrieval_us),
        ("token_ttl_max_us", rules.token_ttl_max_us),
        ("invitation_ttl_max_us", rules.invitation_ttl_max_us),
        ("claim_again_us", rules.claim_again_us),
    ):
        if not 0 < value <= SPAN_MAX_US:
            faults.append(f"{name} is {value}, not in 1..{SPAN_MAX_US}")
    return faults


def _budget_faults(rules: Rules) -> list[str]:
    faults = []
    if rules.budgets not in BUDGETS:
        faults.append(f"budgets is {rules.budgets[:NAME_MAX]!r}; known: {', '.join(BUDGETS)}")
    if set(rules.price_micro_eur_per_gpu_h) != set(TENANT_CLASSES):
        faults.append(f"price_micro_eur_per_gpu_h names other classes than {', '.join(TENANT_CLASSES)}")
    for name, price in rules.price_micro_eur_per_gpu_h.items():
        if not 0 <= price <= PRICE_MAX:
            faults.append(
                f"price_micro_eur_per_gpu_h of {name[:NAME_MAX]!r} is {price}, not in 0..{PRICE_MAX}"
            )
    return faults


def _sharing_faults(sharing: Sharing) -> list[str]:
    faults = []
    if set(sharing.weights) != set(TENANT_CLASSES):
        faults.append(f"sharing.weights names other classes than {', '.join(TENANT_CLASSES)}")
    numbers: list[tuple[str, int, int, int]] = [
        (f"weights of {name[:NAME_MAX]!r}", weight, 0, WEIGHT_MAX) for name, weight in sharing.weights.items()
    ]
    numbers += [
        (name, getattr(sharing, name), 1 if name in ("half_life_us", "tick_us") else 0, SPAN_MAX_US)
        for name in sharing.__struct_fields__
        if name.endswith("_us")
    ]
    numbers += [
        ("spare_milli", sharing.spare_milli, 0, AMOUNT_MAX),
        ("reservations_max", sharing.reservations_max, 0, RESERVATIONS_MAX),
        ("moves_max", sharing.moves_max, 0, RESERVATIONS_MAX),
    ]
    for name, value, least, most in numbers:
        if not least <= value <= most:
            faults.append(f"sharing.{name} is {value}, not in {least}..{most}")
    if not 1 <= sharing.reservations_leaf_max <= RESERVATIONS_MAX:
        faults.append(
            f"sharing.reservations_leaf_max is {sharing.reservations_leaf_max}, not in 1..{RESERVATIONS_MAX}: it also "
            f"says for how many jobs of a project guarantees are called; reservations_max: 0 reserves nothing"
        )
    return faults


def _choosing_faults(choosing: Choosing) -> list[str]:
    faults = []
    for name in choosing.__struct_fields__:
        value = getattr(choosing, name)
        most = LOOKED_MAX if name.endswith("_max") else SPAN_MAX_US // SECOND_US
        least = 1 if name == "gain_s" else 0
        if name != "price_milli" and not least <= value <= most:
            faults.append(f"choosing.{name} is {value}, not in {least}..{most}")
    parts = choosing.level_s + choosing.data_s + choosing.cost_s + choosing.carbon_s
    if parts >= choosing.order_s:
        faults.append(
            f"choosing: level_s, data_s, cost_s and carbon_s are {parts} s together, not less than order_s, "
            f"{choosing.order_s} s: a job's own order of alternatives would not come first"
        )
    for pool, price in choosing.price_milli.items():
        if not 1 <= price <= PRICE_MILLI_MAX:
            faults.append(
                f"choosing.price_milli of {pool[:NAME_MAX]!r} is {price}, not in 1..{PRICE_MILLI_MAX}"
            )
    return faults


def _booking_faults(booking: Booking) -> list[str]:
    return [
        f"booking.{name} is {value}, not in 0..{most}"
        for name, value, most in (
            ("bookings_max", booking.bookings_max, BOOKINGS_MAX),
            ("lead_max_us", booking.lead_max_us, SPAN_MAX_US),
            ("length_max_us", booking.length_max_us, SPAN_MAX_US),
            ("cancel_free_us", booking.cancel_free_us, SPAN_MAX_US),
            ("cancel_milli", booking.cancel_milli, 1000),
        )
        if not 0 <= value <= most
    ]


def _onboarding_faults(terms: Onboarding) -> list[str]:
    faults = []
    if set(terms.first_budget_gpu_us) != set(TENANT_CLASSES):
        faults.append(f"first_budget_gpu_us names other classes than {', '.join(TENANT_CLASSES)}")
    for tenant_class, gpu_us in terms.first_budget_gpu_us.items():
        if not 0 <= gpu_us <= AMOUNT_MAX:
            faults.append(
                f"first_budget_gpu_us of {tenant_class[:NAME_MAX]!r} is {gpu_us}, not in 0..{AMOUNT_MAX}"
            )
    if len(terms.checks) > CHECKS_MAX:
        faults.append(f"there are {len(terms.checks)} checks; the limit is {CHECKS_MAX}")
    for name in (*terms.checks, terms.agreement):
        if not 0 < len(name) <= NAME_MAX:
            faults.append(f"a check or agreement has a name of {len(name)} characters, not 1..{NAME_MAX}")
    return faults
