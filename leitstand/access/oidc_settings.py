# SPDX-License-Identifier: Apache-2.0
"""The settings file of an identity provider (YAML or JSON): who it is, and which of its groups have which role here.

Called at start-up by the faces. Every fault of the file is named, all at once.
"""

import difflib
import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import SplitResult, urlsplit

import msgspec
import yaml

from leitstand.access.roles import Grant, fault

MAPPING_MAX: Final = 10_000
FILE_BYTES_MAX: Final = 4 * 1024 * 1024
SKEW_S_MAX: Final = 300
SCOPES_DEFAULT: Final = ("openid", "profile", "email")
# What PyYAML raises beside its own errors: for dates that are none, numbers without digits, keys that are lists.
_UNREADABLE: Final = (yaml.YAMLError, ValueError, LookupError, TypeError, ArithmeticError, RecursionError)
_TEXTS: Final = ("issuer", "client_id", "client_secret", "client_secret_file", "group_claim", "title")


class GroupRole(msgspec.Struct, frozen=True):
    """Whoever is in `group` of the provider has `grant` here."""

    group: str
    grant: Grant


class ProviderSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`client_secret`: '' for a client without one (PKCE alone); `group_claim`: name of the claim with the groups, or a
    path with dots into nested ones; `scopes`: what is asked for; `skew_s`: how far its clock may be off; `title`: what
    the sign-in button says."""

    issuer: str
    client_id: str
    client_secret: str = ""
    group_claim: str = "groups"
    mapping: tuple[GroupRole, ...] = ()
    scopes: tuple[str, ...] = SCOPES_DEFAULT
    skew_s: int = 60
    title: str = ""


class SettingsWrong(ValueError):
    """The file cannot be used. `faults`: each as `key: what is wrong`."""

    def __init__(self, path: Path, faults: list[str]) -> None:
        super().__init__(f"{path} is not a valid provider file:\n" + "\n".join(f"  {one}" for one in faults))
        self.faults = tuple(faults)


def read(path: Path) -> ProviderSettings:
    """The provider in a file; SettingsWrong with every fault."""
    try:
        with path.open("rb") as file:
            raw = file.read(FILE_BYTES_MAX + 1)
    except OSError as error:
        raise SettingsWrong(path, [f"cannot be read: {error.strerror}"]) from None
    if len(raw) > FILE_BYTES_MAX:
        raise SettingsWrong(path, [f"the file is larger than {FILE_BYTES_MAX} bytes"])
    try:
        given = yaml.safe_load(raw.decode())
    except _UNREADABLE as error:
        # What YAML says of it quotes the file, and a secret may be there.
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        where = f": look at line {mark.line + 1}" if mark else ""
        raise SettingsWrong(path, [f"is neither YAML nor JSON{where}"]) from None
    if not isinstance(given, dict):
        raise SettingsWrong(path, ["holds no keys; issuer and client_id are needed"])
    return _settings(path, given)


def url_fault(url: str) -> str:
    """Why no secret may be sent to that address, '' if it may: it has to be HTTPS, or HTTP on this very machine."""
    shown = "it" if "@" in url else repr(url)  # a password may stand before an @
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018  # raises if it is none
    except ValueError:
        return f"{shown} is not an address"
    if not url.isprintable() or " " in url:  # passed over by urlsplit
        return f"{shown} has characters that are none of an address"
    if not parts.hostname or parts.scheme not in ("http", "https"):
        return f"{shown} is not an https:// address"
    if "@" in parts.netloc or parts.fragment:
        return f"{shown} must have neither user name nor fragment"
    if parts.scheme == "http" and not _loopback(parts):
        return f"{shown} is not encrypted; use https:// (http:// is for this machine alone)"
    return ""


def _settings(path: Path, given: Mapping[Any, Any]) -> ProviderSettings:
    """The checked settings; SettingsWrong."""
    known = msgspec.structs.fields(ProviderSettings)
    names = [*(field.name for field in known), "client_secret_file"]
    faults = [_unknown(str(key), names) for key in given if key not in names]
    texts = {name: _text(given, name, faults) for name in _TEXTS}
    for name in ("issuer", "client_id"):
        if not texts[name] and (given.get(name) is None or given[name] == ""):
            faults.append(f"{name}: is missing")
    if texts["issuer"] and (wrong := url_fault(texts["issuer"])):
        faults.append(f"issuer: {wrong}")
    elif "?" in texts["issuer"]:
        faults.append("issuer: must have no query")
    scopes = given.get("scopes", list(SCOPES_DEFAULT))
    if not _is_texts(scopes) or "openid" not in scopes:
        faults.append("scopes: must be a list of words, one of them openid")
    skew_s = given.get("skew_s", 60)
    if type(skew_s) is not int or not 0 <= skew_s <= SKEW_S_MAX:
        faults.append(f"skew_s: is {skew_s!r}; 0 to {SKEW_S_MAX} seconds")
    secret = _secret(path, texts, faults)
    mapping = _mapping(given.get("mapping", []), faults)
    if faults:
        raise SettingsWrong(path, faults)
    return ProviderSettings(
        issuer=texts["issuer"],
        client_id=texts["client_id"],
        client_secret=secret,
        group_claim=texts["group_claim"] or "groups",
        mapping=mapping,
        scopes=tuple(scopes),
        skew_s=skew_s,
        title=texts["title"],
    )


def _secret(path: Path, texts: Mapping[str, str], faults: list[str]) -> str:
    """The client's secret, from the file named beside the settings or from the settings themselves."""
    named = texts["client_secret_file"]
    if not named:
        return texts["client_secret"]
    if texts["client_secret"]:
        faults.append("client_secret_file: is given beside client_secret; one of them is enough")
    try:
        secret = (path.parent / named).read_text().strip()
    except (OSError, ValueError) as error:  # ValueError: not text, or no name of a file
        faults.append(
            f"client_secret_file: {named!r} cannot be read: {getattr(error, 'strerror', 'not text')}"
        )
        return ""
    if not secret:
        faults.append(f"client_secret_file: {named!r} is empty")
    return secret


def _mapping(given: Any, faults: list[str]) -> tuple[GroupRole, ...]:
    """Groups and roles, in the order of the file."""
    if not isinstance(given, list) or len(given) > MAPPING_MAX:
        faults.append(f"mapping: must be a list of at most {MAPPING_MAX} entries")
        return ()
    found = []
    for at, entry in enumerate(given):
        where = f"mapping[{at}]"
        if not isinstance(entry, dict):
            faults.append(f"{where}: must have group, role, and where the role has them tenant and project")
            continue
        keys = ("group", "role", "tenant", "project")
        faults += [f"{where}.{_unknown(str(key), keys)}" for key in entry if key not in keys]
        before = len(faults)
        group, role, tenant, project = (_text(entry, key, faults, f"{where}.") for key in keys)
        if len(faults) > before:
            continue
        grant = Grant(role, tenant, project)
        if not group or not role:
            faults.append(f"{where}: {'group' if not group else 'role'} is missing")
        elif wrong := fault(grant):
            faults.append(f"{where}: {wrong}")
        found.append(GroupRole(group, grant))
    return tuple(found)


def _text(given: Mapping[Any, Any], key: str, faults: list[str], where: str = "") -> str:
    value = given.get(key)
    if value is None:
        return ""
    if isinstance(value, str):
        return value
    # The value itself stays out of the message: it may be a secret.
    faults.append(f"{where}{key}: must be text; put it in quotes")
    return ""


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(one, str) and one and " " not in one for one in value)


def _unknown(key: str, known: Any) -> str:
    near = difflib.get_close_matches(key, known, 1)
    return f"{key}: is unknown; " + (f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}")


def _loopback(parts: SplitResult) -> bool:
    host = parts.hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
