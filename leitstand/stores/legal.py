# SPDX-License-Identifier: Apache-2.0
"""Who a tenant is before the law: the form of its legal identity and what can be wrong with it.

Kept by `leitstand.stores.people`; checked by the faces when an application arrives or an identity changes. `faults`
refuse; `doubts` are for the person who checks the declaration, because the law knows exceptions that we do not.
"""

import re
from typing import Final, Literal, NamedTuple

import msgspec
import stdnum.de.leitweg
import stdnum.eu.vat
from stdnum.exceptions import ValidationError
from stdnum.util import get_cc_module

from leitstand.stores.countries import COUNTRIES

SizeClass = Literal["micro", "small", "medium", "large", "public"]
Relation = Literal["partner", "linked"]
Role = Literal["contract", "billing", "technical", "security", "privacy"]

NAME_MAX: Final = 200  # characters
EMAIL_MAX: Final = 254  # RFC 5321, 4.5.3.1.3, without the angle brackets
PHONE_MAX: Final = 40
LINKED_MAX: Final = 100
CONTACTS_MAX: Final = 20
FIGURE_MAX: Final = 10**15  # heads, or EUR


class Ceiling(NamedTuple):
    """An enterprise is of this class with fewer heads and at most this turnover or this balance sheet total."""

    size_class: SizeClass
    headcount: int
    turnover_eur: int
    balance_eur: int


# Recommendation 2003/361/EC, annex, article 2, smallest first
CEILINGS: Final = (
    Ceiling("micro", 10, 2_000_000, 2_000_000),
    Ceiling("small", 50, 10_000_000, 10_000_000),
    Ceiling("medium", 250, 50_000_000, 43_000_000),
)
PARTNER_PERCENT: Final = (25, 50)  # of capital or votes: article 3(2) and, above it, linked by majority: 3(3)

# plausible, not proven: only a message that arrives proves an address
_EMAIL: Final = re.compile(
    r"[^\s@<>\",;:()\[\]\\]{1,64}@(?:[^\W_](?:[\w-]{0,61}[^\W_])?\.)+[^\W\d_][\w-]{0,61}[^\W_]"
)
_PHONE: Final = re.compile(r"\+?[0-9][0-9 ()/.-]{3,}")
_PREFIXES: Final = {"GR": ("EL",), "GB": ("GB", "XI")}  # of VAT ids, where they are not the country's code


class Fault(NamedTuple):
    """One thing that is wrong or doubtful. `where`: JSON pointer."""

    where: str
    what: str


class Linked(msgspec.Struct, frozen=True, omit_defaults=True):
    """A partner or linked enterprise (2003/361/EC, article 3); figures of its last closed year, None: not told.
    `share_percent`: of a partner's capital or votes."""

    name: str
    relation: Relation
    headcount: int | None = None
    turnover_eur: int | None = None
    balance_eur: int | None = None
    share_percent: int | None = None


class Contact(msgspec.Struct, frozen=True, omit_defaults=True):
    """Whom to ask for what."""

    role: Role
    name: str
    email: str
    phone: str = ""


class LegalIdentity(msgspec.Struct, frozen=True, omit_defaults=True):
    """`country`: ISO 3166-1 alpha-2. `vat_id`: with its prefix, empty if there is none. `leitweg_id`: the route of
    invoices to a German public body. Figures of the last closed year (heads in annual work units), None: not told."""

    name: str
    street: str
    postcode: str
    city: str
    country: str
    size_class: SizeClass
    vat_id: str = ""
    leitweg_id: str = ""
    headcount: int | None = None
    turnover_eur: int | None = None
    balance_eur: int | None = None
    linked_enterprises: tuple[Linked, ...] = ()
    contacts: tuple[Contact, ...] = ()


def faults(legal: LegalIdentity) -> list[Fault]:
    """All that makes `legal` unacceptable, in the order of its fields."""
    found = [
        *_text("/name", legal.name),
        *_text("/street", legal.street),
        *_text("/postcode", legal.postcode, 20),
        *_text("/city", legal.city),
        *_country(legal.country),
        *_vat(legal.vat_id, legal.country),
        *_leitweg(legal.leitweg_id),
        *_figures("", legal),
    ]
    found += _most("/linked_enterprises", len(legal.linked_enterprises), LINKED_MAX)
    for number, linked in enumerate(legal.linked_enterprises[:LINKED_MAX]):
        found += _linked(f"/linked_enterprises/{number}", linked)
    found += _most("/contacts", len(legal.contacts), CONTACTS_MAX)
    for number, contact in enumerate(legal.contacts[:CONTACTS_MAX]):
        found += _contact(f"/contacts/{number}", contact)
    if not any(contact.role == "contract" for contact in legal.contacts):
        found.append(Fault("/contacts", "names nobody for the contract (role contract)"))
    return found


def doubts(legal: LegalIdentity) -> list[Fault]:
    """What the person who checks the declaration should look at; none of it is wrong by itself.

    A class that the figures contradict is no fault: a class changes only after two years beyond a ceiling (2003/361/EC,
    annex, article 4(2))."""
    found = []
    figured = size_class(legal)
    if figured is not None and legal.size_class not in (figured, "public"):
        found.append(
            Fault(
                "/size_class",
                f"is {legal.size_class}, but the figures given are those of a {figured} enterprise "
                "(2003/361/EC, annex, article 2; partners and linked enterprises counted)",
            )
        )
    if legal.size_class in ("micro", "small", "medium") and figured is None:
        found.append(
            Fault("/size_class", f"is {legal.size_class}, but the figures do not tell: some are missing")
        )
    if legal.size_class == "public" and legal.country == "DE" and not legal.leitweg_id:
        found.append(Fault("/leitweg_id", "is missing, which many German public bodies need on an invoice"))
    if legal.size_class != "public" and not legal.vat_id:
        found.append(Fault("/vat_id", "is missing"))
    return found


def size_class(legal: LegalIdentity) -> SizeClass | None:
    """The class that the figures give, partners counted by their share, linked enterprises in full (2003/361/EC,
    annex, article 6); None if headcount or both sums are missing somewhere."""
    heads = _total(legal, "headcount")
    turnover, balance = _total(legal, "turnover_eur"), _total(legal, "balance_eur")
    if heads is None or (turnover is None and balance is None):
        return None
    for ceiling in CEILINGS:
        within = (turnover is not None and turnover <= ceiling.turnover_eur * 100) or (
            balance is not None and balance <= ceiling.balance_eur * 100
        )
        if heads < ceiling.headcount * 100 and within:
            return ceiling.size_class
    return "large"


def email_fault(email: str) -> str:
    """Why `email` cannot be an address; '' if it can."""
    if len(email) > EMAIL_MAX:
        return f"has {len(email)} characters; the limit is {EMAIL_MAX}"
    return "" if _EMAIL.fullmatch(email) else f"is {email[:80]!r}, which is no e-mail address"


# ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def _text(where: str, value: str, most: int = NAME_MAX) -> list[Fault]:
    if not value.strip():
        return [Fault(where, "is empty")]
    if len(value) > most:
        return [Fault(where, f"has {len(value)} characters; the limit is {most}")]
    return [] if value.isprintable() else [Fault(where, "has characters that cannot be printed")]


def _country(country: str) -> list[Fault]:
    if country in COUNTRIES:
        return []
    return [Fault("/country", f"is {country[:20]!r}, which is no country code of ISO 3166-1 alpha-2 like DE")]


def _vat(vat_id: str, country: str) -> list[Fault]:
    if not vat_id:
        return []
    shown = f"is {vat_id[:40]!r}"
    prefix = vat_id.strip()[:2].upper()
    if not vat_id.isascii() or len(vat_id) > 40:
        return [Fault("/vat_id", f"{shown}, which is no VAT id")]
    if prefix not in _PREFIXES.get(country, (country,)):
        return [
            Fault("/vat_id", f"{shown}, which does not begin with the code of the country {country[:20]!r}")
        ]
    european = country.lower() in stdnum.eu.vat.MEMBER_STATES or prefix == "XI"
    module = stdnum.eu.vat if european else get_cc_module(country.lower(), "vat")
    if module is None:  # its form is not known to us
        return []
    try:
        module.validate(vat_id)
    except ValidationError:
        return [Fault("/vat_id", f"{shown}, which is no VAT id of {country}: form or check digits are wrong")]
    return []


def _leitweg(leitweg_id: str) -> list[Fault]:
    if not leitweg_id:
        return []
    try:
        if not leitweg_id.isascii():
            raise ValidationError
        stdnum.de.leitweg.validate(leitweg_id)
    except ValidationError:
        return [Fault("/leitweg_id", f"is {leitweg_id[:50]!r}, which is no Leitweg-ID like 991-03730-19")]
    return []


def _figures(where: str, of: LegalIdentity | Linked) -> list[Fault]:
    return [
        Fault(f"{where}/{name}", f"is {str(value)[:40]}; the limits are 0 to {FIGURE_MAX}")
        for name in ("headcount", "turnover_eur", "balance_eur")
        if (value := getattr(of, name)) is not None and not 0 <= value <= FIGURE_MAX
    ]


def _linked(where: str, linked: Linked) -> list[Fault]:
    found = [*_text(f"{where}/name", linked.name), *_figures(where, linked)]
    low, high = PARTNER_PERCENT
    if linked.relation == "partner":
        if linked.share_percent is None or not low <= linked.share_percent <= high:
            share = "missing" if linked.share_percent is None else f"{linked.share_percent}"
            found.append(
                Fault(f"{where}/share_percent", f"is {share}; a partner holds {low} to {high} percent")
            )
    elif linked.share_percent is not None:
        found.append(Fault(f"{where}/share_percent", "is told of a linked enterprise, which counts in full"))
    return found


def _contact(where: str, contact: Contact) -> list[Fault]:
    found = _text(f"{where}/name", contact.name)
    if fault := email_fault(contact.email):
        found.append(Fault(f"{where}/email", fault))
    if contact.phone and (len(contact.phone) > PHONE_MAX or not _PHONE.fullmatch(contact.phone)):
        found.append(
            Fault(f"{where}/phone", f"is {contact.phone[:PHONE_MAX]!r}, which is no telephone number")
        )
    return found


def _most(where: str, count: int, most: int) -> list[Fault]:
    return [Fault(where, f"has {count} entries; the limit is {most}")] if count > most else []


def _total(legal: LegalIdentity, figure: str) -> int | None:
    """The sum over the enterprise, its partners by their share and linked ones, in hundredths."""
    total = 0
    for one in (legal, *legal.linked_enterprises):
        value: int | None = getattr(one, figure)
        if value is None:
            return None
        percent = one.share_percent if isinstance(one, Linked) and one.relation == "partner" else 100
        if percent is None:
            return None
        total += value * percent
    return total
