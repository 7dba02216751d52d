# SPDX-License-Identifier: Apache-2.0
"""Readers of bytes and texts that others write, each with what it promises and with seeds. Any other exception than
the ones a reader names is a broken promise, and so is an AssertionError.

Called by `python -m tests.fuzz` (atheris) and by tests/unit/test_fuzz_parsers.py.
"""

import functools
import sqlite3
import struct
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
import yaml

from leitstand.access import oidc_settings
from leitstand.access.policy import Authorizer, PoliciesWrong
from leitstand.access.signin import network
from leitstand.api import amounts
from leitstand.api.identity.sessions import local_path
from leitstand.app import forwarded
from leitstand.cli import amounts as told
from leitstand.core.facts import NodeAdded, Resources, SubmitJob, TenantAdded
from leitstand.journal import codec, heads
from leitstand.journal.export import export, verify_export
from leitstand.journal.sqlite import SqliteJournal, SqliteReader
from leitstand.journal.verify import verify
from leitstand.runtime import wire
from tests.fuzz import traces

SECRET: Final = "hf_PlantedPlantedPlantedPlantedPlantedPl"
PART: Final = "PlantedPlanted"  # no message tells even so much of it
ACCESS: Final = Path(oidc_settings.__file__).parent
GOLDEN: Final = Path(__file__).resolve().parents[1] / "golden" / "journals"


class Reader(NamedTuple):
    """`check` takes one input; `seeds` gives inputs that are right, or nearly so."""

    check: Callable[[bytes], None]
    seeds: Callable[[], Iterator[bytes]]


# ── the journal and the inbox ─────────────────────────────────────────────────────────────────────────────────────
def check_codec(data: bytes) -> None:
    """A fact that means the same once it is written again, or a refusal."""
    try:
        fact = codec.DEFAULT.decode(data)
    except codec.JournalUnusable as refusal:
        _says(refusal)
        return
    (again,) = codec.DEFAULT.encode([fact])
    assert codec.DEFAULT.decode(again) == fact


def facts() -> Iterator[bytes]:
    """The facts of the golden journals."""
    for path in sorted(GOLDEN.glob("*.jsonl")):
        for line in path.read_bytes().splitlines():
            _, fact = msgspec.json.decode(line)
            yield msgspec.json.encode(fact)
    yield from codec.DEFAULT.encode(
        [TenantAdded("acme", "industry"), NodeAdded("n", "s", 4, 8, 9, "logical")]
    )


def check_wire(data: bytes) -> None:
    """The same messages however the bytes come in; a refusal takes nothing back."""
    buffer, whole = bytearray(data), []
    try:
        whole = wire.unpack(buffer)
    except ValueError:
        return
    assert data.endswith(bytes(buffer))
    halves = bytearray(data[: len(data) // 2])
    parts = wire.unpack(halves)
    halves += data[len(data) // 2 :]
    assert parts + wire.unpack(halves) == whole
    assert wire.unpack(bytearray(b"".join(map(wire.pack, whole)))) == whole


def messages() -> Iterator[bytes]:
    ask = wire.Ask(7, "k1", SubmitJob("acme", "default", Resources(gpus=1), "u1"))
    for message in (ask, wire.Settled(7, 9, "acme-1", "busy", "9", 3), wire.Advanced(9)):
        yield wire.pack(message)
    yield wire.pack(ask) + wire.pack(wire.Advanced(10))
    deep = b"\x91" * 5000
    yield struct.pack(">I", len(deep)) + deep


def check_export(data: bytes) -> None:
    """A report of every file; one that is not whole is not called so."""
    path = _scratch() / "export.jsonl"
    path.write_bytes(data)
    report = verify_export(path)
    assert report.ok == (report.bad is None)
    if report.ok:
        assert data.count(b'"seq"') >= report.seq


def exports() -> Iterator[bytes]:
    path = _scratch() / "export.jsonl"
    with SqliteReader(_journal()) as reader:
        for signed in (True, False):
            with path.open("wb") as file:
                export(reader, file, _scratch() / ("keys" if signed else "none"), _scratch() / "none")
            yield path.read_bytes()


def check_heads(data: bytes) -> None:
    """Signed heads, or the number of the line that is none."""
    path = _scratch() / "heads.jsonl"
    path.write_bytes(data)
    for reading in (heads.load_heads, heads.last_recorded):
        try:
            reading(path)
        except ValueError as refusal:
            _says(refusal, "line")


def signed_heads() -> Iterator[bytes]:
    line = msgspec.json.encode(heads.SignedHead("j" * 32, 1, 2, "00" * 32, "ab" * 8, "cd" * 64))
    yield line + b"\n"
    yield line + b"\n" + line


def check_journal(data: bytes) -> None:
    """A report of whatever stands where a journal should be, or that it cannot be read."""
    path = _scratch() / "journal.db"
    for other in _scratch().glob("journal.db-*"):
        other.unlink()
    path.write_bytes(data)
    try:
        report = verify(path)
    except (codec.JournalUnusable, sqlite3.Error) as refusal:
        _says(refusal)
        return
    assert report.ok == (report.bad is None)


def journals() -> Iterator[bytes]:
    yield _journal().read_bytes()


# ── settings and policies ─────────────────────────────────────────────────────────────────────────────────────────
def check_policies(data: bytes) -> None:
    """Policies that can be asked, or PoliciesWrong that says why."""
    try:
        found = Authorizer(data.decode(errors="replace"))
    except PoliciesWrong as refusal:
        _says(refusal)
        return
    assert all(policy.id and policy.serves for policy in found.policies())


def policies() -> Iterator[bytes]:
    text = (ACCESS / "policies.cedar").read_text()
    yield text.encode()
    head = '@id("one")\n@serves("all")\n'
    yield f"{head}permit(principal, action, resource);".encode()
    yield rb'@id("o\'ne")@serves("\u{41}\0 \x41")permit(principal,action,resource);'
    yield f'{head}forbid(principal, action, resource) when {{ context.tenant == "a;//b" }};'.encode()


def check_provider(data: bytes) -> None:
    """Settings, or faults that do not tell the client's secret."""
    path = _scratch() / "provider.yaml"
    path.write_bytes(data)
    (_scratch() / "client.secret").write_text(SECRET)
    try:
        oidc_settings.read(path)
    except oidc_settings.SettingsWrong as refusal:
        _says(refusal)
        _does_not_tell(refusal, data)


def _does_not_tell(refusal: Exception, data: bytes) -> None:
    assert PART not in str(refusal) or _elsewhere(data), f"the client's secret is told: {refusal}"


def _elsewhere(data: bytes) -> bool:
    """Whether the secret stands where no secret belongs."""
    try:
        given = yaml.safe_load(data.decode())
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError):
        return False
    if not isinstance(given, dict):
        return False
    return PART in repr([(key, value) for key, value in given.items() if key != "client_secret"])


def providers() -> Iterator[bytes]:
    whole = {
        "issuer": "https://id.example.org/realm",
        "client_id": "leitstand",
        "client_secret": SECRET,
        "group_claim": "realm.groups",
        "mapping": [
            {"group": "g", "role": "tenant_admin", "tenant": "acme"},
            {"group": "o", "role": "operator"},
        ],
        "scopes": ["openid"],
        "skew_s": 5,
        "title": "Work",
    }
    yield yaml.safe_dump(whole).encode()
    yield msgspec.json.encode(whole)
    yield yaml.safe_dump({**whole, "client_secret": None, "client_secret_file": "client.secret"}).encode()
    yield f'issuer: https://id.example.org\nclient_id: x\nclient_secret: "{SECRET}\n'.encode()
    yield f"client_secret: {SECRET}: [\n".encode()
    yield f"issuer: https://user:{SECRET}@id.example.org\nclient_id: x\n".encode()
    yield f"client_secret: {{{SECRET}: 2026-13-99}}\n".encode()
    yield b"skew_s: 2026-99-99\nissuer: 2026-02-30\nclient_id: !!int x\n"
    yield b"issuer: https://[::1\nclient_id: 0x\nscopes: openid\nmapping: {}\n"


# ── amounts and other words ───────────────────────────────────────────────────────────────────────────────────────
def check_words(data: bytes) -> None:
    """Amounts are numbers or ValueError; both sides read a duration alike, and write it so that it is read again."""
    text = data.decode("utf-8", "surrogateescape")
    here = _number(amounts.duration_us, text)
    if here is not None:
        assert 0 < here <= amounts.DURATION_US_MAX
        assert amounts.duration_us(amounts.span(here)) == here
        assert abs(amounts.duration_us(told.show_duration(here / 1e6)) - here) <= 1
    there = _number(told.parse_duration, text)
    if here is not None and there is not None:
        assert abs(there * 1e6 - here) <= 1
    amount = _number(told.parse_amount, text)
    assert amount is None or 0 <= amount < float("inf")
    size = _number(told.parse_bytes, text)
    assert size is None or size >= 0
    if len(data) >= 8:
        (value,) = struct.unpack(">d", data[:8])
        assert _number(amounts.duration_us, value) is None or value > 0
        assert isinstance(amounts.duration_fault(value), str)
    network(text)
    forwarded._address(data)
    if not local_path(text):
        assert text[:1] == "/"
        assert text[1:2] not in ("/", "\\")
        assert text.isascii()
        assert text.isprintable()
    if not oidc_settings.url_fault(text):
        assert text.lower().startswith(("https://", "http://"))
        assert text.isprintable()


def _number(read: Callable[[Any], Any], given: Any) -> Any:
    try:
        return read(given)
    except ValueError as refusal:
        _says(refusal)
        return None


def words() -> Iterator[bytes]:
    texts = (
        "90s",
        "1h30m",
        "2d",
        "0.000001s",
        "999999d",
        "1e9",
        "٣s",
        " 5 ",
        "64G",
        "1 KiB",
        "nan",
        "-1",
        "1_0",
    )
    places = (
        "/jobs?x=1",
        "//else",
        "/\\else",
        "[::1]:80",
        "fe80::1%eth0",
        "https://id.example.org",
        "http://[::1]/",
    )
    for text in texts + places:
        yield text.encode()
    for value in (float("nan"), float("inf"), 1e-9, 3.15e8, -0.0, 1e308):
        yield struct.pack(">d", value)


def _says(refusal: Exception, what: str = "") -> None:
    """A refusal has words."""
    assert str(refusal).strip()
    assert what in str(refusal)


READERS: Final = {
    "codec": Reader(check_codec, facts),
    "wire": Reader(check_wire, messages),
    "export": Reader(check_export, exports),
    "heads": Reader(check_heads, signed_heads),
    "journal": Reader(check_journal, journals),
    "policies": Reader(check_policies, policies),
    "provider": Reader(check_provider, providers),
    "words": Reader(check_words, words),
    "cluster": Reader(lambda data: traces.check_cluster(_scratch(), data), traces.clusters),
    **{
        f"trace-{name}": Reader(
            lambda data, name=name: traces.check(name, _scratch(), data),  # type: ignore[misc]
            functools.partial(traces.seeds, name),
        )
        for name in traces.SUFFIX
    },
}


@functools.cache
def _scratch() -> Path:
    """A folder of this process, gone when it ends."""
    folder = tempfile.TemporaryDirectory(prefix="leitstand-fuzz-")
    _KEPT.append(folder)
    return Path(folder.name)


_KEPT: list[tempfile.TemporaryDirectory[str]] = []


@functools.cache
def _journal() -> Path:
    """A journal of some facts, in one file, and the key of its heads."""
    path, single = _scratch() / "made.db", _scratch() / "single.db"
    journal = SqliteJournal(path)
    journal.append(
        journal.head, 1, [TenantAdded("acme", "industry"), NodeAdded("n", "s", 4, 8000, 9, "logical")]
    )
    journal.close()
    with SqliteReader(path) as reader:
        single.touch()
        reader.copy_to(single)
    heads.Signer(_scratch() / "keys")
    return single
