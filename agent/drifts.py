"""Drift of a simulated robot in a run: what the configuration schedules, what a person injects, and what is repaired.

All of it is in the store, so that a run that goes on meets the robot as it would have been: the schedule of a home is a
function of its configuration and its `drift_events` rows of source ``injected``.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from agent.config import SimConfig
from persistence.records import DriftEvent
from persistence.store import Store
from sim.drift import Drift, DriftKind, DriftSchedule, DriftSubject
from sim.drift_presets import PRESETS, find_drifts, preset

REPAIR = "repair"
"""Kind of the rows that say what was repaired: ``repairs`` in their detail has ids of rows."""
INJECTED = "injected"
_ROWS = "SELECT id, kind, robot_s, detail FROM drift_events WHERE source = 'injected' ORDER BY id"


@runtime_checkable
class Drifting(Protocol):
    """A simulated robot that can drift."""

    @property
    def drift_subject(self) -> DriftSubject:
        """What must be known of it to say how it drifts."""

    def follow_drift(self, schedule: DriftSchedule, robot_s: float) -> None:
        """Drift by a schedule from now on, whose time is ``robot_s`` now. Never waits."""


@dataclass(frozen=True, kw_only=True)
class Injected:
    """A row of the store: one drift."""

    id: int
    drift: Drift
    """As it was injected."""
    scheduled: bool
    """Whether it is of the configuration's schedule."""
    repaired_s: float = math.inf
    """When a person repaired it."""


def subject_of(robot: object) -> DriftSubject | None:
    """What must be known of a robot to say how it drifts; None for one that cannot."""
    return robot.drift_subject if isinstance(robot, Drifting) else None


def injected(rows: Sequence[Mapping[str, Any]]) -> tuple[Injected, ...]:
    """What rows of source ``injected`` say, oldest first; a row that is no drift of this version is left out."""
    found: dict[int, Injected] = {}
    for row in rows:
        detail = json.loads(row["detail"])
        if row["kind"] == REPAIR:
            for number in detail.get("repairs", ()):
                if number in found:
                    repaired_s = min(found[number].repaired_s, float(row["robot_s"]))
                    found[number] = replace(found[number], repaired_s=repaired_s)
        elif row["kind"] in list(DriftKind):
            scheduled = bool(detail.pop("scheduled", False))
            try:
                drift = Drift.from_dict({"kind": row["kind"], **detail})
            except ValueError:
                continue
            found[row["id"]] = Injected(id=row["id"], drift=drift, scheduled=scheduled)
    return tuple(found.values())


def schedule_of(
    planned: Sequence[Drift], rows: Sequence[Injected], joint_names: Sequence[str]
) -> tuple[DriftSchedule, frozenset[Drift]]:
    """What a robot drifts by, and which planned drifts are in the store already.

    Drifts of joints that this robot does not have are another robot's, which the home had before.
    """
    stored = {row.drift: row.repaired_s for row in rows if row.scheduled}
    all_ = [_until(drift, stored.get(drift, math.inf)) for drift in planned]
    all_ += [_until(row.drift, row.repaired_s) for row in rows if not row.scheduled]
    fitting = [drift for drift in all_ if drift is not None and set(drift.joints) <= set(joint_names)]
    return DriftSchedule(fitting, joint_names), frozenset(stored)


def _until(drift: Drift, repaired_s: float) -> Drift | None:
    """The drift with its repair; None if it was over before it began."""
    if repaired_s >= drift.ends_s:
        return drift
    return replace(drift, ends_s=repaired_s) if repaired_s > drift.begins_s else None


class DriftBook:
    """Takes what a person says of drift into the store. Used in the thread that owns the store, but for `schedule`."""

    def __init__(self, store: Store, config: SimConfig, subject: DriftSubject | None) -> None:
        """Read what is stored.

        Args:
            store: The open store.
            config: Whether commands are allowed, and the schedule.
            subject: The robot; None for one that cannot drift.

        Raises:
            ValueError: the schedule makes no sense, or the robot cannot drift.
        """
        self._allowed = config.drift_commands
        self._subject = subject
        if subject is None and (config.drift or config.drift_commands):
            raise ValueError("sim.drift and sim.drift_commands are for simulated walking robots; this robot is none")
        planned = find_drifts(config.drift or "", subject) if subject is not None else ()
        self._planned = tuple(dict.fromkeys(planned))
        self.schedule = DriftSchedule()
        """What the robot drifts by; replaced as a whole, so that another thread may look."""
        stored = self._read(store)
        left = (drift for drift in self._planned if drift not in stored)
        self.waiting = tuple(sorted(left, key=lambda drift: drift.begins_s))
        """Planned drifts that are not in the store at the start, by their beginning."""

    def inject(self, store: Store, data: Mapping[str, Any], robot_s: float) -> dict[str, Any]:
        """Begin a drift now.

        Args:
            store: The open store.
            data: ``kind`` (a kind or a preset) and what else the command line takes: ``size``, ``joints``, ``axis``,
                ``at_m``, ``over_s``, ``for_s``.
            robot_s: Robot time.

        Returns:
            ``ids`` of the rows.

        Raises:
            ValueError: it is not allowed or makes no sense.
        """
        subject = self._permitted()
        ends_s = math.inf if data.get("for_s") is None else robot_s + float(data["for_s"])
        times = {"begins_s": robot_s, "over_s": float(data.get("over_s", 0.0)), "ends_s": ends_s}
        kind, joints = str(data["kind"]), tuple(data.get("joints", ()))
        if kind in PRESETS:
            if extra := [name for name in ("size", "axis", "at_m") if data.get(name) is not None] or list(joints[1:]):
                raise ValueError(f"drift {kind} is a preset, which takes no {extra[0]}")
            drifts = preset(kind, subject, joint=joints[0] if joints else "", **times)
        elif kind in list(DriftKind):
            given = {name: data[name] for name in ("size", "axis", "at_m") if data.get(name) is not None}
            if "size" not in given and kind != DriftKind.DEAD_MOTOR:
                raise ValueError(f"drift {kind} needs a --size")
            drifts = (Drift.from_dict({"kind": kind, "joints": joints, **given, **times}),)
            DriftSchedule(drifts, subject.joint_names)  # names its joints if they are wrong
        else:
            raise ValueError(f"unknown drift {kind!r}; kinds: {', '.join(DriftKind)}; presets: {', '.join(PRESETS)}")
        ids = [store.add_drift(event(drift, robot_s)) for drift in drifts]
        self._read(store)
        return {"ids": ids}

    def repair(self, store: Store, data: Mapping[str, Any], robot_s: float) -> dict[str, Any]:
        """End drifts now: those of ``ids``, or all where there are none.

        Returns:
            ``repaired``: ids of the rows that are over now.

        Raises:
            ValueError: it is not allowed, or there is no such drift to repair.
        """
        self._permitted()
        return self.mend(store, robot_s, [int(number) for number in data.get("ids", ())])

    def mend(self, store: Store, robot_s: float, ids: Sequence[int] = ()) -> dict[str, Any]:
        """End drifts now, whether commands are allowed or not; all where there are no ``ids``. Returns as `repair`.

        Raises:
            ValueError: there is no such drift to repair.
        """
        rows = injected(store.rows(_ROWS))
        there = [row.id for row in rows if min(row.repaired_s, row.drift.ends_s) > robot_s]
        asked = list(ids) or there
        for number in asked:
            if number not in there:
                raise ValueError(f"no drift {number} to repair; there are: {', '.join(map(str, there)) or 'none'}")
        if asked:
            store.add_drift(DriftEvent(kind=REPAIR, robot_s=robot_s, source=INJECTED, detail={"repairs": asked}))
            self._read(store)
        return {"repaired": asked}

    def _permitted(self) -> DriftSubject:
        if self._subject is None:
            raise ValueError("this robot is no simulated walking robot; only those can be made to drift")
        if not self._allowed:
            raise ValueError("drift commands are off; start perdure with --set sim.drift_commands=true to allow them")
        return self._subject

    def _read(self, store: Store) -> frozenset[Drift]:
        """Bring `schedule` up to date; returns the planned drifts that are stored."""
        if self._subject is None:
            return frozenset()
        rows = injected(store.rows(_ROWS))
        self.schedule, stored = schedule_of(self._planned, rows, self._subject.joint_names)
        return stored


class Drifts:
    """Keeps a robot's drift and the books about it together; lives in the thread of the control loop."""

    def __init__(self, robot: object, book: DriftBook, add: Callable[[DriftEvent], None], now_s: float) -> None:
        """Let the robot drift from robot time ``now_s`` on; ``add`` stores rows."""
        self._robot = robot if isinstance(robot, Drifting) else None
        self._book, self._add = book, add
        self._waiting = list(book.waiting)
        self._begun_s = now_s
        self._told: DriftSchedule | None = None
        if book.schedule.drifts:
            self._tell(now_s)
            self._told = None  # once more as the clock begins to run, which may be seconds later
        else:
            self._told = book.schedule

    def look(self, now_s: float) -> None:
        """Call in every control period: tells the robot what is new, and enters what has begun."""
        if self._book.schedule is not self._told:
            self._tell(now_s)
        while self._waiting and self._waiting[0].begins_s <= now_s:
            drift = self._waiting.pop(0)
            self._add(event(drift, max(self._begun_s, drift.begins_s), scheduled=True))

    def _tell(self, now_s: float) -> None:
        self._told = self._book.schedule
        if self._robot is not None:
            self._robot.follow_drift(self._told, now_s)


def event(drift: Drift, robot_s: float, *, scheduled: bool = False) -> DriftEvent:
    """A drift as a row of the store."""
    detail = drift.to_dict()
    kind = detail.pop("kind")
    return DriftEvent(
        kind=kind, robot_s=robot_s, source=INJECTED, detail=detail | ({"scheduled": True} if scheduled else {})
    )
