"""Made-up findings in any number, for reports of any size."""

from __future__ import annotations

from collections.abc import Iterator

from standins.aqua.finding import Json, vulnerability

_PER_PACKAGE = 10
_SCORES = ((9.8, "H/I:H/A:H"), (7.5, "N/I:N/A:H"), (5.3, "N/I:N/A:L"))


def resources(count: int) -> Iterator[Json]:
    """Yield resources with `count` vulnerabilities, ten for a package; every second one has a fix."""
    for first in range(0, count, _PER_PACKAGE):
        package, version = f"made-up-{first // _PER_PACKAGE:05}", "1.2.3-4"
        yield {
            "resource": {
                "format": "deb",
                "name": package,
                "version": version,
                "arch": "amd64",
                "cpe": f"pkg:/debian:12.1:{package}:{version}",
                "layer_digest": "sha256:" + "5" * 64,
            },
            "scanned": True,
            "vulnerabilities": [
                _vulnerability(number, package) for number in range(first, min(first + _PER_PACKAGE, count))
            ],
        }


def _vulnerability(number: int, package: str) -> Json:
    score, impact = _SCORES[number % len(_SCORES)]
    fact = {
        "name": f"CVE-{2015 + number % 10}-{100_000 + number}",
        "format": "deb",
        "source": package,
        "description": f"Number {number} is made up, and described at the length that real ones have. " * 4,
        "v3": {"vector": f"CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:{impact}", "score": score},
        "cwe": {"Id": "CWE-400", "name": "Uncontrolled Resource Consumption"},
        "published": "2023-01-30",
        "modified": "2023-05-30",
    }
    if number % 2:
        fact["fix"] = "1.2.3-5"
    return vulnerability(fact, package)
