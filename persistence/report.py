"""Is the store sound? The facts behind ``perdure doctor --store``."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from persistence import events
from persistence.errors import PersistenceError
from persistence.transactions import HEAD_NAME, StoreBase


@dataclass(frozen=True, kw_only=True)
class StoreReport:
    """Result of `store_report`."""

    ok: bool
    events: int
    chain_head: str
    """Hash of the last event, hex."""
    problems: tuple[str, ...]
    """One line each; empty when ``ok``."""


def store_report(path: Path | str) -> StoreReport:
    """Check a database: SQLite's own checks, the event chain, and that observed time has no gap.

    SQLite's integrity check alone is not enough: a damaged write-ahead log loses committed rows and still passes it.

    Args:
        path: The database; the high-water mark lies beside it. Nothing is changed.
    """
    path = Path(path)
    try:
        with StoreBase.open(path, read_only=True) as store:
            conn = store.connection
            problems = check_database(conn, path.with_name(HEAD_NAME))
            head = store.chain_head()
            count = int(conn.execute("SELECT count(*) FROM events").fetchone()[0])
    except (PersistenceError, sqlite3.DatabaseError) as error:
        return StoreReport(ok=False, events=0, chain_head=events.GENESIS, problems=(str(error),))
    return StoreReport(ok=not problems, events=count, chain_head=head.hash, problems=tuple(problems))


def check_database(conn: sqlite3.Connection, head_path: Path | None) -> list[str]:
    """Return one line per problem of an open database."""
    problems = [f"integrity_check: {row[0]}" for row in conn.execute("PRAGMA integrity_check") if row[0] != "ok"]
    problems += [f"foreign_key_check: {row[0]} row {row[1]}" for row in conn.execute("PRAGMA foreign_key_check")]
    problems += events.verify_chain(conn, head_path)
    problems += _interval_problems(conn)
    problems += _attempt_problems(conn)
    return problems


def _interval_problems(conn: sqlite3.Connection) -> list[str]:
    broken = conn.execute(
        "SELECT started_s, before_s FROM "
        "(SELECT started_s, lag(ended_s) OVER (ORDER BY started_s) AS before_s FROM state_intervals) "
        "WHERE before_s <> started_s"
    )
    problems = [
        f"state_intervals: {'gap' if start_s > before_s else 'overlap'} between {before_s} and {start_s}"
        for start_s, before_s in broken
    ]
    seen_s, recorded_s = conn.execute(
        "SELECT (SELECT max(heartbeat_s) FROM runs), "
        "coalesce((SELECT max(ended_s) FROM state_intervals), (SELECT min(started_s) FROM runs))"
    ).fetchone()
    if seen_s != recorded_s:
        problems.append(f"state_intervals: end at {recorded_s}, the last heartbeat is at {seen_s}")
    return problems


def _attempt_problems(conn: sqlite3.Connection) -> list[str]:
    rows, started = conn.execute(
        "SELECT (SELECT count(*) FROM attempts), (SELECT count(*) FROM events WHERE kind = 'attempt.started')"
    ).fetchone()
    return [] if rows == started else [f"attempts: {rows} rows, the event chain has {started}"]
