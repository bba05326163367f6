"""When advisories are too old to rely on."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from harbor_scanner.osv.database import EcosystemInfo

CHECKED = timedelta(days=7)
"""Longer ago nobody asked whether there are newer ones."""
CHANGED = timedelta(days=90)
"""In so long a time advisories of any ecosystem are changed: what has no newer one is an old copy."""


def moment(text: str) -> datetime | None:
    """Return a time that is written as in RFC 3339; None if it is none."""
    try:
        then = datetime.fromisoformat(text)
    except ValueError:
        return None
    # Go's zero time, which exports of its ecosystem hold, stands for none.
    if then.year == 1:
        return None
    return then if then.tzinfo else then.replace(tzinfo=UTC)


def age(text: str, now: datetime) -> timedelta | None:
    """Return how long ago a time was that is written as in RFC 3339; None if that cannot be told."""
    then = moment(text)
    return None if then is None else now - then


def too_old(info: EcosystemInfo, now: datetime) -> str:
    """Return why these advisories are too old; empty if they are not."""
    checked, changed = age(info.checked_at, now), age(info.modified, now)
    if changed is not None and changed > CHANGED:
        return f"the newest advisory is {changed.days} days old"
    if checked is None or checked > CHECKED:
        return "not updated for more than 7 days"
    return ""
