# SPDX-License-Identifier: Apache-2.0
"""What a client may ask for: the body of a submission or a plan, its limits, and what it becomes.

Called by `jobs` and `plan`. What enters the journal (the shape) and what must not (the run spec) part here.
"""

import re
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

from leitstand.api.amounts import cpus_milli, duration_us, memory_mib
from leitstand.api.decode import Check, Input
from leitstand.core.facts import Resources, SubmitJob
from leitstand.runtime.spec import OPERATOR, RunSpec

NAME_MAX: Final = 200  # characters
ARGV_MAX: Final = 4096  # words
COMMAND_BYTES_MAX: Final = 256 * 1024  # of argv or script, and of setup
ENVS_MAX: Final = 1000
ENVS_BYTES_MAX: Final = 128 * 1024
ARG_BYTES_MAX: Final = 128 * 1024  # of one word or variable: what Linux takes (MAX_ARG_STRLEN)
GPUS_MAX: Final = 1024  # per node
CPUS_MAX: Final = 65_536
MEMORY_GB_MAX: Final = 1_048_576
NODES_MAX: Final = 10_000
PRIORITY_MAX: Final = 100

_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_ENV: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


def between(least: float, most: float, unit: str = "") -> Check:
    """A check that a number is in a range."""
    return lambda value: (
        "" if least <= value <= most else f"is {value}; the limits are {least} to {most}{unit}"
    )


def an_id(value: str) -> str:
    """A check of tenant and project ids."""
    if _ID.fullmatch(value):
        return ""
    return f"is {value[:70]!r}; an id is 1 to 63 of a-z, 0-9 and -, without - at its ends"


def _name(value: str) -> str:
    if len(value) > NAME_MAX:
        return f"has {len(value)} characters; the limit is {NAME_MAX}"
    return "" if value.isprintable() else "has characters that cannot be printed"


def _run(value: list[str] | str) -> str:
    if isinstance(value, str):
        return _text(value) if value.strip() else "is empty; give a command"
    if not value or not value[0]:
        return "is empty; give a command"
    if len(value) > ARGV_MAX:
        return f"has {len(value)} words; the limit is {ARGV_MAX}"
    if any(len(word.encode()) >= ARG_BYTES_MAX for word in value):
        return f"has a word of {ARG_BYTES_MAX} bytes or more, which no system takes; use a file"
    return _text("\n".join(value))


def _text(value: str) -> str:
    if "\0" in value:
        return "has a NUL character"
    size = len(value.encode())
    return "" if size <= COMMAND_BYTES_MAX else f"has {size} bytes; the limit is {COMMAND_BYTES_MAX}"


def _envs(value: dict[str, str]) -> str:
    if len(value) > ENVS_MAX:
        return f"has {len(value)} variables; the limit is {ENVS_MAX}"
    total = 0
    for name, content in value.items():
        if not _ENV.fullmatch(name):
            return f"has the name {name[:60]!r}; names are letters, digits and _, not beginning with a digit"
        if "\0" in content:
            return f"has a NUL character in {name[:60]}"
        size = len(name) + len(content.encode()) + 2
        if size > ARG_BYTES_MAX:
            return f"has {size} bytes in {name[:60]}; the limit is {ARG_BYTES_MAX}"
        total += size
    return "" if total <= ENVS_BYTES_MAX else f"has {total} bytes; the limit is {ENVS_BYTES_MAX}"


def _workdir(value: str) -> str:
    if not value or _SHA256.fullmatch(value):
        return ""
    return f"is {value[:70]!r}; it is the SHA-256 of an uploaded archive in 64 lower-case hex digits"


def _duration(value: str | float | None) -> str:
    if value is None:
        return ""
    try:
        duration_us(value)
    except ValueError as error:
        return str(error)
    return ""


class NodeResources(Input, frozen=True):
    """What each node of the job gives. `cpus`: cores; if nothing is said and no GPU is asked for, 1, or what the
    largest node has if that is less; `memory_gb`: 1 GB is 1024 MiB, 0: not counted."""

    gpus: int = 0
    cpus: float | None = None
    memory_gb: float = 0

    checks: ClassVar[Mapping[str, Check]] = {
        "gpus": between(0, GPUS_MAX, " per node"),
        "cpus": lambda value: "" if value is None else between(0, CPUS_MAX, " cores per node")(value),
        "memory_gb": between(0, MEMORY_GB_MAX, " GB per node"),
    }


class JobRequest(Input, frozen=True):
    """A job. `run`: an argument vector that is executed as it is, or a script for bash; `setup`: bash, runs before it
    on every node; `workdir`: the SHA-256 of an uploaded archive. Durations: "1h30m", "90s", "2d" or seconds."""

    run: list[str] | str
    name: str = ""
    tenant: str = OPERATOR
    project: str = "default"
    resources: NodeResources = NodeResources()
    num_nodes: int = 1
    setup: str = ""
    envs: dict[str, str] = {}
    workdir: str = ""
    max_duration: str | float | None = None
    expected_duration: str | float | None = None
    priority: int = 0

    checks: ClassVar[Mapping[str, Check]] = {
        "run": _run,
        "name": _name,
        "tenant": an_id,
        "project": an_id,
        "num_nodes": between(1, NODES_MAX),
        "setup": _text,
        "envs": _envs,
        "workdir": _workdir,
        "max_duration": _duration,
        "expected_duration": _duration,
        "priority": between(0, PRIORITY_MAX),
    }


def observation(asked: JobRequest, cpus_milli_default: Callable[[], int], **more: Any) -> SubmitJob:
    """What the core gets of it. `cpus_milli_default`: per node, for a job that names neither GPUs nor CPUs; `more`:
    user, spec, request, request_digest."""
    node, count = asked.resources, asked.num_nodes
    if node.cpus is not None:
        cpus = cpus_milli(node.cpus)
    else:
        cpus = 0 if node.gpus else cpus_milli_default()
    resources = Resources(node.gpus * count, count, cpus * count, memory_mib(node.memory_gb) * count)
    return SubmitJob(
        asked.tenant,
        asked.project,
        resources,
        priority=asked.priority,
        max_duration_us=0 if asked.max_duration is None else duration_us(asked.max_duration),
        expected_us=0 if asked.expected_duration is None else duration_us(asked.expected_duration),
        **more,
    )


def run_spec(asked: JobRequest) -> RunSpec:
    """What an engine gets of it, and what listings call it."""
    argv, script = ((), asked.run) if isinstance(asked.run, str) else (tuple(asked.run), "")
    return RunSpec(asked.name, argv, script, asked.setup, asked.envs, asked.workdir)
