# SPDX-License-Identifier: Apache-2.0
"""Submits to a Slurm cluster through slurmrestd. The one place that knows a version of its API: v0.0.38, that of Slurm
22.05. Called by the engine, from several threads.

A refusal is definite: nothing was submitted. Everything else that goes wrong leaves open whether it was.
"""

from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

import httpx2
import msgspec

from leitstand.engines.slurm.commands import SlurmAway

API: Final = "v0.0.38"
TIMEOUT_S: Final = 60.0
# Of slurm_errno.h: what is wrong with the site and not with the run (partition, permission, account).
SITE_ERRORS: Final = {2000, 2002, 2045}
# What the controller itself decided, and slurmrestd before it asked; everything else is between the two.
_DECIDED: Final = (range(2000, 3000), range(9000, 10_000))


class Refused(Exception):
    """Slurm does not take this job: `code` of slurm_errno.h, its words. `of_site`: it would take no other either."""

    def __init__(self, code: int, said: str, *, of_site: bool = False) -> None:
        super().__init__(said)
        self.code = code
        self.of_site = of_site


class Submission(msgspec.Struct, frozen=True):
    """A job for Slurm. `nodes`: exactly these, () any `count`; `gpus`, `cpus`, `memory_mib`: of each node."""

    name: str
    script: str
    folder: str
    output: str
    count: int
    gpus: int
    gpu_type: str
    cpus: int
    memory_mib: int
    minutes: int
    partition: str
    account: str
    nodes: tuple[str, ...] = ()


class Rest:
    """slurmrestd at `address`, a URL or `unix:/path`. `token_file`: see `SlurmSite`; `user`: whose token it is. Every
    answer is waited for `timeout_s`."""

    def __init__(
        self,
        address: str,
        user: str,
        token_file: Path | None,
        connections: int = 4,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        unix = address.removeprefix("unix:") if address.startswith("unix:") else None
        self._client = httpx2.Client(
            base_url="http://slurmrestd" if unix else address,
            transport=httpx2.HTTPTransport(
                uds=unix,
                limits=httpx2.Limits(max_connections=connections, max_keepalive_connections=connections),
            ),
            timeout=timeout_s,
        )
        self._user = user
        self._token_file = token_file

    def submit(self, job: Submission, user: str = "") -> int:
        """The id of the new job. `user`: as whom, '' as the token's own. Refused: there is none; SlurmAway: nobody
        knows."""
        said = self._call("POST", "job/submit", {"job": _described(job), "script": job.script}, user)
        found = said.get("job_id")
        if isinstance(found, int) and found > 0:  # also beside warnings that look like errors
            return found
        raise _refused(said)

    def check(self) -> str:
        """Slurm's own version, `22.05.8`. Refused: it speaks another version of the API, or not with us; SlurmAway."""
        said = self._call("GET", "diag", None, "")  # `ping` is answered whoever asks
        if said.get("errors"):
            error = _refused(said)
            if self._token_file is not None and isinstance(error, SlurmAway):
                raise SlurmAway(
                    f"{error}: the token in {self._token_file} is wrong or has expired, or slurmctld is away"
                )
            raise error
        return str(said.get("meta", {}).get("Slurm", {}).get("release", ""))

    def close(self) -> None:
        self._client.close()

    def _call(self, method: str, path: str, body: Any, user: str) -> dict[str, Any]:
        content = None if body is None else msgspec.json.encode(body)
        try:
            answer = self._client.request(
                method, f"/slurm/{API}/{path}", content=content, headers=self._headers(user)
            )
        except httpx2.HTTPError as error:
            raise SlurmAway(f"slurmrestd does not answer ({type(error).__name__}: {error})") from error
        if answer.status_code in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise Refused(answer.status_code, "slurmrestd does not accept the token", of_site=True)
        if answer.status_code == HTTPStatus.NOT_FOUND:
            raise Refused(answer.status_code, f"slurmrestd does not speak {API}", of_site=True)
        try:
            said: dict[str, Any] = msgspec.json.decode(answer.content, type=dict[str, Any])
        except msgspec.DecodeError:
            raise SlurmAway(f"slurmrestd answered {answer.status_code} and no JSON") from None
        return said

    def _headers(self, user: str) -> dict[str, str]:
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        if self._token_file is not None:
            try:
                token = self._token_file.read_text().strip()
            except OSError as error:
                raise Refused(
                    0, f"the token file {self._token_file} cannot be read: {error.strerror}", of_site=True
                ) from error
            headers |= {"X-SLURM-USER-NAME": user or self._user, "X-SLURM-USER-TOKEN": token}
        return headers


def _described(job: Submission) -> dict[str, Any]:
    """As job properties of this version of the API."""
    gpu_type = f":{job.gpu_type}" if job.gpu_type else ""
    body: dict[str, Any] = {
        "name": job.name,
        "partition": job.partition,
        "nodes": job.count,
        "tasks": job.count,
        "tasks_per_node": 1,
        "cpus_per_task": job.cpus,
        "time_limit": job.minutes,
        "requeue": False,
        "current_working_directory": job.folder,
        "standard_output": job.output,
        "environment": {"PATH": "/usr/local/bin:/usr/bin:/bin"},
    }
    if job.gpus:
        body["gres"] = f"gpu{gpu_type}:{job.gpus}"
    if job.memory_mib:
        body["memory_per_node"] = job.memory_mib
    if job.account:
        body["account"] = job.account
    if job.nodes:
        body["nodelist"] = ",".join(job.nodes)
    return body


def _refused(said: dict[str, Any]) -> Exception:
    """What the errors of an answer mean."""
    errors = [error for error in said.get("errors", []) if isinstance(error, dict)]
    code = next(
        (int(error[key]) for error in errors for key in ("error_code", "error_number") if error.get(key)), 0
    )
    words = "; ".join(
        str(error.get("error") or error.get("description") or error.get("source") or error)
        for error in errors
    )
    line = f"{words or 'no reason given'} ({code})"
    if any(code in decided for decided in _DECIDED):
        return Refused(code, line, of_site=code in SITE_ERRORS)
    return SlurmAway(line)
