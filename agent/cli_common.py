"""What all commands share: where the home is, how facts are printed. Imports nothing that takes time."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


class CliError(RuntimeError):
    """A command cannot do what was asked; the message is the line that the user sees."""


def resolve_home(option: Path | None) -> Path:
    """Home directory: ``--home`` or ``$PERDURE_HOME`` (both arrive as ``option``), else the user's data directory."""
    if option is not None:
        return option.expanduser().absolute()
    from persistence.home import default_home

    return default_home()


def existing_home(option: Path | None) -> Path:
    """As `resolve_home`, for commands that read.

    Raises:
        CliError: there is no such directory.
    """
    home = resolve_home(option)
    if not home.is_dir():
        raise CliError(f"no home directory {home}; start with `perdure run`, or name another with --home")
    return home


def out(text: str) -> None:
    """Print to standard output."""
    sys.stdout.write(text + "\n")


def out_json(value: Any) -> None:
    """Print one JSON value; NumPy values and enums become plain, numbers that are not finite become null."""
    out(json_text(value))


def json_text(value: Any) -> str:
    """``value`` as indented JSON (see `out_json`)."""
    try:
        return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError):
        from persistence.events import plain

        return json.dumps(plain(value), indent=2, ensure_ascii=False, allow_nan=False)


def shown(value: Any) -> str:
    """A fact as people read it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={shown(item)}" for key, item in value.items()) or "-"
    if isinstance(value, (list, tuple)):
        return ", ".join(shown(item) for item in value) or "-"
    # A name or a note of others must not move the cursor or colour the terminal.
    return "".join(char if char.isprintable() else " " for char in str(value))


def out_facts(facts: Mapping[str, Any]) -> None:
    """Print one fact per line, names aligned."""
    width = max((len(name) for name in facts), default=0)
    for name, value in facts.items():
        out(f"{name:<{width}}  {shown(value)}")


def out_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows under their column names, aligned."""
    cells = [list(columns), *([shown(value) for value in row] for row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    for row in cells:
        out("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
