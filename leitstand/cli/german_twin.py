# SPDX-License-Identifier: Apache-2.0
"""The German of the commands about recorded workloads. Read by `leitstand.cli.german`."""

from typing import Final

TWIN: Final = {
    "Recorded workloads: look at them, convert them, replay them through the real scheduler.": "Aufgezeichnete Arbeit: "
    "ansehen, umwandeln, durch den echten Scheduler abspielen.",
    "Replay TRACE (Parquet, CSV, SWF, sacct, Kubernetes Jobs, a generator's configuration) on a recorded cluster: the "
    "real core and loop, in virtual time. Prints waiting times, completion times, utilisation and the digest of all "
    "decisions.": "TRACE (Parquet, CSV, SWF, sacct, Jobs aus Kubernetes, die Vorgaben eines Generators) auf einem "
    "aufgezeichneten Cluster abspielen: der echte Kern und die echte Schleife, in virtueller Zeit. Zeigt Wartezeiten, "
    "Zeiten bis zum Ende, Auslastung und den Fingerabdruck aller Entscheidungen.",
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
    "The cluster (JSON).": "Der Cluster (JSON).",
    "Who starts next.": "Wer als Nächster beginnt.",
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
}
