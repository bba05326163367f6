"""The stand-in for trivy, of the documentation's example: flags, log, exit codes and report, and a real pull."""

from __future__ import annotations

import sys

from standins.engine.config import folder
from standins.trivy import config as configuration
from standins.trivy import log
from standins.trivy.flags import UsageError, parse


def main() -> int:
    """Run a command of trivy, and return its exit code."""
    directory = folder(sys.argv[0])
    config = configuration.read(directory)
    try:
        line = parse(sys.argv[1:])
        if "version" in line.switches or line.words == ["version"]:
            print(f"Version: {config.version}")
            return 0
        # `version` shall be quick: all that a scan needs is imported only here.
        from standins.engine.record import Record
        from standins.trivy import scan

        record = Record(directory / configuration.RECORD)
        record.started(image=line.image)
        try:
            code = scan.run(config, line, directory, record)
        except scan.FailureError as error:
            log.line("FATAL", str(error))
            code = 1
        record.ended(code)
    except UsageError as error:
        log.line("FATAL", f"Fatal error\t{error}")
        return 1
    return code
