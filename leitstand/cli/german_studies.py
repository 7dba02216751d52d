# SPDX-License-Identifier: Apache-2.0
"""The German of `leitstand twin compare`. Read by `leitstand.cli.german`."""

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
}
