# SPDX-License-Identifier: Apache-2.0
"""The German of the commands about maintenance. Read by `leitstand.cli.german`."""

from typing import Final

MAINTENANCE: Final = {
    "List, plan and cancel maintenance: times in which nodes are out of service.": "Wartungen auflisten, planen und "
    "absagen: Zeiten, in denen Knoten außer Dienst sind.",
    "List the maintenance windows that are not over.": "Die Wartungsfenster auflisten, die nicht vorbei sind.",
    "Plan maintenance of nodes, or of all that stand in one domain.": "Eine Wartung von Knoten planen, oder von allen "
    "in einer Domäne.",
    "Cancel maintenance; what has begun ends, and its nodes are back.": "Eine Wartung absagen; was begonnen hat, "
    "endet, und ihre Knoten sind zurück.",
    "A site, block or rack, like muc/b1/r7.": "Ein Standort, Block oder Rack, wie muc/b1/r7.",
    "From when on.  [default: as soon as everybody can have saved his work]": "Ab wann.  [Standard: sobald alle ihre "
    "Arbeit gesichert haben können]",
    "Until when.  [default: until it is cancelled]": "Bis wann.  [Standard: bis sie abgesagt wird]",
    "Now, whatever was promised: promises break by name.": "Jetzt, was auch versprochen war: Versprechen brechen beim "
    "Namen genannt.",
    "Although guarantees shrink meanwhile.": "Obwohl Garantien so lange schrumpfen.",
    "Only show whom it would meet.": "Nur zeigen, wen sie träfe.",
    "WINDOW": "FENSTER",
    "STEP": "SCHRITT",
    "MEETS": "TRIFFT",
    "WHAT": "WAS",
    "No maintenance is planned.": "Keine Wartung ist geplant.",
    "It meets nobody.": "Sie trifft niemanden.",
    "Plan it so?": "So planen?",
    "Cancel maintenance {window}?": "Die Wartung {window} absagen?",
    "maintenance {window} is planned": "die Wartung {window} ist geplant",
    "maintenance {window} is cancelled": "die Wartung {window} ist abgesagt",
    "runs that are told to end": "Läufe, die enden sollen",
    "promised start that moves": "versprochener Start, der umzieht",
    "places that were only planned": "Plätze, die nur geplant waren",
    "promises that break": "Versprechen, die brechen",
    "not possible: {why}": "nicht möglich: {why}",
    "possible from {time} on": "möglich ab {time}",
    "draining": "leert sich",
    "begun": "begonnen",
    "emergency": "Notfall",
    "hardware": "Hardware",
    "software": "Software",
    "network": "Netz",
    "power": "Strom",
    "cooling": "Kühlung",
    "safety": "Sicherheit",
    "other reason": "anderes",
    "no end": "ohne Ende",
}
