"""Reward shaping that keeps the optimum (Ng, Harada and Russell 1999)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.robot import FloatArray


def shaped(
    potential_before: FloatArray, potential_after: FloatArray, discount: float, terminated: NDArray[np.bool_]
) -> FloatArray:
    """What is added to the reward of a step: discount * potential after - potential before.

    Whatever the potential is, the best policy stays the best: along any way these terms sum up to what the start alone
    decides. That needs a potential of 0 where an attempt is over for good, and the discount that the learner has.

    Args:
        potential_before: shape (batch,).
        potential_after: shape (batch,).
        discount: of the learner.
        terminated: whether nothing follows the step. Shape: (batch,).
    """
    added: FloatArray = discount * np.where(terminated, 0.0, potential_after) - potential_before
    return added
