"""What of a robot's frames its dynamics models see, and which of their errors tell of which joint."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from meta.sensor_checks import CHECKS, sensor_checks
from meta.transitions import AttemptSteps, Float32
from sim.robot import FloatArray, Frames, RobotSpec

BODY = 6
"""Numbers of the body in a state: which way is up, and how fast it turns. Position, velocity and torque of each joint
follow."""
MOST = 7.0
"""Bound of a normalised error: one broken step is no change."""
_SIGNED = 6
"""Channels of each joint that are of either sign."""


def posture(spec: RobotSpec, frames: Frames) -> Float32:
    """Which way is up, how fast the body turns, where the joints are around the stance, go and push.

    Returns:
        Shape: (..., `posture_size`).
    """
    return np.concatenate(
        (
            frames.up,
            frames.angular_velocity,
            frames.joint_position - spec.stand_position_rad,
            frames.joint_velocity,
            frames.joint_torque,
        ),
        axis=-1,
        dtype=np.float32,
    )


def posture_size(spec: RobotSpec) -> int:
    """Width of a `posture`."""
    return BODY + 3 * spec.n_joints


def action_size(n_actions: int) -> int:
    """Width of a row of `actions_of`."""
    return 2 * n_actions + 2


def actions_of(actions: Float32, resting: Float32, phase_rad: FloatArray) -> Float32:
    """What was sent, what was sent before (it still acts, by latency), and where in its cycle the actuator is.

    Args:
        actions: what was sent at each of T steps. Shape: (T, A).
        resting: what was sent before the first. Shape: (A,).
        phase_rad: the actuator's phase at each step. Shape: (T,).

    Returns:
        Shape: (T, 2 A + 2).
    """
    before = np.concatenate((resting[None], actions[:-1]))
    phase = np.stack((np.sin(phase_rad), np.cos(phase_rad)), axis=-1)
    return np.concatenate((actions, before, phase), axis=-1, dtype=np.float32)


def steps_of(
    spec: RobotSpec, attempt: int, frames: Frames, actions: Float32, resting: Float32, phase_rad: FloatArray
) -> AttemptSteps:
    """A stored attempt as dynamics models learn from it.

    Args:
        spec: the robot.
        attempt: its number in the store.
        frames: T + 1 of them.
        actions: shape (T, A).
        resting: shape (A,).
        phase_rad: at each frame or step; of the first T.
    """
    steps = len(actions)
    states = posture(spec, frames)
    finite: NDArray[np.bool_] = np.logical_and.reduce(np.isfinite(states), axis=-1)
    checks, turning = sensor_checks(spec, frames)
    return AttemptSteps(
        attempt=attempt,
        states=states,
        actions=actions_of(actions, resting, np.asarray(phase_rad)[:steps]),
        valid=finite[:-1] & finite[1:],
        checks=checks,
        turning=turning,
    )


def channel_errors(
    n_joints: int, z: FloatArray, expected: FloatArray, following: FloatArray, checks: FloatArray
) -> FloatArray:
    """Errors of each step, for `meta.change_point`: first of either size, then `signed_channels` of either sign.

    A weak motor errs in the direction of its torque, a joint that rubs against its motion, an encoder that is off to
    one side: errors are looked at in each of these ways.

    Args:
        n_joints: of the robot.
        z: error of each number of the state, in standard deviations that were foretold. Shape: (T, S).
        expected: the state that was foretold. Shape: (T, S).
        following: the state as it turned out. Shape: (T, S).
        checks: by how much more than usually sensors differ (`meta.sensor_checks`). Shape: (T, `CHECKS`).

    Returns:
        Shape: (T, 1 + n_joints + `signed_channels`).
    """
    n = n_joints
    z = np.clip(z, -MOST, MOST)
    body, joints = z[:, :BODY], z[:, BODY:].reshape(-1, 3, n)
    position, velocity, torque = joints[:, 0], joints[:, 1], joints[:, 2]
    pushing, moving = np.sign(expected[:, BODY + 2 * n :]), np.sign(following[:, BODY + n : BODY + 2 * n])
    sizes = ((body**2).mean(axis=1)[:, None], (joints**2).mean(axis=1))
    signed = (position, velocity, torque, velocity * moving, torque * pushing, position * pushing)
    return np.concatenate((*sizes, *signed, checks), axis=1)


def unfamiliar(errors: FloatArray) -> FloatArray:
    """Errors where models know too little to judge: only those that need none are left."""
    known = np.arange(errors.shape[-1]) >= errors.shape[-1] - CHECKS
    return np.where(known, errors, np.nan)


def signed_channels(n_joints: int) -> int:
    """How many of the last channels are of either sign."""
    return _SIGNED * n_joints + CHECKS


def channel_joints(n_joints: int) -> NDArray[np.intp]:
    """Which joint each channel is of; -1: the body."""
    joints = np.arange(n_joints)
    return np.concatenate(([-1], *[joints] * (1 + _SIGNED), [-1] * CHECKS))
