"""Persistence metrics: what ``perdure metrics`` prints.

Definitions follow SEMI E10: exposure is productive robot time, an interrupt is an assist or a failure, and MTBF counts
failures only. The observation still goes on, so every interval is time-terminated.
"""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from persistence.ledger import Interrupt, Ledger, PhaseFact, TimeAxis, read_ledger
from persistence.records import FALL, E10State, InterruptClass, Outcome
from persistence.reliability import crow_amsaa, mtbf_interval
from persistence.store import Store

HOUR_S = 3600.0
DAY_S = 86400.0
MINIMUM_GROWTH_FAILURES = 3
BREAKDOWNS = ("skill", "cause", "day", "phase")


def metrics(
    store: Store | Path | str,
    since: float | str | None = None,
    until: float | str | None = None,
    confidence: float = 0.9,
    by: str | None = None,
) -> dict[str, Any]:
    """Compute the persistence metrics of a stretch of robot time.

    Args:
        store: An open store, or the path of a database.
        since: Start, in robot seconds or as an ISO wall-clock time; None means the start of the record.
        until: End, likewise; None means the end of the record.
        confidence: Of every interval, two-sided, in (0, 1).
        by: Adds ``groups``: one entry per ``skill``, ``cause``, ``day`` (of the robot clock) or ``phase``.

    Returns:
        ``productive_hours``, ``observed_hours``, ``attempts`` (that ended), ``success_rate`` (of those not aborted),
        ``failures``, ``assists``, ``interventions`` (their sum), ``mtbf_hours``, ``mtbf_lower_hours``,
        ``mtbf_upper_hours``, ``confidence``, ``mtbi_hours``, ``mttr_minutes`` (of closed failures), ``availability``
        (uptime over time that was not non-scheduled), ``falls``, ``falls_per_hour`` (productive), ``self_recoveries``,
        ``self_recovery_rate`` (share of falls that it stood up from alone), ``growth`` (of the last phase; ``beta``,
        ``lambda``, ``mtbf_now_hours``, ``lower``, ``upper``, ``trend_p``, in hours), ``state_hours`` and ``causes``.
        Without a failure ``mtbf_hours`` and ``mtbf_upper_hours`` are None and the lower bound is one-sided; a rate
        over nothing is None, and so is ``growth`` under three failures.

    Raises:
        ValueError: ``confidence`` or ``by`` is not valid, or the window is empty.
        PersistenceError: The database cannot be read.
    """
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r} must lie in (0, 1), such as 0.9")
    if by is not None and by not in BREAKDOWNS:
        raise ValueError(f"unknown breakdown {by!r}; valid: {', '.join(BREAKDOWNS)}")
    if not isinstance(store, Store):
        with Store.open(store, read_only=True) as opened:
            return metrics(opened, since, until, confidence, by)
    since_s, until_s = _robot_s(store.connection, since), _robot_s(store.connection, until)
    if since_s is not None and until_s is not None and since_s >= until_s:
        raise ValueError(f"the window is empty: since={since!r} is not before until={until!r}")
    ledger = read_ledger(store.connection)
    window = _Window(ledger, since_s, until_s)
    result = _window_metrics(window, confidence)
    if by is not None:
        result["by"] = by
        result["groups"] = _GROUPERS[by](window, confidence)
    return result


class _Window:
    """A stretch [since, until) of the record; with no end given it holds everything to the end."""

    def __init__(self, ledger: Ledger, since_s: float | None, until_s: float | None) -> None:
        self.ledger = ledger
        self.since_s = ledger.axis.start_s if since_s is None else max(since_s, ledger.axis.start_s)
        self.until_s = ledger.axis.end_s if until_s is None else min(until_s, ledger.axis.end_s)
        self.until_s = max(self.until_s, self.since_s)
        low = float("-inf") if since_s is None else since_s
        high = float("inf") if until_s is None else until_s
        self._holds: Callable[[float], bool] = lambda robot_s: low <= robot_s < high
        self.interrupts = [item for item in ledger.interrupts if self._holds(item.opened_s)]
        self.attempts = [item for item in ledger.attempts if self._holds(item.ended_s)]
        self.recoveries = [item for item in ledger.recoveries if self._holds(item.started_s)]

    @property
    def axis(self) -> TimeAxis:
        return self.ledger.axis

    @property
    def productive_s(self) -> float:
        return self.axis.state_seconds(self.since_s, self.until_s)[E10State.PRODUCTIVE]


def _window_metrics(window: _Window, confidence: float) -> dict[str, Any]:
    """Compute every figure of one window; keys as in `metrics`."""
    seconds = window.axis.state_seconds(window.since_s, window.until_s)
    productive_h = seconds[E10State.PRODUCTIVE] / HOUR_S
    interrupts = window.interrupts
    failures = [item for item in interrupts if item.e10_class is InterruptClass.FAILURE]
    repairs = [item.closed_s - item.opened_s for item in failures if item.closed_s is not None]
    falls = [item for item in window.recoveries if item.kind == FALL]
    uptime_s = sum(seconds[state] for state in (E10State.PRODUCTIVE, E10State.STANDBY, E10State.ENGINEERING))
    return {
        "productive_hours": productive_h,
        "observed_hours": sum(seconds.values()) / HOUR_S,
        "attempts": len(window.attempts),
        "success_rate": _success_rate([item.outcome for item in window.attempts]),
        "failures": len(failures),
        "assists": len(interrupts) - len(failures),
        "interventions": len(interrupts),
        **mtbf_figures(productive_h, len(failures), confidence),
        "mtbi_hours": _ratio(productive_h, len(interrupts)),
        "mttr_minutes": _ratio(sum(repairs) / 60, len(repairs)),
        "availability": _ratio(uptime_s, sum(seconds.values()) - seconds[E10State.NON_SCHEDULED]),
        "falls": len(falls),
        "falls_per_hour": _ratio(len(falls), productive_h),
        "self_recoveries": sum(item.recovered for item in window.recoveries),
        "self_recovery_rate": _ratio(sum(item.recovered for item in falls), len(falls)),
        "growth": _growth(window, failures, confidence),
        "state_hours": {state.value: seconds[state] / HOUR_S for state in E10State},
        "causes": dict(Counter(item.cause for item in interrupts).most_common()),
    }


def mtbf_figures(productive_hours: float, failures: int, confidence: float) -> dict[str, float | None]:
    """Return ``mtbf_hours``, its bounds and ``confidence``; all bounds None without any productive time."""
    if productive_hours <= 0:
        return {"mtbf_hours": None, "mtbf_lower_hours": None, "mtbf_upper_hours": None, "confidence": confidence}
    result = mtbf_interval(productive_hours, failures, confidence)
    return {
        "mtbf_hours": result.mtbf,
        "mtbf_lower_hours": result.lower,
        "mtbf_upper_hours": result.upper,
        "confidence": confidence,
    }


def _growth(window: _Window, failures: list[Interrupt], confidence: float) -> dict[str, float] | None:
    """Fit the growth curve of the window's last phase, in hours of productive time since the phase began."""
    starts = [phase.started_s for phase in window.ledger.phases if phase.started_s < window.until_s]
    start_s = max([window.since_s, *starts[-1:]])
    origin_s = window.axis.productive_before(start_s)
    end_h = (window.axis.productive_before(window.until_s) - origin_s) / HOUR_S
    # a failure before any productive time of the phase has no place on the axis of a power law
    hours = [(item.productive_s - origin_s) / HOUR_S for item in failures if item.opened_s >= start_s]
    times = [hour for hour in hours if 0 < hour <= end_h]
    if len(times) < MINIMUM_GROWTH_FAILURES or times[0] == end_h:
        return None
    fit = crow_amsaa(times, end=end_h, termination="time", confidence=confidence)
    return {
        "beta": fit.beta,
        "lambda": fit.lambda_,
        "mtbf_now_hours": fit.mtbf,
        "lower": fit.lower,
        "upper": fit.upper,
        "trend_p": fit.trend_p,
    }


def _by_skill(window: _Window, confidence: float) -> list[dict[str, Any]]:
    del confidence
    groups = []
    for skill in sorted({item.skill for item in window.attempts}):
        attempts = [item for item in window.attempts if item.skill == skill]
        falls = [item for item in window.recoveries if item.kind == FALL and item.skill == skill]
        spans = window.ledger.skill_seconds.get(skill, np.zeros((0, 2)))
        hours = float(np.sum(np.diff(np.clip(spans, window.since_s, window.until_s), axis=1))) / HOUR_S
        groups.append(
            {
                "skill": skill,
                "productive_hours": hours,
                "attempts": len(attempts),
                "success_rate": _success_rate([item.outcome for item in attempts]),
                "outcomes": dict(Counter(item.outcome for item in attempts).most_common()),
                "falls": len(falls),
                "falls_per_hour": _ratio(len(falls), hours),
                "self_recovery_rate": _ratio(sum(item.recovered for item in falls), len(falls)),
            }
        )
    return groups


def _by_cause(window: _Window, confidence: float) -> list[dict[str, Any]]:
    hours = window.productive_s / HOUR_S
    groups = []
    for cause, number in Counter(item.cause for item in window.interrupts).most_common():
        items = [item for item in window.interrupts if item.cause == cause]
        failures = sum(item.e10_class is InterruptClass.FAILURE for item in items)
        waits = [item.closed_s - item.opened_s for item in items if item.closed_s is not None]
        groups.append(
            {
                "cause": cause,
                "interventions": number,
                "failures": failures,
                "assists": number - failures,
                "minutes": sum(waits) / 60,
                **mtbf_figures(hours, failures, confidence),
            }
        )
    return groups


def _by_day(window: _Window, confidence: float) -> list[dict[str, Any]]:
    first, last = int(window.since_s // DAY_S), int(np.ceil(window.until_s / DAY_S))
    groups = []
    for day in range(first, last):
        part = _part(window, day * DAY_S, (day + 1) * DAY_S, is_last=day == last - 1)
        groups.append({"day": day, **_window_metrics(part, confidence)})
    return groups


def _by_phase(window: _Window, confidence: float) -> list[dict[str, Any]]:
    phases = list(window.ledger.phases)
    if not phases or phases[0].started_s > window.axis.start_s:
        first_end = phases[0].started_s if phases else None
        phases.insert(0, PhaseFact(id=0, name="", started_s=window.axis.start_s, ended_s=first_end))
    groups = []
    for phase in phases:
        ended_s = window.until_s if phase.ended_s is None else phase.ended_s
        if phase.started_s >= window.until_s or ended_s <= window.since_s:
            continue
        part = _part(window, phase.started_s, ended_s, is_last=phase.ended_s is None)
        groups.append({"phase": phase.name, "phase_id": phase.id, **_window_metrics(part, confidence)})
    return groups


def _part(window: _Window, start_s: float, end_s: float, *, is_last: bool) -> _Window:
    """Return the part of ``window`` in [start_s, end_s); the last part keeps what lies at the very end."""
    part = _Window(window.ledger, max(start_s, window.since_s), min(end_s, window.until_s))
    if is_last:
        part.interrupts.extend(item for item in window.interrupts if item.opened_s >= part.until_s)
        part.attempts.extend(item for item in window.attempts if item.ended_s >= part.until_s)
        part.recoveries.extend(item for item in window.recoveries if item.started_s >= part.until_s)
    return part


_GROUPERS: dict[str, Callable[[_Window, float], list[dict[str, Any]]]] = {
    "skill": _by_skill,
    "cause": _by_cause,
    "day": _by_day,
    "phase": _by_phase,
}


def _success_rate(outcomes: list[str]) -> float | None:
    """Return successes over attempts that were not aborted: an abort says nothing about the skill."""
    judged = [outcome for outcome in outcomes if outcome != Outcome.ABORTED.value]
    return _ratio(judged.count(Outcome.SUCCESS.value), len(judged))


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole > 0 else None


def _robot_s(conn: sqlite3.Connection, moment: float | str | None) -> float | None:
    """Return a moment in robot seconds; a wall-clock time stands for the last event not after it."""
    if moment is None:
        return None
    try:
        seconds = float(moment)
    except ValueError:
        return _robot_s_of_wall_time(conn, str(moment))
    if not math.isfinite(seconds):
        raise ValueError(f"cannot use {moment!r} as a time; give finite robot seconds")
    return seconds


def _robot_s_of_wall_time(conn: sqlite3.Connection, moment: str) -> float:
    row = conn.execute(
        "SELECT robot_s FROM events WHERE julianday(wall_utc) <= julianday(?) ORDER BY seq DESC LIMIT 1", (moment,)
    ).fetchone()
    if row is None and conn.execute("SELECT julianday(?)", (moment,)).fetchone()[0] is None:
        raise ValueError(f"cannot read {moment!r} as a time; give robot seconds or an ISO time like 2026-11-24T10:00")
    return float(row[0]) if row else 0.0
