"""Made-up packages and findings in any number, for reports of any size."""

from __future__ import annotations

import hashlib

from standins.engine.model import Inventory, Layer, Package
from standins.qualys.qid import Affected, Qid
from standins.qualys.subject import Subject
from standins.qualys.target import Reference

_PER_PACKAGE = 10
_SCORES = ((9.8, "H/I:H/A:H", 5), (7.5, "N/I:N/A:H", 4), (5.3, "N/I:N/A:L", 3))
_LAYER = Layer("sha256:" + "5" * 64, "ADD made-up /", b"")


def subject(image: Reference, findings: int, started: float) -> Subject:
    """Return an image with packages for so many findings."""
    packages = [
        Package("deb", name, "1.2.3-4", name, "1.2.3-4", _LAYER, "amd64")
        for name in (f"made-up-{number:05}" for number in range(-(-findings // _PER_PACKAGE)))
    ]
    image_id = f"sha256:{hashlib.sha256(image.text.encode()).hexdigest()}"
    return Subject(
        image=image.text,
        repository=f"{image.host}/{image.repository}",
        digest=image.name if image.name.startswith("sha256:") else image_id,
        image_id=image_id,
        architecture="amd64",
        inventory=Inventory("debian", "12.5", packages, []),
        started=started,
    )


def qids(inventory: Inventory, findings: int) -> list[Qid]:
    """Return so many QIDs, ten for a package, with a CVE each; every second one has a fix."""
    return [_qid(number, inventory.packages[number // _PER_PACKAGE]) for number in range(findings)]


def _qid(number: int, package: Package) -> Qid:
    score, impact, severity = _SCORES[number % len(_SCORES)]
    cve = f"CVE-{2015 + number % 10}-{100_000 + number}"
    fact = {
        "name": cve,
        "v3": {"vector": f"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:{impact}", "score": score},
    }
    return Qid(
        number=1_000_000 + number,
        title=f"Debian Security Update for {package.name} ({cve})",
        severity=severity,
        category="Debian",
        facts=[fact],
        affected=[Affected(package, "1.2.3-5" if number % 2 else "")],
        customer_severity=severity,
    )
