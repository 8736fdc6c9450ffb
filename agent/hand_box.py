"""The box that the hand of an arm does not leave, whatever its joints are told."""

from __future__ import annotations

import numpy as np

from agent.partway import partway
from sim.robot import Array, RobotSpec
from skills.arm_kinematics import hand_pose

TOLERANCE_M = 0.01
"""Beyond the box: a hand that follows the edge lags and swings by some millimetres."""

_NEWTON_STEPS = 4


class HandBox:
    """Where the hand of one robot is, from its joint positions alone."""

    def __init__(self, spec: RobotSpec) -> None:
        """Prepare for one robot.

        Raises:
            ValueError: it has no arm.
        """
        if spec.arm is None:
            raise ValueError(f"robot {spec.name!r} has no arm")
        self._arm = spec.arm

    def beyond_m(self, joint_rad: Array) -> float:
        """How far the hand is outside of its box, along the axis on which it is furthest; 0 inside."""
        return float(np.abs(self._outside(hand_pose(self._arm, joint_rad).position_m, 0.0)).max())

    def nearest(self, start_rad: Array, target_rad: Array, most_rad: Array) -> Array:
        """The target, or what is near it with the hand in its box, no joint further from the start than it may move.

        Shapes: (n_joints,).

        Where the hand is outside at the start it may be so as far as that, to get back. What would lead it out of the
        box is taken off the joints that move it most, so that a way along the edge stays open.
        """
        allowed_m = max(TOLERANCE_M, self.beyond_m(start_rad))
        nearest = target_rad
        for _ in range(_NEWTON_STEPS):
            pose = hand_pose(self._arm, nearest)
            outside = self._outside(pose.position_m, allowed_m)
            axes = np.flatnonzero(outside)
            if not len(axes):
                break
            slopes = pose.jacobian[axes]
            nearest = nearest.copy()
            nearest[: slopes.shape[1]] -= np.linalg.lstsq(slopes, outside[axes])[0]
        if nearest is target_rad:
            return target_rad
        step = nearest - start_rad
        nearest = start_rad + step * min(1.0, float((most_rad / np.maximum(np.abs(step), 1e-12)).min()))
        if self.beyond_m(nearest) <= allowed_m:
            return nearest
        return partway(start_rad, nearest, lambda joints: self.beyond_m(joints) <= allowed_m)

    def _outside(self, place: Array, allowed_m: float) -> Array:
        """From the nearest point of the box, made larger by ``allowed_m``, to a place. Shapes: (3,) to (3,)."""
        outside: Array = place - np.clip(place, self._arm.box_lower_m - allowed_m, self._arm.box_upper_m + allowed_m)
        return outside
