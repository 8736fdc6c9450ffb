"""Watches how the robot moves while it practises: the books say when it is not what it was, and when it is again."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from meta.drift_monitor import Condition, DriftMonitor, Finding, Found
from meta.expectation import Expectation
from persistence.records import DriftEvent
from persistence.transactions import StoreBase
from sim.drift import Drift
from sim.robot import FrameLayout, Observation, RobotSpec
from skills.decisions import Decision, DecisionController

WATCHED = "dynamics_watched"
"""Kind of the row that says from when on a run has been able to notice changes."""
AFTER = {Finding.CHANGED: Condition.CHANGED, Finding.HABIT: Condition.HABIT, Finding.CALM: Condition.USUAL}
"""Condition of a robot of which this was found last."""
FINDINGS = tuple(AFTER)
"""Kinds of rows among the drift events that say in what condition a robot is."""
LAST_FINDING = f"""
SELECT d.kind FROM drift_events d WHERE d.kind IN ({", ".join(f"'{kind}'" for kind in FINDINGS)})
AND d.robot_s <= a.ended_s ORDER BY d.id DESC LIMIT 1
"""
"""Query for what had been found last when an attempt ``a`` ended."""


@dataclass(frozen=True, kw_only=True)
class DriftStatus:
    """What is known of drift, for people."""

    condition: Condition | None
    """None: nothing is known yet to compare with."""
    since_s: float | None
    """Robot time at which the change was found; None: there is none."""
    joint: str
    """Joint that has changed most; empty: none, or it is the body."""
    cause: str = ""
    """What a check-up says of it; empty: nothing yet."""


def stored_status(store: StoreBase) -> DriftStatus:
    """What was last found in a home: a robot that was changed may still be, or has been repaired meanwhile."""
    marks = ", ".join("?" * len(FINDINGS))
    rows = store.rows(f"SELECT kind, robot_s, detail FROM drift_events WHERE kind IN ({marks}) ORDER BY id", FINDINGS)
    condition = AFTER[Finding(rows[-1]["kind"])] if rows else Condition.USUAL
    changes = [row for row in rows if row["kind"] == Finding.CHANGED]
    if condition is Condition.USUAL or not changes:
        return DriftStatus(condition=Condition.USUAL, since_s=None, joint="")
    joints = json.loads(changes[-1]["detail"])["joints"]
    return DriftStatus(condition=condition, since_s=changes[-1]["robot_s"], joint=joints[0] if joints else "")


class DriftWatch:
    """Follows the attempts of one family of skills, whose actions the expectation knows."""

    def __init__(
        self,
        monitor: DriftMonitor,
        spec: RobotSpec,
        family: str,
        told: Callable[[DriftEvent], None],
        before: DriftStatus | None = None,
    ) -> None:
        """Watch.

        Args:
            monitor: compares, from the condition that was known ``before`` on.
            spec: the robot.
            family: of the skills to follow.
            told: gets a row for each finding.
            before: what was known when the robot was last watched; None: nothing.
        """
        self._monitor, self._spec, self._family, self._told = monitor, spec, family, told
        self._layout = FrameLayout.of(spec)
        self._following = False
        self._since_s = self._alarmed_s = before.since_s if before is not None else None
        self._joint = before.joint if before is not None else ""
        self._cause = ""
        self.known = ""
        """What check-ups have found to have drifted, sizes aside; empty: nothing."""

    @property
    def changed(self) -> bool:
        """Whether the robot is not what it is expected to be."""
        return self._monitor.changed

    @property
    def alarmed_s(self) -> float | None:
        """Robot time of the alarm by which it was suspected, or found, to have changed; None: it was not."""
        return self._alarmed_s if self.changed or self._monitor.suspected else None

    @property
    def condition(self) -> Condition:
        """What it is now."""
        return self._monitor.condition

    @property
    def status(self) -> DriftStatus:
        """For the live view."""
        condition = self.condition if self._monitor.watching else None
        return DriftStatus(condition=condition, since_s=self._since_s, joint=self._joint, cause=self._cause)

    def expect(self, expectation: Expectation | None, robot_s: float) -> None:
        """Take what the robot is expected to do, if it is newer; the first one is told."""
        before = self._monitor.watching
        self._monitor.expect(expectation)
        if self._monitor.watching and not before:
            self._told(DriftEvent(kind=WATCHED, robot_s=robot_s))

    def diagnosed(self, drifts: Sequence[Drift], robot_s: float) -> None:
        """Check-ups say what has drifted, the clearest first: what was suspected is so, then."""
        if drifts and (found := self._monitor.confirm()) is not None:
            self._note(found, robot_s)
        if drifts:
            self._joint = drifts[0].joints[0] if drifts[0].joints else ""
        self.known = ", ".join(sorted(drift.place for drift in drifts))
        self._cause = ", ".join(f"{drift.place} {drift.size:.2g}" for drift in drifts)

    def settle(self, robot_s: float) -> None:
        """What had changed is made up for: what follows is compared with the usual robot, and a repair is seen."""
        found = self._monitor.settle()
        if found is not None:
            self._note(found, robot_s)

    def begins(self, controller: DecisionController | None) -> None:
        """An attempt begins; None: its controller makes no decisions."""
        self._following = controller is not None and controller.family.name == self._family
        if controller is not None and self._following:
            self._monitor.begins(controller.resting_action)

    def cut(self) -> None:
        """What was decided last is not carried out: a fall is being caught."""
        self._monitor.cut()

    def decided(self, observation: Observation, decision: Decision, robot_s: float) -> bool:
        """A decision is made on a reading. Returns whether it shows that the robot has changed, or may have."""
        if not self._following:
            return False
        found = self._monitor.decided(self._layout.pack(observation), decision.sent, decision.phase_rad)
        if found is None:
            return False
        self._note(found, robot_s)
        alarmed = found.kind in (Finding.SUSPECTED, Finding.CHANGED)
        if alarmed:
            self._alarmed_s = robot_s
        return alarmed

    def _note(self, found: Found, robot_s: float) -> None:
        detail: dict[str, Any] = {"practised_s": round(found.practised_s, 3)}
        joint = self._spec.joint_names[found.joint] if found.joint >= 0 else ""
        if found.kind in (Finding.SUSPECTED, Finding.CHANGED):
            detail |= {"joints": [joint] if joint else [], "size": round(found.size, 3)}
            detail |= {"sensor": found.sensor} if found.sensor else {}
        if found.kind is Finding.CHANGED:
            self._since_s, self._joint = robot_s, joint
        elif found.kind is Finding.CALM:
            self._since_s, self._joint = None, ""
        self._told(DriftEvent(kind=found.kind.value, robot_s=robot_s, detail=detail))
