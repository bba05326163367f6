"""Why qscanner failed: exit codes and lines of its log, made causes with advice."""

from __future__ import annotations

import time

import pytest

from harbor_scanner.errors import (
    DiskError,
    ImageError,
    MemoryLimitError,
    RegistryError,
    RegistryUnreachableError,
    ScanError,
    ScannerConfigurationError,
    ScannerFailedError,
    ScannerUnreachableError,
    TimeLimitError,
)
from harbor_scanner.process import Outcome
from harbor_scanner.scanners.qualys.causes import ANYWHERE, PARAMETERS, PLATFORM, REGISTRY, STEPS
from harbor_scanner.scanners.qualys.exits import EXITS
from harbor_scanner.scanners.qualys.failures import REPORT_WRITTEN, failure


def outcome(exit_code: int, stderr: str = "", stdout: str = "") -> Outcome:
    return Outcome("qscanner", exit_code, timed_out=False, time_limit=300, seconds=1, stdout=stdout, stderr=stderr)


# ---- exit codes alone

CODES = [
    (1, "GENERIC_ERROR", ScannerFailedError, "scannerArgs.log-level"),
    (2, "INVALID_PARAMETER", ScannerConfigurationError, "scannerArgs.pod"),
    (2, "INVALID_PARAMETER", ScannerConfigurationError, "/usr/share/qscanner/accesstoken/token"),
    (3, "LOGGER_INIT_FAILED", ScannerFailedError, "SCANNER_DATA_DIR"),
    (5, "FILESYSTEM_ARTIFACT_FAILED", ScannerFailedError, ""),
    (6, "IMAGE_ARTIFACT_FAILED", RegistryError, "robot account"),
    (7, "IMAGE_ARCHIVE_ARTIFACT_FAILED", ScannerFailedError, ""),
    (8, "IMAGE_STORAGE_DRIVER_ARTIFACT_FAILED", ScannerConfigurationError, "scannerArgs.storage-driver"),
    (9, "CONTAINER_ARTIFACT_FAILED", ScannerFailedError, ""),
    (10, "OTHER_ARTIFACT_FAILED", ScannerFailedError, ""),
    (11, "METADATA_SCAN_FAILED", ScannerFailedError, ""),
    (12, "OS_SCAN_FAILED", ScannerFailedError, ""),
    (13, "SCA_SCAN_FAILED", ScannerFailedError, "scannerArgs.offline-scan"),
    (14, "SECRET_SCAN_FAILED", ScannerFailedError, ""),
    (15, "OS_NOT_FOUND", ImageError, "distroless"),
    (16, "MALWARE_SCAN_FAILED", ScannerFailedError, ""),
    (17, "OS_NOT_SUPPORTED", ImageError, "operating systems"),
    (18, "FILE_INSIGHT_SCAN_FAILED", ScannerFailedError, ""),
    (19, "COMPLIANCE_SCAN_FAILED", ScannerFailedError, ""),
    (20, "MANIFEST_SCAN_FAILED", ScannerFailedError, ""),
    (21, "WINREGISTRY_SCAN_FAILED", ScannerFailedError, ""),
    (30, "JSON_RESULT_HANDLER_FAILED", ScannerFailedError, ""),
    (31, "CHANGELIST_CREATION_FAILED", ScannerFailedError, ""),
    (32, "CHANGELIST_COMPRESSION_FAILED", ScannerFailedError, ""),
    (33, "CHANGELIST_UPLOAD_FAILED", ScannerUnreachableError, "scannerArgs.max-network-retries"),
    (34, "SPDX_HANDLER_FAILED", ScannerFailedError, ""),
    (35, "CDX_HANDLER_FAILED", ScannerFailedError, ""),
    (36, "SBOM_COMPRESSION_FAILED", ScannerFailedError, ""),
    (37, "SBOM_UPLOAD_FAILED", ScannerUnreachableError, "scannerArgs.proxy"),
    (38, "SECRET_RESULT_CREATION_FAILED", ScannerFailedError, ""),
    (39, "SECRET_RESULT_UPLOAD_FAILED", ScannerUnreachableError, "scannerArgs.gateway-url"),
    (40, "FAILED_TO_GET_VULN_REPORT", ScannerUnreachableError, "scannerArgs.network-retry-wait-min"),
    (41, "FAILED_TO_GET_POLICY_EVALUATION_RESULT", ScannerUnreachableError, "scannerArgs.max-network-retries"),
    (42, "POLICY_EVALUATION_DENY", ScannerFailedError, ""),
    (43, "POLICY_EVALUATION_AUDIT", ScannerFailedError, ""),
]


@pytest.mark.parametrize(("code", "name", "kind", "advice"), CODES)
def test_every_exit_code_has_its_class_its_name_and_advice(
    code: int, name: str, kind: type[ScanError], advice: str
) -> None:
    error = failure(outcome(code, "INFO  Image source: remote\nERROR something went wrong\n"))
    assert type(error) is kind
    assert f"(exit code {code}, {name})" in error.message
    assert error.message.endswith("ERROR something went wrong")
    assert error.advice
    assert advice in error.advice


def test_every_exit_code_of_the_table_is_tried_by_a_test() -> None:
    assert {code for code, *_ in CODES} == set(EXITS)
    assert {0} == REPORT_WRITTEN


@pytest.mark.parametrize("code", [4, 42 + 8, 71, 72, 126, 139, 255])
def test_an_unknown_code_is_a_failure_with_the_last_words(code: int) -> None:
    error = failure(outcome(code, "ERROR kaboom"))
    assert type(error) is ScannerFailedError
    assert not error.retriable
    assert error.message.endswith(f"(exit code {code}).\nERROR kaboom")


def test_what_may_pass_is_tried_again_and_nothing_else() -> None:
    assert {code for code in EXITS if failure(outcome(code)).retriable} == {33, 37, 39, 40, 41}


# ---- what the log tells

REPOSITORY = 'Get "https://core.harbor.domain/v2/library/mongo/manifests/sha256:6": '
GATEWAY = 'Post "https://gateway.qg2.apps.qualys.com/csapi/v1.3/scan": '

KNOWN = [
    (6, f"{REPOSITORY}http: server gave HTTP response to HTTPS client", RegistryError, "no documented option"),
    (6, f"{REPOSITORY}x509: certificate signed by unknown authority", RegistryError, "SSL_CERT_FILE"),
    (6, "412 Precondition Failed: current image with 7 vulnerabilities", RegistryError, "deployment security"),
    (6, f"{REPOSITORY}UNAUTHORIZED: authentication required", RegistryError, "robot account"),
    (6, "denied: requested access to the resource is denied", RegistryError, "robot account"),
    (6, f"{REPOSITORY}unexpected status code 403 Forbidden", RegistryError, "robot account"),
    (6, f"{REPOSITORY}MANIFEST_UNKNOWN: manifest unknown", RegistryError, "deleted"),
    (6, f"{REPOSITORY}NAME_UNKNOWN: repository library/mongo not found", RegistryError, "deleted"),
    (6, f"{REPOSITORY}dial tcp 10.0.0.9:443: connect: connection refused", RegistryUnreachableError, "NO_PROXY"),
    (6, "dial tcp: lookup core.harbor.domain: no such host", RegistryUnreachableError, "reaches the registry"),
    (6, "dial tcp 10.0.0.9:443: i/o timeout", RegistryUnreachableError, "reaches the registry"),
    (6, f"{REPOSITORY}TOOMANYREQUESTS: slow down", RegistryUnreachableError, "reaches the registry"),
    (6, "unsupported MediaType: application/vnd.wasm", ImageError, "kinds of images"),
    (6, "Error Code: InvalidStorageDriver:10062", ScannerConfigurationError, "scannerArgs.storage-driver"),
    (1, f"{REPOSITORY}connection refused", RegistryUnreachableError, "reaches the registry"),
    (1, f"{REPOSITORY}401 Unauthorized", RegistryError, "robot account"),
    (1, f"{GATEWAY}lookup gateway.qg2.apps.qualys.com: no such host", ScannerUnreachableError, "scannerArgs.pod"),
    (1, f"{GATEWAY}connect: connection refused", ScannerUnreachableError, "scannerArgs.gateway-url"),
    (1, f"{GATEWAY}x509: certificate signed by unknown authority", ScannerConfigurationError, "scannerArgs.cert-path"),
    (1, f"{GATEWAY}x509: certificate has expired", ScannerConfigurationError, "scannerArgs.skip-verify-tls"),
    (1, f"{GATEWAY}401 Unauthorized", ScannerConfigurationError, "QUALYS_ACCESS_TOKEN"),
    (33, f"{GATEWAY}403 Forbidden", ScannerConfigurationError, "/usr/share/qscanner/accesstoken/token"),
    (33, "access token is expired", ScannerConfigurationError, "scannerArgs.access-token"),
    (37, f"{GATEWAY}401", ScannerConfigurationError, "scannerArgs.pod"),
    (33, f"{GATEWAY}Proxy Authentication Required", ScannerConfigurationError, "scannerArgs.proxy"),
    (39, f"{GATEWAY}proxyconnect tcp: lookup proxy: no such host", ScannerConfigurationError, "scannerArgs.proxy"),
    (33, 'Post "gateway": unsupported protocol scheme ""', ScannerConfigurationError, "scannerArgs.gateway-url"),
    (33, f"{GATEWAY}503 Service Unavailable", ScannerUnreachableError, "scannerArgs.pod"),
    (2, "unknown flag: --cache-ttl", ScannerConfigurationError, "version of qscanner"),
    (2, "access token is required in mode get-report", ScannerConfigurationError, "QUALYS_ACCESS_TOKEN"),
    (2, "invalid pod: US9", ScannerConfigurationError, "scannerArgs.pod"),
    (2, "invalid value for storage-driver: zfs", ScannerConfigurationError, "scannerArgs.storage-driver"),
    (2, "invalid proxy: ::", ScannerConfigurationError, "scannerArgs.proxy"),
    (2, "cannot read cert-path", ScannerConfigurationError, "scannerArgs.cert-path"),
    (12, "analysis failed: context deadline exceeded", TimeLimitError, "scannerArgs.scan-timeout"),
    (31, "write /tmp/qscanner-1/db: no space left on device", DiskError, "scannerArgs.cache-dir"),
    (6, "write /tmp/qscanner-1/layer.tar: no space left on device", DiskError, "SCANNER_DATA_DIR"),
    (71, "write /tmp/x: no space left on device", DiskError, "SCANNER_DATA_DIR"),
    (1, "fatal error: runtime: out of memory", MemoryLimitError, "service.workerThreads"),
]  # fmt: skip


@pytest.mark.parametrize(("code", "line", "kind", "advice"), KNOWN)
@pytest.mark.parametrize("stream", ["stderr", "stdout"])
def test_a_known_cause_has_its_class_and_advice(
    code: int, line: str, kind: type[ScanError], advice: str, stream: str
) -> None:
    error = failure(outcome(code, **{stream: f"INFO  Image source: remote\n2026-01-02 03:04:05 ERROR {line}\n"}))
    assert type(error) is kind
    assert advice in error.advice
    assert line in error.message
    assert f"(exit code {code}" in error.message


def test_every_cause_of_the_tables_is_tried_by_a_test() -> None:
    seen = {failure(outcome(code, line)).message.partition(" (exit code")[0] for code, line, _, _ in KNOWN}
    assert seen == {cause.message for cause in (*ANYWHERE, *REGISTRY, *PLATFORM, *PARAMETERS, *STEPS)}


@pytest.mark.parametrize(
    "line",
    [
        "INFO  retrying after 401 Unauthorized",
        "2026-01-02 03:04:05.678 WARN x509: certificate signed by unknown authority",
        "2026/01/02 03:04:05 INFO dial tcp: connection refused",
        "[INFO] no space left on device",
        "\x1b[33mDEBUG\x1b[0m\tInvalidStorageDriver",
    ],
)
@pytest.mark.parametrize(("code", "kind"), [(1, ScannerFailedError), (6, RegistryError), (33, ScannerUnreachableError)])
def test_a_line_that_is_no_error_is_no_cause(line: str, code: int, kind: type[ScanError]) -> None:
    error = failure(outcome(code, f"{line}\nERROR scan failed\n"))
    assert type(error) is kind
    assert error.message.startswith(EXITS[code].message)


@pytest.mark.parametrize(
    "line",
    [
        "docker error: dial unix /var/run/docker.sock: connect: connection refused",
        "open /tmp/qscanner-1/layers.json: permission denied",
        "permission denied while trying to connect to the Docker daemon socket",
        "podman error: stat /run/podman/podman.sock: no such file or directory: not found",
    ],
)
def test_trouble_on_this_machine_is_none_of_the_registry(line: str) -> None:
    for code in (1, 6):
        error = failure(outcome(code, f"ERROR {line}"))
        assert error.message.startswith(EXITS[code].message)
    told = failure(outcome(6, f"ERROR {line}\nERROR {REPOSITORY}MANIFEST_UNKNOWN"))
    assert "does not have the image" in told.message


@pytest.mark.parametrize("code", [40, 41])
def test_a_report_that_is_not_ready_may_be_tried_again_whatever_the_polls_said(code: int) -> None:
    error = failure(outcome(code, f"ERROR {GATEWAY}404 Not Found\nERROR 10 retries\n"))
    assert type(error) is ScannerUnreachableError
    assert "in time" in error.message


def test_the_telling_cause_wins_over_what_follows_from_it() -> None:
    lines = f"ERROR no space left on device\nERROR {GATEWAY}connection reset by peer"
    assert type(failure(outcome(33, lines))) is DiskError


def test_of_several_lines_of_a_cause_the_last_is_shown() -> None:
    lines = [f"ERROR {GATEWAY}connection refused, attempt {number}" for number in (1, 2)]
    filler = [f"line {number}" for number in range(40)]
    message = failure(outcome(1, "\n".join([*lines, *filler]))).message
    assert "attempt 2" in message
    assert "attempt 1" not in message
    assert message.endswith("line 39")


def test_a_silent_failure_has_a_message_all_the_same() -> None:
    assert failure(outcome(12)).message.endswith("(exit code 12, OS_SCAN_FAILED).")


def test_endless_lines_do_not_hold_up_the_service() -> None:
    started = time.process_time()
    failure(outcome(1, stderr="scan certificate invalid " * 2600, stdout="malformed unsupported " * 2900))
    assert time.process_time() - started < 30
