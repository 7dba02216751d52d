# SPDX-License-Identifier: Apache-2.0
"""A site as an operator describes it: the file of `leitstand sites add`, and what the control plane keeps of it.

Read by the command line (YAML, every fault with its line), checked once more by the API, kept by
`leitstand.engines.book`. Paths are those of the control plane's machine; the token itself is nowhere but in its file.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from yaml import MappingNode, Node

from leitstand.engines.slurm.site import DELEGATED, MODES, Quota, SlurmSite
from leitstand.runtime.yamlfile import File

SLURM: Final = "slurm"
ENGINES: Final = (SLURM,)
RESERVED: Final = ("local", "test")  # this machine, and a word of the API's paths
PATH_MAX: Final = 4_096
LINE_MAX: Final = 200
COUNT_MAX: Final = 1_000_000
USERS_MAX: Final = 10_000
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
PARTS_MAX: Final = 1_000
_PART: Final = re.compile(r"[A-Za-z0-9_*?][A-Za-z0-9_.*?-]{0,63}", re.ASCII)
_WORD: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}", re.ASCII)

Check = Callable[[Any], str]  # "" or what is wrong


class Expect(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the site is to have at least; 0: nothing is expected."""

    nodes: int = 0
    gpus: int = 0


class SiteFile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A site. `jurisdiction`: whose law it is under, a word that jobs may ask for; `operator`: who runs it; `quota`:
    what is ours of a delegated one."""

    name: str
    engine: str
    mode: str
    slurm: SlurmSite
    jurisdiction: str = ""
    operator: str = ""
    expect: Expect = Expect()
    quota: Quota = Quota()


# ── what its values may be ────────────────────────────────────────────────────────────────────────────────────────────
def a_site(value: str) -> str:
    """A check of its name."""
    if not _NAME.fullmatch(value):
        return f"is {value[:70]!r}; the name of a site is 1 to 63 of a-z, 0-9 and -, without - at its ends"
    return f"is {value!r}, which is taken; choose another name" if value in RESERVED else ""


def a_law(value: str) -> str:
    """A check of its jurisdiction, '' if nothing is said."""
    if not value or _NAME.fullmatch(value):
        return ""
    return f"is {value[:70]!r}; a jurisdiction is a word in small letters, as jobs ask for it, like de"


def a_line(value: str) -> str:
    """A check of one line of text."""
    if len(value) > LINE_MAX:
        return f"has {len(value)} characters; the limit is {LINE_MAX}"
    return "" if value.isprintable() else "has characters that cannot be printed"


def a_word(value: str) -> str:
    """A check of what Slurm calls a partition, account or user."""
    if _WORD.fullmatch(value):
        return ""
    return f"is {value[:70]!r}; a name in Slurm is 1 to 64 of a-z, A-Z, 0-9, _ . -, and begins with neither . nor -"


def parts(value: Sequence[str]) -> str:
    """A check of names or patterns of smaller partitions."""
    if len(value) > PARTS_MAX:
        return f"names {len(value)} partitions; the limit is {PARTS_MAX}, and leaf* means many"
    wrong = next((part for part in value if not _PART.fullmatch(part)), None)
    return (
        "" if wrong is None else f"has {wrong[:70]!r}; a part is a partition, or a pattern of some like leaf*"
    )


def a_path(value: str | Path) -> str:
    """A check of a path on the control plane's machine."""
    text = str(value)
    if not text.startswith("/") or len(text) > PATH_MAX or not text.isprintable():
        return f"is {text[:70]!r}; give the whole path, from / on, up to {PATH_MAX} characters"
    return ""


def an_address(value: str) -> str:
    """A check of where slurmrestd listens."""
    remedy = "give it like http://slurm.example.org:6820 or unix:/run/slurmrestd.sock"
    if value.startswith("unix:"):
        return f"is {value[:70]!r}; {remedy}" if a_path(value.removeprefix("unix:")) else ""
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError as error:
        return f"is {value[:70]!r}: {error}; {remedy}"
    plain = parts.path in ("", "/") and not (parts.query or parts.fragment or parts.username)
    host = parts.hostname or ""
    if parts.scheme not in ("http", "https") or not host or not plain or port == 0 or not value.isascii():
        return f"is {value[:70]!r}; {remedy}"
    return "" if value.isprintable() and " " not in value else f"is {value[:70]!r}; {remedy}"


def a_count(value: int) -> str:
    """A check of how many there are to be."""
    return "" if 0 <= value <= COUNT_MAX else f"is {value}; the limits are 0 to {COUNT_MAX}"


def tenants_users(value: Mapping[str, str]) -> str:
    """A check of as whom the runs of tenants execute."""
    if len(value) > USERS_MAX:
        return f"names {len(value)} tenants; the limit is {USERS_MAX}"
    for tenant, user in value.items():
        if not _NAME.fullmatch(tenant):
            return f"names the tenant {tenant[:70]!r}, which can be none"
        if wrong := a_word(user):
            return f"of {tenant} {wrong}"
    return ""


def _one_of(known: tuple[str, ...]) -> Check:
    return lambda value: "" if value in known else f"is {str(value)[:70]!r}; known: {', '.join(known)}"


CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        "name": a_site,
        "engine": _one_of(ENGINES),
        "mode": _one_of(MODES),
        "jurisdiction": a_law,
        "operator": a_line,
    }
)
SLURM_CHECKS: Final[Mapping[str, Check]] = MappingProxyType(
    {
        "conf": a_path,
        "rest": an_address,
        "folder": a_path,
        "partition": a_word,
        "parts": parts,
        "token_file": lambda value: a_path(value) if value else "",
        "account": lambda value: a_word(value) if value else "",
        "user": a_word,
        "users": tenants_users,
    }
)
EXPECT_CHECKS: Final[Mapping[str, Check]] = MappingProxyType({"nodes": a_count, "gpus": a_count})
QUOTA_CHECKS: Final = EXPECT_CHECKS


def token_missing(rest: str, token_file: object) -> str:
    """What is wrong if nobody says who we are to a slurmrestd that listens on a port."""
    if rest.startswith("unix:") or token_file:
        return ""
    return "is missing: slurmrestd at a port wants a token (`scontrol token` makes one); name the file that holds it"


def quota_wrong(mode: str, quota: Quota) -> str:
    """What is wrong about the quota of a site in this mode, '' if nothing is."""
    named = bool(quota.gpus) + bool(quota.nodes)
    if mode == DELEGATED and named != 1:
        return "is to say either `gpus` or `nodes`: how much of a delegated site is ours at once"
    return (
        "is for delegated sites; of a directed one all nodes are ours" if mode != DELEGATED and named else ""
    )


def clash(file: SiteFile, other: SiteFile) -> str:
    """Why two sites cannot be, '' if they can: nodes that both place on, runs that both look for."""
    ours, theirs = file.slurm, other.slurm
    if ours.folder == theirs.folder:
        return f"its folder {ours.folder} is that of site {other.name}; give each its own"
    if ours.partition == theirs.partition and (ours.conf == theirs.conf or ours.rest == theirs.rest):
        return f"its partition {ours.partition} is that of site {other.name}; give each its own"
    return ""


# ── as bytes ──────────────────────────────────────────────────────────────────────────────────────────────────────────
def described(file: SiteFile) -> dict[str, Any]:
    """As JSON has it."""
    found: dict[str, Any] = msgspec.to_builtins(file, enc_hook=str)
    return found


def encode(file: SiteFile) -> bytes:
    """For the book."""
    return msgspec.json.format(msgspec.json.encode(file, enc_hook=str), indent=2) + b"\n"


def decode(content: bytes) -> SiteFile:
    """What `encode` wrote; ValueError with what is wrong."""
    try:
        return checked(msgspec.json.decode(content))
    except (msgspec.DecodeError, RecursionError) as error:
        raise ValueError(f"is no JSON: {error}") from None


def checked(given: Any) -> SiteFile:
    """The site that JSON describes; ValueError with the first thing that is wrong."""
    try:
        file = msgspec.convert(given, SiteFile, dec_hook=_from_text)
    except msgspec.ValidationError as error:
        raise ValueError(str(error)) from None
    for where, part, checks in (
        ("", file, CHECKS),
        ("slurm.", file.slurm, SLURM_CHECKS),
        ("expect.", file.expect, EXPECT_CHECKS),
        ("quota.", file.quota, QUOTA_CHECKS),
    ):
        for name, check in checks.items():
            if wrong := check(getattr(part, name)):
                raise ValueError(f"{where}{name} {wrong}")
    if wrong := token_missing(file.slurm.rest, file.slurm.token_file):
        raise ValueError(f"slurm.token_file {wrong}")
    if wrong := quota_wrong(file.mode, file.quota):
        raise ValueError(f"quota {wrong}")
    return file


def _from_text(kind: type, value: object) -> object:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected {kind.__name__}, got {type(value).__name__}")


# ── as YAML ───────────────────────────────────────────────────────────────────────────────────────────────────────────
def read(path: Path) -> SiteFile:
    """The site in a YAML file. YamlWrong: file, line, what, remedy."""
    file = File(path, "site file")
    root = file.root("it begins with keys like `name:` and `engine:`")
    paths = {name: _value(file, SLURM_CHECKS[name], Path) for name in ("conf", "folder", "token_file")}
    words = {name: _value(file, SLURM_CHECKS[name], str) for name in ("rest", "partition", "account", "user")}
    counts = {name: file.whole(0, COUNT_MAX) for name in EXPECT_CHECKS}

    def slurm(node: Node) -> SlurmSite:
        known = {
            **paths,
            **words,
            "parts": lambda node: _parts(file, node),
            "users": lambda node: _users(file, node),
        }
        found = SlurmSite(**file.fields(node, known, ("conf", "rest", "folder", "partition")))
        if wrong := token_missing(found.rest, found.token_file):
            file.wrong(_at(node, "rest"), f"token_file {wrong}")
        return found

    known = {
        **{name: _value(file, check, str) for name, check in CHECKS.items()},
        "slurm": slurm,
        "expect": lambda node: Expect(**file.fields(node, counts)),
        "quota": lambda node: Quota(**file.fields(node, counts)),
    }
    found = SiteFile(**file.fields(root, known, ("name", "engine", "mode", "slurm")))
    if wrong := quota_wrong(found.mode, found.quota):
        file.wrong(_at(root, "quota"), f"quota {wrong}")
    return found


def _value(file: File, check: Check, kind: Callable[[str], Any]) -> Callable[[Node], Any]:
    def reading(node: Node) -> Any:
        text = file.text(node)
        if wrong := check(text):
            file.wrong(node, wrong)
        return kind(text)

    return reading


def _parts(file: File, node: Node) -> tuple[str, ...]:
    found = file.items(node, file.text, PARTS_MAX)
    if wrong := parts(found):
        file.wrong(node, wrong)
    return found


def _users(file: File, node: Node) -> dict[str, str]:
    users = {name: user for name, user, _ in file.named(node, file.text)}
    if wrong := tenants_users(users):
        file.wrong(node, wrong)
    return users


def _at(node: Node, key: str) -> Node:
    assert isinstance(node, MappingNode)
    return next((value for name, value in node.value if name.value == key), node)
