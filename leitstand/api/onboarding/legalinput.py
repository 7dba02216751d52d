# SPDX-License-Identifier: Apache-2.0
"""A legal identity as it arrives: all that is wrong with it at once, each fault with its JSON pointer.

Called by applications and by changes of a tenant's identity. What cannot be decoded is replaced by something harmless,
so that the rest can be tested in the same go; faults that only the replacement has are left out.
"""

import typing
from typing import Any, Final

import msgspec

from leitstand.api.decode import FAULTS_MAX, shown, twice, unknown
from leitstand.api.problems import Fault, Problem
from leitstand.stores.legal import CONTACTS_MAX, LINKED_MAX, LegalIdentity, faults

_ENTRIES_MAX: Final = max(CONTACTS_MAX, LINKED_MAX)
_NAME_SHOWN_MAX: Final = 60
_HARMLESS: Final[dict[str, str]] = {"relation": "linked", "role": "contract", "size_class": "large"}


def read(given: Any, where: str = "") -> tuple[LegalIdentity | None, list[Fault]]:
    """The identity in decoded JSON that stands at the pointer `where`, or None and every fault."""
    found: list[Fault] = []
    taken = _take(given, LegalIdentity, where, found)
    if taken is None:
        return None, found
    legal = msgspec.convert(taken, LegalIdentity)
    known = [fault.where for fault in found]
    if f"{where}/country" in known:
        known.append(f"{where}/vat_id")  # its form depends on the country
    for fault in faults(legal):
        place = where + fault.where
        if not any(place == one or place.startswith(f"{one}/") for one in known):
            found.append(Fault(place, fault.what))
    return (None, found) if found else (legal, [])


def body(raw: bytes) -> LegalIdentity:
    """The identity in a JSON body; Problem 400 with every fault."""
    try:
        given = msgspec.json.decode(raw)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Problem(400, "invalid-request", f"the body is not JSON: {error}") from None
    legal, found = read(given)
    found = twice(raw) + found
    if legal is None or found:
        raise refused(found)
    return legal


def refused(found: list[Fault]) -> Problem:
    """The problem that tells these faults."""
    first = f": {found[0].where} {found[0].what}" if len(found) == 1 else f" ({len(found)} faults)"
    detail = f"the legal identity is not acceptable{first}"
    return Problem(400, "invalid-request", detail, errors=tuple(found[:FAULTS_MAX]))


def _take(given: Any, kind: type[msgspec.Struct], where: str, found: list[Fault]) -> dict[str, Any] | None:
    """The fields of `kind` that can be decoded, harmless ones in place of required others; None if it is no object."""
    if not isinstance(given, dict):
        found.append(Fault(where or "/", f"is {shown(given)}; expected an object"))
        return None
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    for name in given:
        if name not in fields:
            found.append(Fault(f"{where}/{name[:_NAME_SHOWN_MAX]}", unknown(name, fields)))
    taken: dict[str, Any] = {}
    for name, field in fields.items():
        place = f"{where}/{name}"
        if field.required:
            taken[name] = _HARMLESS.get(name, "")
        if name not in given:
            if field.required:
                found.append(Fault(place, "is missing"))
            continue
        inner = _struct_in(field.type)
        if inner is not None and isinstance(given[name], list):
            taken[name] = _take_all(given[name], inner, place, found)
            continue
        try:
            msgspec.convert(given[name], field.type)
            taken[name] = given[name]
        except msgspec.ValidationError as error:
            what = str(error)
            found.append(Fault(place, f"is {shown(given[name])}; {what[:1].lower()}{what[1:]}"))
    return taken


def _take_all(given: list[Any], kind: type[msgspec.Struct], where: str, found: list[Fault]) -> list[Any]:
    """As `_take` for each entry; those over every limit are counted and not looked at."""
    harmless = _take({}, kind, "", [])
    taken = [
        _take(one, kind, f"{where}/{number}", found) or harmless
        for number, one in enumerate(given[:_ENTRIES_MAX])
    ]
    return taken + [harmless] * len(given[_ENTRIES_MAX:])


def _struct_in(kind: Any) -> type[msgspec.Struct] | None:
    """The struct that a list field holds."""
    for part in typing.get_args(kind):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return part
    return None
