# SPDX-License-Identifier: Apache-2.0
"""The German of `leitstand twin generate`. Read by `leitstand.cli.german`."""

from typing import Final

GENERATE: Final = {
    "Write a synthetic workload of an industrial AI cloud to OUT (.parquet), and its cluster beside it "
    "(.cluster.json). The same numbers, the same jobs, on every machine.": "Eine synthetische Last einer industriellen "
    "KI-Cloud nach OUT (.parquet) schreiben, und daneben ihren Cluster (.cluster.json). Gleiche Zahlen, gleiche Jobs, "
    "auf jeder Maschine.",
    "GPUs of the cloud.": "GPUs der Cloud.",
    "For how long jobs are submitted.": "Wie viele Tage lang Jobs eingereicht werden.",
    "GPU time of all jobs over that of the cloud.": "GPU-Zeit aller Jobs im Verhältnis zu der der Cloud.",
    "Another number, another workload.": "Andere Zahl, andere Last.",
    "Of the demand in a year: 0.3 is 30 % more.": "Der Nachfrage in einem Jahr: 0.3 sind 30 % mehr.",
    "GPUs of each node.  [default: the largest of 8, 4, 2, 1 that divides --gpus]": "GPUs je Knoten.  [Standard: die "
    "größte von 8, 4, 2, 1, durch die --gpus teilbar ist]",
    "{path}: the workload is written as Parquet; name the file .parquet": "{path}: die Last wird als Parquet "
    "geschrieben; die Datei .parquet nennen",
    "{path}: exists already; name another file, or remove this one": "{path}: gibt es schon; eine andere Datei nennen "
    "oder diese entfernen",
    "{path}: cannot be written: {why}": "{path}: kann nicht geschrieben werden: {why}",
    "cluster": "Cluster",
    "model": "Modell",
    "load": "Last",
    "requests a day": "Anfragen je Tag",
    "BATCH": "STAPEL",
    "SERVICES": "DIENSTE",
    "NOTEBOOKS": "NOTEBOOKS",
    "LOAD": "LAST",
    "TENANTS": "MANDANTEN",
    "tenants": "Mandanten",
}
