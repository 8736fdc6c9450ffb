"""Start-up after any stop: what the last run left open is brought to an end, once."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime, timedelta

from persistence import events, intervals, interventions
from persistence.records import InterruptClass, Intervention, Outcome, ResumeState
from persistence.rows import latest_run_id

CRASH_CAUSE = "daemon_crash"
CRASH_WINDOW_S = 600.0


def end_crashed_run(conn: sqlite3.Connection) -> tuple[int, ...]:
    """End a run that did not end itself, as of its last heartbeat; does nothing after a clean stop.

    Attempts that were under way become ``aborted``, and one interrupt of class failure opens at the last heartbeat.

    Returns:
        Ids of the aborted attempts.
    """
    run = conn.execute("SELECT * FROM runs WHERE ended IS NULL ORDER BY id DESC LIMIT 1").fetchone()
    if run is None:
        return ()
    closed = intervals.make_definite(conn)
    end_s = max(float(run["heartbeat_s"]), intervals.covered_until(conn) or 0.0)
    aborted = _abort_attempts(conn, end_s)
    conn.execute(
        "UPDATE runs SET ended = 'crash', ended_s = ?, heartbeat_s = ?, ended_utc = heartbeat_utc, end_reason = ? "
        "WHERE id = ?",
        (end_s, end_s, CRASH_CAUSE, run["id"]),
    )
    crash = Intervention(cause=CRASH_CAUSE, e10_class=InterruptClass.FAILURE, opened_s=end_s)
    intervention_id, merged = interventions.open_or_merge(conn, crash)
    data = {
        "run": run["id"],
        "aborted": list(aborted),
        "intervals": intervals.as_event_data(closed),
        "intervention": intervention_id,
        "merged": merged,
    }
    events.append(conn, "run.crashed", end_s, data)
    return aborted


def resume_state(conn: sqlite3.Connection, aborted: tuple[int, ...]) -> ResumeState:
    """Collect where the daemon goes on."""
    run_id = latest_run_id(conn)
    run = conn.execute("SELECT * FROM runs WHERE id = ?", (run_id,)).fetchone()
    last = conn.execute("SELECT state FROM state_intervals ORDER BY started_s DESC LIMIT 1").fetchone()
    return ResumeState(
        robot_time_s=max(float(run["heartbeat_s"]), intervals.covered_until(conn) or 0.0) if run else 0.0,
        run_id=run_id,
        phase_id=_scalar(conn, "SELECT max(id) FROM phases WHERE ended_s IS NULL"),
        crashed=bool(run and run["ended"] == "crash"),
        operating_state=last["state"] if last else None,
        open_interventions=interventions.open_interventions(conn),
        attempts=_scalar(conn, "SELECT count(*) FROM attempts WHERE state = 'finished'") or 0,
        aborted_attempts=aborted,
        last_attempt_id=_scalar(conn, "SELECT max(id) FROM attempts"),
        policy_version=_scalar(
            conn,
            "SELECT max(version) FROM "
            "(SELECT max(policy_version) AS version FROM attempts UNION ALL SELECT max(version) FROM policies)",
        ),
        checkpoint_seq=_scalar(conn, "SELECT max(seq) FROM checkpoints"),
        recent_crashes=_recent_crashes(conn),
    )


def _abort_attempts(conn: sqlite3.Connection, end_s: float) -> tuple[int, ...]:
    started = conn.execute("SELECT id FROM attempts WHERE state = 'started' ORDER BY id").fetchall()
    conn.execute(
        "UPDATE attempts SET state = 'finished', outcome = ?, end_reason = ?, ended_s = max(started_s, ?) "
        "WHERE state = 'started'",
        (Outcome.ABORTED.value, CRASH_CAUSE, end_s),
    )
    return tuple(int(row[0]) for row in started)


def _recent_crashes(conn: sqlite3.Connection) -> int:
    since = (datetime.now(UTC) - timedelta(seconds=CRASH_WINDOW_S)).isoformat(timespec="milliseconds")
    row = conn.execute("SELECT count(*) FROM runs WHERE ended = 'crash' AND ended_utc >= ?", (since,)).fetchone()
    return int(row[0])


def _scalar(conn: sqlite3.Connection, sql: str) -> int | None:
    value = conn.execute(sql).fetchone()[0]
    return None if value is None else int(value)
