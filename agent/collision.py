"""Legs that would hit each other: how near their lines come, and how far a command may go before they meet."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from agent.partway import partway
from sim.robot import Array, RobotSpec

_TINY = 1e-12


class LegClearance:
    """Geometry of the legs of one robot, from its joint positions alone."""

    def __init__(self, spec: RobotSpec) -> None:
        """Prepare for one robot.

        Raises:
            ValueError: its legs have no lines.
        """
        if spec.leg_lines is None:
            raise ValueError(f"robot {spec.name!r} does not say where its legs are; give its spec leg_lines")
        self._lines = spec.leg_lines
        self._least_m = spec.leg_clearance_m
        legs, points, _ = self._lines(spec.stand_position_rad).shape
        segments = np.arange(legs * points).reshape(legs, points)[:, :-1]
        pairs = [
            np.stack(np.meshgrid(segments[one], segments[other], indexing="ij")).reshape(2, -1)
            for one, other in combinations(range(legs), 2)
        ]
        self._one, self._other = np.concatenate(pairs, axis=1)

    def gap_m(self, joint_rad: Array) -> float:
        """Distance between the two lines of different legs that are nearest to each other. Shape: (n_joints,)."""
        points = self._lines(joint_rad).reshape(-1, 3)
        starts, others = points[self._one], points[self._other]
        return float(np.sqrt(_squared(starts, points[self._one + 1], others, points[self._other + 1]).min()))

    def clear(self, joint_rad: Array) -> bool:
        """Whether the legs keep their distance. Shape: (n_joints,)."""
        return self.gap_m(joint_rad) >= self._least_m

    def reach(self, start_rad: Array, target_rad: Array) -> Array:
        """The target, or how far towards it the legs keep their distance. Shapes: (n_joints,).

        The target itself where they do not keep it at the start: who lies with crossed legs has to get out of there.
        Only ends of a command are looked at, not what lies between: one that passes a whole leg in a control period, at
        the joints' top speed, is not seen.
        """
        if self.clear(target_rad) or not self.clear(start_rad):
            return target_rad
        return partway(start_rad, target_rad, self.clear)


def _squared(p: Array, p_end: Array, q: Array, q_end: Array) -> Array:
    """Squared distances between pairs of line segments (Ericson 2005, section 5.1.9). Shapes: (N, 3) to (N,)."""
    d, e, r = p_end - p, q_end - q, p - q
    dd, ee, de = np.vecdot(d, d) + _TINY, np.vecdot(e, e) + _TINY, np.vecdot(d, e)
    dr, er = np.vecdot(d, r), np.vecdot(e, r)
    s = np.clip((de * er - dr * ee) / np.maximum(dd * ee - de * de, _TINY), 0.0, 1.0)
    t = np.clip((de * s + er) / ee, 0.0, 1.0)
    s = np.clip((de * t - dr) / dd, 0.0, 1.0)
    between = r + s[:, None] * d - t[:, None] * e
    squared: Array = np.vecdot(between, between)
    return squared
