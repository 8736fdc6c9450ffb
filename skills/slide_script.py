"""How to slide a door without having learned it: go beside its handle, push it to where it is to be.

Every decision depends on the newest frame alone, so the script has an answer wherever a policy may have strayed to.
"""

from __future__ import annotations

import math

import numpy as np

from sim.robot import FloatArray, Frames, RobotSpec
from skills.family import Script
from skills.hand_control import DOOR, HAND, HAND_YAW, HANDLE
from skills.hand_script import CLOSED, glide, ramp

ABOVE_M, BELOW_M = 0.1, 0.01
"""Heights of the hand over and below the handle: on its way to it, and when it pushes."""
BESIDE_M, TOUCHING_M = 0.055, 0.034
"""From the middle of the handle to that of the hand: where there is room to come down, and where they touch."""
ROOM_M = (0.012, 0.035)
"""Nearer than this, or beyond, a low hand and a high one are not beside the handle."""
SHORT_M = 0.005
"""The middle of the hand stays this far short of the handle, which its fingers, 70 mm across, meet all the same."""
FUNNEL_M = (0.012, 0.035)
"""Distances from where the hand is to come down up to which it may be low, and from which on it is high."""
UP_FIRST_M = (0.03, 0.07)
"""Missing heights up to which the hand moves on in the plane, and from which on it only rises."""
LOW_M = (0.0, 0.03)
"""Heights over the handle up to which the hand pushes, and from which on it goes beside it."""


def slide_script(spec: RobotSpec, end_m: float, direction: float) -> Script:
    """Slide the door to one of its ends.

    Args:
        spec: a robot with an arm.
        end_m: how far the door is open then.
        direction: 1.0 to open it, which takes its handle to the left, -1.0 to close it.
    """
    rate_hz = spec.policy_rate_hz

    def decide(frames: Frames) -> FloatArray:
        hand, to_handle = frames.extra[..., HAND], frames.extra[..., HANDLE] - frames.extra[..., HAND]
        ahead = to_handle[..., 0] - SHORT_M
        side = direction * to_handle[..., 1]
        high = ramp(-to_handle[..., 2], *LOW_M)
        short = np.abs(ahead) + high * np.abs(side - BESIDE_M)
        room = ROOM_M[0] + (ROOM_M[1] - ROOM_M[0]) * high
        aside = np.where(side < room, 1.0, ramp(short, *FUNNEL_M))
        rise = to_handle[..., 2] - BELOW_M + (ABOVE_M + BELOW_M) * aside
        push = direction * (side - TOUCHING_M) + end_m - frames.extra[..., DOOR][..., 0]
        along = high * direction * (side - BESIDE_M) + (1.0 - high) * push
        still = 1.0 - ramp(rise, *UP_FIRST_M)
        way = np.stack((ahead * still, along * still, rise), axis=-1)
        yaw = frames.extra[..., HAND_YAW][..., 0]
        turn = math.pi * np.round(yaw / math.pi) - yaw
        return glide(way, turn, np.full(hand.shape[:-1], CLOSED), rate_hz)

    return decide
