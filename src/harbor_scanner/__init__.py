"""Plugs any vulnerability scanner into a Harbor registry."""

from __future__ import annotations

__version__ = "0.1.0"
