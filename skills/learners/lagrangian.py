"""Lagrange multipliers of safety costs, moved by a PID controller.

Stooke, Achiam and Abbeel 2020 (arXiv 2007.03964, algorithm 2). The multiplier is a price: the learner maximises reward
minus price times cost, and the controller raises the price while the cost of real attempts is above its limit. The
integral part alone is the usual dual ascent; the other two parts damp its overshoot.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from skills.learners.config import SacConfig

Float64 = NDArray[np.float64]


class PidLagrangian:
    """One multiplier for each skill and cost; costs are measured in units of their limit.

    For a skill with mean cost J per step and limit d, after each of its attempts:

        e      = (J - d) / d
        I      <- clip(I + w clip(e, -1, 1), 0, (lambda_max - lambda_min) / ki)     w: steps of the attempt / window
        lambda <- lambda_min + clip(kp e + ki I + kd (J - J_before)_+ / d, 0, lambda_max - lambda_min)
        lambda <- lambda_min where e <= 0 and I = 0

    Three things keep I from winding up: it never asks for more than the largest multiplier, it saves up no credit while
    the cost is low, and it rises no faster than it falls (e is never below -1, but large in a robot's first minutes).
    While costs stay within the limit, every multiplier is exactly lambda_min, so that what is learned stands still.
    """

    def __init__(self, skills: int, costs: int, config: SacConfig) -> None:
        """Begin with all multipliers at the least one."""
        self._config = config
        self._least = min(config.least_multiplier, config.lambda_max)
        self.cost: Float64 = np.zeros((skills, costs))
        """Exponentially averaged mean cost per step of each skill's own attempts. Shape: (K, C)."""
        self.integral: Float64 = np.zeros((skills, costs))
        """Shape: (K, C)."""
        self.multiplier: Float64 = np.full((skills, costs), self._least)
        """Lambda. Shape: (K, C)."""

    def attempted(self, skill: int, steps: int, mean_costs: NDArray[np.floating[Any]]) -> None:
        """Take note of an attempt.

        Args:
            skill: index of its skill.
            steps: how many steps it took.
            mean_costs: mean of each cost per step. Shape: (C,).

        Raises:
            ValueError: the shape is another, a number is not finite, or there were no steps.
        """
        wanted = self.cost.shape[1:]
        if np.shape(mean_costs) != wanted or not np.isfinite(mean_costs).all() or steps < 1:
            raise ValueError(
                f"costs {mean_costs} over {steps} steps; {wanted} finite means of 1 step or more are needed"
            )
        c, before = self._config, self.cost[skill].copy()
        window = steps / c.cost_window
        # Weighed by its steps: how an hour of walking is cut into attempts makes no difference.
        self.cost[skill] += (1.0 - np.exp(-window)) * (mean_costs - before)
        error = self.cost[skill] / c.cost_limit - 1.0
        rise = np.maximum(self.cost[skill] - before, 0.0) / c.cost_limit
        highest = c.lambda_max - self._least
        most = highest / c.ki if c.ki else 0.0
        self.integral[skill] = np.clip(self.integral[skill] + window * np.minimum(error, 1.0), 0.0, most)
        price = c.kp * error + c.ki * self.integral[skill] + c.kd * rise
        # The derivative alone may not pull: a cost that rises within its limit is no reason to interfere.
        held = np.where((error <= 0.0) & (self.integral[skill] == 0.0), 0.0, price)
        self.multiplier[skill] = self._least + np.clip(held, 0.0, highest)

    def figures(self) -> dict[str, float]:
        """``lambda_<skill>_<cost>`` and ``cost_<skill>_<cost>``, both by index."""
        return {
            f"{name}_{skill}_{cost}": float(value)
            for name, table in (("lambda", self.multiplier), ("cost", self.cost))
            for (skill, cost), value in np.ndenumerate(table)
        }

    def state(self) -> Float64:
        """All that the next attempt depends on. Shape: (3, K, C)."""
        return np.stack((self.cost, self.integral, self.multiplier))

    def load_state(self, state: Float64) -> None:
        """Go on from what `state` returned; a multiplier that another lower bound let fall further is at this one."""
        self.cost, integral, multiplier = (table.copy() for table in state)
        self.integral = np.where(multiplier < self._least, 0.0, integral)
        self.multiplier = np.maximum(multiplier, self._least)


def penalised(
    reward: NDArray[np.float32], cost: NDArray[np.float32], multiplier: NDArray[np.floating[Any]]
) -> NDArray[np.float32]:
    """The reward with the price of its costs taken off: (r - sum_c lambda_c cost_c) / (1 + sum_c lambda_c).

    The penalty form is that of Tessler et al. 2019 (arXiv 1805.11074, eq. 8), the division that of Stooke et al. 2020
    (section 5.3): a high price shifts the weight from reward to cost rather than making all gradients larger.

    Args:
        reward: Shape: (rows,).
        cost: Shape: (rows, C).
        multiplier: of each row's skill. Shape: (rows, C).
    """
    price = multiplier.astype(np.float32)
    taken: NDArray[np.float32] = (reward - np.einsum("rc,rc->r", price, cost)) / (1.0 + price.sum(axis=1))
    return taken
