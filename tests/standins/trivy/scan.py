"""A scan: pull the image, list what is in it, and report what is known of that."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from standins.engine.behaviour import choose
from standins.engine.model import Inventory, NotAnImageError, PulledImage, PullError, Source
from standins.engine.record import Record
from standins.trivy import behaviour, report
from standins.trivy.behaviour import Behaviour
from standins.trivy.config import Config
from standins.trivy.flags import CommandLine, UsageError

_REFERENCE = re.compile(r"(?P<host>[^/]+)/(?P<repository>[^@]+)@(?P<digest>sha256:[0-9a-f]{64})")
_CODES = {
    401: "UNAUTHORIZED: authentication required; [map[Action:pull Class: Name: Type:repository]]",
    404: "MANIFEST_UNKNOWN: manifest unknown; map[]",
}
_PULL_FAILED = """\
Fatal error\timage scan error: scan error: unable to initialize a scanner: unable to initialize an image scanner: \
unable to find the specified image "{image}" in ["docker" "containerd" "podman" "remote"]: 4 errors occurred:
\t* docker error: unable to inspect the image ({image}): Cannot connect to the Docker daemon
\t* containerd error: containerd socket not found: /run/containerd/containerd.sock
\t* podman error: unable to initialize Podman client: no podman socket found
\t* remote error: {reason}
"""


class FailureError(Exception):
    """The scan failed. The message is the last entry of the log."""


def run(config: Config, line: CommandLine, directory: Path, record: Record) -> int:
    """Scan an image, unless tests want something else. Return the exit code. Raises FailureError, UsageError."""
    image = line.image
    name = _REFERENCE.fullmatch(image)
    if not name:
        raise UsageError(f"the stand-in takes no image but by its digest: {image}")
    forced = Behaviour(**choose(config.behaviours, directory, name["repository"]))
    if code := behaviour.act(forced, record):
        return code
    _keep_database(Path(line.values.get("cache-dir") or Path.home() / ".cache" / "trivy"))
    if forced.findings:
        pulled, inventory = PulledImage(name["digest"], [], 0), Inventory("debian", "12.1", [], [])
        found = list(report.made_up(forced.findings))
    else:
        pulled, inventory = _pull(image, name)
        found = report.found_in(inventory)
    document = report.document(image, pulled, inventory, found, unfixed="ignore-unfixed" not in line.switches)
    _write(line.values.get("output", ""), json.dumps(document, indent=2).encode(), forced.report)
    return 0


def _keep_database(cache: Path) -> None:
    """Leave something where trivy keeps the vulnerability database that it downloads."""
    folder = cache / "db"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metadata.json").write_text('{"Version": 2}')


def _pull(image: str, name: re.Match[str]) -> tuple[PulledImage, Inventory]:
    from standins.engine import inventory, pull

    source = Source(
        f"{'http' if os.environ.get('TRIVY_NON_SSL') else 'https'}://{name['host']}",
        username=os.environ.get("TRIVY_USERNAME", ""),
        password=os.environ.get("TRIVY_PASSWORD", ""),
    )
    try:
        pulled = pull.pull(source, name["repository"], name["digest"])
        return pulled, inventory.take(pulled.layers)
    except NotAnImageError as error:
        raise FailureError(f"Fatal error\timage scan error: scan error: {error}") from error
    except PullError as error:
        where = f"GET {source.url}/v2/{name['repository']}/manifests/{name['digest']}"
        reason = f"{where}: {_CODES.get(error.status, str(error))}"
        raise FailureError(_PULL_FAILED.format(image=image, reason=reason)) from error


def _write(path: str, whole: bytes, spoilt: str) -> None:
    """Write the report to `path`, or to stdout if that is empty."""
    if spoilt == "missing":
        return
    content = {
        "empty": b"",
        "not-json": b"<html><body><h1>504 Gateway Time-out</h1></body></html>\n",
        "truncated": whole[: len(whole) * 2 // 3],
        "not-utf8": whole.replace(b'"Description": "', '"Description": "Naïve: '.encode("latin-1")),
    }.get(spoilt, whole)
    if path:
        Path(path).write_bytes(content)
    else:
        print(content.decode(errors="replace"))
