"""Operating state times: rows that cover observed time without a gap or an overlap.

Definite rows come when the daemon hands over finished intervals. Between two of those a heartbeat writes provisional
rows up to its own time, so that a crash interval can be opened from the last heartbeat. All functions run inside the
caller's transaction.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import replace

from persistence.errors import StoreError
from persistence.records import E10State, StateInterval, e10_of
from persistence.rows import insert


def covered_until(conn: sqlite3.Connection, *, definite: bool = False) -> float | None:
    """Return the end of the recorded time, or None before the first interval.

    Args:
        conn: Any connection.
        definite: Leave out what heartbeats wrote.
    """
    where = "WHERE provisional = 0" if definite else ""
    end = conn.execute(f"SELECT max(ended_s) FROM state_intervals {where}").fetchone()[0]
    return None if end is None else float(end)


def record(conn: sqlite3.Connection, run_id: int, intervals: Sequence[StateInterval]) -> None:
    """Store finished intervals; they replace what heartbeats wrote about the same time.

    Raises:
        StoreError: They do not start exactly where the recorded time ends, or do not follow on each other.
    """
    if not intervals:
        return
    _check_continuity(conn, run_id, intervals)
    end_s = intervals[-1].ended_s
    conn.execute("DELETE FROM state_intervals WHERE provisional = 1 AND ended_s <= ?", (end_s,))
    conn.execute("UPDATE state_intervals SET started_s = ? WHERE provisional = 1 AND started_s < ?", (end_s, end_s))
    _insert(conn, run_id, intervals, provisional=False)


def record_provisional(conn: sqlite3.Connection, run_id: int, intervals: Sequence[StateInterval]) -> None:
    """Store what is known up to a heartbeat; replaces what earlier heartbeats wrote.

    Raises:
        StoreError: As in `record`.
    """
    if not intervals:
        return
    _check_continuity(conn, run_id, intervals)
    conn.execute("DELETE FROM state_intervals WHERE provisional = 1")
    _insert(conn, run_id, intervals, provisional=True)


def make_definite(conn: sqlite3.Connection) -> list[StateInterval]:
    """Turn what heartbeats wrote into definite rows and return it."""
    rows = conn.execute(
        "SELECT state, e10, started_s, ended_s, attempt_id FROM state_intervals "
        "WHERE provisional = 1 ORDER BY started_s"
    ).fetchall()
    conn.execute("UPDATE state_intervals SET provisional = 0 WHERE provisional = 1")
    return [StateInterval(**{**dict(row), "e10": E10State(row["e10"])}) for row in rows]


def fill_gap(conn: sqlite3.Connection, run_id: int, started_s: float, *, after_crash: bool) -> StateInterval | None:
    """Account for robot time between two runs: CRASHED after a crash, otherwise OFF.

    Raises:
        StoreError: ``started_s`` lies before the end of the recorded time.
    """
    end_s = covered_until(conn)
    if end_s is None or end_s == started_s:
        return None
    if started_s < end_s:
        raise StoreError(
            f"a run cannot start at robot second {started_s}: time is recorded until {end_s}; "
            "continue the robot clock from ResumeState.robot_time_s"
        )
    state = "CRASHED" if after_crash else "OFF"
    gap = StateInterval(state=state, e10=e10_of(state), started_s=end_s, ended_s=started_s)
    _insert(conn, run_id, [gap], provisional=False)
    return gap


def extended(interval: StateInterval, ended_s: float) -> StateInterval:
    """Return ``interval`` with another end."""
    return replace(interval, ended_s=ended_s)


def as_event_data(intervals: Sequence[StateInterval]) -> list[list[object]]:
    """Return the intervals as the event chain stores them: [state, e10, started_s, ended_s] each."""
    return [[row.state, row.e10.value, row.started_s, row.ended_s] for row in intervals]


def _check_continuity(conn: sqlite3.Connection, run_id: int, intervals: Sequence[StateInterval]) -> None:
    end_s = covered_until(conn, definite=True)
    if end_s is None:
        row = conn.execute("SELECT started_s FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None:
            raise StoreError(f"unknown run {run_id}; call start_run first")
        end_s = float(row[0])
    for interval in intervals:
        if interval.started_s != end_s:
            raise StoreError(
                f"state interval {interval.state} starts at {interval.started_s!r}, recorded time ends at {end_s!r}; "
                "each interval must start with the very float that the one before ended with"
            )
        end_s = interval.ended_s


def _insert(conn: sqlite3.Connection, run_id: int, intervals: Sequence[StateInterval], *, provisional: bool) -> None:
    for row in intervals:
        if row.ended_s == row.started_s:
            continue
        insert(
            conn,
            "state_intervals",
            {
                "run_id": run_id,
                "attempt_id": row.attempt_id,
                "state": row.state,
                "e10": row.e10,
                "started_s": row.started_s,
                "ended_s": row.ended_s,
                "provisional": provisional,
            },
        )
