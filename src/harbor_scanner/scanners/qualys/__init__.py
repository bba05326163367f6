"""Qualys QScanner: scans by its `qscanner`, which asks the Qualys platform for the vulnerabilities."""

from __future__ import annotations

from harbor_scanner.scanners.base import ScannerPlugin
from harbor_scanner.scanners.qualys.checks import checks
from harbor_scanner.scanners.qualys.scanner import QualysScanner
from harbor_scanner.scanners.qualys.settings import PODS, QualysSettings, problems, secrets, warnings

PLUGIN = ScannerPlugin(
    QualysSettings, QualysScanner, problems=problems, warnings=warnings, checks=checks, secrets=secrets
)

__all__ = ["PLUGIN", "PODS", "QualysScanner", "QualysSettings"]
