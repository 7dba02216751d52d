# SPDX-License-Identifier: Apache-2.0
"""From bytes and query strings to structs, with all faults at once. Called by every handler that takes input.

The common path is one strict decoding. Only when that fails is the input walked field by field, to name each fault
with its place, and for an unknown name the one that was probably meant.
"""

import contextlib
import difflib
import functools
import json
import typing
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final, TypeVar

import msgspec

from leitstand.api.problems import Fault, Problem

FAULTS_MAX: Final = 50  # named in one answer
_SHOWN_MAX: Final = 60

Check = Callable[[Any], str]


class Input(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a client sends. `checks`: per field, what the type cannot say; '' or the fault. `hidden`: fields whose
    values no error and no repr ever shows."""

    checks: ClassVar[Mapping[str, Check]] = {}
    hidden: ClassVar[frozenset[str]] = frozenset()

    def across(self) -> Iterable[tuple[str, str]]:
        """What is wrong between fields that are right by themselves: (field, fault)."""
        return ()

    def __rich_repr__(self) -> list[tuple[str, Any]]:
        return [
            (name, "…" if name in self.hidden else getattr(self, name)) for name in self.__struct_fields__
        ]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.__rich_repr__())})"


T = TypeVar("T", bound=Input)


def body(raw: bytes, kind: type[T]) -> T:
    """The struct in a JSON body; Problem 400 with every fault."""
    value: T | None = None
    try:
        with contextlib.suppress(msgspec.ValidationError):
            value = msgspec.json.decode(raw, type=kind)
        faults = _walk(msgspec.json.decode(raw), kind, "", True) if value is None else _checked(value, "")
        faults = twice(raw) + faults
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        what = "the body is empty; send a JSON object" if not raw else f"the body is not JSON: {error}"
        raise Problem(400, "invalid-request", what) from None
    return _unless(faults, value, f"the body is not a valid {kind.__name__}")


def query(pairs: Iterable[tuple[str, str]], kind: type[T]) -> T:
    """The struct in a query string, numbers and booleans as text; Problem 400 with every fault."""
    pairs = list(pairs)
    given = dict(pairs)
    twice = [
        Fault(name, "is given more than once") for name, n in Counter(k for k, _ in pairs).items() if n > 1
    ]
    try:
        value = msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError:
        value = None
    faults = _walk(given, kind, "", False) if value is None else _checked(value, "")
    named = [Fault(fault.where.lstrip("/"), fault.what) for fault in faults]
    return _unless(twice + named, value, "the query is not valid")


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


def twice(raw: bytes) -> list[Fault]:
    """Keys that an object has more than once (RFC 8259, section 4: what that means is anybody's guess). Values are not
    looked at, so that decoding twice costs little."""
    faults: list[Fault] = []

    def pairs(found: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in found]
        if len(set(names)) < len(names):
            faults.extend(
                Fault(name[:_SHOWN_MAX], "is given more than once in one object")
                for name, count in Counter(names).items()
                if count > 1
            )

    _scan(raw.decode(), pairs)
    return faults


def _scan(text: str, pairs: Callable[[list[tuple[str, Any]]], None]) -> None:
    json.loads(text, object_pairs_hook=pairs, parse_float=_skip, parse_int=_skip)


def _skip(_: str) -> None:
    """Numbers need no value to be passed over; some have more digits than Python converts."""


def _checked(value: Input, path: str) -> list[Fault]:
    """Faults of a struct whose types are right."""
    faults = []
    for attribute, name, check in _checks_of(type(value)):
        inner = getattr(value, attribute)
        if check is None:
            faults += _checked(inner, f"{path}/{name}") if inner is not None else []
        elif fault := check(inner):
            faults.append(Fault(f"{path}/{name}", fault))
    return faults + [Fault(f"{path}/{name}", fault) for name, fault in value.across()]


@functools.cache
def _checks_of(kind: type[Input]) -> tuple[tuple[str, str, Check | None], ...]:
    """Attribute, name outside and check of every field that has one; None for a struct with checks of its own."""
    found: list[tuple[str, str, Check | None]] = []
    for field in msgspec.structs.fields(kind):
        if _input_in(field.type):
            found.append((field.name, field.encode_name, None))
        elif field.name in kind.checks:
            found.append((field.name, field.encode_name, kind.checks[field.name]))
    return tuple(found)


def _walk(given: Any, kind: type[Input], path: str, strict: bool) -> list[Fault]:
    """Faults of what could not be decoded, field by field."""
    if not isinstance(given, dict):
        what = "something else" if kind.hidden else shown(given)
        return [Fault(path or "/", f"is {what}; expected an object")]
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    faults = [
        Fault(f"{path}/{name[:_SHOWN_MAX]}", unknown(name, fields)) for name in given if name not in fields
    ]
    for name, field in fields.items():
        if name not in given:
            if field.required:
                faults.append(Fault(f"{path}/{name}", "is missing"))
            continue
        inner = _input_in(field.type)
        if inner and isinstance(given[name], dict):
            faults += _walk(given[name], inner, f"{path}/{name}", strict)
        else:
            faults += _field(given[name], kind, field, f"{path}/{name}", strict)
    return faults


def _field(
    given: Any, kind: type[Input], field: msgspec.structs.FieldInfo, where: str, strict: bool
) -> list[Fault]:
    check = kind.checks.get(field.name)
    try:
        value = msgspec.convert(given, field.type, strict=strict)
    except msgspec.ValidationError as error:
        what, _, inside = str(error).partition(" - at `$")
        what = what[:1].lower() + what[1:]
        if not inside:
            return [Fault(where, what if field.name in kind.hidden else f"is {shown(given)}; {what}")]
        place = inside.rstrip("`").replace("[...]", "").replace("[", "/").replace("]", "").replace(".", "/")
        return [Fault(where + place, f"has a wrong value: {what}")]
    if isinstance(value, Input):
        return _checked(value, where)
    fault = check(value) if check else ""
    return [Fault(where, fault)] if fault else []


def unknown(name: str, fields: Mapping[str, Any]) -> str:
    """What is wrong with a name that is none of `fields`: name → FieldInfo."""
    near = difflib.get_close_matches(name, fields, 1)
    if near:
        return f"is unknown; did you mean {near[0]!r}?"
    for outer, field in fields.items():
        inner = _input_in(field.type)
        if inner and name in inner.__struct_encode_fields__:
            return f"is unknown here; it belongs into {outer!r}"
    return f"is unknown; known: {', '.join(fields)}"


def _input_in(kind: Any) -> type[Input] | None:
    """The Input that a field holds, also one that may be null."""
    for part in (kind, *typing.get_args(kind)):
        if isinstance(part, type) and issubclass(part, Input):
            return part
    return None


def shown(given: Any) -> str:
    """A value as an error may show it."""
    if isinstance(given, dict | list):  # somebody's secret may be inside
        return "an object" if isinstance(given, dict) else "a list"
    text = msgspec.json.encode(given).decode()
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}…"
