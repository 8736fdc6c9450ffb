"""What the store says about a stretch of robot time, in the form that metrics are computed from.

Exposure is productive robot time. Failure times lie on the *productive axis*: productive seconds since the start of
the record, so that waiting for a person neither ages the robot nor excuses it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from persistence.records import E10State, InterruptClass


class TimeAxis:
    """All state intervals, in order and without a gap.

    Args:
        started_s: Starts, ascending. Shape: (n,).
        ended_s: Ends. Shape: (n,).
        e10: E10 state of each.
    """

    def __init__(self, started_s: ArrayLike, ended_s: ArrayLike, e10: Sequence[str]) -> None:
        self.started_s = np.asarray(started_s, dtype=np.float64)
        self.ended_s = np.asarray(ended_s, dtype=np.float64)
        self.e10 = np.asarray(e10, dtype=np.str_)
        self._works = self.e10 == E10State.PRODUCTIVE.value
        lengths = np.where(self._works, self.ended_s - self.started_s, 0.0)
        self._before = np.concatenate([[0.0], np.cumsum(lengths)])

    @property
    def start_s(self) -> float:
        """Start of the record."""
        return float(self.started_s[0]) if len(self.started_s) else 0.0

    @property
    def end_s(self) -> float:
        """End of the record."""
        return float(self.ended_s[-1]) if len(self.ended_s) else 0.0

    def productive_before(self, robot_s: float) -> float:
        """Return the productive seconds before ``robot_s``: the very same float throughout one stop.

        Time after the record is taken as productive, so that what happens there is never merged by ignorance.
        """
        if not len(self.started_s) or robot_s >= self.end_s:
            return float(self._before[-1]) + (robot_s - self.end_s)
        index = max(int(np.searchsorted(self.started_s, robot_s, side="right")) - 1, 0)
        inside = max(robot_s - self.started_s[index], 0.0) if self._works[index] else 0.0
        return float(self._before[index] + inside)

    def state_seconds(self, since_s: float, until_s: float) -> dict[E10State, float]:
        """Return the seconds of each E10 state between two times."""
        lengths = np.clip(self.ended_s, since_s, until_s) - np.clip(self.started_s, since_s, until_s)
        return {state: float(np.sum(lengths[self.e10 == state.value])) for state in E10State}


@dataclass(frozen=True, kw_only=True)
class Interrupt:
    """One interrupt of the equipment: everything that came up during one stop."""

    cause: str
    e10_class: InterruptClass
    opened_s: float
    closed_s: float | None
    productive_s: float
    """Where it lies on the productive axis."""


@dataclass(frozen=True, kw_only=True)
class AttemptFact:
    """What metrics need of an attempt that ended."""

    skill: str
    started_s: float
    ended_s: float
    outcome: str
    evaluation: bool


@dataclass(frozen=True, kw_only=True)
class RecoveryFact:
    """What metrics need of a self-recovery."""

    kind: str
    started_s: float
    recovered: bool
    skill: str | None


@dataclass(frozen=True, kw_only=True)
class PhaseFact:
    """A phase; the last one has no end."""

    id: int
    name: str
    started_s: float
    ended_s: float | None


@dataclass(frozen=True, kw_only=True, eq=False)
class Ledger:
    """Everything that metrics are computed from, over the whole record."""

    axis: TimeAxis
    interrupts: tuple[Interrupt, ...]
    attempts: tuple[AttemptFact, ...]
    recoveries: tuple[RecoveryFact, ...]
    phases: tuple[PhaseFact, ...]
    skill_seconds: dict[str, NDArray[np.float64]]
    """Per skill the (start, end) of its productive intervals. Shape: (n, 2) each."""


def read_ledger(conn: sqlite3.Connection) -> Ledger:
    """Read the whole record in one snapshot of the database."""
    outer = conn.in_transaction
    if not outer:
        conn.execute("BEGIN")
    try:
        return _read(conn)
    finally:
        if not outer:
            conn.execute("COMMIT")


def merge_interrupts(rows: Sequence[tuple[str, str, float, float | None]], axis: TimeAxis) -> tuple[Interrupt, ...]:
    """Merge interventions of one stop into one interrupt: first cause, failure if any is, open while any is open.

    Args:
        rows: (cause, class, opened_s, closed_s), ordered by ``opened_s``.
        axis: The time axis.
    """
    merged: list[Interrupt] = []
    for cause, e10_class, opened_s, closed_s in rows:
        productive_s = axis.productive_before(opened_s)
        new = Interrupt(
            cause=cause,
            e10_class=InterruptClass(e10_class),
            opened_s=opened_s,
            closed_s=closed_s,
            productive_s=productive_s,
        )
        if merged and merged[-1].productive_s == productive_s:
            new = _union(merged.pop(), new)
        merged.append(new)
    return tuple(merged)


def _union(first: Interrupt, second: Interrupt) -> Interrupt:
    failure = InterruptClass.FAILURE in (first.e10_class, second.e10_class)
    still_open = first.closed_s is None or second.closed_s is None
    return Interrupt(
        cause=first.cause,
        e10_class=InterruptClass.FAILURE if failure else InterruptClass.ASSIST,
        opened_s=first.opened_s,
        closed_s=None if still_open else max(first.closed_s or 0.0, second.closed_s or 0.0),
        productive_s=first.productive_s,
    )


def _read(conn: sqlite3.Connection) -> Ledger:
    rows = conn.execute("SELECT started_s, ended_s, e10 FROM state_intervals ORDER BY started_s").fetchall()
    axis = TimeAxis([row[0] for row in rows], [row[1] for row in rows], [row[2] for row in rows])
    interventions = [
        (str(row[0]), str(row[1]), float(row[2]), row[3])
        for row in conn.execute("SELECT cause, class, opened_s, closed_s FROM interventions ORDER BY opened_s, id")
    ]
    attempts = conn.execute(
        "SELECT skill, started_s, ended_s, outcome, evaluation FROM attempts WHERE state = 'finished' ORDER BY id"
    )
    recoveries = conn.execute(
        "SELECT r.kind, r.started_s, r.recovered, a.skill FROM self_recoveries r "
        "LEFT JOIN attempts a ON a.id = r.attempt_id ORDER BY r.id"
    )
    return Ledger(
        axis=axis,
        interrupts=merge_interrupts(interventions, axis),
        attempts=tuple(
            AttemptFact(skill=row[0], started_s=row[1], ended_s=row[2], outcome=row[3], evaluation=bool(row[4]))
            for row in attempts
        ),
        recoveries=tuple(
            RecoveryFact(kind=row[0], started_s=row[1], recovered=bool(row[2]), skill=row[3]) for row in recoveries
        ),
        phases=tuple(
            PhaseFact(id=row[0], name=row[1], started_s=row[2], ended_s=row[3])
            for row in conn.execute("SELECT id, name, started_s, ended_s FROM phases ORDER BY started_s, id")
        ),
        skill_seconds=_skill_seconds(conn),
    )


def _skill_seconds(conn: sqlite3.Connection) -> dict[str, NDArray[np.float64]]:
    spans: dict[str, list[tuple[float, float]]] = {}
    for skill, started_s, ended_s in conn.execute(
        "SELECT a.skill, i.started_s, i.ended_s FROM state_intervals i JOIN attempts a ON a.id = i.attempt_id "
        "WHERE i.e10 = 'productive' ORDER BY i.started_s"
    ):
        spans.setdefault(skill, []).append((started_s, ended_s))
    return {skill: np.asarray(rows, dtype=np.float64) for skill, rows in spans.items()}
