"""What the advisories cost: their import, and matching the packages of an image with them."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

SMALL, LARGE = 7_000, 300_000
"""Advisories of two ecosystems' exports, and of a whole database."""
PACKAGES = 1_000
KNOWN = (0.2, 1.0)
"""Shares of an image's packages of which there are advisories: as in many images, and at worst."""

_IMPORT = """
import sys, time
from pathlib import Path
from harbor_scanner.osv.database import Database
from harbor_scanner.osv.documents import ArchivedDocuments
from harbor_scanner.osv.importing import Origin, import_documents
database = Database(Path(sys.argv[1]))
documents = ArchivedDocuments(Path(sys.argv[2]))
began = time.perf_counter()
with database.writing():
    import_documents(database, documents, Origin("bench"))
print(time.perf_counter() - began)
"""

_MATCH = """
import json, sys, time
from pathlib import Path
from harbor_scanner.osv.database import Database
from harbor_scanner.osv.findings import findings
from harbor_scanner.osv.package import Package
installed = [Package("PyPI", "", name, version, name, version) for name, version in json.loads(sys.stdin.read())]
began = time.perf_counter()
with Database(Path(sys.argv[1])).open() as snapshot:
    found = findings(installed, snapshot.advisories)
print(time.perf_counter() - began)
assert found
"""

_PEAK = """
import re
print(int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024)
"""


def bench_osv(note: Callable[[str, str], None]) -> None:
    """Import made-up advisories and match packages with them, each in a process of its own: nothing is warm."""
    for count in (SMALL, LARGE):
        with tempfile.TemporaryDirectory(prefix="ho-") as directory:
            database, archive = Path(directory) / "osv", Path(directory) / "all.zip"
            names = _write(archive, count)
            seconds, peak = _run(_IMPORT, database, archive)
            aim = " (aim: < 5 s)" if count == SMALL else ""
            size = sum(path.stat().st_size for path in database.rglob("*.sqlite")) / 2**20
            note(f"import of {count:,} advisories{aim}", f"{seconds:.1f} s, peak {peak:.0f} MB, {size:.0f} MB on disk")
            for share in KNOWN:
                runs = [_run(_MATCH, database, content=_image(names, share, seed)) for seed in range(5)]
                seconds, peak = sorted(runs)[len(runs) // 2]
                note(
                    f"matching {PACKAGES:,} packages with {count:,} advisories, {share:.0%} of them known there"
                    + (" (aim: < 200 ms)" if share < 1 else ""),
                    f"{1000 * seconds:.0f} ms, peak {peak:.0f} MB",
                )  # fmt: skip


def _write(path: Path, count: int) -> list[str]:
    """Write an archive of advisories, four to a package as in the exports of PyPI; return the packages' names."""
    draw = random.Random(1)
    names = [f"package-{number}" for number in range(count // 4)]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        for number in range(count):
            majors = sorted(draw.sample(range(1, 40), 4))
            events = [{kind: f"{major}.{draw.randrange(20)}.{draw.randrange(20)}"}
                      for kind, major in zip(("introduced", "fixed") * 2, majors, strict=True)]  # fmt: skip
            document = {
                "id": f"PYSEC-2026-{number}",
                "modified": "2026-01-01T00:00:00Z",
                "aliases": [f"CVE-2026-{10_000 + number}"],
                "details": " ".join(f"{draw.getrandbits(24):x}" for _ in range(80)),
                "severity": [{"type": "CVSS_V3", "score": "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"}],
                "affected": [
                    {
                        "package": {"ecosystem": "PyPI", "name": names[number % len(names)]},
                        "ranges": [{"type": "ECOSYSTEM", "events": events}],
                        "versions": [f"{major}.{minor}.0" for major in range(*majors[:2]) for minor in range(10)],
                    }
                ],
                "references": [{"type": "WEB", "url": f"https://example.com/{number}/{link}"} for link in range(5)],
            }
            file.writestr(f"{document['id']}.json", json.dumps(document))
    return names


def _image(names: list[str], share: float, seed: int) -> str:
    """Return names and versions of an image's packages."""
    draw = random.Random(seed)
    known = draw.sample(names, round(PACKAGES * share))
    others = [f"other-{number}" for number in range(PACKAGES - len(known))]
    return json.dumps([(name, f"{draw.randrange(40)}.{draw.randrange(20)}.1") for name in known + others])


def _run(program: str, *arguments: Path, content: str = "") -> tuple[float, float]:
    """Return the seconds that a program measured, and the most memory that it had, in megabytes."""
    printed = subprocess.run(
        [sys.executable, "-c", program + _PEAK, *map(str, arguments)],
        input=content, capture_output=True, text=True, check=True,
    ).stdout.split()  # fmt: skip
    return float(printed[0]), float(printed[1])
