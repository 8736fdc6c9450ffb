"""Skills on slopes: walk up and down a gentle ramp and a steep one.

The ramps are the simulator's (setting ``sim.slope_deg``, `sim.terrain`), or real ones that lie alike: rising from 0.5 m
north of the middle by 4 degrees, and from 0.5 m south of it by 8. On each are two places, one above the other, whose
ways are up and down. Where the ramps are is known, and that they are there a standing robot feels by its IMU: its body
leans as the ground does. So hardly any attempt begins on level ground, and none on the other ramp.
"""

from __future__ import annotations

import math

import numpy as np

from sim.robot import Observation, Transition
from skills.follow import Follow
from skills.route import Route
from skills.skill import Ground, Level
from skills.walk import WalkLimits

SLOPES_DEG = (4.0, 8.0)
"""Of the ramp in the north, and of that in the south."""
LOW_M, HIGH_M = 0.9, 1.7
"""Distance from the middle of the lower and of the upper place of a ramp."""
ON_RAMP_M = 0.7
"""As far from the middle as this all feet are on it."""
FELT = 0.8
"""How steep the ground has to feel, over what it is, to be taken for that slope and not for a gentler one. A body that
stands on a slope leans more than the ground, as its lower legs bear more: the Minitaur felt 0.90 to 1.74 times the
slope, the A1 0.83 to 1.60, in all headings. On level ground, where its feet stick as they were put down, the Minitaur
leant by 3.4 degrees once."""


class WalkSlope(Follow):
    """Go to a place that is further up or down the slope that the robot stands on."""

    def __init__(self, number: int, *, up: bool) -> None:
        """Define one way on one of the ramps, from 1."""
        self.slope_deg, self._up = SLOPES_DEG[number - 1], up
        (way, back), side = ("up", "down") if up else ("down", "up"), 1.0 if number == 1 else -1.0
        super().__init__(
            f"walk_{way}_{number}",
            f"walk {way} a slope of {self.slope_deg:g} degrees",
            Route(((0.0, side * (HIGH_M if up else LOW_M)),)),
            undone_by=f"walk_{back}_{number}",
            level=Level(of=f"walk_{way}", axis="slope_deg", value=self.slope_deg),
            requires=("walk_to_3_north", "walk_to_3_south"),
        )
        self.ground = Ground(slope_deg=SLOPES_DEG[-1], y_m=side * (LOW_M if up else HIGH_M))
        # Tilts are measured from the vertical, and level feet on a slope tilt the body by as much.
        lean_rad, level = math.radians(self.slope_deg), WalkLimits()
        self.limits = WalkLimits(roll_rad=level.roll_rad + lean_rad, pitch_rad=level.pitch_rad + lean_rad)

    def start_problem(self, observation: Observation) -> str | None:
        """As for going to a place; and on such a slope, with the place up, or down, from there."""
        problem = super().start_problem(observation)
        if problem is not None:
            return problem
        if observation.base_position[1] * np.sign(self.place_m[1]) < ON_RAMP_M:
            return "not on its ramp"
        felt_deg = math.degrees(observation.tilt_rad) / FELT
        if max((slope for slope in SLOPES_DEG if felt_deg >= slope), default=0.0) != self.slope_deg:
            return f"tilted {FELT * felt_deg:.1f} deg, which is no slope of {self.slope_deg:g} deg"
        off, yaw = self.place_m - observation.base_position[:2], observation.base_yaw
        # The world's up leans, as the body sees it, to the side of the body that is higher.
        uphill_x, uphill_y, _ = observation.up
        rises = off @ (math.cos(yaw), math.sin(yaw)) * uphill_x + off @ (-math.sin(yaw), math.cos(yaw)) * uphill_y
        steeply = abs(rises) > 0.5 * math.hypot(uphill_x, uphill_y) * float(np.linalg.norm(off))
        if steeply and (rises > 0.0) == self._up:
            return None
        return f"the place is not {'up' if self._up else 'down'} from here"

    def measures(self, transition: Transition) -> dict[str, float]:
        """``off_m``, and ``climbed_m``: how much higher the tracker saw the robot in the end."""
        height = transition.next_frame.base_position[..., 2]
        return super().measures(transition) | {"climbed_m": float(height[-1] - height[0])}


SLOPE_SKILLS = tuple(WalkSlope(number, up=up) for number in (1, 2) for up in (True, False))
