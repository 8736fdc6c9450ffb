"""Check-ups between attempts: why a robot is not what it was, and what can be made up for.

The first few show what the robot is like as it usually is. Once it has changed (`agent.drift_watch`), another one is
compared with them; what it names is entered into the books, and compensated for as far as that can be done
(`agent.compensated_robot`). One that names nothing on a robot that was compensated for says that it has been repaired.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from agent.attempts import Interrupt
from agent.compensated_robot import CORRECTED, CompensatedRobot
from agent.drift_watch import DriftWatch
from agent.loop import Act, Tick
from meta.checkup import CheckUp, feature_size
from meta.diagnosis import COMPARED, Cause, Diagnosis
from persistence.records import DriftEvent
from persistence.transactions import StoreBase
from sim.drift import KINDS, Drift, DriftKind
from sim.robot import Array, Command, Observation, RobotSpec

CHECKED_UP, DIAGNOSED = "checked_up", "drift_diagnosed"
"""Kinds of rows among the drift events: the features of a usual robot; what a changed one has, if anything is named."""
APART_S = 60.0
"""Robot time between two of them, and between two tries to name a change."""
TRIES = 2
"""Check-ups after a change until one names something."""


def stored_checkups(store: StoreBase, spec: RobotSpec) -> tuple[Array, ...]:
    """Features of the robot as it usually is, that earlier runs have measured."""
    rows = store.rows("SELECT detail FROM drift_events WHERE kind = ? ORDER BY id", (CHECKED_UP,))
    measured = [np.array(json.loads(row["detail"])["features"], np.float64) for row in rows]
    return tuple(features for features in measured if features.shape == (feature_size(spec),))


class CheckUps:
    """Of one robot."""

    def __init__(
        self,
        robot: CompensatedRobot,
        diagnosis: Diagnosis,
        dt_s: float,
        watch: DriftWatch,
        told: Callable[[DriftEvent], None],
        usual: Sequence[Array] = (),
    ) -> None:
        """Compare check-ups.

        Args:
            robot: is told what to make up for.
            diagnosis: what drifts do to check-ups of such a robot.
            dt_s: control period.
            watch: says whether the robot is what it was, and hears what has drifted.
            told: gets a row for each check-up.
            usual: features that earlier runs have measured.
        """
        self._robot, self._diagnosis, self._watch, self._told = robot, diagnosis, watch, told
        self._motion = CheckUp(robot.spec, dt_s)
        self._usual = list(usual)
        self._last_s = -np.inf
        self._looked_at: float | None = None
        """When the change was found that check-ups are for; None: there is none."""
        self._tries = 0

    def due(self, robot_s: float) -> bool:
        """Whether the robot, which stands, had better be checked up."""
        status = self._watch.status
        if status.since_s != self._looked_at:
            self._looked_at, self._tries, self._last_s = status.since_s, 0, -np.inf
        if robot_s - self._last_s < APART_S:
            return False
        if not self._watch.changed:
            # A robot that is made up for counts as usual, and is not what it usually is.
            return not self._robot.drifts and len(self._usual) < COMPARED
        return len(self._usual) > 0 and self._tries < TRIES

    def run(self, tick: Callable[[Act], Tick]) -> None:
        """Check the robot up, from its stance.

        Raises:
            Interrupt: as ``tick`` does; then nothing has been learned, and what was made up for still is.
        """
        before, readings = self._robot.drifts, list[Observation]()
        self._robot.compensate(())
        try:
            for period in range(self._motion.periods):
                now = tick(partial(self._command, period))
                readings.append(now.observation)
        except Interrupt:
            self._robot.compensate(before)
            raise
        self._last_s = now.robot_s
        features = self._motion.features(readings)
        if self._watch.changed:
            self._diagnose(features, now.robot_s)
        else:
            self._usual.append(features)
            detail = {"features": np.round(features, 6).tolist()}
            self._told(DriftEvent(kind=CHECKED_UP, robot_s=now.robot_s, detail=detail))

    def _command(self, period: int, observation: Observation) -> Command:
        del observation
        return self._motion.command(period)

    def _diagnose(self, features: Array, robot_s: float) -> None:
        found = self._diagnosis.diagnose(self._usual, features)
        drift = None if found is None else drift_of(found.cause)
        self._robot.compensate(() if drift is None else (drift,))
        self._tries = TRIES if drift is not None else self._tries + 1
        detail: dict[str, object] = {}
        if found is not None and drift is not None:
            detail = {"clarity": round(found.clarity, 2), "drift": drift.to_dict(), "joints": list(drift.joints)}
            detail["compensated"] = drift.kind in CORRECTED
        self._told(DriftEvent(kind=DIAGNOSED, robot_s=robot_s, detail=detail))
        self._watch.diagnosed(drift)


def drift_of(cause: Cause) -> Drift:
    """The drift that a check-up names; a size that there cannot be is the nearest that there can."""
    facts = KINDS[DriftKind(cause.kind)]
    size = min(max(cause.size, facts.low), facts.high)
    return Drift(kind=DriftKind(cause.kind), size=size, joints=cause.joints, axis=cause.axis, at_m=cause.at_m)
