# SPDX-License-Identifier: Apache-2.0
"""The commands about jobs that exist: `jobs`, `job`, `logs`, `cancel`. Loaded by `leitstand.cli.root`."""

import json
import shutil
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

import click

from leitstand.cli import complete, exits, moments, starts
from leitstand.cli.amounts import show_ago, show_hours, show_span, show_time
from leitstand.cli.client import Client, connect, job_path
from leitstand.cli.refusals import Refused
from leitstand.cli.table import (
    aligned,
    as_json,
    person,
    plain,
    print_fields,
    print_json,
    print_line,
    print_table,
)
from leitstand.cli.text import t
from leitstand.cli.words import State, message, word

ALL_MAX: Final = 100_000
CANCEL_MAX: Final = 1000
RANKS_LOOKED_AT: Final = 8  # for the reason of a failed start
LOG_PARTS_MAX: Final = 1_000_000  # answers of the server that one log is read in
STATES: Final = ("pending", "starting", "running", "stopping", *exits.ENDED_STATES)


@click.command(help=t("List jobs, newest first."))
@click.option("-a", "--all", "everything", is_flag=True, help=t("All jobs, not only the newest."))
@click.option("-w", "--watch", "watched", is_flag=True, help=t("Go on showing changes until Ctrl-C."))
@click.option("--state", type=State(STATES), help=t("Only jobs in this state."))
@click.option("--tenant", shell_complete=complete.tenants, help=t("Only jobs of this tenant."))
@click.option("--project", shell_complete=complete.projects, help=t("Only jobs of this project."))
@click.option(
    "--limit", type=click.IntRange(1, ALL_MAX), default=100, show_default=True, help=t("At most so many.")
)
@as_json
def jobs(everything: bool, watched: bool, limit: int, json_wanted: bool, **which: str | None) -> None:
    wanted = ALL_MAX if everything else limit
    client = connect()
    if watched:
        _watch(client, wanted, which, as_json=json_wanted)
        return
    rows = list(client.pages("/v1/jobs", wanted, **which))
    if json_wanted:
        print_json(rows)
        return
    _print(rows)
    if len(rows) == wanted:
        click.echo(
            t("These are the newest {count}; there may be more (--limit, --all).", count=wanted), err=True
        )


@click.command(help=t("Show one job with its runs and what it used."))
@click.argument("job_id", metavar="JOB", shell_complete=complete.jobs)
@as_json
def job(job_id: str, json_wanted: bool) -> None:
    client = connect()
    found = client.get(job_path(job_id))
    if json_wanted:
        print_json(found)
        return
    print_fields([*_fields(found), *_last_words(client, found)])
    if found["runs"]:
        click.echo()
        headers = [
            t("RUN"),
            t("STATE"),
            t("NODES"),
            t("GPUS"),
            t("STARTED"),
            t("ENDED"),
            t("OUTCOME"),
            t("EXIT"),
        ]
        print_table(headers, [_run_row(run) for run in found["runs"]], "")


@click.command(help=t("Print the log of a job."))
@click.argument("job_id", metavar="JOB", shell_complete=complete.jobs)
@click.option("-f", "--follow", is_flag=True, help=t("Follow to the end, and exit with the job's exit code."))
@click.option("--task", type=click.IntRange(min=0), help=t("Only this task (node rank)."))
@click.option(
    "--json", "json_wanted", is_flag=True, help=t("Print each line as a JSON object: task, offset, text.")
)
@click.pass_context
def logs(ctx: click.Context, job_id: str, follow: bool, task: int | None, json_wanted: bool) -> None:
    from leitstand.cli.follow import Printer, follow_to_the_end

    client = connect()
    found = client.get(job_path(job_id))
    if follow:
        ctx.exit(follow_to_the_end(client, found, task, as_json=json_wanted))
    if not found["runs"]:
        click.echo(
            t("Job {job} is {state}: it has no log yet.", job=plain(job_id), state=word(found["state"])),
            err=True,
        )
        return
    printer = Printer(ranked=task is None and found["num_nodes"] > 1, as_json=json_wanted)
    for rank in range(found["num_nodes"]) if task is None else [task]:
        for offset, part in _log(client, job_id, rank):
            printer.write(rank, offset, part)
        printer.flush()


@click.command(help=t("Cancel jobs."))
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True, shell_complete=complete.jobs)
@as_json
@click.pass_context
def cancel(ctx: click.Context, job_ids: tuple[str, ...], json_wanted: bool) -> None:
    answers, code = _each(job_ids, "/cancel")
    if json_wanted:
        print_json(answers)
    else:
        for answer in answers:
            name, state = plain(answer["id"]), answer["state"]
            if state in exits.ENDED_STATES and state != "cancelled":
                said = t("job {job} had ended already: {state}", job=name, state=word(state))
            else:
                said = t("job {job}: {state}", job=name, state=word(state))
            click.echo(said)
    ctx.exit(code)


@click.command(help=t("Hold jobs that wait."))
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True, shell_complete=complete.jobs)
@as_json
@click.pass_context
def hold(ctx: click.Context, job_ids: tuple[str, ...], json_wanted: bool) -> None:
    _say_states(ctx, job_ids, "/hold", json_wanted=json_wanted)


@click.command(help=t("Release jobs that are held."))
@click.argument("job_ids", metavar="JOB...", nargs=-1, required=True, shell_complete=complete.jobs)
@as_json
@click.pass_context
def release(ctx: click.Context, job_ids: tuple[str, ...], json_wanted: bool) -> None:
    _say_states(ctx, job_ids, "/release", json_wanted=json_wanted)


def _say_states(ctx: click.Context, job_ids: tuple[str, ...], act: str, *, json_wanted: bool) -> None:
    answers, code = _each(job_ids, act)
    if json_wanted:
        print_json(answers)
    else:
        for answer in answers:
            waits = f" ({plain(word(answer['reason']))})" if answer["reason"] else ""
            click.echo(t("job {job}: {state}", job=plain(answer["id"]), state=word(answer["state"])) + waits)
    ctx.exit(code)


def _each(job_ids: tuple[str, ...], act: str) -> tuple[list[Any], int]:
    """Tries them all; the answers, and the exit code of the last one that failed."""
    if len(job_ids) > CANCEL_MAX:
        message = t("{count} jobs at once; the limit is {limit}.", count=len(job_ids), limit=CANCEL_MAX)
        raise click.UsageError(message)
    client = connect()
    answers, code = [], exits.OK
    for path in [job_path(job_id, act) for job_id in job_ids]:
        try:
            answers.append(client.post(path))
        except Refused as refused:
            refused.show()
            code = refused.exit_code
    return answers, code


def _print(rows: list[dict[str, Any]]) -> None:
    now = moments.now()
    headers = [
        t("ID"),
        t("NAME"),
        t("TENANT"),
        t("USER"),
        t("STATE"),
        t("REASON"),
        t("GPUS"),
        t("EXIT"),
        t("AGE"),
    ]
    told = [_row(job, now) for job in rows]
    if any(job.get("forecast") for job in rows):
        headers += starts.headers()
        told = [(*row, *starts.cells(job.get("forecast"), now)) for row, job in zip(told, rows, strict=True)]
    print_table(headers, told, t("No jobs."))


def _watch(client: Client, limit: int, which: dict[str, str | None], *, as_json: bool) -> None:
    from leitstand.cli import watch

    widths: list[int] = []
    try:
        if as_json:
            watch.stream(client, limit, which, lambda job: print_line(json.dumps(job, ensure_ascii=False)))
        elif watch.on_terminal():
            watch.draw(client, min(limit, shutil.get_terminal_size().lines - 2), which, _print)
        else:
            watch.stream(
                client,
                limit,
                which,
                lambda job: print_line(aligned(_row(job, moments.now()), widths)),
            )
    except KeyboardInterrupt:
        click.echo(err=True)


def _row(job: dict[str, Any], now: float) -> tuple[Any, ...]:
    return (
        job["id"],
        job["name"] or None,
        job["tenant"],
        person(job["user"]),
        word(job["state"]),
        word(job["reason"]) or None,
        job["resources"]["gpus"] * max(1, _nodes_now(job)),
        job["exit_code"],
        show_span(now - datetime.fromisoformat(job["submitted_at"]).timestamp()),
    )


def _nodes_now(job: dict[str, Any]) -> int:
    """How many nodes its run has; of a job that does not run, how many it has at least."""
    runs = job["runs"] if job["state"] in ("starting", "running", "stopping") else []
    return len(runs[-1]["tasks"]) if runs and job.get("num_nodes_max") else int(job["num_nodes"])


def _nodes(job: dict[str, Any]) -> int | str:
    most = job.get("num_nodes_max", 0)
    if most <= job["num_nodes"]:
        return int(job["num_nodes"])
    words = {"now": _nodes_now(job), "least": job["num_nodes"], "most": most}
    if job["elastic"]:
        return t("{now}, while it runs from {least} to {most}", **words)
    return t("{now}, from {least} to {most} when it starts", **words)


def _fields(job: dict[str, Any]) -> list[tuple[str, Any]]:
    asked, used = job["resources"], job["usage"]
    shape = t("{gpus} GPUs, {cpus:g} CPUs", gpus=asked["gpus"], cpus=asked["cpus"])
    if asked["memory_gb"]:
        shape += f", {asked['memory_gb']:g} GB"
    fields = [
        (t("job"), job["id"]),
        (t("name"), job["name"] or None),
        (t("tenant"), job["tenant"]),
        (t("project"), job["project"]),
        (t("user"), person(job["user"])),
        (t("state"), word(job["state"])),
        (t("reason"), word(job["reason"]) or None),
        (t("message"), message(job) or None),
        (t("exit code"), job["exit_code"]),
        (t("signal"), job["signal"]),
        (t("nodes"), _nodes(job)),
        (t("per node"), shape),
        (t("pool"), job.get("pool") or None),
        (t("site"), job.get("site") or None),
        (t("priority"), job["priority"]),
        (t("max duration"), show_span(job["max_duration_s"]) if job["max_duration_s"] else None),
        *(
            (name, show_time(job[moment]))
            for name, moment in (
                (t("submitted"), "submitted_at"),
                (t("started"), "started_at"),
                (t("ended"), "ended_at"),
            )
            if job[moment]
        ),
    ]
    fields = [(name, value) for name, value in fields if value is not None]
    fields += starts.fields(job.get("forecast"))
    if used:
        hours = t("{gpu} GPU-h, {cpu} CPU-h, {wall} h wall time")
        fields.append(
            (
                t("used"),
                hours.format(
                    gpu=show_hours(used["gpu_s"]),
                    cpu=show_hours(used["cpu_s"]),
                    wall=show_hours(used["wall_s"]),
                ),
            )
        )
    return fields


def _run_row(run: dict[str, Any]) -> tuple[Any, ...]:
    tasks = run["tasks"]
    return (
        run["id"],
        word(run["state"]),
        ",".join(task["node"] for task in tasks),
        sum(len(task["gpus"]) for task in tasks),
        show_ago(run["started_at"]),
        show_ago(run["ended_at"]),
        word(run["outcome"]) or None,
        run["exit_code"] if run["signal"] is None else t("signal {number}", number=run["signal"]),
    )


def _last_words(client: Client, job: dict[str, Any]) -> list[tuple[str, str]]:
    """The last line in the log of a job that could not be started: it says why."""
    if job["reason"] != "start_failed" or not job["runs"]:
        return []
    for rank in range(min(job["num_nodes"], RANKS_LOOKED_AT)):
        text = b"".join(part for _, part in _log(client, job["id"], rank)).decode(errors="replace").rstrip()
        if text:
            return [(t("log"), text.rpartition("\n")[2])]
    return []


def _log(client: Client, job_id: str, task: int) -> Iterator[tuple[int, bytes]]:
    """The whole log of one task with the offsets of its parts, in as many as the server makes of it."""
    offset = 0
    for _ in range(LOG_PARTS_MAX):
        part = client.text(job_path(job_id, "/logs"), task=task, offset=offset)
        if not part:
            break
        yield offset, part
        offset += len(part)
