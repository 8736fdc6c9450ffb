"""Covariance matrix adaptation: a search by samples from a normal distribution that follows the better ones.

Hansen (2016), "The CMA Evolution Strategy: A Tutorial" (arXiv 1604.00772), with its default constants; weights are
positive only.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


def population(dimensions: int) -> int:
    """Samples of a generation: 4 + 3 ln n (eq. 48)."""
    return 4 + int(3 * math.log(dimensions))


class Evolution:
    """Where the search is: mean, size and shape of the distribution, and the paths that they follow."""

    def __init__(self, dimensions: int, step: float) -> None:
        """Begin around 0 with a standard deviation of ``step`` in each direction."""
        n = dimensions
        self.mean: Float64 = np.zeros(n)
        self.covariance: Float64 = np.eye(n)
        self.step_path: Float64 = np.zeros(n)
        self.shape_path: Float64 = np.zeros(n)
        self.step: Float64 = np.array([step])
        """Standard deviation. Shape: (1,)."""
        self.generations: Float64 = np.zeros(1)
        """How many there were so far. Shape: (1,)."""
        parents = population(n) // 2
        weights = math.log(parents + 0.5) - np.log(np.arange(1, parents + 1))
        self._weights: Float64 = weights / weights.sum()
        selected = 1.0 / float(np.sum(self._weights**2))  # mu_eff
        self._selected = selected
        self._step_rate = (selected + 2.0) / (n + selected + 5.0)  # c_sigma
        self._damping = 1.0 + 2.0 * max(0.0, math.sqrt((selected - 1.0) / (n + 1.0)) - 1.0) + self._step_rate
        self._path_rate = (4.0 + selected / n) / (n + 4.0 + 2.0 * selected / n)  # c_c
        self._one_rate = 2.0 / ((n + 1.3) ** 2 + selected)  # c_1
        most = 2.0 * (selected - 2.0 + 1.0 / selected) / ((n + 2.0) ** 2 + selected)
        self._mean_rate = min(1.0 - self._one_rate, most)  # c_mu
        self._length = math.sqrt(n) * (1.0 - 1.0 / (4.0 * n) + 1.0 / (21.0 * n * n))
        """Expected length of a standard normal vector."""

    @property
    def arrays(self) -> dict[str, Float64]:
        """All that changes, by name."""
        return {
            "mean": self.mean,
            "covariance": self.covariance,
            "step_path": self.step_path,
            "shape_path": self.shape_path,
            "step": self.step,
            "generations": self.generations,
        }

    def samples(self, rng: np.random.Generator) -> Float64:
        """One generation. Returns shape: (population, n)."""
        n = len(self.mean)
        spread, axes = self._axes()
        white = rng.standard_normal((population(n), n))
        out: Float64 = self.mean + self.step[0] * (white * spread) @ axes.T
        return out

    def follow(self, samples: Float64, scores: Float64) -> None:
        """Move towards the better half of a generation.

        Args:
            samples: what `samples` gave. Shape: (population, n).
            scores: how good each is, more being better. Shape: (population,).
        """
        n, step = len(self.mean), self.step[0]
        spread, axes = self._axes()
        best = np.argsort(-scores, kind="stable")[: len(self._weights)]
        moves = (samples[best] - self.mean) / step
        move = self._weights @ moves
        self.mean += step * move
        self.generations[0] += 1.0
        c = self._step_rate
        self.step_path *= 1.0 - c
        self.step_path += math.sqrt(c * (2.0 - c) * self._selected) * axes @ ((axes.T @ move) / spread)
        length = float(np.linalg.norm(self.step_path))
        settled = length / math.sqrt(1.0 - (1.0 - c) ** (2.0 * self.generations[0]))
        steady = float(settled < (1.4 + 2.0 / (n + 1.0)) * self._length)  # h_sigma
        c = self._path_rate
        self.shape_path *= 1.0 - c
        self.shape_path += steady * math.sqrt(c * (2.0 - c) * self._selected) * move
        kept = 1.0 - self._one_rate - self._mean_rate + (1.0 - steady) * self._one_rate * c * (2.0 - c)
        self.covariance *= kept
        self.covariance += self._one_rate * np.outer(self.shape_path, self.shape_path)
        self.covariance += self._mean_rate * (moves.T * self._weights) @ moves
        self.step[0] *= math.exp(self._step_rate / self._damping * (length / self._length - 1.0))

    def _axes(self) -> tuple[Float64, Float64]:
        """Standard deviations along the main axes of the shape, and the axes in columns. Shapes: (n,), (n, n)."""
        variances, axes = np.linalg.eigh(self.covariance)
        return np.sqrt(np.maximum(variances, 1e-12)), axes
