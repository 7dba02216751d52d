# SPDX-License-Identifier: Apache-2.0
"""The German of the commands about bookings. Read by `leitstand.cli.german`."""

from typing import Final

BOOKINGS: Final = {
    "List, show, book and cancel bookings: capacity from a time to a time.": "Buchungen auflisten, zeigen, machen und "
    "absagen: Kapazität von einer Zeit bis zu einer anderen.",
    "List the bookings that are not over.": "Die Buchungen auflisten, die nicht vorbei sind.",
    "Show one booking.": "Eine Buchung zeigen.",
    "Book capacity for the jobs of a project that name the booking.": "Kapazität für die Jobs eines Projekts buchen, "
    "die die Buchung nennen.",
    "Cancel a booking; one that has begun ends now, with the jobs that name it.": "Eine Buchung absagen; eine, die "
    "begonnen hat, endet jetzt, mit den Jobs, die sie nennen.",
    "Of this tenant alone.": "Nur die dieses Mandanten.",
    "GPUs per node, also with their type: H100:8.": "GPUs pro Knoten, auch mit ihrem Typ: H100:8.",
    "Nodes.  [default: 1]": "Knoten.  [Standard: 1]",
    "All in one domain of this level, like rack.": "Alle in einer Domäne dieser Ebene, etwa rack.",
    "From when on.  [default: as soon as who is in its place can have left]": "Ab wann.  [Standard: sobald gegangen "
    "sein kann, wer an ihrem Platz ist]",
    "Until when.": "Bis wann.",
    "Whose jobs may name it, and who pays.  [default: your only one, else default]": "Wessen Jobs sie nennen dürfen, "
    "und wer zahlt.  [Standard: Ihr einziges, sonst default]",
    "Another project of the tenant.": "Ein weiteres Projekt des Mandanten.",
    "It ends once nobody used it for so long.": "Sie endet, sobald sie so lange niemand nutzte.",
    "In this pool alone.": "Nur in diesem Pool.",
    "Only show whether it can be had.": "Nur zeigen, ob sie zu haben ist.",
    "It runs in this booking alone, and ends with it.": "Er läuft nur in dieser Buchung und endet mit ihr.",
    "BOOKING": "BUCHUNG",
    "JOBS": "JOBS",
    "Nothing is booked.": "Nichts ist gebucht.",
    "there is no booking {booking}, or no longer; `leitstand bookings` lists them": "die Buchung {booking} gibt es "
    "nicht, oder nicht mehr; `leitstand bookings` listet sie auf",
    "Book it so?": "So buchen?",
    "booking {booking} is made": "die Buchung {booking} ist gemacht",
    "Cancel booking {booking}? This cannot be taken back.": "Die Buchung {booking} absagen? Das lässt sich nicht "
    "zurücknehmen.",
    "booking {booking} is cancelled; to be paid: {price}": "die Buchung {booking} ist abgesagt; bezahlt wird: {price}",
    "booked": "gebucht",
    "clearing": "wird geräumt",
    "closing": "schließt",
    "from": "von",
    "until": "bis",
    "step": "Schritt",
    "for jobs of": "für Jobs von",
    "counts for": "zählt",
    "{count} GPUs in pool {pool}": "{count} GPUs im Pool {pool}",
    "nodes": "Knoten",
    "price": "Preis",
    "jobs that name it": "Jobs, die sie nennen",
    "{jobs}, of which {running} run": "{jobs}, davon laufen {running}",
    "runs that are told to end for it: {count}": "Läufe, die für sie enden sollen: {count}",
    "cannot be had: {why}": "nicht zu haben: {why}",
    "can be had from {time} on": "zu haben ab {time}",
    "{count} GPU-hours": "{count} GPU-Stunden",
    "nothing": "nichts",
}
