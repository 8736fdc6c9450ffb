"""Records become rows."""

from __future__ import annotations

import math
import sqlite3
from collections.abc import Mapping
from typing import Any

from persistence.events import canonical, plain


def insert(conn: sqlite3.Connection, table: str, values: Mapping[str, Any]) -> int:
    """Insert one row and return its id; mappings become JSON, enums their values, non-finite numbers NULL."""
    columns = ", ".join(f'"{name}"' for name in values)
    marks = ", ".join("?" for _ in values)
    cursor = conn.execute(
        f'INSERT INTO "{table}" ({columns}) VALUES ({marks})', [to_column(value) for value in values.values()]
    )
    return int(cursor.lastrowid or 0)


def to_column(value: Any) -> Any:
    """Return ``value`` as a SQLite column holds it."""
    if isinstance(value, (Mapping, list, tuple)):
        return canonical(value)
    if isinstance(value, bool):
        return int(value)
    value = plain(value)
    return None if isinstance(value, float) and not math.isfinite(value) else value


def latest_run_id(conn: sqlite3.Connection) -> int | None:
    """Return the id of the newest run, None in an empty store."""
    row = conn.execute("SELECT max(id) FROM runs").fetchone()
    return None if row[0] is None else int(row[0])
