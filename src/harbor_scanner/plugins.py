"""Which scanners there are: this package's own, and those of other distributions, found by their entry points."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points

import msgspec

from harbor_scanner.scanners.base import ScannerPlugin
from harbor_scanner.settings import Kind, Setting, integer, settings_of

GROUP = "harbor_scanner.scanners"
OWN = ("aqua", "qualys", "osv")
"""The scanners of this package, in the order in which they are enabled by default."""
DEFAULT = "osv"
"""The scanner that is enabled if none is configured: it needs no account anywhere."""
_DISTRIBUTION = "harbor-scanner"
_NAME = re.compile(r"[a-z][a-z0-9-]*")
MOST_WORKERS = 1000


class Plugins(msgspec.Struct, frozen=True):
    """The scanners that are installed."""

    found: Mapping[str, ScannerPlugin]
    """By name: this package's own first, the others in the order of the alphabet."""
    broken: Mapping[str, str]
    """Names of those that cannot be used, with the reason."""
    warnings: tuple[str, ...]

    @property
    def names(self) -> str:
        """The names of all scanners, for messages."""
        return ", ".join(self.found)


def find_plugins(entries: Iterable[EntryPoint] | None = None) -> Plugins:
    """Return the scanners that `entries` (those of the installed distributions, if not given) refer to."""
    found: dict[str, ScannerPlugin] = {}
    broken: dict[str, str] = {}
    warnings = []
    for name, candidates in _by_name(entry_points(group=GROUP) if entries is None else entries):
        entry, *others = candidates
        if name in OWN and _distribution(entry) != _DISTRIBUTION:
            others = candidates
        warnings += [
            f"the scanner {name} of the distribution {_distribution(other)} is not used: another one has this name"
            for other in others
        ]
        if others is candidates:
            continue
        try:
            found[name] = _plugin(name, entry)
        except Exception as error:  # noqa: BLE001 - whatever happens in a foreign module, it is told
            reason = f"{error} ({type(error).__name__})"
            broken[name] = f"the scanner {name} of {_distribution(entry)} cannot be used: {reason}"
    return Plugins(found, broken, tuple(warnings))


def workers_setting(name: str) -> Setting:
    """Return the setting of how many scans of one scanner run at once."""
    at_most = integer(1, MOST_WORKERS)
    kind = Kind(lambda text: at_most.parse(text) if text else None, at_most.allowed)
    variable = f"SCANNER_{name.upper().replace('-', '_')}_WORKERS"
    return Setting(variable, "", kind, f"Scans by {name} that run at once in this process. Empty: SCANNER_WORKERS")


def _by_name(entries: Iterable[EntryPoint]) -> Iterator[tuple[str, list[EntryPoint]]]:
    """Yield each name with those that bring a scanner of it, first the one that may have it."""
    by_name: dict[str, list[EntryPoint]] = {}
    for entry in sorted(entries, key=lambda entry: (_distribution(entry) != _DISTRIBUTION, _distribution(entry))):
        same = by_name.setdefault(entry.name, [])
        # A distribution is seen twice if its place is on the path twice.
        if all((_distribution(entry), entry.value) != (_distribution(other), other.value) for other in same):
            same.append(entry)
    for name in sorted(by_name, key=lambda name: (OWN.index(name) if name in OWN else len(OWN), name)):
        yield name, by_name[name]


def _distribution(entry: EntryPoint) -> str:
    return re.sub(r"[-_.]+", "-", entry.dist.name).lower() if entry.dist is not None else ""


def _plugin(name: str, entry: EntryPoint) -> ScannerPlugin:
    if not _NAME.fullmatch(name):
        raise ValueError("its name must consist of lower-case letters, digits and hyphens")
    plugin = entry.load()
    if not isinstance(plugin, ScannerPlugin):
        raise TypeError(f"{entry.value} is not a ScannerPlugin")
    settings_of(plugin.settings)
    return plugin
