# SPDX-License-Identifier: Apache-2.0
"""The German of the commands about entitlements, commitments and quota. Read by `leitstand.cli.german`."""

from typing import Final

SHARES: Final[dict[str, str]] = {
    # explain
    "You work in several tenants: name one.": "Sie arbeiten in mehreren Mandanten: nennen Sie einen.",
    "Instead, say why the share of a TENANT or TENANT/PROJECT is what it is.": "Stattdessen sagen, warum der Anteil "
    "von TENANT oder TENANT/PROJECT ist, wie er ist.",
    "Name a job, or ask for a --share.": "Einen Job nennen oder nach einem Anteil fragen: --share.",
    "it gets all it asks for": "er bekommt alles, was er will",
    "it gets its guarantee and, by weight, its part of what is left": "er bekommt seine Garantie und nach Gewicht "
    "seinen Teil vom Rest",
    "it gets its guarantee: nothing is left beyond guarantees": "er bekommt seine Garantie: mehr ist nicht übrig",
    "guarantees are more than there is; all shrink in proportion": "die Garantien sind mehr, als da ist; alle "
    "schrumpfen im Verhältnis",
    "it asks for nothing": "er will nichts",
    "it has no share: it never had a job here, or the discipline has none": "er hat keinen Anteil: er hatte hier nie "
    "einen Job, oder die Regeln kennen keine Anteile",
    "share": "Anteil",
    "what its guarantee costs others": "was seine Garantie andere kostet",
    "DEMAND": "BEDARF",
    "LAG (H)": "RÜCKSTAND (H)",
    "WITHOUT THE GUARANTEE": "OHNE DIE GARANTIE",
    "Say why a job waits, and what would start it now.": "Sagen, warum ein Job wartet und womit er jetzt startete.",
    "Say why a job waits, when it starts, and the smallest changes that would start it now; or why it was stopped for "
    "other jobs.": "Sagen, warum ein Job wartet, wann er startet und mit welchen kleinsten Änderungen er jetzt "
    "startete; oder warum er für andere gestoppt wurde.",
    "It was stopped before its end; of all runs that may be taken, those go that lose least:": "Er wurde vor seinem "
    "Ende gestoppt; von allen Läufen, die man nehmen darf, gehen die, die am wenigsten verlieren:",
    "What would have protected the last one: {what}": "Was den letzten geschützt hätte: {what}",
    "RUN": "LAUF",
    "WHEN": "WANN",
    "WHY": "WARUM",
    "FOR": "FÜR",
    "SHARE OF": "ANTEIL VON",
    "RUNS": "LÄUFE",
    "LOST": "VERLOREN",
    "{hours:.2f} GPU-h": "{hours:.2f} GPU-h",
    "a job of this project": "einen Job dieses Projekts",
    "a job of another project": "einen Job eines anderen Projekts",
    "a job of another tenant": "einen Job eines anderen Mandanten",
    "a priority of at least {value}": "eine Priorität von mindestens {value}",
    "a guarantee of {node} that holds it": "eine Garantie von {node}, in die er passt",
    "a time of less than {span}": "eine Dauer unter {span}",
    "checkpoints more often than every {span}": "öfter als alle {span} ein Checkpoint",
    "checkpoints": "Checkpoints",
    "further budget": "weiteres Budget",
    "With any one of these it would be admitted:": "Mit jeder einzelnen davon würde er zugelassen:",
    "Look through all runs for those that a greater guarantee could call back; may take seconds.": "Alle Läufe "
    "durchsehen, ob eine größere Garantie sie zurückrufen könnte; kann Sekunden dauern.",
    "Any one of these would start it now; the first is the one to try:": "Mit jeder einzelnen davon startete er jetzt; "
    "die erste ist die nächstliegende:",
    "as soon as what is being freed is free": "sobald frei ist, was frei gemacht wird",
    "promised": "versprochen",
    "planned": "geplant",
    "not before, as things are now": "nicht früher, so wie es jetzt aussieht",
    "asked": "gefragt",
    "limit": "Grenze",
    "node of the tree": "Knoten des Baums",
    "jobs ahead": "Jobs davor",
    "until": "bis",
    "start": "Start",
    "on": "auf",
    "CHANGE": "ÄNDERUNG",
    "NOW": "JETZT",
    "NEEDED": "NÖTIG",
    "OF": "BEI",
    "STOPS": "STOPPT",
    "STARTS": "STARTET",
    "time limit": "Zeitgrenze",
    "size": "Größe",
    "level": "Ebene",
    "GPU type": "GPU-Typ",
    "guarantee": "Garantie",
    "borrow limit": "Leihgrenze",
    "once capacity is freed": "sobald Kapazität frei gemacht ist",
    "at once": "sofort",
    "{count:g} CPUs": "{count:g} CPUs",
    "{count:g} GPUs": "{count:g} GPUs",
    "{count:g} nodes": "{count:g} Knoten",
    # the commands
    "Show the entitlement tree of a pool, and change it.": "Den Anspruchsbaum eines Pools zeigen und ändern.",
    "Show who is guaranteed, uses and deserves what.": "Zeigen, wem was garantiert ist, wer was nutzt und wem was "
    "zusteht.",
    "Change entitlements to what a YAML file says of the nodes that it names.": "Die Ansprüche auf das setzen, was "
    "eine YAML-Datei von den Knoten sagt, die sie nennt.",
    "List, make and end commitments: guarantees with a time window and a price.": "Zusagen auflisten, machen und "
    "beenden: Garantien mit Zeitfenster und Preis.",
    "List the commitments that are in force or to come.": "Die Zusagen auflisten, die gelten oder gelten werden.",
    "Commit AMOUNT GPUs to NODE, like industry/acme, until a time.": "NODE, wie industry/acme, bis zu einem Zeitpunkt "
    "AMOUNT GPUs zusagen.",
    "End a commitment before its time. What runs is not stopped by it.": "Eine Zusage vorzeitig beenden. Was läuft, "
    "wird dadurch nicht gestoppt.",
    "Show what a tenant has: guarantees, limits, commitments, budgets, and what it used.": "Zeigen, was ein Mandant "
    "hat: Garantien, Grenzen, Zusagen, Budgets, und was er verbraucht hat.",
    # options
    "The pool.": "Der Pool.",
    "Only this tenant.": "Nur diesen Mandanten.",
    "Only show who would win and who would lose.": "Nur zeigen, wer gewönne und wer verlöre.",
    "From when on.  [default: now]": "Ab wann.  [sonst: jetzt]",
    "Until when, like 2027-03-01T00:00:00Z.": "Bis wann, wie 2027-03-01T00:00:00Z.",
    "When.  [default: now]": "Wann.  [sonst: jetzt]",
    "EUR for one GPU and hour, used or not.": "EUR für eine GPU und Stunde, genutzt oder nicht.",
    "How soon what was lent is back.": "Wie bald Verliehenes zurück ist.",
    # what they say
    "pool {pool}: {capacity} in service, {spare} kept as a spare; amounts in {unit}": "Pool {pool}: {capacity} in "
    "Betrieb, {spare} als Reserve behalten; Mengen in {unit}",
    "GPUs": "GPUs",
    "cores": "Kernen",
    "Nothing of the tree is yours to see.": "Vom Baum dürfen Sie nichts sehen.",
    "No commitments.": "Keine Zusagen.",
    "Nothing changes.": "Nichts ändert sich.",
    "Not everything fits: guarantees were shrunk in proportion.": "Nicht alles passt: Garantien wurden anteilig "
    "gekürzt.",
    "End commitment {commitment}? This cannot be taken back.": "Die Zusage {commitment} beenden? Das lässt sich nicht "
    "zurücknehmen.",
    "commitment {commitment} is made": "die Zusage {commitment} ist gemacht",
    "the entitlements of pool {pool} are changed": "die Ansprüche im Pool {pool} sind geändert",
    "any": "beliebig",
    "as below": "wie darunter",
    "GUARANTEE": "GARANTIE",
    "WEIGHT": "GEWICHT",
    "BORROW": "BORGT",
    "LEND": "VERLEIHT",
    "RECALL": "ZURÜCK IN",
    "USED": "GENUTZT",
    "WAITING": "WARTET",
    "DESERVED": "STEHT ZU",
    "IF ALL ASK": "WENN ALLE WOLLEN",
    "WINS": "GEWINNT",
    "COMMITMENT": "ZUSAGE",
    "AMOUNT": "MENGE",
    "FROM": "AB",
    "UNTIL": "BIS",
    "EUR/H": "EUR/H",
    # the file
    "the file of entitlements cannot be used\n{faults}": "die Datei der Ansprüche ist nicht zu brauchen\n{faults}",
    "it is a mapping with the key `entitlements`": "sie ist eine Zuordnung mit dem Schlüssel `entitlements`",
    "no node is named under `entitlements`": "unter `entitlements` ist kein Knoten genannt",
    "more than {limit} nodes are named": "mehr als {limit} Knoten sind genannt",
    "a key must be text": "ein Schlüssel muss Text sein",
    "a time like 2027-03-01T00:00:00Z": "eine Zeit wie 2027-03-01T00:00:00Z",
    '"{key}" must be a mapping of nodes': "„{key}“ muss eine Zuordnung von Knoten sein",
    '"{key}" has no time zone; write it like 2027-03-01T00:00:00Z': "„{key}“ hat keine Zeitzone; so schreiben: "
    "2027-03-01T00:00:00Z",
    '"{key}" is given twice': "„{key}“ steht zweimal da",
    '"{key}" is named twice, first in line {line}': "„{key}“ ist zweimal genannt, zuerst in Zeile {line}",
    '"{key}" is unknown; did you mean "{near}"?': "„{key}“ ist unbekannt; meinten Sie „{near}“?",
    '"{key}" is unknown; known: {known}': "„{key}“ ist unbekannt; bekannt: {known}",
    '"{key}" lies below a project, the lowest there is': "„{key}“ liegt unter einem Projekt; tiefer geht es nicht",
}
