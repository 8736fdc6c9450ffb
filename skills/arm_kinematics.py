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
    """The pose of the hand at joint positions of shape (n,), the gripper left out."""
    n = len(arm.axes)
    rotation, shift = np.eye(3), np.zeros(3)
    axes, points = np.empty((n, 3)), np.empty((n, 3))
    for joint in range(n):
        axis, point = arm.axes[joint], arm.points_m[joint]
        axes[joint], points[joint] = rotation @ axis, rotation @ point + shift
        turn = turned(axis, float(joints_rad[joint]))
        shift = shift + rotation @ (point - turn @ point)
        rotation = rotation @ turn
    position = rotation @ arm.hand_m + shift
    jacobian = np.concatenate((np.cross(axes, position - points), axes), axis=1).T
    return HandPose(position, rotation @ arm.hand_rotation, jacobian)


def turned(axis: FloatArray, angle_rad: float) -> Array:
    """Rotation about a unit axis of shape (3,) (Rodrigues). Shape: (3, 3)."""
    x, y, z = axis
    cross = np.array(((0.0, -z, y), (z, 0.0, -x), (-y, x, 0.0)))
    rotation: Array = np.eye(3) + np.sin(angle_rad) * cross + (1.0 - np.cos(angle_rad)) * (cross @ cross)
    return rotation


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
