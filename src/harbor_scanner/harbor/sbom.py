"""From the document of an SBOM to the report that Harbor takes it from.

The document is embedded byte by byte as the scanner wrote it, and never decoded as a whole: it may be as large as the
report may be.
"""

from __future__ import annotations

import codecs
import zlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain

import msgspec

from harbor_scanner.errors import BadReportError
from harbor_scanner.harbor.models import Artifact, ScannerInfo
from harbor_scanner.harbor.report import COMPRESSION_LEVEL, MAX_DOCUMENT, RenderedReport, preamble

_CHUNK = 256 * 1024
_GZIP = 31

_encoder = msgspec.json.Encoder()
_object = msgspec.json.Decoder(dict[str, msgspec.Raw])


def render_sbom(
    artifact: Artifact,
    scanner: ScannerInfo,
    media_type: str,
    document: bytes,
    generated_at: datetime,
    notices: Sequence[str] = (),
) -> RenderedReport:
    """Return the report (spec v1.2, schema `HarborSbomReport`) of an SBOM in the format `media_type`.

    `notices` stand in its vendor attributes, for an SBOM itself has no place for them.

    Raises BadReportError if `document` is no JSON object, an empty one, or larger than any report that is kept, and
    ValueError if `generated_at` has no time zone. Takes about 4 ms of processor time a megabyte: work for a thread.
    """
    _require_object(document, media_type)
    report = {**preamble(artifact, scanner, generated_at), "media_type": media_type}
    if notices:
        report["vendor_attributes"] = {"notices": list(notices)}
    head, tail = _encoder.encode(report).removesuffix(b"}") + b',"sbom":', b"}"
    size = len(head) + len(document) + len(tail)
    if size > MAX_DOCUMENT:
        raise BadReportError(
            f"The SBOM in the format {media_type} makes a report of {size:,} bytes; {MAX_DOCUMENT:,} is the most.",
            "No larger report is kept or sent to Harbor; only a smaller image has a smaller SBOM.",
        )
    compressor = zlib.compressobj(COMPRESSION_LEVEL, wbits=_GZIP)
    pieces = [compressor.compress(piece) for piece in chain((head,), _chunks(document), (tail,))]
    return RenderedReport(body=b"".join((*pieces, compressor.flush())), size=size)


def _require_object(document: bytes, media_type: str) -> None:
    try:
        members = _object.decode(document)
        # The decoder passes over the text of members without a look at its encoding.
        decoder = codecs.getincrementaldecoder("utf-8")()
        for piece in _chunks(document):
            decoder.decode(piece)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadReportError(
            f"The SBOM in the format {media_type} is no JSON object: {error}", "The scanner wrote something else."
        ) from None
    if not members:
        raise BadReportError(
            f"The SBOM in the format {media_type} is empty.", "The scanner wrote a JSON object that holds nothing."
        )


def _chunks(document: bytes) -> Iterator[bytes]:
    view = memoryview(document)
    return (bytes(view[start : start + _CHUNK]) for start in range(0, len(view), _CHUNK))
