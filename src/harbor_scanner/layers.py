"""The layers that settings come from: command line, environment, a standing file, values.yaml, default.

The first one that gives a setting holds. Every problem is found at once, and the origin of every value kept.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import msgspec

from harbor_scanner.errors import SettingsError
from harbor_scanner.files import Files
from harbor_scanner.settings import Setting, settings_of
from harbor_scanner.values import Values, as_helm

PREFIXES = ("SCANNER_", "QUALYS_")
COMMAND_LINE = "command line"
DEFAULT = "default"
_ENVIRONMENT = "environment"
_FILE = "_FILE"
_SERVICE_LINK = re.compile(r"\w+(_SERVICE_(HOST|PORT\w*)|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=.*|\w+_PORT=\w+://.*")
"""Variables, with their values, that Kubernetes and Docker set for services that happen to be called `scanner…`."""
Group = TypeVar("Group", bound=msgspec.Struct)


class Effective(msgspec.Struct, frozen=True):
    """A setting as it holds now, and where it came from."""

    setting: Setting
    text: str
    origin: str
    key: str = ""
    """The key of values.yaml that gave it."""
    live: bool = False
    """Whether a change takes effect without a restart."""

    @property
    def given(self) -> bool:
        """Whether anybody set it."""
        return self.origin != DEFAULT


class _Found(msgspec.Struct, frozen=True):
    text: str
    origin: str
    label: str
    """How the operator knows the setting, for problems."""
    key: str = ""
    written: str | None = None
    """The text of the key, where it is not that of the variable."""


class Loader:
    """Reads groups of settings from their layers and gathers what is wrong with them."""

    def __init__(
        self,
        environment: Mapping[str, str],
        *,
        overrides: Mapping[str, str] = MappingProxyType({}),
        files: Files | None = None,
        values: Values | None = None,
        chart: bool = False,
    ) -> None:
        self._environment = environment
        self._overrides = overrides
        self._files = files or Files()
        self._values = values
        self._chart = chart or values is not None
        self._variables: set[str] = set()
        self._keys: set[str] = set()
        self.effective: list[Effective] = []
        self.problems: list[str] = []
        self.warnings: list[str] = []

    def load(self, group: type[Group], *, live: bool = False) -> Group | None:
        """Return the group, or None if one of its settings is wrong. An empty value means the default."""
        values = {}
        before = len(self.problems)
        for field, setting in settings_of(group).items():
            values[field] = self.read(setting, live=live)
        return group(**values) if len(self.problems) == before else None

    def read(self, setting: Setting, *, live: bool = False) -> Any:
        """Return the value of one setting; None, with a problem noted, if it is wrong."""
        self.recognise((setting,))
        found = self._find(setting)
        value = None
        try:
            value = setting.kind.parse(plain(found.text))
        except ValueError as error:
            self._wrong(setting, found, str(error))
        # A path is shown as it is used, with `~` and the like replaced.
        shown = str(value) if isinstance(value, Path) else found.text
        self.effective.append(Effective(setting, shown, found.origin, found.key, live))
        return value

    def gives(self, group: type[msgspec.Struct]) -> bool:
        """Return whether any setting of the group is given, by any layer."""
        return any(self._find(setting).origin != DEFAULT for setting in settings_of(group).values())

    def recognise(self, settings: Iterable[Setting], *, in_file: bool = True) -> None:
        """Know these settings, though nobody reads them now; with `in_file` their keys in values.yaml as well."""
        for setting in settings:
            names = [setting.name, setting.name + _FILE] if setting.secret else [setting.name]
            self._variables.update(names)
            if in_file:
                self._keys.update(names, setting.keys)

    def recognise_keys(self, keys: Iterable[str]) -> None:
        """Know these keys of values.yaml, which are no settings of the service."""
        self._keys.update(keys)

    def require(self, condition: object, problem: str) -> None:
        """Note `problem`, which names settings by their variables, unless `condition` holds."""
        if not condition:
            self.problems.append(self.worded(problem))

    def worded(self, line: str) -> str:
        """Return a line of the form `NAME: …` with settings named as whoever set them knows them."""
        if self._values is None:
            return line
        keys = {
            entry.setting.name: entry.key or entry.setting.keys[0]
            for entry in self.effective
            if entry.key or (not entry.given and entry.setting.keys)
        }
        given = {entry.key for entry in self.effective}

        def key(match: re.Match[str]) -> str:
            return keys.get(match[0], match[0])

        head, colon, tail = (re.sub(r"\b[A-Z][A-Z_]*\b", key, part) for part in line.partition(":"))
        in_file = any(word.rstrip(",") in given for word in head.split())
        return f"{head} (in {self._values.path}){colon}{tail}" if in_file else head + colon + tail

    def finish(self, notes: Iterable[str] = ()) -> None:
        """Raise SettingsError with every problem found, if there is any, and `notes` that may explain them."""
        if self.problems:
            # One key may stand for several settings.
            error = SettingsError(list(dict.fromkeys(self.problems)))
            for note in notes:
                error.add_note(note)
            raise error

    def unknown(self) -> list[str]:
        """Return a line for each variable and key that looks like a setting of ours and is none.

        What cannot be a setting for its very form becomes a problem, and a key given twice a warning.
        """
        lines = []
        for name in sorted(self._environment):
            variable = f"{name}={self._environment[name]}"
            if not name.startswith(PREFIXES) or name in self._variables or _SERVICE_LINK.fullmatch(variable):
                continue
            near = difflib.get_close_matches(name, self._variables, n=1)
            lines.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
        for misfit in self._values.misfits(self._keys) if self._values else ():
            (self.problems if misfit.fatal else lines).append(misfit.line)
        return lines

    def _find(self, setting: Setting) -> _Found:
        name = setting.name
        if text := self._overrides.get(name, ""):
            return _Found(text, COMMAND_LINE, f"{name} ({COMMAND_LINE})")
        return (
            self._from_variables(setting, lambda name: self._environment.get(name, ""))
            or self._from_files(setting)
            or _Found(setting.default_of(chart=self._chart), DEFAULT, f"{name} ({DEFAULT})")
        )

    def _from_variables(self, setting: Setting, get: Callable[[str], str], where: str = "") -> _Found | None:
        name = setting.name
        text = get(name)
        path = get(name + _FILE) if setting.secret else ""
        self._problem_if(path and text, f"{name} and {name}{_FILE}{where} are both set: keep one of them")
        if not path:
            return _Found(text, _ENVIRONMENT, name) if text else None
        label, origin = f"{name}{_FILE}{where}", f"file {path}"
        try:
            content = self._files.read(Path(plain(path)))
        except ValueError as error:
            self.problems.append(f"{label}: {path!r} cannot be read: {error}")
            return _Found(setting.default, origin, label)
        if content.data is None:
            reason = content.problem or "No such file or directory"
            self.problems.append(f"{label}: {path!r} cannot be read: {reason}")
            return _Found(setting.default, origin, label)
        held = self._decoded(label, path, content.data)
        # A password that somebody meant to set must not silently become none.
        self._problem_if(held == "", f"{label}: {path!r} is empty")
        return _Found(held or setting.default, origin, f"{name}{where} ({origin})")

    def _from_files(self, setting: Setting) -> _Found | None:
        standing, written = self._from_standing_file(setting), self._from_values(setting)
        if standing is not None and written is not None and written.text != standing.text:
            self.warnings.append(f"{written.label} and the {standing.origin} disagree: the file holds")
        return standing or written

    def _from_standing_file(self, setting: Setting) -> _Found | None:
        path = setting.standing_file
        if path is None:
            return None
        content = self._files.read(path)
        origin = f"file {path}"
        if content.problem:
            self.problems.append(f"{setting.name} ({origin}): it cannot be read: {content.problem}")
            return _Found(setting.default, origin, setting.name)
        text = self._decoded(setting.name, str(path), content.data or b"")
        if text is None:
            return _Found(setting.default, origin, setting.name)
        # A chart mounts an empty one when no secret is given to it.
        return _Found(text, origin, f"{setting.name} ({origin})") if text.strip() not in {"", "---"} else None

    def _decoded(self, label: str, path: str, data: bytes) -> str | None:
        try:
            return data.decode().rstrip("\r\n")
        except UnicodeDecodeError:
            self.problems.append(f"{label}: {path!r} cannot be read: it is not UTF-8 text")
            return None

    def _from_values(self, setting: Setting) -> _Found | None:
        """Find what values.yaml says: under the variable's own name, which is the more exact, or under a key."""
        values = self._values
        if values is None:
            return None
        where = f" (in {values.path})"
        found = []
        direct = self._from_variables(setting, values.get, where)
        if direct is not None:
            origin = direct.origin if direct.origin != _ENVIRONMENT else f"values.yaml {values.path}: {setting.name}"
            label = f"{setting.name}{where}" if direct.origin == _ENVIRONMENT else direct.label
            found.append(_Found(as_helm(setting.kind, direct.text), origin, label, setting.name))
        for key in setting.keys:
            if written := values.get(key):
                text = setting.read_key(as_helm(setting.kind, written))
                found.append(_Found(text, f"values.yaml {values.path}: {key}", key + where, key, written))
        for other in found[1:]:
            if _value(setting, other.text) != _value(setting, found[0].text):
                self.warnings.append(f"{found[0].key} and {other.key}{where} disagree: {found[0].key} holds")
        return found[0] if found else None

    def _problem_if(self, condition: object, problem: str) -> None:
        if condition:
            self.problems.append(problem)

    def _wrong(self, setting: Setting, found: _Found, reason: str) -> None:
        # A mask knows how to hide a secret in a value of the right form, which this one has not.
        text = found.text if found.written is None else found.written
        value = "its value (not shown)" if setting.secret else repr(setting.shown(text))
        allowed = setting.key_allowed if found.written is not None and setting.key_allowed else setting.kind.allowed
        why = f" ({reason})" if reason and not reason.startswith(("not a Go duration", "invalid literal")) else ""
        self.problems.append(f"{found.label}: {value} is not allowed{why}; it must be {allowed}")


def plain(text: str) -> str:
    """Return `text`. Raises ValueError if it holds what neither JSON nor the arguments of programs may hold."""
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8 text") from None
    return text


def _value(setting: Setting, text: str) -> Any:
    try:
        return setting.kind.parse(text)
    except ValueError:
        return text
