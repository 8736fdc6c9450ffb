"""Skills on routes: go to places ever further apart, follow ever longer paths, go back to the charger.

They share one network, and stepping stones lead from one to the next: places first, then paths and the charger. Places
of one level face each other across the middle, and where a path has ended its mirror image can start, so that practice
needs no resets. Going beyond what `skills.go_to` has: a way that has to be kept, and a heading.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.robot import FloatArray, Frames, Observation, Transition
from skills.go_to import NEAR_M, THERE_M, GoTo, turned_rad
from skills.route import AHEAD_M, ROUTES, Legs, Route
from skills.skill import Level

PASSED_M = 0.25
"""Nearer than this to a turn of its path the robot has passed it."""
ALIGNED_RAD = math.radians(20.0)
"""Turned from the charger's axis by less than this, either way round, the contacts meet."""
CLEARLY_RAD = math.radians(2.0)
"""So much more is clearly not there, as `skills.go_to.CLEARLY_M` is."""
CHARGER = Route(((0.0, -0.3),), axis_rad=0.0)
"""Beside the middle; its contacts lie along the tracker's x axis, alike both ways round."""
HURRIED_MPS = 0.2
"""A path has to be walked this fast on average."""


class Follow(GoTo):
    """Follow a route to its end and stand there as it asks.

    What is rewarded is how far there is to go: along the route from its point nearest to the robot, and to that point.
    Where a short cut changes which point that is, the distance jumps, and a jump is worth no more than a good step.
    """

    family = ROUTES

    def __init__(
        self,
        name: str,
        summary: str,
        route: Route,
        *,
        undone_by: str,
        level: Level | None = None,
        requires: tuple[str, ...] = (),
        horizon_s: float = 15.0,
    ) -> None:
        """Define one route.

        Args:
            name: identifier of the skill.
            summary: one line for lists.
            route: to follow.
            undone_by: what leads from its end to where it can start.
            level: how hard it is.
            requires: what to master before.
            horizon_s: longest attempt.
        """
        super().__init__(name, route.points[-1])
        self.summary, self.command, self.route = summary, route.command, route
        self.undone_by, self.level, self.requires, self.horizon_s = undone_by, level, requires, horizon_s
        self._legs = Legs.between(route.array)

    def start_problem(self, observation: Observation) -> str | None:
        """As for going to a place; and on a path before its first turn."""
        problem = super().start_problem(observation)
        if problem is None and len(self.route.points) > 2:
            along, _ = self._legs.project(observation.base_position[:2])
            problem = "past the first turn" if along > self.route.leg_lengths_m[0] else None
        return problem

    def there(self, seen: Frames | Observation, more_m: float = 0.0) -> NDArray[np.bool_]:
        """At the end, and turned as it asks."""
        there = super().there(seen, more_m)
        if self.route.axis_rad is None:
            return there
        return there & (self._askew_rad(seen) < ALIGNED_RAD + (CLEARLY_RAD if more_m else 0.0))

    def seen(self, seen: Frames | Observation) -> tuple[FloatArray, FloatArray]:
        """What is left of the route and how far off it the robot is, together; and by how much an end of the robot has
        to turn to the next point, near the end of the route to its axis.
        """
        position = seen.base_position[..., :2]
        along, beside = self._legs.project(position)
        ahead = self._legs.at(along[..., None] + AHEAD_M[:1])[..., 0, :]
        turned = turned_rad(ahead - position, seen.base_yaw)
        if self.route.axis_rad is not None:
            distance = np.linalg.norm(self.place_m - position, axis=-1)
            turned = turned + self._askew_rad(seen) * NEAR_M / (distance + NEAR_M)
        return self.route.length_m - along + beside, turned

    def measures(self, transition: Transition) -> dict[str, float]:
        """``off_m``: what was left to go, and on a path ``beside_m``: how far off it the robot was on average."""
        measures = super().measures(transition)
        if self.route.leg_lengths_m:
            beside = self._legs.project(transition.next_frame.base_position[..., :2])[1]
            measures["beside_m"] = float(beside.mean())
        return measures

    def success(self, transition: Transition) -> bool:
        """Last seen there, after it had passed all turns in their order."""
        place, begin = transition.next_frame.base_position[..., :2], 0
        for turn in self.route.points[1:-1]:
            passed = np.flatnonzero(np.linalg.norm(place[begin:] - turn, axis=-1) < PASSED_M)
            if not len(passed):
                return False
            begin += int(passed[0])
        return super().success(transition)

    def _askew_rad(self, seen: Frames | Observation) -> FloatArray:
        """Angle between the robot's axis and that of the end, from 0 to pi / 2. Shape: (...)."""
        assert self.route.axis_rad is not None
        off = self.route.axis_rad - np.asarray(seen.base_yaw)
        askew: FloatArray = np.arctan2(np.abs(np.sin(off)), np.abs(np.cos(off)))
        return askew


def _places(number: int, apart_m: float) -> tuple[Follow, ...]:
    """Two places that face each other across the middle, so far apart."""
    level = Level(of="walk_to", axis="distance_m", value=apart_m)
    return tuple(
        Follow(
            f"walk_to_{number}_{side}",
            f"walk to the place {0.5 * apart_m:g} m {side} of the middle",
            Route(((0.0, sign * 0.5 * apart_m),)),
            undone_by=f"walk_to_{number}_{other}",
            level=level,
        )
        for side, other, sign in (("north", "south", 1.0), ("south", "north", -1.0))
    )


def _paths(number: int, points: tuple[tuple[float, float], ...]) -> tuple[Follow, ...]:
    """A path from the middle that turns right, and its mirror image."""
    paths = []
    for side, other, across in (("right", "left", 1.0), ("left", "right", -1.0)):
        route = Route(tuple((across * x, y) for x, y in points))
        turns = len(points) - 2
        paths.append(
            Follow(
                f"follow_{number}_{side}",
                f"follow a path of {route.length_m:.1f} m with {turns} turn{'s' * (turns > 1)} to the {side}",
                route,
                undone_by=f"follow_{number}_{other}",
                level=Level(of="follow", axis="length_m", value=round(route.length_m, 2)),
                requires=("walk_to_2_north", "walk_to_2_south"),
                horizon_s=5.0 + math.ceil(route.length_m / HURRIED_MPS),
            )
        )
    return tuple(paths)


RETURN_TO_CHARGER = Follow(
    "return_to_charger",
    f"go back to the charger, within {THERE_M:g} m and {math.degrees(ALIGNED_RAD):.0f} degrees",
    CHARGER,
    undone_by="walk_to_1_north",
    requires=("walk_to_1_north", "walk_to_1_south"),
)
FOLLOWING_SKILLS = (
    *(skill for number, apart_m in enumerate((0.75, 1.5, 3.0), 1) for skill in _places(number, apart_m)),
    *_paths(1, ((0.0, 0.0), (0.6, 0.8), (1.2, 0.0))),
    *_paths(2, ((0.0, 0.0), (0.0, 0.9), (1.25, 0.9), (1.25, 0.0))),
    *_paths(3, ((0.0, 0.0), (0.0, 1.5), (1.5, 1.5), (1.5, 0.0))),
    RETURN_TO_CHARGER,
)
