# SPDX-License-Identifier: Apache-2.0
"""`leitstand twin replay JOURNAL`: what a control plane decided, once more. Called by the command, for paths that hold
a journal."""

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click
import msgspec

from leitstand.cli.exits import ERROR
from leitstand.cli.table import print_fields, print_json, print_table
from leitstand.cli.text import t
from leitstand.core.units import SECOND_US
from leitstand.journal.place import Reader, open_reader

if TYPE_CHECKING:
    from leitstand.core.facts import Fact
    from leitstand.runtime.ports import Entry
    from leitstand.twin.courses import Comparison, Moved, Side
    from leitstand.twin.retelling import Difference, Retold

FACT_CHARS: Final = 300  # of a fact that is shown
MAGIC: Final = b"SQLite format 3\0"


def journal_at(path: Path) -> Path | None:
    """The journal's file, if `path` is one or the data directory of a control plane."""
    if path.is_dir():
        return path / "journal.db"
    try:
        with path.open("rb") as file:
            return path if file.read(len(MAGIC)) == MAGIC else None
    except OSError:
        return None


def replay_journal(path: Path, rules: str | None, *, json_wanted: bool) -> None:
    """Decide all of it again, under the same rules or others, and say what differs. TraceError for rules, and
    JournalUnusable for a journal, that cannot be used."""
    with open_reader(path) as reader:
        if rules is None:
            _again(reader, json_wanted=json_wanted)
        else:
            _otherwise(reader, rules, json_wanted=json_wanted)


def _again(reader: Reader, *, json_wanted: bool) -> None:
    from leitstand.twin.retelling import retell

    told = retell(_entries(reader, reader.head.seq))
    if json_wanted:
        print_json({"facts": told.facts, "difference": _builtins(told.difference)})
    else:
        _show_again(told)
    if told.difference is not None:
        raise SystemExit(ERROR)


def _otherwise(reader: Reader, rules: str, *, json_wanted: bool) -> None:
    from leitstand.twin.courses import compare
    from leitstand.twin.retelling import counterfact
    from leitstand.twin.rulefile import changed_rules, under

    change, last = under(changed_rules(rules), rules), reader.head.seq
    found = compare(*counterfact(lambda: _entries(reader, last), change))
    if json_wanted:
        print_json(msgspec.to_builtins(found))
    else:
        _show_comparison(found, rules)


def _entries(reader: Reader, last: int) -> "Iterable[Entry]":
    """Those up to `last`: a writer may be at work."""
    return reader.read(0, last)


def _builtins(difference: "Difference | None") -> Any:
    if difference is None:
        return None
    facts = (difference.recorded, difference.decided)
    recorded, decided = (None if fact is None else msgspec.to_builtins(fact) for fact in facts)
    return {"seq": difference.seq, "at_us": difference.at, "recorded": recorded, "decided": decided}


# ── for people ────────────────────────────────────────────────────────────────────────────────────────────────────
def _show_again(told: "Retold") -> None:
    found = told.difference
    same = t("{count}, all decided again as they are", count=told.facts)
    if found is not None:
        same = t("{count} decided again as they are, then one is not", count=told.facts)
    print_fields([(t("facts"), same), (t("until"), _time(told.until_us / SECOND_US))])
    if found is not None:
        print_fields(
            [
                (t("entry"), f"{found.seq}, {_time(found.at / SECOND_US)}"),
                (t("recorded"), _fact(found.recorded)),
                (t("decided now"), _fact(found.decided)),
            ],
            err=True,
        )


def _fact(fact: "Fact | None") -> str:
    if fact is None:
        return t("nothing more")
    text = msgspec.json.encode(fact).decode()
    return text if len(text) <= FACT_CHARS else f"{text[:FACT_CHARS]} …"


def _show_comparison(found: "Comparison", rules: str) -> None:
    print_fields(
        [
            (t("rules"), rules),
            (t("until"), _time(found.until_s)),
            (t("jobs"), found.jobs),
            (
                t("placed"),
                t(
                    "{earlier} earlier, {later} later, {same} jobs the same to their end",
                    earlier=found.earlier,
                    later=found.later,
                    same=found.same,
                ),
            ),
            (
                t("first difference"),
                None if found.first_s is None else _time(found.first_s),
            ),
        ]
    )
    click.echo()
    rows = [_row(tenant, *sides) for tenant, sides in found.per_tenant.items()]
    headers = [t("TENANT"), t("STARTED"), f"{t('MEAN WAIT')} [s]", f"{t('MEAN JCT')} [s]"]
    headers += [t("STOPPED FOR OTHERS"), "GPU-h"]
    print_table(headers, [*rows, _row(t("(all)"), found.before, found.after)], "")
    for title, jobs in ((t("waited less"), found.gained), (t("waited longer"), found.lost)):
        if jobs:
            click.echo(f"{title}: {', '.join(_moved(job) for job in jobs)}")


def _row(name: str, before: "Side", after: "Side") -> list[str]:
    pairs = [(getattr(before, column), getattr(after, column)) for column in _COLUMNS]
    return [name, *(f"{_number(one)} → {_number(other)}" for one, other in pairs)]


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _moved(job: "Moved") -> str:
    return f"{job.job} ({_number(job.before_s)} → {_number(job.after_s)} s)"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


_COLUMNS: Final = ("started", "wait_s", "jct_s", "stops", "gpu_hours")
