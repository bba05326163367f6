"""The image to scan: its reference understood, and the image pulled from its registry or read from the node."""

from __future__ import annotations

import ipaddress
import os
import re
from typing import NamedTuple

from standins.engine.model import Blobs, Inventory, NotAnImageError, PulledImage, PullError, Source
from standins.qualys.config import Config
from standins.qualys.failure import IMAGE, OS_NOT_FOUND, STORAGE_DRIVER, FailureError
from standins.qualys.flags import CommandLine, UsageError
from standins.qualys.log import Log

DOCKER_HUB = "index.docker.io"
"""The registry of names whose first part has neither a dot nor a port."""
_REFERENCE = re.compile(
    r"(?:(?P<host>localhost|[\w-]+(?:\.[\w-]+)+|(?:[\w.-]+|\[[0-9a-f:]+\])(?::\d+))/)?"
    r"(?P<repository>[a-z0-9]+(?:[._/-]+[a-z0-9]+)*)"
    r"(?::(?P<tag>\w[\w.-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)
_STATUS = {
    401: "UNAUTHORIZED: authentication required; unexpected status code 401 Unauthorized",
    403: "DENIED: requested access to the resource is denied; unexpected status code 403 Forbidden",
    404: "MANIFEST_UNKNOWN: manifest unknown; unexpected status code 404 Not Found",
    412: "unexpected status code 412 Precondition Failed",
}
_FAILED = "failed to create scan target: failed to create Image artifact"
_TRUST = "tls: failed to verify certificate: x509: certificate signed by unknown authority"


class Reference(NamedTuple):
    """An image in a registry."""

    text: str
    """As on the command line."""
    host: str
    repository: str
    name: str
    """A tag, or a digest."""


def reference(text: str) -> Reference:
    """Understand a reference. Raises UsageError."""
    match = _REFERENCE.fullmatch(text)
    if not match:
        raise UsageError(f"could not parse reference: {text}")
    return Reference(
        text, match["host"] or DOCKER_HUB, match["repository"], match["digest"] or match["tag"] or "latest"
    )


def examine(
    config: Config, line: CommandLine, image: Reference, blobs: Blobs | None, log: Log
) -> tuple[PulledImage, Inventory]:
    """Pull the image and list what is in it. Raises FailureError."""
    from standins.engine import inventory

    driver = line["storage-driver"]
    if driver not in {"none", *config.storage_drivers}:
        raise FailureError(STORAGE_DRIVER)
    log.line("info", "Image source: remote registry" if driver == "none" else f"Image source: {driver} filesystem")
    try:
        pulled = _pull(config, image, blobs)
        found = inventory.take(pulled.layers)
    except NotAnImageError as error:
        raise FailureError(IMAGE, f"{_FAILED}: {error}") from error
    if not found.os:
        raise FailureError(OS_NOT_FOUND)
    return pulled, found


def _pull(config: Config, image: Reference, blobs: Blobs | None) -> PulledImage:
    """Pull with the credentials of the environment. Raises FailureError, NotAnImageError.

    Authorities are those of SSL_CERT_FILE, which OpenSSL obeys as Go does.
    """
    from standins.engine import pull

    if image.host == DOCKER_HUB:
        # Tests leave that alone.
        raise FailureError(IMAGE, f"{_FAILED}: GET https://{image.host}/v2/{image.repository}: {_STATUS[401]}")
    first, *others = _schemes(config, image.host)
    source = Source(
        f"{first}://{image.host}",
        username=os.environ.get("QSCANNER_REGISTRY_USERNAME", ""),
        password=os.environ.get("QSCANNER_REGISTRY_PASSWORD", ""),
        token=os.environ.get("QSCANNER_REGISTRY_TOKEN", ""),
    )
    while True:
        try:
            return pull.pull(source, image.repository, image.name, blobs)
        except NotAnImageError:
            raise
        except PullError as error:
            if not others or error.status not in {0, 400}:
                where = f"GET {source.url}/v2/{image.repository}/manifests/{image.name}"
                raise FailureError(IMAGE, f"{_FAILED}: {where}: {_go(error)}") from error
            source = source._replace(url=f"{others.pop(0)}://{image.host}")


def _schemes(config: Config, host: str) -> list[str]:
    """Return how a registry may be spoken to: the habit of go-containerregistry, assumed of qscanner.

    It tries TLS first also where it does without; here that comes last, for it is slow to set up.
    """
    if host in config.schemes:
        return [config.schemes[host]]
    return ["http", "https"] if _nearby(host) else ["https"]


def _nearby(host: str) -> bool:
    """Tell whether a registry need not have TLS."""
    name = re.sub(r":\d+$", "", host).strip("[]")
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return name == "localhost" or name.endswith((".localhost", ".local"))
    return address.is_loopback or address.is_private


def _go(error: PullError) -> str:
    """Return the error as Go programs word it."""
    if error.status:
        return _STATUS.get(error.status, f"unexpected status code {error}")
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return _TRUST
    if isinstance(error.__cause__, ConnectionRefusedError):
        return "dial tcp: connect: connection refused"
    return text
