"""Rows of numbers, of which the newest are kept."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
_FIRST = 1024
"""Rows that a ring has room for at first; it grows as it fills."""


class Ring:
    """The newest rows, up to a capacity."""

    def __init__(self, capacity: int, width: int) -> None:
        """Hold nothing yet."""
        self._data = np.zeros((min(capacity, _FIRST), width), np.float32)
        self._capacity, self._added = capacity, 0

    def __len__(self) -> int:
        return min(self._added, self._capacity)

    @property
    def all(self) -> Float32:
        """What is held, in no particular order. Shape: (N, width)."""
        return self._data[: len(self)]

    def add(self, rows: Float32) -> None:
        """Take in rows. Shape: (B, width)."""
        while self._added + len(rows) > len(self._data) < self._capacity:
            grown = np.zeros((min(2 * len(self._data), self._capacity), self._data.shape[1]), np.float32)
            grown[: len(self._data)] = self._data
            self._data = grown
        self._data[(self._added + np.arange(len(rows))) % self._capacity] = rows
        self._added += len(rows)

    def draw(self, n: int, rng: np.random.Generator) -> Float32:
        """Rows drawn uniformly, with replacement. Shape: (n, width)."""
        return self._data[rng.integers(len(self), size=n)]
