"""The command for syft, and its environment."""

from __future__ import annotations

import base64
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbor_scanner.errors import ImageError, RegistryError
from harbor_scanner.harbor import media
from harbor_scanner.harbor.models import VULNERABILITY, Artifact, Registry, ScanRequest
from harbor_scanner.syft.command import scan_command, scan_environment, scan_secrets

DIGEST = "sha256:" + "6c" * 32
OUTPUT = Path("/work/syft")


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def request(
    url: str = "https://core.harbor.domain", authorization: str | None = basic("robot$scan:sword:fish")
) -> ScanRequest:
    return ScanRequest(Registry(url, authorization), Artifact("library/mongo", DIGEST, "latest"))


def test_vulnerabilities_need_only_the_list_of_packages() -> None:
    assert scan_command("/bin/syft", request(), [VULNERABILITY], OUTPUT) == [
        "/bin/syft", "scan", f"registry:core.harbor.domain/library/mongo@{DIGEST}",
        "--output", "syft-json=/work/syft/syft.json",
    ]  # fmt: skip


def test_one_run_also_writes_the_sboms_in_the_versions_that_harbor_takes() -> None:
    argv = scan_command("syft", request(), [VULNERABILITY, media.SPDX, media.CYCLONEDX], OUTPUT)
    assert argv[3:] == [
        "--output", "syft-json=/work/syft/syft.json",
        "--output", "spdx-json@2.3=/work/syft/spdx.json",
        "--output", "cyclonedx-json@1.5=/work/syft/cyclonedx.json",
    ]  # fmt: skip


@pytest.mark.parametrize("artifact", [Artifact("library/mongo", ""), Artifact("", DIGEST)])
def test_an_image_that_cannot_be_named_is_not_scanned(artifact: Artifact) -> None:
    with pytest.raises(ImageError):
        scan_command("syft", ScanRequest(Registry("https://core"), artifact), [VULNERABILITY], OUTPUT)


@pytest.mark.parametrize(
    ("url", "authority", "plain"),
    [
        ("https://core.harbor.domain", "core.harbor.domain", "false"),
        ("http://core.harbor.domain", "core.harbor.domain", "true"),
        ("https://harbor.example:8443/", "harbor.example:8443", "false"),
        ("http://core", "core:80", "true"),
        ("https://harbor-core", "harbor-core:443", "false"),
    ],
)
def test_credentials_are_for_the_registry_that_the_image_is_named_by(url: str, authority: str, plain: str) -> None:
    environment = scan_environment(request(url))
    assert environment["SYFT_REGISTRY_AUTH_AUTHORITY"] == authority
    assert environment["SYFT_REGISTRY_INSECURE_USE_HTTP"] == plain
    assert scan_command("syft", request(url), [VULNERABILITY], OUTPUT)[2].startswith(f"registry:{authority}/")


def test_credentials_go_by_the_environment() -> None:
    environment = scan_environment(request())
    assert environment["SYFT_REGISTRY_AUTH_USERNAME"] == "robot$scan"
    assert environment["SYFT_REGISTRY_AUTH_PASSWORD"] == "sword:fish"
    assert "SYFT_REGISTRY_AUTH_TOKEN" not in environment
    bearer = scan_environment(request(authorization="Bearer abc.def"))
    assert bearer["SYFT_REGISTRY_AUTH_TOKEN"] == "abc.def"
    assert "SYFT_REGISTRY_AUTH_USERNAME" not in bearer
    assert not [name for name in scan_environment(request(authorization=None)) if "AUTH" in name]
    for wrong in ("Basic nonsense", "Digest x", "Bearer "):
        with pytest.raises(RegistryError):
            scan_environment(request(authorization=wrong))


def test_syft_asks_nobody_for_a_newer_one_and_keeps_nothing() -> None:
    environment = scan_environment(request())
    assert environment["SYFT_CHECK_FOR_APP_UPDATE"] == "false"
    assert environment["SYFT_CACHE_DIR"] == ""


@given(st.text(st.characters(codec="ascii", categories=("L", "N", "P", "S")), min_size=12), st.booleans())
def test_no_secret_is_ever_on_the_command_line_and_all_are_known_for_redaction(secret: str, token: bool) -> None:
    asked = request(authorization=f"Bearer {secret}" if token else basic(f"robot:{secret}"))
    argv = scan_command("syft", asked, [VULNERABILITY, media.SPDX], OUTPUT)
    assert not [argument for argument in argv if secret in argument]
    assert secret in scan_secrets(asked)
