"""How far a body leans, now and in a moment."""

from __future__ import annotations

import numpy as np

from sim.robot import FloatArray

LOOKAHEAD_S = 0.05
"""How far ahead a lean is judged. At 0.1 s the rocking of a brisk turn looks like a fall."""
MAX_RATE_RADPS = 8.0
"""A knock reads as more than this for an instant, and tips nothing over."""


def lean_rad(up: FloatArray, angular_velocity: FloatArray) -> FloatArray:
    """Tilt of a body that is to be expected in a moment if it goes on as it does; at least its tilt.

    Args:
        up: world's up in the body frame. Shape: (..., 3).
        angular_velocity: in the body frame, rad/s. Shape: (..., 3).

    Returns:
        Shape: (...).
    """
    tilt = np.arccos(np.clip(up[..., 2], -1.0, 1.0))
    outward = angular_velocity[..., 0] * up[..., 1] - angular_velocity[..., 1] * up[..., 0]
    rate = outward / np.maximum(np.sin(tilt), 0.05)
    lean: FloatArray = tilt + LOOKAHEAD_S * np.clip(rate, 0.0, MAX_RATE_RADPS)
    return lean
