"""A node on which qscanner and its settings lie where Qualys' deployment guide has them, or beside a test."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from support.mounts import mounting
from support.qualys import QScanner
from support.service import Service, serving

MOUNT_POINT = "/usr/share/qscanner"
"""Where containers have values.yaml and the access token."""

SEED_COMMAND = ("harbor-registry-service", "--file-logging=true", "--log-level=debug")
"""What stands after the image in the docker command of the guide."""


class QualysStage:
    """The mounted files, and services that read them."""

    def __init__(self, directory: Path, qscanner: QScanner) -> None:
        self.directory = directory
        self.qscanner = qscanner
        self.mounted = directory / "mounted"
        self.values_file = self.mounted / "values.yaml"
        self.token_file = self.mounted / "accesstoken" / "token"
        self.token_file.parent.mkdir(parents=True)
        self.token_file.write_text(f"{qscanner.config.token}\n")
        self._numbers = itertools.count(1)
        self.write_values()

    def values(self, **arguments: Any) -> str:
        """Return a values.yaml as the guide has it, with other `scannerArgs` than its defaults."""
        args = {
            "log-level": "info",
            "cache": "local",
            "cache-dir": str(self.directory / "cache"),
            "pod": self.qscanner.config.pod,
            "gateway-url": "",
            "skip-verify-tls": False,
            "cert-path": "",
            "proxy": "",
            "offline-scan": False,
            "scan-timeout": "5m0s",
            "max-network-retries": 10,
            "network-retry-wait-min": "5s",
            "cache-cleanup-duration-threshold": "4320h0m0s",
            "cache-cleanup-frequency": "720h0m0s",
            "enable-cache-cleanup": True,
        }
        document = {
            "fullnameOverride": "qualys-scanner",
            "helmInstallationPath": "/home/ubuntu/qualys-scanner",
            "persistence": {
                "enable": False, "storageClass": "manual", "accessMode": "ReadWriteMany", "size": "3Gi",
            },
            "redis": {"url": "", "maxActiveConnections": 5, "maxIdleConnections": 5},
            "service": {
                "workerThreads": 2, "scanJobTTLHour": 1, "maxTimeout": "1m", "replicaCount": 1, "logLevel": "debug",
                "port": 5000, "tlsEnabled": False, "tlsCertData": "", "tlsKeyData": "", "disable-qualys-tls": True,
            },
            "scannerArgs": args,
        }  # fmt: skip
        for name, value in arguments.items():
            group, _, key = name.partition("__")
            section: Any = document[group] if key else args
            section[(key or group).replace("_", "-")] = value
        return yaml.safe_dump(document)

    def write_values(self, **arguments: Any) -> None:
        """Put a values.yaml in place by renaming it."""
        written = self.values_file.with_name("values.yaml.new")
        written.write_text(self.values(**arguments))
        written.replace(self.values_file)

    def environment(self, settings: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a service here, with those settings (`SCANNER_` is put before their names)."""
        return {
            "PATH": f"{self.qscanner.directory}:{os.environ['PATH']}",
            **{f"SCANNER_{name}": value for name, value in settings.items()},
        }

    @contextlib.contextmanager
    def seed_service(self, **settings: str) -> Iterator[Service]:
        """Run the guide's own command, with the mounted files where it has them."""
        within = mounting(self.mounted, MOUNT_POINT)
        with serving(self._place(), self.environment(settings), *SEED_COMMAND, within=within) as running:
            yield running

    @contextlib.contextmanager
    def service(self, *arguments: str, **settings: str) -> Iterator[Service]:
        """Run `serve` with the files of this stage."""
        environment = self.environment({"CONFIG": str(self.values_file), **settings})
        environment["QUALYS_ACCESS_TOKEN_FILE"] = str(self.token_file)
        with serving(self._place(), environment, *arguments) as running:
            yield running

    def _place(self) -> Path:
        return self.directory / f"s{next(self._numbers)}"
