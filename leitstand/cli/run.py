# SPDX-License-Identifier: Apache-2.0
"""The commands that submit: `run`, `submit`, and `plan`, which only asks. Loaded by `leitstand.cli.root`."""

from typing import Any

import click

from leitstand.cli import exits
from leitstand.cli.amounts import reading
from leitstand.cli.client import Client, connect, parse_key
from leitstand.cli.refusals import CommandFailed
from leitstand.cli.request import JobCommand, Submission, build, job_options
from leitstand.cli.table import as_json, plain, print_fields, print_json, print_table
from leitstand.cli.text import is_german, t
from leitstand.cli.words import amount, word
from leitstand.client import new_key

_key_option = click.option(
    "--idempotency-key",
    "key",
    metavar="KEY",
    callback=reading(parse_key),
    help=t("Sent again with the same key within 24 h, it is the same job."),
)


@click.command(cls=JobCommand, help=t("Submit a job, follow its log, exit with its exit code."))
@job_options
@click.option(
    "-d", "--detach", is_flag=True, help=t("Do not follow the log; exit 0 once the job is accepted.")
)
@_key_option
@click.pass_context
def run(ctx: click.Context, /, detach: bool, key: str | None, **options: Any) -> None:
    from leitstand.cli import follow

    submission = build(ctx, options)
    client = connect()
    job = _submit(client, submission, key)
    name = plain(job["id"])
    try:
        waits = f" ({plain(word(job['reason']))})" if job.get("reason") else ""
        click.echo(t("job {job}: {state}", job=name, state=word(job["state"])) + waits, err=True)
        if detach:
            click.echo(t("Follow it with: leitstand logs -f {job}", job=name), err=True)
            return
        ctx.exit(follow.follow_to_the_end(client, job))
    except KeyboardInterrupt:
        follow.say_detached(name)
        ctx.exit(exits.UNFINISHED)


@click.command(cls=JobCommand, help=t("Submit a job and print its id."))
@job_options
@_key_option
@as_json
@click.pass_context
def submit(ctx: click.Context, /, key: str | None, json_wanted: bool, **options: Any) -> None:
    submission = build(ctx, options)
    job = _submit(connect(), submission, key)
    if json_wanted:
        print_json(job)
    else:
        click.echo(plain(job["id"]))


@click.command(cls=JobCommand, help=t("Say what would happen to a job; submit nothing."))
@job_options
@_key_option
@as_json
@click.pass_context
def plan(ctx: click.Context, /, key: str | None, json_wanted: bool, **options: Any) -> None:
    """Exits 104 if the job would be refused, as its submission would. `key` is taken so that the line of a submission
    can be asked about as it is."""
    submission = build(ctx, options)
    body = {
        key: value for key, value in submission.body.items() if key != "secret_values"
    }  # needed by the run alone
    answer = connect().post("/v1/plan", body)
    if json_wanted:
        print_json(answer)
    elif answer["admitted"]:
        _print_start(answer)
    else:
        _print_refusal(answer)
    ctx.exit(exits.OK if answer["admitted"] else exits.REJECTED)


def _submit(client: Client, submission: Submission, key: str | None) -> dict[str, Any]:
    body = dict(submission.body)
    if submission.workdir is not None:
        from leitstand.cli import workdir

        of = {name: body[name] for name in ("tenant", "project") if body.get(name)}
        body["workdir"] = workdir.send(client, submission.workdir, **of)
    key = key or new_key()
    try:
        return client.submit(body, key=key)
    except KeyboardInterrupt:
        raise CommandFailed(
            t("Interrupted while the job was being submitted: whether it was accepted is not known."),
            hint=t(
                "`leitstand jobs` shows it if it was; with --idempotency-key {key} the same command submits it at "
                "most once.",
                key=key,
            ),
            exit_code=exits.UNFINISHED,
        ) from None


def _print_start(answer: dict[str, Any]) -> None:
    if answer["starts_now"]:
        print_fields([(t("admitted"), True), (t("starts"), t("now"))])
        rows = [(rank, task["node"], _gpus(task)) for rank, task in enumerate(answer["tasks"])]
        print_table([t("TASK"), t("NODE"), t("GPUS")], rows, "")
        return
    waits = {"capacity": t("until enough is free at once"), "order": t("until its turn comes")}
    print_fields(
        [
            (t("admitted"), True),
            (t("starts"), t("later")),
            (t("waits"), waits.get(answer["waits_for"], answer["waits_for"])),
            (t("jobs ahead"), answer["jobs_ahead"]),
        ]
    )


def _print_refusal(answer: dict[str, Any]) -> None:
    reason, said, resource = answer["reason"], answer.get("message"), answer.get("resource")
    fields = [(t("admitted"), False), (t("reason"), word(reason))]
    if said and not (is_german() and resource):
        fields.append((t("message"), said))
    elif answer["asked"] or answer["limit"]:
        unit = resource or ("duration_us" if reason == "limit" else "")
        fields += [(t("asked"), amount(answer["asked"], unit)), (t("limit"), amount(answer["limit"], unit))]
    print_fields(fields)


def _gpus(task: dict[str, Any]) -> str:
    return ",".join(str(gpu) for gpu in task["gpus"]) or "-"
