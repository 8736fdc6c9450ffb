"""By how much a robot's sensors differ from one another, which needs no model of the robot: parity relations.

Of a robot as it is they are not zero: an orientation sensor is mounted askew of the gyroscope, and motors that turn a
robot about make a battery's voltage ripple more than others. So what they usually are is learned, as a linear function
of how the robot turns, and taken off.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from meta.transitions import Float32
from sim.robot import FloatArray, Frames, RobotSpec, rotation_between

SENSORS = ("gyroscope", "gyroscope", "gyroscope", "battery")
"""What each check tells of: gyroscope less orientation about each axis of the body, in rad/s; and the battery's ripple,
in V."""
CHECKS = len(SENSORS)
MOST = np.array((2.0, 2.0, 2.0, 5.0), np.float32)
"""Bounds of these: one broken reading is no change."""
MOST_RADPS = 10.0
"""Bound of how fast the robot turns."""
AVERAGED = 50
"""Steps that are averaged to learn what is usual: over one, noise of the orientation hides how the robot turns."""
LEAST_RADPS = 0.1
"""What depends on turns that differ by less than this is not learned."""


def sensor_checks(spec: RobotSpec, frames: Frames) -> tuple[Float32, Float32]:
    """What sensors differ by over each step.

    By how much less the robot turned than its gyroscope says: to a model that sees what a gyroscope says before and
    after a step, one that is off by the same in both looks all right. And by how much the battery's voltage changed,
    which tells of its resistance: a battery that sags a little more is hardly to be felt, but each push of a leg shows
    in the voltage.

    Args:
        spec: the robot, with its policy rate.
        frames: T + 1 of them.

    Returns:
        The checks, shape (T, `CHECKS`), and how the robot turned (`usual_checks`), about its axes and to either side
        alike. Shape: (T, 6).
    """
    turned = rotation_between(frames.orientation_xyzw[:-1], frames.orientation_xyzw[1:]) * spec.policy_rate_hz
    turned = np.clip(turned, -MOST_RADPS, MOST_RADPS)
    said = 0.5 * (frames.angular_velocity[:-1] + frames.angular_velocity[1:])
    ripple = np.abs(np.diff(frames.battery_v))[:, None]
    checks = np.clip(np.concatenate((said - turned, ripple), axis=1, dtype=np.float32), -MOST, MOST)
    return checks, np.concatenate((turned, np.abs(turned)), axis=1, dtype=np.float32)


def usual_checks(parts: Sequence[tuple[FloatArray, FloatArray, NDArray[np.bool_]]]) -> Float32:
    """What checks usually are, by how a robot turns: ridge regression.

    Args:
        parts: of each attempt the checks, shape (T, C), how the robot turned, shape (T, D), and which steps count,
            shape (T,).

    Returns:
        What of each turn adds to each check, and last what is there without. Shape: (D + 1, C).
    """
    rows, wanted = [], []
    for checks, turning, counts in parts:
        counts = counts & np.isfinite(checks).all(axis=1) & np.isfinite(turning).all(axis=1)
        pieces = max(1, int(counts.sum()) // AVERAGED)
        for piece in np.array_split(np.flatnonzero(counts), pieces):
            if len(piece):
                rows.append(turning[piece].mean(axis=0, dtype=np.float64))
                wanted.append(checks[piece].mean(axis=0, dtype=np.float64))
    width, channels = parts[0][1].shape[1], parts[0][0].shape[1]
    if not rows:
        return np.zeros((width + 1, channels), np.float32)
    x, y = np.stack(rows), np.stack(wanted)
    mean, level = x.mean(axis=0), y.mean(axis=0)
    spread = (x - mean).T @ (x - mean) + len(x) * LEAST_RADPS**2 * np.eye(width)
    slopes = np.linalg.solve(spread, (x - mean).T @ (y - level))
    return np.concatenate((slopes, (level - mean @ slopes)[None]), dtype=np.float32)


def unusual(checks: FloatArray, turning: FloatArray, usual: FloatArray) -> FloatArray:
    """Checks less what they usually are. Shapes: (T, C), (T, D) and (D + 1, C) to (T, C)."""
    off: FloatArray = checks - turning @ usual[:-1] - usual[-1]
    return off
