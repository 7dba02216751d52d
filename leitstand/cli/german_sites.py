# SPDX-License-Identifier: Apache-2.0
"""The German of the commands about sites. Read by `leitstand.cli.german`."""

from typing import Final

SITES: Final = {
    "List, show, add, test and remove sites.": "Standorte auflisten, zeigen, aufnehmen, prüfen und entfernen.",
    "Show a site: how it is, and how it was added.": "Einen Standort zeigen: wie es ihm geht und wie er aufgenommen "
    "wurde.",
    "Test a site that a file describes, then add it, or change the one of that name.": "Einen Standort prüfen, den "
    "eine Datei beschreibt, und ihn aufnehmen, oder den dieses Namens ändern.",
    "Test a site that a file describes, or one that was added, by its name.": "Einen Standort prüfen, den eine Datei "
    "beschreibt, oder einen, der aufgenommen wurde, nach seinem Namen.",
    "Remove a site where no run lives.": "Einen Standort entfernen, an dem kein Lauf mehr lebt.",
    "Also if a test fails: the site may be well later.": "Auch wenn eine Prüfung scheitert: später mag es gehen.",
    "Site {name} was not added: a test failed.": "Der Standort {name} wurde nicht aufgenommen: eine Prüfung ist "
    "gescheitert.",
    "Mend what failed, or add it with --anyway if it will be well later.": "Beheben, was gescheitert ist, oder ihn mit "
    "--anyway aufnehmen, wenn es später gehen wird.",
    "site {name} is there: {nodes} nodes with {gpus} GPUs in service": "der Standort {name} ist da: {nodes} Knoten mit "
    "{gpus} GPUs in Dienst",
    "Remove site {name}?": "Den Standort {name} entfernen?",
    "site {name} is removed": "der Standort {name} ist entfernt",
    "There is no file {file}.": "Eine Datei {file} gibt es nicht.",
    "Site {name} was not added; there is nothing to test.": "Der Standort {name} wurde nicht aufgenommen; es gibt "
    "nichts zu prüfen.",
    "{site}: not well since {time}: {why}": "{site}: gestört seit {time}: {why}",
    "{nodes} nodes, {gpus} GPUs": "{nodes} Knoten, {gpus} GPUs",
    "opening": "wird geöffnet",
    "not well": "gestört",
    "leaving": "geht",
    "ok": "gut",
    "warning": "Warnung",
    "FAILED": "GESCHEITERT",
    "skipped": "übergangen",
    "TEST": "PRÜFUNG",
    "OUTCOME": "ERGEBNIS",
    "FOUND": "BEFUND",
    "STATUS": "STATUS",
    "engine": "Engine",
    "operator": "Betreiber",
    "jurisdiction": "Recht",
    "status": "Status",
    "error": "Fehler",
    "since": "seit",
    "last answer": "letzte Antwort",
    "Slurm": "Slurm",
    "nodes listed": "Knoten gelistet",
    "nodes in service": "Knoten in Dienst",
    "GPUs in service": "GPUs in Dienst",
    "GPUs free": "GPUs frei",
    "levels": "Ebenen",
}
