"""What every scanner adds to `harbor-scanner doctor`."""

from __future__ import annotations

from harbor_scanner.doctor.network import Network
from harbor_scanner.doctor.surroundings import Surroundings
from support.doctor import look_at
from support.scanners import Subject, leaks


def test_its_checks_are_of_its_area_say_what_to_do_and_show_no_secret(subject: Subject) -> None:
    async def version() -> str:
        return "1.2.3"

    checks = list(subject.plugin.checks(subject.settings, Surroundings(Network({}), version, subject.data)))
    assert {check.area.name for check in checks} <= {subject.name}
    verdicts = look_at(checks)
    assert {verdict.area for verdict in verdicts} <= {subject.name}
    for verdict in verdicts:
        assert verdict.what.endswith(".")
        assert verdict.advice or verdict.outcome not in {"warning", "failure"}
        assert leaks(f"{verdict.what} {verdict.advice}", subject.secrets) == set()
    assert subject.program.scans() == []
