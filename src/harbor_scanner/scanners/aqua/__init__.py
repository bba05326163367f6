"""Aqua Enterprise: scans by its `scannercli`, which asks the Aqua console for the vulnerabilities."""

from __future__ import annotations

from harbor_scanner.scanners.aqua.scanner import AquaScanner
from harbor_scanner.scanners.aqua.settings import AquaSettings

__all__ = ["AquaScanner", "AquaSettings"]
