# SPDX-License-Identifier: Apache-2.0
"""What a client may ask for: the body of a submission or a plan, its limits, and what it becomes.

Called by `jobs` and `plan`. What enters the journal (the shape) and what must not (the run spec) part here.
"""

import hashlib
import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, ClassVar, Final

import msgspec

from leitstand.api.amounts import cpus_milli, duration_us, memory_mib, moment_us
from leitstand.api.checks import SHOWN_MAX, an_id, between, optional, printable
from leitstand.api.decode import Check, Input
from leitstand.core.facts import (
    AFTER_MAX,
    ALTERNATIVES_MAX,
    ARRAY_AFTER_MAX,
    ARRAY_MAX,
    ENDS,
    RETRIES_MAX,
    RETRYABLE,
    SITES_MAX,
    Dependency,
    Resources,
    SubmitJob,
)
from leitstand.core.units import SECOND_US
from leitstand.runtime.spec import Checkpoint, RunSpec
from leitstand.stores.secrets import REFERENCE

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
SECRETS_MAX: Final = 100  # references and values together
SECRET_BYTES_MAX: Final = 64 * 1024  # of one value
PATH_BYTES_MAX: Final = 1024
SIGNALS: Final = ("SIGTERM", "SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGCONT")
GRACE_US_MAX: Final = 3600 * SECOND_US

_ENV: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,62}", re.ASCII)
_ACCELERATOR: Final = re.compile(
    r"(?:([A-Za-z][A-Za-z0-9_.-]{0,62})(?::|$))?(\d{1,6}(?:\.\d{1,6})?)?", re.ASCII
)
_INSTANCE: Final = re.compile(
    r"(?:([A-Za-z][A-Za-z0-9_.-]{0,62}):)?(\d{1,2}g\.\d{1,4}gb(?:\+me)?)(?::(\d{1,6}))?",
    re.ASCII | re.IGNORECASE,
)
_DEPENDENCY: Final = re.compile(r"(?:[a-z0-9][a-z0-9-]{0,62}-)?[0-9]{1,15}(?::(?:ok|any|failed))?", re.ASCII)
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_encode_canonical: Final = msgspec.json.Encoder(order="deterministic").encode


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


def _secrets(value: Mapping[str, str | None]) -> str:
    """No fault quotes a reference or a name that is none: who mixes them up has put the secret there."""
    if fault := _secret_names(value):
        return fault
    for name, reference in value.items():
        if not REFERENCE.fullmatch(name if reference is None else reference):
            return f"has no reference in {name[:60]}; write NAME or NAME@VERSION of a secret of the project, or null"
    return ""


def _secret_values(value: Mapping[str, str]) -> str:
    if fault := _secret_names(value):
        return fault
    for name, content in value.items():
        if "\0" in content:
            return f"has a NUL character in {name[:60]}"
        if (size := len(content.encode())) > SECRET_BYTES_MAX:
            return f"has {size} bytes in {name[:60]}; the limit is {SECRET_BYTES_MAX}"
    return ""


def _secret_names(names: Collection[str]) -> str:
    if len(names) > SECRETS_MAX:
        return f"has {len(names)} variables; the limit is {SECRETS_MAX}"
    for number, name in enumerate(names, 1):
        if not _ENV.fullmatch(name) or len(name) > NAME_MAX:
            what = f"letters, digits and _, not beginning with a digit, up to {NAME_MAX}"
            return f"has a name (number {number}) that is none: {what}"
    return ""


def _path(value: str) -> str:
    if not value or "\0" in value:
        return "is empty or has a NUL character; give a folder like checkpoints"
    if (size := len(value.encode())) > PATH_BYTES_MAX:
        return f"has {size} bytes; the limit is {PATH_BYTES_MAX}"
    if ".." in value.split("/"):
        return "leads upwards with ..; give a folder below the job's own, or an absolute one"
    return ""


def _grace(value: str | float | None) -> str:
    fault = _duration(value)
    if fault or value is None or duration_us(value) <= GRACE_US_MAX:
        return fault
    return f"is longer than {GRACE_US_MAX // SECOND_US} s, the most that a run gets after the signal"


def _one_of(known: tuple[str, ...]) -> Check:
    return lambda value: "" if value in known else f"is unknown; known: {', '.join(known)}"


def _reasons(value: list[str] | None) -> str:
    if value is None:
        return ""
    if not value:
        return "is empty; leave it out for every reason"
    return next((fault for fault in map(_one_of(RETRYABLE), value) if fault), "")


def _workdir(value: str) -> str:
    if not value or _SHA256.fullmatch(value):
        return ""
    return f"is {value[:70]!r}; it is the SHA-256 of an uploaded archive in 64 lower-case hex digits"


def _a_level(value: str) -> str:
    return "" if _NAME.fullmatch(value) else f"is {value[:SHOWN_MAX]!r}; it is the name of a level, like rack"


def _accelerators(value: list[str]) -> str:
    if len(value) > ALTERNATIVES_MAX + 1:
        return f"has {len(value)} alternatives; the limit is {ALTERNATIVES_MAX + 1}"
    for text in value:
        if instance := _INSTANCE.fullmatch(text):
            if int(instance[3] or 1) != 1:
                one = text[: instance.end(2)]
                return f"has {text[:SHOWN_MAX]!r}; a task has one MIG instance: {one}, and num_nodes for more tasks"
            continue
        found = _ACCELERATOR.fullmatch(text)
        if not found:
            return f"has {text[:SHOWN_MAX]!r}; write it like H100:8, H100:0.5, H100:3g.40gb or 8"
        count = float(found[2] or 1)
        if not 0 < count <= GPUS_MAX or (count != int(count) and count > 1):
            return f"has {text[:SHOWN_MAX]!r}; the limits are parts of one GPU, or 1 to {GPUS_MAX} whole ones"
        if count < 1 and round(count * 1000) not in range(1, 1000):
            return f"has {text[:SHOWN_MAX]!r}; the smallest part of a GPU is 0.001"
    return ""


def _sites(value: list[str]) -> str:
    if len(value) > SITES_MAX:
        return f"names {len(value)} sites; the limit is {SITES_MAX}"
    return next((f"has {site[:SHOWN_MAX]!r}: {fault}" for site in value if (fault := an_id(site))), "")


def _after(value: list[str]) -> str:
    if len(value) > AFTER_MAX:
        return f"names {len(value)} jobs; the limit is {AFTER_MAX}"
    wrong = next((text for text in value if not _DEPENDENCY.fullmatch(text)), None)
    return (
        ""
        if wrong is None
        else f"has {wrong[:SHOWN_MAX]!r}; write it like acme-42 or acme-42:any ({', '.join(ENDS)})"
    )


def _moment(value: str | None) -> str:
    try:
        if value is not None:
            moment_us(value, 0)
    except ValueError as error:
        return str(error)
    return ""


def _duration(value: str | float | None) -> str:
    if value is None:
        return ""
    try:
        duration_us(value)
    except ValueError as error:
        return str(error)
    return ""


class TopologyRequest(Input, frozen=True):
    """Where the nodes of a job stand. `required`: all in one domain of this level (`rack`), `preferred`: so if that is
    possible now; `slice_nodes`: groups of so many nodes, each in one domain of `slice_level`."""

    required: str = ""
    preferred: str = ""
    slice_level: str = ""
    slice_nodes: int = 0

    checks: ClassVar[Mapping[str, Check]] = {
        "required": optional(_a_level),
        "preferred": optional(_a_level),
        "slice_level": optional(_a_level),
        "slice_nodes": between(0, NODES_MAX, " nodes"),
    }

    def across(self) -> Iterable[tuple[str, str]]:
        if bool(self.slice_nodes) != bool(self.slice_level):
            yield "slice_nodes", "needs slice_level, and the other way round"


class NodeResources(Input, frozen=True):
    """What each node of the job gives. `accelerators`: instead of `gpus`, the same with a type, `H100:8`, part of one,
    `H100:0.5`, a MIG instance, `H100:3g.40gb`, or several that serve as well, in the order of preference. `cpus`:
    cores; if nothing is said and no GPU is asked for, 1, or what the largest node has if that is less; `memory_gb`:
    1 GB is 1024 MiB, 0: not counted. `sites`: only at one of these; `jurisdiction`: only at a site under this law;
    `partners`: it may go to a partner's site, which has a queue of its own, if no other could ever run it."""

    gpus: int = 0
    cpus: float | None = None
    memory_gb: float = 0
    accelerators: list[str] = []
    topology: TopologyRequest | None = None
    sites: list[str] = []
    jurisdiction: str = ""
    partners: bool = False

    checks: ClassVar[Mapping[str, Check]] = {
        "gpus": between(0, GPUS_MAX, " per node"),
        "cpus": lambda value: "" if value is None else between(0, CPUS_MAX, " cores per node")(value),
        "memory_gb": between(0, MEMORY_GB_MAX, " GB per node"),
        "accelerators": _accelerators,
        "sites": _sites,
        "jurisdiction": optional(an_id),
    }

    def across(self) -> Iterable[tuple[str, str]]:
        if self.accelerators and self.gpus:
            yield "accelerators", "is given beside gpus; give one of them"


class CheckpointRequest(Input, frozen=True):
    """Where the job keeps its checkpoints. `path`: below a folder that all its runs share, or absolute; `every`: how
    often it says it saves; `signal`: what asks it for a last one, up to `grace` before it is killed."""

    path: str
    every: str | float | None = None
    signal: str = "SIGTERM"
    grace: str | float | None = None

    checks: ClassVar[Mapping[str, Check]] = {
        "path": _path,
        "every": _duration,
        "signal": _one_of(SIGNALS),
        "grace": _grace,
    }


class RetryRequest(Input, frozen=True):
    """How often the job is run again, and after which ends. `on`: exit_code, signal, lost, start_failed; null: all."""

    max: int
    on: list[str] | None = None

    checks: ClassVar[Mapping[str, Check]] = {"max": between(0, RETRIES_MAX, " times"), "on": _reasons}


class JobRequest(Input, frozen=True):
    """A job. `run`: an argument vector that is executed as it is, or a script for bash; `setup`: bash, runs before it
    on every node; `workdir`: the SHA-256 of an uploaded archive. Durations: "1h30m", "90s", "2d" or seconds.
    `secrets`: variable -> secret of the project (NAME, NAME@VERSION, null: the one named like the variable);
    `secret_values`: variable -> value for this job alone, kept encrypted and never shown.

    `begin`: not before; `deadline`: it has to end by then, or is ended where it waits; both a time like
    2026-03-01T08:00:00Z, or from now on a duration like 2h. `after`: jobs that it waits for, JOB or JOB:ok to succeed,
    JOB:failed, JOB:any, where JOB is an id or its number alone; the id of an array stands for all of it. `held`: it
    waits until it is released. `array`: so many equal jobs, which find their number in LEITSTAND_ARRAY_INDEX.
    `num_nodes_max`: it takes from `num_nodes` to so many nodes, as many as fit when it starts; if it is `elastic`, its
    tasks bear that others come and go, and it has now more, now fewer. `data_sites`: where the data lies that it reads;
    it may run elsewhere. `booking`: it runs in that alone, which pays for it, and ends with it."""

    run: list[str] | str
    name: str = ""
    tenant: str = ""  # your only one
    project: str = ""  # default, or your only one
    resources: NodeResources = NodeResources()
    num_nodes: int = 1
    num_nodes_max: int = 0
    setup: str = ""
    envs: dict[str, str] = {}
    workdir: str = ""
    max_duration: str | float | None = None
    expected_duration: str | float | None = None
    priority: int = 0
    secrets: dict[str, str | None] = {}
    secret_values: dict[str, str] = {}
    checkpoint: CheckpointRequest | None = None
    retry: RetryRequest | None = None
    begin: str | None = None
    deadline: str | None = None
    after: list[str] = []
    held: bool = False
    array: int = 0
    data_sites: list[str] = []
    elastic: bool = False
    booking: str = ""

    hidden: ClassVar[frozenset[str]] = frozenset({"envs", "secrets", "secret_values"})
    checks: ClassVar[Mapping[str, Check]] = {
        "run": _run,
        "name": printable(NAME_MAX),
        "tenant": optional(an_id),
        "project": optional(an_id),
        "num_nodes": between(1, NODES_MAX),
        "num_nodes_max": between(0, NODES_MAX, ", 0 for none"),
        "begin": _moment,
        "deadline": _moment,
        "after": _after,
        "array": between(0, ARRAY_MAX, " jobs, 0 for none"),
        "data_sites": _sites,
        "booking": optional(an_id),
        "setup": _text,
        "envs": _envs,
        "workdir": _workdir,
        "max_duration": _duration,
        "expected_duration": _duration,
        "priority": between(0, PRIORITY_MAX),
        "secrets": _secrets,
        "secret_values": _secret_values,
    }

    def across(self) -> Iterable[tuple[str, str]]:
        """One variable has one source, and all variables together fit."""
        if self.num_nodes_max and self.num_nodes_max < self.num_nodes:
            yield (
                "num_nodes_max",
                f"is {self.num_nodes_max}, less than num_nodes; the limit is {self.num_nodes}",
            )
        if self.elastic and self.num_nodes_max <= self.num_nodes:
            yield (
                "elastic",
                f"needs num_nodes_max above num_nodes, which is {self.num_nodes}; the limit is {NODES_MAX}",
            )
        if self.elastic and any(not gpus for _, gpus, _, _ in _kinds(self.resources)):
            yield "elastic", "needs whole GPUs on each node; name them in resources"
        if len(self.after) * self.array > ARRAY_AFTER_MAX:
            yield (
                "after",
                f"names {len(self.after)} jobs for {self.array}; the limit is {ARRAY_AFTER_MAX} in all",
            )
        known = set(self.envs)
        for field in ("secrets", "secret_values"):
            names = getattr(self, field)
            twice = sorted(name for name in names if name in known)
            if twice:
                yield field, f"gives {twice[0][:60]}, which has a value elsewhere; give it once"
            known |= set(names)
        size = sum(len(value.encode()) for value in self.secret_values.values())
        if size > ENVS_BYTES_MAX:
            yield "secret_values", f"has {size} bytes; the limit is {ENVS_BYTES_MAX}"

    def canonical(self) -> bytes:
        """The request in one form, for a keyed digest: secret values only by their SHA-256."""
        digests = {
            name: hashlib.sha256(value.encode()).hexdigest() for name, value in self.secret_values.items()
        }
        return _encode_canonical(msgspec.structs.replace(self, secret_values=digests))


def observation(asked: JobRequest, cpus_milli_default: Callable[[], int], now: int, **more: Any) -> SubmitJob:
    """What the core gets of it at `now` (µs). `cpus_milli_default`: per node, for a job that names neither GPUs nor
    CPUs; `more`: user, spec, request, request_digest."""
    resources, *alternatives = shapes(
        asked.resources, asked.num_nodes, asked.num_nodes_max, cpus_milli_default
    )
    if asked.retry is not None:
        on = asked.retry.on or RETRYABLE
        more["retries"] = asked.retry.max
        more["retry_on"] = () if set(on) == set(RETRYABLE) else tuple(r for r in RETRYABLE if r in on)
    if asked.checkpoint is not None and asked.checkpoint.every is not None:
        more["checkpoint_every_us"] = duration_us(asked.checkpoint.every)
    return SubmitJob(
        asked.tenant,
        asked.project,
        resources,
        priority=asked.priority,
        max_duration_us=0 if asked.max_duration is None else duration_us(asked.max_duration),
        expected_us=0 if asked.expected_duration is None else duration_us(asked.expected_duration),
        begin_us=0 if asked.begin is None else moment_us(asked.begin, now),
        after=tuple(_dependency(text, asked.tenant) for text in asked.after),
        deadline_us=0 if asked.deadline is None else moment_us(asked.deadline, now),
        held=asked.held,
        array=asked.array,
        alternatives=tuple(alternatives),
        data_sites=tuple(asked.data_sites),
        elastic=asked.elastic,
        booking=asked.booking,
        **more,
    )


def shapes(
    node: NodeResources, count: int, most: int, cpus_milli_default: Callable[[], int]
) -> list[Resources]:
    """Every shape that serves who asks for this on each of `count` nodes (up to `most`, 0: no more), in the order of
    preference."""
    place = node.topology or TopologyRequest()
    found = []
    for kind, gpus, gpu_milli, mig in _kinds(node):
        if node.cpus is not None:
            cpus = cpus_milli(node.cpus)
        else:
            cpus = 0 if gpus or gpu_milli or mig else cpus_milli_default()
        shape = Resources(
            gpus * count,
            count,
            cpus * count,
            memory_mib(node.memory_gb) * count,
            kind,
            gpu_milli,
            place.required,
            place.preferred,
            place.slice_nodes,
            place.slice_level,
            most,
            tuple(node.sites),
            node.jurisdiction,
            mig,
            node.partners,
        )
        found.append(shape)
    return found


def profiles(asked: JobRequest) -> list[tuple[str, str]]:
    """(type of GPU, MIG profile) of the alternatives that ask for an instance."""
    found = [_gpus(text) for text in asked.resources.accelerators]
    return [(kind, mig) for kind, _, _, mig in found if mig]


def _kinds(node: NodeResources) -> list[tuple[str, int, int, str]]:
    """As `_gpus`, of a node for each alternative."""
    return [_gpus(text) for text in node.accelerators] or [("", node.gpus, 0, "")]


def _gpus(text: str) -> tuple[str, int, int, str]:
    """(type, whole GPUs, thousandths of one, MIG profile) of `H100:8`, `H100`, `0.5`, `H100:3g.40gb`; `GPU` is any
    type."""
    instance = _INSTANCE.fullmatch(text)
    if instance is not None:
        kind = instance[1] or ""
        return "" if kind.upper() == "GPU" else kind, 0, 0, instance[2].lower()
    found = _ACCELERATOR.fullmatch(text)
    assert found is not None, "checked where it came in"
    kind, count = found[1] or "", float(found[2] or 1)
    whole = count >= 1
    return (
        "" if kind.upper() == "GPU" else kind,
        int(count) if whole else 0,
        0 if whole else round(count * 1000),
        "",
    )


def _dependency(text: str, tenant: str) -> Dependency:
    """Of `acme-42`, or `42` for a job of the own tenant."""
    job, _, on = text.partition(":")
    return Dependency(f"{tenant}-{job}" if job.isdigit() else job, on or "ok")


def run_spec(asked: JobRequest) -> RunSpec:
    """What an engine gets of it, and what listings call it; never a secret value, and a reference as it was asked for
    (its version is settled where the secrets are)."""
    argv, script = ((), asked.run) if isinstance(asked.run, str) else (tuple(asked.run), "")
    return RunSpec(
        asked.name,
        argv,
        script,
        asked.setup,
        asked.envs,
        asked.workdir,
        {name: name if reference is None else reference for name, reference in asked.secrets.items()},
        None if asked.checkpoint is None else _checkpoint(asked.checkpoint),
    )


def _checkpoint(asked: CheckpointRequest) -> Checkpoint:
    return Checkpoint(asked.path, _seconds_up(asked.every), asked.signal, _seconds_up(asked.grace))


def _seconds_up(duration: str | float | None) -> int:
    return 0 if duration is None else -(-duration_us(duration) // SECOND_US)
