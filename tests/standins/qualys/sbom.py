"""The packages of an image as SPDX 2.3 and CycloneDX 1.5, in JSON."""

from __future__ import annotations

import os
import time
from urllib.parse import quote

from standins.engine.model import Inventory, Package
from standins.qualys.qid import Json
from standins.qualys.subject import Subject

_SPDX_LICENSES = {"MIT", "Apache-2.0", "Zlib", "ISC", "GPL-2.0-only", "BSD-3-Clause", "0BSD"}
"""Licences that may be named as they are; of all others SPDX makes no assertion."""
_NONE = "NOASSERTION"


def package_url(package: Package, system: Inventory) -> str:
    """Return the purl of a package."""
    version = quote(package.version, safe=":")
    if package.format == "npm":
        return f"pkg:npm/{quote(package.name)}@{version}"
    if package.format == "jar":
        # The group does not stand in the name of the file; it is often the same.
        return f"pkg:maven/{package.name}/{package.name}@{version}"
    name, distribution = quote(package.name), f"{system.os}-{quote(system.version)}"
    return f"pkg:{package.format}/{system.os}/{name}@{version}?arch={package.architecture}&distro={distribution}"


def image_url(subject: Subject) -> str:
    """Return the purl of the image."""
    name = subject.repository.rpartition("/")[2]
    where = quote(subject.repository.lower(), safe=":/")
    return f"pkg:oci/{name}@{quote(subject.digest, safe=':')}?repository_url={where}"


def spdx(subject: Subject, version: str) -> Json:
    """Return the SPDX document."""
    packages = subject.inventory.packages
    identifiers = [f"SPDXRef-Package-{number}" for number in range(1, len(packages) + 1)]
    image = _spdx_package("SPDXRef-Image", subject.image, subject.digest, image_url(subject), purpose="CONTAINER")
    return {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": "SPDXRef-DOCUMENT",
        "name": subject.image,
        "documentNamespace": f"https://qualys.com/qscanner/spdx/{subject.hash}-{_uuid()}",
        "creationInfo": {
            "created": _now(),
            "creators": ["Organization: Qualys", f"Tool: qscanner-{version}"],
        },
        "packages": [
            image,
            *(
                _spdx_package(
                    identifier, package.name, package.version, package_url(package, subject.inventory), package.license
                )
                for identifier, package in zip(identifiers, packages, strict=True)
            ),
        ],
        "relationships": [
            _relationship("SPDXRef-DOCUMENT", "DESCRIBES", "SPDXRef-Image"),
            *(_relationship("SPDXRef-Image", "CONTAINS", identifier) for identifier in identifiers),
        ],
    }


def cyclonedx(subject: Subject, version: str) -> Json:
    """Return the CycloneDX document."""
    image = {
        "bom-ref": "image",
        "type": "container",
        "name": subject.image,
        "version": subject.digest,
        "purl": image_url(subject),
    }
    components = [
        _component(f"package-{number}", package, subject.inventory)
        for number, package in enumerate(subject.inventory.packages, start=1)
    ]
    system = {
        "bom-ref": "os",
        "type": "operating-system",
        "name": subject.inventory.os,
        "version": subject.inventory.version,
    }
    references = ["os", *(component["bom-ref"] for component in components)]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "serialNumber": f"urn:uuid:{_uuid()}",
        "version": 1,
        "metadata": {
            "timestamp": _now(),
            "tools": {"components": [{"type": "application", "name": "qscanner", "version": version}]},
            "component": image,
        },
        "components": [system, *components],
        "dependencies": [
            {"ref": "image", "dependsOn": references},
            *({"ref": reference, "dependsOn": []} for reference in references),
        ],
    }


def _spdx_package(
    identifier: str, name: str, version: str, url: str, declared: str = "", purpose: str = "LIBRARY"
) -> Json:
    return {
        "SPDXID": identifier,
        "name": name,
        "versionInfo": version,
        "downloadLocation": _NONE,
        "filesAnalyzed": False,
        "licenseConcluded": _NONE,
        "licenseDeclared": declared if declared in _SPDX_LICENSES else _NONE,
        "copyrightText": _NONE,
        "supplier": _NONE,
        "primaryPackagePurpose": purpose,
        "externalRefs": [
            {"referenceCategory": "PACKAGE-MANAGER", "referenceType": "purl", "referenceLocator": url},
        ],
    }


def _relationship(one: str, kind: str, other: str) -> Json:
    return {"spdxElementId": one, "relationshipType": kind, "relatedSpdxElement": other}


def _component(reference: str, package: Package, system: Inventory) -> Json:
    component: Json = {
        "bom-ref": reference,
        "type": "library",
        "name": package.name,
        "version": package.version,
        "purl": package_url(package, system),
        "properties": [{"name": "qualys:layer", "value": package.layer.digest}],
    }
    if package.license:
        key = "id" if package.license in _SPDX_LICENSES else "name"
        component["licenses"] = [{"license": {key: package.license}}]
    return component


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def _uuid() -> str:
    """Return a random UUID (RFC 9562, version 4)."""
    digits = os.urandom(16).hex()
    return f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-a{digits[17:20]}-{digits[20:]}"
