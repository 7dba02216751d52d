# SPDX-License-Identifier: Apache-2.0
"""The German of `leitstand twin compare` and `twin partition`. Read by `leitstand.cli.german`."""

from typing import Final

STUDIES: Final = {
    "Play the workloads of STUDY (YAML) in several sizes under several rules, with seeds, and write one page about it: "
    "waits, completion times, slowdowns, use, fairness, lost work, energy, revenue, with 95 % intervals. What was "
    "played is kept in DIR, so that a study that was cut short goes on.": "Die Arbeit aus STUDY (YAML) in mehreren "
    "Größen unter mehreren Regeln abspielen, mit Startwerten, und eine Seite darüber schreiben: Wartezeiten, Zeiten "
    "bis zum Ende, Verlangsamung, Auslastung, Gerechtigkeit, verlorene Arbeit, Energie, Erlös, mit 95-%-Intervallen. "
    "Was gespielt ist, bleibt in DIR, sodass eine abgebrochene Studie weitergeht.",
    "Where to write it.  [default: the name of STUDY without its suffix]": "Wohin damit.  [Standard: der Name von "
    "STUDY ohne Endung]",
    "Processes at work.  [default: one for each core]": "Prozesse an der Arbeit.  [Standard: einer je Kern]",
    "cells": "Zellen",
    "page": "Seite",
    "RULE": "REGEL",
    "SLOWDOWN": "VERLANGSAMUNG",
    "USEFUL": "NÜTZLICH",
    "SHARE ERROR": "ANTEILSFEHLER",
    "WORSE OFF": "SCHLECHTER GESTELLT",
    "LOST": "VERLOREN",
    "{jobs} jobs on {gpus} GPUs, load {load}": "{jobs} Jobs auf {gpus} GPUs, Last {load}",
    "Account for each month of JOURNAL, a journal or the data directory of a control plane: what each tenant got, and "
    "what it would have got with its guarantee as a static partition, nodes of its own and nothing else. Says who was "
    "worse off.": "Abrechnung für jeden Monat von JOURNAL, einem Journal oder dem Datenverzeichnis eines Leitstands: "
    "was jeder Mandant bekam, und was er mit seiner Garantie als fester Zuteilung bekommen hätte, eigene Knoten und "
    "sonst nichts. Sagt, wer schlechter gestellt war.",
    "This month alone (UTC).  [default: all]": "Nur diesen Monat (UTC).  [Standard: alle]",
    "Write partition.html, partition.md and partition.json there, too.": "Auch partition.html, partition.md und "
    "partition.json dorthin schreiben.",
    "--month {month} is no month; write it like 2026-11": "--month {month} ist kein Monat; so schreiben: 2026-11",
    "{path}: nothing was submitted in {month}": "{path}: im Monat {month} wurde nichts eingereicht",
    "{path}: nothing was submitted": "{path}: es wurde nichts eingereicht",
    "{path}: is no journal; name one, or the data directory of a control plane": "{path}: ist kein Journal; eines "
    "nennen oder das Datenverzeichnis eines Leitstands",
    "ALONE": "ALLEIN",
    "GUARANTEE": "GARANTIE",
    "APART": "EIGENS",
    "LEFT OUT": "AUSGELASSEN",
    "worse off than on its own partition: {tenants}": "schlechter gestellt als mit eigener Zuteilung: {tenants}",
    "no tenant with jobs enough was worse off than on its own partition": "kein Mandant mit genug Jobs war schlechter "
    "gestellt als mit eigener Zuteilung",
    "shown only": "nur gezeigt",
    "not worse off": "nicht schlechter",
}
