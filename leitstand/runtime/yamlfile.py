# SPDX-License-Identifier: Apache-2.0
"""YAML as mappings of which every key is known, with the lines of what is wrong. Called by `leitstand.twin.forking` for
scenarios and by `leitstand.engines.sitefile` for sites."""

from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

BYTES_MAX: Final = 1 << 20
T = TypeVar("T")
Reading = Callable[[Node], Any]


class YamlWrong(ValueError):
    """What is wrong with a file: file, line, what, remedy."""


class File:
    """One file that is read. Every fault is raised as `raises`: file, line, what, remedy. `is_a`: what it should be."""

    def __init__(self, path: Path, is_a: str, raises: type[Exception] = YamlWrong) -> None:
        self.path = path
        self._is_a = is_a
        self._raises = raises

    def root(self, begins: str) -> MappingNode:
        """The mapping that the file is."""
        try:
            if self.path.stat().st_size > BYTES_MAX:
                raise self._raises(f"{self.path}: is over {BYTES_MAX} bytes long; this is no {self._is_a}")
            node = yaml.compose(self.path.read_text(encoding="utf-8"), Loader=yaml.SafeLoader)
        except OSError as error:
            raise self._raises(f"{self.path}: cannot be read: {error.strerror or error}") from error
        except UnicodeDecodeError as error:
            raise self._raises(f"{self.path}: is no UTF-8 text") from error
        except yaml.MarkedYAMLError as error:
            line = error.problem_mark.line + 1 if error.problem_mark else 0
            raise self._raises(f"{self.path}:{line}: no YAML: {error.problem}") from error
        except (yaml.YAMLError, RecursionError, ValueError) as error:
            raise self._raises(f"{self.path}: no YAML: {' '.join(str(error).split())}") from error
        if not isinstance(node, MappingNode):
            raise self._raises(f"{self.path}: holds no mapping; {begins}")
        return node

    def place(self, node: Node) -> str:
        """File and line, as editors follow them."""
        return f"{self.path}:{node.start_mark.line + 1}"

    def wrong(self, node: Node, what: str) -> NoReturn:
        """Refuse what stands at `node`."""
        raise self._raises(f"{self.place(node)}: {what}")

    def fields(
        self, node: Node, known: Mapping[str, Reading], needed: tuple[str, ...] = ()
    ) -> dict[str, Any]:
        """The values of a mapping by their keys; unknown and doubled keys, and missing ones, are refused."""
        if not isinstance(node, MappingNode):
            self.wrong(node, f"is no mapping; its keys are {', '.join(known)}")
        found: dict[str, Any] = {}
        for key, value in node.value:
            name = str(key.value) if isinstance(key, ScalarNode) else ""
            if name not in known:
                self.wrong(key, unknown(name, known))
            if name in found:
                self.wrong(key, f"{name!r} is given twice; keep one")
            found[name] = known[name](value)
        for name in needed:
            if name not in found:
                self.wrong(node, f"{name!r} is missing here")
        return found

    def items(self, node: Node, reading: Callable[[Node], T], most: int) -> tuple[T, ...]:
        """The items of a list."""
        if not isinstance(node, SequenceNode):
            self.wrong(node, "is no list; begin each item with `- `")
        if len(node.value) > most:
            self.wrong(node, f"has {len(node.value)} items, the limit is {most}")
        return tuple(reading(item) for item in node.value)

    def named(self, node: Node, reading: Callable[[Node], T]) -> list[tuple[str, T, Node]]:
        """The pairs of a mapping whose keys are names, with where they stand."""
        if not isinstance(node, MappingNode):
            self.wrong(node, "is no mapping of names")
        return [(self.text(key), reading(value), key) for key, value in node.value]

    # ── values ────────────────────────────────────────────────────────────────────────────────────────────────────
    def text(self, node: Node) -> str:
        """A text."""
        if not isinstance(node, ScalarNode) or node.tag.endswith(":null"):
            self.wrong(node, "must be text")
        return str(node.value)

    def word(self, known: tuple[str, ...]) -> Callable[[Node], str]:
        """The reading of one of these words."""

        def read(node: Node) -> str:
            found = self.text(node)
            return found if found in known else self.wrong(node, unknown(found, known))

        return read

    def parsed(self, parse: Callable[[str], T]) -> Callable[[Node], T]:
        """The reading of a text that `parse` takes, or a ValueError says why not."""

        def read(node: Node) -> T:
            try:
                return parse(self.text(node))
            except ValueError as error:
                self.wrong(node, str(error))

        return read

    def whole(self, least: int, most: int) -> Callable[[Node], int]:
        """The reading of a whole number."""

        def read(node: Node) -> int:
            found = self.text(node)
            if not found.lstrip("-").isdecimal() or not least <= int(found[:20]) <= most:
                self.wrong(node, f"is {found[:20]!r}, no whole number in {least}..{most}")
            return int(found)

        return read

    def number(self, least: float, most: float) -> Callable[[Node], float]:
        """The reading of a number."""

        def read(node: Node) -> float:
            found = self.text(node)
            try:
                value = float(found)
            except ValueError:
                value = float("nan")
            if not least <= value <= most:
                self.wrong(node, f"is {found[:20]!r}, no number in {least:g}..{most:g}")
            return value

        return read


def unknown(name: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    """What is said of a word that is not known, with the nearest that is."""
    near = get_close_matches(name[:40], list(known), n=1)
    if near:
        return f"{name[:40]!r} is unknown; did you mean {near[0]!r}?"
    return f"{name[:40]!r} is unknown; known: {', '.join(known)}"
