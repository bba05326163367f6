"""The stand-in for Qualys' qscanner: its flags, log, exit codes, cache and files, and a real pull of the image."""

from __future__ import annotations

import sys
from pathlib import Path

from standins.engine.config import folder
from standins.qualys import config as configuration
from standins.qualys.failure import USAGE, FailureError
from standins.qualys.flags import CommandLine, UsageError, parse
from standins.qualys.log import Log


def main() -> int:
    """Run a command of qscanner, and return its exit code."""
    directory = folder(sys.argv[0])
    config = configuration.read(directory)
    try:
        line = parse(sys.argv[1:])
        if line.on("version") or line.words == ["version"]:
            print(f"qscanner version {config.version}")
            return 0
        return _image(config, line, directory)
    except UsageError as error:
        print(f"Error: {error}\nUsage:\n  qscanner image [flags] IMAGE", file=sys.stderr)
        return USAGE


def _image(config: configuration.Config, line: CommandLine, directory: Path) -> int:
    command, *arguments = line.words or [""]
    if command != "image":
        raise UsageError(f'unknown command "{command}" for "qscanner"')
    if len(arguments) != 1:
        raise UsageError(f"accepts 1 arg(s), received {len(arguments)}")
    # `version` shall be quick: all that a scan needs is imported only here.
    from standins.engine.record import Record
    from standins.qualys import backend, scan, target

    image = target.reference(arguments[0])
    record = Record(directory / configuration.RECORD)
    record.started(
        image=image.text,
        repository=image.repository,
        mode=line["mode"],
        pod=line["pod"],
        gateway_url=line["gateway-url"],
        token=backend.token(line),
    )
    log = Log(line["log-level"])
    try:
        backend.check(line)
        code = scan.run(config, line, image, directory, record, log)
    except UsageError:
        record.ended(USAGE)
        raise
    except FailureError as error:
        log.line("error", str(error))
        code = error.code
    record.ended(code)
    return code
