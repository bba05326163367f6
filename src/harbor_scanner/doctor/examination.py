"""Runs all checks at once, each within its time, and returns what they found, area by area."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence

import msgspec

from harbor_scanner.config import Config, EnabledScanner
from harbor_scanner.doctor import api, clock, disk, limits, proxies, registry, settings, store
from harbor_scanner.doctor.check import Area, Check, Verdict
from harbor_scanner.doctor.network import Network
from harbor_scanner.doctor.programs import Program
from harbor_scanner.doctor.surroundings import Surroundings
from harbor_scanner.doctor.workshop import Workshop, workshop
from harbor_scanner.errors import HarborScannerError
from harbor_scanner.redact import Redactor
from harbor_scanner.scanning.reference import Reference

_IN_ALL = 13.0
"""Seconds for all checks: what is not done then hangs where it does not hear that its time is over."""
_LEAVING = 1.5
"""Seconds in which a check that was given up may end what it has started."""
_SLOW_DISK = "A disk that does not answer, such as one over the network, holds up every scan: see that it is there."

Tell = Callable[[Sequence[str]], None]
"""Told the areas that are still looked at."""


class Wanted(msgspec.Struct, frozen=True):
    """What the operator wants to be looked at besides the settings."""

    registry: str = ""
    """URL of the registry that scans pull from."""
    image: Reference | None = None


async def examine(config: Config, wanted: Wanted, tell: Tell) -> list[Verdict]:
    """Return the verdicts of all checks, in the order of the areas, without secrets."""
    network = Network(os.environ)
    async with contextlib.AsyncExitStack() as stack:
        found, place = [], None
        try:
            place = await stack.enter_async_context(workshop())
        except (OSError, HarborScannerError) as error:
            found.append(_no_workshop(error))
        checks = list(_checks(config, wanted, network, place))
        found += await _run(checks, tell)
        # These judge what the others have met on their way.
        last = [
            Check(proxies.PROXIES, "way", lambda: proxies.look(os.environ, network.contacts)),
            Check(clock.CLOCK, "time", lambda: clock.look(network.offsets)),
        ]
        found += await _run(last, tell)
    redact = Redactor([*config.secrets(), *network.secrets])
    areas = list(dict.fromkeys(check.area.name for check in [*checks, *last]))
    found.sort(key=lambda verdict: areas.index(verdict.area) if verdict.area in areas else len(areas))
    return [_clean(verdict, redact) for verdict in found]


def _checks(config: Config, wanted: Wanted, network: Network, place: Workshop | None) -> Iterator[Check]:
    yield Check(settings.SETTINGS, "values", lambda: settings.look(config))
    if place is not None:
        yield Check(
            store.STORE, "connection", lambda: store.look(config, place, network.offsets),
            "See that a Redis answers at SCANNER_REDIS_URL, and that no firewall drops the connection.",
        )  # fmt: skip
    yield Check(disk.DISK, "directory", lambda: disk.data(config), _SLOW_DISK)
    of_scanners = [
        list(_of_scanner(config, enabled, network, wanted, place))
        for enabled in config.scanners
        if place is not None and config.role.scans
    ]
    yield from (check for checks in of_scanners for check in checks if check.area == disk.DISK)
    yield Check(limits.LIMITS, "memory", lambda: limits.look(config))
    yield Check(api.API, "certificate", lambda: api.certificate(config))
    yield Check(api.API, "service", lambda: api.service(config), "Look into the log of the service.")
    yield from (check for checks in of_scanners for check in checks if check.area != disk.DISK)
    if wanted.registry:
        yield Check(registry.REGISTRY, "connection", lambda: registry.reachable(network, wanted.registry))
    else:
        yield Check(registry.REGISTRY, "connection", registry.nothing)
    if wanted.image is not None:
        yield Check(registry.REGISTRY, "image", functools.partial(registry.image, network, wanted.image))


def _of_scanner(
    config: Config, enabled: EnabledScanner, network: Network, wanted: Wanted, place: Workshop
) -> Iterator[Check]:
    """Yield the checks of one scanner: of its directories, its program, and those that it brings itself."""
    area = Area(enabled.name)
    try:
        program = Program(config, enabled, place)
        for path in program.scanner.directories:
            yield Check(disk.DISK, "directory", functools.partial(disk.scanner, config, area.name, path), _SLOW_DISK)
        yield Check(area, "program", program.look, "Run it with its version command, and see what it waits for.", 7.0)
        surroundings = Surroundings(network, program.version, config.worker.data_dir, wanted.registry)
        yield from enabled.plugin.checks(enabled.settings.current(), surroundings)
    except Exception as error:  # noqa: BLE001 - whatever happens in a foreign module, it is told
        yield Check(area, "checks", functools.partial(_told, _defect(area, "checks", error)))


async def _told(verdict: Verdict) -> AsyncIterator[Verdict]:
    """Yield what is known already."""
    yield verdict


def _defect(area: Area, name: str, error: Exception) -> Verdict:
    reason = f"{str(error) or 'it gave no reason'} ({type(error).__name__})"
    return area.failure(
        name, f"This check failed itself: {reason}.", "Report it; the other verdicts hold all the same."
    )


async def _run(checks: Iterable[Check], tell: Tell) -> list[Verdict]:
    """Return the verdicts of checks that are run at once, in the order of the checks."""
    results = [(check, list[Verdict]()) for check in checks]
    tasks = {asyncio.create_task(_look(check, verdicts)): (check, verdicts) for check, verdicts in results}
    waiting, deadline = set(tasks), time.monotonic() + _IN_ALL
    try:
        while waiting and (left := deadline - time.monotonic()) > 0:
            tell(list(dict.fromkeys(tasks[task][0].area.name for task in tasks if task in waiting)))
            _, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
        for task in waiting:
            check, verdicts = tasks[task]
            verdicts.append(check.area.failure(check.name, "This check hangs, and was given up.", check.advice))
    finally:
        # Also when a signal ends it all: what a check has started is to be ended by the check.
        for task in waiting:
            task.cancel()
        if waiting:
            await asyncio.wait(waiting, timeout=_LEAVING)
    return [verdict for _, verdicts in results for verdict in verdicts]


async def _look(check: Check, verdicts: list[Verdict]) -> None:
    """Add the verdicts of a check; its own end before its time, of whatever kind, is one too."""
    try:
        async with asyncio.timeout(check.seconds) as limit:
            async for verdict in check.look():
                verdicts.append(verdict)  # noqa: PERF401 - what was found before the time is over stays
    except Exception as error:  # noqa: BLE001 - one check's crash stops no other
        if limit.expired():
            what = f"There was no answer within {check.seconds:g} seconds."
            verdicts.append(check.area.failure(check.name, what, check.advice))
        else:
            verdicts.append(_defect(check.area, check.name, error))


def _no_workshop(error: Exception) -> Verdict:
    reason = (error.strerror if isinstance(error, OSError) else "") or str(error).partition("\n")[0].rstrip(".")
    return disk.DISK.failure(
        "temporary",
        f"There is no place for temporary files ({reason}): store and programs were not tried.",
        "Let TMPDIR name a directory that this user may write to.",
    )


def _clean(verdict: Verdict, redact: Redactor) -> Verdict:
    """Return the verdict without secrets, and without what would move the cursor of a terminal."""

    def cleaned(text: str) -> str:
        return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in redact(text)).strip()

    return msgspec.structs.replace(verdict, what=cleaned(verdict.what), advice=cleaned(verdict.advice))
