"""How to bring an object somewhere without having learned it: grip it from above, lift it, put it down."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.robot import Array, FloatArray, Observation, RobotSpec
from skills.hand_control import ACTIONS, HAND, HAND_YAW, OBJECT, OBJECT_YAW, SPEED_MPS, TURN_RADPS

ABOVE_M, LIFTED_M = 0.12, 0.12
"""Heights of the hand over the lowest that it may be: before it goes down, and when it carries."""
NEAR_M, ALIGNED_RAD = 0.012, 0.15
"""How exactly the hand goes over the object."""
GRIP_DECISIONS, RELEASE_DECISIONS = 6, 4
"""How long fingers are given to close and to open."""
MOST_DECISIONS = 60
"""After so many in one stage something has gone wrong, and all begins anew."""
OPEN, CLOSED = -0.9, 1.0
RELEASE_ABOVE_M = 0.015
"""The hand holds the object this much higher than it gripped it when it lets go: the floor is not to be pressed on."""


@dataclass(frozen=True, slots=True)
class _Stage:
    """Where the hand goes, how its fingers are, and how it is known that it is there."""

    target: Callable[[Array, Array], Array]
    """(object, hand) to a place. Shapes: (3,), (3,) to (3,)."""
    fingers: float
    decisions: int | None = None
    """It is over after so many; None: once the hand is there."""


class CarryScript:
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
        self._reach = 1.0 / spec.policy_rate_hz

        def over(place: FloatArray, height: float) -> Array:
            within: Array = np.clip(np.array((place[0], place[1], height)), lower, upper)
            return within

        self._stages = (
            _Stage(lambda thing, hand: over(thing, low + ABOVE_M), OPEN),
            _Stage(lambda thing, hand: over(thing, low), OPEN),
            _Stage(lambda thing, hand: over(hand, low), CLOSED, GRIP_DECISIONS),
            _Stage(lambda thing, hand: over(hand, low + LIFTED_M), CLOSED, GRIP_DECISIONS),
            _Stage(lambda thing, hand: over(zone, low + LIFTED_M), CLOSED),
            _Stage(lambda thing, hand: over(zone, low + RELEASE_ABOVE_M), CLOSED),
            _Stage(lambda thing, hand: over(hand, low + RELEASE_ABOVE_M), OPEN, RELEASE_DECISIONS),
            _Stage(lambda thing, hand: over(hand, low + ABOVE_M), OPEN),
        )
        self._stage = self._decisions = 0

    def __call__(self, observation: Observation, phase_rad: float, last: NDArray[np.float32]) -> FloatArray:
        """One decision."""
        del phase_rad, last
        extra = observation.extra
        thing, hand = extra[OBJECT], extra[HAND]
        stage = self._stages[self._stage]
        way = stage.target(thing, hand) - hand
        turn = self._turn(extra)
        self._decisions += 1
        there = float(np.abs(way).max()) < NEAR_M and (self._stage > 0 or abs(turn) < ALIGNED_RAD)
        over = there if stage.decisions is None else self._decisions >= stage.decisions
        if over or self._decisions >= MOST_DECISIONS:
            self._stage = (self._stage + 1) % len(self._stages) if over else 0
            self._decisions = 0
        action = np.zeros(ACTIONS)
        action[:3] = way / (SPEED_MPS * self._reach) * 0.5
        # Not down before it is over the object: beside it, a finger would press on it.
        if self._stage == 0 and math.hypot(way[0], way[1]) > NEAR_M and way[2] < 0.0:
            action[2] = 0.0
        action[3] = turn / (TURN_RADPS * self._reach) * 0.5 if self._stage < 2 else 0.0
        action[4] = stage.fingers
        return np.clip(action, -1.0, 1.0)

    def _turn(self, extra: FloatArray) -> float:
        """The smallest turn after which the fingers close on two sides of a cube."""
        askew = float(extra[OBJECT_YAW][0] - extra[HAND_YAW][0])
        return math.remainder(askew, 0.5 * math.pi)
