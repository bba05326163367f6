"""Settings that change while the service runs: the files that they come from are read again."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
import structlog

from harbor_scanner.errors import SettingsError
from harbor_scanner.files import Files
from harbor_scanner.layers import Effective
from harbor_scanner.log import add_secrets

log = structlog.get_logger(__name__)

WATCH_SECONDS = 5.0
_MOMENT = 0.02


class Reading(msgspec.Struct, frozen=True):
    """What one look at all layers gave."""

    scanners: Mapping[str, Any]
    """The settings of each enabled scanner."""
    effective: tuple[Effective, ...]
    unknown: tuple[str, ...]
    warnings: tuple[str, ...]
    secrets: tuple[str, ...]


class Watcher:
    """Keeps the settings of scanners as their files have them now.

    Only what changed in a file is looked at, by its content: Kubernetes replaces the files of a ConfigMap or Secret by
    turning a symbolic link. A change with anything wrong in it is rejected as a whole.
    """

    def __init__(self, read: Callable[[Files], Reading], files: Files, reading: Reading) -> None:
        self._read = read
        self._files = files
        self._good = files
        """What the settings that hold were read from."""
        self._first = reading
        self._problems: list[str] = []
        self._again_at = 0.0
        self._waiting: list[tuple[str, str]] = []
        self.reading = reading
        """What holds now. Of the service's own settings, those of the start hold."""

    async def watch(self) -> None:
        """Tell of changes soon, also when no scan asks for its settings; for ever."""
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            self.refresh()

    def refresh(self) -> None:
        """Read the files again if they changed, and log what follows from it."""
        try:
            self._refresh()
        except Exception:
            log.exception("settings could not be read again for a defect of this service")

    def _refresh(self) -> None:
        files = self._files.again()
        changed = files.contents != self._files.contents
        if changed:
            # A file that somebody is just writing is not whole yet: what it holds must last for a moment.
            time.sleep(_MOMENT)
            settled = files.again()
            if settled.contents != files.contents:
                return
        # What was rejected may have become right by something else, such as a certificate that is there by now.
        elif not self._problems or time.monotonic() < self._again_at:
            return
        self._again_at = time.monotonic() + WATCH_SECONDS
        self._tell_kept(files)
        before, self._files = self._files, files
        try:
            self._accept(self._read(files), files)
            self._problems = []
        except SettingsError as error:
            if changed or error.problems != self._problems:
                log.error(  # noqa: TRY400 - the problems say all
                    "changed settings are rejected; the last good ones stay", problems=error.problems
                )
            self._problems = error.problems
            if changed:
                self._accept_apart(before, files)

    def _accept_apart(self, before: Files, files: Files) -> None:
        """Take what is right by itself: trouble in one file keeps no new token in another from being used."""
        for path, content in files.contents.items():
            if content == before.contents.get(path):
                continue
            with contextlib.suppress(SettingsError):
                alone = self._good.taking(files, path)
                self._accept(self._read(alone), alone)

    def _accept(self, reading: Reading, files: Files) -> None:
        add_secrets(reading.secrets)
        self._tell_change(reading)
        self.reading = reading
        self._good = files

    def _tell_kept(self, files: Files) -> None:
        for path, content in files.contents.items():
            before = self._files.contents.get(path)
            if content.kept and (before is None or not before.kept):
                log.warning("a file of settings is gone; what it held stays", path=str(path), reason=content.kept)

    def _tell_change(self, reading: Reading) -> None:
        live = [name for name, entry in _changed(self.reading, reading) if entry.live]
        if live:
            log.info("changed settings take effect with the next scan", settings=live)
        elif self._problems:
            log.info("the settings are right again")
        waiting = [(name, entry.text) for name, entry in _changed(self._first, reading) if not entry.live]
        names = list(dict.fromkeys(name for name, _ in waiting))
        if names and waiting != self._waiting:
            log.warning("changed settings take effect at the next start only", settings=names)
        self._waiting = waiting
        told = {*self.reading.unknown, *self.reading.warnings}
        for line in (*reading.unknown, *reading.warnings):
            if line not in told:
                log.warning(line)


class LiveSettings:
    """The settings of one scanner, as they hold at any time."""

    def __init__(self, watcher: Watcher, scanner: str) -> None:
        self._watcher = watcher
        self._scanner = scanner

    def current(self) -> Any:
        """Return the settings as they hold now: the files that they come from are looked at."""
        self._watcher.refresh()
        return self._watcher.reading.scanners[self._scanner]


def _changed(before: Reading, after: Reading) -> Iterator[tuple[str, Effective]]:
    """Yield each setting with another text than before, under the name that the operator knows."""
    texts = {entry.setting.name: entry for entry in before.effective}
    for entry in after.effective:
        old = texts.get(entry.setting.name)
        if old is None or old.text != entry.text:
            yield entry.key or (old.key if old else "") or entry.setting.name, entry
