# SPDX-License-Identifier: Apache-2.0
"""What goes wrong between the command line and the control plane, in terms of the command line. Called by the client
and by whatever ends a command with one sentence.
"""

import os
import re
from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import IO, Any, Final
from urllib.parse import urlsplit

import click
import httpx2

from leitstand.cli import exits
from leitstand.cli.text import t
from leitstand.cli.words import hint as hint_text
from leitstand.cli.words import problem as problem_text

# How the fields of a request are called on the command line.
_OPTIONS: Final = {
    "/num_nodes": "--nodes",
    "/resources/memory_gb": "--memory",
    "/envs": "--env",
    "/secrets": "--secret",
    "/secret_values": "--secret",
    "/run": "COMMAND",
    "/id": "TENANT",
    "/legal/name": "--legal-name",
    "/applicant/name": "--applicant",
    "/applicant/email": "--email",
    "/agreement": "--accept-agreement",
    "/role": "ROLE",
}


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
        super().__init__(message, hint=hint, exit_code=_exit_code(status, code, job))
        self.status = status
        self.code = code
        self.job = job


class NotLeitstand(CommandFailed):
    """Something answered, but not as a control plane does."""

    def __init__(self, url: str) -> None:
        super().__init__(
            t("What answers at {url} is no Leitstand, or one of another version.", url=url),
            hint=t("Check LEITSTAND_URL."),
        )


class Answer(dict[str, Any]):
    """A JSON object from `url`; who asks for a key that it lacks gets NotLeitstand."""

    def __init__(self, url: str, content: Mapping[str, Any]) -> None:
        super().__init__(content)
        self.url = url

    def __missing__(self, key: str) -> Any:
        raise NotLeitstand(self.url)


def sign_in_hint(url: str) -> str:
    """How to get a token for `url`; the administrator's only where it runs on this machine and we may read it."""
    folder = os.environ.get("LEITSTAND_DATA") or "~/.local/share/leitstand"
    if _is_here(url) and os.access(Path(folder).expanduser() / "admin.token", os.R_OK):
        example = f"export LEITSTAND_TOKEN=$(cat {folder}/admin.token)"
        return t("Sign in with `leitstand login`, or set LEITSTAND_TOKEN: {example}", example=example)
    return t("Sign in with `leitstand login`, or set LEITSTAND_TOKEN.")


def _is_here(url: str) -> bool:
    """Whether `url` is on this machine."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def refused(response: httpx2.Response) -> Refused:
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
    code, job = str(problem.get("code") or ""), str(problem.get("job") or "")
    if status == 404 and not code.startswith("unknown-"):
        return Refused(
            t("There is nothing at {url}.", url=response.url),
            status=status,
            code=code,
            hint=t("Is this a Leitstand? LEITSTAND_URL ends without /v1."),
        )
    detail = _faults(problem.get("errors")) or str(problem.get("detail") or problem.get("title"))
    return Refused(
        problem_text(code, detail),
        status=status,
        code=code,
        job=job,
        hint=_hint(response, code, job, problem),
    )


def _faults(errors: Any) -> str:
    """Every fault that the API found, by the name it has on the command line."""
    found = [fault for fault in (errors if isinstance(errors, list) else []) if isinstance(fault, dict)]
    told = [(str(fault.get("where", "")), str(fault.get("what", ""))) for fault in found]
    lines = [
        f"{_option(where)} {what}".strip()
        for where, what in told
        if (where.replace("/legal/contacts/0", "/applicant"), what)
        not in told  # `apply` makes the one of the other
        or not where.startswith("/legal/contacts/0")
    ]
    if len(lines) < 2:
        return "".join(lines)
    return "\n  ".join([t("the control plane does not take this:"), *lines])


def _option(where: str) -> str:
    """Where a fault is: the option, or the place in the request for what has none."""
    for place, option in _OPTIONS.items():
        if where == place:
            return option
        if where.startswith(place + "/"):
            return f"{option} {where.removeprefix(place + '/')}"
    name = where.removeprefix("/resources").removeprefix("/legal").removeprefix("/")
    return "--" + name.replace("_", "-") if name.replace("_", "").isalpha() else where


def _hint(response: httpx2.Response, code: str, job: str, problem: Mapping[str, Any]) -> str:
    """The remedy in terms of the command line; what the API advises speaks of requests."""
    if response.status_code == 401:
        return sign_in_hint(str(response.url))
    if job:
        return _of_rejection(code)
    if code == "unknown-secret" and (missing := _missing_secret(problem.get("errors"))):
        return t(
            "Set it with `leitstand secrets set {name}`, or pass your own on: --secret {name}", name=missing
        )
    if code == "unknown-job":
        return t("`leitstand jobs` lists the jobs.")
    if code == "unknown-tenant":
        return t("`leitstand tenants` lists the tenants, `leitstand tenants add` adds one.")
    hint = hint_text(str(problem.get("hint") or ""))
    return "" if "/v1" in hint else hint


def _of_rejection(code: str) -> str:
    if code in ("tenant_suspended", "tenant_exit", "project_closed"):
        return ""
    if code == "budget":
        return t(
            "`leitstand quota` shows what is left; ask for less time (--max-duration), or for a further budget."
        )
    return t(
        "`leitstand nodes` shows what there is; `leitstand plan` tells beforehand what would be admitted."
    )


def _missing_secret(errors: Any) -> str:
    """The name of a secret that the project does not have."""
    for fault in errors if isinstance(errors, list) else []:
        where, what = str(fault.get("where", "")), str(fault.get("what", ""))
        if where.startswith("/secrets/") and (found := re.search(r"names secret '([A-Za-z0-9._-]+)'", what)):
            return found[1]
    return ""


def _exit_code(status: int, code: str, job: str) -> int:
    if code == "unknown-job":
        return exits.NOT_FOUND
    if code == "invalid-request":
        return exits.USAGE
    return exits.REJECTED if status == 422 and job else exits.ERROR
