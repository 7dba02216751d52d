# SPDX-License-Identifier: Apache-2.0
"""YAML as a tree of nodes that know their lines, and the values that job files are made of. Called by `jobfile`.

Nothing is ever made into an object of Python: an environment variable is exactly the text that stands in the file.
"""

import re
from collections.abc import Callable
from typing import Final

import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from leitstand.cli.amounts import parse_duration
from leitstand.cli.jobfile_faults import Fault, Wrong, key_of, quoted
from leitstand.cli.text import t

DIGITS_MAX: Final = 12
TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ["str", "int", "float", "bool", "null", "timestamp", "seq", "map"]
)
KINDS: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "yes or no",
    "null": "nothing",
    "timestamp": "a date",
}
_AMOUNT: Final = re.compile(r"(\d{1,12})(\.\d{1,6})?", re.ASCII)
_MEMORY: Final = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)\s*(?:([MGT])(?:i?B|i)?)?", re.ASCII | re.IGNORECASE)
_IN_QUOTES: Final = re.compile(r"'[^']*'|\"[^\"]*\"")


def compose(text: str, otherwise: str = "") -> MappingNode | Fault:
    """The mapping that a file is, or what is wrong with the text. `otherwise`: what to say of a file that is none."""
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 0
        if "another document" in str(error.problem):
            return Fault(line, t("a second document begins here; write one job per file"))
        said = ", ".join(part for part in (error.context, error.problem) if part)
        return Fault(line, _IN_QUOTES.sub(lambda found: quoted(found[0]), said))
    except RecursionError:
        return Fault(0, t("nested too deeply"))
    except (yaml.YAMLError, ValueError) as error:
        return Fault(0, _IN_QUOTES.sub("…", str(error).replace("\n", " ")))
    if not isinstance(root, MappingNode):
        return Fault(0, otherwise or t("a job file is a mapping with at least the key `run`"))
    return root


def line_of(node: Node) -> int:
    """Where a node begins, from 1."""
    return int(node.start_mark.line) + 1


def kind_of(node: Node) -> str:
    """int, str, null, … of a scalar; seq or map."""
    return str(node.tag).rpartition(":")[2]


def expected(key: str, node: Node, what: str) -> Wrong:
    """The fault that `key` holds something else than `what`."""
    got = t("a list") if isinstance(node, SequenceNode) else t("a mapping")
    if isinstance(node, ScalarNode):
        short = f" ({node.value})" if node.value and quoted(node.value) == node.value else ""
        got = t(KINDS.get(kind_of(node), "text")) + short
    return Wrong(t('"{key}" must be {expected}, not {got}', key=key_of(key), expected=what, got=got))


def text(key: str, node: Node) -> str:
    if not isinstance(node, ScalarNode) or kind_of(node) != "str":
        raise expected(key, node, t("text"))
    return str(node.value)


def integer(key: str, node: Node) -> int:
    found = node.value if isinstance(node, ScalarNode) and kind_of(node) == "int" else ""
    if not (found.isascii() and found.removeprefix("-").isdigit()) or len(found) > DIGITS_MAX:
        raise expected(key, node, t("a whole number"))
    return int(found)


def flag(key: str, node: Node) -> bool:
    if not isinstance(node, ScalarNode) or node.value.lower() not in ("true", "false"):
        raise expected(key, node, t("true or false"))
    return bool(node.value.lower() == "true")


def up_to(limit: int) -> Callable[[str, Node], int]:
    """The reading of a whole number in 0..limit."""

    def read(key: str, node: Node) -> int:
        found = integer(key, node)
        if not 0 <= found <= limit:
            raise Wrong(
                t('"{key}" is {value}; it goes from 0 to {limit}', key=key_of(key), value=found, limit=limit)
            )
        return found

    return read


def duration(key: str, node: Node) -> float:
    if not isinstance(node, ScalarNode) or kind_of(node) not in ("int", "float", "str"):
        raise expected(key, node, t("a duration like 1h30m"))
    try:
        return parse_duration(node.value)
    except ValueError as error:
        raise Wrong(f'"{key}": {error}') from error


def command(key: str, node: Node) -> str | list[str]:
    if not isinstance(node, SequenceNode):
        script = text(key, node)
        if not script.strip():
            raise Wrong(t('"{key}" is empty', key=key))
        return script
    words = [str(n.value) for n in node.value if isinstance(n, ScalarNode) and kind_of(n) != "null"]
    if len(words) != len(node.value) or not words:
        raise expected(key, node, t("a script, or a list of words"))
    return words


def amount(key: str, node: Node) -> float | int:
    """CPUs: a number, also written `16+` (at least)."""
    found = _AMOUNT.fullmatch(_number_text(node))
    if not found:
        raise expected(key, node, t("a number like 4 or 0.5"))
    return float(found[0]) if found[2] else int(found[1])


def memory(key: str, node: Node) -> float | int:
    """GB: a number, also written `256+` (at least), `64GB`, `512MB` or `1TB`."""
    found = _MEMORY.fullmatch(_number_text(node))
    if not found:
        raise expected(key, node, t("GB like 64"))
    gb = float(found[1]) * {"M": 1 / 1024, "T": 1024}.get((found[2] or "G").upper(), 1)
    return int(gb) if gb.is_integer() else gb


def _number_text(node: Node) -> str:
    good = isinstance(node, ScalarNode) and kind_of(node) in ("int", "float", "str")
    return str(node.value).strip().removesuffix("+") if good else ""
