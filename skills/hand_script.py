"""What the scripts of the hand's skills share: how the hand glides to a place."""

from __future__ import annotations

import numpy as np

from sim.robot import FloatArray
from skills.hand_control import SPEED_MPS, TURN_RADPS

OPEN, CLOSED = -0.9, 1.0
"""Actions of the fingers."""
_GAIN = 0.5
"""Share of the way that is left which one decision covers: the arm lags, and more would overshoot."""


def glide(way_m: FloatArray, turn_rad: FloatArray, fingers: FloatArray, policy_rate_hz: float) -> FloatArray:
    """Actions of the hand's family that cover half of a way.

    Args:
        way_m: from the hand to where it is to be. Shape: (..., 3).
        turn_rad: how far it is to turn. Shape: (...).
        fingers: their actions. Shape: (...).
        policy_rate_hz: decisions per second.

    Returns:
        Shape: (..., 5), each in [-1, 1].
    """
    share = _GAIN * policy_rate_hz
    moves = np.concatenate((way_m * (share / SPEED_MPS), turn_rad[..., None] * (share / TURN_RADPS)), axis=-1)
    action: FloatArray = np.concatenate((np.clip(moves, -1.0, 1.0), fingers[..., None]), axis=-1)
    return action


def ramp(value: FloatArray, start: float, end: float) -> FloatArray:
    """0 up to ``start``, 1 from ``end`` on, and a straight line between them; ``end`` may be the smaller one."""
    risen: FloatArray = np.clip((value - start) / (end - start), 0.0, 1.0)
    return risen
