"""The command for scannercli, and what anybody may see of its settings."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harbor_scanner.errors import ImageError, RegistryError, ScannerConfigurationError
from harbor_scanner.harbor import media
from harbor_scanner.layers import Loader
from harbor_scanner.scanners.aqua import AquaSettings
from harbor_scanner.scanners.aqua.scanner import scan_command, scan_secrets
from harbor_scanner.scanners.aqua.settings import RegisterImages
from harbor_scanner.scanners.base import Scanner
from harbor_scanner.settings import mask_user
from support.aqua import DIGEST, scan_request, scanner_with

REPORT = Path("/var/lib/scanner/reports/aqua_scan_report_0123456789.json")
SETTINGS = AquaSettings(username="harbor_scanner", password="c0nsole$ecret", host="https://aqua-console:8443")


def command(request: Any = None, **settings: Any) -> list[str]:
    return scan_command(msgspec.structs.replace(SETTINGS, **settings), request or scan_request(), REPORT)


def test_the_command_is_that_of_the_readme() -> None:
    assert command(override_registry_credentials=True) == [
        "scannercli",
        "scan",
        "--checkonly",
        "--dockerless",
        "--user=harbor_scanner",
        "--password=c0nsole$ecret",
        "--host=https://aqua-console:8443",
        "--registry=Harbor",
        "--robot-username=robot$scan",
        "--robot-password=sword:fish",
        "--no-verify=false",
        "--show-negligible=true",
        "--direct-cc=false",
        "--jsonfile",
        str(REPORT),
        f"library/mongo@{DIGEST}",
    ]


def test_robot_credentials_are_passed_only_if_told() -> None:
    assert not [argument for argument in command() if argument.startswith("--robot")]


@pytest.mark.parametrize("authorization", [None, "", "Bearer abc.def", "Basic !!!", "Basic bm9jb2xvbg=="])
def test_a_request_without_usable_credentials_is_refused_with_the_way_out(authorization: str | None) -> None:
    with pytest.raises(RegistryError) as caught:
        command(scan_request(authorization), override_registry_credentials=True)
    assert "SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS=false" in caught.value.advice


@pytest.mark.parametrize("authorization", [None, "Bearer abc.def"])
def test_without_the_robot_such_a_request_is_served(authorization: str | None) -> None:
    assert command(scan_request(authorization))[-1] == f"library/mongo@{DIGEST}"


def test_a_token_replaces_user_and_password() -> None:
    arguments = command(token="t0ken")
    assert arguments[4] == "--token=t0ken"
    assert not [argument for argument in arguments if argument.startswith(("--user", "--password"))]


@pytest.mark.parametrize("missing", [{"username": ""}, {"password": ""}, {"username": "", "password": ""}])
def test_missing_console_credentials_are_named(missing: dict[str, str]) -> None:
    with pytest.raises(ScannerConfigurationError) as caught:
        command(**missing)
    assert "SCANNER_AQUA_USERNAME" in caught.value.advice
    assert "c0nsole$ecret" not in str(caught.value)


@pytest.mark.parametrize(
    ("setting", "option"),
    [("no_verify", "--no-verify"), ("show_negligible", "--show-negligible"), ("direct_cc", "--direct-cc")],
)
def test_switches_are_always_spelled_out(setting: str, option: str) -> None:
    assert f"{option}=true" in command(**{setting: True})
    assert f"{option}=false" in command(**{setting: False})


@pytest.mark.parametrize(
    ("register", "options"),
    [
        (RegisterImages.NEVER, []),
        (RegisterImages.COMPLIANT, ["--register-compliant"]),
        (RegisterImages.ALWAYS, ["--register"]),
    ],
)
def test_images_are_registered_as_told(register: RegisterImages, options: list[str]) -> None:
    arguments = command(register_images=register)
    assert [argument for argument in arguments if argument.startswith("--register")] == options


@pytest.mark.parametrize(
    ("use_tag", "tag", "image"),
    [
        (False, "3.4-xenial", f"library/mongo@{DIGEST}"),
        (True, "3.4-xenial", "library/mongo:3.4-xenial"),
        (True, None, f"library/mongo@{DIGEST}"),
        (True, "", f"library/mongo@{DIGEST}"),
    ],
)
def test_the_image_goes_by_tag_or_digest(use_tag: bool, tag: str | None, image: str) -> None:
    assert command(scan_request(tag=tag), use_image_tag=use_tag)[-1] == image


@pytest.mark.parametrize(
    "artifact", [{"repository": "--host=http://evil"}, {"repository": "-h"}, {"repository": ""}, {"digest": ""}]
)
def test_what_could_be_read_as_an_option_or_names_no_image_is_refused(artifact: dict[str, str]) -> None:
    with pytest.raises(ImageError):
        command(scan_request(**artifact))


@given(st.text(), st.text(min_size=1), st.text(min_size=1))
def test_no_setting_can_add_an_option(registry: str, username: str, password: str) -> None:
    arguments = command(registry=registry, username=username, password=password)
    assert len(arguments) == len(command())
    assert arguments[4:6] == [f"--user={username}", f"--password={password}"]
    assert arguments[7] == f"--registry={registry}"


def test_every_secret_of_a_scan_is_named_for_redaction() -> None:
    settings = AquaSettings(
        username="harbor_scanner", password="c0nsole$ecret", token="t0ken", host="https://proxy:p%40ss@aqua:8443"
    )
    secrets = scan_secrets(settings, scan_request())
    robot = "cm9ib3Qkc2Nhbjpzd29yZDpmaXNo"
    assert {"c0nsole$ecret", "t0ken", "p%40ss", "p@ss", robot, "sword:fish"} == set(secrets)
    assert "abc.def" in scan_secrets(settings, scan_request("Bearer abc.def"))


def test_defaults_are_the_same_with_and_without_an_environment() -> None:
    loader = Loader({})
    assert loader.load(AquaSettings) == AquaSettings()
    assert not loader.problems


def test_settings_come_from_the_names_of_the_readme() -> None:
    loader = Loader(
        {
            "SCANNER_AQUA_USERNAME": "u",
            "SCANNER_AQUA_PASSWORD": "p",
            "SCANNER_AQUA_HOST": "https://aqua",
            "SCANNER_AQUA_REGISTRY": "Harbor 2",
            "SCANNER_AQUA_REPORTS_DIR": "/reports",
            "SCANNER_AQUA_USE_IMAGE_TAG": "true",
            "SCANNER_CLI_NO_VERIFY": "true",
            "SCANNER_CLI_SHOW_NEGLIGIBLE": "false",
            "SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS": "true",
            "SCANNER_CLI_DIRECT_CC": "true",
            "SCANNER_CLI_REGISTER_IMAGES": "Compliant",
        }
    )
    assert loader.load(AquaSettings) == AquaSettings(
        username="u",
        password="p",
        host="https://aqua",
        registry="Harbor 2",
        reports_dir=Path("/reports"),
        use_image_tag=True,
        no_verify=True,
        show_negligible=False,
        override_registry_credentials=True,
        direct_cc=True,
        register_images=RegisterImages.COMPLIANT,
    )
    assert not loader.unknown()


def test_properties_show_the_settings_but_no_credentials() -> None:
    scanner: Scanner = scanner_with(
        AquaSettings(username="harbor_scanner", password="c0nsole$ecret", token="t0ken", host="https://u:pw@aqua:8443")
    )
    assert dict(scanner.properties) == {
        "env.SCANNER_AQUA_HOST": "https://[redacted]@aqua:8443",
        "env.SCANNER_AQUA_REGISTRY": "Harbor",
        "env.SCANNER_AQUA_REPORTS_DIR": "/var/lib/scanner/reports",
        "env.SCANNER_AQUA_USE_IMAGE_TAG": "false",
        "env.SCANNER_AQUA_REPORT_DELETE": "true",
        "env.SCANNER_AQUA_SCAN_TIMEOUT": "30m",
        "env.SCANNER_CLI_NO_VERIFY": "false",
        "env.SCANNER_CLI_SHOW_NEGLIGIBLE": "true",
        "env.SCANNER_CLI_OVERRIDE_REGISTRY_CREDENTIALS": "false",
        "env.SCANNER_CLI_DIRECT_CC": "false",
        "env.SCANNER_CLI_REGISTER_IMAGES": "Never",
    }


def test_printing_the_settings_shows_no_credentials() -> None:
    shown = repr(
        AquaSettings(username="harbor_scanner", password="c0nsole$ecret", token="t0ken", host="http://a:b1g@c")
    )
    assert "SCANNER_AQUA_REGISTRY='Harbor'" in shown
    assert not [secret for secret in ("harbor_scanner", "c0nsole$ecret", "t0ken", "b1g") if secret in shown]


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://aqua:8080", "http://aqua:8080"),
        ("http://user:pass@aqua:8080/x", "http://[redacted]@aqua:8080/x"),
        ("user:pass@aqua:8080", "[redacted]@aqua:8080"),
        ("http://user@aqua", "http://[redacted]@aqua"),
        ("", ""),
    ],
)
def test_the_user_of_a_url_is_masked(url: str, shown: str) -> None:
    assert mask_user(url) == shown


@given(st.text())
def test_no_password_of_a_url_is_shown(password: str) -> None:
    assert mask_user(f"https://user:{password}@aqua:8443") == "https://[redacted]@aqua:8443"


def test_it_scans_both_kinds_of_images_for_vulnerabilities() -> None:
    scanner = scanner_with(AquaSettings())
    (capability,) = scanner.capabilities
    assert (scanner.name, scanner.title, scanner.vendor) == ("aqua", "Aqua", "Aqua Security")
    assert capability.type == "vulnerability"
    assert set(capability.consumes_mime_types) == {media.OCI_MANIFEST, media.DOCKER_MANIFEST}
    assert media.GENERIC_REPORT in capability.produces_mime_types
