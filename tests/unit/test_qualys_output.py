"""Which files of qscanner's output directory are read, and which never are."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from harbor_scanner.errors import BadReportError, DiskError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.report import MAX_DOCUMENT
from harbor_scanner.scanners.qualys.documents import SIZE_LIMIT
from harbor_scanner.scanners.qualys.output import Output, read_output
from support.qualys_reports import EXPAT, SCANNED, encoded, qid, report

VULNERABILITY = ("vulnerability",)
SPDX = {"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "packages": [{"name": "expat"}]}
CYCLONEDX = {"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [{"name": "expat"}]}
SARIF = {"runs": [{"results": [{"ruleId": "QID-8"}]}]}


def put(directory: Path, **documents: Any) -> Path:
    """Write files whose names have `__` for `-` and `/`-less folders, such as `a__Report.json`."""
    for name, document in documents.items():
        path = directory / f"{name.replace('__', '-').replace('_in_', '/')}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encoded(document))
    return directory


def qids(output: Output) -> list[int]:
    assert output.report is not None
    return [vulnerability.qid for vulnerability in output.report.vulnerabilities]


def doubts(directory: Path) -> list[str]:
    output = read_output(directory, VULNERABILITY)
    assert output.report is not None
    return output.report.doubts


def refused(directory: Path, reports: tuple[str, ...] = VULNERABILITY) -> str:
    with pytest.raises(BadReportError) as caught:
        read_output(directory, reports)
    assert caught.value.advice
    return caught.value.message


# ---- the report


@pytest.mark.parametrize("name", ["abc__Report", "scan_in_abc__Report", "a_in_b_in_c_in_abc__Report"])
def test_the_report_is_found_wherever_it_lies(tmp_path: Path, name: str) -> None:
    output = read_output(put(tmp_path, **{name: report(EXPAT)}), VULNERABILITY)
    assert qids(output) == [353186]
    assert output.inventory is None
    assert output.sboms == {}


def test_the_json_report_comes_before_sarif_and_others(tmp_path: Path) -> None:
    (tmp_path / "a-Report.sarif.json").write_bytes(encoded(SARIF))
    assert qids(read_output(tmp_path, VULNERABILITY)) == [8]
    put(tmp_path, a__Report=report(qid(7)), **{"a-gitlab_vuln_report": {"vulnerabilities": []}})
    assert qids(read_output(tmp_path, VULNERABILITY)) == [7]


def test_a_sarif_report_with_results_contradicts_an_empty_json_report(tmp_path: Path) -> None:
    put(tmp_path, a__Report=report())
    assert doubts(tmp_path) == []
    (tmp_path / "a-Report.sarif.json").write_bytes(encoded({"runs": [{"results": []}]}))
    assert doubts(tmp_path) == []
    others: list[Any] = [SARIF, {"runs": [{"results": [{}]}]}, {"runs": [{"results": None}]}]
    for contradicting in others:
        (tmp_path / "a-Report.sarif.json").write_bytes(encoded(contradicting))
        assert len(doubts(tmp_path)) == 1
    (tmp_path / "a-Report.sarif.json").write_bytes(b"{")
    refused(tmp_path)
    put(tmp_path, a__Report=report(qid(7)))
    assert doubts(tmp_path) == []


def test_a_broken_json_report_does_not_give_way_to_sarif(tmp_path: Path) -> None:
    (tmp_path / "a-Report.sarif.json").write_bytes(encoded(SARIF))
    refused(put(tmp_path, a__Report=b'{"VulnerabilityReport": {'))


@pytest.mark.parametrize(
    "documents",
    [
        {},
        {"a__ScanResult": SCANNED},
        {"Report": report()},
        {"a__gitlab_vuln_report": {"vulnerabilities": []}},
        {"a__spdx": SPDX},
    ],
)
def test_no_report_is_never_an_empty_report(tmp_path: Path, documents: Any) -> None:
    message = refused(put(tmp_path, **documents))
    assert "no report" in message
    assert all(name.replace("__", "-") in message for name in documents)


@pytest.mark.parametrize("content", [b"", b"\n", b"{", b"[]", b"null", b"text", encoded(report(EXPAT))[:-1]])
def test_a_file_that_is_no_report_is_refused(tmp_path: Path, content: bytes) -> None:
    refused(put(tmp_path, a__Report=content))


def test_two_reports_that_differ_are_refused_but_a_copy_is_not(tmp_path: Path) -> None:
    put(tmp_path, a__Report=report(qid(7)), x_in_b__Report=report(qid(7)))
    assert qids(read_output(tmp_path, VULNERABILITY)) == [7]
    put(tmp_path, x_in_b__Report=report(qid(8)))
    message = refused(tmp_path)
    assert "a-Report.json, b-Report.json" in message


def test_links_are_not_followed(tmp_path: Path) -> None:
    outside = put(tmp_path / "outside", a__Report=report(qid(7)))
    output = tmp_path / "output"
    output.mkdir()
    (output / "b-Report.json").symlink_to(outside / "a-Report.json")
    (output / "directory").symlink_to(outside)
    os.mkfifo(output / "c-Report.json")
    (output / "d-Report.json").mkdir()
    assert "no report" in refused(output)


def test_files_too_large_are_not_read(tmp_path: Path) -> None:
    with (tmp_path / "a-Report.json").open("wb") as file:
        file.truncate(SIZE_LIMIT + 1)
    assert "268,435,457 bytes" in refused(tmp_path)


def test_a_directory_that_is_not_there_is_no_empty_report(tmp_path: Path) -> None:
    with pytest.raises(DiskError):
        read_output(tmp_path / "missing", VULNERABILITY)


# ---- the inventory


def test_the_inventory_is_read(tmp_path: Path) -> None:
    output = read_output(put(tmp_path, a__Report=report(EXPAT), x_in_a__ScanResult=SCANNED), VULNERABILITY)
    assert output.inventory is not None
    assert output.inventory.performed
    assert not output.inventory.incomplete
    assert output.inventory.system.name == "Amazon Linux"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", encoded(SCANNED)[:-2]])
def test_an_inventory_that_cannot_be_read_is_incomplete(tmp_path: Path, content: bytes) -> None:
    output = read_output(put(tmp_path, a__Report=report(EXPAT), a__ScanResult=content), VULNERABILITY)
    assert output.inventory is not None
    assert output.inventory.incomplete
    assert not output.inventory.performed


# ---- SBOMs

BOTH = (media.SPDX, media.CYCLONEDX)


@pytest.mark.parametrize(
    "documents", [{"a__spdx": SPDX, "a__cyclonedx": CYCLONEDX}, {"x_in_a": SPDX, "x_in_y_in_b": CYCLONEDX}]
)
def test_sboms_are_known_by_their_content_and_come_as_they_are(tmp_path: Path, documents: Any) -> None:
    put(tmp_path, b__ScanResult=SCANNED, **documents)
    output = read_output(tmp_path, BOTH)
    assert output.report is None
    assert output.sboms == {media.SPDX: encoded(SPDX), media.CYCLONEDX: encoded(CYCLONEDX)}
    assert set(read_output(tmp_path, (media.SPDX,)).sboms) == {media.SPDX}


def test_everything_asked_for_is_read_at_once(tmp_path: Path) -> None:
    put(tmp_path, a__Report=report(EXPAT), a__ScanResult=SCANNED, a__spdx=SPDX)
    output = read_output(tmp_path, ("vulnerability", media.SPDX))
    assert qids(output) == [353186]
    assert set(output.sboms) == {media.SPDX}


@pytest.mark.parametrize(
    ("documents", "missing"),
    [
        ({}, "no SPDX and no CycloneDX"),
        ({"a__spdx": SPDX}, "no CycloneDX"),
        ({"a__spdx": b"", "a__cyclonedx": CYCLONEDX}, "no SPDX"),
        ({"a__spdx": encoded(SPDX)[:-1], "a__cyclonedx": CYCLONEDX}, "a-spdx.json"),
        ({"a__spdx": [SPDX], "a__cyclonedx": CYCLONEDX}, "no SPDX"),
        ({"a__spdx": {"packages": [1]}, "a__cyclonedx": CYCLONEDX}, "no SPDX"),
        ({"a__spdx": SPDX | {"spdxVersion": 2.3}, "a__cyclonedx": CYCLONEDX}, "no SPDX"),
        ({"a__spdx": SPDX, "a__cyclonedx": CYCLONEDX | {"bomFormat": "x"}}, "no CycloneDX"),
        ({"a__spdx": SPDX, "a__Report": CYCLONEDX}, "no CycloneDX"),
    ],
)
def test_what_is_no_sbom_is_refused_with_what_is_missing(tmp_path: Path, documents: Any, missing: str) -> None:
    assert missing in refused(put(tmp_path, b__ScanResult=SCANNED, **documents), BOTH)


ROOT = {"SPDXID": "SPDXRef-Image", "name": "library/mongo"}
DESCRIBED: dict[str, Any] = {
    "relationships": [
        {"spdxElementId": "SPDXRef-DOCUMENT", "relationshipType": "DESCRIBES", "relatedSpdxElement": "SPDXRef-Image"}
    ]
}
UNFINISHED = {"ScansPerformed": [{"ScanType": "OS", "Status": "FAILED"}]}


@pytest.mark.parametrize(
    "fields",
    [
        {"packages": []},
        {"packages": None},
        {"packages": "x"},
        {"packages": [ROOT]} | DESCRIBED,
        {"packages": [ROOT], "documentDescribes": ["SPDXRef-Image"]},
    ],
)
def test_an_sbom_without_packages_needs_an_inventory_that_confirms_all_scans(tmp_path: Path, fields: Any) -> None:
    put(tmp_path, a__spdx=SPDX | fields)
    for inventory in ({}, UNFINISHED, b"{"):
        assert "0 packages" in refused(put(tmp_path, a__ScanResult=inventory), (media.SPDX,))
    put(tmp_path, a__ScanResult=SCANNED)
    assert set(read_output(tmp_path, (media.SPDX,)).sboms) == {media.SPDX}


@pytest.mark.parametrize("packages", [[{"SPDXID": "SPDXRef-1", "name": "expat"}], [ROOT, {"name": "expat"}], [{}]])
def test_an_sbom_with_packages_is_kept_if_scans_failed_but_not_without_an_inventory(
    tmp_path: Path, packages: Any
) -> None:
    put(tmp_path, a__spdx=SPDX | {"packages": packages} | DESCRIBED)
    assert "no inventory" in refused(tmp_path, (media.SPDX,))
    assert "no inventory" in refused(put(tmp_path, a__ScanResult={"ScansPerformed": []}), (media.SPDX,))
    put(tmp_path, a__ScanResult=UNFINISHED)
    assert set(read_output(tmp_path, (media.SPDX,)).sboms) == {media.SPDX}


def test_two_sboms_that_differ_are_refused(tmp_path: Path) -> None:
    put(tmp_path, a__ScanResult=SCANNED, a__spdx=SPDX, b__spdx=SPDX)
    assert set(read_output(tmp_path, (media.SPDX,)).sboms) == {media.SPDX}
    assert "differ" in refused(put(tmp_path, b__spdx=SPDX | {"name": "other"}), (media.SPDX,))


@pytest.mark.parametrize(
    ("written", "read"),
    [
        (rb"a\u0000b", "ab"),
        (rb"\u0000\u0000", ""),
        (rb"a\\u0000b", r"a\u0000b"),
        (rb"a\\\u0000b", "a\\b"),
        (b"caf\xe9", "caf\ufffd"),
        (rb"\ud800!", "\ufffd!"),
        ("caf\u00e9".encode(), "caf\u00e9"),
    ],
)
def test_an_sbom_is_made_fit_for_a_database(tmp_path: Path, written: bytes, read: str) -> None:
    put(tmp_path, a__ScanResult=SCANNED, a__spdx=encoded(SPDX | {"name": "HERE"}).replace(b"HERE", written))
    (document,) = read_output(tmp_path, (media.SPDX,)).sboms.values()
    assert json.loads(document)["name"] == read


def test_an_sbom_too_large_for_harbor_is_refused(tmp_path: Path) -> None:
    with (tmp_path / "a-spdx.json").open("wb") as file:
        file.truncate(MAX_DOCUMENT + 1)
    assert "too large" in refused(tmp_path, (media.SPDX,))
