"""What a simulated robot remembers of its recent past, so that its sensors can be late."""

from __future__ import annotations

from collections import deque
from typing import Any

from sim.actuator import JointStates

BASE_EVERY = 5
"""Physics steps per measurement of IMU, tracker and motor current: 100 Hz. Joint encoders measure at every step."""
_BASE_DEPTH = 24
"""Measurements of the base remembered: 0.24 s, more than the largest latency that the parameters take."""

Sample = tuple[Any, Any, Any, Any, tuple[float, ...]]
"""Base position, orientation, linear and angular velocity, motor currents."""


class History:
    """Past joint states, base measurements and contacts, each newest first.

    Attributes:
        joints: One entry per physics step, for just as long as the latencies need: more would only drive the rest out
            of the processor's cache.
    """

    def __init__(self) -> None:
        """Nothing remembered yet; call `fill` before reading."""
        self.joints: deque[JointStates] = deque()
        self._bases: deque[Sample] = deque(maxlen=_BASE_DEPTH)
        self._contacts: deque[tuple[int, list[float]]] = deque(maxlen=16)
        self._depth = 1

    def fill(self, joints: JointStates, base: Sample, contact: list[float], tick: int) -> None:
        """Let the whole past be like the present."""
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
        """Add a measurement of the base, each `BASE_EVERY` physics steps."""
        self._bases.appendleft(sample)

    def note_contact(self, contact: list[float], tick: int) -> None:
        """Add the contacts at a physics step."""
        self._contacts.appendleft((tick, contact))

    def base(self, tick: int, behind: int) -> Sample:
        """The measurement of the base nearest to ``behind`` physics steps before ``tick``, which is now."""
        index = (behind - tick % BASE_EVERY + BASE_EVERY // 2) // BASE_EVERY
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
