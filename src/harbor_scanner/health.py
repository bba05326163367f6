"""Whether the service should get requests, and what is wrong with it if anything is."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum

import msgspec


class CheckState(StrEnum):
    """Result of one check."""

    OK = "ok"
    DEGRADED = "degraded"
    WAITING = "waiting"


class Check(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that was looked at."""

    state: CheckState
    message: str = ""


class _Report(msgspec.Struct, frozen=True):
    status: str
    checks: dict[str, Check]


class Health:
    """Gathers the checks of the parts of a process.

    Ready is refused (503) until the first successful start and while draining. Later trouble keeps it: Harbor's
    scans fail for good when the service is taken out, and recover when it stays and says `come back`.
    """

    def __init__(self) -> None:
        self._checks: dict[str, Callable[[], Check]] = {}
        self.started = False
        self.draining = False

    def add(self, name: str, check: Callable[[], Check]) -> None:
        """Have `check`, which must not block, asked at each probe."""
        self._checks[name] = check

    def report(self) -> tuple[int, bytes]:
        """Return the status code of the readiness probe and its JSON body."""
        checks = {name: check() for name, check in self._checks.items()}
        if self.draining:
            status = "draining"
        elif not self.started:
            status = "starting"
        elif all(check.state is CheckState.OK for check in checks.values()):
            status = "ready"
        else:
            status = "degraded"
        code = 200 if status in {"ready", "degraded"} else 503
        return code, msgspec.json.encode(_Report(status, checks))
