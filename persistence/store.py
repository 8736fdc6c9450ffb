"""The store: every fact about the robot's life, one transaction each, on a chain of events.

Only this class writes the database, from the one thread that opened it (see `persistence.writer`). A method returns
when its facts are durable.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import asdict

from persistence import events, intervals, interventions, recovery
from persistence.errors import StoreError
from persistence.records import (
    AttemptEnd,
    AttemptStart,
    CheckpointRow,
    Deployment,
    DriftEvent,
    Evaluation,
    Fault,
    Intervention,
    PolicyRow,
    ResumeState,
    RunStart,
    Schedule,
    SelfRecovery,
    SkillRow,
    StateInterval,
    check_time,
)
from persistence.rows import insert, latest_run_id, to_column
from persistence.transactions import StoreBase


def attempt_uid(attempt_id: int) -> str:
    """Return the uid of an attempt, which also names its episode file; the same run gives the same uids."""
    return f"attempt-{attempt_id:08d}"


class Store(StoreBase):
    """The database of one home directory. Use `Store.open`."""

    # ------------------------------------------------------ runs, phases, skills

    def recover(self) -> ResumeState:
        """Bring what the last run left open to an end and say where to go on; safe to call again."""
        with self.transaction() as conn:
            aborted = recovery.end_crashed_run(conn)
        return recovery.resume_state(self._conn, aborted)

    def start_run(self, run: RunStart) -> int:
        """Start a run and return its id; robot time since the last run becomes CRASHED or OFF.

        Raises:
            StoreError: The run before has not ended (call `recover`), or the robot clock went back.
        """
        with self.transaction() as conn:
            last = conn.execute("SELECT id, ended FROM runs ORDER BY id DESC LIMIT 1").fetchone()
            if last is not None and last["ended"] is None:
                raise StoreError(f"run {last['id']} has not ended; call recover() before start_run()")
            stamp = events.wall_utc()
            row = {**asdict(run), "heartbeat_s": run.started_s, "started_utc": stamp, "heartbeat_utc": stamp}
            run_id = insert(conn, "runs", row)
            crashed = last is not None and last["ended"] == "crash"
            gap = intervals.fill_gap(conn, run_id, run.started_s, after_crash=crashed)
            data = {"run": run_id, "robot": run.robot, "speed": run.speed, "seed": run.seed}
            data["gap"] = intervals.as_event_data([gap] if gap else [])
            events.append(conn, "run.started", run.started_s, data)
        return run_id

    def end_run(self, run_id: int, robot_s: float, reason: str = "stop", rest: Sequence[StateInterval] = ()) -> None:
        """End a run cleanly.

        Args:
            run_id: The run.
            robot_s: When; recorded time must reach exactly to it.
            reason: Why, such as ``"hours reached"``.
            rest: State intervals not handed over yet.

        Raises:
            StoreError: State intervals do not reach to ``robot_s``, an attempt is still started, or the run has ended.
        """
        with self.transaction() as conn:
            self._require_running(conn, run_id)
            started = conn.execute("SELECT id FROM attempts WHERE state = 'started'").fetchone()
            if started is not None:
                raise StoreError(f"attempt {started[0]} is still started; finish it before end_run()")
            intervals.record(conn, run_id, rest)
            closed = intervals.make_definite(conn)
            end_s = intervals.covered_until(conn)
            start_s = conn.execute("SELECT started_s FROM runs WHERE id = ?", (run_id,)).fetchone()[0]
            if (start_s if end_s is None else end_s) != robot_s:
                raise StoreError(f"run {run_id} cannot end at {robot_s!r}: state intervals reach to {end_s!r}")
            stamp = events.wall_utc()
            conn.execute(
                "UPDATE runs SET ended = 'stop', ended_s = ?, heartbeat_s = ?, end_reason = ?, ended_utc = ?, "
                "heartbeat_utc = ? WHERE id = ?",
                (robot_s, robot_s, reason, stamp, stamp, run_id),
            )
            data = {"run": run_id, "reason": reason, "intervals": intervals.as_event_data([*rest, *closed])}
            events.append(conn, "run.ended", robot_s, data)

    def heartbeat(
        self,
        run_id: int,
        robot_s: float,
        open_interval: StateInterval,
        pending: Sequence[StateInterval] = (),
    ) -> None:
        """Say that the daemon lives: recorded time reaches to ``robot_s`` from now on, whatever happens.

        A heartbeat is no event, because it follows the wall clock. One that lies before the last is ignored: a clock
        that steps back never takes recorded time away.

        Args:
            run_id: The run.
            robot_s: Now.
            open_interval: The state that the robot is in; its end is taken to be ``robot_s``.
            pending: Finished intervals that were not handed over yet, before ``open_interval``.
        """
        check_time("robot_s", robot_s)
        with self.transaction() as conn:
            self._require_running(conn, run_id)
            known_s = intervals.covered_until(conn)
            if known_s is not None and robot_s < known_s:
                return
            intervals.record_provisional(conn, run_id, [*pending, intervals.extended(open_interval, robot_s)])
            conn.execute(
                "UPDATE runs SET heartbeat_s = max(heartbeat_s, ?), heartbeat_utc = ? WHERE id = ?",
                (robot_s, events.wall_utc(), run_id),
            )

    def record_intervals(self, run_id: int, rows: Sequence[StateInterval]) -> None:
        """Store finished state intervals; the first starts exactly where the recorded time ends.

        Raises:
            StoreError: A gap or an overlap.
        """
        with self.transaction() as conn:
            self._record_intervals(conn, run_id, rows)
            if rows:
                data = {"intervals": intervals.as_event_data(rows)}
                events.append(conn, "intervals.recorded", rows[-1].ended_s, data)

    def start_phase(self, name: str, robot_s: float, reason: str = "") -> int:
        """Start a phase (the agent was upgraded) and end the one before; return its id."""
        check_time("robot_s", robot_s)
        with self.transaction() as conn:
            conn.execute("UPDATE phases SET ended_s = ? WHERE ended_s IS NULL", (robot_s,))
            row = {"run_id": latest_run_id(conn), "name": name, "reason": reason, "started_s": robot_s}
            phase_id = insert(conn, "phases", {**row, "wall_utc": events.wall_utc()})
            events.append(conn, "phase.started", robot_s, {"phase": phase_id, "name": name, "reason": reason})
        return phase_id

    def register_skill(self, skill: SkillRow, robot_s: float = 0.0) -> None:
        """Make a skill known or update it; attempts may then refer to it."""
        row = {name: to_column(value) for name, value in asdict(skill).items()}
        with self.transaction() as conn:
            known = conn.execute("SELECT * FROM skills WHERE name = ?", (skill.name,)).fetchone()
            if known is not None and all(known[name] == value for name, value in row.items()):
                return
            conn.execute(
                "INSERT INTO skills (name, kind, version, family, description, wall_utc) VALUES "
                "(:name, :kind, :version, :family, :description, :wall_utc) ON CONFLICT (name) DO UPDATE SET "
                "kind = excluded.kind, version = excluded.version, family = excluded.family, "
                "description = excluded.description",
                {**row, "wall_utc": events.wall_utc()},
            )
            events.append(conn, "skill.registered", robot_s, row)

    # ----------------------------------------------------------------- attempts

    def start_attempt(self, attempt: AttemptStart) -> int:
        """Store that an attempt begins and return its id; the robot moves only after this row is durable.

        Raises:
            StoreError: The run has ended, another attempt is under way, or the skill is unknown.
        """
        with self.transaction() as conn:
            self._require_running(conn, attempt.run_id)
            open_row = conn.execute("SELECT id FROM attempts WHERE state = 'started'").fetchone()
            if open_row is not None:
                raise StoreError(f"attempt {open_row[0]} is still started; finish it before the next one")
            if conn.execute("SELECT 1 FROM skills WHERE name = ?", (attempt.skill,)).fetchone() is None:
                known = ", ".join(row[0] for row in conn.execute("SELECT name FROM skills ORDER BY name"))
                raise StoreError(f"unknown skill {attempt.skill!r}; registered: {known or 'none'}")
            row = asdict(attempt)
            row["phase_id"] = attempt.phase_id or conn.execute("SELECT max(id) FROM phases").fetchone()[0]
            row["id"] = (conn.execute("SELECT max(id) FROM attempts").fetchone()[0] or 0) + 1
            row["uid"] = attempt_uid(row["id"])
            insert(conn, "attempts", {**row, "state": "started", "wall_utc": events.wall_utc()})
            events.append(conn, "attempt.started", attempt.started_s, row)
        return int(row["id"])

    def finish_attempt(
        self, end: AttemptEnd, rows: Sequence[StateInterval] = (), self_recoveries: Sequence[SelfRecovery] = ()
    ) -> None:
        """Store how an attempt ended, with the state intervals and self-recoveries up to now, in one transaction.

        Raises:
            StoreError: The attempt is unknown or has ended, it would end before it started, or `record_intervals`
                would refuse ``rows``.
        """
        with self.transaction() as conn:
            known = conn.execute(
                "SELECT state, run_id, started_s FROM attempts WHERE id = ?", (end.attempt_id,)
            ).fetchone()
            if known is None or known["state"] != "started":
                problem = "is unknown" if known is None else "has already ended"
                raise StoreError(f"attempt {end.attempt_id} {problem}; only a started attempt can be finished")
            if end.ended_s < known["started_s"]:
                raise StoreError(
                    f"attempt {end.attempt_id} started at {known['started_s']}, cannot end at {end.ended_s}"
                )
            values = asdict(end)
            values["return"] = values.pop("return_")
            attempt_id = values.pop("attempt_id")
            columns = ", ".join(f'"{name}" = ?' for name in values)
            conn.execute(
                f"UPDATE attempts SET state = 'finished', {columns} WHERE id = ?",
                [*(to_column(value) for value in values.values()), attempt_id],
            )
            self._record_intervals(conn, known["run_id"], rows)
            for recovery_row in self_recoveries:
                self._insert_stamped(conn, "self_recoveries", asdict(recovery_row))
            data = {"attempt": attempt_id, **values, "intervals": intervals.as_event_data(rows)}
            data["self_recoveries"] = [asdict(item) for item in self_recoveries]
            events.append(conn, "attempt.finished", end.ended_s, data)

    def add_self_recovery(self, row: SelfRecovery) -> int:
        """Store trouble that the agent met alone outside of an attempt; return the row's id."""
        return self._add("self_recoveries", "self_recovery.added", row.ended_s, asdict(row))

    # ------------------------------------------------------------ interventions

    def open_intervention(self, new: Intervention, rows: Sequence[StateInterval] = ()) -> int:
        """Store that a person has to act; within one stop of the robot this merges (one cause is one interrupt).

        Args:
            new: Cause, class and time.
            rows: State intervals up to now that were not handed over yet; with them the store can tell whether the
                robot worked since the last intervention.

        Returns:
            The id of the intervention that is open now.
        """
        with self.transaction() as conn:
            run_id = latest_run_id(conn)
            if run_id is not None:
                self._record_intervals(conn, run_id, rows)
            intervention_id, merged = interventions.open_or_merge(conn, new)
            data = {"intervention": intervention_id, **asdict(new), "intervals": intervals.as_event_data(rows)}
            events.append(conn, "intervention.merged" if merged else "intervention.opened", new.opened_s, data)
        return intervention_id

    def close_intervention(
        self,
        intervention_id: int,
        closed_s: float,
        *,
        operator: str = "",
        action: str = "",
        note: str = "",
        part_replaced: bool = False,
    ) -> None:
        """Store that the person is done; a replaced part makes the interrupt a failure.

        Raises:
            StoreError: It is unknown, closed already, or was opened after ``closed_s``.
        """
        check_time("closed_s", closed_s)
        facts = {"operator": operator, "action": action, "note": note, "part_replaced": part_replaced}
        with self.transaction() as conn:
            final = interventions.close(
                conn,
                intervention_id,
                closed_s,
                operator=operator,
                action=action,
                note=note,
                part_replaced=part_replaced,
            )
            data = {"intervention": intervention_id, "class": final, **facts}
            events.append(conn, "intervention.closed", closed_s, data)

    def add_intervention(self, new: Intervention, closed_s: float) -> int:
        """Store an intervention that is over, as a person enters it by hand; merges as `open_intervention` does."""
        intervention_id = self.open_intervention(new)
        self.close_intervention(intervention_id, closed_s, operator=new.operator)
        return intervention_id

    # -------------------------------------------------------------- other facts

    def add_fault(self, row: Fault) -> int:
        """Store a fault and return its id."""
        return self._add("faults", "fault.added", row.robot_s, asdict(row))

    def add_drift(self, row: DriftEvent) -> int:
        """Store a drift that was injected or detected; return its id."""
        return self._add("drift_events", "drift.added", row.robot_s, asdict(row))

    def add_policy(self, row: PolicyRow) -> int:
        """Store a policy snapshot and return its version."""
        return self._add("policies", "policy.added", row.robot_s, asdict(row))

    def add_checkpoint(self, row: CheckpointRow) -> int:
        """Store that a checkpoint exists and was verified; return its sequence number."""
        return self._add("checkpoints", "checkpoint.added", row.robot_s, asdict(row))

    def add_evaluation(self, row: Evaluation) -> int:
        """Store the result of an evaluation and return its id."""
        return self._add("evaluations", "evaluation.added", row.robot_s, asdict(row))

    def add_deployment(self, row: Deployment) -> int:
        """Store that another version of a skill's policy is deployed; return the row's id."""
        return self._add("deployments", "policy.deployed", row.robot_s, asdict(row))

    def set_schedule(self, row: Schedule, robot_s: float = 0.0) -> None:
        """Add a schedule or replace the one of the same name."""
        with self.transaction() as conn:
            conn.execute("DELETE FROM schedules WHERE name = ?", (row.name,))
            insert(conn, "schedules", {**asdict(row), "wall_utc": events.wall_utc()})
            events.append(conn, "schedule.set", robot_s, asdict(row))

    # ------------------------------------------------------------------ private

    @staticmethod
    def _require_running(conn: sqlite3.Connection, run_id: int) -> None:
        row = conn.execute("SELECT ended FROM runs WHERE id = ?", (run_id,)).fetchone()
        if row is None or row["ended"] is not None:
            problem = "is unknown" if row is None else f"has ended ({row['ended']})"
            raise StoreError(f"run {run_id} {problem}; call start_run() and use the id it returns")

    @staticmethod
    def _record_intervals(conn: sqlite3.Connection, run_id: int, rows: Sequence[StateInterval]) -> None:
        intervals.record(conn, run_id, rows)
        if rows:
            conn.execute("UPDATE runs SET heartbeat_s = max(heartbeat_s, ?) WHERE id = ?", (rows[-1].ended_s, run_id))
