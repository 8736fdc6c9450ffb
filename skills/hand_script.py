"""What the scripts of the hand's skills share: stages that lead the hand from place to place."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.robot import Array, FloatArray, Observation
from skills.hand_control import ACTIONS, HAND, SPEED_MPS, TURN_RADPS

NEAR_M, ALIGNED_RAD = 0.012, 0.15
"""How exactly the hand goes to a place."""
MOST_DECISIONS = 60
"""After so many in one stage something has gone wrong, and all begins anew."""
OPEN, CLOSED = -0.9, 1.0
"""Actions of the fingers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where the hand goes, how its fingers are, and how it is known that it is there."""

    target: Callable[[FloatArray], Array]
    """The channels of `sim.robot.ARM_CHANNELS` to a place. Shape: (3,)."""
    fingers: float
    turn: Callable[[FloatArray], float] | None = None
    """The channels to how far the hand is to turn yet, in rad."""
    aligned: bool = False
    """Whether it is there only once it has turned so far."""
    no_lower: bool = False
    """Whether the hand goes down only once it is over the place: beside it, it would press on something."""
    decisions: int | None = None
    """It is over after so many; None: once the hand is there."""


class HandScript:
    """Decides actions of the hand's family, stage by stage and then from the first one again; for one attempt."""

    def __init__(self, stages: Sequence[Stage], policy_rate_hz: float) -> None:
        """Begin with the first stage."""
        self._stages, self._reach_s = stages, 1.0 / policy_rate_hz
        self._stage = self._decisions = 0

    def __call__(self, observation: Observation, phase_rad: float, last: NDArray[np.float32]) -> FloatArray:
        """One decision."""
        del phase_rad, last
        extra, stage = observation.extra, self._stages[self._stage]
        way = stage.target(extra) - extra[HAND]
        turn = 0.0 if stage.turn is None else stage.turn(extra)
        self._decisions += 1
        there = float(np.abs(way).max()) < NEAR_M and not (stage.aligned and abs(turn) >= ALIGNED_RAD)
        over = there if stage.decisions is None else self._decisions >= stage.decisions
        if over or self._decisions >= MOST_DECISIONS:
            self._stage = (self._stage + 1) % len(self._stages) if over else 0
            self._decisions = 0
        action = np.zeros(ACTIONS)
        action[:3] = way / (SPEED_MPS * self._reach_s) * 0.5
        if stage.no_lower and math.hypot(way[0], way[1]) > NEAR_M:
            action[2] = max(action[2], 0.0)
        action[3] = turn / (TURN_RADPS * self._reach_s) * 0.5
        action[4] = stage.fingers
        return np.clip(action, -1.0, 1.0)
