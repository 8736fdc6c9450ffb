"""Collects one attempt, policy step by policy step, into the arrays that are stored and learned from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from sim.robot import FrameLayout, Observation
from skills.decisions import Decision
from skills.experience import AttemptArrays

Float32 = NDArray[np.float32]


class AttemptRecorder:
    """One attempt of a skill whose controller makes decisions at the policy rate."""

    def __init__(self, layout: FrameLayout, family: str, resting_action: Float32) -> None:
        """Begin with no step taken."""
        self._layout = layout
        self._family = family
        self._resting = resting_action
        self._frames: list[Float32] = []
        self._stamps_s: list[float] = []
        self._decisions: list[Decision] = []
        self._caught: list[int] = []

    def decided(self, observation: Observation, decision: Decision) -> None:
        """Note an observation and the decision made on it."""
        self._frames.append(self._layout.pack(observation))
        self._stamps_s.append(observation.stamp_s)
        self._decisions.append(decision)

    def caught(self, observation: Observation, phase_rad: float) -> None:
        """Note an observation at which a fall began to be caught: nothing is decided until that is over."""
        self._caught.append(len(self._decisions))
        last = self._decisions[-1].sent if self._decisions else self._resting
        self.decided(observation, Decision(phase_rad, last, last))

    @property
    def shielded(self) -> float:
        """Share of the decisions in which something safer was done than what the policy asked for."""
        replaced = sum(decision.replaced for decision in self._decisions)
        return replaced / len(self._decisions) if self._decisions else 0.0

    def finish(self, observation: Observation, phase_rad: float) -> AttemptArrays | None:
        """The whole attempt, closed by its last observation; None when it has not a single step."""
        if self._stamps_s and observation.stamp_s <= self._stamps_s[-1]:
            # The attempt ended before anything new was measured: its last decision has no consequence to learn from.
            self._decisions.pop()
        else:
            self._frames.append(self._layout.pack(observation))
            self._stamps_s.append(observation.stamp_s)
        if not self._decisions:
            return None
        phases = [decision.phase_rad for decision in self._decisions]
        return AttemptArrays(
            family=self._family,
            frames=np.stack(self._frames),
            stamps_s=np.array(self._stamps_s),
            actions=np.stack([decision.sent for decision in self._decisions]),
            proposed=np.stack([decision.proposed for decision in self._decisions]),
            resting=self._resting,
            phase_rad=np.array([*phases, phase_rad], dtype=np.float32),
            caught=tuple(step for step in self._caught if step < len(self._decisions)),
        )
