"""Misbehave as told: what a scanner CLI was ever seen, or feared, to do."""

from __future__ import annotations

import fnmatch
import os
import signal
import sys
import time
from pathlib import Path
from typing import NamedTuple

from standins.aqua import log
from standins.aqua.config import Config
from standins.aqua.record import Record

LONG = 600
MEGABYTE = 1024 * 1024
UNREACHABLE = (
    'Failed connecting to server: Get "{host}/api/v1/scanner": dial tcp 10.96.14.3:8080: connect: connection refused'
)


class Behaviour(NamedTuple):
    """What a run shall do. Several things can go together; they happen in this order."""

    ignore_sigterm: bool = False
    orphan: str = ""
    """Leave a process sleeping: `group` in the same process group, `session` in a session of its own."""
    print_arguments: bool = False
    """Print the command line, and with it the secrets."""
    stdout_megabytes: int = 0
    stderr_megabytes: int = 0
    sleep: float = 0
    hang: bool = False
    signal: int = 0
    """Die of this signal."""
    unreachable: bool = False
    """Fail as if the console did not answer."""
    exit: int = 0
    """Fail with this exit code."""
    message: str = ""
    """The last line of the log before `exit`."""
    findings: int = 0
    """Report this many made-up vulnerabilities, without pulling the image."""
    partial_results: bool = False
    report: str = ""
    """Spoil the report: `missing`, `empty`, `truncated`, `not-json` or `not-utf8`."""
    report_megabytes: int = 0
    """Make the report at least this large."""
    not_compliant: bool = False
    """The image violates a policy: exit code 4 after the report, unless only checking."""


def choose(config: Config, directory: Path, repository: str) -> Behaviour:
    """Return the first behaviour that is forced for a repository and not used up."""
    for entry in config.behaviours:
        if fnmatch.fnmatchcase(repository, entry["repository"]) and _claim(directory / entry["id"], entry["times"]):
            return Behaviour(**entry["behaviour"])
    return Behaviour()


def act(behaviour: Behaviour, record: Record, host: str) -> int:
    """Do what comes before the scan. Return the exit code; 0 means that the scan goes on."""
    if behaviour.ignore_sigterm:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if behaviour.orphan:
        record.left(_leave_process(new_session=behaviour.orphan == "session"))
    if behaviour.print_arguments:
        log.line("DEBUG", "Command line", argv=sys.argv)
    _print_much(sys.stdout.fileno(), behaviour.stdout_megabytes)
    _print_much(sys.stderr.fileno(), behaviour.stderr_megabytes)
    time.sleep(behaviour.sleep)
    while behaviour.hang:
        time.sleep(LONG)
    if behaviour.signal:
        os.kill(os.getpid(), behaviour.signal)
    if behaviour.unreachable:
        log.plain(UNREACHABLE.format(host=host))
        return 1
    if behaviour.message:
        log.plain(behaviour.message)
    return behaviour.exit


def _claim(counter: Path, times: int | None) -> bool:
    """Take one of `times` uses: each is a file, which only one process can make."""
    if times is None:
        return True
    for use in range(times):
        try:
            counter.with_suffix(f".{use}").touch(exist_ok=False)
        except FileExistsError:
            continue
        return True
    return False


def _leave_process(*, new_session: bool) -> int:
    import subprocess

    # It holds on to our output, as processes left behind do.
    return subprocess.Popen(["sleep", str(LONG)], start_new_session=new_session).pid


def _print_much(stream: int, megabytes: int) -> None:
    line = b"DEBUG\textracted another file of the image, which is worth a line of its own to the log\n"
    with open(stream, "wb", closefd=False) as file:
        file.writelines(line * (MEGABYTE // len(line) + 1) for _ in range(megabytes))
