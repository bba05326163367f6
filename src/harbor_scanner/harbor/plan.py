"""What has to change for a registration in Harbor to be as it is wanted. Asks nobody."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

import msgspec

from harbor_scanner.harbor.api import Registration
from harbor_scanner.harbor.api_errors import HarborApiError

NO_AUTH, BASIC, BEARER, API_KEY = "", "Basic", "Bearer", "X-ScannerAdapter-API-Key"
"""How Harbor shows a credential to an adapter (Harbor v2.16 src/pkg/scan/rest/auth/auth.go)."""

LONGEST_NAME, LONGEST_URL, LONGEST_CREDENTIAL = 128, 512, 512
"""Characters that Harbor's database takes (Harbor v2.16 src/pkg/scan/dao/scanner/model.go)."""

CREATE, UPDATE, NONE = "create", "update", "none"
"""What is to be done to a registration."""

_HIDDEN = "***"
_AGAIN = "*** (sent again: this Harbor does not show it, so that it cannot be compared)"


class Wanted(msgspec.Struct, frozen=True):
    """A registration as it should be. None leaves what is there, or takes Harbor's default for a new one."""

    name: str
    url: str
    """Normal, as `normal_url` returns it."""
    rename: bool = False
    """Whether the registration of this URL must have this name; else the name is only for a new one."""
    auth: str | None = None
    credential: str = ""
    skip_check: bool | None = None
    internal_address: bool | None = None
    default: bool = False
    scanner: str = ""
    """The scanner that Harbor must meet there, by the name that it has for Harbor; empty if it may be any."""


class Change(msgspec.Struct, frozen=True):
    """A field that is set. Credentials are masked."""

    field: str
    """As Harbor calls it."""
    before: str | bool | None
    """None in a new registration."""
    after: str | bool


class Plan(msgspec.Struct, frozen=True):
    """How to get from what is registered to what is wanted."""

    current: Registration | None
    target: Registration
    changes: tuple[Change, ...]

    @property
    def action(self) -> str:
        """`create`, `update` or `none`."""
        if self.current is None:
            return CREATE
        return UPDATE if self.changes else NONE

    @property
    def settings(self) -> dict[str, Any]:
        """What Harbor is sent (swagger `ScannerRegistrationReq`)."""
        settings = msgspec.to_builtins(self.target)
        return {name: value for name, value in settings.items() if name not in {"uuid", "is_default"}}


def split_url(url: str) -> SplitResult:
    """Return the parts of an address of Harbor or of an adapter. Raises ValueError, which does not repeat it."""
    url = url.strip()
    try:
        parts = urlsplit(url)
        valid = parts.scheme in {"http", "https"} and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        valid = False
    if not valid or not url.isprintable() or " " in url:
        raise ValueError("it is no address such as https://host.example or http://host:8080")
    if parts.username is not None or parts.query or parts.fragment:
        raise ValueError("it may have a path, but no user, `?` or `#`")
    return parts


def normal_url(url: str) -> str:
    """Return the address of an adapter as Harbor keeps it, so that it can be compared. Raises ValueError.

    (Harbor v2.16 src/lib/endpoint.go: without a slash at the end, and the host in lower case.)
    """
    parts = split_url(url)
    path = parts.path.rstrip("/")
    if path.endswith("/api/v1"):
        raise ValueError("Harbor adds `/api/v1` itself: leave it out")
    normal = urlunsplit((parts.scheme, parts.netloc.lower(), path, "", ""))
    if len(normal) > LONGEST_URL:
        raise ValueError(f"it is longer than Harbor's limit of {LONGEST_URL} characters")
    return normal


def plan(wanted: Wanted, found: Iterable[Registration]) -> Plan:
    """Compare what is wanted with what is registered.

    The same URL is the same registration; the same name only if that name was asked for, for another installation may
    have a default one. Raises HarborApiError if name and URL belong to two registrations, or a default name to one of
    another URL.
    """
    found = list(found)
    by_url = next((one for one in found if _same(one.url, wanted.url)), None)
    by_name = next((one for one in found if one.name == wanted.name), None)
    if wanted.rename and by_url is not None and by_name is not None and by_url.id != by_name.id:
        raise HarborApiError(
            f"Harbor has another scanner called {wanted.name!r}, at {by_name.url}; {by_url.url} is called "
            f"{by_url.name!r} there.",
            "Choose another --name, or remove in Harbor the one that is of no use.",
        )
    if not wanted.rename and by_url is None and by_name is not None:
        raise HarborApiError(
            f"Harbor has a scanner called {wanted.name!r} already, at {by_name.url}.",
            f"If that is this one at its old address, move it with --name {wanted.name!r}; else give this one a --name "
            "of its own.",
        )
    current = by_url or by_name
    if current is None:
        target = Registration("", wanted.name, wanted.url, **_given(wanted))
        return Plan(None, target, tuple(_settings_of(target)))
    # A credential that was given for one address is not shown to another.
    moved = {"auth": NO_AUTH, "credential": ""} if by_url is None and wanted.auth is None else {}
    target = msgspec.structs.replace(
        current,
        name=wanted.name if wanted.rename else current.name,
        url=current.url if by_url is not None else wanted.url,
        **(_given(wanted) | moved),
    )
    return Plan(current, target, tuple(_differences(current, target, given=wanted.auth is not None)))


def _given(wanted: Wanted) -> dict[str, Any]:
    """Return the fields of a registration that are asked for."""
    fields: dict[str, Any] = {}
    if wanted.auth is not None:
        fields |= {"auth": wanted.auth, "credential": wanted.credential}
    if wanted.skip_check is not None:
        fields["skip_check"] = wanted.skip_check
    if wanted.internal_address is not None:
        fields["internal_address"] = wanted.internal_address
    return fields


_FIELDS: Mapping[str, str] = {
    "name": "name", "url": "url", "auth": "auth", "skip_check": "skip_certVerify",
    "internal_address": "use_internal_addr",
}  # fmt: skip


def _settings_of(target: Registration) -> Iterable[Change]:
    """Yield what is set in a new registration, but for what Harbor sets anyway."""
    for field, name in _FIELDS.items():
        if value := getattr(target, field):
            yield Change(name, None, value)
    if target.credential:
        yield Change("access_credential", None, _HIDDEN)


def _differences(current: Registration, target: Registration, *, given: bool) -> Iterable[Change]:
    for field, name in _FIELDS.items():
        before, after = getattr(current, field), getattr(target, field)
        if before != after:
            yield Change(name, before, after)
    if given and target.auth and current.credential != target.credential:
        hidden = current.auth and not current.credential
        again = hidden and current.auth == target.auth
        yield Change("access_credential", _HIDDEN if current.auth else "", _AGAIN if again else _HIDDEN)


def _same(registered: str, wanted: str) -> bool:
    try:
        return normal_url(registered) == wanted
    except ValueError:
        return False
