"""The Open Source Vulnerability database: needs no licence, and no network while it scans."""

from __future__ import annotations

from collections.abc import Iterable

from harbor_scanner.doctor.check import Check
from harbor_scanner.doctor.surroundings import Surroundings
from harbor_scanner.scanners.base import Premises, Scanner, ScannerPlugin
from harbor_scanner.scanners.osv.settings import OsvSettings, secrets


def _make(premises: Premises) -> Scanner:
    # What it takes to compare versions is loaded only where this scanner is enabled.
    from harbor_scanner.scanners.osv.scanner import OsvScanner  # noqa: PLC0415

    return OsvScanner(premises)


def _checks(settings: OsvSettings, surroundings: Surroundings) -> Iterable[Check]:
    from harbor_scanner.scanners.osv.checks import checks  # noqa: PLC0415 - likewise

    return checks(settings, surroundings)


PLUGIN = ScannerPlugin(OsvSettings, _make, checks=_checks, secrets=secrets)

__all__ = ["PLUGIN", "OsvSettings"]
