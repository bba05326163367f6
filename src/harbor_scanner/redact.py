"""Redaction by value: the one place where secrets are taken out of text."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from urllib.parse import quote, quote_plus

MASK = "[redacted]"
_SHORT = 4


class Redactor:
    """Replaces every known secret, and its usual encodings, by a mask.

    Secrets shorter than four characters are replaced only where they stand as a word of their own: a password `1`
    must not turn every figure of a log into a mask.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets = frozenset(secret for secret in secrets if secret)
        forms = {form for secret in self.secrets for form in _spellings(secret)}
        patterns = [
            re.escape(form) if len(form) >= _SHORT else rf"(?<!\w){re.escape(form)}(?!\w)"
            for form in sorted(forms, key=len, reverse=True)
        ]
        self._pattern = re.compile("|".join(patterns)) if patterns else None

    def __call__(self, text: str) -> str:
        """Return `text` without secrets."""
        return self._pattern.sub(MASK, text) if self._pattern else text

    def adding(self, secrets: Iterable[str]) -> Redactor:
        """Return a redactor that knows `secrets` as well."""
        return Redactor(self.secrets.union(secrets))


def _spellings(secret: str) -> Iterable[str]:
    """Yield the forms in which programs print a secret: as it is, in URLs, in JSON, in Base64."""
    yield secret
    yield quote(secret, safe="")
    yield quote_plus(secret)
    yield secret.replace("\\", "\\\\").replace('"', '\\"')
    if len(secret) >= _SHORT:
        yield base64.b64encode(secret.encode()).decode()
