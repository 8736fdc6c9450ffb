"""How to slide a door without having learned it: go beside its handle, push it to where it is to be, back away."""

from __future__ import annotations

import math

import numpy as np

from sim.robot import Array, FloatArray, RobotSpec
from skills.hand_control import DOOR, HAND, HAND_YAW, HANDLE
from skills.hand_script import CLOSED, HandScript, Stage

ABOVE_M, BELOW_M = 0.1, 0.01
"""Heights of the hand over and below the handle: on its way to it, and when it pushes."""
BESIDE_M = 0.055
"""From the middle of the handle to that of the hand, where there is room to come down between them."""
TOUCHING_M = 0.034
"""The same where they touch."""
SHORT_M = 0.005
"""The middle of the hand stays this far short of the handle, which its fingers, 70 mm across, meet all the same."""


class SlideScript(HandScript):
    """Decides actions of the hand's family; for one attempt."""

    def __init__(self, spec: RobotSpec, end_m: float, direction: float) -> None:
        """Slide the door to one of its ends.

        Args:
            spec: a robot with an arm.
            end_m: how far the door is open then.
            direction: 1.0 to open it, which takes its handle to the left, -1.0 to close it.
        """

        def beside(extra: FloatArray, gap_m: float, above_m: float) -> Array:
            x, y, z = extra[HANDLE]
            return np.array((x - SHORT_M, y - direction * gap_m, z + above_m))

        def pushed(extra: FloatArray) -> Array:
            x, y, z = beside(extra, TOUCHING_M, -BELOW_M)
            return np.array((x, y + end_m - extra[DOOR][0], z))

        def up(extra: FloatArray) -> Array:
            x, y, _ = extra[HAND]
            return np.array((x, y, extra[HANDLE][2] + ABOVE_M))

        stages = (
            Stage(target=up, fingers=CLOSED),
            Stage(target=lambda extra: beside(extra, BESIDE_M, ABOVE_M), fingers=CLOSED, turn=_straight, aligned=True),
            Stage(target=lambda extra: beside(extra, BESIDE_M, -BELOW_M), fingers=CLOSED, turn=_straight),
            Stage(target=pushed, fingers=CLOSED, turn=_straight),
            Stage(target=lambda extra: beside(extra, BESIDE_M, -BELOW_M), fingers=CLOSED),
            Stage(target=up, fingers=CLOSED),
        )
        super().__init__(stages, spec.policy_rate_hz)


def _straight(extra: FloatArray) -> float:
    """The turn after which the flat sides of the fingers face the handle."""
    return -math.remainder(float(extra[HAND_YAW][0]), math.pi)
