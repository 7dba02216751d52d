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
    "The bash script that a repaired node has to pass.  [default: one that comes with Leitstand]": "Das Bash-Skript, "
    "das ein reparierter Knoten bestehen muss.  [Vorgabe: eines, das Leitstand mitbringt]",
}
