"""What a setting is: its names, its default, how its text is read, and what may be shown of it.

A group of settings is a frozen struct whose fields are annotated with a `Setting`; scanners bring groups of their own.
`layers.py` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from enum import StrEnum
from pathlib import Path
from typing import Any, get_type_hints

import msgspec

from harbor_scanner.duration import format_duration, parse_duration
from harbor_scanner.redact import MASK


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
    standing_file: Path | None = None
    """A file that gives a secret if it exists and is not empty, unless a variable does."""
    keys: tuple[str, ...] = ()
    """Where the setting stands in values.yaml (`scannerArgs.pod`); of several spellings the first one given holds.
    Beside them its name may stand there, at the top."""
    read_key: Callable[[str], str] = str
    """Turns the text of a key into the text that the variable would have."""
    key_allowed: str = ""
    """Completes `… must be` for a key, if it is written in another way than the variable."""
    values_default: str | None = None
    """The default beside a values.yaml, if it is another one: that of Qualys' deployment guide."""

    def default_of(self, *, chart: bool) -> str:
        """Return the default; `chart` tells whether that of Qualys' deployment guide is meant."""
        return self.values_default if chart and self.values_default is not None else self.default

    def shown(self, text: str) -> str:
        """Return `text` as logs and screens may have it."""
        if not text:
            return text
        if self.mask is not None:
            return self.mask(text)
        return "********" if self.secret else text


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
OPTIONAL_BOOLEAN = Kind(lambda text: _boolean(text) if text else None, "true or false")


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
        # Qualys' deployment guide writes `5m 0s` once.
        seconds = parse_duration(re.sub(r"(?<=[a-z]) (?=\d)", "", text))
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


PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
"""Variables by which programs learn of a proxy."""


def mask_user(url: str) -> str:
    """Return `url` without the user and password that may stand before its host."""
    before, at, host = url.rpartition("@")
    scheme, separator, _ = before.partition("://")
    return f"{scheme if separator else ''}{separator}{MASK}@{host}" if at else url


def password_in(url: str) -> str:
    """Return the password that stands before the host of `url`, as it is written there."""
    return url.rpartition("@")[0].rpartition("://")[2].partition(":")[2]


def unreadable(name: str, path: Path | None) -> Iterator[str]:
    """Yield what is wrong with the file that the setting `name` names, if it cannot be read."""
    if path is None:
        return
    try:
        path.open("rb").close()
    except OSError as error:
        yield f"{name}: {str(path)!r} cannot be read: {error.strerror}"


def as_text(value: object) -> str:
    """Return the value of a setting as it would be written."""
    match value:
        case None:
            return ""
        case bool():
            return str(value).lower()
        case float():
            return format_duration(value)
        case _:
            return str(value)


def settings_of(group: type[msgspec.Struct]) -> dict[str, Setting]:
    """Return the settings of a group by field name, in the order of the fields."""
    found = {}
    for field, hint in get_type_hints(group, include_extras=True).items():
        for annotation in getattr(hint, "__metadata__", ()):
            if isinstance(annotation, Setting):
                found[field] = annotation
    return found
