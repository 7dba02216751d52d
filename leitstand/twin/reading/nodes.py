# SPDX-License-Identifier: Apache-2.0
"""YAML as a tree of nodes that know their lines, and what a key may hold. Called by `leitstand.twin.reading.generator`,
`formats` and studies; nothing is ever made into an object of Python.
"""

import math
import re
from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode
from yaml.events import CollectionEndEvent, CollectionStartEvent

from leitstand.twin.reading.table import TraceError, file_errors, shown

BYTES_MAX: Final = 256 * 1024 * 1024  # a tree takes some 13 times the file
DIGITS_MAX: Final = 15
DEPTH_MAX: Final = 100
_QUANTITY: Final = re.compile(r"(\d{1,12})(?:\.(\d{1,3}))?(m|k)?", re.ASCII)
Loader: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def compose(path: Path) -> Node:
    """The root of the one document in `path`; TraceError with the line of what is no YAML."""
    text = text_of(path)
    try:
        root = yaml.compose(text, Loader=Loader)
    except (yaml.YAMLError, ValueError) as error:
        raise not_yaml(path, error) from error
    if root is None:
        raise TraceError(f"{path}: holds no document; fetch or export it again")
    return root


def text_of(path: Path) -> str:
    """The text of a YAML file that nests no deeper than DEPTH_MAX: what makes a tree of it calls itself per level, in
    C, where no RecursionError ends it."""
    with file_errors(path):
        if path.stat().st_size > BYTES_MAX:
            raise TraceError(
                f"{path}: is over {BYTES_MAX} bytes long; export a shorter span of time, or JSON"
            )
        text = path.read_text(encoding="utf-8-sig")
    depth = 0
    try:
        for event in yaml.parse(text, Loader=Loader):
            if isinstance(event, CollectionStartEvent):
                depth += 1
                if depth > DEPTH_MAX:
                    line = event.start_mark.line + 1 if event.start_mark else 1
                    raise TraceError(
                        f"{path}: line {line} is nested more than {DEPTH_MAX} deep; this is no trace"
                    )
            elif isinstance(event, CollectionEndEvent):
                depth -= 1
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, TraceError):
            raise
        raise not_yaml(path, error) from error
    return text


def not_yaml(path: Path, error: Exception) -> TraceError:
    """What a YAML reader says of a file, with the line if it knows it."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    where = f"line {mark.line + 1} " if mark else ""
    said = ", ".join(part for part in (getattr(error, "context", ""), getattr(error, "problem", "")) if part)
    first = said or (str(error).splitlines() or [type(error).__name__])[0]
    return TraceError(
        f"{path}: {where}is not YAML: {shown(first)}; it may be truncated: fetch or export it again"
    )


def place(node: Node) -> str:
    """`line N`, where a node begins."""
    return f"line {int(node.start_mark.line) + 1}"


def mapping(
    path: Path, what: str, node: Node, known: Sequence[str], needed: Sequence[str]
) -> dict[str, Node]:
    """The values by their keys; TraceError for keys that are not `known`, stand twice, or are `needed` and absent."""
    if not isinstance(node, MappingNode):
        raise TraceError(
            f"{path}: {place(node)}: {what} is {_kind(node)}, no mapping; its keys are {', '.join(known)}"
        )
    found: dict[str, Node] = {}
    for key, value in node.value:
        name = str(key.value) if isinstance(key, ScalarNode) else _kind(key)
        if name not in known:
            near = get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(known)}"
            raise TraceError(f"{path}: {place(key)}: key {shown(name)!r} of {what} is not known; {hint}")
        if name in found:
            raise TraceError(f"{path}: {place(key)}: key {name!r} stands twice; keep one")
        found[name] = value
    for name in needed:
        if name not in found:
            raise TraceError(f"{path}: {place(node)}: {what} lacks the key {name!r}; add it")
    return found


def entries(path: Path, key: str, node: Node) -> list[Node]:
    """The entries of a list."""
    if not isinstance(node, SequenceNode):
        raise TraceError(
            f"{path}: {place(node)}: {key} is {_kind(node)}, no list; write its entries with dashes"
        )
    return list(node.value)


def text(path: Path, key: str, node: Node) -> str:
    """A name, not empty."""
    if not isinstance(node, ScalarNode) or not node.value.strip() or len(node.value) > 200:
        raise TraceError(f"{path}: {place(node)}: {key} is {_kind(node)}, no name of 1 to 200 letters")
    return str(node.value)


def whole(path: Path, key: str, node: Node, least: int, most: int) -> int:
    """A whole number in `least`..`most`."""
    digits = str(node.value) if isinstance(node, ScalarNode) else ""
    plain = digits.removeprefix("-")
    if not (
        plain.isascii() and plain.isdigit() and len(plain) <= DIGITS_MAX and least <= int(digits) <= most
    ):
        raise TraceError(f"{path}: {place(node)}: {key} is {_kind(node)}, no whole number in {least}..{most}")
    return int(digits)


def number(path: Path, key: str, node: Node, least: float, most: float) -> float:
    """A number in `least`..`most`."""
    try:
        found = float(node.value) if isinstance(node, ScalarNode) else math.nan
    except ValueError:
        found = math.nan
    if not least <= found <= most:
        raise TraceError(f"{path}: {place(node)}: {key} is {_kind(node)}, no number in {least:g}..{most:g}")
    return found


def quantity_milli(path: Path, key: str, node: Node, most: int) -> int:
    """Thousandths of a quantity as Kubernetes writes it: `20`, `0.5`, `500m`, `2k`."""
    found = _QUANTITY.fullmatch(str(node.value) if isinstance(node, ScalarNode) else "")
    if found:
        milli = int(found[1]) * 1000 + int((found[2] or "0").ljust(3, "0"))
        if found[3] == "m":
            milli = milli // 1000 if milli % 1000 == 0 else -1
        elif found[3] == "k":
            milli *= 1000
        if 0 <= milli <= most:
            return milli
    raise TraceError(
        f"{path}: {place(node)}: {key} is {_kind(node)}, no quantity like 20 or 500m up to {most // 1000}"
    )


def _kind(node: Node) -> str:
    if isinstance(node, ScalarNode):
        return repr(shown(node.value))
    return "a list" if isinstance(node, SequenceNode) else "a mapping"
