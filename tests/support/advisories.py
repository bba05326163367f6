"""A database of advisories for scans, made of what the stand-ins know of vulnerabilities."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harbor_scanner.osv.database import Database
from harbor_scanner.osv.documents import Folder
from harbor_scanner.osv.importing import Origin, import_documents
from standins.engine import facts
from standins.syft import made_up

_ECOSYSTEMS = {"deb": "Debian:12", "apk": "Alpine:v3.9", "npm": "npm"}


def install(data: Path, advisories: Iterable[dict[str, Any]] | None = None) -> None:
    """Make a database in a data directory, by default of all that the stand-ins know."""
    documents = data / "advisories"
    documents.mkdir(parents=True)
    for document in known() if advisories is None else advisories:
        (documents / f"{document['id']}.json").write_text(json.dumps(document))
    database = Database(data / "osv")
    with database.writing():
        import_documents(database, Folder(documents), Origin("tests"))


def known() -> Iterator[dict[str, Any]]:
    """Yield the facts as advisories, and one for made-up packages."""
    for fact in json.loads((Path(facts.__file__).parent / "facts.json").read_text()):
        if fact["format"] in _ECOSYSTEMS:
            yield advisory(
                fact["name"], _ECOSYSTEMS[fact["format"]], fact["source"], fact.get("fix", ""),
                summary=fact["description"], vectors=[fact[key]["vector"] for key in ("v2", "v3") if key in fact],
            )  # fmt: skip
    yield advisory("CVE-2026-1000", "Debian:12", made_up.SOURCE)


def advisory(
    name: str,
    ecosystem: str,
    package: str,
    fixed: str = "",
    *,
    summary: str = "Something goes wrong.",
    vectors: Iterable[str] = ("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H",),
) -> dict[str, Any]:
    """Return an advisory about all versions of a package, before `fixed` if that is given."""
    events = [{"introduced": "0"}, *([{"fixed": fixed}] if fixed else [])]
    kind = "SEMVER" if ecosystem in {"npm", "Go"} else "ECOSYSTEM"
    return {
        "schema_version": "1.7.0",
        "id": name,
        "modified": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "summary": summary,
        "severity": [
            {"type": "CVSS_V3" if vector.startswith("CVSS:3") else "CVSS_V2", "score": vector} for vector in vectors
        ],
        "affected": [
            {"package": {"ecosystem": ecosystem, "name": package}, "ranges": [{"type": kind, "events": events}]}
        ],
        "references": [{"type": "WEB", "url": f"https://example.com/{name}"}],
    }
