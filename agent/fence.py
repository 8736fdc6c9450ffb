"""Where on its floor an attempt of a task has to end: in time before the fence, or in the middle."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

from sim.robot import Observation
from sim.workspace import Workspace

FENCE_RETREAT_M = 0.2
"""An attempt that starts beyond the soft fence, to come back, may go this much further out before it is ended. As it
comes back, what it must keep grows, up to the soft fence."""
FENCE_LAST_M = 0.2
"""No attempt goes on this near to the hard fence."""
MIDDLE_M = 1.0
"""Margin to the hard fence from which on an attempt that should end in the middle may do so."""
PAST_MIDDLE_M = 0.1
"""It does so once it has come nearer to the fence again by this much."""
BRAKING_S = 0.4
"""A walking robot still moves for about this long at its speed after the attempt is ended."""
TREND_TICKS = 20
"""Control periods over which the robot's speed is measured: a gait sways within a step."""

Place = tuple[float, float, float]
"""Robot time, and where the robot was seen then: x and y in m."""


class FenceWatch:
    """Follows the margin to the hard fence through one attempt; where the tracker is blind, from how the robot went."""

    def __init__(self, workspace: Workspace, *, to_middle: bool = False) -> None:
        """Watch an attempt that begins now; with ``to_middle`` it goes no further than across the middle."""
        self._workspace = workspace
        self._to_middle = to_middle
        self._seen: deque[Place] = deque(maxlen=TREND_TICKS)
        self._least_m = -math.inf
        self._widest_m = -math.inf

    def update(self, robot_s: float, observation: Observation) -> str:
        """Why the attempt ends at this reading, in robot time: ``fence``, ``middle`` or nothing."""
        x_m, y_m, _ = (float(each) for each in observation.base_position)
        if observation.base_valid and math.isfinite(x_m) and math.isfinite(y_m):
            self._seen.append((robot_s, x_m, y_m))
        if not self._seen:
            return ""
        margin_m = self._workspace.margin_m(*place_at(self._seen, robot_s))
        self._least_m = max(FENCE_LAST_M, self._least_m, min(margin_m - FENCE_RETREAT_M, self._workspace.soft_margin_m))
        self._widest_m = max(self._widest_m, margin_m)
        # A robot that moves away from the fence gets no credit for that.
        stopped_m = self._workspace.margin_m(*place_at(self._seen, robot_s + BRAKING_S))
        if min(margin_m, stopped_m) < self._least_m:
            return "fence"
        past_middle = self._widest_m >= MIDDLE_M and margin_m < self._widest_m - PAST_MIDDLE_M
        return "middle" if self._to_middle and past_middle else ""


def place_at(seen: Sequence[Place], robot_s: float) -> tuple[float, float]:
    """Where the robot is at a time if it goes on from where it was seen last, as it went between the first and then."""
    (first_s, first_x, first_y), (last_s, last_x, last_y) = seen[0], seen[-1]
    if len(seen) < TREND_TICKS:
        return last_x, last_y
    ahead = (robot_s - last_s) / (last_s - first_s)
    return last_x + ahead * (last_x - first_x), last_y + ahead * (last_y - first_y)
