"""The life of a scan job: accepted, leased, run, finished, kept for a while. The engine is Redis or Valkey."""

from __future__ import annotations
