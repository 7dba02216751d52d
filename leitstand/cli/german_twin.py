# SPDX-License-Identifier: Apache-2.0
"""The German of the commands about recorded workloads. Read by `leitstand.cli.german`."""

from typing import Final

TWIN: Final = {
    "Recorded workloads: look at them, convert them, replay them through the real scheduler.": "Aufgezeichnete Arbeit: "
    "ansehen, umwandeln, durch den echten Scheduler abspielen.",
    "Replay TRACE (Parquet, CSV, SWF, sacct, Kubernetes Jobs, a generator's configuration) on a recorded cluster: the "
    "real core and loop, in virtual time. Prints waiting times, completion times, utilisation and the digest of all "
    "decisions.\n\nTRACE may be a journal, too, or the data directory of a control plane: then all of it is decided "
    "again, and the first fact named that is not as before; with --rules, what becomes of the same jobs under "
    "others.": "TRACE (Parquet, CSV, SWF, sacct, Jobs aus Kubernetes, die Vorgaben eines Generators) auf einem "
    "aufgezeichneten Cluster abspielen: der echte Kern und die echte Schleife, in virtueller Zeit. Zeigt Wartezeiten, "
    "Zeiten bis zum Ende, Auslastung und den Fingerabdruck aller Entscheidungen.\n\nTRACE kann auch ein Journal sein "
    "oder das Datenverzeichnis eines Leitstands: Dann wird alles noch einmal entschieden und der erste Fakt genannt, "
    "der anders ist als zuvor; mit --rules, was unter anderen Regeln aus denselben Jobs wird.",
    "Show what TRACE holds, as it was read: jobs, tenants, span, GPU-hours, sizes, durations, submissions per "
    "hour.": "Zeigen, was TRACE enthält, so wie es gelesen wurde: Jobs, Mandanten, Zeitraum, GPU-Stunden, Größen, "
    "Dauern, Einreichungen je Stunde.",
    "Write TRACE as Parquet to the new file OUT, which every command reads back as it was.": "TRACE als Parquet in die "
    "neue Datei OUT schreiben, die jeder Befehl unverändert wieder liest.",
    "The format of TRACE (else told by suffix and content).": "Das Format von TRACE (sonst an Endung und Inhalt "
    "erkannt).",
    "Of Slurm's local times, like Europe/Berlin (else: UTC).": "Von Slurms Ortszeiten, wie Europe/Berlin (sonst: UTC).",
    "The column (Slurm) or label (Kubernetes) that names the tenant (else: account, namespace).": "Die Spalte (Slurm) "
    "oder das Label (Kubernetes), die den Mandanten nennt (sonst: Account, Namespace).",
    "{count} jobs written to {path}": "{count} Jobs nach {path} geschrieben",
    "{count}, {share} with one GPU": "{count}, {share} mit einer GPU",
    "{count}, with {users} users": "{count}, mit {users} Nutzern",
    ", {gpus} GPUs on average": ", {gpus} GPUs im Mittel",
    "of {count} jobs": "von {count} Jobs",
    "{count} (after one that was submitted later; sorted)": "{count} (nach einem später eingereichten; geordnet)",
    "time limits": "Zeitlimits",
    "unsorted": "ungeordnet",
    "first": "erster",
    "last": "letzter",
    "span": "Zeitraum",
    "used": "verbraucht",
    "GPUs of a job": "GPUs eines Jobs",
    "duration [s]": "Dauer [s]",
    "submissions per hour": "Einreichungen je Stunde",
    "LARGEST": "GRÖSSTER",
    "SHARE": "ANTEIL",
    "USERS": "NUTZER",
    "tenants": "Mandanten",
    "set aside": "beiseite",
    "steps of jobs": "Schritte von Jobs",
    "earlier runs of requeued jobs": "frühere Läufe wieder eingereihter Jobs",
    "further parts of heterogeneous jobs": "weitere Teile heterogener Jobs",
    "never started": "nie gestartet",
    "still running": "noch im Lauf",
    "without GPU": "ohne GPU",
    "of another kind than Job": "von anderer Art als Job",
    "ask for no CPU": "verlangen keine CPU",
    "rejected: {why}": "abgelehnt: {why}",
    "left out: {count} of tenant {tenant}, which has no nodes": "ausgelassen: {count} des Mandanten {tenant}, der "
    "keine Knoten hat",
    "The cluster (JSON) of a trace.": "Der Cluster (JSON) einer Aufzeichnung.",
    "Who starts next: {disciplines}. For a journal also a file (YAML) of what is to be other in its rules.": "Wer als "
    "Nächster beginnt: {disciplines}. Für ein Journal auch eine Datei (YAML) mit dem, was an seinen Regeln anders sein "
    "soll.",
    "--cluster FILE is needed for a trace: the nodes that it is to run on": "--cluster FILE fehlt: die Knoten, auf "
    "denen die Aufzeichnung laufen soll",
    "--rules is needed for a trace, one of: {named}": "--rules fehlt für eine Aufzeichnung, eines von: {named}",
    "--rules {rules} is not one of: {named}": "--rules {rules} ist keines von: {named}",
    "--{option} is for traces: a journal has its own fleet": "--{option} ist für Aufzeichnungen: Ein Journal hat seine "
    "eigenen Knoten",
    "{count}, all decided again as they are": "{count}, alle wieder so entschieden",
    "{count} decided again as they are, then one is not": "{count} wieder so entschieden, dann einer nicht",
    "facts": "Fakten",
    "entry": "Eintrag",
    "recorded": "verzeichnet",
    "decided now": "jetzt entschieden",
    "nothing more": "nichts mehr",
    "placed": "platziert",
    "{earlier} earlier, {later} later, {same} jobs the same to their end": "{earlier} früher, {later} später, {same} "
    "Jobs gleich bis zu ihrem Ende",
    "first difference": "erster Unterschied",
    "STARTED": "BEGONNEN",
    "MEAN WAIT": "WARTEZEIT IM MITTEL",
    "MEAN JCT": "BIS ENDE IM MITTEL",
    "STOPPED FOR OTHERS": "FÜR ANDERE GESTOPPT",
    "waited less": "warteten kürzer",
    "waited longer": "warteten länger",
    "Each tenant has only its own nodes (else: one shared fleet).": "Jeder Mandant hat nur seine eigenen Knoten "
    "(sonst: eine gemeinsame Flotte).",
    "Keep the journal in this new file.": "Das Journal in dieser neuen Datei behalten.",
    "Leave out rows that cannot be used; count and list them.": "Unbrauchbare Zeilen auslassen, zählen und nennen.",
    "jobs": "Jobs",
    "(all)": "(alle)",
    "dropped: {why}": "ausgelassen: {why}",
    "dropped: {count} more (--json lists up to 1000)": "ausgelassen: {count} weitere (--json nennt bis zu 1000)",
    "trace": "Aufzeichnung",
    "rules": "Regeln",
    "rejected": "abgelehnt",
    "{count} (larger than their fleet)": "{count} (größer als ihre Flotte)",
    "left out": "ausgelassen",
    "{count} (tenants without nodes)": "{count} (Mandanten ohne Knoten)",
    "dropped": "unbrauchbar",
    "{count} (unusable rows)": "{count} (unbrauchbare Zeilen)",
    "makespan": "Gesamtdauer",
    "utilisation": "Auslastung",
    "digest": "Fingerabdruck",
    "CPU time": "CPU-Zeit",
    "static": "fest zugeteilt",
    "shared": "gemeinsam",
    "When each job that waits in JOURNAL will start: with which probability by when, and how probably it ends by its "
    "deadline. JOURNAL is a journal's file or the data directory of a control plane, which may be running.\n\n"
    "From futures in which runs last as long as such jobs did, and others are submitted as before; corrected by how "
    "far off earlier forecasts would have been.": "Wann jeder Job, der in JOURNAL wartet, beginnen wird: mit welcher "
    "Wahrscheinlichkeit bis wann, und wie wahrscheinlich er bis zu seiner Frist endet. JOURNAL ist die Datei eines "
    "Journals oder der Datenordner einer Steuerung, die laufen darf.\n\n"
    "Aus Zukünften, in denen Läufe so lange dauern wie bisher bei solchen Jobs und andere eingereicht werden wie "
    "bisher; berichtigt darum, wie weit frühere Vorhersagen danebengelegen hätten.",
    "As of when: an entry of the journal or a time (else: its end).": "Von welchem Stand: ein Eintrag des Journals "
    "oder eine Zeit (sonst: sein Ende).",
    "How many futures are played.": "Wie viele Zukünfte gespielt werden.",
    "How far they go.": "Wie weit sie reichen.",
    "How many earlier forecasts are held against what came.": "Wie viele frühere Vorhersagen mit dem verglichen "
    "werden, was kam.",
    "{path}: no journal and no data directory; name one of them": "{path}: weder Journal noch Datenordner; eines davon "
    "angeben",
    "{path}: the journal is empty: nobody waits": "{path}: das Journal ist leer: niemand wartet",
    "entry {at} is not in 1..{last}": "Eintrag {at} liegt nicht in 1..{last}",
    '"{at}" is neither the number of an entry nor a time like 2026-11-23T14:00': '"{at}" ist weder die Nummer eines '
    "Eintrags noch eine Zeit wie 2026-11-23T14:00",
    "{at} is not within the journal, {first} to {last}": "{at} liegt nicht im Journal, {first} bis {last}",
    "forecasts": "Vorhersagen",
    "not yet known": "noch unbekannt",
    "as of": "Stand",
    "futures": "Zukünfte",
    "right so far": "zutreffend bisher",
    "{shares}, of {count} forecasts": "{shares}, von {count} Vorhersagen",
    "not within {span}": "nicht binnen {span}",
    "START": "BEGINN",
    "BY DEADLINE": "BIS FRIST",
    "PROMISED": "ZUGESAGT",
    "in {span}": "in {span}",
    "No job waits.": "Kein Job wartet.",
    "How much of a core forecasts of starts may use, 0 for none.": "Wie viel eines Kerns Vorhersagen von Starts "
    "brauchen dürfen, 0 für keine.",
    '"{text}" is not from 0% to 100%': '"{text}" liegt nicht zwischen 0% und 100%',
    "forecast": "Vorhersage",
    "by its deadline": "bis zu seiner Frist",
    "forecast made": "Vorhersage gemacht",
}
