# SPDX-License-Identifier: Apache-2.0
"""The German of `leitstand twin fork`. Read by `leitstand.cli.german`."""

from typing import Final

FORK: Final = {
    "What if? Play scenarios on from JOURNAL (or the data directory of a control plane, also while it runs), or from a "
    "cluster file, on the same scheduler in virtual time; compare what becomes of the jobs with what is planned; write "
    "a report to the folder OUT.": "Was wäre, wenn? Szenarien von JOURNAL aus (oder vom Datenverzeichnis einer "
    "Leitstelle, auch während sie läuft) oder von einer Clusterdatei aus auf demselben Scheduler in virtueller Zeit "
    "weiterspielen; vergleichen, was aus den Jobs wird und was geplant ist; einen Bericht in den Ordner OUT schreiben.",
    "Scenarios (YAML), see docs/twin.md; may be given more than once. None: only what is planned.": "Szenarien (YAML), "
    "siehe docs/twin.md; mehrfach möglich. Keine: nur was geplant ist.",
    "To when: 2027-06-30, or 90d after the fork.": "Bis wann: 2027-06-30, oder 90d nach der Gabelung.",
    "The folder of the report.": "Der Ordner des Berichts.",
    "Where to fork: an entry of the journal or a time (else: its end).": "Wo gegabelt wird: ein Eintrag des Journals "
    "oder eine Zeit (sonst: sein Ende).",
    "Fork a cloud without a journal: its cluster file (JSON).": "Eine Cloud ohne Journal gabeln: ihre Clusterdatei "
    "(JSON).",
    "Its jobs (else synthetic ones), repeated until the end.": "Ihre Jobs (sonst synthetische), wiederholt bis zum "
    "Ende.",
    "Play everything with so many seeds of chance, and say ranges.": "Alles mit so vielen Zufallszahlen spielen und "
    "Spannen nennen.",
    "The first seed.": "Die erste Zufallszahl.",
    "Look at the cloud every so often, like 5m, and not at every event: faster, starts are as late.": "Die Cloud nur "
    "so oft ansehen, etwa 5m, nicht bei jedem Ereignis: schneller, Starts sind um so viel später.",
    "--step: at most {most}, since shares are counted by the hour": "--step: höchstens {most}, da Anteile stündlich "
    "gezählt werden",
    "--cluster is for a cloud without a journal; leave JOURNAL and --at out": "--cluster ist für eine Cloud ohne "
    "Journal; JOURNAL und --at weglassen",
    "--trace needs --cluster FILE: the nodes that it is to run on": "--trace braucht --cluster FILE: die Knoten, auf "
    "denen es laufen soll",
    "{path}: no journal, and no data directory of a control plane; or name --cluster FILE": "{path}: weder ein Journal "
    "noch das Datenverzeichnis einer Leitstelle; oder --cluster FILE nennen",
    "interrupted before anything was played to its end; nothing is written": "unterbrochen, bevor etwas zu Ende "
    "gespielt war; nichts ist geschrieben",
    "courses": "Verläufe",
    "CLASS, TENANT": "KLASSE, MANDANT",
    "THAN PLANNED": "ALS GEPLANT",
    "LOST GPU-h": "VERLORENE GPU-h",
    "GUARANTEE USED": "GARANTIE GENUTZT",
    "{count} submissions were not taken, as of unknown tenants": "{count} Einreichungen wurden nicht angenommen, etwa "
    "von unbekannten Mandanten",
    "report: {path}": "Bericht: {path}",
    "{count} courses were not played to their end": "{count} Verläufe wurden nicht zu Ende gespielt",
    "and {count} more tenants in the report": "und {count} weitere Mandanten im Bericht",
}
