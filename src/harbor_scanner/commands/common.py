"""What commands share: options, exit codes, settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, NoReturn, TypeVar

import msgspec
import typer

from harbor_scanner.config import read_values
from harbor_scanner.errors import SettingsError
from harbor_scanner.files import Files
from harbor_scanner.layers import Loader

EXIT_SETTINGS = 2
"""A setting is wrong."""

ConfigOption = Annotated[
    Path | None,
    typer.Option(
        "--config",
        metavar="PATH",
        help="File of settings, instead of /usr/share/qscanner/values.yaml. The same as SCANNER_CONFIG.",
    ),
]

_First = TypeVar("_First", bound=msgspec.Struct)
_Second = TypeVar("_Second", bound=msgspec.Struct)


def refuse(error: SettingsError) -> NoReturn:
    """Tell what is wrong with the settings, and end."""
    problems = error.problems
    count = "A setting is" if len(problems) == 1 else f"{len(problems)} settings are"
    typer.echo(f"{count} wrong:", err=True)
    for problem in problems:
        typer.echo(f"  - {problem}", err=True)
    for line in getattr(error, "__notes__", ()):
        typer.echo(f"warning: {line}", err=True)
    typer.echo("`docs/configuration.md` lists all settings.", err=True)
    raise typer.Exit(EXIT_SETTINGS)


def load_groups(path: Path | None, first: type[_First], second: type[_Second]) -> tuple[_First, _Second]:
    """Read two groups of settings from all layers, whatever is wrong with the others. Ends the command if they are."""
    try:
        return _groups(path, first, second)
    except SettingsError as error:
        refuse(error)


def _groups(path: Path | None, first: type[_First], second: type[_Second]) -> tuple[_First, _Second]:
    files = Files()
    overrides = {"SCANNER_CONFIG": str(path)} if path is not None else {}
    values = read_values(files, Loader(os.environ, overrides=overrides, files=files))
    loader = Loader(os.environ, overrides=overrides, files=files, values=values)
    found = loader.load(first), loader.load(second)
    loader.finish()
    assert found[0] is not None and found[1] is not None  # noqa: S101, PT018 - `finish` raised otherwise
    return found[0], found[1]
