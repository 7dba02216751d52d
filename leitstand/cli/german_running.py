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
}
