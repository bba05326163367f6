"""One run of Syft: the inventory of an image, and its SBOMs."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from harbor_scanner.errors import BadReportError
from harbor_scanner.harbor.models import ScanRequest
from harbor_scanner.scanners.base import Workspace
from harbor_scanner.scanners.printed import plain
from harbor_scanner.syft.command import INVENTORY, SBOM_FILES, scan_command, scan_environment, scan_secrets
from harbor_scanner.syft.document import decode_document
from harbor_scanner.syft.failures import failure
from harbor_scanner.syft.inventory import Inventory, Unread, inventory_of
from harbor_scanner.syft.program import find_program

_SHOWN = 5


class Examination(msgspec.Struct, frozen=True):
    """What Syft found, and wrote."""

    inventory: Inventory
    sboms: dict[str, bytes]
    """By their media types."""


async def examine(
    request: ScanRequest, workspace: Workspace, kinds: Iterable[str], *, time_limit: float
) -> Examination:
    """Have Syft examine the image of `request`, once, for the SBOMs among `kinds` too. Raises ScanError."""
    formats = tuple(kind for kind in kinds if kind in SBOM_FILES)
    output = workspace.directory / "syft"
    output.mkdir(mode=0o700)
    outcome = await workspace.run(
        scan_command(find_program(), request, formats, output),
        environment=scan_environment(request),
        time_limit=time_limit,
        secrets=scan_secrets(request),
    )
    outcome.require_own_end()
    if outcome.exit_code != 0:
        raise failure(outcome)
    try:
        return await asyncio.to_thread(_read, output, formats)
    except BadReportError as error:
        raise BadReportError(f"{error.message}\n{plain(outcome.last_lines())}".rstrip(), error.advice) from error


def unread_notice(unread: Sequence[Unread]) -> str:
    """Return a sentence that tells what of an image could not be read; empty if nothing."""
    if not unread:
        return ""
    files = "; ".join(f"{one.path} ({one.reason})" for one in unread[:_SHOWN])
    more = f"; and {len(unread) - _SHOWN} more" if len(unread) > _SHOWN else ""
    return f"Packages may be missing, for these files of the image could not be read: {files}{more}."


def _read(output: Path, formats: Iterable[str]) -> Examination:
    inventory = inventory_of(decode_document(_content(output / INVENTORY)))
    return Examination(inventory, {kind: _content(output / SBOM_FILES[kind]) for kind in formats})


def _content(path: Path) -> bytes:
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        content = b""
    if not content:
        raise BadReportError(
            f"Syft ended well, but wrote no {path.name}.", "See whether the disk of SCANNER_DATA_DIR is full."
        )
    return content
