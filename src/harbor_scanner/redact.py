"""Redaction by value: the one place where secrets are taken out of text."""

from __future__ import annotations

import base64
import re
import string
from collections.abc import Iterable, Iterator

MASK = "[redacted]"
_SHORT = 4
_LONG = 8

_PLAIN = frozenset(string.ascii_letters + string.digits + "-._~")
"""Characters that every encoding below leaves as they are (RFC 3986, 2.3)."""

_LETTER_ESCAPES = {"\a": "a", "\b": "b", "\t": "t", "\n": "n", "\v": "v", "\f": "f", "\r": "r"}
_HTML_NAMES = {"&": "amp", "<": "lt", ">": "gt", '"': "quot", "'": "apos"}
_PARTS = re.compile(r"(\\*)([^\\]|\Z)")
_BACKSLASHES = r"\\{1,8}"
"""What escapes a character, also in JSON in JSON."""


class Redactor:
    """Replaces every known secret, and its usual encodings, by a mask.

    Secrets shorter than four characters are replaced only where they stand as a word of their own: a password `1`
    must not turn every figure of a log into a mask.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets = frozenset(secret for secret in secrets if secret)
        # The longest first: a secret may begin with another one.
        ordered = sorted(self.secrets, key=lambda secret: (-len(secret), secret))
        patterns = [pattern for secret in ordered for pattern in _patterns(secret)]
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def __call__(self, text: str) -> str:
        """Return `text` without secrets."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    def adding(self, secrets: Iterable[str]) -> Redactor:
        """Return a redactor that knows `secrets` as well."""
        return Redactor(self.secrets.union(secrets))


def _patterns(secret: str) -> Iterator[str]:
    """Yield what matches a secret as programs print it: as it is, escaped in any of the usual ways, in Base64."""
    spelled = "".join(_spelled(*part) for part in _PARTS.findall(secret))
    if len(secret) < _SHORT:
        yield rf"(?<!\w){spelled}(?!\w)"
        return
    yield spelled
    content = secret.encode(errors="surrogatepass")
    yield _base64(base64.b64encode(content).decode().rstrip("=")) + "(?:=|%3[dD]){0,2}"
    if len(content) < _LONG:
        return
    # As a part of something longer, such as `user:password`: those digits that nothing else has a share in.
    for before in range(3):
        digits = base64.b64encode(bytes(before) + content).decode()
        yield _base64(digits[(8 * before + 5) // 6 : 8 * (before + len(content)) // 6])


def _spelled(backslashes: str, character: str) -> str:
    """Return a pattern for a character and the backslashes before it; either may be missing."""
    following = _character(character) if character else ""
    if not backslashes:
        return following
    count = len(backslashes)
    encoded = f"(?i:%5c|&#(?:0*92|x0*5c);|{_BACKSLASHES}(?:x5c|u005c))"
    # Atomic, for there are many ways to divide a row of backslashes, all with the same end.
    return rf"(?>(?:\\{{{count},{8 * count}}}|{encoded}{{{count}}}){following})"


def _character(character: str) -> str:
    """Return a pattern for a character: itself, or as URLs, JSON, Go, Python and HTML write it."""
    if character in _PLAIN:
        return re.escape(character)
    code = ord(character)
    content = character.encode(errors="surrogatepass")
    units = character.encode("utf-16-be", errors="surrogatepass")
    escapes = [
        re.escape(_LETTER_ESCAPES.get(character, character)),
        _BACKSLASHES.join(f"u{units[place : place + 2].hex()}" for place in range(0, len(units), 2)),
        _BACKSLASHES.join(f"x{byte:02x}" for byte in content),
        f"x{code:02x}",
        f"u{code:08x}",
    ]
    forms = [
        re.escape(character),
        f"{_BACKSLASHES}(?:{'|'.join(escapes)})",
        "".join(f"%{byte:02x}" for byte in content),
        f"&#(?:0*{code}|x0*{code:x});",
    ]
    if character == " ":
        forms.append(r"\+")
    if character in _HTML_NAMES:
        forms.append(f"&{_HTML_NAMES[character]};")
    return f"(?i:{'|'.join(forms)})"


def _base64(digits: str) -> str:
    """Return a pattern for Base64 digits in both alphabets, also inside of URLs and JSON."""
    return digits.replace("+", "(?:[+-]|%2[bB])").replace("/", r"(?:[/_]|%2[fF]|\\/)")
