# SPDX-License-Identifier: Apache-2.0
"""From bytes and query strings to structs, with all faults at once. Called by every handler that takes input.

The common path is one strict decoding. Only when that fails is the input walked field by field, to name each fault
with its place, and for an unknown name the one that was probably meant.
"""

import contextlib
import difflib
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from leitstand.api.problems import Fault, Problem

FAULTS_MAX: Final = 50  # named in one answer
_SHOWN_MAX: Final = 60

Check = Callable[[Any], str]


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client sends. `checks`: per field, what the type cannot say; '' or the fault."""

    checks: ClassVar[Mapping[str, Check]] = {}


T = TypeVar("T", bound=Input)


def body(raw: bytes, kind: type[T]) -> T:
    """The struct in a JSON body; Problem 400 with every fault."""
    value: T | None = None
    try:
        with contextlib.suppress(msgspec.ValidationError):
            value = msgspec.json.decode(raw, type=kind)
        faults = _walk(msgspec.json.decode(raw), kind, "", True) if value is None else _checked(value, "")
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        what = "the body is empty; send a JSON object" if not raw else f"the body is not JSON: {error}"
        raise Problem(400, "invalid-request", what) from None
    return _unless(faults, value, f"the body is not a valid {kind.__name__}")


def query(pairs: Iterable[tuple[str, str]], kind: type[T]) -> T:
    """The struct in a query string, numbers and booleans as text; Problem 400 with every fault."""
    given = dict(pairs)
    try:
        value = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError:
        value = None
    faults = _walk(given, kind, "", False) if value is None else _checked(value, "")
    named = [Fault(fault.where.lstrip("/"), fault.what) for fault in faults]
    return _unless(named, value, "the query is not valid")


def _unless(faults: list[Fault], value: T | None, detail: str) -> T:
    if faults:
        more = (
            f" ({len(faults)} faults)"
            if len(faults) > 1
            else f": {faults[0].where} {faults[0].what}".rstrip()
        )
        raise Problem(400, "invalid-request", detail + more, errors=tuple(faults[:FAULTS_MAX]))
    assert value is not None, "refused without a fault"
    return value


def _checked(value: Input, path: str) -> list[Fault]:
    """Faults of a struct whose types are right."""
    faults = []
    for attribute, name, check in _checks_of(type(value)):
        inner = getattr(value, attribute)
        if check is None:
            faults += _checked(inner, f"{path}/{name}")
        elif fault := check(inner):
            faults.append(Fault(f"{path}/{name}", fault))
    return faults


@functools.cache
def _checks_of(kind: type[Input]) -> tuple[tuple[str, str, Check | None], ...]:
    """Attribute, name outside and check of every field that has one; None for a struct with checks of its own."""
    found: list[tuple[str, str, Check | None]] = []
    for field in msgspec.structs.fields(kind):
        if _is_input(field.type):
            found.append((field.name, field.encode_name, None))
        elif field.name in kind.checks:
            found.append((field.name, field.encode_name, kind.checks[field.name]))
    return tuple(found)


def _walk(given: Any, kind: type[Input], path: str, strict: bool) -> list[Fault]:
    """Faults of what could not be decoded, field by field."""
    if not isinstance(given, dict):
        return [Fault(path or "/", f"is {_shown(given)}; expected an object")]
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    faults = [
        Fault(f"{path}/{name[:_SHOWN_MAX]}", _unknown(name, fields)) for name in given if name not in fields
    ]
    for name, field in fields.items():
        if name not in given:
            if field.required:
                faults.append(Fault(f"{path}/{name}", "is missing"))
            continue
        faults += _field(given[name], field.type, kind.checks.get(field.name), f"{path}/{name}", strict)
    return faults


def _field(given: Any, kind: Any, check: Check | None, where: str, strict: bool) -> list[Fault]:
    if _is_input(kind) and isinstance(given, dict):
        return _walk(given, kind, where, strict)
    try:
        value = msgspec.convert(given, kind, strict=strict)
    except msgspec.ValidationError as error:
        what, _, inside = str(error).partition(" - at `$")
        what = what[:1].lower() + what[1:]
        if not inside:
            return [Fault(where, f"is {_shown(given)}; {what}")]
        place = inside.rstrip("`").replace("[...]", "").replace("[", "/").replace("]", "").replace(".", "/")
        return [Fault(where + place, f"has a wrong value: {what}")]
    if isinstance(value, Input):
        return _checked(value, where)
    fault = check(value) if check else ""
    return [Fault(where, fault)] if fault else []


def _unknown(name: str, fields: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, fields, 1)
    if near:
        return f"is unknown; did you mean {near[0]!r}?"
    for outer, field in fields.items():
        if _is_input(field.type) and name in field.type.__struct_encode_fields__:
            return f"is unknown here; it belongs into {outer!r}"
    return f"is unknown; known: {', '.join(fields)}"


def _is_input(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Input)


def _shown(given: Any) -> str:
    text = msgspec.json.encode(given).decode()
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"
