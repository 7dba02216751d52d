# SPDX-License-Identifier: Apache-2.0
"""The job file, first form: YAML in the way the field writes it, turned into the body of a submission.

Called by `leitstand.cli.request`. The file is read as a tree of nodes that know their lines, never as objects: so every
fault is told with its line, all at once, and an environment variable is exactly the text that stands in the file.
"""

import stat
from collections.abc import Callable, Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final, NamedTuple

import click
import yaml
from yaml import MappingNode, Node, ScalarNode, SequenceNode

from leitstand.cli import exits
from leitstand.cli.amounts import parse_duration
from leitstand.cli.text import t

SIZE_MAX: Final = 1024 * 1024
FAULTS_SHOWN: Final = 20
DIGITS_MAX: Final = 12

# Keys that users of other platforms know and that this form does not have yet.
LATER: Final = frozenset(
    (
        "any_of",
        "autostop",
        "checkpoint",
        "config",
        "depends_on",
        "disk_size",
        "disk_tier",
        "file_mounts",
        "image",
        "image_id",
        "infra",
        "inputs",
        "instance_type",
        "job_recovery",
        "labels",
        "node_pool",
        "ordered",
        "outputs",
        "pool",
        "ports",
        "region",
        "retry",
        "schedule",
        "secrets",
        "service",
        "site",
        "spot_policy",
        "storage",
        "topology",
        "use_spot",
        "volumes",
        "workspace",
        "zone",
    )
)
# What people write, and what it is called here.
HINTS: Final = {
    "command": "run",
    "commands": "run",
    "cpu": "cpus",
    "env": "envs",
    "environment": "envs",
    "gpu": "accelerators",
    "gpus": "accelerators",
    "mem": "memory",
    "nodes": "num_nodes",
    "script": "run",
    "time_limit": "max_duration",
    "timeout": "max_duration",
    "working_dir": "workdir",
}
_TAGS: Final = frozenset(
    f"tag:yaml.org,2002:{kind}" for kind in ["str", "int", "float", "bool", "null", "timestamp", "seq", "map"]
)
_KINDS: Final = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "yes or no",
    "null": "nothing",
    "timestamp": "a date",
}


class Fault(NamedTuple):
    """One thing wrong with the file; line from 1, 0: the file as a whole."""

    line: int
    what: str


class JobFile(NamedTuple):
    """`body`: a submission without its work directory; `workdir`: the folder to send along."""

    body: dict[str, Any]
    workdir: Path | None


class BadJobFile(click.ClickException):
    """Everything that is wrong with a job file, one line per fault."""

    exit_code = exits.USAGE

    def __init__(self, name: str, faults: list[Fault]) -> None:
        self.faults = sorted(faults)
        shown = [
            f"{name}:{f.line}: {f.what}" if f.line else f"{name}: {f.what}"
            for f in self.faults[:FAULTS_SHOWN]
        ]
        if len(self.faults) > FAULTS_SHOWN:
            shown.append(t("… and {count} more", count=len(self.faults) - FAULTS_SHOWN))
        super().__init__("\n".join(shown))

    def format_message(self) -> str:
        return t("the job file cannot be used\n{faults}", faults=self.message)


def read(path: Path) -> JobFile:
    """The job in a file; BadJobFile with all faults."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # a pipe would be waited for
            raise BadJobFile(str(path), [Fault(0, t("it is not a regular file"))])
        with path.open("rb") as file:
            data = file.read(SIZE_MAX + 1)
        text = data.decode()
    except OSError as error:
        raise BadJobFile(str(path), [Fault(0, error.strerror or str(error))]) from error
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise BadJobFile(str(path), [Fault(line, t("the text is not UTF-8"))]) from error
    if len(data) > SIZE_MAX:
        fault = Fault(
            0, t("the file is larger than {limit} bytes; put big inputs into workdir", limit=SIZE_MAX)
        )
        raise BadJobFile(str(path), [fault])
    return parse(text, path)


def parse(text: str, path: Path) -> JobFile:
    """The job in `text`; `path` names it in errors, and its folder is where `workdir` starts."""
    reader = _Reader(path.parent)
    root = reader.compose(text)
    if root is not None:
        reader.top(root)
    if reader.faults:
        raise BadJobFile(str(path), reader.faults)
    return JobFile(reader.body, reader.workdir)


class _Wrong(Exception):
    """A value that cannot be used: what is wrong with it."""


class _Reader:
    """Walks the tree once; collects the body and the faults."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.body: dict[str, Any] = {}
        self.workdir: Path | None = None
        self.faults: list[Fault] = []

    def compose(self, text: str) -> Node | None:
        try:
            root = yaml.compose(text, Loader=yaml.SafeLoader)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            what = ", ".join(part for part in (error.context, error.problem) if part)
            self.faults.append(Fault(mark.line + 1 if mark else 0, what))
            return None
        except (yaml.YAMLError, RecursionError) as error:
            what = (
                t("nested too deeply") if isinstance(error, RecursionError) else str(error).replace("\n", " ")
            )
            self.faults.append(Fault(0, what))
            return None
        if not isinstance(root, MappingNode):
            self.faults.append(Fault(0, t("a job file is a mapping with at least the key `run`")))
            return None
        return root

    def top(self, root: Node) -> None:
        found = self.mapping(
            root,
            {
                "name": _text,
                "tenant": _text,
                "project": _text,
                "resources": self.resources,
                "num_nodes": _integer,
                "envs": self.envs,
                "workdir": self.folder_of,
                "setup": _text,
                "run": _command,
                "max_duration": _duration,
                "expected_duration": _duration,
                "priority": _integer,
            },
        )
        if not any(isinstance(key, ScalarNode) and key.value == "run" for key, _ in root.value):
            self.faults.append(Fault(0, t("`run` is missing: the command or script of the job")))
        self.workdir = found.pop("workdir", None)
        self.body = found

    def mapping(self, node: Node, keys: Mapping[str, Callable[[str, Node], Any]]) -> dict[str, Any]:
        """The values of the known keys that are well formed; the others become faults."""
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value in node.value:
            line = key_node.start_mark.line + 1
            key = key_node.value if isinstance(key_node, ScalarNode) else "?"
            if key in lines:
                message = t('"{key}" is there twice, first in line {line}', key=key, line=lines[key])
                self.faults.append(Fault(line, message))
            elif key not in keys:
                self.faults.append(Fault(line, _unknown(key, list(keys))))
            else:
                try:
                    if value.tag not in _TAGS:
                        raise _Wrong(t('"{key}": the tag {tag} is not supported', key=key, tag=value.tag))
                    found[key] = keys[key](key, value)
                except _Wrong as wrong:
                    self.faults.append(Fault(value.start_mark.line + 1, str(wrong)))
            lines.setdefault(key, line)
        return found

    def resources(self, key: str, node: Node) -> dict[str, Any]:
        if not isinstance(node, MappingNode):
            raise _expected(key, node, t("a mapping with accelerators, cpus and memory"))
        found = self.mapping(node, {"accelerators": _accelerators, "cpus": _amount, "memory": _amount})
        names = {"accelerators": "gpus", "cpus": "cpus", "memory": "memory_gb"}
        return {names[k]: v for k, v in found.items()}

    def envs(self, key: str, node: Node) -> dict[str, str]:
        if not isinstance(node, MappingNode):
            raise _expected(key, node, t("a mapping of names to values"))
        names = [k.value for k, _ in node.value if isinstance(k, ScalarNode)]
        return self.mapping(node, dict.fromkeys(names, _env))

    def folder_of(self, key: str, node: Node) -> Path:
        folder = self.folder / Path(_text(key, node)).expanduser()
        if not folder.is_dir():
            raise _Wrong(t('"{key}": there is no folder {folder}', key=key, folder=folder))
        return folder


def _text(key: str, node: Node) -> str:
    if not isinstance(node, ScalarNode) or _kind(node) != "str":
        raise _expected(key, node, t("text"))
    return str(node.value)


def _integer(key: str, node: Node) -> int:
    text = node.value if isinstance(node, ScalarNode) and _kind(node) == "int" else ""
    if not (text.isascii() and text.removeprefix("-").isdigit()) or len(text) > DIGITS_MAX:
        raise _expected(key, node, t("a whole number"))
    return int(text)


def _duration(key: str, node: Node) -> float:
    if not isinstance(node, ScalarNode) or _kind(node) not in ("int", "float", "str"):
        raise _expected(key, node, t("a duration like 1h30m"))
    try:
        return parse_duration(node.value)
    except ValueError as error:
        raise _Wrong(f'"{key}": {error}') from error


def _command(key: str, node: Node) -> str | list[str]:
    if not isinstance(node, SequenceNode):
        text = _text(key, node)
        if not text.strip():
            raise _Wrong(t('"{key}" is empty', key=key))
        return text
    words = [str(n.value) for n in node.value if isinstance(n, ScalarNode) and _kind(n) != "null"]
    if len(words) != len(node.value) or not words:
        raise _expected(key, node, t("a script, or a list of words"))
    return words


def _accelerators(key: str, node: Node) -> int:
    expected = t("a count like 2, or GPU:2")
    if not isinstance(node, ScalarNode) or _kind(node) not in ("int", "str"):
        raise _expected(key, node, expected)
    kind, colon, count = node.value.rpartition(":")
    if not colon and not count.isdigit():
        kind, count = count, "1"
    if not (count.isascii() and count.isdigit()) or len(count) > DIGITS_MAX:
        raise _expected(key, node, expected)
    if kind and kind.upper() != "GPU":
        what = t('"{key}": choosing the GPU type "{kind}" is not yet supported; write GPU:{count}')
        raise _Wrong(what.format(key=key, kind=kind, count=count))
    return int(count)


def _amount(key: str, node: Node) -> float | int:
    """CPUs, or memory in GB: a number, also written `16+` (at least) or `64GB`."""
    text = node.value if isinstance(node, ScalarNode) and _kind(node) in ("int", "float", "str") else ""
    text = text.strip().removesuffix("+")
    if key == "memory":
        text = text.removesuffix("GB").rstrip()
    whole, point, fraction = text.partition(".")
    if (
        not text.isascii()
        or not whole.isdigit()
        or (point and not fraction.isdigit())
        or len(text) > DIGITS_MAX
    ):
        raise _expected(key, node, t("GB like 64") if key == "memory" else t("a number like 4 or 0.5"))
    return float(text) if point else int(text)


def _env(key: str, node: Node) -> str:
    """The text as it stands there: `0123` and `true` stay what they are."""
    if not isinstance(node, ScalarNode):
        raise _expected(key, node, t("one value"))
    if _kind(node) == "null":
        raise _Wrong(t('"{key}" has no value; write "" for an empty one', key=key))
    return str(node.value)


def _kind(node: ScalarNode) -> str:
    return str(node.tag).rpartition(":")[2]


def _expected(key: str, node: Node, expected: str) -> _Wrong:
    got = t("a list") if isinstance(node, SequenceNode) else t("a mapping")
    if isinstance(node, ScalarNode):
        got = t(_KINDS.get(_kind(node), "text")) + (f" ({node.value[:40]})" if node.value else "")
    return _Wrong(t('"{key}" must be {expected}, not {got}', key=key, expected=expected, got=got))


def _unknown(key: str, known: list[str]) -> str:
    if key in LATER:
        return t('"{key}" is not yet supported', key=key)
    near = [HINTS[key]] if HINTS.get(key) in known else get_close_matches(key, known, n=1)
    if near:
        return t('unknown key "{key}"; did you mean "{near}"?', key=key, near=near[0])
    return t('unknown key "{key}"; known: {known}', key=key, known=", ".join(known))
