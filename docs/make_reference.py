"""Writes docs/reference.md from the code: commands, settings, skills, tables and views.

Run `python docs/make_reference.py` after a change of any of them; a test compares.
"""

from __future__ import annotations

import ast
import inspect
import sys
import tempfile
from dataclasses import fields
from pathlib import Path
from typing import Any

import typer

from agent import config
from agent.cli_app import app
from agent.settings import setting_names
from persistence.store import Store
from skills.registry import skills

PATH = Path(__file__).with_name("reference.md")


def text() -> str:
    """The whole page."""
    parts = [
        "# Reference",
        "Made by `python docs/make_reference.py`; do not edit.",
        "## Commands",
        *_commands(typer.main.get_command(app), "perdure"),
        "## Settings",
        "In `perdure.toml` in the home directory (or `--config FILE`), one table per section; on the command line "
        "`--set section.key=value`. A value out of range stops the start.",
        *(_section(name, section) for name, section in config.SECTIONS.items()),
        "## Skills",
        _table(("skill", "kind", "what"), [(s.name, s.kind.value, s.summary) for s in skills().values()]),
        "## Database",
        "Times that end in `_s` are seconds of the robot clock, which goes on over all runs of a home.",
        *_schema(),
    ]
    return "\n\n".join(parts) + "\n"


def _commands(command: Any, path: str) -> list[str]:
    children = getattr(command, "commands", None)
    if children is not None:
        return [part for name, child in children.items() for part in _commands(child, f"{path} {name}")]
    rows = []
    for parameter in command.params:
        names = ", ".join((*parameter.opts, *parameter.secondary_opts))
        if names != "--help":
            shown = parameter.name.upper() if parameter.param_type_name == "argument" else names
            rows.append((f"`{shown}`", (getattr(parameter, "help", None) or "").strip()))
    return [f"### `{path}`", (command.help or "").strip(), *([_table(("option", "what"), rows)] if rows else [])]


def _section(name: str, section: type) -> str:
    notes = _field_docs(section)
    rows = []
    known = {field.name: field for field in fields(section)}  # type: ignore[arg-type]
    for key in setting_names(section):
        field = known[key]
        default = "" if field.default in (None, ()) else f"`{field.default}`".replace("(", "[").replace(")", "]")
        allowed = "true or false" if isinstance(field.default, bool) else str(field.metadata["allowed"])
        rows.append((f"`{key}`", default, allowed, notes.get(key, "")))
    head = (inspect.getdoc(section) or "").splitlines()[0]
    return f"### [{name}]\n\n{head}\n\n" + _table(("key", "default", "allowed", "meaning"), rows)


def _field_docs(section: type) -> dict[str, str]:
    """The docstring under each field of a dataclass, from its source."""
    body = ast.parse(inspect.getsource(section)).body[0]
    out: dict[str, str] = {}
    name = ""
    for node in body.body if isinstance(body, ast.ClassDef) else []:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            name = node.target.id
        elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and name:
            out[name] = " ".join(str(node.value.value).split())
            name = ""
    return out


def _schema() -> list[str]:
    with tempfile.TemporaryDirectory() as folder, Store.open(Path(folder) / "perdure.db") as store:
        rows = store.rows(
            "SELECT type, name FROM sqlite_master WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' "
            "AND name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY type, name"
        )
        parts = []
        for row in rows:
            columns = [column["name"] for column in store.rows(f"PRAGMA table_info({row['name']})")]
            parts.append((f"`{row['name']}`", row["type"], ", ".join(f"`{column}`" for column in columns)))
    return [_table(("name", "kind", "columns"), parts)]


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    return "\n".join(lines)


if __name__ == "__main__":
    PATH.write_text(text(), encoding="utf-8")
    sys.stdout.write(f"wrote {PATH.name}\n")
