"""The stand-in for Aqua's scannercli: its flags, log, exit codes and report, and a real pull of the image."""

from __future__ import annotations

import sys

from standins.aqua import config as configuration
from standins.aqua import log
from standins.aqua.failure import FailureError
from standins.aqua.flags import UsageError, parse
from standins.engine.config import folder


def main() -> int:
    """Run a command of scannercli, and return its exit code."""
    directory = folder(sys.argv[0])
    config = configuration.read(directory)
    command, *arguments = sys.argv[1:] or [""]
    if command == "version":
        print(config.version)
        return 0
    if command != "scan":
        log.plain(f'Error: unknown command "{command}" for "scannercli"')
        return 1
    # `version` shall be quick: all that a scan needs is imported only here.
    from standins.aqua import scan
    from standins.engine.record import Record

    try:
        options = parse(arguments)
    except UsageError as error:
        log.plain(f"Error: {error}\nUsage:\n  scannercli scan [flags] IMAGE")
        return 1
    record = Record(directory / configuration.RECORD)
    record.started(image=options.image)
    try:
        code = scan.run(config, options, directory, record)
    except FailureError as error:
        log.plain(str(error))
        code = 1
    record.ended(code)
    return code
