"""The Qualys platform, as qscanner meets it: who may upload a scan, and when the report is ready."""

from __future__ import annotations

import os
import time

from standins.qualys.config import Config
from standins.qualys.failure import NO_REPORT, UPLOAD, FailureError
from standins.qualys.flags import PODS, CommandLine, UsageError
from standins.qualys.log import Log

TOKEN = "QUALYS_ACCESS_TOKEN"
OFFLINE = "inventory-only"


def token(line: CommandLine) -> str:
    """Return the token, of the flag or else of the environment."""
    return line["access-token"] or os.environ.get(TOKEN, "")


def check(line: CommandLine) -> None:
    """Check that all is given that the platform is reached by. Raises UsageError."""
    if line["mode"] == OFFLINE:
        return
    if not token(line):
        raise UsageError(f"access token is required in mode {line['mode']}: give --access-token or {TOKEN}")
    if not line["pod"] and not line["gateway-url"]:
        raise UsageError("either --pod or --gateway-url is required")
    if line["cert-path"] and not line.on("skip-verify-tls") and not os.access(line["cert-path"], os.R_OK):
        raise UsageError(f"--cert-path: open {line['cert-path']}: no such file or directory")


def upload(config: Config, line: CommandLine, log: Log) -> None:
    """Upload the scan. Raises FailureError if the platform does not know the token."""
    gateway = (line["gateway-url"] or PODS[line["pod"]] or f"the gateway of {line['pod']}").rstrip("/")
    log.line("info", f"Uploading changelist to {gateway}")
    ours = (config.gateway_url or PODS.get(config.pod, "")).rstrip("/")
    known = token(line) == config.token and line["pod"] in {"", config.pod}
    if not known or (line["gateway-url"] and gateway != ours):
        raise FailureError(UPLOAD, f"failed to upload changelist: POST {gateway}: unexpected status: 401 Unauthorized")
    log.line("info", "Changelist uploaded")


def wait_for_report(config: Config, line: CommandLine, log: Log, not_ready: int) -> None:
    """Wait until the report is ready, which it is after `not_ready` polls. Raises FailureError."""
    retries = int(line["max-network-retries"])
    for retry in range(1, min(not_ready, retries) + 1):
        log.line("warn", f"Vulnerability report is not ready (404 Not Found), retry {retry}/{retries}")
        time.sleep(config.poll_seconds)
    if not_ready > retries:
        raise FailureError(NO_REPORT)
