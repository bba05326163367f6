"""What the log of syft means. The lines are those that syft 1.18 printed, but for what could not be provoked."""

from __future__ import annotations

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
)
from harbor_scanner.process import Outcome
from harbor_scanner.syft.failures import failure

WHERE = (
    "[0000] ERROR could not determine source: an error occurred attempting to resolve '127.0.0.1:5000/a/b@sha256:0':"
)
GET = "oci-registry: failed to get image descriptor from registry: "


def outcome(stderr: str, code: int = 1) -> Outcome:
    return Outcome(program="syft", exit_code=code, timed_out=False, time_limit=600, seconds=1, stdout="", stderr=stderr)


@pytest.mark.parametrize(
    ("line", "kind", "word"),
    [
        (
            f"{WHERE} {GET}GET http://x/v2/a/b/manifests/0: UNAUTHORIZED: authentication required; [map[Name:a/b]]",
            RegistryError, "refused",
        ),
        (f"{WHERE} {GET}GET https://x/v2/a/b/manifests/sha256:0: DENIED: access forbidden", RegistryError, "refused"),
        (
            f"{WHERE} {GET}GET https://x/v2/a/b/manifests/sha256:0: unexpected status code 412 Precondition Failed",
            RegistryError, "deployment security",
        ),
        (f"{WHERE} {GET}GET https://x/v2/a/b/manifests/sha256:0: MANIFEST_UNKNOWN: manifest unknown; map[Name:a/b]",
         RegistryError, "does not have"),
        (f"{WHERE} {GET}GET https://x/v2/a/b/manifests/sha256:0: NAME_UNKNOWN: repository name not known",
         RegistryError, "does not have"),
        (
            f'{WHERE} {GET}Get "https://127.0.0.1:9/v2/": dial tcp 127.0.0.1:9: connect: connection refused',
            RegistryUnreachableError, "reach",
        ),
        (
            f'{WHERE} {GET}Get "https://nohost.invalid/v2/": dial tcp: lookup nohost.invalid: no such host',
            RegistryUnreachableError, "reach",
        ),
        (
            f"{WHERE} {GET}GET https://x/v2/a/b/manifests/sha256:0: unexpected status code 503 Service Unavailable",
            RegistryUnreachableError, "reach",
        ),
        (
            f'{WHERE} {GET}Get "https://x/v2/": tls: failed to verify certificate: x509: signed by unknown authority',
            RegistryError, "certificate",
        ),
        (
            f'{WHERE} {GET}Get "https://x:80/v2/": http: server gave HTTP response to HTTPS client',
            RegistryError, "TLS",
        ),
        (
            f"{WHERE} oci-registry: unknown layer media type: application/vnd.cncf.helm.chart.content.v1.tar+gzip",
            ImageError, "image",
        ),
        (
            "[0003] ERROR could not determine source: write /x/layer.tar: no space left on device",
            DiskError, "disk",
        ),
        ("fatal error: runtime: cannot allocate memory", MemoryLimitError, "memory"),
        ("Error: unknown flag: --outputs", ScannerConfigurationError, "options"),
        (
            '[0000] ERROR unsupported output format "spdx-json@2.3", supported formats are: [spdx-json]',
            ScannerConfigurationError, "options",
        ),
        ("[0000] ERROR something else altogether", ScannerFailedError, "did not make clear"),
        ("", ScannerFailedError, "did not make clear"),
    ],
)  # fmt: skip
def test_each_cause_has_its_class_and_says_what_to_do(line: str, kind: type[ScanError], word: str) -> None:
    error = failure(outcome(f"[0000]  WARN something of no importance\n{line}\n"))
    assert type(error) is kind
    assert word in error.message
    assert line in error.message
    assert error.advice


def test_warnings_are_no_causes() -> None:
    error = failure(outcome("[0000]  WARN connection refused by a proxy that was passed over\n[0001] ERROR oops\n"))
    assert type(error) is ScannerFailedError


def test_the_exit_code_is_told() -> None:
    assert "exit code 7" in failure(outcome("oops", 7)).message


def test_a_telling_line_that_was_long_ago_is_told_too() -> None:
    lines = ["[0000] ERROR write /x: no space left on device", *[f"[0001] ERROR line {count}" for count in range(40)]]
    error = failure(outcome("\n".join(lines)))
    assert type(error) is DiskError
    assert lines[0] in error.message


def test_lines_of_any_length_are_read_quickly() -> None:
    assert type(failure(outcome("[0000] ERROR " + "unauthorize" * 5000))) is ScannerFailedError
