"""Where the hand of an arm is, and which joint positions bring it elsewhere.

Products of exponentials (Lynch and Park 2017, "Modern Robotics", chapters 4 to 6): each joint turns everything beyond
it about an axis that is known where all joints are at 0. Damped least squares (Wampler 1986) for the way back, with
what is left of the joints' freedom drawn towards a posture.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sim.robot import ArmGeometry, Array, FloatArray

DAMPING = 0.02
"""Of the inverse, in the units of the Jacobian: near a singularity the hand lags rather than the joints race."""
POSTURE_GAIN = 0.1
"""Share of the way to the posture that a step takes where the hand does not mind."""
_STILL = np.eye(3)


@dataclass(frozen=True, slots=True)
class HandPose:
    """Where the hand is, and how far each joint moves it."""

    position_m: Array
    """Shape: (3,)."""
    rotation: Array
    """Columns: the hand's axes. Shape: (3, 3)."""
    jacobian: Array
    """Velocity (m/s) and angular velocity (rad/s) of the hand for each rad/s of a joint. Shape: (6, n)."""


def hand_pose(arm: ArmGeometry, joints_rad: FloatArray) -> HandPose:
    """The pose of the hand at joint positions of shape (n,) or longer, of which the arm's are the first."""
    n = len(arm.axes)
    turns = turned(arm.crosses, joints_rad[:n])
    own = np.zeros((n, 4, 4))  # what each joint does to all beyond it, as homogeneous transformations
    own[:, :3, :3] = turns
    own[:, :3, 3] = arm.points_m - (turns @ arm.points_m[..., None])[..., 0]
    own[:, 3, 3] = 1.0
    before = np.empty((n + 1, 4, 4))
    before[0] = np.eye(4)
    for joint in range(n):
        np.matmul(before[joint], own[joint], out=before[joint + 1])
    rotations, shifts = before[:, :3, :3], before[:, :3, 3]
    axes = (rotations[:-1] @ arm.axes[..., None])[..., 0]
    points = (rotations[:-1] @ arm.points_m[..., None])[..., 0] + shifts[:-1]
    position = rotations[-1] @ arm.hand_m + shifts[-1]
    (ax, ay, az), (x, y, z) = axes.T, (position - points).T
    jacobian = np.stack((ay * z - az * y, az * x - ax * z, ax * y - ay * x, ax, ay, az))
    return HandPose(position, rotations[-1] @ arm.hand_rotation, jacobian)


def turned(crosses: FloatArray, angles_rad: FloatArray) -> Array:
    """Rotations about unit axes, given as what multiplies vectors crosswise with them (Rodrigues).

    Shapes: (n, 3, 3), (n,) to (n, 3, 3).
    """
    sine, cosine = np.sin(angles_rad)[:, None, None], np.cos(angles_rad)[:, None, None]
    rotations: Array = _STILL + sine * crosses + (1.0 - cosine) * (crosses @ crosses)
    return rotations


def pointing_down(yaw_rad: float) -> Array:
    """Rotation of a hand whose palm looks down and whose fingers close along a heading. Shape: (3, 3)."""
    c, s = np.cos(yaw_rad), np.sin(yaw_rad)
    return np.array(((c, s, 0.0), (s, -c, 0.0), (0.0, 0.0, -1.0)))


def step_towards(
    arm: ArmGeometry,
    joints_rad: FloatArray,
    position_m: FloatArray,
    rotation: FloatArray,
    *,
    posture_rad: FloatArray,
    most_rad: FloatArray,
) -> Array:
    """Joint positions one step nearer to a pose of the hand.

    Args:
        arm: the arm.
        joints_rad: where the joints are. Shape: (n,).
        position_m: where the hand is to go. Shape: (3,).
        rotation: how it is to point. Shape: (3, 3).
        posture_rad: what the joints are drawn to where the hand does not mind. Shape: (n,).
        most_rad: most that each joint may move in this step. Shape: (n,).

    Returns:
        Shape: (n,). The step is shortened as a whole where a joint would move too far, so that the hand's way stays
        straight.
    """
    now = hand_pose(arm, joints_rad)
    error = np.concatenate((np.asarray(position_m) - now.position_m, rotation_between(now.rotation, rotation)))
    j = now.jacobian
    inverse = j.T @ np.linalg.inv(j @ j.T + DAMPING**2 * np.eye(6))
    idle = POSTURE_GAIN * (np.asarray(posture_rad) - joints_rad)
    change = inverse @ error + idle - inverse @ (j @ idle)
    change *= min(1.0, float((most_rad / np.maximum(np.abs(change), 1e-12)).min()))
    return np.asarray(joints_rad + change, np.float64)


def rotation_between(start: FloatArray, end: FloatArray) -> Array:
    """The rotation vector, in rad, that leads from one rotation to another. Shapes: (3, 3), (3, 3) to (3,)."""
    r = end @ start.T
    sine = 0.5 * np.array((r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]))
    size, cosine = float(np.linalg.norm(sine)), 0.5 * (float(np.trace(r)) - 1.0)
    if size < 1e-9:  # no turn, or half of one, about an axis that a hand's small errors never ask for
        return np.zeros(3)
    rotation: Array = sine * (np.arctan2(size, cosine) / size)
    return rotation
