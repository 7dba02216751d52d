# SPDX-License-Identifier: Apache-2.0
"""From a command line to a submission: the options that `run`, `submit` and `plan` share, and the job file under them.

The forms: `leitstand run [OPTIONS] -- CMD…`, `leitstand run FILE.yaml [OPTIONS]` and
`leitstand run JOB.sbatch [OPTIONS] [-- ARGUMENT…]`; options overrule the file.
What of a file is passed over is told on standard error.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from leitstand.cli.amounts import parse_amount, parse_duration, parse_gpus, reading
from leitstand.cli.text import t

ARGV_BYTES_MAX: Final = 256 * 1024
_ARGV: Final = "leitstand.argv"
_FIELDS: Final = (
    *("name", "tenant", "project", "num_nodes", "max_duration", "expected_duration", "priority"),
    *("begin", "deadline", "array", "booking"),
)
_SHAPE: Final = ("gpus", "cpus", "memory_gb")


class Submission(NamedTuple):
    """`body`: what is posted, but for the digest of `workdir`, the folder to send along."""

    body: dict[str, Any]
    workdir: Path | None


class JobCommand(click.Command):
    """A command whose words after `--` are the job's own, whatever they look like."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        argv: list[str] | None = None
        if "--" in args:
            at = args.index("--")
            args, argv = args[:at], args[at + 1 :]
        ctx.meta[_ARGV] = argv
        return super().parse_args(ctx, args)

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        formatter.write_usage(ctx.command_path, "[OPTIONS] -- COMMAND [ARGUMENT]…")
        formatter.write_usage(ctx.command_path, "[OPTIONS] FILE.yaml")
        formatter.write_usage(ctx.command_path, "[OPTIONS] FILE.sbatch [-- ARGUMENT…]")


_OPTIONS: Final = (
    click.argument("file", required=False, default=None, nargs=-1),
    click.option(
        "--gpus",
        callback=reading(parse_gpus),
        metavar="[TYPE:]N",
        help=t("GPUs per node, or a MIG instance: 2, H100:2, H100:3g.40gb.  [default: 0]"),
    ),
    click.option(
        "--nodes", "num_nodes", type=click.IntRange(min=1), help=t("Nodes: tasks of the gang.  [default: 1]")
    ),
    click.option("--cpus", callback=reading(parse_amount), metavar="N", help=t("CPU cores per node.")),
    click.option(
        "--memory",
        "memory_gb",
        callback=reading(parse_amount),
        metavar="GB",
        help=t("Memory per node in GB."),
    ),
    click.option("--name", help=t("A name for listings.")),
    click.option("--tenant", help=t("Who it is for.  [default: your only one]")),
    click.option(
        "--project", help=t("The project it is charged to.  [default: your only one, else default]")
    ),
    click.option(
        "--max-duration",
        callback=reading(parse_duration),
        metavar="TIME",
        help=t("The job is ended after this time, like 1h30m."),
    ),
    click.option(
        "--expected-duration",
        callback=reading(parse_duration),
        metavar="TIME",
        help=t("How long it will probably take."),
    ),
    click.option(
        "--priority",
        type=click.IntRange(0, 100),
        help=t("0 to 100; more is sooner, under rules that use it."),
    ),
    click.option("--begin", metavar="TIME", help=t("Not before: 2026-03-01T08:00:00Z, or 2h from now.")),
    click.option("--deadline", metavar="TIME", help=t("It has to end by then, written like --begin.")),
    click.option(
        "--after",
        multiple=True,
        metavar="JOB[:HOW]",
        help=t("Not before this job has ended; HOW: ok, any or failed.  [default: ok]"),
    ),
    click.option("--booking", metavar="ID", help=t("It runs in this booking alone, and ends with it.")),
    click.option("--hold", "held", is_flag=True, help=t("It waits until it is released.")),
    click.option(
        "--array", type=click.IntRange(1, 10_000), metavar="N", help=t("So many equal jobs, numbered from 0.")
    ),
    click.option(
        "--env", "envs", multiple=True, metavar="K=V", help=t("Environment; K alone passes your own on.")
    ),
    click.option(
        "--secret",
        "secrets",
        multiple=True,
        metavar="K[=@NAME]",
        help=t("A secret variable: your own K, for this job alone, or the secret NAME of the project."),
    ),
    click.option(
        "--workdir",
        type=click.Path(exists=True, file_okay=False, path_type=Path),
        help=t("A folder that is sent along, without .git, .venv and caches; the job starts in its copy."),
    ),
)


def job_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options that describe a job; they arrive as keywords for `build`."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


def build(ctx: click.Context, options: dict[str, Any]) -> Submission:
    """The submission that the options and words describe; UsageError or BadJobFile says what is wrong."""
    files, argv = options["file"], ctx.meta[_ARGV]
    envs = dict(_env(pair, ctx) for pair in options["envs"])
    secrets = [_secret(pair, ctx) for pair in options["secrets"]]
    if files:
        body, workdir = _file(files, argv, {*envs, *(secret.name for secret in secrets)}, ctx)
    elif argv is not None:
        body, workdir = {"run": _command(argv, ctx)}, None
    else:
        raise click.UsageError(t("There is neither a command nor a job file.") + " " + _example(ctx), ctx)
    for key in _FIELDS:
        if options[key] is not None:
            body[key] = options[key]
    if options["after"]:
        body["after"] = list(options["after"])
    if options["held"]:
        body["held"] = True
    shape = {key: options[key] for key in _SHAPE if options[key] is not None}
    if shape:
        body["resources"] = {**body.get("resources", {}), **shape}
        if "gpus" in shape:
            body["resources"].pop("accelerators", None)
            if isinstance(shape["gpus"], str):
                body["resources"]["accelerators"] = [body["resources"].pop("gpus")]
    _add_variables(body, envs, secrets)
    _check_text(body, ctx)
    return Submission(body, options["workdir"] or workdir)


def _add_variables(body: dict[str, Any], envs: dict[str, str], secrets: list["_Secret"]) -> None:
    """Put variables of the command line into the body; each has one source, and the command line wins over the file."""
    found: dict[str, dict[str, Any]] = {
        field: {name: value for name, value in body.pop(field, {}).items() if name not in envs}
        for field in ("envs", "secrets")
    }
    found["envs"] |= envs
    found["secret_values"] = {}
    for secret in secrets:
        for field in found.values():
            field.pop(secret.name, None)
        if secret.reference:
            found["secrets"][secret.name] = secret.reference
        else:
            found["secret_values"][secret.name] = os.environ[secret.name]
    body |= {field: content for field, content in found.items() if content}


def _command(argv: list[str], ctx: click.Context) -> list[str] | str:
    if not argv or not argv[0].strip():
        raise click.UsageError(t('There is no command after "--".'), ctx)
    size = sum(len(word) for word in argv)
    if size > ARGV_BYTES_MAX:
        message = t(
            "The command has {size} characters; the limit is {limit}.", size=size, limit=ARGV_BYTES_MAX
        )
        raise click.UsageError(message, ctx)
    # One word with blanks is a line of shell, as for ssh: no program has such a name.
    return argv[0] if len(argv) == 1 and len(argv[0].split()) > 1 else argv


def _example(ctx: click.Context) -> str:
    return t("Write: {path} [OPTIONS] -- COMMAND, or {path} FILE.yaml", path=ctx.command_path)


def _file(
    files: tuple[str, ...], argv: list[str] | None, given: set[str], ctx: click.Context
) -> tuple[dict[str, Any], Path | None]:
    """Body and work directory that a file asks for; its notices are told. `given`: variables of the command line."""
    from leitstand.cli import jobfile, sbatch
    from leitstand.cli.jobfile_faults import Fault, told

    path = Path(files[0])
    is_script = path.suffix in sbatch.SUFFIXES
    if len(files) > 1 or not (is_script or path.suffix in (".yaml", ".yml")):
        message = t(
            '"{word}" is not a job file (.yaml, .sbatch, .sh); a command stands after "--".',
            word=" ".join(files),
        )
        raise click.UsageError(f"{message} {_example(ctx)}", ctx)
    if argv is not None and not is_script:
        raise click.UsageError(t('Put a job file or "-- COMMAND", not both.'), ctx)
    job = sbatch.read(path, argv or ()) if is_script else jobfile.read(path, frozenset(given))
    notices = list(job.notices)
    if is_script and not (job.workdir or ctx.params.get("workdir")):
        notices.append(
            Fault(0, t("no folder is sent along; if the script needs the files here, add --workdir ."))
        )
    for line in told(str(path), notices):
        click.echo(line, err=True)
    return job.body, job.workdir


class _Secret(NamedTuple):
    """A secret of the command line: `reference` names one of the project, '' takes our own variable."""

    name: str
    reference: str


def _secret(pair: str, ctx: click.Context) -> _Secret:
    """No message shows what stands after `=`: it may be the secret itself."""
    name, given, value = pair.partition("=")
    if not name or (given and not value.startswith("@")):
        message = t(
            "A value on the command line can be seen by others. Set the variable and write --secret NAME, or name a "
            "secret of the project: --secret NAME=@SECRET"
        )
        raise click.BadParameter(message, ctx, param_hint="--secret")
    if not given and name not in os.environ:
        message = t(
            "{name} is not set here; set it, or name a secret of the project: --secret {name}=@SECRET"
        )
        raise click.BadParameter(message.format(name=name), ctx, param_hint="--secret")
    return _Secret(name, value[1:])


def _env(pair: str, ctx: click.Context) -> tuple[str, str]:
    name, given, value = pair.partition("=")
    if not name:
        raise click.BadParameter(t("The variable has no name; write K=V"), ctx, param_hint="--env")
    if given:
        return name, value
    if name not in os.environ:
        message = t("{name} is not set here; write {name}=VALUE", name=name)
        raise click.BadParameter(message, ctx, param_hint="--env")
    return name, os.environ[name]


def _check_text(body: dict[str, Any], ctx: click.Context) -> None:
    """Words that are not UTF-8 arrive as lone surrogates, which no JSON holds. Values of variables are not shown."""
    words = [body["run"]] if isinstance(body["run"], str) else body["run"]
    named = [
        (word, word) for word in [*words, *(str(body.get(k, "")) for k in _FIELDS), *body.get("after", [])]
    ]
    for field in ("envs", "secrets", "secret_values"):
        for name, value in body.get(field, {}).items():
            named += [(name, name), (name, value or "")]
    for name, text in named:
        try:
            text.encode()
        except UnicodeEncodeError:
            message = t("{word} is not UTF-8 text.", word=ascii(name[:80]))
            raise click.UsageError(message, ctx) from None
