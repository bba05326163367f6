"""What Harbor keeps of scanners, and its rules (Harbor v2.16 src/controller/scanner, src/pkg/scan/dao/scanner)."""

from __future__ import annotations

import itertools
import uuid
from dataclasses import asdict, dataclass, field, replace
from typing import Any
from urllib.parse import urlsplit

RESERVED = {"Trivy"}
AUTHS = {"", "Basic", "Bearer", "X-ScannerAdapter-API-Key"}

_times = itertools.count(1)


class RefusedError(Exception):
    """Harbor refuses, with a status and its code and words for it."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message


class UnusableAdapterError(Exception):
    """Harbor cannot use an adapter. The reason goes to the log of its core, and to nobody else."""


@dataclass(frozen=True)
class Registration:
    """A row of the table `scanner_registration`."""

    name: str
    url: str
    description: str = ""
    auth: str = ""
    access_credential: str = ""
    skip_certVerify: bool = False  # noqa: N815 - Harbor's spelling
    use_internal_addr: bool = False
    disabled: bool = False
    is_default: bool = False
    immutable: bool = False
    uuid: str = field(default_factory=lambda: str(uuid.uuid1()))
    created: int = field(default_factory=lambda: next(_times))

    def shown(self, *, credential: bool) -> dict[str, Any]:
        """Return it as the API shows it."""
        members = {name: value for name, value in asdict(self).items() if name not in {"immutable", "created"}}
        members |= {"create_time": "2026-01-02T03:04:05.000Z", "update_time": "2026-01-02T03:04:05.000Z"}
        if not credential:
            del members["access_credential"]
        return members


def validated(given: Registration) -> Registration:
    """Return it with its URL normal. Raises RefusedError (`Registration.Validate`)."""
    if not given.name:
        raise RefusedError(400, "BAD_REQUEST", "missing registration name")
    if given.auth not in AUTHS:
        raise RefusedError(400, "BAD_REQUEST", f"auth type {given.auth} is not supported")
    if given.auth and not given.access_credential:
        raise RefusedError(400, "BAD_REQUEST", f"access_credential is required for auth type {given.auth}")
    return replace(given, url=_normal(given.url))


def _normal(url: str) -> str:
    url = url.strip(" ").rstrip("/")
    if "://" not in url:
        url = f"http://{url}"
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"}:
        raise RefusedError(400, "BAD_REQUEST", f"scanner registration validate: invalid HTTP scheme: {parts.scheme}")
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path}"


class Table:
    """All registrations."""

    def __init__(self) -> None:
        self._rows: dict[str, Registration] = {}

    def __len__(self) -> int:
        return len(self._rows)

    def listed(self) -> list[Registration]:
        """Return all, the default one first and then the newest."""
        return sorted(self._rows.values(), key=lambda row: (not row.is_default, -row.created))

    def get(self, registration_id: str) -> Registration:
        """Return one. Raises RefusedError."""
        if registration_id not in self._rows:
            raise RefusedError(404, "NOT_FOUND", f"scanner {registration_id} not found")
        return self._rows[registration_id]

    def named(self, name: str) -> Registration:
        """Return the one of this name."""
        [row] = [row for row in self._rows.values() if row.name == name]
        return row

    def insert(self, row: Registration) -> None:
        """Add one; the first is the default one. Raises RefusedError for a name or a URL that is there."""
        self._check_sizes(row)
        if self._twins(row):
            raise RefusedError(409, "CONFLICT", "registration name or url already exists")
        self._rows[row.uuid] = replace(row, is_default=row.is_default or not self._rows)

    def update(self, row: Registration) -> None:
        """Replace one. Raises RefusedError, and for a name or a URL that is there it is an error of the server."""
        self.get(row.uuid)
        if row.is_default and row.disabled:
            raise RefusedError(500, "UNKNOWN", f"default registration {row.uuid} can not be marked to deactivated")
        self._check_sizes(row)
        if self._twins(row):
            raise RefusedError(500, "UNKNOWN", "duplicate key value violates unique constraint")
        self._rows[row.uuid] = row

    def make_default(self, registration_id: str) -> None:
        """Make one the default, and no other. Raises RefusedError if it is disabled."""
        if registration_id not in self._rows or self._rows[registration_id].disabled:
            raise RefusedError(404, "NOT_FOUND", f"registration {registration_id} not found")
        for key, row in self._rows.items():
            self._rows[key] = replace(row, is_default=key == registration_id)

    def _twins(self, row: Registration) -> bool:
        others = (other for other in self._rows.values() if other.uuid != row.uuid)
        return any(row.name == other.name or row.url == other.url for other in others)

    def _check_sizes(self, row: Registration) -> None:
        if row.name in RESERVED and not row.immutable:
            message = f'name "{row.name}" is reserved, please try a different name'
            raise RefusedError(400, "BAD_REQUEST", message)
        for value, size in ((row.name, 128), (row.url, 512), (row.access_credential, 512)):
            if len(value) > size:
                raise RefusedError(500, "UNKNOWN", f"value too long for type character varying({size})")
