"""The stack of the newest feature rows that a policy sees (history lets it identify latency and dynamics)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

HISTORY = 3
"""Feature rows in one observation: now and the two policy steps before."""


class FeatureHistory:
    """The stacked newest feature rows, newest last; a new attempt begins with its first row repeated."""

    def __init__(self, width: int, rows: int = HISTORY) -> None:
        """Keep ``rows`` rows of ``width`` features."""
        self._stack = np.zeros((rows, width), dtype=np.float32)
        self._empty = True

    def reset(self) -> None:
        """Forget everything; the next row fills the stack."""
        self._empty = True

    def push(self, row: NDArray[np.float32]) -> NDArray[np.float32]:
        """Add the newest row. Returns the observation, shape (rows * width,)."""
        if self._empty:
            self._stack[:] = row
            self._empty = False
        else:
            self._stack[:-1] = self._stack[1:]
            self._stack[-1] = row
        return self._stack.reshape(-1).copy()
