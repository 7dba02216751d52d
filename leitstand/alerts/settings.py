# SPDX-License-Identifier: Apache-2.0
"""The file that says who is alerted: `leitstand up --alerts FILE`. Secrets are never in it, only the paths of theirs.

language: de
webhooks:
  - {name: on-call, url: https://example.org/hooks/7, secret_file: /etc/leitstand/on-call.key}
mail:
  - name: operators
    host: mail.example.org
    tls: starttls
    user: leitstand
    password_file: /etc/leitstand/mail.password
    from: leitstand@example.org
    to: [operators@example.org]
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import msgspec
from yaml import Node

from leitstand.runtime.yamlfile import File

SINKS_MAX: Final = 32
TO_MAX: Final = 100
LANGUAGES: Final = ("en", "de")
SEVERITIES: Final = ("warning", "critical")  # in this order
TLS: Final = {"starttls": 587, "tls": 465, "none": 25}  # → the port, if none is named
LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?", re.ASCII)
_ADDRESS: Final = re.compile(r"[^@\s<>,;:\"]{1,64}@[A-Za-z0-9.-]{1,255}", re.ASCII)


class Webhook(msgspec.Struct, frozen=True):
    """Alerts are posted to `url` as JSON, signed with what is in `secret_file`; `least`: of SEVERITIES."""

    name: str
    url: str
    secret_file: Path
    least: str = "warning"


class Mail(msgspec.Struct, frozen=True):
    """Alerts are mailed to `to` through the server at `host`. `password_file` None: nobody signs in."""

    name: str
    host: str
    sender: str
    to: tuple[str, ...]
    port: int
    tls: str = "starttls"
    user: str = ""
    password_file: Path | None = None
    least: str = "warning"


Sink = Webhook | Mail


class AlertSettings(msgspec.Struct, frozen=True):
    """Nobody is told if there are no `sinks`. `language`: of mails; webhooks carry both."""

    sinks: tuple[Sink, ...] = ()
    language: str = "en"


def read(path: Path) -> AlertSettings:
    """The settings of a file. YamlWrong: file, line, what, remedy."""
    file = File(path, "file of alerts")
    root = file.root("it begins with keys like `webhooks:` and `mail:`")
    found = file.fields(
        root,
        {
            "language": file.word(LANGUAGES),
            "webhooks": lambda node: file.items(node, lambda one: _webhook(file, one), SINKS_MAX),
            "mail": lambda node: file.items(node, lambda one: _mail(file, one), SINKS_MAX),
        },
    )
    sinks = (*found.get("webhooks", ()), *found.get("mail", ()))
    names = [sink.name for sink in sinks]
    double = next((name for name in names if names.count(name) > 1), None)
    if double is not None:
        file.wrong(root, f"two are called {double!r}; give each its own name")
    return AlertSettings(sinks, found.get("language", "en"))


def _webhook(file: File, node: Node) -> Webhook:
    known = {
        "name": file.parsed(_name),
        "url": file.parsed(_url),
        "secret_file": file.parsed(_path),
        "least": file.word(SEVERITIES),
    }
    return Webhook(**file.fields(node, known, ("name", "url", "secret_file")))


def _mail(file: File, node: Node) -> Mail:
    known: dict[str, Callable[[Node], object]] = {
        "name": file.parsed(_name),
        "host": file.parsed(_host),
        "port": file.whole(1, 65_535),
        "tls": file.word(tuple(TLS)),
        "user": file.text,
        "password_file": file.parsed(_path),
        "from": file.parsed(_address),
        "to": lambda many: file.items(many, file.parsed(_address), TO_MAX),
        "least": file.word(SEVERITIES),
    }
    found = file.fields(node, known, ("name", "host", "from", "to"))
    found["sender"] = found.pop("from")
    found.setdefault("port", TLS[found.get("tls", "starttls")])
    if bool(found.get("user")) != ("password_file" in found):
        file.wrong(node, "'user' and 'password_file' belong together: give both, or neither")
    if found.get("user") and found.get("tls") == "none" and found["host"] not in LOOPBACK:
        file.wrong(node, "a password is sent over TLS alone; take `tls: starttls` or `tls: tls`")
    if not found["to"]:
        file.wrong(node, "'to' names nobody")
    return Mail(**found)


def _name(text: str) -> str:
    if _NAME.fullmatch(text):
        return text
    raise ValueError(f"is {text[:70]!r}; a name is 1 to 63 of a-z, 0-9 and -, without - at its ends")


def _url(text: str) -> str:
    parts = urlsplit(text)
    plain = parts.scheme == "http" and parts.hostname in LOOPBACK
    whole = (
        text.isprintable()
        and " " not in text
        and parts.hostname
        and not parts.username
        and not parts.fragment
    )
    if whole and (parts.scheme == "https" or plain):
        return text
    raise ValueError(
        f"is {text[:70]!r}; give it like https://example.org/hook (http:// is for this machine alone)"
    )


def _host(text: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9.:-]{1,255}", text):
        return text
    raise ValueError(f"is {text[:70]!r}; give the name or address of a mail server")


def _address(text: str) -> str:
    if _ADDRESS.fullmatch(text):
        return text
    raise ValueError(f"is {text[:70]!r}; give an address like operators@example.org")


def _path(text: str) -> Path:
    if text.startswith("/") and text.isprintable():
        return Path(text)
    raise ValueError(f"is {text[:70]!r}; give the whole path of the file, from / on")
