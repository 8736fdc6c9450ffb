"""Controllers that walk: decisions at the policy rate, a low-pass filter, the generator at the control rate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.robot import Command, CommandMode, FloatArray, Observation, RobotSpec
from skills.skill import Progress
from skills.trajectory_generator import GaitRange, TrajectoryGenerator, action_size

Decide = Callable[[Observation, float, NDArray[np.float32]], FloatArray]
"""(observation, generator phase, last sent action) -> proposed action, each in [-1, 1]."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What one policy step did."""

    phase_rad: float
    proposed: NDArray[np.float32]
    """What the policy asked for. Shape: (n_actions,)."""
    sent: NDArray[np.float32]
    """What went to the generator after the low-pass filter. Shape: (n_actions,)."""


class GaitController:
    """Drives the trajectory generator with any function that decides actions."""

    SMOOTHING = 0.6
    """Weight of the new action in the first-order low-pass filter over policy steps."""

    def __init__(
        self,
        spec: RobotSpec,
        dt_s: float,
        decide: Decide,
        resting_action: FloatArray,
        *,
        decimation: int = 2,
        gait: GaitRange | None = None,
    ) -> None:
        """Build a controller for one attempt.

        Args:
            spec: the robot.
            dt_s: control period.
            decide: the policy.
            resting_action: the action that the low-pass filter begins from. Shape: (n_actions,).
            decimation: control periods per policy step.
            gait: meaning of the actions.

        Raises:
            ValueError: the resting action does not fit the robot.
        """
        n_actions = action_size(spec)
        if resting_action.shape != (n_actions,):
            raise ValueError(f"resting_action has shape {resting_action.shape}; {spec.name} needs ({n_actions},)")
        self.decision: Decision | None = None
        """The decision made in the newest control period, or None when the last one is still being carried out."""
        self._generator = TrajectoryGenerator(spec, dt_s, gait)
        self._decide = decide
        self._resting = resting_action.astype(np.float32)
        self._sent = self._resting
        self._decimation = decimation
        self._tick = 0
        self._kp, self._kd = spec.kp, spec.kd

    def start(self, observation: Observation) -> None:
        """Begin an attempt."""
        del observation
        self._generator.reset()
        self._sent = self._resting
        self._tick = 0
        self.decision = None

    def act(self, observation: Observation) -> Command:
        """The command for this control period; decides anew every ``decimation`` periods."""
        if self._tick % self._decimation == 0:
            phase = self._generator.phase_rad
            proposed = np.asarray(self._decide(observation, phase, self._sent), dtype=np.float32)
            # NaN would live on in the filter: leave the judgement to the safety gate and keep the last action here.
            clean = np.where(np.isfinite(proposed), np.clip(proposed, -1.0, 1.0), self._sent)
            self._sent = (self.SMOOTHING * clean + (1.0 - self.SMOOTHING) * self._sent).astype(np.float32)
            self.decision = Decision(phase, proposed, self._sent)
        else:
            self.decision = None
        self._tick += 1
        target = self._generator.step(self._sent)
        return Command(mode=CommandMode.POSITION, target=target, kp=self._kp, kd=self._kd)

    @property
    def resting_action(self) -> NDArray[np.float32]:
        """The action before the first decision. Shape: (n_actions,)."""
        return self._resting

    @property
    def phase_rad(self) -> float:
        """Phase of the trajectory generator now."""
        return self._generator.phase_rad

    def progress(self, observation: Observation) -> Progress:
        """A gait goes on until its horizon."""
        del observation
        return Progress.RUNNING
