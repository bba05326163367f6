"""A scan: pull the image, list what is in it, and fetch and write what the platform knows of that."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from standins.engine.behaviour import choose
from standins.engine.record import Record
from standins.qualys import backend, behaviour, target
from standins.qualys.behaviour import Behaviour
from standins.qualys.cache import Cache, default_directory
from standins.qualys.config import Config
from standins.qualys.failure import GENERIC, IMAGE, OK, FailureError
from standins.qualys.flags import CommandLine, UsageError
from standins.qualys.log import Log
from standins.qualys.output import Output
from standins.qualys.qid import Json
from standins.qualys.subject import Subject
from standins.qualys.target import Reference

_VERDICTS = {"deny": 42, "audit": 43}
_UNWRITTEN = ({"db", "spdx-tlv"}, {"gitlab"})


def run(config: Config, line: CommandLine, image: Reference, directory: Path, record: Record, log: Log) -> int:
    """Scan an image, unless tests want something else. Return the exit code. Raises FailureError, UsageError."""
    for flag, unwritten in zip(("format", "report-format"), _UNWRITTEN, strict=True):
        if others := unwritten.intersection(line.parts(flag)):
            raise UsageError(f"the stand-in does not write --{flag} {', '.join(others)}")
    started = time.time()
    if cache := _cache(line):
        record.note("locked")
    forced = Behaviour(**choose(config.behaviours, directory, image.repository))
    with _working_directory():
        behaviour.act(forced, record, log)
        subject = _examine(config, line, image, forced, cache, log, started)
    if cache:
        record.note("cache", hits=cache.hits, misses=cache.misses)
    output = Output(_output_directory(line, subject), subject.hash, forced.depth, log)
    _write_inventory(config, line, subject, forced, output)
    if line["mode"] == backend.OFFLINE:
        return OK
    backend.upload(config, line, log)
    if line["mode"] == "scan-only":
        return OK
    backend.wait_for_report(config, line, log, forced.not_ready)
    _write_reports(config, line, subject, forced, output)
    return _VERDICTS.get(forced.policy, OK) if line["mode"] == "evaluate-policy" else OK


def _cache(line: CommandLine) -> Cache | None:
    if line["cache"] == "none":
        return None
    return Cache(Path(line["cache-dir"]) if line["cache-dir"] else default_directory())


@contextmanager
def _working_directory() -> Iterator[None]:
    """Have a directory for temporary files, as qscanner has; a run that is killed leaves it behind."""
    path = Path(os.environ.get("TMPDIR") or "/tmp", f"qscanner-{os.urandom(5).hex()}")
    layers = path / "layers.json"
    try:
        path.mkdir()
        layers.write_text("[]")
    except OSError as error:
        message = (
            f"failed to create scan target: failed to create Image artifact: failed to copy layers.json file: {error}"
        )
        raise FailureError(IMAGE, message) from error
    try:
        yield
    finally:
        layers.unlink(missing_ok=True)
        path.rmdir()


def _examine(
    config: Config,
    line: CommandLine,
    image: Reference,
    forced: Behaviour,
    cache: Cache | None,
    log: Log,
    started: float,
) -> Subject:
    if forced.findings:
        from standins.qualys import synthetic

        subject = synthetic.subject(image, forced.findings, started)
    else:
        pulled, found = target.examine(config, line, image, cache, log)
        if "pkg" not in line.parts("scan-types"):
            found = found._replace(packages=[])
        subject = Subject(
            image=image.text,
            repository=f"{image.host}/{image.repository}",
            digest=pulled.digest,
            image_id=pulled.config_digest,
            architecture=pulled.architecture,
            inventory=found,
            started=started,
        )
    system = sum(1 for package in subject.inventory.packages if package.architecture)
    log.line("info", f"OS detected: {subject.inventory.os.capitalize()} {subject.inventory.version}")
    log.line("info", f"OS package(s) detected: {system}")
    log.line("info", f"Language package(s) detected: {len(subject.inventory.packages) - system}")
    log.line("info", f"All scans completed in {(time.time() - started) * 1000:f}ms")
    return subject


def _output_directory(line: CommandLine, subject: Subject) -> Path:
    if line["output-dir"]:
        return Path(line["output-dir"])
    if home := os.environ.get("HOME"):
        return Path(home, "qualys", "qscanner", "data", subject.hash[:16])
    raise FailureError(GENERIC, "failed to create output directory: $HOME is not defined")


def _write_inventory(config: Config, line: CommandLine, subject: Subject, forced: Behaviour, output: Output) -> None:
    from standins.qualys import sbom

    formats = line.parts("format")
    if "json" in formats:
        output.write("Scan Result JSON", "ScanResult.json", _scan_result(config, line, subject, forced))
    if "spdx" in formats:
        output.write("SPDX SBOM", "spdx.json", sbom.spdx(subject, config.version), forced.sbom)
    if "cyclonedx" in formats:
        output.write("CycloneDX SBOM", "cyclonedx.json", sbom.cyclonedx(subject, config.version), forced.sbom)


def _write_reports(config: Config, line: CommandLine, subject: Subject, forced: Behaviour, output: Output) -> None:
    from standins.qualys import qid, report, sarif, synthetic

    found = synthetic.qids(subject.inventory, forced.findings) if forced.findings else qid.of_image(subject.inventory)
    details = [qid.detail(one, int(subject.started * 1000)) for one in found]
    formats = line.parts("report-format")
    if "json" in formats and forced.report != "sarif-only":
        inventory = _scan_result(config, line, subject, forced)
        spelling = forced.spelling or config.spelling
        document = report.document(inventory, details, spelling, forced.vulnerabilities)
        output.write("Vulnerability Report JSON", "Report.json", document, forced.report)
        if forced.report == "two":
            output.write("Vulnerability Report JSON", "2-Report.json", report.document(inventory, [], spelling, ""))
    if "sarif" in formats or forced.report == "sarif-only":
        document = sarif.document(subject, details, config.version, config.sarif)
        output.write("Vulnerability Report SARIF", "Report.sarif.json", document, forced.report)
    if "table" in formats:
        for detail in details:
            print(f"{detail['qid']:<8} {detail['severity']} {detail['title']}")


def _scan_result(config: Config, line: CommandLine, subject: Subject, forced: Behaviour) -> Json:
    from standins.qualys import scan_result

    return scan_result.document(subject, line.parts("scan-types"), config.version, forced.status)
