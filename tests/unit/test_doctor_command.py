"""The options of `harbor-scanner doctor`: what is read of them, and what is refused."""

from __future__ import annotations

import sys

import pytest

from harbor_scanner import cli
from harbor_scanner.commands import doctor as command
from harbor_scanner.doctor.examination import Wanted


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--registry", "ftp://harbor"), "--registry"),
        (("--registry", ""), "--registry"),
        (("--registry", "https://harbor.example/v2/x"), "--registry"),
        (("--registry", "https://me:s3cret@harbor.example"), "without user"),
        (("--image", "a//b"), "--image"),
        (("--role", "boss"), "--role"),
        (("--nonsense",), "--nonsense"),
    ],
)
def test_what_makes_no_sense_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["harbor-scanner", "doctor", *arguments])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    captured = capsys.readouterr()
    assert told in captured.err
    assert "s3cret" not in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("registry", "image", "url"),
    [
        ("harbor.example", None, "https://harbor.example"),
        ("https://harbor.example/", None, "https://harbor.example"),
        ("http://harbor.example:8080", None, "http://harbor.example:8080"),
        ("localhost:5000", None, "http://localhost:5000"),
        ("https://127.0.0.1:5000", None, "https://127.0.0.1:5000"),
        (None, "harbor.example/library/app:1", "https://harbor.example"),
        (None, "debian", "https://registry-1.docker.io"),
        ("core.harbor", "harbor.example/library/app:1", "https://core.harbor"),
        (None, None, ""),
    ],
)
def test_a_registry_is_named_by_host_address_or_image(registry: str | None, image: str | None, url: str) -> None:
    wanted: Wanted = command._wanted(registry, image)
    assert wanted.registry == url
    assert (wanted.image is None) == (image is None)
