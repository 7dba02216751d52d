# SPDX-License-Identifier: Apache-2.0
"""`leitstand journal`: verify, show, export and back up a journal, at rest or beside a running control plane.

Loaded by `leitstand.cli.root`. Reads the data folder itself, since the control plane need not be running.
"""

import os
import sys
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import wraps
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import click

from leitstand.cli import text
from leitstand.cli.table import as_json, print_fields, print_json, print_table
from leitstand.cli.text import t

if TYPE_CHECKING:
    from leitstand.core.facts import Fact
    from leitstand.journal.place import Reader
    from leitstand.journal.verify import Report
    from leitstand.runtime.ports import Entry

SHOWN_MAX: Final = 100_000
DETAIL_MAX: Final = 120  # characters of a fact in the table; --json has all
NUMBER_MAX: Final = 2**63 - 1  # of an entry
BROKEN_PIPE: Final = 141  # as a shell reports a reader that went away

data_option = click.option(
    "--data",
    type=click.Path(path_type=Path),
    envvar="LEITSTAND_DATA",
    default=Path("~/.local/share/leitstand"),
    callback=lambda _context, _option, folder: folder.expanduser(),
    metavar="DIR",
    help=t("The data folder (else LEITSTAND_DATA, else ~/.local/share/leitstand)."),
)


def plain_errors(command: Callable[..., None]) -> Callable[..., None]:
    """What can go wrong outside of us becomes one line on stderr and exit code 1."""

    @wraps(command)
    def guarded(*args: Any, **options: Any) -> None:
        import sqlite3

        from leitstand.journal.codec import JournalUnusable

        try:
            command(*args, **options)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush at exit
            sys.exit(BROKEN_PIPE)
        except OSError as error:
            if error.filename is None:  # the output
                raise
            raise click.ClickException(f"{error.filename}: {text.why(error)}") from error
        except (JournalUnusable, ValueError, sqlite3.Error) as error:
            raise click.ClickException(str(error)) from error

    return guarded


@click.group(help=t("Verify, show, export or back up the journal."))
def journal() -> None:
    pass


# ── verify ────────────────────────────────────────────────────────────────────────────────────────────────────────
@journal.command(
    help=t("Check every entry, all signed heads and snapshots. Exit code 1 names the first bad entry.")
)
@data_option
@click.option(
    "--file",
    "exported",
    type=click.Path(path_type=Path),
    metavar="EXPORT",
    help=t("Check an export instead."),
)
@click.option(
    "--heads", type=click.Path(path_type=Path), metavar="FILE", help=t("Signed heads (else DIR/heads.jsonl).")
)
@click.option(
    "--pub",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help=t("The public key (else DIR/keys/head.pub)."),
)
@as_json
@plain_errors
def verify(
    data: Path, exported: Path | None, heads: Path | None, pub: Path | None, json_wanted: bool
) -> None:
    from leitstand.journal.export import verify_export
    from leitstand.journal.verify import verify as verify_journal

    _check_given(heads, pub)
    if exported is not None:
        source, report = exported, verify_export(exported, pub)
    else:
        source = data / "journal.db"
        public = pub or _if_there(data / "keys" / "head.pub")
        if public is not pub:
            _check_given(None, public)
        report = verify_journal(source, heads or _if_there(data / "heads.jsonl"), public, data / "snapshots")
    if json_wanted:
        import msgspec

        print_json({"path": str(source), **msgspec.to_builtins(report)})
    else:
        print_fields(_report_fields(source, report))
        if not report.signed_heads and report.ok:
            click.echo(
                t("No signed head was checked: the chain alone cannot show that its owner rewrote it."),
                err=True,
            )
        if exported and not pub and report.signed_heads:
            click.echo(
                t("Signed by the key that the export brings along; name one that you trust with --pub."),
                err=True,
            )
    _fail_if_bad(source, report)


def _check_given(heads: Path | None, pub: Path | None) -> None:
    """UsageError about a file that cannot be checked with: that says nothing of the journal."""
    from leitstand.journal.heads import load_heads, load_public

    for option, path, load in (("--heads", heads, load_heads), ("--pub", pub, load_public)):
        try:
            if path is not None:
                load(path)
        except (OSError, ValueError) as error:
            why = f"{path}: {text.why(error)}" if isinstance(error, OSError) else str(error)
            why = why if str(path) in why else f"{path}: {why}"
            raise click.BadParameter(why, param_hint=option) from error


def _report_fields(source: Path, report: "Report") -> list[tuple[str, Any]]:
    signed = t("up to entry {seq} (key {key})", seq=report.signed_seq, key=report.key_id)
    return [
        (t("journal"), report.journal or None),
        (t("path"), source),
        (t("good entries"), report.seq),
        (t("last stamp"), show_time(report.at) if report.seq else None),
        (t("hash"), report.hash or None),
        (t("signed"), signed if report.signed_heads else t("no")),
        (t("verdict"), t("good") if report.ok else t("BAD")),
    ]


def _fail_if_bad(source: Path, report: "Report") -> None:
    if report.bad is not None:
        message = t(
            "{path}: first bad entry {seq}: {what}: {detail}. Keep this file as evidence; go on from a backup.",
            path=source,
            seq=report.bad.seq,
            what=report.bad.what,
            detail=report.bad.detail.rstrip("."),
        )
        raise click.ClickException(message)


# ── show ──────────────────────────────────────────────────────────────────────────────────────────────────────────
@journal.command(help=t("Print entries: the newest, or those after a sequence number."))
@data_option
@click.option(
    "--after",
    type=click.IntRange(0, NUMBER_MAX),
    metavar="N",
    help=t("Only entries after number N, oldest first."),
)
@click.option(
    "--limit", type=click.IntRange(1, SHOWN_MAX), default=100, show_default=True, help=t("At most so many.")
)
@click.option("--job", metavar="ID", help=t("Only entries about this job and its runs."))
@as_json
@plain_errors
def show(data: Path, after: int | None, limit: int, job: str | None, json_wanted: bool) -> None:
    from leitstand.journal.place import open_reader

    with open_reader(data / "journal.db") as reader:
        entries = _chosen(reader, after, limit, job)
        if json_wanted:
            _print_lines(reader, entries)
        else:
            rows = [
                [entry.seq, show_time(entry.at), type(entry.fact).__name__, _say(entry.fact)]
                for entry in entries
            ]
            print_table([t("SEQ"), t("TIME"), t("FACT"), t("DETAIL")], rows, t("No entries."))


def _chosen(reader: "Reader", after: int | None, limit: int, job: str | None) -> "list[Entry]":
    """The newest `limit` entries, or the first after `after`; about one job, if given."""
    if job is None:
        return list(reader.read(max(0, reader.head.seq - limit) if after is None else after, limit))
    found = (entry for entry in reader.read(after or 0) if _is_about(entry.fact, job))
    return list(deque(found, limit) if after is None else islice(found, limit))


def _is_about(fact: "Fact", job: str) -> bool:
    run = getattr(fact, "run", "")
    return getattr(fact, "job", run.rpartition(".")[0]) == job


def _print_lines(reader: "Reader", entries: "list[Entry]") -> None:
    import msgspec

    for entry in entries:
        ((seq, at, body, stored),) = reader.rows(entry.seq - 1, 1)
        line = {"seq": seq, "at": at, "hash": stored.hex(), "fact": msgspec.Raw(body)}
        click.echo(msgspec.json.encode(line))


def show_time(at: int) -> str:
    """UTC to the microsecond; the bare number where the calendar ends."""
    try:
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at)
    except OverflowError:
        return f"{at} µs"
    return moment.isoformat(sep=" ", timespec="microseconds").replace("+00:00", "Z")


def _say(fact: "Fact") -> str:
    """Fields that are not at their defaults, in the order of the fact."""
    import msgspec

    fields = msgspec.to_builtins(fact)
    fields.pop("fact")
    text = " ".join(f"{name}={_brief(value)}" for name, value in fields.items())
    return text if len(text) <= DETAIL_MAX else text[: DETAIL_MAX - 1] + "…"


def _brief(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + " ".join(f"{name}={_brief(part)}" for name, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(_brief(part) for part in value) + "]"
    return str(value)


# ── export and backup ─────────────────────────────────────────────────────────────────────────────────────────────
@journal.command(
    help=t("Write the whole journal as JSON lines with a signed head; anyone can check them (verify --file).")
)
@data_option
@click.option(
    "--out", type=click.Path(path_type=Path), metavar="FILE", help=t("A new file (else standard output).")
)
@plain_errors
def export(data: Path, out: Path | None) -> None:
    from leitstand.journal.export import export as export_journal
    from leitstand.journal.place import open_reader

    with open_reader(data / "journal.db") as reader, _new_file(out) as file:
        closing = export_journal(reader, file, data / "keys", data / "heads.jsonl")
    signed = closing.signed_head
    if signed is None:
        click.echo(t("Exported {count} entries, without a signed head.", count=closing.entries), err=True)
    else:
        click.echo(
            t("Exported {count} entries, signed up to entry {seq}.", count=closing.entries, seq=signed.seq),
            err=True,
        )


@contextmanager
def _new_file(out: Path | None) -> Iterator[BinaryIO]:
    """Standard output, or a file that appears under its name only when it is whole."""
    if out is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    if os.path.lexists(out):
        raise click.ClickException(t("{path} exists; name a new file.", path=out))
    draft = out.with_name(out.name + ".partial")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.link(draft, out)
    finally:
        draft.unlink(missing_ok=True)


@journal.command(
    help=t("Copy the journal into the new file TARGET, also while it is in use, and verify the copy.")
)
@data_option
@click.argument("target", type=click.Path(path_type=Path))
@as_json
@plain_errors
def backup(data: Path, target: Path, json_wanted: bool) -> None:
    from leitstand.journal.backup import backup as back_up

    source = data / "journal.db"
    if os.path.lexists(target):
        raise click.ClickException(t("{path} exists; name a new file.", path=target))
    report = back_up(source, target)
    _fail_if_bad(source, report)
    if json_wanted:
        print_json({"path": str(target), "seq": report.seq, "hash": report.hash})
    else:
        click.echo(t("Copied {count} entries to {path} and verified them.", count=report.seq, path=target))


def _if_there(path: Path) -> Path | None:
    return path if path.exists() else None
