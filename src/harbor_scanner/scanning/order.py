"""What is to be scanned, and by whom: from what the user typed to a report."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import msgspec

from harbor_scanner.config import Config
from harbor_scanner.errors import HarborScannerError, InternalError, ScanError, ScannerConfigurationError
from harbor_scanner.log import current_redactor, redacting
from harbor_scanner.scanning import oneshot, remote
from harbor_scanner.scanning.credentials import Account, find_account
from harbor_scanner.scanning.layouts import find_path
from harbor_scanner.scanning.oneshot import Scanned, Tell
from harbor_scanner.scanning.platform import Platform
from harbor_scanner.scanning.reference import Reference
from harbor_scanner.scanning.resolving import resolve
from harbor_scanner.scanning.subject import Subject
from harbor_scanner.scratch import Area


class Files(msgspec.Struct, frozen=True):
    """An image in a file or a directory."""

    path: Path
    name: str = ""
    """Which one, if it holds several."""

    def __str__(self) -> str:
        return f"{self.path}:{self.name}" if self.name else str(self.path)


def target_of(image: str) -> Files | Reference:
    """Return what the user means by `image`. Raises ValueError."""
    found = find_path(image)
    return Files(*found) if found is not None else Reference.parse(image)


class Order(msgspec.Struct, frozen=True):
    """One scan."""

    target: Files | Reference
    platform: Platform
    kind: str
    """Of the report (`ScanRequest.reports`)."""
    account: Account | None
    """At the registry; None to look for one."""
    environment: Mapping[str, str]

    async def here(self, config: Config, tell: Tell) -> Scanned:
        """Scan on this machine by the first scanner of `config`. Raises HarborScannerError."""
        with _without_secrets():
            async with (
                oneshot.premises(config, config.scanners[0]) as premise,
                self._subject(premise.area, tell) as subject,
            ):
                with redacting(subject.secrets), _without_secrets():
                    return await premise.scan(subject, self.kind, tell)

    async def by(self, url: str, tell: Tell) -> Scanned:
        """Have an adapter scan. Raises HarborScannerError."""
        if isinstance(self.target, Files):
            raise ScannerConfigurationError("An adapter pulls from a registry, and cannot be sent files.")
        auth = remote.authorization(self.environment)
        with redacting(remote.secrets(self.environment)), _without_secrets():
            subject = await self._resolved(self.target, tell)
            with redacting(subject.secrets), _without_secrets():
                return await remote.scan(url, auth, subject, self.kind, tell)

    @contextlib.asynccontextmanager
    async def _subject(self, area: Area, tell: Tell) -> AsyncIterator[Subject]:
        if isinstance(self.target, Reference):
            yield await self._resolved(self.target, tell)
            return
        async with oneshot.serving_files(self.target.path, self.target.name, self.platform, area, tell) as subject:
            yield subject

    async def _resolved(self, reference: Reference, tell: Tell) -> Subject:
        tell(f"Looking up {reference}")
        account = self.account
        if account is None:
            account = await asyncio.to_thread(find_account, reference.host, self.environment)
        with redacting(account.secrets), _without_secrets():
            return await resolve(reference, account, self.platform)


@contextlib.contextmanager
def _without_secrets() -> Iterator[None]:
    """Take secrets out of errors, and make an error of every defect."""
    redact = current_redactor()
    try:
        yield
    except ScanError as error:
        error.message, error.advice = redact(error.message), redact(error.advice)
        raise
    except HarborScannerError as error:
        raise HarborScannerError(redact(str(error))) from error
    except Exception as error:
        raise InternalError(f"The scan failed for a defect of this program: {redact(repr(error))}") from error
