"""Aqua Enterprise: scans by its `scannercli`, which asks the Aqua console for the vulnerabilities."""

from __future__ import annotations

from harbor_scanner.scanners.aqua.checks import checks
from harbor_scanner.scanners.aqua.scanner import AquaScanner
from harbor_scanner.scanners.aqua.settings import AquaSettings, problems, secrets
from harbor_scanner.scanners.base import ScannerPlugin

PLUGIN = ScannerPlugin(AquaSettings, AquaScanner, problems=problems, checks=checks, secrets=secrets)

__all__ = ["PLUGIN", "AquaScanner", "AquaSettings"]
