# SPDX-License-Identifier: Apache-2.0
"""The German of `leitstand up --twin` and of what a twin says of itself. Read by `leitstand.cli.german`."""

from typing import Final

WATCHED: Final = {
    "Simulate the cloud of this file in place of this machine.": "Die Cloud dieser Datei simulieren, an Stelle dieses "
    "Rechners.",
    "How much faster than the world time goes in a twin, like 1000x.  [default: 1000x]": "Wie viel schneller als in "
    "der Welt die Zeit in einem Zwilling vergeht, etwa 1000x.  [Vorgabe: 1000x]",
    "--speed is for a twin: name its scenario with --twin": "--speed gilt für einen Zwilling: sein Szenario mit --twin "
    "nennen",
    "{option} is not for a twin: its scenario says what there is; leave it out": "{option} gilt nicht für einen "
    "Zwilling: Sein Szenario sagt, was es gibt; weglassen",
    '"{text}" is no speed from {least:g}x to {most:g}x': "„{text}“ ist kein Tempo von {least:g}x bis {most:g}x",
    "stopping; the same command goes on from here": "wird beendet; derselbe Befehl macht hier weiter",
    "{name}: simulated, {speed:g}x as fast as the world; it is {time} UTC there": "{name}: simuliert, {speed:g}x so "
    "schnell wie die Welt; dort ist es {time} UTC",
    "nothing that is submitted here is executed": "nichts, was hier eingereicht wird, wird ausgeführt",
    "TWIN": "ZWILLING",
    "Twin · {speed:g}x · {time}": "Zwilling · {speed:g}x · {time}",
    "{folder} is that of a twin; start it with --twin SCENARIO, or name another folder": "{folder} gehört einem "
    "Zwilling; mit --twin SCENARIO starten, oder einen anderen Ordner nennen",
    "{folder} is that of a real control plane; name another folder for the twin": "{folder} gehört einer echten "
    "Leitstelle; für den Zwilling einen anderen Ordner nennen",
    '{folder} goes on with the scenario "{name}", and this is another one; name another folder for it': "{folder} "
    "gehört zum Szenario „{name}“, und dieses ist ein anderes; dafür einen anderen Ordner nennen",
}
