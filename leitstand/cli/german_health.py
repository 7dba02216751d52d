# SPDX-License-Identifier: Apache-2.0
"""The German of the commands about the health of nodes, availability and alerts. Read by `leitstand.cli.german`."""

from typing import Final

HEALTH: Final = {
    "List the nodes and what is free on them; report trouble of one, return one to service.": "Die Knoten auflisten "
    "und was auf ihnen frei ist; Störungen melden, einen wieder in Dienst nehmen.",
    "Report trouble of a node: its engine hears of nothing by itself, or somebody knows better.": "Eine Störung eines "
    "Knotens melden: die Engine merkt von selbst nichts, oder jemand weiß es besser.",
    "What it is.": "Was es ist.",
    "The number of an Xid.": "Die Nummer eines Xid.",
    "The GPU, by its index on the node.": "Die GPU, mit ihrer Nummer auf dem Knoten.",
    "When.  [default: now]": "Wann.  [Vorgabe: jetzt]",
    "Report {kind} of {node}? What runs there may have to go on elsewhere.": "{kind} von {node} melden? Was dort "
    "läuft, muss vielleicht anderswo weitergehen.",
    "{node}: {state}": "{node}: {state}",
    "Say that a node is repaired: it serves again once it passed a burn-in.": "Sagen, dass ein Knoten repariert ist: "
    "er dient wieder, sobald er einen Burn-in bestanden hat.",
    "At once; nobody looks whether it is well.": "Sofort; niemand sieht nach, ob es ihm gut geht.",
    "How long the burn-in may take.  [default: 1h]": "Wie lange der Burn-in dauern darf.  [Vorgabe: 1h]",
    "Return {node} without a burn-in?": "{node} ohne Burn-in wieder in Dienst nehmen?",
    "{node}: its burn-in is job {job}; it serves once that succeeded": "{node}: sein Burn-in ist Job {job}; er dient "
    "wieder, sobald der erfolgreich war",
    "{node} is returned": "{node} ist wieder in Dienst genommen",
    "{node}: drained since {time}: {trouble}": "{node}: gesperrt seit {time}: {trouble}",
    "{node}: burn-in {job} runs": "{node}: Burn-in {job} läuft",
    "well": "gut",
    "drained": "gesperrt",
    "burn-in": "Burn-in",
    "List what people have to know, and who was told; test the way to them.": "Auflisten, was Menschen wissen müssen "
    "und wem es gesagt wurde; den Weg zu ihnen prüfen.",
    "List the alerts that are open; with --all the latest that are over, too.": "Die offenen Alarme auflisten; mit "
    "--all auch die letzten, die vorbei sind.",
    "Also those that are over.": "Auch die, die vorbei sind.",
    "Tell every receiver an alert that says only that it is a test.": "Jedem Empfänger einen Alarm schicken, der nur "
    "sagt, dass er ein Test ist.",
    "test {id} is on its way; `leitstand alerts list --all` says who has it": "der Test {id} ist unterwegs; `leitstand "
    "alerts list --all` sagt, wer ihn hat",
    "No alerts.": "Keine Alarme.",
    "SINCE": "SEIT",
    "SEVERITY": "SCHWERE",
    "ALERT": "ALARM",
    "TOLD": "GESAGT",
    "critical": "kritisch",
    "over": "vorbei",
    "open": "offen",
    "{name}: not yet": "{name}: noch nicht",
    "{name}: not yet ({tries} tries: {error})": "{name}: noch nicht ({tries} Versuche: {error})",
    "Who is told by webhook and mail what is wrong: the file that says so.": "Wem per Webhook und Mail gesagt wird, "
    "was nicht stimmt: die Datei, in der es steht.",
    "Show how much of each site served, and how much of each guarantee could be had.": "Zeigen, wie viel von jedem "
    "Standort in Dienst war und wie viel von jeder Garantie zu haben war.",
    "From when on.  [default: 30 days before the end]": "Von wann an.  [Vorgabe: 30 Tage vor dem Ende]",
    "Until when.  [default: now]": "Bis wann.  [Vorgabe: jetzt]",
    "Of this tenant alone.": "Nur von diesem Mandanten.",
    "INSTALLED GPU-H": "INSTALLIERT GPU-H",
    "SERVING": "IN DIENST",
    "ANNOUNCED": "ANGEKÜNDIGT",
    "DOWN": "AUSGEFALLEN",
    "AVAILABILITY": "VERFÜGBARKEIT",
    "GUARANTEED GPU-H": "GARANTIERT GPU-H",
    "COULD BE HAD": "ZU HABEN",
    "The bash script that a repaired node has to pass.  [default: one that comes with Leitstand]": "Das Bash-Skript, "
    "das ein reparierter Knoten bestehen muss.  [Vorgabe: eines, das Leitstand mitbringt]",
}
