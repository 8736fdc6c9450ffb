"""Ground that is not level: two ramps that rise from the middle of the workspace, a gentle one and a steep one.

Between them the floor is as flat as without them. They face each other along the y axis and are the same everywhere
along x, so that the ground is its own mirror image from left to right, as the robots are.
"""

from __future__ import annotations

import math

from sim.quiet_bullet import p

BEGIN_M = 0.5
"""Distance of the foot of either ramp from the middle."""
GENTLE_SHARE = 0.5
"""Slope of the ramp in the north, towards y, over that of the one in the south."""
LENGTH_M, HALF_WIDTH_M, THICKNESS_M = 20.0, 10.0, 1.0
"""Farther than any robot gets: the fence of the default workspace is 2.5 m away."""


def slope_rad(steepest_deg: float, y_m: float) -> float:
    """Slope of the ground at a place, towards y; the ramp in the south therefore has a negative one."""
    if abs(y_m) <= BEGIN_M:
        return 0.0
    steepest = math.radians(steepest_deg)
    return GENTLE_SHARE * steepest if y_m > 0.0 else -steepest


def height_m(steepest_deg: float, y_m: float) -> float:
    """Height of the ground at a place; 0 in the middle."""
    slope = slope_rad(steepest_deg, y_m)
    return math.tan(abs(slope)) * (abs(y_m) - BEGIN_M) if slope else 0.0


def build_ramps(client: int, steepest_deg: float) -> tuple[int, ...]:
    """Build both ramps, as boxes that lie on the floor with one edge; returns their bodies, none where all is level."""
    if steepest_deg == 0.0:
        return ()
    half = [HALF_WIDTH_M, 0.5 * LENGTH_M, 0.5 * THICKNESS_M]
    ramps = []
    for side in (1.0, -1.0):
        slope = slope_rad(steepest_deg, side * (BEGIN_M + 1.0))
        c, s = math.cos(slope), math.sin(slope)
        # From the edge on the floor half a length up the ramp, then half a thickness down into it.
        along, into = side * half[1], -half[2]
        centre = (0.0, side * BEGIN_M + along * c - into * s, along * s + into * c)
        shape = p.createCollisionShape(p.GEOM_BOX, halfExtents=half, physicsClientId=client)
        turned = p.getQuaternionFromEuler((slope, 0.0, 0.0))
        ramp = int(p.createMultiBody(0.0, shape, -1, centre, turned, physicsClientId=client))
        p.changeDynamics(ramp, -1, lateralFriction=1.0, physicsClientId=client)
        ramps.append(ramp)
    return tuple(ramps)
