"""A scan: pull the image, list what is in it, and report what is known of that."""

from __future__ import annotations

import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from standins.aqua import behaviour, console, log, output, report, synthetic
from standins.aqua.behaviour import Behaviour
from standins.aqua.config import Config
from standins.aqua.failure import FailureError
from standins.aqua.flags import Options
from standins.engine.behaviour import choose
from standins.engine.model import Inventory, NotAnImageError, PulledImage, PullError, Source
from standins.engine.record import Record

NOT_COMPLIANT = 4


class Reference(NamedTuple):
    """An image in a registry."""

    repository: str
    name: str
    """A tag, or a digest."""


def run(config: Config, options: Options, directory: Path, record: Record) -> int:
    """Scan an image, unless tests want something else. Return the exit code. Raises FailureError."""
    started = time.time()
    reference = _reference(options.image)
    forced = Behaviour(**choose(config.behaviours, directory, reference.repository))
    log.line("INFO", "Registering with server", os="linux", os_version="", registries=[])
    if code := behaviour.act(forced, record, options["host"]):
        return code
    console.log_in(config, options)
    source = console.registry(config, options)
    compliant = config.compliant and not forced.not_compliant
    registered = options.on("register") or (options.on("register-compliant") and compliant)
    subject = report.Subject(
        image=options.image,
        registry=options["registry"],
        pull_name=f"{urlsplit(source.url).netloc}/{reference.repository}:{reference.name}",
        user=options["user"] or "token",
        dockerless=options.on("dockerless"),
        registered=registered,
        compliant=compliant,
        partial=forced.partial_results,
    )
    _examine(options, reference, source, forced, subject, started)
    if registered:
        record.note("registered")
    return 0 if compliant or options.on("checkonly") else NOT_COMPLIANT


def _examine(
    options: Options,
    reference: Reference,
    source: Source,
    forced: Behaviour,
    subject: report.Subject,
    started: float,
) -> None:
    log.line("INFO", "Will scan image without using Docker" if subject.dockerless else "Will scan image")
    log.line("INFO", "Connecting to registry...", registry=subject.registry, image=subject.image)
    if forced.findings:
        image, found = PulledImage(reference.name, [], 0), Inventory("debian", "12.1", [], [])
        resources = list(synthetic.resources(forced.findings))
        findings = [finding for resource in resources for finding in resource["vulnerabilities"]]
    else:
        image, found = _pull(source, reference)
        resources, findings = report.resources(found, show_negligible=options.on("show-negligible"))
    head = report.head(subject, image, found, findings, started)
    try:
        output.write(options["jsonfile"], head, resources, forced)
    except OSError as error:
        raise FailureError(f"Failed writing report: {error}") from error
    log.line("INFO", "Image scan completed", image=subject.image, findings=len(findings))


def _pull(source: Source, reference: Reference) -> tuple[PulledImage, Inventory]:
    from standins.engine import inventory, pull

    log.plain("Requesting authorization to pull image...\nGetting image manifest...")
    try:
        image = pull.pull(source, reference.repository, reference.name)
        return image, inventory.take(image.layers)
    except NotAnImageError as error:
        raise FailureError(f"Failed scanning image: {error}") from error
    except PullError as error:
        if error.status == 404:
            raise FailureError("Failed scanning image: image was not found in registry") from error
        raise FailureError(f"Failed getting image manifest: {error}") from error


def _reference(image: str) -> Reference:
    for separator in ("@", ":"):
        repository, found, name = image.rpartition(separator)
        if found:
            return Reference(repository, name)
    return Reference(image, "latest")
