# SPDX-License-Identifier: Apache-2.0
"""`make sbom`: what Leitstand consists of, as CycloneDX 1.6 in JSON.

    python -m deploy.sbom build/sbom.cdx.json

Every package of requirements.lock with version, purl, digests and licence; what is shipped has the scope `required`,
what only development needs `excluded`. No time and no chance is in it: the same lock on the same platform gives the
same bytes, and its serial number follows from its content.
"""

import json
import sys
import uuid
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentScope, ComponentType
from cyclonedx.model.license import DisjunctiveLicense, License
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from deploy.shipped import Locked, locked, shipped
from leitstand import __version__

SILENT = {
    "cedarpy": "Apache-2.0",
    "rich-click": "MIT",
}  # their metadata name no licence, their licence files do
CLASSIFIER = "License :: OSI Approved :: "


def main(out: Path) -> None:
    """Write the file."""
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(written())
    print(f"sbom: {out}")


def written() -> str:
    """The document."""
    lock = locked()
    needed = set(shipped(lock))
    own = Component(
        name="leitstand",
        version=__version__,
        type=ComponentType.APPLICATION,
        bom_ref="leitstand",
        purl=PackageURL("pypi", name="leitstand", version=__version__),
        licenses=[LicenseFactory().make_from_string("Apache-2.0")],
    )
    parts = [component(one, shipped=one in needed) for one in lock]
    bom = Bom(components=parts)
    bom.metadata.component = own
    bom.register_dependency(own, [part for part in parts if part.scope is ComponentScope.REQUIRED])
    content = json.loads(JsonV1Dot6(bom).output_as_string())
    del content["metadata"]["timestamp"]
    content["serialNumber"] = ""
    content["serialNumber"] = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True)).urn
    return json.dumps(content, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def component(one: Locked, *, shipped: bool) -> Component:
    """A package. The digests are those of all files of this version that the lock lets in; one is installed."""
    said = licence(one.name)
    return Component(
        name=one.name,
        version=one.version,
        type=ComponentType.LIBRARY,
        bom_ref=f"{one.name}=={one.version}",
        purl=PackageURL("pypi", name=one.name, version=one.version),
        scope=ComponentScope.REQUIRED if shipped else ComponentScope.EXCLUDED,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest) for digest in one.digests],
        licenses=[made(said)] if said else [],
    )


def made(said: str) -> License:
    """An SPDX licence or expression if it is one; else by its name, the first line of a whole text."""
    name = said.splitlines()[0]
    return LicenseFactory().make_from_string(said) if name == said else DisjunctiveLicense(name=name)


def licence(name: str) -> str:
    """What the installed package says: its SPDX expression, else its classifiers, else its field; '' if it is not
    installed here (of another platform), or says nothing."""
    try:
        told = metadata(name)
    except PackageNotFoundError:
        return ""
    classified = [
        one.removeprefix(CLASSIFIER) for one in told.get_all("Classifier") or () if CLASSIFIER in one
    ]
    field = (told.get("License") or "").strip()
    if "\n" in field:  # the whole text
        field = ""
    return str(told.get("License-Expression") or field or ", ".join(classified) or SILENT.get(name, ""))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
