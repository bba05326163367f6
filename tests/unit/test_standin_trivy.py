"""The stand-in for trivy is as strict and as honest as the example of the documentation relies on."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from standins.trivy.behaviour import Behaviour
from support import images
from support.oci import Registry
from support.registry import ROBOT
from support.trivy import Trivy

IMAGE = "127.0.0.1:9/library/web@sha256:" + "a" * 64
JSON = ("--format", "json", "--scanners", "vuln")
ACCOUNT = {"TRIVY_USERNAME": ROBOT.username, "TRIVY_PASSWORD": ROBOT.password, "TRIVY_NON_SSL": "true"}


@pytest.fixture
def trivy(tmp_path: Path) -> Trivy:
    return Trivy(tmp_path / "bin")


def execute(trivy: Trivy, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    home = {"HOME": str(trivy.directory.parent)}
    return subprocess.run(
        [trivy.path, *arguments], env={**home, **environment}, capture_output=True, text=True, check=False
    )


def report(trivy: Trivy, *arguments: str, **environment: str) -> dict[str, Any]:
    output = trivy.directory.parent / "report.json"
    done = execute(trivy, "image", *JSON, "--output", str(output), *arguments, **environment)
    assert done.returncode == 0, done.stderr
    body: dict[str, Any] = json.loads(output.read_text())
    return body


def found(body: dict[str, Any]) -> dict[tuple[str, str], dict[str, Any]]:
    return {
        (one["VulnerabilityID"], one["PkgName"]): one
        for result in body.get("Results", ())
        for one in result.get("Vulnerabilities", ())
    }


def test_it_tells_its_version(trivy: Trivy) -> None:
    for word in ("--version", "-v", "version"):
        assert execute(trivy, word).stdout == f"Version: {trivy.config.version}\n"


@pytest.mark.parametrize(
    "arguments",
    [
        ("image", "--token", "x", IMAGE),
        ("image", "--scanners", "everything", IMAGE),
        ("image", "--timeout", "5", IMAGE),
        ("image", "--no-progress=yes", IMAGE),
        ("image", IMAGE, IMAGE),
        ("image", IMAGE, "--output"),
        ("scan", IMAGE),
        ("image",),
    ],
)
def test_what_it_does_not_know_it_refuses(trivy: Trivy, arguments: tuple[str, ...]) -> None:
    trivy.force(Behaviour(findings=1))
    done = execute(trivy, *arguments)
    assert done.returncode == 1
    assert "FATAL" in done.stderr


def test_it_pulls_with_the_credentials_of_the_environment_alone(trivy: Trivy, registry: Registry) -> None:
    image = f"{registry.url.partition('://')[2]}/trivy/web@{registry.push(images.debian(), 'trivy/web')}"
    assert ("CVE-2023-4911", "libc6") in found(report(trivy, image, **ACCOUNT))
    refused = execute(trivy, "image", *JSON, image, **{**ACCOUNT, "TRIVY_PASSWORD": "wrong"})
    assert (refused.returncode, "UNAUTHORIZED" in refused.stderr) == (1, True)
    by_tls = execute(trivy, "image", *JSON, image, **{**ACCOUNT, "TRIVY_NON_SSL": ""})
    assert (by_tls.returncode, "UNAUTHORIZED" in by_tls.stderr) == (1, False)


def test_an_image_without_packages_has_no_results(trivy: Trivy, registry: Registry) -> None:
    image = f"{registry.url.partition('://')[2]}/trivy/hello@{registry.push(images.without_packages(), 'trivy/hello')}"
    assert "Results" not in report(trivy, image, **ACCOUNT)


def test_what_has_no_fix_is_left_out_on_demand(trivy: Trivy) -> None:
    trivy.force(Behaviour(findings=20))
    assert len(found(report(trivy, IMAGE))) == 20
    fixed = found(report(trivy, "--ignore-unfixed", IMAGE))
    assert len(fixed) == 10
    assert all(one["FixedVersion"] for one in fixed.values())
