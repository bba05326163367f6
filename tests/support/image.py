"""The container image, built for the tests as an operator builds it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from support.fetch_base_image import DOCKERFILE, archive
from support.image_tools import run, tool

PROJECT = DOCKERFILE.parents[2]
EPOCH = "1790000000"
"""The time that the build is told, in seconds since 1970."""

NAME = "localhost/harbor-scanner:test"
REVISION = "0123456789abcdef"
MARK = "only-for-the-build-8f2a"
"""Stands in the settings of pip, and must stand nowhere else."""

_BASE = "localhost/debian:test"
_LAYERS = ("--storage-driver", "vfs")
_CA = "/run/secrets/ca.pem"


class Builder:
    """buildah, with a storage of its own in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._temporary = folder / "tmp"
        self._temporary.mkdir(parents=True)

    def __call__(self, *arguments: str) -> str:
        """Run a command of buildah and return what it printed."""
        places = ("--root", str(self.folder / "storage"), "--runroot", str(self.folder / "run"))
        return run(tool("buildah", *places, *_LAYERS, *arguments), TMPDIR=str(self._temporary)).strip()

    def from_nothing(self, name: str, content: Path, target: str = "/") -> None:
        """Make an image that holds just a file, or what is in an archive."""
        container = self("from", "scratch")
        self("add", container, str(content), target)
        self("commit", "--quiet", "--rm", container, name)

    def build(self, dockerfile: Path, name: str, *options: str, **arguments: str) -> None:
        """Build an image from a Dockerfile of this project, with these build arguments."""
        given = [word for key, value in arguments.items() for word in ("--build-arg", f"{key}={value}")]
        # The format of Docker, for the other one has no health check.
        self("build", "--isolation", "chroot", "--format", "docker", *options, *given,
             "--file", str(dockerfile), "--tag", name, str(PROJECT))  # fmt: skip

    def inspect(self, name: str) -> dict[str, Any]:
        """Return all that is known of an image."""
        found: dict[str, Any] = json.loads(self("inspect", "--type", "image", name))
        return found

    def mount(self, name: str) -> Path:
        """Return a directory with the file system of a container of this image."""
        return Path(self("mount", self("from", "--pull-never", name)))


def pip_secrets(folder: Path) -> list[str]:
    """Return the options that hand this machine's settings of pip to the build, and to nothing else."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    options = dict(line.split("=", 1) for line in listed.splitlines())
    # Such as `global.index-url`, or `:env:.index-url` for a variable.
    settings = {name.rpartition(".")[2]: value.strip("'") for name, value in options.items()}
    variables = (os.environ.get(name, "") for name in ("REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"))
    authorities = next(filter(None, (settings.pop("cert", ""), *variables)), "")
    lines = ["[global]", *(f"{name} = {value}" for name, value in settings.items() if "\n" not in value)]
    secrets = []
    if authorities:
        lines.append(f"cert = {_CA}")
        secrets += ["--secret", f"id=ca.pem,src={authorities}"]
    written = folder / "pip.conf"
    written.write_text("\n".join([*lines, f"# {MARK}", ""]), encoding="utf-8")
    return [*secrets, "--secret", f"id=pip.conf,src={written}"]


class Image:
    """An image that was built, and what is in it."""

    def __init__(self, builder: Builder, name: str) -> None:
        self.builder = builder
        self.name = name
        document = builder.inspect(name)
        self.history: list[str] = [str(entry) for entry in document["OCIv1"]["history"]]
        self.config: dict[str, Any] = document["Docker"]["config"]
        self.rootfs = builder.mount(name)

    def derive(self, dockerfile: str, name: str, **arguments: str) -> Image:
        """Build an image on top of this one, from a Dockerfile of `deploy/docker`."""
        self.builder.build(DOCKERFILE.with_name(dockerfile), name, IMAGE=self.name, **arguments)
        return Image(self.builder, name)


def build(folder: Path) -> Image:
    """Build the image of this project, with all its files in `folder`."""
    builder = Builder(folder)
    builder.from_nothing(_BASE, archive())
    builder.build(
        DOCKERFILE, NAME, "--timestamp", EPOCH, *pip_secrets(folder),
        BASE=_BASE, SOURCE_DATE_EPOCH=EPOCH, REVISION=REVISION, CREATED="2026-09-21T14:13:20Z",
    )  # fmt: skip
    return Image(builder, NAME)
