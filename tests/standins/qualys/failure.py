"""How a run of qscanner fails: its exit codes, and what the log says of them."""

from __future__ import annotations

OK, GENERIC, USAGE, IMAGE, STORAGE_DRIVER, OS_NOT_FOUND, UPLOAD, NO_REPORT = 0, 1, 2, 6, 8, 15, 33, 40

# The names are Qualys'; the sentences are made up, but for those of which a log was seen.
MESSAGES = {
    1: "failed to run qscanner: unexpected error",
    2: "invalid parameter",
    3: "failed to initialize logger: open qscanner.log: permission denied",
    5: "failed to create scan target: failed to create Filesystem artifact",
    6: "failed to create scan target: failed to create Image artifact: MANIFEST_UNKNOWN: manifest unknown",
    7: "failed to create scan target: failed to create Image archive artifact",
    8: "failed to create scan target: failed to create Image artifact: failed to copy layers.json file, "
    "Error Code: InvalidStorageDriver:10062",
    9: "failed to create scan target: failed to create Container artifact",
    10: "failed to create scan target: failed to create artifact",
    11: "metadata scan failed",
    12: "OS scan failed: rpmdb: open failed",
    13: "SCA scan failed: context deadline exceeded",
    14: "secret scan failed",
    15: "OS not found",
    16: "malware scan failed",
    17: "OS not supported: Slackware 15.0",
    18: "file insight scan failed",
    19: "compliance scan failed",
    20: "manifest scan failed",
    21: "winregistry scan failed",
    30: "failed to write scan result JSON: no space left on device",
    31: "failed to create changelist",
    32: "failed to compress changelist",
    33: "failed to upload changelist: net/http: TLS handshake timeout",
    34: "failed to create SPDX document",
    35: "failed to create CycloneDX document",
    36: "failed to compress SBOM",
    37: "failed to upload SBOM",
    38: "failed to create secret result",
    39: "failed to upload secret result",
    40: "failed to get vulnerability report: 404 Not Found",
    41: "failed to get policy evaluation result: 404 Not Found",
    42: "policy evaluation result: DENY",
    43: "policy evaluation result: AUDIT",
    71: "IaC scan failed",
    72: "IaC gate failed",
}


class FailureError(Exception):
    """The run failed with an exit code. The message is the last line of the log."""

    def __init__(self, code: int, message: str = "") -> None:
        super().__init__(message or MESSAGES.get(code, f"failed with code {code}"))
        self.code = code
