"""How to bring an object somewhere without having learned it: grip it from above, lift it, put it down."""

from __future__ import annotations

import math

import numpy as np

from sim.robot import Array, FloatArray, RobotSpec
from skills.hand_control import HAND, HAND_YAW, OBJECT, OBJECT_YAW
from skills.hand_script import CLOSED, OPEN, HandScript, Stage

ABOVE_M, LIFTED_M = 0.12, 0.12
"""Heights of the hand over the lowest that it may be: before it goes down, and when it carries."""
GRIP_DECISIONS, RELEASE_DECISIONS = 6, 4
"""How long fingers are given to close and to open."""
RELEASE_ABOVE_M = 0.015
"""The hand holds the object this much higher than it gripped it when it lets go: the floor is not to be pressed on."""


class CarryScript(HandScript):
    """Decides actions of the hand's family; for one attempt."""

    def __init__(self, spec: RobotSpec, zone_m: tuple[float, float]) -> None:
        """Bring the object to a place.

        Args:
            spec: a robot with an arm.
            zone_m: x and y of the place, in the robot's frame.
        """
        assert spec.arm is not None
        lower, upper = spec.arm.box_lower_m, spec.arm.box_upper_m
        low = float(lower[2])
        zone = np.array(zone_m)

        def over(place: FloatArray, above_m: float) -> Array:
            within: Array = np.clip(np.array((place[0], place[1], low + above_m)), lower, upper)
            return within

        stages = (
            Stage(
                target=lambda extra: over(extra[OBJECT], ABOVE_M),
                fingers=OPEN,
                turn=_askew,
                aligned=True,
                no_lower=True,
            ),
            Stage(target=lambda extra: over(extra[OBJECT], 0.0), fingers=OPEN, turn=_askew),
            Stage(target=lambda extra: over(extra[HAND], 0.0), fingers=CLOSED, decisions=GRIP_DECISIONS),
            Stage(target=lambda extra: over(extra[HAND], LIFTED_M), fingers=CLOSED, decisions=GRIP_DECISIONS),
            Stage(target=lambda extra: over(zone, LIFTED_M), fingers=CLOSED),
            Stage(target=lambda extra: over(zone, RELEASE_ABOVE_M), fingers=CLOSED),
            Stage(target=lambda extra: over(extra[HAND], RELEASE_ABOVE_M), fingers=OPEN, decisions=RELEASE_DECISIONS),
            Stage(target=lambda extra: over(extra[HAND], ABOVE_M), fingers=OPEN),
        )
        super().__init__(stages, spec.policy_rate_hz)


def _askew(extra: FloatArray) -> float:
    """The smallest turn after which the fingers close on two sides of a cube."""
    askew = float(extra[OBJECT_YAW][0] - extra[HAND_YAW][0])
    return math.remainder(askew, 0.5 * math.pi)
