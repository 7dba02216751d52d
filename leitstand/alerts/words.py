# SPDX-License-Identifier: Apache-2.0
"""What an alert says to people, in English and German: what it is, its cause, what to do. Read by who tells them."""

from datetime import UTC, datetime
from typing import Final, NamedTuple

from leitstand.alerts.deriving import Alert
from leitstand.alerts.troubles import in_words


class Words(NamedTuple):
    """`title`: one line."""

    title: str
    cause: str
    remedy: str


# kind → (title, cause, remedy), English and German; places in braces are those of `_places`
_WORDS: Final = {
    "node_drained": (
        (
            "node {subject} is drained: {trouble}",
            "{trouble}. The node takes nothing new; what ran there saves its work and goes on elsewhere.",
            "Look at the node, reset or replace what is bad, then: leitstand nodes return {subject}",
        ),
        (
            "Knoten {subject} ist gesperrt: {trouble}",
            "{trouble}. Der Knoten nimmt nichts Neues an; was dort lief, sichert die Arbeit und geht anderswo weiter.",
            "Den Knoten ansehen, zurücksetzen oder tauschen, was schlecht ist, dann: leitstand nodes return {subject}",
        ),
    ),
    "node_failed": (
        (
            "node {subject} is gone",
            "Its engine says that the node failed. What ran there goes on elsewhere, from its last checkpoint.",
            "See why the node does not answer; once its engine has it again, it serves by itself.",
        ),
        (
            "Knoten {subject} ist ausgefallen",
            "Seine Engine sagt, dass der Knoten weg ist. Was dort lief, geht anderswo vom letzten Checkpoint weiter.",
            "Nachsehen, warum der Knoten nicht antwortet; sobald ihn seine Engine wieder hat, dient er von selbst.",
        ),
    ),
    "burn_in_failed": (
        (
            "the burn-in of node {subject} failed",
            "Job {job} ended otherwise than well ({reason}, exit code {exit_code}). The node stays drained.",
            "leitstand logs {job} says what failed; repair it, then: leitstand nodes return {subject}",
        ),
        (
            "der Burn-in von Knoten {subject} ist gescheitert",
            "Job {job} endete nicht gut ({reason}, Exit-Code {exit_code}). Der Knoten bleibt gesperrt.",
            "leitstand logs {job} sagt, was scheiterte; reparieren, dann: leitstand nodes return {subject}",
        ),
    ),
    "gpu_warning": (
        (
            "node {subject}: {trouble}",
            "{trouble}. The node goes on serving.",
            "Watch the GPU; reset it when the node is next free, and report the node if it comes again.",
        ),
        (
            "Knoten {subject}: {trouble}",
            "{trouble}. Der Knoten dient weiter.",
            "Die GPU beobachten; zurücksetzen, wenn der Knoten frei ist, und den Knoten melden, wenn es wiederkommt.",
        ),
    ),
    "promise_broken": (
        (
            "the promised start of job {subject} is broken",
            "It was to start at {old_us}; cause: {cause}. Now: {new_us}.",
            "leitstand explain {subject} says what it waits for; tell its tenant.",
        ),
        (
            "der zugesagte Start von Job {subject} ist gebrochen",
            "Er sollte um {old_us} starten; Ursache: {cause}. Jetzt: {new_us}.",
            "leitstand explain {subject} sagt, worauf er wartet; den Mandanten unterrichten.",
        ),
    ),
    "booking_broken": (
        (
            "booking {subject} has lost places",
            "Cause: {cause}. There are no others for them; it is smaller from now on, and pays less.",
            "leitstand bookings show {subject}; tell its tenant.",
        ),
        (
            "Buchung {subject} hat Plätze verloren",
            "Ursache: {cause}. Andere gibt es nicht; sie ist von jetzt an kleiner und zahlt weniger.",
            "leitstand bookings show {subject}; den Mandanten unterrichten.",
        ),
    ),
    "site_unwell": (
        (
            "site {subject} is not well",
            "{error}. It takes nothing new; what runs there runs on.",
            "leitstand sites test {subject} says which part fails.",
        ),
        (
            "Standort {subject} ist gestört",
            "{error}. Er nimmt nichts Neues an; was dort läuft, läuft weiter.",
            "leitstand sites test {subject} sagt, welcher Teil versagt.",
        ),
    ),
    "writer_away": (
        (
            "the writer of the control plane is away",
            "Nobody decides: jobs are neither taken nor started. What runs goes on.",
            "It is started again by itself; if it stays away, DIR/log/writer.log says why.",
        ),
        (
            "der Schreiber der Leitstelle ist weg",
            "Niemand entscheidet: Jobs werden weder angenommen noch gestartet. Was läuft, läuft weiter.",
            "Er startet von selbst neu; bleibt er weg, sagt DIR/log/writer.log, warum.",
        ),
    ),
    "journal_away": (
        (
            "the journal cannot be read",
            "The database that holds it does not answer. What runs goes on.",
            "See to the database and the way to it.",
        ),
        (
            "das Journal ist nicht zu lesen",
            "Die Datenbank, in der es liegt, antwortet nicht. Was läuft, läuft weiter.",
            "Nach der Datenbank und dem Weg zu ihr sehen.",
        ),
    ),
    "disk_low": (
        (
            "the disk of the control plane is below its reserve",
            "New jobs are refused until there is more; what runs is still reported.",
            "Free some disk where the data folder is.",
        ),
        (
            "der Platte der Leitstelle fehlt ihre Reserve",
            "Neue Jobs werden abgelehnt, bis mehr frei ist; was läuft, wird noch berichtet.",
            "Platz schaffen, wo der Datenordner liegt.",
        ),
    ),
    "test": (
        ("a test of the alerts", "Somebody asked for it: leitstand alerts test", "Nothing is to be done."),
        ("ein Test der Alarme", "Jemand wollte ihn: leitstand alerts test", "Es ist nichts zu tun."),
    ),
}  # fmt: skip
_OVER: Final = (
    ("over: {title}", "This is over since {closed}."),
    ("vorbei: {title}", "Das ist vorbei seit {closed}."),
)


def words(alert: Alert, *, german: bool) -> Words:
    """What it says; of one that is over that it is."""
    title, cause, remedy = _WORDS[alert.kind][german]
    places = _places(alert, german=german)
    said = Words(title.format(**places), cause.format(**places), remedy.format(**places))
    if not alert.closed_us:
        return said
    over, since = _OVER[german]
    return Words(over.format(title=said.title), since.format(closed=_time(alert.closed_us)), "")


def _places(alert: Alert, *, german: bool) -> dict[str, str]:
    about = alert.about
    found = {name: _time(int(value)) if name.endswith("_us") else str(value) for name, value in about.items()}
    if about.get("exit_code") == -1:
        found["exit_code"] = "-"
    if "code" in about:
        found["trouble"] = in_words(str(about["kind"]), int(about["code"]), int(about["gpu"]), german=german)
    return {**found, "subject": alert.subject}


def _time(us: int) -> str:
    return datetime.fromtimestamp(us / 1e6, UTC).strftime("%Y-%m-%d %H:%M:%S UTC") if us else "-"
