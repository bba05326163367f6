"""Read settings from the environment: every problem found at once, and the origin of every value kept.

A group of settings is a frozen struct whose fields are annotated with a `Setting`; scanners bring groups of their own.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import msgspec

from harbor_scanner.duration import format_duration, parse_duration
from harbor_scanner.errors import SettingsError

PREFIX = "SCANNER_"
_FILE = "_FILE"
_SERVICE_LINK = re.compile(r"\w+(_SERVICE_(HOST|PORT\w*)|_PORT_\d+_(TCP|UDP|SCTP)(_\w+)?)=.*|\w+_PORT=\w+://.*")
"""Variables, with their values, that Kubernetes and Docker set for services that happen to be called `scanner…`."""

Group = TypeVar("Group", bound=msgspec.Struct)


class Kind(msgspec.Struct, frozen=True):
    """How the text of a setting is read."""

    parse: Callable[[str], Any]
    """Raises ValueError on what is not allowed; an own message is shown if it says more than `allowed`."""
    allowed: str
    """Completes `… must be`."""


class Setting(msgspec.Struct, frozen=True):
    """One setting: its name in the environment and all that the documentation says of it."""

    name: str
    default: str
    kind: Kind
    meaning: str
    secret: bool = False
    """Never shown; may also be read from the file that `NAME_FILE` names."""
    mask: Callable[[str], str] | None = None
    """For values that hold a secret among other things: returns what may be shown."""
    redacted: bool = True
    """Whether a secret is taken out of logs as well; not so a user name, which may be a common word."""

    def shown(self, text: str) -> str:
        """Return `text` as logs and screens may have it."""
        if not text:
            return text
        if self.mask is not None:
            return self.mask(text)
        return "********" if self.secret else text


class Effective(msgspec.Struct, frozen=True):
    """A setting as it holds now, and where it came from."""

    setting: Setting
    text: str
    origin: str


def _whole_number(text: str) -> int:
    if not re.fullmatch(r"[+-]?\d+", text, re.ASCII):
        raise ValueError
    return int(text)


def _boolean(text: str) -> bool:
    if text in {"1", "t", "T", "true", "TRUE", "True"}:
        return True
    if text in {"0", "f", "F", "false", "FALSE", "False"}:
        return False
    raise ValueError


def absolute_path(text: str) -> Path:
    """Return the path, absolute: scanners run in directories of their own. Raises ValueError."""
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ValueError("the home directory is not known") from None
    except OSError:
        raise ValueError("the current directory is not known") from None


def _optional_path(text: str) -> Path | None:
    return absolute_path(text) if text else None


TEXT = Kind(str, "text")
PATH = Kind(absolute_path, "a path")
OPTIONAL_PATH = Kind(_optional_path, "a path")
BOOLEAN = Kind(_boolean, "true or false")


def integer(least: int, most: int | None = None) -> Kind:
    """Return the kind of whole numbers from `least` to `most`."""
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"

    def parse(text: str) -> int:
        number = _whole_number(text)
        if number < least or (most is not None and number > most):
            raise ValueError
        return number

    return Kind(parse, f"a whole number {bounds}")


def duration(least: float = 0, most: float | None = None) -> Kind:
    """Return the kind of Go durations from `least` to `most` seconds."""
    bounds = f"of at least {format_duration(least)}" if least else "of zero or more"
    if most is not None:
        bounds = f"from {format_duration(least)} to {format_duration(most)}"

    def parse(text: str) -> float:
        seconds = parse_duration(text)
        if seconds < least or (most is not None and seconds > most):
            raise ValueError
        return seconds

    return Kind(parse, f"a duration {bounds}, written as in Go (1h2m3s, 500ms)")


def choice(words: type[StrEnum]) -> Kind:
    """Return the kind of the words of an enumeration, in any case."""
    by_folded = {str(word).casefold(): word for word in words}

    def parse(text: str) -> StrEnum:
        try:
            return by_folded[text.casefold()]
        except KeyError:
            raise ValueError from None

    return Kind(parse, "one of " + ", ".join(words))


def size() -> Kind:
    """Return the kind of sizes in bytes, as Kubernetes writes them: `200Mi`, `1Gi`, `500M`, `1048576`."""
    units = {"": 1, "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12,
             "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}  # fmt: skip

    def parse(text: str) -> int:
        match = re.fullmatch(r"(\d+)([kMGT]|[KMGT]i)?", text, re.ASCII)
        if not match:
            raise ValueError
        return int(match[1]) * units[match[2] or ""]

    return Kind(parse, "a size such as 200Mi, 1Gi or 1048576")


def _plain(text: str) -> str:
    """Return `text`. Raises ValueError if it holds what neither JSON nor the arguments of programs may hold."""
    if "\0" in text:
        raise ValueError("it holds a NUL character")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("it is not UTF-8 text") from None
    return text


def settings_of(group: type[msgspec.Struct]) -> dict[str, Setting]:
    """Return the settings of a group by field name, in the order of the fields."""
    found = {}
    for field, hint in get_type_hints(group, include_extras=True).items():
        for annotation in getattr(hint, "__metadata__", ()):
            if isinstance(annotation, Setting):
                found[field] = annotation
    return found


class Loader:
    """Reads groups of settings from an environment and gathers what is wrong with them."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._known: set[str] = set()
        self.effective: list[Effective] = []
        self.problems: list[str] = []

    def load(self, group: type[Group]) -> Group | None:
        """Return the group, or None if one of its settings is wrong. An empty value means the default."""
        values = {}
        failed = False
        for field, setting in settings_of(group).items():
            before = len(self.problems)
            text, origin = self._text(setting)
            try:
                values[field] = setting.kind.parse(_plain(text))
            except ValueError as error:
                self._wrong(setting, text, origin, str(error))
            # A path is shown as it is used, with `~` and the like replaced.
            shown = str(values[field]) if isinstance(values.get(field), Path) else text
            self.effective.append(Effective(setting, shown, origin))
            failed = failed or len(self.problems) > before
        return None if failed else group(**values)

    def require(self, condition: object, problem: str) -> None:
        """Note `problem` unless `condition` holds."""
        if not condition:
            self.problems.append(problem)

    def finish(self) -> None:
        """Raise SettingsError with every problem found, if there is any."""
        if self.problems:
            raise SettingsError(self.problems)

    def unknown(self) -> list[str]:
        """Return a line for each variable that looks like a setting of ours and is none."""
        lines = []
        for name in sorted(self._environment):
            variable = f"{name}={self._environment[name]}"
            if not name.startswith(PREFIX) or name in self._known or _SERVICE_LINK.fullmatch(variable):
                continue
            near = difflib.get_close_matches(name, self._known, n=1)
            lines.append(f"{name} is not a setting" + (f"; did you mean {near[0]}?" if near else ""))
        return lines

    def _text(self, setting: Setting) -> tuple[str, str]:
        self._known.add(setting.name)
        text = self._environment.get(setting.name, "")
        if not setting.secret:
            return (text, "environment") if text else (setting.default, "default")
        self._known.add(setting.name + _FILE)
        path = self._environment.get(setting.name + _FILE, "")
        if path and text:
            self.problems.append(f"{setting.name} and {setting.name}{_FILE} are both set: keep one of them")
        if not path:
            return (text, "environment") if text else (setting.default, "default")
        try:
            text = Path(_plain(path)).read_text(encoding="utf-8").rstrip("\r\n")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
            self.problems.append(f"{setting.name}{_FILE}: {path!r} cannot be read: {reason}")
            return setting.default, "default"
        # A password that somebody meant to set must not silently become none.
        self.require(text, f"{setting.name}{_FILE}: {path!r} is empty")
        return text, f"file {path}"

    def _wrong(self, setting: Setting, text: str, origin: str, reason: str) -> None:
        # A mask knows how to hide a secret in a value of the right form, which this one has not.
        value = "its value (not shown)" if setting.secret else repr(setting.shown(text))
        where = "" if origin == "environment" else f" ({origin})"
        why = f" ({reason})" if reason and not reason.startswith(("not a Go duration", "invalid literal")) else ""
        self.problems.append(f"{setting.name}{where}: {value} is not allowed{why}; it must be {setting.kind.allowed}")
