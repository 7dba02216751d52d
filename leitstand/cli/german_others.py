# SPDX-License-Identifier: Apache-2.0
"""The German of what others say through the command line: the codes of the control plane, and the library click.

Read by `leitstand.cli.words` and `leitstand.cli.clicked`. The codes are closed lists of the core and the API.
"""

import errno
from typing import Final

# States of jobs and runs, reasons, outcomes.
CODES: Final[dict[str, str]] = {
    "pending": "wartend",
    "starting": "startend",
    "running": "laufend",
    "stopping": "endend",
    "succeeded": "erfolgreich",
    "failed": "gescheitert",
    "cancelled": "abgebrochen",
    "rejected": "abgelehnt",
    "ended": "beendet",
    "capacity": "Kapazität",
    "freeing": "wird frei",
    "failure": "Ausfall",
    "moving": "zieht um",
    "lending": "nicht verliehen",
    "maintenance": "Wartung",
    "reserved": "reserviert",
    "share": "Anteil",
    "topology": "Topologie",
    "order": "Reihenfolge",
    "exit_code": "Exit-Code",
    "signal": "Signal",
    "max_duration_exceeded": "Höchstdauer überschritten",
    "start_failed": "nicht gestartet",
    "lost": "verloren",
    "shape": "Form",
    "no_such_capacity": "keine solche Kapazität",
    "gang_too_wide": "Verbund zu breit",
    "unknown_level": "unbekannte Ebene",
    "entitlement": "Anspruch",
    "tenant_suspended": "Mandant gesperrt",
    "tenant_exit": "Mandant ausgeschieden",
    "project_closed": "Projekt geschlossen",
    "limit": "Grenze überschritten",
    "budget": "Budget",
    "held": "angehalten",
    "begin_time": "Beginn",
    "dependency": "Abhängigkeit",
    "dependency_failed": "Abhängigkeit nicht erfüllt",
    "unknown_dependency": "unbekannte Abhängigkeit",
    "deadline": "Frist",
    "deadline_missed": "Frist verpasst",
    "booking": "Buchung",
    "booking_ended": "Buchung zu Ende",
    "unknown_booking": "unbekannte Buchung",
    "exited": "beendet",
    "time_limit": "Höchstdauer",
    "stopped": "gestoppt",
    "recall": "Rückruf",
    "priority": "Priorität",
    "rebalance": "Ausgleich",
    "move": "Umzug",
    "node_failed": "Knoten ausgefallen",
}

# What a reason says of a job that waits or has ended.
MESSAGES: Final[dict[str, str]] = {
    "capacity": "wartet, bis genug auf einmal frei ist",
    "order": "wartet, bis er an der Reihe ist",
    "held": "ist angehalten, bis ihn jemand freigibt",
    "begin_time": "wartet bis zu der Zeit, vor der er nicht beginnen soll",
    "dependency": "wartet auf das Ende anderer Jobs",
    "dependency_failed": "wurde beendet, weil ein Job, auf den er wartete, anders endete",
    "booking": "wartet auf Platz in der Buchung, die er nennt",
    "booking_ended": "wurde beendet, weil die Buchung endete, die er nennt",
    "deadline_missed": "wurde beim Warten beendet, weil er seine Frist nicht mehr einhalten konnte",
    "no_such_capacity": "wartet auf Knoten, die außer Dienst sind: der Rest kann ihn nicht fassen",
    "limit": "wartet: Projekt, Mandant oder Klasse nähmen mehr als Garantie und Leihgrenze zusammen",
    "freeing": "wartet auf Kapazität, die für ihn frei gemacht wird",
    "failure": "wartet auf Knoten anstelle der ausgefallenen; die übrigen werden eine Weile für ihn gehalten",
    "moving": "macht Platz für einen anderen Job: sein Lauf endet und geht anderswo weiter, wo Plätze für ihn gehalten "
    "werden",
    "lending": "wartet: was brachliegt, wird nicht verliehen",
    "maintenance": "wartet auf das Ende einer Wartung der Knoten, die er hätte",
    "reserved": "wartet: er passte jetzt, aber nicht für seine ganze Zeitgrenze neben dem, was andere reserviert haben",
    "share": "wartet: genug ist frei, nicht in seiner Form, und über seinen Anteil hinaus macht niemand Platz",
    "topology": "wartet: genug ist frei, nicht in seiner Form, und niemand kann Platz machen",
    "exit_code": "endete mit Exit-Code {exit_code}",
    "signal": "wurde durch Signal {signal} beendet",
    "max_duration_exceeded": "wurde nach seiner Höchstdauer von {max_duration} beendet",
    "cancelled": "wurde abgebrochen",
    "start_failed": "konnte nicht gestartet werden",
    "lost": "lief, und sein Ende wurde nicht beobachtet",
    "tenant_suspended": "hält an, solange der Mandant gesperrt ist",
    "tenant_exit": "wurde beendet, weil der Mandant ausscheidet",
    "budget": "wurde beendet, weil kein Budget, das bis zu seinem Ende gilt, einen weiteren Lauf oder einen späteren "
    "Start bezahlen konnte",
}

# Problems of the API by their code, where the code says it all.
PROBLEMS: Final[dict[str, str]] = {
    "unauthenticated": "Der Token gilt nicht.",
    "unknown-job": "Diesen Job gibt es nicht.",
    "unknown-task": "Diesen Teil des Jobs gibt es nicht.",
    "unknown-tenant": "Diesen Mandanten gibt es nicht.",
    "unknown-user": "Diese Person gibt es nicht.",
    "unknown-project": "Dieses Projekt gibt es nicht.",
    "unknown-application": "Diesen Antrag gibt es nicht.",
    "unknown-booking": "Diese Buchung gibt es nicht, oder nicht mehr.",
    "unknown-node": "Diesen Knoten gibt es nicht.",
    "unknown-maintenance": "Dieses Wartungsfenster gibt es nicht, oder nicht mehr.",
    "unknown-commitment": "Diese Zusage gibt es nicht, oder nicht mehr.",
    "unknown-token": "Diesen Token gibt es nicht.",
    "unknown-secret": "Dieses Geheimnis gibt es nicht.",
    "unknown-legal": "Der Mandant hat keine rechtliche Identität.",
    "unknown-invitation": "Diese Einladung gibt es nicht.",
    "access-denied": "Die Anmeldung wurde abgelehnt.",
    "expired": "Diese Anmeldung ist vorbei.",
    "changed": "Das wurde inzwischen geändert; sehen Sie es noch einmal an.",
    "request-reused": "Unter diesem Idempotency-Key wurde schon etwas anderes eingereicht.",
    "disk-full": "Der freie Plattenplatz liegt unter der Reserve; laufende Jobs laufen weiter.",
    "standby": "Diese Leitstelle steht nur bereit; eine andere führt (`leitstand status`).",
    "writer-away": "Der entscheidende Prozess ist gerade nicht da; er startet von selbst neu.",
}

# What the operating system says, by number.
ERRNO: Final[dict[int, str]] = {
    errno.ENOENT: "Datei oder Ordner nicht gefunden",
    errno.EACCES: "Zugriff verweigert",
    errno.EPERM: "nicht erlaubt",
    errno.EISDIR: "ist ein Ordner",
    errno.ENOTDIR: "ist kein Ordner",
    errno.EEXIST: "gibt es schon",
    errno.ENOSPC: "kein Platz mehr auf dem Datenträger",
    errno.EDQUOT: "das Kontingent auf dem Datenträger ist aufgebraucht",
    errno.EROFS: "der Datenträger ist nur lesbar",
    errno.EIO: "Fehler des Datenträgers",
    errno.ENAMETOOLONG: "der Name ist zu lang",
    errno.ELOOP: "zu viele Verweise",
    errno.EMFILE: "zu viele offene Dateien",
}

# What a refusal of the API says, as patterns of its English.
DENIALS: Final[dict[str, str]] = {
    r"(\S+) is not yours here: no policy permits it": "{0} ist Ihnen hier nicht erlaubt: keine Richtlinie gibt es "
    "frei.",
    r"(\S+) is not yours here: forbidden by (.+)": "{0} ist Ihnen hier nicht erlaubt: {1} verbietet es.",
    r"(\S+) takes a token with the scope (\S+); this one has (.+)": "{0} braucht einen Token mit dem Bereich {1}; "
    "dieser hat {2}.",
}

# What the API advises, where that is so on the command line, too.
HINTS: Final[dict[str, str]] = {
    "issue a token with the scope read": "Stellen Sie einen Token mit dem Bereich read aus.",
    "issue a token with the scope jobs": "Stellen Sie einen Token mit dem Bereich jobs aus.",
    "issue a token with the scope admin": "Stellen Sie einen Token mit dem Bereich admin aus.",
    "use a token of that tenant, or one that is bound to none": "Nehmen Sie einen Token dieses Mandanten, oder einen, "
    "der an keinen gebunden ist.",
    "ask for scopes that this token has, or use a wider one": "Verlangen Sie nur Bereiche, die dieser Token hat, oder "
    "nehmen Sie einen weiteren.",
    "somebody else records a check, or approves": "Jemand anders prüft etwas, oder genehmigt.",
    "ask an administrator of the tenant for the role": "Die Rolle gibt, wer den Mandanten verwaltet.",
    "it takes a role of the platform, which its operators grant": "Das braucht eine Rolle der Plattform; die geben "
    "ihre Betreiber.",
}

# The sentences of click by their English, as its source has them.
CLICK: Final[dict[str, str]] = {
    "Usage:": "Aufruf:",
    "Options": "Optionen",
    "default: {default}": "sonst: {default}",
    "env var: {var}": "Variable: {var}",
    "required": "nötig",
    "Try '{command} {option}' for help.": "Hilfe gibt „{command} {option}“.",
    "Show this message and exit.": "Diese Hilfe zeigen.",
    "Show the version and exit.": "Die Version zeigen.",
    "Invalid value: {message}": "Unbrauchbarer Wert: {message}",
    "Invalid value for {param_hint}: {message}": "Unbrauchbarer Wert für {param_hint}: {message}",
    "Missing argument": "Es fehlt das Argument",
    "Missing option": "Es fehlt die Option",
    "Missing parameter": "Es fehlt der Parameter",
    "Missing parameter: {param_name}": "Es fehlt der Parameter {param_name}",
    "Missing {param_type}": "Es fehlt: {param_type}",
    "Missing command.": "Es fehlt der Befehl.",
    "Choose from:\n\t{choices}": "Zur Wahl stehen:\n\t{choices}",
    "No such option {name!r}.": "Die Option {name!r} gibt es nicht.",
    "No such command {name!r}.": "Den Befehl {name!r} gibt es nicht.",
    "Did you mean {possibility}?": "Meinten Sie {possibility}?",
    "(Did you mean one of: {possibilities}?)": "(Meinten Sie eines von diesen: {possibilities}?)",
    "Could not open file {filename!r}: {message}": "Die Datei {filename!r} lässt sich nicht öffnen: {message}",
    "unknown error": "unbekannter Fehler",
    "Got unexpected extra argument ({args})": "Ein Argument ist zu viel ({args})",
    "Got unexpected extra arguments ({args})": "Diese Argumente sind zu viel ({args})",
    "Takes {nargs} values but 1 was given.": "Nimmt {nargs} Werte, bekam aber 1.",
    "Takes {nargs} values but {len} were given.": "Nimmt {nargs} Werte, bekam aber {len}.",
    "Argument {name!r} takes {nargs} values.": "Das Argument {name!r} nimmt {nargs} Werte.",
    "Option {name!r} does not take a value.": "Die Option {name!r} nimmt keinen Wert.",
    "Option {name!r} requires an argument.": "Die Option {name!r} braucht einen Wert.",
    "Option {name!r} requires {nargs} arguments.": "Die Option {name!r} braucht {nargs} Werte.",
    "{value!r} is not {choice}.": "{value!r} ist nicht {choice}.",
    "{value!r} is not one of {choices}.": "{value!r} ist keines von {choices}.",
    "{value} is not in the range {range}.": "{value} liegt nicht im Bereich {range}.",
    "{value!r} is not a valid {number_type}.": "{value!r} ist keine solche Zahl.",
    "{name} {filename!r} does not exist.": "{name} {filename!r} gibt es nicht.",
    "{name} {filename!r} is a file.": "{name} {filename!r} ist eine Datei.",
    "{name} {filename!r} is a directory.": "{name} {filename!r} ist ein Ordner.",
    "{name} {filename!r} is not readable.": "{name} {filename!r} ist nicht lesbar.",
    "{name} {filename!r} is not writable.": "{name} {filename!r} ist nicht beschreibbar.",
    "file": "Datei",
    "directory": "Ordner",
    "path": "Pfad",
    "Error: invalid input": "Fehler: unbrauchbare Eingabe",
}
