"""Who may call the API: nobody in particular, or whoever shows a password, a token or an API key."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping, Sequence


class Authenticator:
    """Checks a request's headers against the secrets of the settings, in constant time."""

    def __init__(self, basic: str = "", tokens: Sequence[str] = ()) -> None:
        self._accepted: dict[bytes, list[bytes]] = {b"authorization": [], b"x-scanneradapter-api-key": []}
        if basic:
            self._accepted[b"authorization"].append(b"basic " + base64.b64encode(basic.encode()))
        for token in tokens:
            self._accepted[b"authorization"].append(b"bearer " + token.encode())
            self._accepted[b"x-scanneradapter-api-key"].append(token.encode())
        self.required = bool(basic or tokens)
        schemes = (["Basic"] if basic else []) + (["Bearer"] if tokens else [])
        self.challenge = ", ".join(f'{scheme} realm="harbor-scanner"' for scheme in schemes)
        """Value of WWW-Authenticate for a request without valid credentials."""

    def allows(self, headers: Mapping[bytes, bytes]) -> bool:
        """Tell whether a request with these headers (names in lower case) may pass."""
        if not self.required:
            return True
        allowed = False
        for name, accepted in self._accepted.items():
            shown = headers.get(name)
            if shown is None:
                continue
            if name == b"authorization":
                scheme, _, value = shown.partition(b" ")
                shown = scheme.lower() + b" " + value.strip()
            for secret in accepted:
                # Every secret is compared, so that time tells nothing of which one was near.
                allowed |= hmac.compare_digest(shown, secret)
        return allowed
