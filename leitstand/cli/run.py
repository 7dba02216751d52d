# SPDX-License-Identifier: Apache-2.0
"""The commands that submit: `run`, `submit`, and `plan`, which only asks. Loaded by `leitstand.cli.root`."""

from typing import Any, Final

import click

from leitstand.cli import exits
from leitstand.cli.amounts import reading
from leitstand.cli.asking import is_interactive
from leitstand.cli.client import Client, connect, parse_key
from leitstand.cli.explain import change
from leitstand.cli.refusals import CommandFailed, Refused
from leitstand.cli.request import JobCommand, Submission, build, job_options
from leitstand.cli.table import as_json, plain, print_fields, print_json, print_table
from leitstand.cli.text import is_german, t
from leitstand.cli.words import amount, word
from leitstand.client import new_key

PLANS_MAX: Final = 5  # that are shown for one submission

_key_option = click.option(
    "--idempotency-key",
    "key",
    metavar="KEY",
    callback=reading(parse_key),
    help=t("Sent again with the same key within 24 h, it is the same job."),
)


_yes_option = click.option("-y", "--yes", is_flag=True, help=t("Do not show the plan and ask."))


@click.command(cls=JobCommand, help=t("Submit a job, follow its log, exit with its exit code."))
@job_options
@click.option(
    "-d", "--detach", is_flag=True, help=t("Do not follow the log; exit 0 once the job is accepted.")
)
@_yes_option
@_key_option
@click.pass_context
def run(ctx: click.Context, /, detach: bool, yes: bool, key: str | None, **options: Any) -> None:
    from leitstand.cli import follow

    submission = build(ctx, options)
    client = connect()
    job = _submit(ctx, client, submission, key, asked=not yes and is_interactive())
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
@_yes_option
@_key_option
@as_json
@click.pass_context
def submit(ctx: click.Context, /, yes: bool, key: str | None, json_wanted: bool, **options: Any) -> None:
    submission = build(ctx, options)
    job = _submit(ctx, connect(), submission, key, asked=not yes and is_interactive())
    if json_wanted:
        print_json(job)
    else:
        click.echo(plain(job["id"]))


@click.command(cls=JobCommand, help=t("Say what would happen to a job; submit nothing."))
@job_options
@_yes_option
@_key_option
@as_json
@click.pass_context
def plan(ctx: click.Context, /, json_wanted: bool, **options: Any) -> None:
    """Exits 104 if the job would be refused, as its submission would. `--yes` and the key are taken so that the line of
    a submission can be asked about as it is."""
    submission = build(ctx, options)
    body = {
        key: value for key, value in submission.body.items() if key != "secret_values"
    }  # needed by the run alone
    answer = connect().post("/v1/plan", body)
    if json_wanted:
        print_json(answer)
    else:
        _print_plan(answer)
    ctx.exit(exits.OK if answer["admitted"] else exits.REJECTED)


def _submit(
    ctx: click.Context, client: Client, submission: Submission, key: str | None, *, asked: bool
) -> dict[str, Any]:
    """The job; `asked`: show the plan first and submit only what is agreed to."""
    body = dict(submission.body)
    if submission.workdir is not None:
        from leitstand.cli import workdir

        of = {name: body[name] for name in ("tenant", "project") if body.get(name)}
        body["workdir"] = workdir.send(client, submission.workdir, **of)
    key = key or new_key()
    for _ in range(PLANS_MAX):
        expected = _agreed(ctx, client, body) if asked else ""
        try:
            return client.submit(body, key=key, expected=expected)
        except Refused as refused:
            if refused.code != "plan-changed":
                raise
            click.echo(t("The plan has changed meanwhile:"), err=True)
        except KeyboardInterrupt:
            raise CommandFailed(
                t("Interrupted while the job was being submitted: whether it was accepted is not known."),
                hint=t(
                    "`leitstand jobs` shows it if it was; with --idempotency-key {key} the same command submits it "
                    "at most once.",
                    key=key,
                ),
                exit_code=exits.UNFINISHED,
            ) from None
    raise CommandFailed(t("The plan changed {count} times; with --yes it is not asked for.", count=PLANS_MAX))


def _agreed(ctx: click.Context, client: Client, body: dict[str, Any]) -> str:
    """Show what would become of the job and ask; `expected` of the plan that was agreed to. Ends the command if the
    job would be refused, or if the answer is no."""
    answer = client.plan(body)
    _print_plan(answer, err=True)
    if not answer["admitted"]:
        ctx.exit(exits.REJECTED)
    click.confirm(t("Submit it?"), default=True, abort=True, err=True)
    return str(answer["expected"])


def _print_plan(answer: dict[str, Any], *, err: bool = False) -> None:
    if answer["admitted"]:
        _print_start(answer, err=err)
    else:
        _print_refusal(answer, err=err)


def _print_start(answer: dict[str, Any], *, err: bool) -> None:
    if answer["starts_now"]:
        print_fields([(t("admitted"), True), (t("starts"), t("now")), *_paid(answer)], err=err)
        rows = [(rank, task["node"], _gpus(task)) for rank, task in enumerate(answer["tasks"])]
        print_table([t("TASK"), t("NODE"), t("GPUS")], rows, "", err=err)
        return
    waits = {
        "capacity": t("until enough is free at once"),
        "order": t("until its turn comes"),
        "held": t("until it is released"),
        "begin_time": t("until the time before which it must not begin"),
        "dependency": t("until other jobs have ended"),
    }
    print_fields(
        [
            (t("admitted"), True),
            (t("starts"), t("later")),
            (t("waits"), waits.get(answer["waits_for"], answer["waits_for"])),
            (t("jobs ahead"), answer["jobs_ahead"]),
            *_paid(answer),
        ],
        err=err,
    )


def _print_refusal(answer: dict[str, Any], *, err: bool) -> None:
    reason, said, resource = answer["reason"], answer.get("message"), answer.get("resource")
    fields = [(t("admitted"), False), (t("reason"), word(reason))]
    if said and not (is_german() and resource):
        fields.append((t("message"), said))
    elif answer["asked"] or answer["limit"]:
        unit = resource or ("duration_us" if reason == "limit" else "")
        fields += [(t("asked"), amount(answer["asked"], unit)), (t("limit"), amount(answer["limit"], unit))]
    print_fields(fields, err=err)
    if answer.get("changes"):
        click.echo(err=err)
        click.echo(t("With any one of these it would be admitted:"), err=err)
        headers = [t("CHANGE"), t("NOW"), t("NEEDED")]
        print_table(headers, [change(one)[:3] for one in answer["changes"]], "", err=err)


def _paid(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """The price, and which budgets would reserve how much."""
    parts = [
        f"{plain(one['budget'])}: {amount(one['amount'], one['unit'])}" for one in answer.get("budgets", [])
    ]
    return [(t("price"), _price(answer)), *([(t("reserves"), ", ".join(parts))] if parts else [])]


def _price(answer: dict[str, Any]) -> str:
    eur = answer.get("price", {}).get("eur")
    return t("none: no price plan is in force") if eur is None else f"{eur:.2f} EUR"


def _gpus(task: dict[str, Any]) -> str:
    slices = f" [{task['slices']}]" if task.get("slices") else ""
    return (",".join(str(gpu) for gpu in task["gpus"]) or "-") + slices
