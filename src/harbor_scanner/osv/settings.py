"""The settings of the local database of advisories."""

from __future__ import annotations

import re
from typing import Annotated

import msgspec

from harbor_scanner.settings import Kind, Setting, duration, mask_user

PUBLIC_URL = "https://osv-vulnerabilities.storage.googleapis.com"
"""Where osv.dev publishes an archive for each ecosystem (https://google.github.io/osv.dev/data/)."""

_URL = re.compile(r"https?://[^\s/?#]+(/[^\s?#]*)?", re.IGNORECASE)


def _url(text: str) -> str:
    if not _URL.fullmatch(text):
        raise ValueError
    return text.rstrip("/")


def _ecosystems(text: str) -> tuple[str, ...]:
    names = tuple(spelled(name) for name in text.split(",")) if text else ()
    if len(set(names)) < len(names):
        raise ValueError
    return names


def spelled(ecosystem: str) -> str:
    """Return the name of an ecosystem in its own spelling. Raises ValueError if it cannot be matched."""
    from harbor_scanner.osv.ecosystems import SUPPORTED  # noqa: PLC0415 - who starts another scanner needs none of it

    known = {name.casefold(): name for name in SUPPORTED}
    try:
        return known[ecosystem.strip().casefold()]
    except KeyError:
        raise ValueError(f"there is no ecosystem {ecosystem.strip()!r}; there are {', '.join(SUPPORTED)}") from None


OsvUrl = Annotated[
    str,
    Setting(
        "SCANNER_OSV_URL", PUBLIC_URL, Kind(_url, "a URL such as https://mirror.example.com/osv"),
        "Where `<ecosystem>/all.zip` is fetched from: osv.dev, or a mirror of it",
        mask=mask_user,
    ),
]  # fmt: skip
OsvEcosystems = Annotated[
    tuple[str, ...],
    Setting(
        "SCANNER_OSV_ECOSYSTEMS", "", Kind(_ecosystems, "a comma list of ecosystems, each once"),
        "Comma list of the ecosystems that are kept, such as `Debian,PyPI`. Empty: all that can be matched",
    ),
]  # fmt: skip
OsvUpdateEvery = Annotated[
    float,
    Setting(
        "SCANNER_OSV_UPDATE_EVERY", "24h", duration(),
        "How often the service brings the database up to date (0: never; `harbor-scanner db` does it)",
    ),
]  # fmt: skip


class OsvDatabaseSettings(msgspec.Struct, frozen=True):
    """Which advisories are kept on this machine, and how they come here."""

    url: OsvUrl = PUBLIC_URL
    ecosystems: OsvEcosystems = ()
    update_every: OsvUpdateEvery = 86400.0
