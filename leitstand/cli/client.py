# SPDX-License-Identifier: Apache-2.0
"""The HTTP client of the command line: `leitstand.client` with the errors, hints and language of the command line.
Called by every client command.
"""

import json
import re
import time
from collections.abc import Callable
from typing import Any, Final

import click
import httpx2

from leitstand import __version__, client
from leitstand.cli import exits, moments
from leitstand.cli.refusals import (
    Answer,
    CommandFailed,
    NotLeitstand,
    Refused,
    Unreachable,
    refused,
    sign_in_hint,
)
from leitstand.cli.text import t

TOKEN_LENGTH_MAX: Final = 4096
KEY_LENGTH_MAX: Final = 255
_JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", re.ASCII)


class Client(client.Client):
    """Speaks to one control plane, and of what goes wrong in the words of the command line."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(url, token, agent=f"leitstand/{__version__}", transport=transport, sleep=sleep)
        self._given = transport
        self._http.event_hooks = {"response": [moments.hear]}

    def bearing(self, token: str) -> "Client":
        """The same control plane, asked with another token; "" as a stranger."""
        return Client(self.url, token, transport=self._given, sleep=self.sleep)

    def seen(self, path: str) -> tuple[Answer, str]:
        """A reading and its ETag, for a change that expects it."""
        response = self.request("GET", path)
        return self.decode(response.content), response.headers.get("ETag", "")

    def text(self, path: str, **params: Any) -> bytes:
        """The bytes of a plain-text reading."""
        return self.request("GET", path, params=params).content

    def health(self) -> Answer:
        """What `/healthz` says, also where it is not well; asked once."""
        try:
            return self.decode(self._http.get("/healthz").content)
        except httpx2.HTTPError as error:
            raise self.unreachable(error) from error

    def decode(self, content: bytes | str) -> Answer:
        try:
            value = json.loads(content, object_hook=lambda found: Answer(self.url, found))
        except (ValueError, RecursionError) as error:
            raise NotLeitstand(self.url) from error
        if not isinstance(value, Answer):
            raise NotLeitstand(self.url)
        return value

    def refused(self, response: httpx2.Response) -> Refused:
        return refused(response)

    def not_leitstand(self) -> NotLeitstand:
        return NotLeitstand(self.url)

    def waiting(self, failure: Exception, pause_s: float) -> None:
        if pause_s >= 1:
            reason = failure.message.rstrip(".") if isinstance(failure, CommandFailed) else failure
            click.echo(
                t("{reason}. Trying again in {seconds:g} s.", reason=reason, seconds=pause_s), err=True
            )

    def unreachable(self, error: httpx2.HTTPError) -> Unreachable:
        if isinstance(error, httpx2.ConnectError) and "CERTIFICATE" in str(error).upper():
            return Unreachable(
                t("The certificate of {url} is not trusted: {error}", url=self.url, error=error),
                hint=t("Set SSL_CERT_FILE to the certificate of its authority."),
            )
        if isinstance(error, httpx2.LocalProtocolError):
            return Unreachable(t("The request cannot be sent: {error}", error=error))
        if isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout):
            return Unreachable(
                t("There is no control plane at {url}.", url=self.url),
                hint=t("Start it with `leitstand up`, or set LEITSTAND_URL."),
            )
        return Unreachable(
            t(
                "The answer of {url} was lost ({error}).",
                url=self.url,
                error=str(error) or type(error).__name__,
            )
        )


def connect(url: str | None = None, token: str | None = None) -> Client:
    """The client for LEITSTAND_URL and LEITSTAND_TOKEN, else for what `login` saved; inside a test the one in the click
    context. `token` "": a stranger. CommandFailed if there is no token, or what is there can be none."""
    ctx = click.get_current_context(silent=True)
    given = ctx.find_object(Client) if ctx else None
    if given:
        return given if token is None else given.bearing(token)
    url, found = client.place(url, token)
    _check_url(url)
    if token is None and not found:
        raise CommandFailed(
            t("You are not signed in at {url}.", url=url),
            hint=sign_in_hint(url),
        )
    return Client(url, check_token(found) if found else "")


def check_token(token: str) -> str:
    """`token` if a header can carry it; CommandFailed."""
    if (
        not 0 < len(token) <= TOKEN_LENGTH_MAX
        or not token.isascii()
        or not token.isprintable()
        or " " in token
    ):
        raise CommandFailed(
            t("What was given as a token is none."),
            hint=t("Sign in with `leitstand login`, or set LEITSTAND_TOKEN."),
        )
    return token


def parse_key(text: str) -> str:
    """An Idempotency-Key that a header can carry; ValueError says what is wrong."""
    if (
        not 0 < len(text) <= KEY_LENGTH_MAX
        or not text.isascii()
        or not text.isprintable()
        or text != text.strip()
    ):
        raise ValueError(
            t(
                "a key is 1 to {limit} printable ASCII characters, without blanks at its ends",
                limit=KEY_LENGTH_MAX,
            )
        )
    return text


def job_path(job: str, rest: str = "") -> str:
    """The path of a job; CommandFailed for a word that can be no id, which might name another path."""
    if not _JOB_ID.fullmatch(job):
        raise CommandFailed(
            t('"{word}" is not the id of a job; ids are like operator-1.', word=ascii(job[:80])[1:-1]),
            hint=t("`leitstand jobs` lists the jobs."),
            exit_code=exits.USAGE,
        )
    return f"/v1/jobs/{job}{rest}"


def _check_url(url: str) -> None:
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise CommandFailed(t('LEITSTAND_URL is "{url}": {error}', url=url, error=error)) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise CommandFailed(
            t('LEITSTAND_URL is "{url}", which is not an http or https address.', url=url),
            hint=t("Set it like {example}.", example=client.URL_DEFAULT),
        )
