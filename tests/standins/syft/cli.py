"""A program in front of the real syft: it misbehaves if it is told to, and otherwise has syft do the work."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from standins.engine.behaviour import choose
from standins.engine.config import folder
from standins.engine.record import Record
from standins.syft import config as configuration
from standins.syft import made_up
from standins.syft.behaviour import Behaviour, act


def main() -> int:
    """Run syft, and return its exit code."""
    directory = folder(sys.argv[0])
    config = configuration.read(directory)
    arguments = sys.argv[1:]
    if arguments[:1] != ["scan"]:
        return subprocess.call([config.program, *arguments])
    image = arguments[1].removeprefix("registry:")
    record = Record(directory / configuration.RECORD)
    record.started(image=image)
    repository = image.partition("@")[0].partition("/")[2]
    forced = Behaviour(**choose(config.behaviours, directory, repository))
    if code := act(forced, record):
        return code
    if forced.findings:
        arguments = made_up.instead(arguments, forced.findings)
    code = subprocess.call([config.program, *arguments])
    _spoil(arguments, forced.report)
    record.ended(code)
    return code


def _spoil(arguments: list[str], how: str) -> None:
    [path] = [Path(word.partition("=")[2]) for word in arguments if word.startswith("syft-json=")]
    if how == "missing":
        path.unlink()
    elif how:
        whole = path.read_bytes()
        path.write_bytes(
            {
                "empty": b"",
                "not-json": b"<html><body><h1>504 Gateway Time-out</h1></body></html>\n",
                "truncated": whole[: len(whole) * 2 // 3],
                "not-utf8": whole.replace(b'"prettyName":"', '"prettyName":"Naïve '.encode("latin-1")),
            }[how]
        )
