"""From findings to a report that Harbor can always take in.

One document serves both media types: readers of native 1.0 ignore the fields that generic 1.1 added. It is encoded
once, finding by finding, straight into a compressor, and never lies in memory as a whole.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec

from harbor_scanner.harbor.findings import Key, cut, digest, encode, key_of, plain, sound
from harbor_scanner.harbor.models import Artifact, Finding, ScannerInfo, Severity

MAX_FINDINGS = 60_000
"""Findings in a report, notices apart. Harbor asks its database for all their ids at once, a bind parameter each,
and PostgreSQL takes 65,535 (Harbor src/pkg/scan/postprocessors/report_converters.go, `toSchema`)."""

MAX_DOCUMENT = 100 * 1024 * 1024
"""Bytes of JSON. Newer versions of Harbor pass over a larger report without an error, as if the image were clean
(the same source, `reportDataSizeLimit`)."""

MAX_NOTICES = 100
"""Further notices are left out."""

NOTICE_PACKAGE = "scan-notice"
"""Package under which notices stand among the findings."""

INCOMPLETE = (
    "This report is incomplete: the scanner found more than Harbor can store for one artifact. "
    "The most severe findings are shown."
)
"""The notice of a report that reached one of the limits."""

COMPRESSION_LEVEL = 4
"""Of zlib. Level 1 takes two thirds of the time and leaves 15 % more; level 6 takes twice the time and saves 5 %."""

_MAX_NOTICE = 4096
_BATCH = 256 * 1024
_GZIP = 31

_encoder = msgspec.json.Encoder()


class RenderedReport(msgspec.Struct, frozen=True):
    """A report as it is stored and served."""

    body: bytes
    """The JSON document, compressed with gzip. The same result of a scan always makes the same bytes."""
    size: int
    """Bytes of the document before compression."""
    counts: dict[Severity, int] = msgspec.field(default_factory=dict)
    """How many findings of each severity the document holds, notices apart; none is missing, but from an SBOM all."""
    dropped: int = 0
    """How many findings had no room. A notice in the document says that there are some, but not how many."""


def render(
    artifact: Artifact,
    scanner: ScannerInfo,
    findings: Iterable[Finding],
    notices: Sequence[str],
    generated_at: datetime,
) -> RenderedReport:
    """Return the report of a scan, whatever the findings hold; they are not changed.

    The most severe stand first, in the order of id, package and version; notices come last. Raises ValueError if
    `generated_at` has no time zone. Takes about 20 microseconds of processor time a finding: work for a thread.
    """
    groups = _grouped(findings)
    closing = _grouped(map(notice, notices[:MAX_NOTICES]))
    incomplete = _grouped([notice(INCOMPLETE)])
    reserved = closing | incomplete
    for key in reserved:
        groups.pop(key, None)

    order = _most_severe_first(groups)
    document = _Document(_head(artifact, scanner, order[0][0] if order else Severity.UNKNOWN, generated_at))
    limit = MAX_DOCUMENT - sum(len(encode(key, twins)) + 1 for key, twins in reserved.items())
    counts = dict.fromkeys(Severity, 0)
    for severity, key in order[:MAX_FINDINGS]:
        if not document.add(encode(key, groups[key]), limit):
            break
        counts[severity] += 1
    dropped = len(order) - sum(counts.values())
    for key, twins in (reserved if dropped else closing).items():
        document.add(encode(key, twins), MAX_DOCUMENT)
    return RenderedReport(body=document.close(), size=document.size, counts=counts, dropped=dropped)


def notice(text: str) -> Finding:
    """Return `text` as a finding, which is the one way to tell something to those who read a report in Harbor.

    Harbor keeps the first description of an id for ever, so the id follows from the text. A text should therefore
    say what has happened in general, without the figures and names of one scan.
    """
    text = cut(sound(text), _MAX_NOTICE)
    slug = re.sub(r"[^A-Z0-9]+", "-", text.upper())[:48].strip("-")
    return Finding(
        id="-".join(filter(None, ("SCAN-NOTICE", slug, digest(text)))),
        package=NOTICE_PACKAGE,
        version="-",
        severity=Severity.UNKNOWN,
        description=text,
    )


def _grouped(findings: Iterable[Finding]) -> dict[Key, list[Finding]]:
    groups: dict[Key, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(key_of(finding), []).append(finding)
    return groups


def _most_severe_first(groups: Mapping[Key, Sequence[Finding]]) -> list[tuple[Severity, Key]]:
    keys: dict[Severity, list[Key]] = {severity: [] for severity in reversed(Severity)}
    for key, twins in groups.items():
        keys[max((twin.severity for twin in twins), key=attrgetter("rank"))].append(key)
    return [(severity, key) for severity in keys for key in sorted(keys[severity])]


def preamble(artifact: Artifact, scanner: ScannerInfo, generated_at: datetime) -> dict[str, Any]:
    """Return the members with which every report begins. Raises ValueError if `generated_at` has no time zone."""
    if generated_at.tzinfo is None:
        raise ValueError("the time of a report needs a time zone")
    return {
        "generated_at": generated_at.astimezone(UTC).replace(microsecond=0),
        "artifact": plain(msgspec.to_builtins(artifact)),
        "scanner": plain(msgspec.to_builtins(scanner)),
    }


def _head(artifact: Artifact, scanner: ScannerInfo, severity: Severity, generated_at: datetime) -> bytes:
    """Return the document up to the first finding."""
    report = {**preamble(artifact, scanner, generated_at), "severity": severity, "vulnerabilities": []}
    return _encoder.encode(report).removesuffix(b"]}")


class _Document:
    """A JSON document on its way into the compressor, in batches: a call for each finding would cost more."""

    def __init__(self, head: bytes) -> None:
        self.size = len(head)
        self._batch = [head]
        self._waiting = len(head)
        self._separator = b""
        self._compressor = zlib.compressobj(COMPRESSION_LEVEL, wbits=_GZIP)
        self._compressed: list[bytes] = []

    def add(self, item: bytes, limit: int) -> bool:
        """Append `item` to the list, or return False if the document would then exceed `limit` bytes."""
        grown = len(self._separator) + len(item)
        if self.size + grown + len(b"]}") > limit:
            return False
        self._batch += (self._separator, item)
        self._separator = b","
        self.size += grown
        self._waiting += grown
        if self._waiting >= _BATCH:
            self._compress()
        return True

    def close(self) -> bytes:
        """Return the whole document, compressed."""
        self._batch.append(b"]}")
        self.size += len(b"]}")
        self._compress()
        return b"".join((*self._compressed, self._compressor.flush()))

    def _compress(self) -> None:
        self._compressed.append(self._compressor.compress(b"".join(self._batch)))
        self._batch.clear()
        self._waiting = 0
