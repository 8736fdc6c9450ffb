"""Goals made by hand: the door of the arm's tray is open so far."""

from __future__ import annotations

import numpy as np

from sim.kuka import kuka_spec
from skills.hand_control import HAND_FAMILY, NEAR_M
from skills.success_classifier import SuccessWeights

DOOR_FEATURE = 14
"""Place of the door among the features of the hand's family."""


def door_goal(open_from_m: float) -> SuccessWeights:
    """A classifier that finds the goal reached where the door is open further than this."""
    width = HAND_FAMILY.feature_size(kuka_spec())
    weight, bias = np.zeros((1, width, 1), np.float32), np.zeros((1, 1, 1), np.float32)
    weight[0, DOOR_FEATURE, 0] = 1000.0
    bias[0, 0, 0] = -1000.0 * open_from_m / NEAR_M
    zero, one = np.zeros(width, np.float32), np.ones(width, np.float32)
    return SuccessWeights(layers=((weight, bias),), mean=zero, std=one, caution=0.5, threshold=0.5)
