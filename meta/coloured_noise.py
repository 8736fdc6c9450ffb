"""Coloured noise as one matrix product: Gaussian sequences whose power falls as 1 / f^beta (Timmer and Koenig 1995)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def colouring(length: int, exponent: float) -> NDArray[np.float64]:
    """What turns independent standard normal numbers into sequences of unit variance.

    Each row is the cosine or sine of one frequency of a period twice as long as the sequence, so that its end does not
    have to meet its beginning. With exponent 0 the sequences are white.

    Returns:
        Matrix C of shape (n, length); ``C.T @ white`` is a sequence.
    """
    period = 2 * length
    frequency = np.arange(length + 1) / period
    # At no frequency there is as much as at the lowest; it and the highest have no sine, and half the power.
    power = np.maximum(frequency, 1.0 / period) ** -exponent
    power[[0, -1]] /= 2.0
    amplitude = np.sqrt(power / power.sum())[:, None]
    phase = 2.0 * np.pi * frequency[:, None] * np.arange(length)
    return np.concatenate((amplitude * np.cos(phase), (amplitude * np.sin(phase))[1:-1]))
