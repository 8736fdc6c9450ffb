"""A route on the floor, and the family of skills whose network is told where the next of its points are from the robot.

A route is up to four points joined by straight legs; a single point is a place to go to. How far a robot has come on it
is the route's nearest point to where the robot is: a function of one reading, so that every stored step teaches every
route, whatever the robot was doing, and nothing has to remember what was passed. Routes therefore keep clear of
themselves.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from sim.robot import Array, FloatArray
from skills.go_to import NEAR_M, POSITION_SCALE_M, GoingFamily

MOST_POINTS = 4
AHEAD_M = 0.3 * np.arange(1, MOST_POINTS + 1)
"""What the network is told of: the points so much further on the route. The first is what it goes for."""
APART_M = 0.8
"""Distance that legs which are not neighbours keep: the robot's place says which of them it is on."""
_TINY_M = 1e-9


@dataclass(frozen=True)
class Route:
    """Up to four points in the tracker's frame, and the line on which the robot is to stand at the last of them.

    Raises:
        ValueError: there are no points, or too many, or legs come too near to each other.
    """

    points: tuple[tuple[float, float], ...]
    """(x, y) in m."""
    axis_rad: float | None = None
    """Heading at the end, with either end of the robot ahead; None: any."""

    def __post_init__(self) -> None:
        if not 1 <= len(self.points) <= MOST_POINTS:
            raise ValueError(f"a route of {len(self.points)} points; it takes 1 to {MOST_POINTS}")
        for first in range(len(self.points) - 1):
            for second in range(first + 2, len(self.points) - 1):
                gap_m = _gap_m(self.points[first : first + 2], self.points[second : second + 2])
                if gap_m < APART_M:
                    raise ValueError(
                        f"legs {first + 1} and {second + 1} of route {self.points} are {gap_m:.2f} m apart; leave "
                        f"{APART_M:g} m, or it cannot be told on which of them the robot is"
                    )

    @property
    def command(self) -> tuple[float, ...]:
        """As the network's family takes it: all points, the last one repeated, then cosine and sine of twice the axis.

        Twice, because both ways to stand on it are the same; zeros where there is none.
        """
        points = self.points + self.points[-1:] * (MOST_POINTS - len(self.points))
        axis = (0.0, 0.0) if self.axis_rad is None else (math.cos(2 * self.axis_rad), math.sin(2 * self.axis_rad))
        # Rounded, so that what is its own mirror image is so to the last bit.
        return tuple(round(value, 9) for pair in (*points, axis) for value in pair)

    @cached_property
    def array(self) -> Array:
        """The points, a single one twice. Shape: (n, 2)."""
        return np.array(self.points if len(self.points) > 1 else self.points * 2)

    @property
    def leg_lengths_m(self) -> tuple[float, ...]:
        """Of each leg, in order; a single place has none."""
        return tuple(math.dist(a, b) for a, b in pairwise(self.points))

    @property
    def length_m(self) -> float:
        """Of all legs together."""
        return sum(self.leg_lengths_m)


class Legs(NamedTuple):
    """Straight legs between points."""

    start: FloatArray
    """Shape: (..., L, 2)."""
    length: FloatArray
    """Shape: (..., L)."""
    unit: FloatArray
    """Direction; zero where a leg has no length. Shape: (..., L, 2)."""
    before: FloatArray
    """Length of the legs before each. Shape: (..., L)."""

    @classmethod
    def between(cls, points: FloatArray) -> Legs:
        """The legs of routes. Shape: (..., L + 1, 2)."""
        leg = np.diff(points, axis=-2)
        length = np.linalg.norm(leg, axis=-1)
        unit = leg / np.maximum(length, _TINY_M)[..., None]
        return cls(points[..., :-1, :], length, unit, np.cumsum(length, axis=-1) - length)

    def project(self, position: FloatArray) -> tuple[FloatArray, FloatArray]:
        """How far along its route the point nearest to a position is, and how far off it the position is.

        Args:
            position: shape (..., 2).

        Returns:
            Along and beside, in m; each shape: (...).
        """
        off = position[..., None, :] - self.start
        run = np.clip((off * self.unit).sum(axis=-1), 0.0, self.length)
        beside = np.linalg.norm(off - run[..., None] * self.unit, axis=-1)
        nearest = beside.argmin(axis=-1)[..., None]
        along = np.take_along_axis(self.before + run, nearest, axis=-1)[..., 0]
        return along, np.take_along_axis(beside, nearest, axis=-1)[..., 0]

    def at(self, along: FloatArray) -> FloatArray:
        """Points so far along their routes; beyond the end, the end. Shape: (..., M) to (..., M, 2)."""
        run = np.clip(along[..., None] - self.before[..., None, :], 0.0, self.length[..., None, :])
        place: FloatArray = self.start[..., :1, :] + run @ self.unit
        return place


class RouteFamily(GoingFamily):
    """The walking family's actions, with a tracker: the command is that of a `Route`."""

    name = "route"

    def aim(self, rows: FloatArray, commands: FloatArray) -> FloatArray:
        """Forward and left to each of the points ahead, as in going to a place; then cosine and sine of twice the angle
        from the heading to the end's axis, which fade away from the end.
        """
        position, c, s = POSITION_SCALE_M * rows[..., -4:-2], rows[..., -2], rows[..., -1]
        points, axis = commands[..., :-2].reshape(*commands.shape[:-1], MOST_POINTS, 2), commands[..., -2:]
        legs = Legs.between(points)
        along, _ = legs.project(position)
        ahead = super().aim(rows[..., None, :], legs.at(along[..., None] + AHEAD_M))
        c2, s2 = c * c - s * s, 2.0 * s * c
        turned = np.stack((c2 * axis[..., 0] + s2 * axis[..., 1], c2 * axis[..., 1] - s2 * axis[..., 0]), axis=-1)
        distance = np.linalg.norm(points[..., -1, :] - position, axis=-1)
        nearness = NEAR_M / (distance + NEAR_M)
        return np.concatenate((ahead.reshape(*ahead.shape[:-2], -1), nearness[..., None] * turned), axis=-1)

    def _command_images(
        self, commands: Sequence[tuple[float, ...]], *, left_right: bool, front_back: bool
    ) -> list[tuple[float, ...]]:
        # As with places; an axis mirrors as a line does, whichever end of the robot is ahead.
        across = -1.0 if left_right != front_back else 1.0
        sign = np.array((across, 1.0) * MOST_POINTS + (1.0, across))
        return [tuple((sign * command).tolist()) for command in commands]


ROUTES = RouteFamily()


def _gap_m(one: Sequence[tuple[float, float]], other: Sequence[tuple[float, float]]) -> float:
    """Distance of two legs, to a centimetre; 0 where they cross."""
    begin, end = np.array(other)
    places = np.linspace(begin, end, max(2, math.ceil(100.0 * math.dist(begin, end))))
    return float(Legs.between(np.array(one)).project(places)[1].min())
