"""How to bring an object somewhere without having learned it: grip it from above, lift it, put it down.

Every decision depends on the newest frame alone, so the script has an answer wherever a policy may have strayed to.
"""

from __future__ import annotations

import math

import numpy as np

from sim.robot import FloatArray, Frames, RobotSpec
from skills.family import Script
from skills.hand_control import HAND, HAND_YAW, MOST_TURN_RAD, OBJECT, OBJECT_YAW
from skills.hand_script import CLOSED, OPEN, glide, ramp

ABOVE_M, LIFTED_M = 0.12, 0.12
"""Heights of the hand over the lowest that it may be: beside the object, and when it carries."""
FUNNEL_M = (0.01, 0.03)
"""Distances from the object, in the plane, up to which the hand may be low, and from which on it is high."""
ASKEW_RAD = (0.15, 0.5)
"""The same for how far it has to turn yet."""
UP_FIRST_M = (0.03, 0.07)
"""Missing heights up to which the hand moves on in the plane, and from which on it only rises."""
GRIP_ABOVE_M, CLOSE_BELOW_M = 0.01, 0.014
"""Heights over the lowest at which the hand grips, and below which it does: tips of closing fingers swing downwards."""
GRIPPED = (0.34, 0.56)
"""Openings of fingers with the object between them, as shares: empty ones close further."""
IN_HAND_M = (0.035, 0.025)
"""From the middle of the object to that of the hand which holds it, in the plane and in height."""
NEAR_END_M, LEAST_YAW_RAD = 0.025, -0.4
"""The folded arm comes no nearer than this to the near side of its box when it is low, and not turned further."""
LOW_TURN_M = 0.06
"""Height over the lowest from which on what is carried is turned."""
PUT_DOWN_M = (0.015, 0.05)
"""Distances from the place up to which the hand that carries is low, and from which on it is high."""
RELEASE_ABOVE_M, RELEASE_BELOW_M = 0.015, 0.024
"""The hand goes down so far to let go, and lets go below: the floor is not to be pressed on."""


def carry_script(
    spec: RobotSpec, zone_m: tuple[float, float], zone_radius_m: float, *, turned_rad: float | None = None
) -> Script:
    """Bring the object to a place.

    Args:
        spec: a robot with an arm.
        zone_m: x and y of the place, in the robot's frame.
        zone_radius_m: an object that lies so near to it is left there.
        turned_rad: how the hand is to be turned when it puts the object down; None: as it is.
    """
    assert spec.arm is not None
    lower, upper = spec.arm.box_lower_m, spec.arm.box_upper_m
    nearest, furthest = lower[:2] + np.array((NEAR_END_M, 0.0)), upper[:2]
    low_m, open_rad, rate_hz = float(lower[2]), float(spec.position_upper_rad[-1]), spec.policy_rate_hz
    zone = np.array(zone_m)

    def decide(frames: Frames) -> FloatArray:
        hand, thing = frames.extra[..., HAND], frames.extra[..., OBJECT]
        opening = frames.joint_position[..., -1] / open_rad
        height = hand[..., 2] - low_m
        to_thing = thing - hand
        way = np.clip(thing[..., :2], nearest, furthest) - hand[..., :2]
        on = zone - thing[..., :2]
        gap, off = np.hypot(way[..., 0], way[..., 1]), np.hypot(on[..., 0], on[..., 1])
        yaw = frames.extra[..., HAND_YAW][..., 0]
        askew = _askew(frames.extra[..., OBJECT_YAW][..., 0], yaw)

        # The object is in the hand, or lies where it is to be, or lies elsewhere.
        between = (np.abs(to_thing[..., :2]).max(axis=-1) < IN_HAND_M[0]) & (np.abs(to_thing[..., 2]) < IN_HAND_M[1])
        held = between & (opening > GRIPPED[0]) & (opening < GRIPPED[1])
        placed = ~held & (off < zone_radius_m) & (thing[..., 2] < low_m + IN_HAND_M[1])

        from_place, from_thing = (
            ramp(off, *PUT_DOWN_M),
            np.maximum(ramp(gap, *FUNNEL_M), ramp(np.abs(askew), *ASKEW_RAD)),
        )
        to_turn = np.zeros_like(yaw) if turned_rad is None else turned_rad - yaw
        from_place = np.maximum(from_place, ramp(np.abs(to_turn), *ASKEW_RAD))
        carrying = RELEASE_ABOVE_M + (LIFTED_M - RELEASE_ABOVE_M) * from_place
        coming = GRIP_ABOVE_M + (ABOVE_M - GRIP_ABOVE_M) * from_thing
        rise = np.select([held, placed], [carrying, np.full_like(height, ABOVE_M)], coming) - height
        plane = np.where(held[..., None], on, np.where(placed[..., None], 0.0, way))
        plane = plane * (1.0 - ramp(rise, *UP_FIRST_M))[..., None]

        let_go = held & (off < 0.5 * zone_radius_m) & (height < RELEASE_BELOW_M)
        close = ~held & ~placed & (gap < FUNNEL_M[1]) & (height < CLOSE_BELOW_M)
        fingers = np.where((held & ~let_go) | close, CLOSED, OPEN)
        lifted = height > LOW_TURN_M
        turn = np.select([held & lifted, held | placed | close], [to_turn, np.zeros_like(yaw)], askew)
        return glide(np.concatenate((plane, rise[..., None]), axis=-1), turn, fingers, rate_hz)

    return decide


def _askew(thing_rad: FloatArray, hand_rad: FloatArray) -> FloatArray:
    """The smallest turn that the hand can make and after which its fingers close on two sides of a cube."""
    quarter, turn_rad = 0.5 * math.pi, thing_rad - hand_rad
    nearest = turn_rad - quarter * np.round(turn_rad / quarter)
    raised = np.where(hand_rad + nearest < LEAST_YAW_RAD, nearest + quarter, nearest)
    askew: FloatArray = np.where(hand_rad + raised > MOST_TURN_RAD, raised - quarter, raised)
    return askew
