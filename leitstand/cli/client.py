# SPDX-License-Identifier: Apache-2.0
"""The HTTP client of the command line: one control plane, one token, clear errors. Called by every client command.

A request whose answer is lost is sent again, within `RETRY_BUDGET_S`, where that is harmless: readings, cancelling,
and submissions, which carry an Idempotency-Key so that the second one gives the job of the first.
"""

import contextlib
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any, Final
from urllib.parse import quote

import click
import httpx2

from leitstand import __version__
from leitstand.cli import exits
from leitstand.cli.text import t

URL_DEFAULT: Final = "http://127.0.0.1:8640"
TOKEN_LENGTH_MAX: Final = 4096
RETRY_BUDGET_S: Final = 30.0
BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # the last one repeats
PAGE: Final = 1000
_RETRY_STATUS: Final = frozenset({429, 503})
_TIMEOUT: Final = httpx2.Timeout(60.0, connect=5.0)


class CommandFailed(click.ClickException):
    """What went wrong, for people, on stderr: the sentence, its details and the remedy."""

    exit_code: int  # type: ignore[misc]  # click declares it per class

    def __init__(self, message: str, *, hint: str = "", exit_code: int = exits.ERROR) -> None:
        super().__init__(message)
        self.hint = hint
        self.exit_code = exit_code

    def show(self, file: IO[Any] | None = None) -> None:
        click.echo(t("Error: {message}", message=self.message), err=True, file=file)
        if self.hint:
            click.echo("  " + self.hint, err=True, file=file)


class Unreachable(CommandFailed):
    """No answer from the control plane."""


class Refused(CommandFailed):
    """The control plane answered with a problem (RFC 9457). `code` is stable; `job` names a job refused at
    admission."""

    def __init__(self, message: str, *, status: int, code: str = "", job: str = "", hint: str = "") -> None:
        super().__init__(message, hint=hint, exit_code=_exit_code(status, job))
        self.status = status
        self.code = code
        self.job = job


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

    def get(self, path: str, **params: Any) -> Any:
        """The JSON of a reading; parameters that are None are left out."""
        return self._call("GET", path, params={k: v for k, v in params.items() if v is not None}).json()

    def text(self, path: str, **params: Any) -> bytes:
        """The bytes of a plain-text reading."""
        return self._call("GET", path, params=params).content

    def pages(self, path: str, limit: int, **params: Any) -> Iterator[dict[str, Any]]:
        """Up to `limit` items of a list, over as many pages as it takes."""
        cursor = None
        while limit > 0:
            page = self.get(path, limit=min(limit, PAGE), cursor=cursor, **params)
            yield from page["items"]
            limit -= len(page["items"])
            cursor = page.get("next_cursor")
            if cursor is None:
                return

    def submit(self, body: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """The job made of this request, once, however often the request has to be sent."""
        headers = {"Idempotency-Key": key or new_key()}
        job: dict[str, Any] = self._call("POST", "/v1/jobs", json=body, headers=headers).json()
        return job

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The JSON answer to a POST that may be sent twice without harm."""
        return self._call("POST", path, json=body).json()

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
                    raise _refused(response)
                yield iter(httpx2.EventSource(response))
        except httpx2.HTTPError as error:
            raise self._unreachable(error) from error

    def _call(
        self, method: str, path: str, *, stream: Callable[[], Iterator[bytes]] | None = None, **kwargs: Any
    ) -> httpx2.Response:
        waited, tries = 0.0, 0
        while True:
            failure: CommandFailed
            try:
                if stream is not None:
                    kwargs["content"] = stream()
                response = self._http.request(method, path, **kwargs)
                if response.status_code < 400:
                    return response
                failure = _refused(response)
                if response.status_code not in _RETRY_STATUS:
                    raise failure
                pause = max(_retry_after(response), _backoff(tries))
            except httpx2.HTTPError as error:
                failure = self._unreachable(error)
                if tries == 0 and isinstance(error, httpx2.ConnectError | httpx2.UnsupportedProtocol):
                    raise failure from error
                pause = _backoff(tries)
            if waited + pause > RETRY_BUDGET_S:
                raise failure
            if pause >= 1:
                click.echo(
                    t("{reason} Trying again in {seconds:g} s.", reason=failure.message, seconds=pause),
                    err=True,
                )
            self.sleep(pause)
            waited, tries = waited + pause, tries + 1

    def _unreachable(self, error: httpx2.HTTPError) -> Unreachable:
        if isinstance(error, httpx2.ConnectError) and "CERTIFICATE" in str(error).upper():
            return Unreachable(
                t("The certificate of {url} is not trusted: {error}", url=self.url, error=error),
                hint=t("Set SSL_CERT_FILE to the certificate of its authority."),
            )
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


def job_path(job: str, rest: str = "") -> str:
    """The path of a job, whatever characters were typed as its id."""
    return f"/v1/jobs/{quote(job, safe='')}{rest}"


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
    hint = t("Set it to the content of admin.token in the data folder: {example}", example=_token_example())
    if not token:
        raise CommandFailed(t("LEITSTAND_TOKEN is not set."), hint=hint)
    if len(token) > TOKEN_LENGTH_MAX or not token.isascii() or not token.isprintable() or " " in token:
        raise CommandFailed(t("LEITSTAND_TOKEN is not a token."), hint=hint)
    return token


def _token_example() -> str:
    folder = os.environ.get("LEITSTAND_DATA") or "~/.local/share/leitstand"
    return f"export LEITSTAND_TOKEN=$(cat {folder}/admin.token)"


def _refused(response: httpx2.Response) -> Refused:
    """The problem in an answer, whatever form it has."""
    status = response.status_code
    try:
        problem = response.json()
    except ValueError:
        problem = None
    if not isinstance(problem, dict) or not ("title" in problem or "detail" in problem):
        return Refused(
            t(
                "{url} answered {status}, and not in the way a control plane does.",
                url=response.url,
                status=status,
            ),
            status=status,
            hint=t("Check LEITSTAND_URL."),
        )
    lines = [str(problem.get("detail") or problem.get("title"))]
    errors = problem.get("errors")
    for fault in errors if isinstance(errors, list) else []:
        if isinstance(fault, dict):
            lines.append(f"  {fault.get('where', '')}: {fault.get('what', '')}")
    hint = str(problem.get("hint") or "")
    if status == 401:
        hint = hint or t("Set LEITSTAND_TOKEN: {example}", example=_token_example())
    return Refused(
        "\n".join(lines),
        status=status,
        code=str(problem.get("code") or ""),
        job=str(problem.get("job") or ""),
        hint=hint,
    )


def _exit_code(status: int, job: str) -> int:
    if status == 404:
        return exits.NOT_FOUND
    return exits.REJECTED if status == 422 and job else exits.ERROR


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
