"""What a simulated robot remembers of its recent past, so that its sensors can be late."""

from __future__ import annotations

import math
from collections import deque
from typing import Any

from sim.motors import JointStates

BASE_HZ = 100
"""Measurements of IMU, tracker and motor current per second. Joint encoders measure at every physics step."""
SPEED_LIMIT_MPS = 20.0
"""Base speed beyond which the simulation has exploded: a fall from a table reaches 4 m/s. PyBullet itself clips
velocities at 100, so that an explosion does not grow without bound."""
HEIGHT_LIMITS_M = (-0.2, 10.0)
"""Base heights beyond which the robot fell through the floor or was shot away."""
_BASE_DEPTH = 24
"""Measurements of the base remembered: 0.24 s, more than the largest latency that the parameters take."""

Sample = tuple[Any, Any, Any, Any, tuple[float, ...]]
"""Base position, orientation, linear and angular velocity, motor currents."""


class History:
    """Past joint states, base measurements and contacts, each newest first.

    Attributes:
        joints: One entry per physics step, for just as long as the latencies need: more would only drive the rest out
            of the processor's cache.
        base_every: Physics steps per measurement of the base.
    """

    def __init__(self, physics_hz: int) -> None:
        """Nothing remembered yet; call `fill` before reading.

        Args:
            physics_hz: Physics steps per second.
        """
        self.base_every = physics_hz // BASE_HZ
        self.joints: deque[JointStates] = deque()
        self._bases: deque[Sample] = deque(maxlen=_BASE_DEPTH)
        self.origin = 0
        """Physics step from which on the base is sampled every `base_every`: when the robot was placed."""
        self._contacts: deque[tuple[int, list[float]]] = deque(maxlen=16)
        self._depth = 1

    def fill(self, joints: JointStates, base: Sample, contact: list[float], tick: int) -> None:
        """Let the whole past be like the present."""
        self.origin = tick
        self.joints = deque([joints] * self._depth, maxlen=self._depth)
        self._bases.extendleft([base] * _BASE_DEPTH)
        self._contacts.clear()
        self.note_contact(contact, tick)

    def deepen(self, depth: int) -> None:
        """Remember ``depth`` joint states from now on; an unknown past is like the oldest known state."""
        known = list(self.joints)[:depth]
        self._depth = depth
        self.joints = deque(known + known[-1:] * (depth - len(known)), maxlen=depth)

    def note_base(self, sample: Sample) -> None:
        """Add a measurement of the base, each `base_every` physics steps."""
        self._bases.appendleft(sample)

    def note_contact(self, contact: list[float], tick: int) -> None:
        """Add the contacts at a physics step."""
        self._contacts.appendleft((tick, contact))

    def base(self, tick: int, behind: int) -> Sample:
        """The measurement of the base nearest to ``behind`` physics steps before ``tick``, which is now."""
        every = self.base_every
        index = (behind - (tick - self.origin) % every + every // 2) // every
        return self._bases[min(max(index, 0), _BASE_DEPTH - 1)]

    def contact(self, tick: int) -> list[float]:
        """The newest contacts at or before a physics step, or the oldest known ones."""
        for when, contact in self._contacts:
            if when <= tick:
                return contact
        return self._contacts[-1][1]

    def newest_contact(self) -> list[float]:
        """The contacts noted last."""
        return self._contacts[0][1]


def is_sane(base: Sample, joints: JointStates) -> bool:
    """Whether the physics has not exploded."""
    position, _, linear, angular, _ = base
    low, high = HEIGHT_LIMITS_M
    # A comparison with NaN is false; joint speeds have no limit of their own, but must be numbers.
    joint_speed = sum([state[1] for state in joints]) + sum(angular)
    return low < position[2] < high and math.hypot(*linear) < SPEED_LIMIT_MPS and math.isfinite(joint_speed)
