"""The event chain: what happened, in robot time, in an order that cannot be changed unseen.

Each event's hash covers the hash before it and the canonical JSON of ``{seq, robot_s, kind, data}``. Wall-clock stamps
stand beside it and are not hashed, so the same seed gives the same chain. The number and hash of the last event are
also kept in a file beside the database, because SQLite can lose committed rows of a damaged write-ahead log and still
pass its own integrity check.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Any

from persistence.files import atomic_write_json

GENESIS = "0" * 64
LOSS_KIND = "store.events_lost"
"""Event that records a loss found at start-up: once the chain goes on, the high-water mark no longer shows it."""


@dataclass(frozen=True, kw_only=True)
class Head:
    """The last event of a chain. ``seq`` 0 is the empty chain."""

    seq: int = 0
    hash: str = GENESIS


def wall_utc() -> str:
    """Return the wall clock, for display."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def plain(value: Any) -> Any:
    """Return ``value`` as JSON can hold it: enums, NumPy scalars and tuples made plain, non-finite numbers None."""
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (str, bool, int)):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    raise TypeError(f"cannot store {value!r} of type {type(value).__name__}; valid: JSON values and NumPy arrays")


def canonical(value: Any) -> str:
    """Return the one JSON text of ``value``: sorted keys, no spaces, non-finite numbers as null."""
    return json.dumps(plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def event_hash(prev_hash: str, seq: int, robot_s: float, kind: str, data: Any) -> str:
    """Return the hash of an event that follows ``prev_hash``."""
    body = canonical({"seq": seq, "robot_s": float(robot_s), "kind": kind, "data": data})
    return hashlib.sha256((prev_hash + body).encode()).hexdigest()


def chain_head(conn: sqlite3.Connection) -> Head:
    """Return the last event in the database."""
    row = conn.execute("SELECT seq, hash FROM events ORDER BY seq DESC LIMIT 1").fetchone()
    return Head() if row is None else Head(seq=row[0], hash=row[1])


def append(conn: sqlite3.Connection, kind: str, robot_s: float, data: Mapping[str, Any]) -> Head:
    """Append an event inside the caller's transaction.

    Args:
        conn: The writing connection, inside a transaction.
        kind: What happened, as ``noun.verb``.
        robot_s: When, on the robot clock.
        data: Facts in robot time only; nothing random, no wall clock, no path, no process id.

    Returns:
        The new head.
    """
    last = chain_head(conn)
    seq = last.seq + 1
    digest = event_hash(last.hash, seq, robot_s, kind, data)
    conn.execute(
        "INSERT INTO events (seq, robot_s, kind, data, hash, wall_utc) VALUES (?, ?, ?, ?, ?, ?)",
        (seq, float(robot_s), kind, canonical(data), digest, wall_utc()),
    )
    return Head(seq=seq, hash=digest)


def write_head(path: Path, head: Head) -> None:
    """Replace the high-water mark; call it after the commit, never before."""
    atomic_write_json(path, {"seq": head.seq, "hash": head.hash})


def read_head(path: Path) -> Head | None:
    """Return the high-water mark, or None when there is none.

    Raises:
        ValueError: The file exists and cannot be understood.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        facts = json.loads(text)
        return Head(seq=int(facts["seq"]), hash=str(facts["hash"]))
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"high-water mark {path} is unreadable ({error})") from error


def compare_head(conn: sqlite3.Connection, path: Path) -> str | None:
    """Say how the database disagrees with the high-water mark, or None when it does not.

    A database that is ahead of the mark is sound: the process died between the commit and the new mark.
    """
    try:
        mark = read_head(path)
    except ValueError as error:
        return str(error)
    last = chain_head(conn)
    if mark is None:
        return f"no high-water mark {path.name} although there are {last.seq} events" if last.seq else None
    if mark.seq > last.seq:
        return f"{mark.seq - last.seq} events lost: the mark is at seq {mark.seq}, the database ends at {last.seq}"
    row = conn.execute("SELECT hash FROM events WHERE seq = ?", (mark.seq,)).fetchone()
    if mark.seq and (row is None or row[0] != mark.hash):
        return f"event {mark.seq} is not the one that the high-water mark names"
    return None


def verify_chain(conn: sqlite3.Connection, head_path: Path | None = None) -> list[str]:
    """Check the whole chain: gaps, edited events, recorded losses, and truncation against the high-water mark.

    Returns:
        One line per problem; empty when the chain is sound.
    """
    problems: list[str] = []
    last = Head()
    for seq, robot_s, kind, data, digest in conn.execute(
        "SELECT seq, robot_s, kind, data, hash FROM events ORDER BY seq"
    ):
        if seq != last.seq + 1:
            problems.append(f"gap: event {last.seq} is followed by {seq}")
        elif not _hash_fits(last.hash, seq, robot_s, kind, data, digest):
            problems.append(f"event {seq} ({kind}) was changed: its hash does not fit")
        if kind == LOSS_KIND:
            problems.append(f"a loss was found before event {seq}: {json.loads(data).get('problem')}")
        last = Head(seq=seq, hash=digest)
    if head_path is not None and (problem := compare_head(conn, head_path)):
        problems.append(problem)
    return problems


def _hash_fits(prev_hash: str, seq: int, robot_s: float, kind: str, data: str, digest: str) -> bool:
    try:
        return event_hash(prev_hash, seq, robot_s, kind, json.loads(data)) == digest
    except ValueError:
        return False
