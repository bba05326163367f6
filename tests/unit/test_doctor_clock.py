"""Whether the clock is right, by those of others."""

from __future__ import annotations

import pytest

from harbor_scanner.doctor.clock import Offset, look
from support.doctor import found


@pytest.mark.parametrize(
    ("offsets", "outcomes", "said"),
    [
        ([], ["unknown"], "No server was asked"),
        ([Offset("a", 0.4), Offset("b", -2.0)], ["ok"], "agrees with a"),
        ([Offset("a", 59.0)], ["ok"], "within 59 s"),
        ([Offset("a", 90.0)], ["warning"], "90 s behind that of a"),
        ([Offset("a", -299.0)], ["warning"], "299 s ahead of that of a"),
        ([Offset("a", 3600.0), Offset("b", 3601.0)], ["failure"], "60 minutes behind that of a, b"),
        ([Offset("a", -400.0)], ["failure"], "400 s ahead of that of a"),
        ([Offset("a", 1.0), Offset("b", 900.0)], ["ok", "warning"], "The clock of b is 15 minutes ahead of ours"),
    ],
)
def test_who_is_wrong_and_by_how_much(offsets: list[Offset], outcomes: list[str], said: str) -> None:
    verdicts = found(look(offsets))
    assert [verdict.outcome.value for verdict in verdicts] == outcomes
    assert any(said in verdict.what for verdict in verdicts)
    assert all(bool(verdict.advice) == (verdict.outcome in {"warning", "failure"}) for verdict in verdicts)
