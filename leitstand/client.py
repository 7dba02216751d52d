# SPDX-License-Identifier: Apache-2.0
"""Leitstand from Python: one file, one class, the REST API under `/v1`. It imports nothing else of this package, so a
copy of it works anywhere that has httpx2.

    from leitstand.client import Client

    with Client() as cloud:  # LEITSTAND_URL and LEITSTAND_TOKEN, else what `leitstand login` saved
        job = cloud.submit({"run": ["python", "train.py"], "resources": {"gpus": 1}}, workdir=".")
        for text in cloud.follow(job["id"]):
            print(text, end="")
        print(cloud.job(job["id"])["usage"])

Answers are the JSON of the API as dictionaries (its description is at `/v1/openapi.json`). A request whose answer is
lost is sent again where that is harmless: readings, and requests that carry an Idempotency-Key, as submissions do.
What would be done twice (tokens, invitations) is sent once.
"""

import contextlib
import hashlib
import json as jsonlib
import os
import stat
import tarfile
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final, Self
from urllib.parse import quote

import httpx2

URL_DEFAULT: Final = "http://127.0.0.1:8640"
AGENT: Final = "leitstand-client"
RETRY_BUDGET_S: Final = 30.0
BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)  # the last one repeats
RETRY_STATUS: Final = frozenset({429, 503})
PASSING_STATUS: Final = frozenset({429, 500, 502, 503, 504})
PAGE: Final = 1000
ALL: Final = 100_000  # items of a listing that is asked for whole
OUTAGE_MAX_S: Final = 600.0  # without contact for so long, following gives up; the job does not notice
ENDED: Final = ("succeeded", "failed", "cancelled", "rejected")
ARCHIVE_BYTES_MAX: Final = 100 * 1024 * 1024
FILES_MAX: Final = 50_000
LEFT_OUT: Final = frozenset({".git", ".venv", "__pycache__", ".mypy_cache", ".pytest_cache", ".ruff_cache"})
_CHUNK: Final = 1024 * 1024
_TIMEOUT: Final = httpx2.Timeout(60.0, connect=5.0)


class LeitstandError(Exception):
    """Base of everything that this module raises by itself."""


class Refused(LeitstandError):
    """The control plane refused. `problem`: the problem details (RFC 9457) with stable `code`, `detail`, `hint`,
    `errors`; {} if the answer was none."""

    def __init__(self, status: int, problem: Mapping[str, Any], url: str = "") -> None:
        self.status = status
        self.problem = dict(problem)
        self.code = str(problem.get("code") or "")
        self.url = url
        faults = "; ".join(
            f"{fault.get('where')} {fault.get('what')}" for fault in problem.get("errors") or ()
        )
        detail = faults or problem.get("detail") or f"{url} answered {status}"
        hint = f" ({problem['hint']})" if problem.get("hint") else ""
        super().__init__(f"{detail}{hint}")


class Unreachable(LeitstandError):
    """No answer came. `sent`: whether the request may have had its effect."""

    def __init__(self, message: str, *, sent: bool) -> None:
        super().__init__(message)
        self.sent = sent


class NotLeitstand(LeitstandError):
    """What answered is no control plane, or one of another version."""


class WorkdirRefused(LeitstandError):
    """The work directory cannot be packed. `why`: too_many_files | too_big | leads_out | kind; `name`: the entry."""

    def __init__(self, why: str, name: str) -> None:
        super().__init__(f"the work directory cannot be packed: {why.replace('_', ' ')}: {name}")
        self.why = why
        self.name = name


class Client:
    """Speaks to one control plane. `url`, `token`: by default LEITSTAND_URL and LEITSTAND_TOKEN, else as `leitstand
    login` saved them; token "" asks as a stranger. Not for several threads at once. `transport`, `sleep`: for tests."""

    def __init__(
        self,
        url: str | None = None,
        token: str | None = None,
        *,
        agent: str = AGENT,
        transport: httpx2.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        url, token = place(url, token)
        self.url = url.rstrip("/")
        self.sleep = sleep
        # Without TLS there is nothing to verify, and loading the trust store costs more than the request.
        self._http = httpx2.Client(
            base_url=self.url,
            headers={"User-Agent": agent} | ({"Authorization": f"Bearer {token}"} if token else {}),
            timeout=_TIMEOUT,
            transport=transport,
            verify=_trust() if self.url.startswith("https:") else False,
            trust_env=not _is_loopback(self.url),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._http.close()

    # ── jobs ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def submit(
        self,
        job: Mapping[str, Any],
        *,
        workdir: str | Path | None = None,
        key: str | None = None,
        expected: str = "",
    ) -> dict[str, Any]:
        """The job made of this request (POST /v1/jobs), once, however often it has to be sent. `workdir`: a folder to
        send along; `key`: Idempotency-Key, by which a retry hours later is still the same job; `expected`: of the plan
        that was agreed to, Refused with code plan-changed if it would be another one now."""
        body = dict(job)
        if workdir is not None:
            of = {name: body[name] for name in ("tenant", "project") if body.get(name)}
            body["workdir"] = self.upload(Path(workdir), **of)
        headers = {"Idempotency-Key": key or new_key()} | ({"If-Match": f'"{expected}"'} if expected else {})
        return self.post("/v1/jobs", body, headers)

    def plan(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """What would become of the job; nothing is recorded."""
        return self.post("/v1/plan", job)

    def job(self, job: str) -> dict[str, Any]:
        """One job with its runs and what it used."""
        return self.get(path("jobs", job))

    def jobs(self, limit: int = 100, **where: Any) -> Iterator[dict[str, Any]]:
        """Jobs, newest first; `where`: state, tenant, project."""
        return self.pages("/v1/jobs", limit, **where)

    def cancel(self, job: str) -> dict[str, Any]:
        """Ask for the end of a job; one that has ended stays as it is."""
        return self.post(path("jobs", job, "cancel"))

    def hold(self, job: str) -> dict[str, Any]:
        """A job that waits does not start until it is released; Refused (409) if it does not wait."""
        return self.post(path("jobs", job, "hold"))

    def release(self, job: str) -> dict[str, Any]:
        """A job that is held waits for its turn again."""
        return self.post(path("jobs", job, "release"))

    def log(self, job: str, task: int = 0, offset: int = 0) -> bytes:
        """The log of one task so far, from a byte offset."""
        where = {"task": task, "offset": offset}
        return self.request("GET", path("jobs", job, "logs"), params=where).content

    def follow(self, job: str, task: int = 0) -> Iterator[str]:
        """The log of one task as it grows, each byte once, until the job ends; across restarts of the control plane.
        Unreachable after OUTAGE_MAX_S without contact."""
        offset, tries, outage = 0, 0, 0.0
        while True:
            try:
                with self.events(
                    path("jobs", job, "logs"), follow="true", task=task, offset=offset
                ) as events:
                    outage = 0.0
                    for event in events:
                        tries = 0
                        data = jsonlib.loads(event.data)
                        if event.event == "end":
                            return
                        offset = data["offset"] + len(data["text"].encode())
                        yield data["text"]
            except (Unreachable, Refused) as error:
                if outage > OUTAGE_MAX_S or not _passes(error):
                    raise
            pause = backoff(tries)
            self.sleep(pause)
            outage, tries = outage + pause, tries + 1

    def wait(self, job: str) -> dict[str, Any]:
        """The job when it has ended."""
        for _ in self.follow(job):
            pass
        return self.job(job)

    def watch(self, after: int | None = None) -> Iterator[tuple[int, dict[str, Any]]]:
        """(entry, job) for every change of a job one may see, across interruptions, without loss; `after`: the entry
        seen last, None: only what comes from now on. Unreachable after OUTAGE_MAX_S without contact."""
        tries, outage = 0, 0.0
        while True:
            try:
                with self.events("/v1/events", **({} if after is None else {"after": after})) as events:
                    outage = 0.0
                    for event in events:
                        if event.event == "job":
                            tries, after = 0, int(event.id)
                            yield after, jsonlib.loads(event.data)
            except (Unreachable, Refused) as error:
                if outage > OUTAGE_MAX_S or not _passes(error):
                    raise
            pause = backoff(tries)
            self.sleep(pause)
            outage, tries = outage + pause, tries + 1

    def upload(self, folder: Path, **of: str) -> str:
        """Send a folder as a work directory; the SHA-256 that names it in a submission. `of`: tenant, project.
        WorkdirRefused."""
        with tempfile.TemporaryFile() as archive:
            digest = pack(folder, archive)

            def content() -> Iterator[bytes]:
                archive.seek(0)
                while chunk := archive.read(_CHUNK):
                    yield chunk

            self.put(f"/v1/blobs/{digest}", content, **of)
        return digest

    # ── people and tenants ────────────────────────────────────────────────────────────────────────────────────────
    def whoami(self) -> dict[str, Any]:
        """Who the token stands for: user, token, roles, home."""
        return self.get("/v1/self")

    def can_i(self, action: str, **resource: str) -> dict[str, Any]:
        """Whether one may do `action` (like "job:submit"), and by which policies. `resource`: tenant, project, job,
        user, application."""
        return self.get("/v1/can-i", action=action, **resource)

    def tenants(self) -> list[dict[str, Any]]:
        """The tenants that one sees."""
        return list(self.pages("/v1/tenants", ALL))

    def tenant(self, tenant: str) -> dict[str, Any]:
        """One tenant with its projects, budgets and stage."""
        return self.get(path("tenants", tenant))

    def usage(self, by: str = "tenant", **where: str) -> list[dict[str, Any]]:
        """What was used by tenant, project or job; `where`: tenant, project."""
        return list(self.pages("/v1/usage", ALL, by=by, **where))

    def tokens(self, user: str = "me") -> list[dict[str, Any]]:
        """The tokens of a user, without their secrets."""
        return list(self.pages(path("users", user, "tokens"), ALL))

    def issue_token(self, user: str = "me", **asked: Any) -> dict[str, Any]:
        """A new token: `secret`, shown this once, and `token`. `asked`: expires_in ("30d"), scopes, tenant."""
        return self.post(path("users", user, "tokens"), asked, once=True)

    def revoke_token(self, token: str) -> None:
        """From now on the token (by its id) opens nothing."""
        self.delete(path("tokens", token))

    def secrets(self, **of: str) -> list[dict[str, Any]]:
        """Names and versions of secrets, never values. `of`: tenant, project."""
        return list(self.pages("/v1/secrets", ALL, **of))

    def set_secret(self, name: str, value: str, **of: str) -> dict[str, Any]:
        """Set a secret of a project to a value; its new version. `of`: tenant, project."""
        return self.decode(self.request("PUT", path("secrets", name), json={"value": value, **of}).content)

    def delete_secret(self, name: str, **of: str) -> None:
        """Delete a secret with all its versions. `of`: tenant, project."""
        self.delete(path("secrets", name), **of)

    def invite(self, role: str, **asked: Any) -> dict[str, Any]:
        """An invitation with its `code`, shown this once. `asked`: tenant, project, email, expires_in."""
        return self.post("/v1/invitations", {"role": role, **asked}, once=True)

    def apply(self, application: Mapping[str, Any], key: str | None = None) -> dict[str, Any]:
        """File an application for a tenant; its `claim`, shown this once, is the token by which to come back."""
        return self.post("/v1/applications", application, {"Idempotency-Key": key or new_key()})

    def application(self, application: str) -> dict[str, Any]:
        """How far an application is, and what happens next."""
        return self.get(path("applications", application))

    def applications(self, **where: str) -> list[dict[str, Any]]:
        """Applications that one may see, newest first; `where`: state."""
        return list(self.pages("/v1/applications", ALL, **where))

    def export(self, tenant: str, file: IO[bytes]) -> None:
        """Write everything about a tenant to `file`, as a zip archive in open formats."""
        try:
            with self._http.stream("GET", path("tenants", tenant, "export")) as response:
                if response.status_code != 200:
                    response.read()
                    raise self.refused(response)
                for part in response.iter_bytes(_CHUNK):
                    file.write(part)
        except httpx2.HTTPError as error:
            raise self.unreachable(error) from error

    # ── whatever else there is ────────────────────────────────────────────────────────────────────────────────────
    def get(self, path: str, **params: Any) -> dict[str, Any]:
        """The JSON of a reading; parameters that are None are left out."""
        given = {name: value for name, value in params.items() if value is not None}
        return self.decode(self.request("GET", path, params=given).content)

    def post(
        self,
        path: str,
        body: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        once: bool = False,
    ) -> dict[str, Any]:
        """The JSON answer to a POST ({} if it has none), sent again where an answer can have been lost; `once`: not
        so, for what may not be said twice."""
        content = self.request("POST", path, once=once, json=body, headers=headers).content
        return self.decode(content) if content else {}

    def delete(self, path: str, **params: Any) -> None:
        """Delete something."""
        given = {name: value for name, value in params.items() if value is not None}
        self.request("DELETE", path, params=given)

    def put(self, path: str, content: Callable[[], Iterator[bytes]], **params: Any) -> None:
        """Send bytes; `content` is called again for every try."""
        headers = {"Content-Type": "application/x-tar"}
        self.request("PUT", path, stream=content, headers=headers, params=params)

    def pages(self, path: str, limit: int, **params: Any) -> Iterator[dict[str, Any]]:
        """Up to `limit` items of a listing, over as many pages as it takes."""
        cursor = None
        while limit > 0:
            page = self.get(path, limit=min(limit, PAGE), cursor=cursor, **params)
            items = page["items"]
            if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
                raise self.not_leitstand()
            yield from items
            limit -= len(items)
            cursor = page.get("next_cursor")
            if cursor is None or not items:
                return

    @contextlib.contextmanager
    def events(self, path: str, **params: Any) -> Iterator[Iterator[httpx2.ServerSentEvent]]:
        """Server-sent events over one connection, no retry."""
        try:
            accept = {"Accept": "text/event-stream"}
            with self._http.stream("GET", path, params=params, headers=accept) as response:
                if response.status_code != 200:
                    response.read()
                    raise self.refused(response)
                if not response.headers.get("Content-Type", "").startswith("text/event-stream"):
                    raise self.not_leitstand()
                yield iter(httpx2.EventSource(response))
        except httpx2.HTTPError as error:
            raise self.unreachable(error) from error

    def request(
        self,
        method: str,
        path: str,
        *,
        stream: Callable[[], Iterator[bytes]] | None = None,
        once: bool = False,
        **kwargs: Any,
    ) -> httpx2.Response:
        """The answer below 400, after as many tries as RETRY_BUDGET_S holds; `once`: after one that had an effect."""
        waited, tries, began = 0.0, 0, time.monotonic()
        while True:
            failure: Exception
            try:
                if stream is not None:
                    kwargs["content"] = stream()
                response = self._http.request(method, path, **kwargs)
                if response.status_code < 400:
                    return response
                failure = self.refused(response)
                if response.status_code not in RETRY_STATUS or (once and response.status_code != 429):
                    raise failure
                pause = max(_retry_after(response), backoff(tries))
            except httpx2.HTTPError as error:
                failure = self.unreachable(error)
                hopeless = isinstance(error, httpx2.UnsupportedProtocol | httpx2.LocalProtocolError)
                refused = isinstance(error, httpx2.ConnectError)
                if hopeless or (tries == 0 and refused) or (once and not refused):
                    raise failure from error
                pause = backoff(tries)
            if max(waited, time.monotonic() - began) + pause > RETRY_BUDGET_S:
                raise failure
            self.waiting(failure, pause)
            self.sleep(pause)
            waited, tries = waited + pause, tries + 1

    def headers(self) -> dict[str, str]:
        """What every request carries, the token too."""
        return dict(self._http.headers)

    # ── what a subclass may say in other words ────────────────────────────────────────────────────────────────────
    def decode(self, content: bytes | str) -> dict[str, Any]:
        """The JSON object in an answer; NotLeitstand if it is none."""
        try:
            value = jsonlib.loads(content)
        except (ValueError, RecursionError) as error:
            raise self.not_leitstand() from error
        if not isinstance(value, dict):
            raise self.not_leitstand()
        return value

    def refused(self, response: httpx2.Response) -> Exception:
        """The exception for an answer of 400 or more."""
        try:
            problem = response.json()
        except ValueError:
            problem = {}
        return Refused(response.status_code, problem if isinstance(problem, dict) else {}, str(response.url))

    def unreachable(self, error: httpx2.HTTPError) -> Exception:
        """The exception for no answer."""
        sent = not isinstance(error, httpx2.ConnectError | httpx2.ConnectTimeout)
        what = f"the answer of {self.url} was lost" if sent else f"there is no control plane at {self.url}"
        return Unreachable(f"{what} ({str(error) or type(error).__name__})", sent=sent)

    def not_leitstand(self) -> Exception:
        """The exception for an answer that no control plane gives."""
        return NotLeitstand(f"what answers at {self.url} is no Leitstand, or one of another version")

    def waiting(self, failure: Exception, pause_s: float) -> None:
        """Told before each pause."""


# ── work directories ──────────────────────────────────────────────────────────────────────────────────────────────
def pack(folder: Path, archive: IO[bytes]) -> str:
    """Write the tar of `folder` to `archive`, the same for the same files; its SHA-256 in hexadecimal. Left out: `.git`
    and `.venv` and caches of Python; times and owners are not kept, the executable bit is. WorkdirRefused, OSError."""
    folder = Path(os.path.realpath(folder))  # or what leads out of "." could not be told
    out = _Hashed(archive)
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as tar:  # type: ignore[call-overload]
        for count, path in enumerate(_walk(folder)):
            if count >= FILES_MAX:
                raise WorkdirRefused("too_many_files", f"more than {FILES_MAX}")
            _add(tar, path, path.relative_to(folder).as_posix(), folder)
    return out.sha256.hexdigest()


def _walk(folder: Path) -> Iterator[Path]:
    """Every entry below `folder`, folders before their content, by name; links are not followed."""
    with os.scandir(folder) as entries:
        children = sorted((e for e in entries if e.name not in LEFT_OUT), key=lambda e: e.name)
    for child in children:
        yield Path(child.path)
        if child.is_dir(follow_symlinks=False):
            yield from _walk(Path(child.path))


def _add(tar: tarfile.TarFile, path: Path, name: str, folder: Path) -> None:
    status = path.lstat()
    info = tarfile.TarInfo(name)
    if stat.S_ISDIR(status.st_mode):
        info.type, info.mode = tarfile.DIRTYPE, 0o755
        tar.addfile(info)
    elif stat.S_ISLNK(status.st_mode):
        target = os.readlink(path)
        if os.path.isabs(target) or not Path(os.path.realpath(path)).is_relative_to(folder):
            raise WorkdirRefused("leads_out", name)
        info.type, info.linkname, info.mode = tarfile.SYMTYPE, target, 0o777
        tar.addfile(info)
    elif stat.S_ISREG(status.st_mode):
        info.size, info.mode = status.st_size, 0o755 if status.st_mode & 0o100 else 0o644
        with path.open("rb") as file:
            tar.addfile(info, file)
    else:
        raise WorkdirRefused("kind", name)


class _Hashed:
    """Passes what is written on to a file, hashes it, and refuses more than the limit."""

    def __init__(self, file: IO[bytes]) -> None:
        self.file = file
        self.sha256 = hashlib.sha256()
        self.written = 0

    def write(self, data: Any) -> int:
        self.written += len(data)
        if self.written > ARCHIVE_BYTES_MAX:
            raise WorkdirRefused("too_big", f"more than {ARCHIVE_BYTES_MAX >> 20} MiB")
        self.sha256.update(data)
        return self.file.write(data)


# ── where to ──────────────────────────────────────────────────────────────────────────────────────────────────────
def place(url: str | None = None, token: str | None = None) -> tuple[str, str]:
    """URL and token to speak with: what is given, else the environment, else what was saved. A token of the environment
    never goes to a saved URL: it was not made for it."""
    own = os.environ.get("LEITSTAND_TOKEN", "").strip() if token is None else token
    kept = saved()
    url = url or os.environ.get("LEITSTAND_URL", "").strip() or (not own and kept.get("url")) or URL_DEFAULT
    if token is None and not own:
        own = str(kept.get("planes", {}).get(url.rstrip("/"), {}).get("token") or "")
    return url, own


def saved() -> dict[str, Any]:
    """What `leitstand login` saved: `url`, and under `planes` each URL with its `token`; {} if nothing usable."""
    try:
        found = jsonlib.loads(saved_path().read_bytes())
        planes = {url: plane for url, plane in found["planes"].items() if isinstance(plane, dict)}
        return {"url": url if (url := found.get("url")) in planes else "", "planes": planes}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, RecursionError):
        return {}


def saved_path() -> Path:
    """The file of `saved`, for the owner alone."""
    folder = os.environ.get("XDG_CONFIG_HOME", "").strip() or "~/.config"
    return Path(folder).expanduser() / "leitstand" / "credentials.json"


def path(*parts: str) -> str:
    """A path under /v1; no part can lead elsewhere."""
    return "/".join(["/v1", *(quote(part, safe="").replace(".", "%2E") for part in parts)])


# ── below ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def new_key() -> str:
    """A fresh Idempotency-Key."""
    return os.urandom(16).hex()


def backoff(tries: int) -> float:
    """Seconds to wait after so many tries."""
    return BACKOFF_S[min(tries, len(BACKOFF_S) - 1)]


def _passes(error: Unreachable | Refused) -> bool:
    """Whether it may be over after a while."""
    return isinstance(error, Unreachable) or error.status in PASSING_STATUS


def _retry_after(response: httpx2.Response) -> float:
    value = response.headers.get("Retry-After", "")
    return float(value) if value.isascii() and value.isdigit() and len(value) < 6 else 0.0


def _is_loopback(url: str) -> bool:
    host = httpx2.URL(url).host
    return host in ("localhost", "::1") or host.startswith("127.")


def _trust() -> Any:
    import ssl

    return ssl.create_default_context()
