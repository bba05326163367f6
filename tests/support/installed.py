"""Install a stand-in for a scanner CLI in a directory of a test's own, tell it how to behave, and read its record."""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

TESTS = Path(__file__).resolve().parents[1]

# As the scripts in `standins`, but started by the interpreter that runs the tests: `python3` may be a slow wrapper.
_LAUNCHER = """\
#!{python} -S
import sys
sys.path[0] = {tests!r}
from {module} import main
sys.exit(main())
"""

ConfigT = TypeVar("ConfigT", bound=NamedTuple)
BehaviourT = TypeVar("BehaviourT", bound=NamedTuple)


class Event(NamedTuple):
    """A line of the record."""

    run: str
    kind: str
    time: float
    fields: dict[str, Any]


class Installed(Generic[ConfigT, BehaviourT]):
    """An installed stand-in, and what it belongs to."""

    def __init__(self, directory: Path, name: str, module: str, config: ConfigT) -> None:
        self.directory = directory
        self.path = directory / name
        self.config = config
        self._ids = itertools.count()
        self._record = directory / f"{name}.jsonl"
        directory.mkdir(parents=True, exist_ok=True)
        self.configure()
        self.path.write_text(_LAUNCHER.format(python=sys.executable, tests=str(TESTS), module=module))
        self.path.chmod(0o755)
        self._record.touch()

    def configure(self, **changes: Any) -> None:
        """Change what the stand-in belongs to: any field of its Config."""
        self.config = self.config._replace(**changes)
        # Written aside and moved, for scans may read it just now.
        written = self.directory / f"{self.path.name}.json.new"
        written.write_text(json.dumps(self.config._asdict(), indent=2))
        written.replace(written.with_suffix(""))

    def force(self, behaviour: BehaviourT, *, repository: str = "*", times: int | None = None) -> None:
        """Make scans of matching repositories behave so, `times` times if given. The last call counts first."""
        entry = {
            "id": f"forced-{next(self._ids)}",
            "repository": repository,
            "times": times,
            "behaviour": behaviour._asdict(),
        }
        self.configure(behaviours=[entry, *self.config._asdict()["behaviours"]])

    def reset(self) -> None:
        """Take back all that was forced."""
        self.configure(behaviours=[])

    def _events(self) -> Iterator[Event]:
        for line in self._record.read_text().splitlines():
            fields = json.loads(line)
            yield Event(fields.pop("run"), fields.pop("event"), fields.pop("time"), fields)
