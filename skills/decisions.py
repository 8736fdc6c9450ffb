"""The controller of every learned skill: decisions at the policy rate, a low-pass filter, an actuator in between."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.robot import Command, FloatArray, FrameLayout, Frames, Observation, RobotSpec
from skills.family import Actuator, Decide, Family, Script
from skills.skill import Progress

Judge = Callable[[Observation], Progress]
"""newest reading -> whether to go on."""
Safer = Callable[[NDArray[np.float32]], FloatArray | None]
"""proposed action -> what to do instead; None follows the proposal."""


def by_script(script: Script, spec: RobotSpec) -> Decide:
    """Decides as a script does."""
    layout = FrameLayout.of(spec)
    return lambda observation, phase_rad, last: script(Frames(layout.pack(observation), layout))


@dataclass(frozen=True, slots=True)
class Decision:
    """What one policy step did."""

    phase_rad: float
    proposed: NDArray[np.float32]
    """What the policy asked for. Shape: (n_actions,)."""
    sent: NDArray[np.float32]
    """What went to the actuator after the low-pass filter. Shape: (n_actions,)."""
    replaced: bool = False
    """Whether something safer was done than what the policy asked for."""


class DecisionController:
    """Drives an actuator with any function that decides actions."""

    def __init__(
        self,
        family: Family,
        actuator: Actuator,
        decide: Decide,
        resting_action: FloatArray,
        *,
        decimation: int,
        safer: Safer | None = None,
        judge: Judge | None = None,
    ) -> None:
        """Build a controller for one attempt.

        Args:
            family: whose actions are decided; gives the low-pass filter over policy steps.
            actuator: turns actions into commands.
            decide: the policy.
            resting_action: the action that the low-pass filter begins from. Shape: (n_actions,).
            decimation: control periods per policy step.
            safer: asked after each decision whether to do something else.
            judge: asked after each control period whether to go on; None: until the horizon.
        """
        self.family = family
        self.decision: Decision | None = None
        """The decision made in the newest control period, or None when the last one is still being carried out."""
        self._actuator = actuator
        self._decide = decide
        self._resting = resting_action.astype(np.float32)
        self._sent = self._resting
        self._decimation = decimation
        self._safer = safer
        self._judge = judge
        self._smoothing = family.smoothing
        self._tick = 0

    def start(self, observation: Observation) -> None:
        """Begin an attempt."""
        self._actuator.start(observation)
        self._sent = self._resting
        self._tick = 0
        self.decision = None

    def act(self, observation: Observation) -> Command:
        """The command for this control period; decides anew every ``decimation`` periods."""
        return self._follow(
            observation, lambda phase_rad: self._decide(observation, phase_rad, self._sent), self._safer
        )

    def act_idle(self, observation: Observation, action: FloatArray) -> Command:
        """As `act`, with the same action from here on. Its shape: (n_actions,)."""
        return self._follow(observation, lambda phase_rad: action, None)

    def _follow(self, observation: Observation, decide: Callable[[float], FloatArray], safer: Safer | None) -> Command:
        if self._tick % self._decimation == 0:
            phase = self._actuator.phase_rad
            proposed = np.asarray(decide(phase), dtype=np.float32)
            other = safer(proposed) if safer is not None else None
            chosen = proposed if other is None else other
            # NaN would live on in the filter: leave the judgement to the safety gate and keep the last action here.
            clean = np.where(np.isfinite(chosen), np.clip(chosen, -1.0, 1.0), self._sent)
            self._sent = (self._smoothing * clean + (1.0 - self._smoothing) * self._sent).astype(np.float32)
            self.decision = Decision(phase, proposed, self._sent, other is not None)
        else:
            self.decision = None
        self._tick += 1
        return self._actuator.command(self._sent, observation)

    @property
    def resting_action(self) -> NDArray[np.float32]:
        """The action before the first decision. Shape: (n_actions,)."""
        return self._resting

    @property
    def phase_rad(self) -> float:
        """Phase of the actuator now."""
        return self._actuator.phase_rad

    def progress(self, observation: Observation) -> Progress:
        """Whether to go on."""
        return Progress.RUNNING if self._judge is None else self._judge(observation)
