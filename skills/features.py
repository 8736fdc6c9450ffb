"""What the walking policies see: proprioception only, no tracker, so that they work where no tracker is.

One feature row per policy step; the policy gets the newest rows stacked (history and past actions in the observation
let it identify latency and dynamics; review section 4.8).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.robot import FloatArray, Frames, RobotSpec

HISTORY = 3
"""Feature rows in one observation: now and the two policy steps before."""

_GYRO_SCALE = 0.2
_JOINT_VELOCITY_SCALE = 0.05


def feature_size(spec: RobotSpec, n_actions: int) -> int:
    """Width of one feature row."""
    return 3 + 3 + 2 * spec.n_joints + 2 + n_actions


def features(spec: RobotSpec, frames: Frames, phase_rad: FloatArray, last_action: FloatArray) -> NDArray[np.float32]:
    """Feature rows of a batch of frames, scaled to the order of one.

    Args:
        spec: the robot the frames come from.
        frames: leading shape (batch,).
        phase_rad: phase of the trajectory generator, shape (batch,).
        last_action: what was sent in the step before, shape (batch, n_actions).

    Returns:
        Shape (batch, feature_size), float32: up vector, gyroscope, joint positions around the stance, joint
        velocities, sine and cosine of the phase, last action.
    """
    return np.concatenate(
        (
            frames.up,
            _GYRO_SCALE * frames.angular_velocity,
            frames.joint_position - spec.stand_position_rad,
            _JOINT_VELOCITY_SCALE * frames.joint_velocity,
            np.stack((np.sin(phase_rad), np.cos(phase_rad)), axis=-1),
            last_action,
        ),
        axis=-1,
        dtype=np.float32,
    )


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
