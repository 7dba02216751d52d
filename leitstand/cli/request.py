# SPDX-License-Identifier: Apache-2.0
"""From a command line to a submission: the options that `run`, `submit` and `plan` share, and the job file under them.

The two forms: `leitstand run [OPTIONS] -- CMD…` and `leitstand run FILE.yaml [OPTIONS]`; in the second, options
overrule the file.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from leitstand.cli.amounts import parse_amount, parse_duration, reading
from leitstand.cli.text import t

ARGV_BYTES_MAX: Final = 256 * 1024
_ARGV: Final = "leitstand.argv"
_FIELDS: Final = ("name", "tenant", "project", "num_nodes", "max_duration", "expected_duration", "priority")
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


_OPTIONS: Final = (
    click.argument("file", required=False, default=None, nargs=-1),
    click.option("--gpus", type=click.IntRange(min=0), help=t("GPUs per node.  [default: 0]")),
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
    click.option("--tenant", help=t("Who it is for.  [default: operator]")),
    click.option("--project", help=t("The project it is charged to.  [default: default]")),
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
    click.option(
        "--env", "envs", multiple=True, metavar="K=V", help=t("Environment; K alone passes your own on.")
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
    if files and argv is not None:
        raise click.UsageError(t('Put a job file or "-- COMMAND", not both.'), ctx)
    body: dict[str, Any]
    workdir: Path | None = None
    if argv is not None:
        body = {"run": _command(argv, ctx)}
    else:
        body, workdir = _file(files, ctx)
    for key in _FIELDS:
        if options[key] is not None:
            body[key] = options[key]
    shape = {key: options[key] for key in _SHAPE if options[key] is not None}
    if shape:
        body["resources"] = {**body.get("resources", {}), **shape}
    envs = dict(_env(pair, ctx) for pair in options["envs"])
    if envs:
        body["envs"] = {**body.get("envs", {}), **envs}
    _check_text(body, ctx)
    return Submission(body, options["workdir"] or workdir)


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


def _file(files: tuple[str, ...], ctx: click.Context) -> tuple[dict[str, Any], Path | None]:
    example = t("Write: {path} [OPTIONS] -- COMMAND, or {path} FILE.yaml", path=ctx.command_path)
    if not files:
        raise click.UsageError(t("There is neither a command nor a job file.") + " " + example, ctx)
    if len(files) > 1 or not files[0].endswith((".yaml", ".yml")):
        message = t('"{word}" is not a job file (.yaml); a command stands after "--".', word=" ".join(files))
        raise click.UsageError(f"{message} {example}", ctx)
    from leitstand.cli import jobfile

    return jobfile.read(Path(files[0]))


def _env(pair: str, ctx: click.Context) -> tuple[str, str]:
    name, given, value = pair.partition("=")
    if not name:
        raise click.BadParameter(t('"{pair}" has no name; write K=V', pair=pair), ctx, param_hint="--env")
    if given:
        return name, value
    if name not in os.environ:
        message = t("{name} is not set here; write {name}=VALUE", name=name)
        raise click.BadParameter(message, ctx, param_hint="--env")
    return name, os.environ[name]


def _check_text(body: dict[str, Any], ctx: click.Context) -> None:
    """Words that are not UTF-8 arrive as lone surrogates, which no JSON holds."""
    words = [body["run"]] if isinstance(body["run"], str) else body["run"]
    words = [
        *words,
        *body.get("envs", {}).values(),
        *body.get("envs", {}),
        *(str(body.get(k, "")) for k in _FIELDS),
    ]
    for word in words:
        try:
            word.encode()
        except UnicodeEncodeError:
            message = t("{word} is not UTF-8 text.", word=ascii(word[:80]))
            raise click.UsageError(message, ctx) from None
