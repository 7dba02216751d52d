# SPDX-License-Identifier: Apache-2.0
"""What was alerted and to whom it was told: a small SQLite file (`DIR/alerts.db`). Written by the faces alone.

Alerts, what is to be told of them, and the journal's entry up to which they were derived change together, durably; a
delivery is marked once the receiver has it. So after a crash something may be told twice, and nothing is lost. Without
the file alerts begin anew at the journal's end.
"""

import logging
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import msgspec

from leitstand.alerts.deriving import OPENED, Alert, Event
from leitstand.alerts.settings import SEVERITIES, Sink
from leitstand.runtime.disk import is_damaged, make_private

FORM: Final = 1
BACKOFF_S: Final = (5.0, 900.0)  # between two tries: first, longest; doubled
KEPT: Final = 10_000  # alerts that are over or nothing ends, the latest
ERROR_MAX: Final = 300
_COLUMNS: Final = "d.alert, d.what, d.sink, d.tries, d.due_us, d.told_us, d.error"
_TABLES: Final = """
CREATE TABLE progress (journal TEXT NOT NULL, seq INTEGER NOT NULL);
CREATE TABLE alerts (number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, body BLOB NOT NULL, open INTEGER NOT NULL);
CREATE INDEX alerts_open ON alerts (open) WHERE open;
CREATE TABLE deliveries (
    number INTEGER PRIMARY KEY, alert TEXT NOT NULL, what TEXT NOT NULL, sink TEXT NOT NULL, tries INTEGER NOT NULL,
    due_us INTEGER NOT NULL, told_us INTEGER NOT NULL, error TEXT NOT NULL, UNIQUE (alert, what, sink)
);
CREATE INDEX deliveries_due ON deliveries (due_us) WHERE told_us = 0;
"""

_log = logging.getLogger("leitstand.alerts")


class Delivery(msgspec.Struct, frozen=True):
    """One telling to one sink. `told_us` 0: not yet, the next try is at `due_us`. `error`: what the last of `tries`
    met; where it was told, who of several was refused. `what`: opened or closed."""

    alert: str
    what: str
    sink: str
    tries: int
    due_us: int
    told_us: int
    error: str


class Store:
    """See the module. `journal`: whose alerts; another's are forgotten. sqlite3.Error if the disk refuses."""

    def __init__(self, path: Path, journal: str, head: int) -> None:
        """`head`: of the journal now, where a new file begins."""
        self._lock = threading.Lock()
        self._connection = _connect(path)
        try:
            found = self._found()
        except sqlite3.DatabaseError as error:
            self._connection.close()
            if not is_damaged(error):  # a full disk, a lock: it holds what is still to be told
                _log.critical("%s cannot be read now (%s); it stays as it is", path, error)
                raise
            aside = path.with_name(path.name + ".damaged")
            _log.critical(
                "%s is damaged (%s); it is kept as %s, and alerts begin anew", path, error, aside.name
            )
            path.replace(aside)
            for suffix in ("-wal", "-shm"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
            self._connection = _connect(path)
            found = self._found()
        if found is None or found[0] != journal or found[1] > head:
            self._begin_anew(journal, head)

    def _found(self) -> tuple[str, int] | None:
        """Whose it is, and how far; None: it is new."""
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        (form,) = self._connection.execute("PRAGMA user_version").fetchone()
        if form != FORM:
            return None
        found = self._connection.execute("SELECT journal, seq FROM progress").fetchone()
        return None if found is None else (str(found[0]), int(found[1]))

    def _begin_anew(self, journal: str, head: int) -> None:
        with self._lock:
            execute = self._connection.execute
            execute("BEGIN IMMEDIATE")
            for table in ("progress", "alerts", "deliveries"):
                execute(f"DROP TABLE IF EXISTS {table}")
            for statement in _TABLES.split(";"):
                execute(statement)
            execute("INSERT INTO progress VALUES (?, ?)", (journal, head))
            execute(f"PRAGMA user_version={FORM}")
            execute("COMMIT")

    @property
    def seq(self) -> int:
        """The entry up to which alerts were derived."""
        with self._lock:
            return int(self._connection.execute("SELECT seq FROM progress").fetchone()[0])

    def open(self) -> list[Alert]:
        """Those that nothing has ended yet, in their order."""
        return self._alerts("SELECT body FROM alerts WHERE open ORDER BY number")

    def latest(self, limit: int) -> list[Alert]:
        """The latest, open or not, the latest first."""
        return self._alerts("SELECT body FROM alerts ORDER BY number DESC LIMIT ?", limit)

    def _alerts(self, sql: str, *values: int) -> list[Alert]:
        with self._lock:
            rows = self._connection.execute(sql, values).fetchall()
        return [msgspec.json.decode(body, type=Alert) for (body,) in rows]

    def deliveries(self, alerts: Sequence[str]) -> list[Delivery]:
        """What was told of these, or is to be."""
        marks = ",".join("?" * len(alerts))
        with self._lock:
            rows = self._connection.execute(
                f"SELECT {_COLUMNS} FROM deliveries d WHERE alert IN ({marks}) ORDER BY number",
                tuple(alerts),
            ).fetchall()
        return [Delivery(*row) for row in rows]

    def keep(self, events: Iterable[Event], seq: int, now_us: int, sinks: Sequence[Sink]) -> None:
        """These events, to be told to who wants to hear of them, and how far the journal was read."""
        with self._lock:
            execute = self._connection.execute
            execute("BEGIN IMMEDIATE")
            try:
                for event in events:
                    alert = event.alert
                    is_open = event.what == OPENED and alert.lasts
                    execute(
                        "INSERT INTO alerts (id, body, open) VALUES (?, ?, ?) "
                        "ON CONFLICT (id) DO UPDATE SET body = excluded.body, open = excluded.open",
                        (alert.id, msgspec.json.encode(alert), is_open),
                    )
                    rank = SEVERITIES.index(alert.severity)
                    for sink in sinks:
                        if SEVERITIES.index(sink.least) <= rank:
                            execute(
                                "INSERT OR IGNORE INTO deliveries VALUES (NULL, ?, ?, ?, 0, ?, 0, '')",
                                (alert.id, event.what, sink.name, now_us),
                            )
                execute("UPDATE progress SET seq = max(seq, ?)", (seq,))
                execute("COMMIT")
            except BaseException:
                execute("ROLLBACK")
                raise

    def due(self, sink: str, now_us: int, limit: int) -> list[tuple[Delivery, Alert]]:
        """What is to be told to a sink now, in the order in which it happened. That an alert is over is told after that
        it was opened."""
        with self._lock:
            rows = self._connection.execute(
                f"SELECT {_COLUMNS}, a.body FROM deliveries d JOIN alerts a ON a.id = d.alert "
                "WHERE d.told_us = 0 AND d.sink = ? AND d.due_us <= ? AND NOT EXISTS ("
                "SELECT 1 FROM deliveries o WHERE o.alert = d.alert AND o.sink = d.sink AND o.number < d.number "
                "AND o.told_us = 0 AND o.due_us > ?) ORDER BY d.number LIMIT ?",
                (sink, now_us, now_us, limit),
            ).fetchall()
        found = [(Delivery(*row[:-1]), msgspec.json.decode(row[-1], type=Alert)) for row in rows]
        return [
            (one, msgspec.structs.replace(alert, closed_us=0) if one.what == OPENED else alert)
            for one, alert in found
        ]

    def told(self, delivery: Delivery, now_us: int, error: str = "") -> None:
        """The receiver has it. `error`: who of several does not."""
        self._change(delivery, delivery.tries + 1, delivery.due_us, now_us, error)

    def told_elsewhere(self, before_us: int, now_us: int) -> None:
        """Another told what was due before then."""
        with self._lock:
            self._connection.execute(
                "UPDATE deliveries SET told_us = ? WHERE told_us = 0 AND due_us < ?", (now_us, before_us)
            )

    def failed(self, delivery: Delivery, now_us: int, error: str) -> None:
        """It has to be tried again."""
        first, longest = BACKOFF_S
        pause_s = min(first * 2 ** min(delivery.tries, 20), longest)
        due_us = now_us + int(pause_s * 1e6)
        self._change(delivery, delivery.tries + 1, due_us, 0, error)

    def _change(self, of: Delivery, tries: int, due_us: int, told_us: int, error: str) -> None:
        with self._lock:
            self._connection.execute(
                "UPDATE deliveries SET tries = ?, due_us = ?, told_us = ?, error = ? "
                "WHERE alert = ? AND what = ? AND sink = ?",
                (tries, due_us, told_us, " ".join(error.split())[:ERROR_MAX], of.alert, of.what, of.sink),
            )

    def prune(self, sinks: Sequence[str], keep: int = KEPT) -> None:
        """Forget the oldest that are over, and what was to be told to sinks that are gone."""
        with self._lock:
            execute = self._connection.execute
            execute("BEGIN IMMEDIATE")
            marks = ",".join("?" * len(sinks))
            execute(f"DELETE FROM deliveries WHERE told_us = 0 AND sink NOT IN ({marks})", tuple(sinks))
            execute(
                "DELETE FROM alerts WHERE NOT open AND number <= "
                "(SELECT number FROM alerts ORDER BY number DESC LIMIT 1 OFFSET ?) "
                "AND id NOT IN (SELECT alert FROM deliveries WHERE told_us = 0)",
                (keep,),
            )
            execute("DELETE FROM deliveries WHERE alert NOT IN (SELECT id FROM alerts)")
            execute("COMMIT")

    def close(self) -> None:
        with self._lock:
            self._connection.close()


def _connect(path: Path) -> sqlite3.Connection:
    make_private(path)
    return sqlite3.connect(path, isolation_level=None, check_same_thread=False)
