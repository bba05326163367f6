"""The JSON form of the vulnerability report: the inventory, and what the platform found."""

from __future__ import annotations

from standins.qualys.qid import Json
from standins.qualys.spelling import respell


def document(inventory: Json, details: list[Json], spelling: str, instead: str) -> Json:
    """Return the report. `instead` of what was found it can hold `null`, nothing (`absent`), or a `null-list`."""
    if instead == "absent":
        return {"Inventory": inventory}
    if instead == "null":
        return {"Inventory": inventory, "VulnerabilityReport": None}
    found = respell(details, spelling)
    if instead == "null-list":
        found = dict.fromkeys(found)
    return {"Inventory": inventory, "VulnerabilityReport": found}
