"""Interrupts: opened, merged, closed. One cause is one interrupt. All functions run in the caller's transaction."""

from __future__ import annotations

import json
import sqlite3

from persistence.errors import StoreError
from persistence.events import wall_utc
from persistence.intervals import covered_until
from persistence.records import InterruptClass, Intervention, OpenIntervention
from persistence.rows import insert, latest_run_id, to_column


def open_or_merge(conn: sqlite3.Connection, new: Intervention) -> tuple[int, bool]:
    """Open an intervention, or merge it into the one that already stopped the robot.

    Two interventions are one interrupt when the robot did no productive work between their openings (E10: what comes
    up while the equipment is down is part of the same interrupt). The merged row keeps its first cause, is a failure
    if either is, and waits for a person again.

    Returns:
        The id of the row, and whether it was merged.
    """
    last = conn.execute(
        "SELECT * FROM interventions WHERE opened_s <= ? ORDER BY opened_s DESC, id DESC LIMIT 1", (new.opened_s,)
    ).fetchone()
    if last is not None and _same_stop(conn, last, new.opened_s):
        causes = json.loads(last["merged_causes"])
        failure = InterruptClass.FAILURE in (last["class"], new.e10_class)
        conn.execute(
            "UPDATE interventions SET merged_causes = ?, class = ?, note = ?, closed_s = NULL, closed_utc = NULL "
            "WHERE id = ?",
            (
                to_column([*causes, new.cause]),
                InterruptClass.FAILURE.value if failure else InterruptClass.ASSIST.value,
                "; ".join(text for text in (last["note"], new.note) if text),
                last["id"],
            ),
        )
        return int(last["id"]), True
    row = {
        "run_id": latest_run_id(conn),
        "attempt_id": new.attempt_id,
        "cause": new.cause,
        "class": new.e10_class,
        "opened_s": new.opened_s,
        "note": new.note,
        "operator": new.operator,
        "opened_utc": wall_utc(),
    }
    return insert(conn, "interventions", row), False


def close(
    conn: sqlite3.Connection,
    intervention_id: int,
    closed_s: float,
    *,
    operator: str,
    action: str,
    note: str,
    part_replaced: bool,
) -> InterruptClass:
    """Close an open intervention and return its final class: a replaced part makes it a failure.

    Raises:
        StoreError: No such intervention, already closed, or it would close before it was opened.
    """
    row = conn.execute("SELECT * FROM interventions WHERE id = ?", (intervention_id,)).fetchone()
    if row is None or row["closed_s"] is not None:
        still_open = ", ".join(str(item.id) for item in open_interventions(conn)) or "none"
        problem = "does not exist" if row is None else f"was closed at robot second {row['closed_s']}"
        raise StoreError(f"intervention {intervention_id} {problem}; open ones: {still_open}")
    if closed_s < row["opened_s"]:
        raise StoreError(
            f"intervention {intervention_id} was opened at robot second {row['opened_s']} "
            f"and cannot be closed at {closed_s}; give a later time"
        )
    final = InterruptClass.FAILURE if part_replaced else InterruptClass(row["class"])
    conn.execute(
        "UPDATE interventions SET closed_s = ?, closed_utc = ?, operator = ?, action = ?, note = ?, "
        "part_replaced = ?, class = ? WHERE id = ?",
        (
            closed_s,
            wall_utc(),
            operator or row["operator"],
            action,
            "; ".join(text for text in (row["note"], note) if text),
            int(part_replaced),
            final.value,
            intervention_id,
        ),
    )
    return final


def open_interventions(conn: sqlite3.Connection) -> tuple[OpenIntervention, ...]:
    """Return what waits for a person, oldest first."""
    rows = conn.execute(
        "SELECT id, cause, class AS e10_class, opened_s, note FROM interventions WHERE closed_s IS NULL "
        "ORDER BY opened_s, id"
    )
    return tuple(
        OpenIntervention(**{**dict(row), "e10_class": InterruptClass(row["e10_class"])}) for row in rows.fetchall()
    )


def _same_stop(conn: sqlite3.Connection, last: sqlite3.Row, opened_s: float) -> bool:
    worked = conn.execute(
        "SELECT 1 FROM state_intervals WHERE e10 = 'productive' AND ended_s > ? AND started_s < ? LIMIT 1",
        (last["opened_s"], opened_s),
    ).fetchone()
    if worked:
        return False
    # time that is not recorded yet counts as a stop only while somebody is still awaited
    known = (covered_until(conn) or 0.0) >= opened_s
    return last["closed_s"] is None or known
