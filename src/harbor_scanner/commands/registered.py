"""Tells what `harbor-scanner register` did, or would do."""

from __future__ import annotations

import sys
from typing import Any

import msgspec
import typer
from rich.console import Console
from rich.text import Text

from harbor_scanner.harbor.api_errors import HarborApiError
from harbor_scanner.harbor.plan import CREATE, NONE, UPDATE, Change
from harbor_scanner.harbor.registration import Outcome
from harbor_scanner.redact import Redactor

_DONE = {CREATE: "created", UPDATE: "updated", NONE: "already so"}
_PLANNED = {CREATE: "would be created", UPDATE: "would be updated", NONE: "already so"}
_STYLES = {CREATE: "green", UPDATE: "yellow", NONE: "dim"}
_WORDS = {True: "yes", False: "no", None: "-", "": "-"}


class Report:
    """Shows each outcome when it is there, or all of them as JSON at the end. Secrets are shown nowhere."""

    def __init__(self, harbor: str, redactor: Redactor, *, dry_run: bool, as_json: bool) -> None:
        self.dry_run = dry_run
        self._harbor = harbor
        self._redactor = redactor
        self._as_json = as_json
        self._outcomes: list[Outcome] = []
        self._error: HarborApiError | None = None
        self._console = Console(
            file=typer.get_text_stream("stdout", errors="replace"),  # names in Harbor may have any letters
            width=None if sys.stdout.isatty() else 200,
            soft_wrap=True,
            markup=False,
            highlight=False,
            emoji=False,
        )

    def add(self, outcome: Outcome) -> None:
        """Take a registration that is as it should be, or would be."""
        self._outcomes.append(outcome)
        if not self._as_json:
            self._show(outcome)

    def fail(self, error: HarborApiError) -> None:
        """Take the reason why no more is done."""
        self._error = error
        if not self._as_json:
            typer.echo(self._clean(f"Registering failed: {error}"), err=True)

    def finish(self) -> None:
        """Show what is shown at the end."""
        if not self._as_json:
            return
        document: dict[str, Any] = {
            "harbor": self._harbor, "dry_run": self.dry_run,
            "registrations": [_members(outcome) for outcome in self._outcomes], "error": None,
        }  # fmt: skip
        if self._error is not None:
            document["error"] = {
                "message": self._clean(self._error.message), "advice": self._clean(self._error.advice),
            }  # fmt: skip
        typer.echo(msgspec.json.format(msgspec.json.encode(document)).decode())

    def _show(self, outcome: Outcome) -> None:
        words = _PLANNED if self.dry_run else _DONE
        title = Text(outcome.name, style="bold").append(f"  {outcome.url}", style="not bold")
        self._console.print(title)
        self._line(words[outcome.action], _STYLES[outcome.action])
        if outcome.action == UPDATE or self.dry_run:
            for change in outcome.changes:
                self._line(f"  {_worded(change)}")
        if outcome.made_default:
            self._line("would be made the default scanner" if self.dry_run else "made the default scanner", "green")
        elif outcome.default:
            self._line("the default scanner")
        if outcome.sees is not None:
            self._line(f"Harbor sees {outcome.sees.name} {outcome.sees.version} of {outcome.sees.vendor}")
        for note in outcome.notes:
            self._line(note, "yellow")

    def _line(self, text: str, style: str = "") -> None:
        self._console.print(Text(f"  {self._clean(text)}", style=style))

    def _clean(self, text: str) -> str:
        """Take out secrets, and what would move the cursor: some of it was said by others."""
        return "".join(letter if letter.isprintable() or letter == "\n" else " " for letter in self._redactor(text))


def _members(outcome: Outcome) -> dict[str, Any]:
    members: dict[str, Any] = msgspec.to_builtins(outcome)
    return members


def _worded(change: Change) -> str:
    before, after = (_WORDS.get(value, value) for value in (change.before, change.after))
    return f"{change.field}: {after}" if change.before is None else f"{change.field}: {before} → {after}"
