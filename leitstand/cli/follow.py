# SPDX-License-Identifier: Apache-2.0
"""Following a job's log to its end, across restarts of the control plane. Called by `run` and `logs -f`."""

import json
import sys
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import click

from leitstand.cli import exits
from leitstand.cli.client import Client, job_path
from leitstand.cli.refusals import CommandFailed, Refused, Unreachable
from leitstand.cli.table import plain
from leitstand.cli.text import t, why
from leitstand.cli.words import word

OUTAGE_MAX_S: Final = 600.0  # without contact for so long, following gives up; the job does not notice
LINE_MAX: Final = 64 * 1024  # bytes of a line that are held back until it ends
BACKOFF_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)  # the last one repeats
_PASSING: Final = frozenset({429, 500, 502, 503, 504})


class End(NamedTuple):
    """How the job ended, as the last event of its log says."""

    state: str
    reason: str
    exit_code: int | None
    signal: int | None


def follow_to_the_end(
    client: Client, job: dict[str, Any], task: int | None = None, *, as_json: bool = False
) -> int:
    """Print the log of a job until it ends; the exit code that tells how. Ctrl-C asks whether to stop the job.
    CommandFailed if the log cannot be printed."""
    follower = Follower(client, job, task, as_json=as_json)
    name = plain(job["id"])
    while True:
        try:
            try:
                end = follower.follow()
            finally:
                follower.printer.flush()
            break
        except BrokenPipeError:
            raise
        except OSError as error:
            raise CommandFailed(
                t(
                    "the log cannot be written: {why}; job {job} goes on",
                    why=why(error),
                    job=name,
                ),
                hint=t("Follow it with: leitstand logs -f {job}", job=name),
            ) from error
        except KeyboardInterrupt:
            if not _stop_wanted(name):
                return exits.UNFINISHED
            client.post(job_path(job["id"], "/cancel"))
            click.echo(t("job {job} is being stopped", job=name), err=True)
    if end is None:
        click.echo(t("Error: no contact for {limit:g} s; the job goes on.", limit=OUTAGE_MAX_S), err=True)
        click.echo("  " + t("Follow it with: leitstand logs -f {job}", job=name), err=True)
        return exits.UNFINISHED
    _tell(name, end)
    return exits.of_job(*end)


class Follower:
    """Prints each byte of each task's log once, whatever happens to the connection."""

    def __init__(
        self, client: Client, job: dict[str, Any], task: int | None = None, *, as_json: bool = False
    ) -> None:
        self.client = client
        self.job = job
        several = task is None and job["num_nodes"] > 1
        self.task = None if several else task or 0
        self.offsets: dict[int, int] = {}  # task -> offset of the first byte not yet printed
        self.printer = Printer(ranked=several, as_json=as_json)

    def follow(self) -> End | None:
        """Follow until the job ends; None after OUTAGE_MAX_S without contact. Refused if there is no such job."""
        outage, tries = 0.0, 0
        while outage <= OUTAGE_MAX_S:
            try:
                for sign in self._connection():
                    outage, tries = 0.0, 0 if sign else tries
                    if isinstance(sign, End):
                        return sign
            except Unreachable:
                pass
            except Refused as refused:
                if refused.status not in _PASSING:
                    raise
            pause = BACKOFF_S[min(tries, len(BACKOFF_S) - 1)]
            self.client.sleep(pause)
            outage, tries = outage + pause, tries + 1
        return None

    def _connection(self) -> Iterator[End | bool]:
        """One connection: False when it stands, True for each piece of log, then the end if it came."""
        params: dict[str, Any] = {"follow": "true"}
        if self.task is not None:
            params |= {"task": self.task, "offset": self.offsets.get(self.task, 0)}
        with self.client.events(job_path(self.job["id"], "/logs"), **params) as events:
            yield False
            for event in events:
                data = self.client.decode(event.data or "{}")
                if event.event == "log":
                    self._print(data["task"], data["offset"], data["text"])
                    yield True
                elif event.event == "end":
                    yield End(data["state"], data["reason"] or "", data["exit_code"], data["signal"])

    def _print(self, task: int, offset: int, text: str) -> None:
        """Print what of `text` is new; after a reconnection the server may begin before what was printed."""
        data = text.encode()
        seen = self.offsets.get(task, 0)
        self.offsets[task] = max(seen, offset + len(data))
        self.printer.write(task, max(seen, offset), data[max(0, seen - offset) :])


class Printer:
    """Prints pieces of logs: one task's as they are, several tasks' in whole lines behind their rank (`ranked`), or
    each line as a JSON object (`as_json`)."""

    def __init__(self, *, ranked: bool, as_json: bool = False) -> None:
        self.ranked = ranked
        self.as_json = as_json
        self.held: dict[
            int, tuple[int, bytes]
        ] = {}  # task -> offset and text of a line that has not ended yet
        self.open: int | None = None  # the task whose line is on the screen and has not ended

    def write(self, task: int, offset: int, data: bytes) -> None:
        """Print the next piece of a task's log; `offset`: of its first byte."""
        if not self.ranked and not self.as_json:
            _write(data)
            return
        start, held = self.held.pop(task, (offset, b""))
        *lines, rest = (held + data).split(b"\n")
        out = []
        for line in lines:
            out.append(self._line(task, start, line + b"\n"))
            start += len(line) + 1
        if rest and len(rest) < LINE_MAX and self.open != task:
            self.held[task] = (start, rest)
        elif rest:
            out.append(self._line(task, start, rest))
        if out:
            _write(b"".join(out))

    def flush(self) -> None:
        """Print what had not ended, and end it."""
        held, self.held = self.held, {}
        for task, (offset, text) in sorted(held.items()):
            _write(self._line(task, offset, text))
        if self.open is not None:
            self.open = None
            _write(b"\n")

    def _line(self, task: int, offset: int, text: bytes) -> bytes:
        """A line, or a piece of one that is too long to be held back, as it goes out."""
        if self.as_json:
            said = {"task": task, "offset": offset, "text": text.decode(errors="replace")}
            return json.dumps(said, ensure_ascii=False).encode() + b"\n"
        prefix = b"" if self.open == task else b"[%d] " % task
        if prefix and self.open is not None:
            prefix = b"\n" + prefix
        self.open = None if text.endswith(b"\n") else task
        return prefix + text


def _write(data: bytes) -> None:
    out = sys.stdout.buffer
    out.write(data)
    out.flush()


def _stop_wanted(job: str) -> bool:
    """After Ctrl-C: on a terminal ask; elsewhere never stop what nobody said to stop."""
    if sys.stdin.isatty() and sys.stderr.isatty():
        click.echo(err=True)
        choices = click.Choice(["s", "d"], case_sensitive=False)
        question = t("stop job {job}, or detach? s/d", job=job)
        try:
            answer = click.prompt(question, type=choices, show_choices=False, default="d", err=True)
        except click.Abort:  # Ctrl-C again
            answer = "d"
        if answer == "s":
            return True
    say_detached(job)
    return False


def say_detached(job: str) -> None:
    """How to come back to a job that goes on without us."""
    click.echo(t("detached; job {job} goes on", job=job), err=True)
    click.echo(t("Follow it with: leitstand logs -f {job}", job=job), err=True)
    click.echo(t("Stop it with: leitstand cancel {job}", job=job), err=True)


def _tell(job: str, end: End) -> None:
    """One line on how it ended, unless it went well."""
    if end.state == "succeeded":
        return
    if end.signal is not None:
        how = t("signal {number}", number=end.signal)
    elif end.exit_code:
        how = t("exit code {code}", code=end.exit_code)
    else:
        how = ""
    why = ", ".join(
        part
        for part in (word(end.reason) if end.reason not in ("exit_code", "signal", end.state) else "", how)
        if part
    )
    click.echo(
        t("job {job}: {state}", job=job, state=word(end.state)) + (f" ({why})" if why else ""), err=True
    )
