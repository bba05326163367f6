"""The flags of `trivy image` that the stand-in obeys. All others are refused, as in any program written in Go."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

_VALUES = {"scanners", "format", "output", "cache-dir", "cache-backend", "timeout"}
_SWITCHES = {"no-progress", "ignore-unfixed", "version"}
_SHORT = {"f": "format", "o": "output", "v": "version"}
_WORDS = {"scanners": {"vuln"}, "format": {"json"}, "cache-backend": {"fs", "memory"}}
_DURATION = re.compile(r"(\d+(\.\d+)?(ns|us|µs|ms|s|m|h))+")


class UsageError(Exception):
    """The command line is wrong."""


class CommandLine(NamedTuple):
    """A command line, understood."""

    values: dict[str, str]
    switches: set[str]
    words: list[str]
    """All that are no flags: the subcommand and its arguments."""

    @property
    def image(self) -> str:
        """The image to scan. Raises UsageError if the command is not `image IMAGE_NAME`."""
        if len(self.words) != 2 or self.words[0] != "image":
            raise UsageError(f"the stand-in only does `image IMAGE_NAME`, not {self.words}")
        return self.words[1]


def parse(arguments: list[str]) -> CommandLine:
    """Understand a command line. Raises UsageError."""
    line = CommandLine({}, set(), [])
    words = iter(arguments)
    for word in words:
        if not word.startswith("-"):
            line.words.append(word)
            continue
        flag, given, value = word.partition("=")
        name = flag[2:] if flag.startswith("--") else _SHORT.get(flag[1:], "")
        if name in _SWITCHES and not given:
            line.switches.add(name)
        elif name in _VALUES:
            line.values[name] = _checked(name, value if given else _next(words, flag))
        else:
            raise UsageError(f"unknown flag: {flag}")
    return line


def _next(words: Iterator[str], flag: str) -> str:
    for word in words:
        return word
    raise UsageError(f"flag needs an argument: {flag}")


def _checked(name: str, value: str) -> str:
    allowed = _WORDS.get(name)
    if (allowed and value not in allowed) or (name == "timeout" and not _DURATION.fullmatch(value)):
        raise UsageError(f'invalid argument "{value}" for "--{name}" flag')
    return value
