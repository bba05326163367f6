"""Compare package versions by Debian's rules, which also order the Alpine and npm versions that tests use."""

from __future__ import annotations

import re
from itertools import zip_longest

_PARTS = re.compile(r"(\D*)(\d*)")


def older(version: str, than: str) -> bool:
    """Tell whether `version` is older than `than` (Debian policy, 5.6.12)."""
    return _key(version) < _key(than)


class _Text(str):
    """The part of a version that is no number: letters come before other characters, `~` before the end."""

    __slots__ = ()

    def __lt__(self, other: str) -> bool:
        for ours, theirs in zip_longest(self, other, fillvalue=""):
            if ours != theirs:
                return _rank(ours) < _rank(theirs)
        return False


def _rank(character: str) -> int:
    if not character:
        return 0
    if character == "~":
        return -1
    return ord(character) if character.isalpha() else ord(character) + 256


def _key(version: str) -> tuple[int, list[tuple[_Text, int]], list[tuple[_Text, int]]]:
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, dash, revision = rest.rpartition("-")
    if not dash:
        upstream, revision = rest, ""
    return int(epoch), _split(upstream), _split(revision)


def _split(text: str) -> list[tuple[_Text, int]]:
    # The last part is empty, so that `1.0~rc1` is older than `1.0`, which is older than `1.0.1`.
    return [(_Text(word), int(number or 0)) for word, number in _PARTS.findall(text)]
