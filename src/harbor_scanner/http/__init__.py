"""The API that Harbor calls. Nothing here knows a scanner."""

from __future__ import annotations
