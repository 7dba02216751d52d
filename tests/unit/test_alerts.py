# SPDX-License-Identifier: Apache-2.0
"""Alerts: which follow from what, who is told, and that what is lost on the way is told again."""

import asyncio
import hashlib
import hmac
import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from leitstand.alerts import settings as file
from leitstand.alerts import troubles
from leitstand.alerts.deriving import CLOSED, KINDS, OPENED, Alert, Deriving
from leitstand.alerts.sending import NotTold, body_of, signature, tell
from leitstand.alerts.settings import AlertSettings, Mail, Webhook
from leitstand.alerts.store import BACKOFF_S, Store
from leitstand.alerts.words import words
from leitstand.app.alerting import PATIENCE_US, Alerting, Sight, Surroundings
from leitstand.core import facts as f
from leitstand.core.health import table
from leitstand.journal.memory import MemoryJournal
from leitstand.runtime.ports import Entry
from leitstand.runtime.yamlfile import YamlWrong
from tests import sinks
from tests.unit.faces_story import Plant, problem
from tests.unit.faults import sqlite_failing

JOURNAL = "0123456789abcdef" * 4
LOST = f.NodeDrained("n1", "xid", 79, 3)
HOOK = Webhook("hook", "http://127.0.0.1:1/", Path("/none"))


def entries(*facts: f.Fact) -> list[Entry]:
    return [Entry(seq, seq * 1_000_000, fact) for seq, fact in enumerate(facts, start=1)]


def derived(*facts: f.Fact) -> list[tuple[str, str, str]]:
    made = Deriving(JOURNAL)
    events = [event for entry in entries(*facts) for event in made.take(entry)]
    return [(event.what, event.alert.kind, event.alert.subject) for event in events]


# ── what follows from what ────────────────────────────────────────────────────────────────────────────────────────────
@pytest.mark.parametrize(
    ("facts", "told"),
    [
        ((LOST,), [(OPENED, "node_drained", "n1")]),
        (
            (LOST, f.NodeReturned("n1")),
            [(OPENED, "node_drained", "n1"), (CLOSED, "node_drained", "n1")],
        ),
        ((f.NodeReported("n1", "xid", 94),), [(OPENED, "gpu_warning", "n1")]),
        ((f.NodeReported("n1", "xid", 31),), []),
        ((f.NodeReported("n1", "xid", 79), LOST), [(OPENED, "node_drained", "n1")]),
        (
            (LOST, f.BurnInFailed("n1", "operator-1"), f.NodeReturned("n1")),
            [
                (OPENED, "node_drained", "n1"),
                (OPENED, "burn_in_failed", "n1"),
                (CLOSED, "node_drained", "n1"),
                (CLOSED, "burn_in_failed", "n1"),
            ],
        ),
        ((f.NodeRemoved("n1"),), []),
        (
            (f.NodeRemoved("n1", failed=True), f.NodeAdded("n1", "s", 8, 1, 1)),
            [(OPENED, "node_failed", "n1"), (CLOSED, "node_failed", "n1")],
        ),
        ((f.PromiseBroken("a-1", "node_failed", 5),), [(OPENED, "promise_broken", "a-1")]),
        ((f.BookingBroken("b1", "node_failed"),), [(OPENED, "booking_broken", "b1")]),
        ((f.NodeReturned("n1"), f.NodeAdded("n1", "s", 8, 1, 1)), []),
    ],
)
def test_facts_open_and_close_alerts(facts: tuple[f.Fact, ...], told: list[tuple[str, str, str]]) -> None:
    assert derived(*facts) == told


def test_who_derives_again_derives_the_same_ids() -> None:
    def ids() -> list[str]:
        made = Deriving(JOURNAL)
        return [
            event.alert.id
            for entry in entries(LOST, LOST, f.NodeReturned("n1"), LOST)
            for event in made.take(entry)
        ]

    assert ids() == ids() == ["0123456789ab-1", "0123456789ab-1", "0123456789ab-4"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_alert_has_words_in_both_languages(kind: str) -> None:
    about: dict[str, str | int] = {
        "kind": "xid", "code": 79, "gpu": 3, "job": "operator-1", "reason": "exit_code", "exit_code": -1,
        "cause": "node_failed", "old_us": 1, "new_us": 0, "error": "slurmctld is away",
    }  # fmt: skip
    alert = Alert("i", kind, "n1", 1, about)
    english, german = words(alert, german=False), words(alert, german=True)
    assert all((*english, *german))
    assert english != german
    over = words(Alert("i", kind, "n1", 1, about, 2_000_000), german=False)
    assert over.title == f"over: {english.title}"
    assert "{" not in "".join((*english, *german, *over))


def test_every_trouble_has_words_in_both_languages() -> None:
    assert set(troubles.KINDS) == set(table.KINDS)
    assert set(troubles.GERMAN) == set(table.XIDS)
    assert troubles.in_words("xid", 79, 3, german=False) == "GPU 3: Xid 79 (the GPU fell off the bus)"
    assert troubles.in_words("xid", 9000, -1, german=True) == "Xid 9000"
    assert troubles.in_words("gpu_lost", 0, None, german=True) == "eine GPU antwortet nicht"


# ── the file ──────────────────────────────────────────────────────────────────────────────────────────────────────────
WHOLE = """
language: de
webhooks:
  - {name: on-call, url: https://example.org/hooks/7, secret_file: /etc/on-call.key, least: critical}
mail:
  - name: operators
    host: mail.example.org
    user: leitstand
    password_file: /etc/mail.password
    from: leitstand@example.org
    to: [ada@example.org, bob@example.org]
"""


def read(folder: Path, text: str) -> AlertSettings:
    path = folder / "alerts.yaml"
    path.write_text(text)
    return file.read(path)


def test_the_file_says_who_is_told(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE) == AlertSettings(
        (
            Webhook("on-call", "https://example.org/hooks/7", Path("/etc/on-call.key"), "critical"),
            Mail(
                "operators", "mail.example.org", "leitstand@example.org", ("ada@example.org", "bob@example.org"), 587,
                "starttls", "leitstand", Path("/etc/mail.password"),
            ),
        ),
        "de",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("old", "new", "line", "said"),
    [
        ("language: de", "language: fr", 2, "known: en, de"),
        ("language: de", "lingua: de", 2, "did you mean 'language'?"),
        ("https://", "http://", 4, "http:// is for this machine alone"),
        ("https://", "https://ada:secret@", 4, "give it like"),
        ("name: on-call, ", "", 4, "'name' is missing"),
        ("/etc/on-call.key", "on-call.key", 4, "give the whole path"),
        ("least: critical", "least: fatal", 4, "known: warning, critical"),
        ("host: mail.example.org", "host: 'mail example'", 7, "mail server"),
        ("    user: leitstand\n", "", 6, "belong together"),
        ("    user: leitstand", "    user: leitstand\n    tls: none", 6, "a password is sent over TLS alone"),
        ("ada@example.org", "ada", 11, "give an address"),
        ("[ada@example.org, bob@example.org]", "[]", 6, "names nobody"),
        ("name: operators", "name: on-call", 2, "two are called 'on-call'"),
    ],
)
def test_a_fault_of_the_file_is_named_with_its_line(
    tmp_path: Path, old: str, new: str, line: int, said: str
) -> None:
    with pytest.raises(YamlWrong) as raised:
        read(tmp_path, WHOLE.replace(old, new, 1))
    assert f"alerts.yaml:{line}: " in str(raised.value)
    assert said in str(raised.value)
    assert "secret@" not in str(raised.value) or "ada" in old + new


# ── telling ───────────────────────────────────────────────────────────────────────────────────────────────────────────
ALERT = Alert("j-1", "node_drained", "n1", 1_000_000, {"kind": "xid", "code": 79, "gpu": 3})


def test_a_webhook_is_signed_and_carries_both_languages(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    with sinks.http() as sink:
        hook = Webhook("hook", f"http://127.0.0.1:{sink.port}/x", tmp_path / "key")
        tell(hook, ALERT, OPENED, now_us=1_700_000_000_000_000, german=False)
    ((headers, body),) = sink.posts
    assert headers["Leitstand-Alert"] == "j-1 opened"
    digest = hmac.new(b"s3cret", b"1700000000." + body, hashlib.sha256).hexdigest()
    assert (
        headers["Leitstand-Signature"]
        == f"t=1700000000,v1={digest}"
        == signature(b"s3cret", 1_700_000_000, body)
    )
    said = json.loads(body)
    assert said == body_of(ALERT, OPENED)
    assert said["texts"]["en"]["title"] == "node n1 is drained: GPU 3: Xid 79 (the GPU fell off the bus)"
    assert said["texts"]["de"]["title"].startswith("Knoten n1 ist gesperrt")


def test_a_mail_says_cause_and_remedy_in_its_language() -> None:
    with sinks.smtp() as sink:
        mail = Mail(
            "ops", "127.0.0.1", "l@example.org", ("a@example.org", "b@example.org"), sink.port, "none"
        )
        tell(mail, ALERT, OPENED, now_us=0, german=True)
    (got,) = sink.mails
    assert (
        got["Subject"]
        == "[leitstand] Knoten n1 ist gesperrt: GPU 3: Xid 79 (die GPU ist vom Bus verschwunden)"
    )
    assert (got["To"], got["Leitstand-Alert"]) == ("a@example.org, b@example.org", "j-1 opened")
    text = got.get_content()  # type: ignore[attr-defined]
    assert "leitstand nodes return n1" in text


def test_who_cannot_be_told_is_said_without_secrets(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret")
    with sinks.http() as http, sinks.smtp() as smtp:
        http.fails = smtp.fails = 1
        hook = Webhook("hook", f"http://127.0.0.1:{http.port}/", tmp_path / "key")
        with pytest.raises(NotTold, match="the receiver answered 503"):
            tell(hook, ALERT, OPENED, now_us=0, german=False)
        mail = Mail("ops", "127.0.0.1", "l@example.org", ("a@example.org",), smtp.port, "none")
        with pytest.raises(NotTold, match="451"):
            tell(mail, ALERT, OPENED, now_us=0, german=False)
        with pytest.raises(NotTold):  # there is no TLS
            tell(
                Mail("ops", "127.0.0.1", "l@e.org", ("a@e.org",), smtp.port),
                ALERT,
                OPENED,
                now_us=0,
                german=False,
            )
    with pytest.raises(NotTold, match="FileNotFoundError"):
        tell(Webhook("hook", hook.url, tmp_path / "none"), ALERT, OPENED, now_us=0, german=False)
    with pytest.raises(NotTold, match="Connect"):
        tell(hook, ALERT, OPENED, now_us=0, german=False)


def test_a_mail_that_some_got_is_told_and_says_who_was_refused(tmp_path: Path) -> None:
    with sinks.smtp() as sink:
        sink.refused = frozenset({b"b@example.org"})
        ops = Mail("ops", "127.0.0.1", "l@example.org", ("a@example.org", "b@example.org"), sink.port, "none")
        world = World(tmp_path, 1)
        world.settings = AlertSettings((ops,))
        world.start()
        world.happen(LOST)
        world.step()
        world.step(BACKOFF_S[1])
        assert len(sink.mails) == 1, "who has it does not get it again"
        (told,) = world.alerting.store.deliveries(["0123456789ab-1"])
        assert told.told_us > 0
        assert (told.tries, told.error) == (1, "the mail server refused b@example.org")


def test_a_mail_that_nobody_got_is_not_told() -> None:
    with sinks.smtp() as sink:
        sink.refused = frozenset({b"a@example.org", b"b@example.org"})
        ops = Mail("ops", "127.0.0.1", "l@example.org", ("a@example.org", "b@example.org"), sink.port, "none")
        with pytest.raises(NotTold, match="550"):
            tell(ops, ALERT, OPENED, now_us=0, german=False)
    assert sink.mails == []


# ── at least once ─────────────────────────────────────────────────────────────────────────────────────────────────────
class World:
    """A journal, a clock and a receiver; `alerting` is made anew as after a crash."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        (folder / "key").write_text("s3cret")
        self.journal: Any = MemoryJournal()
        self.now = 1_000_000
        self.sights: list[Sight] = []
        self.settings = AlertSettings((Webhook("hook", f"http://127.0.0.1:{port}/", folder / "key"),))
        self.alerting: Any = None
        self.stands_by = False
        self.start()

    def start(self) -> None:
        store = Store(self.folder / "alerts.db", JOURNAL, self.journal.head.seq)
        around = Surroundings(
            lambda: self.journal, lambda: self.now, lambda: iter(self.sights), lambda: self.stands_by
        )
        self.alerting = Alerting(store, self.settings, JOURNAL, around)

    def happen(self, *facts: f.Fact) -> None:
        self.now += 1_000_000
        self.journal.append(self.journal.head, self.now, facts)

    def step(self, seconds: float = 1.0) -> None:
        self.now += int(seconds * 1e6)
        asyncio.run(self.alerting.derive())
        asyncio.run(self.alerting.tell())


@pytest.fixture
def sink() -> Iterator[sinks.Sink]:
    with sinks.http() as made:
        yield made


def said(sink: sinks.Sink) -> list[str]:
    return [headers["Leitstand-Alert"] for headers, _ in sink.posts]


def test_each_receiver_is_told_once_while_nothing_fails(tmp_path: Path, sink: sinks.Sink) -> None:
    world = World(tmp_path, sink.port)
    world.happen(LOST)
    world.step()
    world.step()
    world.happen(f.NodeReturned("n1"))
    world.step()
    assert said(sink) == ["0123456789ab-1 opened", "0123456789ab-1 closed"]


def test_what_happened_before_the_first_start_is_not_told(tmp_path: Path, sink: sinks.Sink) -> None:
    world = World(tmp_path / "", sink.port)
    world.alerting.close()
    (tmp_path / "alerts.db").unlink()
    world.happen(LOST)
    world.start()
    world.step()
    assert said(sink) == []


def test_a_receiver_that_fails_is_tried_again_later_and_later(tmp_path: Path, sink: sinks.Sink) -> None:
    world = World(tmp_path, sink.port)
    sink.fails = 3
    world.happen(LOST)
    world.step()
    world.happen(f.NodeReturned("n1"))
    world.step()
    assert sink.tried == 1, "what follows waits its turn"
    (waiting, closing) = world.alerting.store.deliveries(["0123456789ab-1"])
    assert (waiting.what, waiting.tries, waiting.error) == (
        "opened",
        1,
        "NotTold: the receiver answered 503",
    ) or (waiting.error == "the receiver answered 503")
    assert closing.tries == 0
    for pause_s in (BACKOFF_S[0], 2 * BACKOFF_S[0], 4 * BACKOFF_S[0]):
        world.step(pause_s - 1)
        world.step(2)
    world.step()
    assert said(sink) == ["0123456789ab-1 opened", "0123456789ab-1 closed"]
    body = json.loads(sink.posts[0][1])
    assert body["closed_us"] is None, "it is told as it was"


def test_after_a_crash_nothing_is_lost(tmp_path: Path, sink: sinks.Sink) -> None:
    world = World(tmp_path, sink.port)
    sink.fails = 1
    world.happen(LOST)
    world.step()
    world.alerting.store.close()  # as the process dies
    world.happen(f.NodeReturned("n1"), LOST)
    world.start()
    world.step(BACKOFF_S[0])
    world.step(BACKOFF_S[0])
    assert said(sink) == ["0123456789ab-1 opened", "0123456789ab-1 closed", "0123456789ab-3 opened"]
    assert [alert.id for alert in world.alerting.store.open()] == ["0123456789ab-3"]


def test_a_crash_between_telling_and_noting_it_tells_again(
    tmp_path: Path, sink: sinks.Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, sink.port)
    world.happen(LOST)
    with monkeypatch.context() as dying:
        dying.setattr(Store, "told", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            world.step()
    world.start()
    world.step()
    assert said(sink) == ["0123456789ab-1 opened"] * 2, "the id lets the receiver drop one"


def test_what_is_seen_is_told_once_it_lasts(tmp_path: Path, sink: sinks.Sink) -> None:
    world = World(tmp_path, sink.port)
    unwell = Sight("site_unwell", "aachen", {"error": "slurmctld is away"}, True)
    world.sights = [unwell]
    world.step()
    world.sights = [unwell._replace(is_so=False)]
    world.step(PATIENCE_US / 1e6)
    assert said(sink) == []
    world.sights = [unwell]
    world.step()
    world.step(PATIENCE_US / 1e6)
    world.step()
    assert len(said(sink)) == 1
    world.start()  # after a crash it is open still
    world.step(PATIENCE_US / 1e6)
    world.step(PATIENCE_US / 1e6)
    assert len(said(sink)) == 1
    world.sights = [unwell._replace(is_so=False)]
    world.step()
    assert [line.split()[1] for line in said(sink)] == ["opened", "closed"]


def test_a_standby_leaves_telling_to_the_leader_and_tells_what_is_young_again_when_it_leads(
    tmp_path: Path, sink: sinks.Sink
) -> None:
    world = World(tmp_path, sink.port)
    world.stands_by = True
    world.happen(LOST)
    world.step()
    assert said(sink) == []
    world.step(31 * 60)  # the leader had all that time
    world.happen(f.NodeReturned("n1"))
    world.step()
    world.stands_by = False
    world.step()
    assert said(sink) == ["0123456789ab-1 closed"]


def test_a_receiver_hears_of_what_is_as_grave_as_it_wants(tmp_path: Path, sink: sinks.Sink) -> None:
    world = World(tmp_path, sink.port)
    url = world.settings.sinks[0].url  # type: ignore[union-attr]
    world.settings = AlertSettings((Webhook("hook", url, tmp_path / "key", "critical"),))
    world.start()
    world.happen(f.NodeReported("n1", "xid", 94), LOST)
    world.step()
    assert said(sink) == ["0123456789ab-2 opened"]


def test_a_full_disk_loses_no_alert(
    tmp_path: Path, sink: sinks.Sink, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(tmp_path, sink.port)
    world.happen(LOST)
    with monkeypatch.context() as full:
        full.setattr(Store, "keep", lambda *_: (_ for _ in ()).throw(OSError("no space left on device")))
        with pytest.raises(OSError):
            world.step()
    world.step()
    assert said(sink) == ["0123456789ab-1 opened"]


def test_a_damaged_file_is_kept_aside_and_alerts_begin_anew(tmp_path: Path, sink: sinks.Sink) -> None:
    world = World(tmp_path, sink.port)
    world.happen(LOST)
    world.step()
    world.alerting.store.close()
    (tmp_path / "alerts.db").write_bytes(b"no database" * 1000)
    world.start()
    world.happen(f.NodeReturned("n1"), LOST)
    world.step()
    assert said(sink) == ["0123456789ab-1 opened", "0123456789ab-3 opened"]
    assert (tmp_path / "alerts.db.damaged").exists()


@pytest.mark.parametrize(
    "code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_READ, sqlite3.SQLITE_BUSY, sqlite3.SQLITE_CANTOPEN]
)
def test_a_sound_file_that_cannot_be_read_now_stays_where_it_is_and_nothing_untold_is_lost(
    tmp_path: Path, sink: sinks.Sink, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    world = World(tmp_path, sink.port)
    sink.fails = 1
    world.happen(LOST)
    world.step()  # the connection stays open, as that of a process that was killed: its WAL is there still
    with monkeypatch.context() as failing:
        failing.setattr(sqlite3, "connect", sqlite_failing(code, "SELECT journal"))
        with pytest.raises(sqlite3.OperationalError):
            world.start()
    assert not (tmp_path / "alerts.db.damaged").exists()
    assert (tmp_path / "alerts.db-wal").exists()
    world.start()
    world.step(BACKOFF_S[0])
    assert said(sink) == ["0123456789ab-1 opened"]


def test_old_alerts_and_receivers_that_went_are_forgotten(tmp_path: Path, sink: sinks.Sink) -> None:
    world = World(tmp_path, sink.port)
    world.happen(*[f.NodeReported(f"n{number}", "xid", 94) for number in range(10)], LOST)
    world.step()
    store = world.alerting.store
    store.prune(["hook"], keep=3)
    assert [alert.subject for alert in store.latest(99)] == ["n1", "n9", "n8"]
    world.happen(f.NodeReported("n0", "xid", 63))
    sink.fails = 1
    world.step()
    store.prune([], keep=3)
    assert store.due("hook", world.now + 10**12, 99) == []


# ── over HTTP ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def test_alerts_are_listed_with_words_and_who_was_told(tmp_path: Path, sink: sinks.Sink) -> None:
    plant, world = Plant(tmp_path), World(tmp_path, sink.port)
    assert plant.ask("GET", "/v1/alerts").json() == {"items": []}
    assert problem(plant.ask("POST", "/v1/alerts/test"), 409, "conflict")
    plant.faces.alerts = world.alerting
    world.happen(f.NodeReported("n1", "xid", 94, 3), LOST)
    world.step()
    newest, warned = plant.ask("GET", "/v1/alerts").json()["items"]
    assert (newest["kind"], newest["severity"], newest["open"]) == ("node_drained", "critical", True)
    assert newest["en"]["remedy"].endswith("leitstand nodes return n1")
    assert newest["de"]["title"].startswith("Knoten n1 ist gesperrt")
    (told,) = newest["told"]
    assert (told["receiver"], told["event"], told["tries"], told["error"]) == ("hook", "opened", 1, "")
    assert told["told_at"] is not None
    assert (warned["kind"], warned["open"], warned["closed_at"]) == ("gpu_warning", False, None)
    (only,) = plant.ask("GET", "/v1/alerts?open=true").json()["items"]
    assert only["id"] == newest["id"]
    id = plant.ask("POST", "/v1/alerts/test").json()["id"]
    world.step()
    assert said(sink)[-1] == f"{id} opened"
