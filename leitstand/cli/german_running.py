# SPDX-License-Identifier: Apache-2.0
"""The German of what is said about running a control plane: certificates, upgrades. Read by `leitstand.cli.german`."""

from typing import Final

RUNNING: Final = {
    "{file} holds no certificate in PEM (-----BEGIN CERTIFICATE-----)": "{file} enthält kein Zertifikat in PEM "
    "(-----BEGIN CERTIFICATE-----)",
    "{file} holds no private key in PEM (-----BEGIN PRIVATE KEY-----)": "{file} enthält keinen privaten Schlüssel in "
    "PEM (-----BEGIN PRIVATE KEY-----)",
    "{file} is locked with a pass phrase, and nobody is there to type it; write it without one, readable by its owner "
    "alone: openssl pkey -in {file} -out NEW.key": "{file} ist mit einer Passphrase verschlossen, und niemand ist da, "
    "der sie eingibt; schreiben Sie ihn ohne, nur für seinen Eigentümer lesbar: "
    "openssl pkey -in {file} -out NEW.key",
    "{key} is not the key of {cert}; the first certificate of that file has to be the one of this key": "{key} ist "
    "nicht der Schlüssel zu {cert}; das erste Zertifikat dieser Datei muss das zu diesem Schlüssel sein",
    "the certificate {file} is valid only from {time} UTC on": "das Zertifikat {file} gilt erst ab {time} UTC",
    "the certificate {file} expired on {time} UTC: clients refuse it; renew it, it is taken without a restart": "das "
    "Zertifikat {file} ist am {time} UTC abgelaufen: Clients lehnen es ab; erneuern Sie es, es wird ohne Neustart "
    "übernommen",
    "the certificate {file} expires on {time} UTC; renew it, it is taken without a restart": "das Zertifikat {file} "
    "läuft am {time} UTC ab; erneuern Sie es, es wird ohne Neustart übernommen",
    "Say whether this version may take over a data folder: on a copy, beside its control plane.": "Sagen, ob diese "
    "Version einen Datenordner übernehmen darf: an einer Kopie, neben seiner Leitstelle.",
    "Keep the copy of the journal as this new file: with it one goes back.": "Die Kopie des Journals als diese neue "
    "Datei behalten: mit ihr geht es zurück.",
    "The `leitstand` of the version that runs now: it tries the same copy, and its state is compared.": "Das "
    "`leitstand` der Version, die jetzt läuft: es prüft dieselbe Kopie, und sein Zustand wird verglichen.",
    "{program} gives no answer: {why}": "{program} antwortet nicht: {why}",
    "entries": "Einträge",
    "{count}, the last of {time}": "{count}, der letzte von {time}",
    "chain": "Kette",
    "good": "gut",
    "good, signed up to entry {seq}": "gut, signiert bis Eintrag {seq}",
    "state of this version": "Zustand dieser Version",
    "{digest} (projection {projection})": "{digest} (Projektion {projection})",
    "snapshots": "Momentaufnahmen",
    "none": "keine",
    "{agree} agree, {others} of another projection": "{agree} stimmen überein, {others} einer anderen Projektion",
    "running version": "laufende Version",
    "not asked: name its program with --running": "nicht gefragt: nennen Sie ihr Programm mit --running",
    "{version} folds the copy to the same state": "{version} faltet die Kopie zum selben Zustand",
    "{version} has digests of another projection ({projection}): nothing to compare": "{version} hat Prüfsummen einer "
    "anderen Projektion ({projection}): nichts zu vergleichen",
    "{version} folds the copy to another state: {digest}": "{version} faltet die Kopie zu einem anderen Zustand: "
    "{digest}",
    "version {version} may take over": "Version {version} darf übernehmen",
    "version {version} MUST NOT take over": "Version {version} darf NICHT übernehmen",
    "To upgrade: stop the control plane (runs go on), install this version, start it on the same folder. Of leader and "
    "standby, the standby first.": "Zum Aktualisieren: die Leitstelle beenden (Läufe gehen weiter), diese Version "
    "einspielen, auf demselben Ordner starten. Von Leiter und Bereitschaft die Bereitschaft zuerst.",
    "To go back: start the version before on the same folder. It refuses if this one has written facts that it does "
    "not know; then put the copy as journal.db into a new data folder: what was acknowledged after the copy is "
    "lost.": "Zurück: die Version davor auf demselben Ordner starten. Sie lehnt ab, wenn diese schon Fakten "
    "geschrieben hat, die sie nicht kennt; dann die Kopie als journal.db in einen neuen Datenordner legen: was nach "
    "der Kopie bestätigt wurde, ist verloren.",
    "The copy is {path}; take another one once the control plane is stopped.": "Die Kopie ist {path}; nehmen Sie noch "
    "eine, sobald die Leitstelle beendet ist.",
    "No copy was kept: --copy FILE keeps it, `leitstand journal backup` takes one.": "Es wurde keine Kopie behalten: "
    "--copy FILE behält sie, `leitstand journal backup` nimmt eine.",
    "entry {seq}: {what}: {detail}": "Eintrag {seq}: {what}: {detail}",
}
