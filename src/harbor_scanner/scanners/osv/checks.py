"""What `harbor-scanner doctor` looks at for `osv`: the advisories on this machine, and where newer ones come from."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from harbor_scanner.doctor.check import Area, Check, Outcome, TroubleError, Verdict
from harbor_scanner.doctor.network import Network, Way, without_user
from harbor_scanner.doctor.surroundings import Surroundings
from harbor_scanner.osv.age import too_old
from harbor_scanner.osv.database import Database, quoted
from harbor_scanner.osv.ecosystems import SUPPORTED
from harbor_scanner.scanners.osv.settings import OsvSettings

OSV = Area("osv")

_WHOM = "the source of advisories"
_NAMED = 6


def checks(settings: OsvSettings, surroundings: Surroundings) -> Iterator[Check]:
    """Yield the checks."""
    directory = surroundings.data_dir / "osv"
    yield Check(OSV, "database", functools.partial(_database, settings, directory), "See that the disk answers.")
    yield Check(OSV, "source", functools.partial(_source, settings, surroundings.network))


async def _database(settings: OsvSettings, directory: Path) -> AsyncIterator[Verdict]:
    try:
        infos = await asyncio.to_thread(Database(directory).info)
    except OSError as error:
        yield OSV.failure(
            "database",
            f"{directory} cannot be looked into: {error.strerror or error}.",
            "Give it to the user of the service, or run this as that user.",
        )
        return
    there = {info.ecosystem for info in infos if not info.problem}
    if not infos:
        yield OSV.failure(
            "database", f"There are no advisories in {directory}: every scan for vulnerabilities fails.",
            "As the user of the service run `harbor-scanner db update`, or `db import` where osv.dev is out of reach.",
        )  # fmt: skip
        return
    for info in infos:
        if info.problem:
            yield OSV.failure(
                "database", f"The advisories of {info.ecosystem} cannot be used: {info.problem.rstrip('.')}.",
                f"`harbor-scanner db update --force {quoted(info.ecosystem)}` fetches them anew.",
            )  # fmt: skip
    now = datetime.now(UTC)
    old = {info.ecosystem: reason for info in infos if info.ecosystem in there and (reason := too_old(info, now))}
    for ecosystem, reason in old.items():
        yield OSV.warning(
            "database", f"The advisories of {ecosystem} are too old to rely on: {reason}.",
            "Run `harbor-scanner db update`; see SCANNER_OSV_UPDATE_EVERY, and the log of the service.",
        )  # fmt: skip
    missing = [name for name in settings.ecosystems or SUPPORTED if name not in {info.ecosystem for info in infos}]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        yield OSV.warning(
            "database", f"There are no advisories of {', '.join(missing[:_NAMED])}{more}: images with their packages "
            f"{'are not checked for them' if settings.missing == 'notice' else 'fail their scans'}.",
            "Run `harbor-scanner db update`, or name those that you need in SCANNER_OSV_ECOSYSTEMS.",
        )  # fmt: skip
    if there and not old:
        count = sum(info.advisories for info in infos)
        yield OSV.ok("database", f"There are {count:,} advisories of {len(there)} ecosystems, none of them too old.")


async def _source(settings: OsvSettings, network: Network) -> AsyncIterator[Verdict]:
    if not settings.update_every:
        yield OSV.skipped("source", "The service fetches no advisories by itself (SCANNER_OSV_UPDATE_EVERY is 0).")
        return
    ecosystem = next(iter(settings.ecosystems or SUPPORTED))
    url = f"{settings.url}/{quote(ecosystem)}/all.zip"
    shown, advice = without_user(url), "See SCANNER_OSV_URL. Without a network, set SCANNER_OSV_UPDATE_EVERY=0."
    try:
        answer = await network.ask(_WHOM, url, method="HEAD", way=Way.SERVICE)
    except TroubleError as trouble:
        # What is there already serves scans for some days.
        outcome = Outcome.WARNING if trouble.outcome is Outcome.FAILURE else trouble.outcome
        yield Verdict(OSV.name, "source", outcome, f"Newer advisories do not come: {trouble.what}", trouble.advice)
        return
    if answer.status in {200, 301, 302, 303, 307, 308}:
        yield OSV.ok("source", f"{shown} can be fetched.")
    else:
        yield OSV.warning(
            "source", f"Newer advisories do not come: {shown} answers with status {answer.status}.", advice
        )
