"""A made-up Debian, which the real syft lists instead of an image."""

from __future__ import annotations

from pathlib import Path

SOURCE = "made-up"
VERSION = "1.0-1"

_OS_RELEASE = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nVERSION_ID="12"\nID=debian\n'


def instead(arguments: list[str], count: int) -> list[str]:
    """Return the command line for a made-up Debian of so many packages, which is made in the current directory."""
    root = Path.cwd() / "made-up"
    (root / "etc").mkdir(parents=True)
    (root / "etc" / "os-release").write_text(_OS_RELEASE)
    database = root / "var" / "lib" / "dpkg"
    database.mkdir(parents=True)
    (database / "status").write_text("\n".join(map(_entry, range(count))))
    return [arguments[0], f"dir:{root}", "--override-default-catalogers", "image", *arguments[2:]]


def _entry(number: int) -> str:
    return (
        f"Package: made-up-{number}\nStatus: install ok installed\nArchitecture: amd64\n"
        f"Source: {SOURCE}\nVersion: {VERSION}\n"
    )
