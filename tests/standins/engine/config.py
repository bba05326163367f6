"""Where tests tell a stand-in what to be like: a JSON file beside it, for it gets no environment of theirs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def folder(argument: str) -> Path:
    """Return where the script lies by its own name: a link to it has a config of its own."""
    return Path(argument).absolute().parent


def load(path: Path) -> dict[str, Any]:
    """Return the fields of the config."""
    fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return fields
