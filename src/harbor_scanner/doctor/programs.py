"""The programs of scanners: whether they are there, run on this machine, and which version they are."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from harbor_scanner.config import Config, EnabledScanner
from harbor_scanner.doctor.check import Area, Verdict
from harbor_scanner.doctor.workshop import Workshop
from harbor_scanner.errors import ScanError
from harbor_scanner.harbor.models import SBOM
from harbor_scanner.scanners.base import Premises, Scanner
from harbor_scanner.syft import program as syft


class Program:
    """The program of one scanner, asked for its version once, whoever wants to know."""

    def __init__(self, config: Config, enabled: EnabledScanner, workshop: Workshop) -> None:
        self.area = Area(enabled.name)
        self._by_syft = config.sbom.by_syft
        self._space = workshop.scratch.area(enabled.name, workshop.processes)
        premises = Premises(enabled.settings.current, self._space.directory, config.worker.data_dir)
        self.scanner: Scanner = enabled.plugin.make(premises)
        self._version = ""
        self._told = asyncio.Event()

    async def version(self) -> str:
        """Return the version; empty if it cannot be told."""
        await self._told.wait()
        return self._version

    async def look(self) -> AsyncIterator[Verdict]:
        """Yield whether it runs, and Syft too if that makes the SBOMs."""
        try:
            async with self._space.workspace() as workspace:
                self._version = await self.scanner.version(workspace)
        except ScanError as error:
            yield self.area.failure("program", error.message, error.advice)
        else:
            yield self.area.ok("program", f"Its program runs, and is version {self._version}.")
        finally:
            self._told.set()
        if self._by_syft and all(capability.type != SBOM for capability in self.scanner.capabilities):
            yield await self._syft()

    async def _syft(self) -> Verdict:
        try:
            async with self._space.workspace() as workspace:
                version = await syft.version(workspace)
        except ScanError as error:
            return self.area.failure("sbom", f"SBOMs cannot be made: {error.message}", error.advice)
        return self.area.ok("sbom", f"Syft, which makes the SBOMs, runs, and is version {version}.")
