# SPDX-License-Identifier: Apache-2.0
"""The job file: YAML in the way the field writes it, turned into the body of a submission (docs/jobfile.md).

Called by `leitstand.cli.request`. Every fault is told with its line, all at once; what is passed over is told as well.
"""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from yaml import MappingNode, Node, ScalarNode, SequenceNode

from leitstand.cli import jobfile_yaml as y
from leitstand.cli.jobfile_faults import (
    VARIABLE,
    BadJobFile,
    Fault,
    JobFile,
    Wrong,
    key_of,
    nearest,
    quoted,
    signal_name,
    text_of,
)
from leitstand.cli.jobfile_keys import HINTS, IGNORED, LATER
from leitstand.cli.text import t

COMPAT: Final = "LEITSTAND_COMPAT"  # the variable that asks for the variables of another platform
PRIORITY_MAX: Final = 100
RETRIES_MAX: Final = 100
RETRY_REASONS: Final = ("exit_code", "signal", "lost", "start_failed")
REFERENCE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}(?:@[1-9][0-9]{0,8})?", re.ASCII)
_REFERENCE_LENGTH: Final = 40  # a longer one is rather the secret itself
# How well-known tokens begin; none of them is the name of a secret.
_TOKENS: Final = (
    *("AKIA", "AIza", "eyJ", "gho_", "ghp_", "ghs_", "github_pat_", "glpat-", "hf_", "lst_"),
    *("nvapi-", "r8_", "sk-", "sk_", "xox", "ya29."),
)
_SHAPE: Final = ("accelerators", "cpus", "memory", "topology", "sites", "jurisdiction", "partners")
_TOP: Final = (
    "after",
    "array",
    "begin",
    "booking",
    "deadline",
    "envs",
    "held",
    "max_duration",
    "name",
    "num_nodes",
    "priority",
    "project",
    "run",
    "secrets",
    "setup",
    "workdir",
)
ARRAY_MAX: Final = 10_000
_DEPENDENCY: Final = re.compile(r"(?:[a-z0-9][a-z0-9-]{0,62}-)?[0-9]{1,15}(?::(?:ok|any|failed))?", re.ASCII)
_INSTANCE: Final = re.compile(
    r"(?:([A-Za-z][A-Za-z0-9_.+-]*):)?(\d{1,2}g\.\d{1,4}gb(?:\+me)?)(?::(\d{1,6}))?", re.ASCII | re.IGNORECASE
)
_GPU_TYPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.+-]*", re.ASCII)

Reading = Callable[[str, Node], Any]


def read(path: Path, given: frozenset[str] = frozenset()) -> JobFile:
    """The job in a file; BadJobFile with all faults. `given`: variables that the command line brings."""
    return parse(text_of(path), path, given)


def parse(text: str, path: Path, given: frozenset[str] = frozenset()) -> JobFile:
    """The job in `text`; `path` names it in errors, and its folder is where `workdir` starts."""
    reader = _Reader(path.parent, given)
    root = y.compose(text)
    if isinstance(root, Fault):
        raise BadJobFile(str(path), [root])
    reader.top(root)
    if reader.faults:
        raise BadJobFile(str(path), reader.faults)
    return JobFile(reader.body, reader.workdir, tuple(sorted(reader.notices)))


class _Reader:
    """Walks the tree once; collects the body, the faults and the notices."""

    def __init__(self, folder: Path, given: frozenset[str]) -> None:
        self.folder = folder
        self.given = given
        self.body: dict[str, Any] = {}
        self.workdir: Path | None = None
        self.faults: list[Fault] = []
        self.notices: list[Fault] = []
        self.recovery: dict[str, Any] | None = None
        self.from_skypilot = False

    def top(self, root: MappingNode) -> None:
        found = self.mapping(
            root,
            {
                "name": y.text,
                "tenant": y.text,
                "project": y.text,
                "data_sites": self.names,
                "booking": y.text,
                "resources": self.resources,
                "num_nodes": self.num_nodes,
                "envs": self.envs,
                "secrets": self.secrets,
                "workdir": self.folder_of,
                "setup": y.text,
                "run": y.command,
                "max_duration": y.duration,
                "expected_duration": y.duration,
                "priority": y.up_to(PRIORITY_MAX),
                "checkpoint": self.checkpoint,
                "retry": self.retry,
                "begin": y.text,
                "deadline": y.text,
                "after": self.after,
                "held": y.flag,
                "array": y.up_to(ARRAY_MAX),
                "event_callback": self.passed_over,
            },
        )
        if not any(isinstance(key, ScalarNode) and key.value == "run" for key, _ in root.value):
            self.faults.append(Fault(0, t("`run` is missing: the command or script of the job")))
        for name in found.get("envs", {}).keys() & found.get("secrets", {}).keys():
            self.faults.append(
                Fault(0, t('"{key}" is in envs and in secrets; give it once', key=key_of(name)))
            )
        if isinstance(found.get("num_nodes"), dict):
            nodes = found.pop("num_nodes")
            found |= {"num_nodes": nodes.get("min", 1), "num_nodes_max": nodes.get("max", 0)}
            if nodes.get("elastic"):
                found["elastic"] = True
        if self.recovery:
            found.setdefault("retry", self.recovery)
        self.workdir = found.pop("workdir", None)
        if self.from_skypilot or _uses_skypilot(found):
            found["envs"] = {COMPAT: "skypilot", **found.get("envs", {})}
        self.body = found

    def mapping(self, node: MappingNode, keys: Mapping[str, Reading]) -> dict[str, Any]:
        """The values of the known keys that are well formed; the others become faults or notices."""
        found: dict[str, Any] = {}
        lines: dict[str, int] = {}
        for key_node, value in node.value:
            line = y.line_of(key_node)
            key = key_node.value if isinstance(key_node, ScalarNode) else "?"
            if key in lines:
                message = t('"{key}" is there twice, first in line {line}', key=key_of(key), line=lines[key])
                self.faults.append(Fault(line, message))
            elif key not in keys:
                self.faults.append(Fault(line, _unknown(key, list(keys))))
            else:
                try:
                    if value.tag not in y.TAGS:
                        what = t('"{key}": the tag {tag} is not supported')
                        raise Wrong(what.format(key=key_of(key), tag=quoted(value.tag)))
                    result = keys[key](key, value)
                    if result is not None:
                        found[key] = result
                except Wrong as wrong:
                    self.faults.append(Fault(y.line_of(value), str(wrong)))
            lines.setdefault(key, line)
        return found

    def resources(self, key: str, node: Node) -> dict[str, Any]:
        if not isinstance(node, MappingNode):
            raise y.expected(key, node, t("a mapping with accelerators, cpus and memory"))
        keys: dict[str, Reading] = {
            "accelerators": self.accelerators,
            "cpus": y.amount,
            "memory": y.memory,
            "topology": self.topology,
            "sites": self.names,
            "jurisdiction": y.text,
            "partners": y.flag,
            "job_recovery": self.job_recovery,
        }
        found = self.mapping(node, {**keys, **dict.fromkeys(IGNORED, self.passed_over)})
        names = {"accelerators": "gpus", "memory": "memory_gb"}
        return {
            k if k == "accelerators" and isinstance(v, list) else names.get(k, k): v for k, v in found.items()
        }

    def passed_over(self, key: str, node: Node) -> None:
        self.from_skypilot = True
        if isinstance(node, ScalarNode) and node.value.lower() in ("false", "no", "null", "~", ""):
            return
        self.notice(node, t('"{key}" is passed over: {why}', key=key, why=t(IGNORED[key])))

    def accelerators(self, key: str, node: Node) -> int | list[str]:
        """GPUs per node: 2, H100:2, {H100: 2}, or alternatives of one count, in the order of preference; or a MIG
        instance: H100:3g.40gb. A plain count is a number."""
        several = node.value if isinstance(node, SequenceNode) else [node]
        if any(isinstance(one, ScalarNode) and _INSTANCE.fullmatch(one.value) for one in several):
            return [_instance(key, one) for one in several]
        if isinstance(node, MappingNode):
            asked = [_type_and_count(key, name, count) for name, count in node.value]
        else:
            nodes = node.value if isinstance(node, SequenceNode) else [node]
            asked = [_type_and_count(key, n, None) for n in nodes]
        counts = {count for _, count in asked}
        if len(counts) != 1:
            what = t('"{key}": the alternatives have different counts, or there is none; write one of them')
            raise Wrong(what.format(key=key))
        count = counts.pop()
        if not count or not any(kind for kind, _ in asked):
            return count
        return list(dict.fromkeys(f"{kind}:{count}" if kind else str(count) for kind, _ in asked))

    def names(self, key: str, node: Node) -> list[str]:
        """One name or a list of them."""
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        return [y.text(key, one) for one in nodes]

    def num_nodes(self, key: str, node: Node) -> int | dict[str, Any]:
        """A count, or the least and the most that a job takes, and whether it bears that they change."""
        if isinstance(node, MappingNode):
            return self.mapping(node, {"min": y.integer, "max": y.integer, "elastic": y.flag})
        return y.integer(key, node)

    def topology(self, key: str, node: Node) -> dict[str, Any]:
        if not isinstance(node, MappingNode):
            raise y.expected(key, node, t("a mapping with required, preferred, slice_level and slice_nodes"))
        keys: dict[str, Reading] = {
            "required": y.text,
            "preferred": y.text,
            "slice_level": y.text,
            "slice_nodes": y.integer,
        }
        return self.mapping(node, keys)

    def after(self, key: str, node: Node) -> list[str]:
        """One job or a list of them, each with how it has to end."""
        nodes = node.value if isinstance(node, SequenceNode) else [node]
        words = [str(n.value) for n in nodes if isinstance(n, ScalarNode) and y.kind_of(n) in ("str", "int")]
        if len(words) != len(nodes) or not words or not all(_DEPENDENCY.fullmatch(word) for word in words):
            raise y.expected(key, node, t("jobs like acme-42 or acme-42:any"))
        return words

    def job_recovery(self, key: str, node: Node) -> None:
        """How SkyPilot asks for another try after an error of the job itself."""
        self.from_skypilot = True
        if isinstance(node, MappingNode):
            keys: dict[str, Reading] = {"strategy": y.text, "max_restarts_on_errors": y.up_to(RETRIES_MAX)}
            restarts = self.mapping(node, keys).get("max_restarts_on_errors", 0)
            if restarts:
                self.recovery = {"max": restarts}
        elif not isinstance(node, ScalarNode):
            raise y.expected(key, node, t("a mapping with max_restarts_on_errors"))
        what = t('"{key}": only max_restarts_on_errors counts; there is one cloud to run in', key=key)
        self.notice(node, what)

    def envs(self, key: str, node: Node) -> dict[str, str]:
        return self.variables(key, node, self.env)

    def secrets(self, key: str, node: Node) -> dict[str, str | None]:
        # A value of None would be left out by `mapping`: '' stands for it.
        return {name: found or None for name, found in self.variables(key, node, _reference).items()}

    def variables(self, key: str, node: Node, reading: Reading) -> dict[str, Any]:
        if not isinstance(node, MappingNode):
            raise y.expected(key, node, t("a mapping of names to values"))
        names = [k.value for k, _ in node.value if isinstance(k, ScalarNode)]
        return self.mapping(node, dict.fromkeys(names, _variable(reading)))

    def env(self, key: str, node: Node) -> str | None:
        """The text as it stands there: `0123` and `true` stay what they are."""
        if not isinstance(node, ScalarNode):
            raise y.expected(key, node, t("one value"))
        if y.kind_of(node) != "null":
            return str(node.value)
        if key in self.given:
            return None
        what = t('"{key}" has no value; pass it with --env {key}=…, or write "" for an empty one')
        raise Wrong(what.format(key=key_of(key)))

    def folder_of(self, key: str, node: Node) -> Path:
        if isinstance(node, MappingNode):
            raise Wrong(t('"{key}" is a folder of yours; clone a repository in setup instead', key=key))
        name = y.text(key, node)
        try:
            folder = self.folder / Path(name).expanduser()
            good = folder.is_dir()
        except (RuntimeError, ValueError, OSError):  # no such home, a NUL, a name too long
            good = False
        if not good:
            what = t('"{key}": there is no folder {folder}, seen from {base}')
            raise Wrong(what.format(key=key, folder=quoted(name), base=self.folder))
        return folder

    def checkpoint(self, key: str, node: Node) -> dict[str, Any]:
        if not isinstance(node, MappingNode):
            raise y.expected(key, node, t("a mapping with path, every, signal and grace"))
        keys: dict[str, Reading] = {
            "path": y.text,
            "every": y.duration,
            "signal": _signal,
            "grace": y.duration,
        }
        found = self.mapping(node, keys)
        if not any(isinstance(k, ScalarNode) and k.value == "path" for k, _ in node.value):
            raise Wrong(t('"{key}": path is missing, the folder of the checkpoints', key=key))
        return found

    def retry(self, key: str, node: Node) -> dict[str, Any]:
        if isinstance(node, ScalarNode) and y.kind_of(node) == "int":
            return {"max": y.up_to(RETRIES_MAX)(key, node)}
        if not isinstance(node, MappingNode):
            raise y.expected(key, node, t("a count, or a mapping with max and on"))
        found = self.mapping(node, {"max": y.up_to(RETRIES_MAX), "on": _reasons})
        if not any(isinstance(k, ScalarNode) and k.value == "max" for k, _ in node.value):
            raise Wrong(t('"{key}": max is missing, how often to try again', key=key))
        return found

    def notice(self, node: Node, what: str) -> None:
        self.notices.append(Fault(y.line_of(node), what))


def _instance(key: str, node: Node) -> str:
    """`H100:3g.40gb`, `3g.40gb`: a MIG instance, one for each task."""
    what = t("a MIG instance like H100:3g.40gb, in every alternative")
    if not isinstance(node, ScalarNode):
        raise y.expected(key, node, what)
    found = _INSTANCE.fullmatch(node.value)
    if found is None:
        raise y.expected(key, node, what)
    if int(found[3] or 1) != 1:
        raise Wrong(
            t(
                '"{key}": a task has one MIG instance; say num_nodes: {count} for more tasks',
                key=key,
                count=found[3],
            )
        )
    return str(node.value)[: found.end(2)]


def _type_and_count(key: str, name: Node, count: Node | None) -> tuple[str, int]:
    """`H100:8`, `8`, `H100`, or a name and a count; the type is '' where it is plain GPUs."""
    what = t("a count like 2, or a type and a count like H100:2")
    if not isinstance(name, ScalarNode) or y.kind_of(name) not in ("int", "str"):
        raise y.expected(key, name, what)
    if count is not None:
        kind, number = name.value, str(y.integer(key, count))
    else:
        kind, colon, number = name.value.strip().rpartition(":")
        if not colon and not number.isdigit():
            kind, number = number, "1"
    if not (number.isascii() and number.isdigit()) or len(number) > y.DIGITS_MAX:
        raise y.expected(key, name, what)
    if kind and not _GPU_TYPE.fullmatch(kind):
        raise y.expected(key, name, what)
    if kind.lower().startswith("tpu"):
        raise Wrong(t('"{key}": there are no TPUs here; write GPU:{count}', key=key, count=number))
    return "" if kind.upper() == "GPU" else kind, int(number)


def _variable(reading: Reading) -> Reading:
    """The same, for a key that must be a name of a variable."""

    def of(key: str, node: Node) -> Any:
        if not VARIABLE.fullmatch(key):
            raise Wrong(t('"{key}" is not the name of a variable: letters, digits and _', key=key_of(key)))
        return reading(key, node)

    return of


def _reference(key: str, node: Node) -> str:
    """The name of a secret of the project, '' for the one that is called like the variable."""
    if isinstance(node, ScalarNode) and (y.kind_of(node) == "null" or not node.value):
        return ""
    name = str(node.value) if isinstance(node, ScalarNode) and y.kind_of(node) == "str" else ""
    if not REFERENCE.fullmatch(name) or len(name) > _REFERENCE_LENGTH or name.startswith(_TOKENS):
        what = t(
            'secrets do not belong into files: write "{key}: null" and pass the value with --secret {key}, or name '
            "a secret of the project (NAME or NAME@VERSION)",
            key=key_of(key),
        )
        raise Wrong(what)
    return name


def _signal(key: str, node: Node) -> str:
    if not isinstance(node, ScalarNode) or y.kind_of(node) not in ("str", "int"):
        raise y.expected(key, node, t("a signal like SIGUSR1"))
    return signal_name(node.value)


def _reasons(key: str, node: Node) -> list[str]:
    nodes = node.value if isinstance(node, SequenceNode) else [node]
    words = [str(n.value) for n in nodes if isinstance(n, ScalarNode)]
    if len(words) != len(nodes) or not words or any(word not in RETRY_REASONS for word in words):
        raise y.expected(key, node, t("a list of {known}", known=", ".join(RETRY_REASONS)))
    return words


def _uses_skypilot(body: Mapping[str, Any]) -> bool:
    run = body.get("run", "")
    words = [run] if isinstance(run, str) else run
    parts = [body.get("setup", ""), *words, *body.get("envs", {}).values()]
    return any("SKYPILOT_" in part for part in parts)


def _unknown(key: str, known: list[str]) -> str:
    if key in LATER:
        return t('"{key}" is not yet supported: {remedy}', key=key, remedy=t(LATER[key]))
    if key in _SHAPE and "run" in known:
        return t('"{key}" belongs under resources', key=key)
    if key in _TOP and "accelerators" in known:
        return t('"{key}" belongs to the file itself, not under resources', key=key)
    ours = [name for name in known if name not in IGNORED]
    theirs = [word for word, meant in HINTS.items() if meant in known]
    near = HINTS[key] if key in theirs else nearest(key, known) or HINTS.get(nearest(key, theirs), "")
    if near:
        return t('unknown key "{key}"; did you mean "{near}"?', key=key_of(key), near=near)
    return t('unknown key "{key}"; known: {known}', key=key_of(key), known=", ".join(ours))
