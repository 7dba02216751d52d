# SPDX-License-Identifier: Apache-2.0
"""The HTTP client of the command line: one control plane, one token, clear errors. Called by every client command.

A request whose answer is lost is sent again, within `RETRY_BUDGET_S`, where that is harmless: readings, cancelling,
and submissions, which carry an Idempotency-Key so that the second one gives the job of the first.
"""

import contextlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import click
import httpx2

from leitstand import __version__
from leitstand.cli import exits
from leitstand.cli.refusals import Answer, CommandFailed, NotLeitstand, Unreachable, refused, token_example
from leitstand.cli.text import t

URL_DEFAULT: Final = "http://127.0.0.1:8640"
TOKEN_LENGTH_MAX: Final = 4096
RETRY_BUDGET_S: Final = 30.0
BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # the last one repeats
PAGE: Final = 1000
KEY_LENGTH_MAX: Final = 255
_JOB_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,127}", re.ASCII)
_RETRY_STATUS: Final = frozenset({429, 503})
_TIMEOUT: Final = httpx2.Timeout(60.0, connect=5.0)


class Client:
    """Speaks to one control plane. `transport` and `sleep` are for tests."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.sleep = sleep
        # Without TLS there is nothing to verify, and loading the trust store costs more than the request.
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {token}", "User-Agent": f"leitstand/{__version__}"},
            timeout=_TIMEOUT,
            transport=transport,
            verify=_trust() if self.url.startswith("https:") else False,
            trust_env=not _is_loopback(self.url),
        )

    def get(self, path: str, **params: Any) -> Answer:
        """The JSON of a reading; parameters that are None are left out."""
        given = {k: v for k, v in params.items() if v is not None}
        return self.decode(self._call("GET", path, params=given).content)

    def text(self, path: str, **params: Any) -> bytes:
        """The bytes of a plain-text reading."""
        return self._call("GET", path, params=params).content

    def pages(self, path: str, limit: int, **params: Any) -> Iterator[dict[str, Any]]:
        """Up to `limit` items of a list, over as many pages as it takes."""
        cursor = None
        while limit > 0:
            page = self.get(path, limit=min(limit, PAGE), cursor=cursor, **params)
            items = page["items"]
            if not isinstance(items, list) or not all(isinstance(item, Answer) for item in items):
                raise NotLeitstand(self.url)
            yield from items
            limit -= len(items)
            cursor = page.get("next_cursor")
            if cursor is None or not items:
                return

    def submit(self, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """The job made of this request, once, however often the request has to be sent."""
        headers = {"Idempotency-Key": key or new_key()}
        return self.decode(self._call("POST", "/v1/jobs", json=body, headers=headers).content)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """The JSON answer to a POST that may be sent twice without harm."""
        return self.decode(self._call("POST", path, json=body).content)

    def put(self, path: str, content: Callable[[], Iterator[bytes]]) -> None:
        """Send bytes; `content` is called again for every try."""
        self._call("PUT", path, stream=content, headers={"Content-Type": "application/x-tar"})

    @contextlib.contextmanager
    def events(self, path: str, **params: Any) -> Iterator[Iterator[httpx2.ServerSentEvent]]:
        """Server-sent events, one connection, no retry; raises Unreachable or Refused."""
        try:
            with self._http.stream(
                "GET", path, params=params, headers={"Accept": "text/event-stream"}
            ) as response:
                if response.status_code != 200:
                    response.read()
                    raise refused(response)
                if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                    raise NotLeitstand(self.url)
                yield iter(httpx2.EventSource(response))
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    def decode(self, content: bytes | str) -> Answer:
        """The JSON object in an answer; NotLeitstand if it is none."""
        try:
            value = json.loads(content, object_hook=lambda found: Answer(self.url, found))
        except (ValueError, RecursionError) as error:
            raise NotLeitstand(self.url) from error
        if not isinstance(value, Answer):
            raise NotLeitstand(self.url)
        return value

    def _call(
        self, method: str, path: str, *, stream: Callable[[], Iterator[bytes]] | None = None, **kwargs: Any
    ) -> httpx2.Response:
        waited, tries, began = 0.0, 0, time.monotonic()
        while True:
            failure: CommandFailed
            try:
                if stream is not None:
                    kwargs["content"] = stream()
                response = self._http.request(method, path, **kwargs)
                if response.status_code < 400:
                    return response
                failure = refused(response)
                if response.status_code not in _RETRY_STATUS:
                    raise failure
                pause = max(_retry_after(response), _backoff(tries))
            except httpx2.HTTPError as error:
                failure = self._unreachable(error)
                hopeless = isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError)
                if hopeless or (tries == 0 and isinstance(error, httpx2.ConnectError)):
                    raise failure from error
                pause = _backoff(tries)
            if max(waited, time.monotonic() - began) + pause > RETRY_BUDGET_S:
                raise failure
            if pause >= 1:
                reason = failure.message.rstrip(".")
                click.echo(
                    t("{reason}. Trying again in {seconds:g} s.", reason=reason, seconds=pause), err=True
                )
            self.sleep(pause)
            waited, tries = waited + pause, tries + 1

    def _unreachable(self, error: httpx2.HTTPError) -> Unreachable:
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


def connect() -> Client:
    """The client for LEITSTAND_URL and LEITSTAND_TOKEN; inside a test the one in the click context."""
    ctx = click.get_current_context(silent=True)
    given = ctx.find_object(Client) if ctx else None
    return given or Client(_url(), _token())


def new_key() -> str:
    """A fresh Idempotency-Key."""
    return os.urandom(16).hex()


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


def _url() -> str:
    url = os.environ.get("LEITSTAND_URL", "").strip() or URL_DEFAULT
    try:
        parsed = httpx2.URL(url)
    except httpx2.InvalidURL as error:
        raise CommandFailed(t('LEITSTAND_URL is "{url}": {error}', url=url, error=error)) from error
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise CommandFailed(
            t('LEITSTAND_URL is "{url}", which is not an http or https address.', url=url),
            hint=t("Set it like {example}.", example=URL_DEFAULT),
        )
    return url


def _token() -> str:
    token = os.environ.get("LEITSTAND_TOKEN", "").strip()
    hint = t("Set it to the content of admin.token in the data folder: {example}", example=token_example())
    if not token:
        raise CommandFailed(t("LEITSTAND_TOKEN is not set."), hint=hint)
    if len(token) > TOKEN_LENGTH_MAX or not token.isascii() or not token.isprintable() or " " in token:
        raise CommandFailed(t("LEITSTAND_TOKEN is not a token."), hint=hint)
    return token


def _retry_after(response: httpx2.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0.0


def _backoff(tries: int) -> float:
    return BACKOFF_S[min(tries, len(BACKOFF_S) - 1)]


def _is_loopback(url: str) -> bool:
    host = httpx2.URL(url).host
    return host in ("localhost", "::1") or host.startswith("127.")


def _trust() -> Any:
    import ssl

    return ssl.create_default_context()
