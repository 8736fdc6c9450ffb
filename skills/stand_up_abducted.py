"""Scripted recovery for robots whose legs have abduction, hip and knee: stand up from any fallen pose.

Such a leg turns back and up until it points away from the robot's back, where it reaches the floor when the robot lies
on its back or side. Moves, chosen from which way is up in the body frame:

* on its back: fold all legs above the back, then stretch those of one side, which throws the robot onto the other;
* on its side: fold the lower legs above the back and push the floor with them, until the body rolls onto its belly;
* on its belly or feet: fold the legs below the body, rise.
"""

from __future__ import annotations

import math

import numpy as np

from sim.robot import Array, Observation
from skills.recovery_script import Move, RecoveryScript

_FOLDED_RAD, _LONG_RAD = -0.5, 0.3
"""Extension from the stance of a folded and of a stretched leg; the knee's limits are a little wider."""
_ABOVE_RAD = -2.85
"""Swing of a leg that points away from the robot's back, the only way round that its hip allows, and as far as it can
while the leg is folded."""
_PUSH_RAD = 0.7
"""Abduction that presses a leg above the back against the floor that the robot lies on sideways."""
_BELLY_ROLL_RAD, _BACK_ROLL_RAD = 0.9, 2.2
"""Rolls below and above which the robot counts as belly down and as upside down; between them it lies on a side."""
_BACK_MOVES = frozenset({"tuck", "throw"})
_SIDE_MOVES = frozenset({"gather", "push"})


class AbductedStandUp(RecoveryScript):
    """The script for legs of abduction, hip and knee; the same observations give the same commands."""

    def _begin(self) -> None:
        super()._begin()
        self._throws = 0
        self._pushes = 0

    def _overtaken(self, name: str, roll: float) -> bool:
        if name in _BACK_MOVES:
            return abs(roll) < _BACK_ROLL_RAD - 0.5
        if name in _SIDE_MOVES:
            return not _BELLY_ROLL_RAD - 0.2 < abs(roll) < _BACK_ROLL_RAD + 0.2
        return abs(roll) > _BELLY_ROLL_RAD + 0.2

    def _plan(self, observation: Observation, legs: Array, roll: float) -> list[Move]:
        del legs
        if abs(roll) > _BACK_ROLL_RAD:
            return self._throw_over(observation)
        if abs(roll) > _BELLY_ROLL_RAD:
            return self._push_over(observation)
        return self._rise()

    def _throw_over(self, observation: Observation) -> list[Move]:
        """Fold all legs above the back, then stretch those of the side that is higher already."""
        self._throws += 1
        up = observation.up
        side = math.copysign(1.0, up[1]) if abs(up[1]) > 0.05 else 1.0
        if self._throws % 3 == 0:
            # Twice in vain: something is in the way on that side.
            side = -side
        above, folded = np.full(self._n, _ABOVE_RAD), np.full(self._n, _FOLDED_RAD)
        thrust = np.where(self._left * side > 0.0, _LONG_RAD, _FOLDED_RAD)
        return [
            self._move("tuck", 0.6, above, folded, ramp=True),
            self._move("throw", 0.5, above, thrust, gain=1.5),
        ]

    def _push_over(self, observation: Observation) -> list[Move]:
        """Fold the lower legs above the back and press them down; the upper ones reach out on the far side."""
        self._pushes += 1
        lower = self._left * math.copysign(1.0, observation.up[1]) < 0.0
        swing = np.where(lower, _ABOVE_RAD, 0.0)
        # Above the back, a positive abduction moves a foot to the right.
        press = np.where(lower, -_PUSH_RAD * self._left, 0.0)
        folded = np.full(self._n, _FOLDED_RAD)
        return [
            self._move("gather", 0.5, swing, folded, ramp=True),
            self._move("push", 0.5, swing, np.where(lower, _LONG_RAD, 0.0), press, gain=1.5),
        ]

    def _rise(self) -> list[Move]:
        zeros = np.zeros(self._n)
        return [
            self._move("fold", 0.8, zeros, np.full(self._n, _FOLDED_RAD), ramp=True),
            self._move("lift", 0.6, zeros, zeros, ramp=True),
            self._move("stand", 1.2, zeros, zeros),
        ]

    def _move(
        self,
        name: str,
        duration_s: float,
        swing_rad: Array,
        extension_rad: Array,
        abduction_rad: Array | None = None,
        *,
        gain: float = 1.0,
        ramp: bool = False,
    ) -> Move:
        return Move(
            name=name,
            duration_s=duration_s,
            swing_rad=swing_rad,
            extension_rad=extension_rad,
            abduction_rad=np.zeros(self._n) if abduction_rad is None else abduction_rad,
            gain=gain,
            ramp=ramp,
        )
