"""How an update or an import goes: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from harbor_scanner.osv.importing import Imported
from harbor_scanner.osv.updating import Observer, Outcome


class Lines(Observer):
    """A line for each ecosystem that is done."""

    def ended(self, outcome: Outcome) -> None:
        """Tell what became of an ecosystem."""
        if outcome.problem is not None:
            self.say(f"{outcome.ecosystem}: failed. {outcome.problem}", err=True)
        elif outcome.imported is None:
            self.say(f"{outcome.ecosystem}: nothing new")
        else:
            self.tell(outcome.imported)

    def tell(self, imported: Imported) -> None:
        """Tell what there is of an ecosystem now, and what could not be read."""
        about = imported.about
        change = f", {about.advisories - imported.before:+,}" if imported.before else ""
        self.say(f"{about.ecosystem}: {about.advisories:,} advisories of {about.packages:,} packages{change}")
        if imported.unreadable:
            self.say(f"{about.ecosystem}: {imported.unreadable_count} cannot be read and are missing:", err=True)
            for line in imported.unreadable:
                self.say(f"  {line}", err=True)

    def say(self, line: str, *, err: bool = False) -> None:
        """Print a line."""
        typer.echo(line, err=err)


class Bars(Lines):
    """A bar for each ecosystem that is under way, and a line above for each that is done."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def fetching(self, ecosystem: str, done: int, total: int) -> None:
        """Move the bar, by bytes."""
        self._move(ecosystem, done, total, f"{done / 2**20:,.1f} MiB")

    def importing(self, ecosystem: str, done: int, total: int) -> None:
        """Move the bar, by advisories."""
        self._move(ecosystem, done, total, f"{done:,} advisories")

    def ended(self, outcome: Outcome) -> None:
        """Take the bar away, and tell what became of the ecosystem."""
        with self._lock:
            bar = self._bars.pop(outcome.ecosystem, None)
            if bar is not None:
                self._progress.remove_task(bar)
        super().ended(outcome)

    def say(self, line: str, *, err: bool = False) -> None:
        """Print a line above the bars, if it goes to the same terminal."""
        if err or sys.stdout.isatty():
            self._progress.console.print(line, markup=False, highlight=False, soft_wrap=True)
        else:
            super().say(line)

    def _move(self, ecosystem: str, done: int, total: int, amount: str) -> None:
        with self._lock:
            if ecosystem not in self._bars:
                self._bars[ecosystem] = self._progress.add_task(ecosystem, amount="")
            self._progress.update(self._bars[ecosystem], completed=done, total=total or None, amount=amount)


@contextlib.contextmanager
def observing() -> Iterator[Lines]:
    """Yield what shows the progress as fits where the output goes."""
    if not sys.stderr.isatty():
        yield Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[amount]}"))
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, redirect_stdout=False, redirect_stderr=False) as progress:
        yield Bars(progress)
