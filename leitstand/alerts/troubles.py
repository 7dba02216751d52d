# SPDX-License-Identifier: Apache-2.0
"""Troubles of nodes in words, English and German. Read by alerts and by the command line."""

from typing import Final

from leitstand.core.health.table import XID, XIDS

# kind → what it is, English and German
KINDS: Final = {
    XID: ("an error of the GPU's driver", "ein Fehler des GPU-Treibers"),
    "ecc_uncorrected": (
        "memory errors that could not be corrected",
        "Speicherfehler, die sich nicht berichtigen ließen",
    ),
    "retired_pages": (
        "memory that waits for a reset to be taken out of use",
        "Speicher, der beim nächsten Rücksetzen stillgelegt wird",
    ),
    "remap_failed": (
        "memory that could not be taken out of use",
        "Speicher, der sich nicht stilllegen ließ",
    ),
    "nvlink": ("a link to another GPU failed", "eine Verbindung zu einer anderen GPU ist ausgefallen"),
    "gpu_lost": ("a GPU does not answer", "eine GPU antwortet nicht"),
    "health_check": ("a check of the site failed", "eine Prüfung des Standorts ist gescheitert"),
    "operator": ("an operator says so", "der Betrieb sagt es"),
}
# by the number of the Xid
GERMAN: Final = {
    8: "ein Programm einer GPU stand still",
    13: "ein Programm ließ die Grafikeinheit scheitern",
    31: "ein Programm griff auf Speicher zu, den es nicht gibt",
    32: "ein Programm gab der GPU Befehle, die keine sind",
    37: "ein Programm gab dem Treiber, was er nicht brauchen kann",
    43: "ein Programm einer GPU wurde nach einem eigenen Fehler beendet",
    45: "Programme wurden nach einem früheren Fehler beendet",
    46: "die GPU arbeitet nicht mehr",
    48: "ein Speicherfehler von zwei Bit ließ sich nicht berichtigen",
    61: "die innere Steuerung der GPU warnte oder hielt an",
    62: "die innere Steuerung der GPU steht",
    63: "eine Seite oder Zeile Speicher wird beim nächsten Rücksetzen stillgelegt",
    64: "eine Seite oder Zeile Speicher ließ sich nicht stilllegen",
    68: "ein Video-Decoder scheiterte",
    69: "ein Programm benutzte eine Klasse der Grafikeinheit falsch",
    74: "NVLink ist ausgefallen",
    79: "die GPU ist vom Bus verschwunden",
    92: "viele Speicherfehler von einem Bit werden berichtigt",
    94: "ein Speicherfehler wurde eingegrenzt: ein Programm wurde beendet",
    95: "ein Speicherfehler wurde nicht eingegrenzt",
    109: "der Wechsel zwischen Programmen dauerte zu lange",
    110: "die GPU hat einen Fehler der Sicherheit",
    119: "der Systemprozessor der GPU antwortet nicht",
    120: "der Systemprozessor der GPU ist ausgefallen",
    121: "ein Fehler der Verbindung zur CPU wurde berichtigt",
    136: "eine Verbindung der GPU ließ sich nicht aufbauen",
    140: "ein Speicherfehler ließ sich nicht beheben",
    143: "die GPU ließ sich nicht in Betrieb nehmen",
    155: "eine NVLink-Verbindung hat ihren Betriebszustand verlassen",
}


def in_words(kind: str, code: int, gpu: int | None, *, german: bool) -> str:
    """One trouble in a line: `GPU 3: Xid 79 (the GPU fell off the bus)`. `gpu` None or -1: none in particular."""
    what = KINDS[kind][german] if kind in KINDS else kind
    if kind == XID:
        what = f"Xid {code}"
        if code in XIDS:
            what += f" ({GERMAN[code] if german else XIDS[code].says})"
    return what if gpu is None or gpu < 0 else f"GPU {gpu}: {what}"
