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
"""Control periods over which the speed towards the fence is measured: a gait sways within a step."""


class FenceWatch:
    """Follows the margin to the hard fence through one attempt."""

    def __init__(self, workspace: Workspace, *, to_middle: bool = False) -> None:
        """Watch an attempt that begins now; with ``to_middle`` it goes no further than across the middle."""
        self._workspace = workspace
        self._to_middle = to_middle
        self._margins: deque[tuple[float, float]] = deque(maxlen=TREND_TICKS)
        self._least_m = -math.inf
        self._widest_m = -math.inf

    def update(self, robot_s: float, observation: Observation) -> str:
        """Why the attempt ends at this reading, in robot time: ``fence``, ``middle`` or nothing."""
        x, y, _ = observation.base_position
        margin_m = self._workspace.margin_m(float(x), float(y))
        self._margins.append((robot_s, margin_m))
        # The least of all for a position that is not known: NaN never wins a comparison.
        self._least_m = max(FENCE_LAST_M, self._least_m, min(margin_m - FENCE_RETREAT_M, self._workspace.soft_margin_m))
        self._widest_m = max(self._widest_m, margin_m)
        if ahead_m(self._margins) < self._least_m:
            return "fence"
        past_middle = self._widest_m >= MIDDLE_M and margin_m < self._widest_m - PAST_MIDDLE_M
        return "middle" if self._to_middle and past_middle else ""


def ahead_m(margins: Sequence[tuple[float, float]]) -> float:
    """Margin to the fence once the robot has stopped, from (robot time, margin) of the last control periods.

    A robot that moves away from the fence gets no credit for that.
    """
    (first_s, first_m), (last_s, last_m) = margins[0], margins[-1]
    rate_mps = (last_m - first_m) / (last_s - first_s) if len(margins) == TREND_TICKS else 0.0
    return last_m + min(0.0, rate_mps) * BRAKING_S
