"""A family: what skills that share a network have in common - actions, features, and mirror images."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from sim.robot import Command, FloatArray, Frames, Observation, RobotSpec
from skills.symmetry import Mirror

Decide = Callable[[Observation, float, NDArray[np.float32]], FloatArray]
"""(observation, actuator phase, last sent action) -> proposed action, each in [-1, 1]."""
Script = Callable[[Frames], FloatArray]
"""frames, leading shape (...) -> what to do in each of them, shape (..., n_actions), each in [-1, 1]."""


Retreat = Callable[[Observation, float], FloatArray | None]
"""(observation, seconds since it began) -> action, shape (n_actions,); None: it is over."""


class Actuator(Protocol):
    """Turns the action in force into a command for each control period."""

    @property
    def phase_rad(self) -> float:
        """Phase of whatever moves by itself between actions; 0 where nothing does."""

    def start(self, observation: Observation) -> None:
        """Begin an attempt from ``observation``."""

    def command(self, action: FloatArray, observation: Observation) -> Command:
        """The command of the next control period.

        Args:
            action: in force. Shape: (n_actions,), each in [-1, 1].
            observation: the newest reading.
        """


class Family(ABC):
    """Skills of a family share an action space, what the policy sees, and one network."""

    name: str
    smoothing: float = 1.0
    """Weight of a new action in the low-pass filter over policy steps; 1 passes it on as it is."""
    marches: bool = False
    """Whether an action of 0 steps on the spot. That brings a robot to rest: its feet come back below the body."""

    def coming_to_rest(self, spec: RobotSpec) -> Retreat | None:
        """What is done after an attempt, before the robot takes up its stance; None: nothing."""
        del spec
        return None

    rests_from_here: bool = False
    """Whether that begins from where the robot is, rather than from where it was told to be: something may have stopped
    it on the way."""

    @abstractmethod
    def problem(self, spec: RobotSpec) -> str | None:
        """Why a robot cannot have the skills of this family, or None when it can."""

    @abstractmethod
    def action_size(self, spec: RobotSpec) -> int:
        """Number of action dimensions."""

    @abstractmethod
    def actuator(self, spec: RobotSpec, dt_s: float) -> Actuator:
        """A fresh actuator for one attempt at a control period of ``dt_s``."""

    @abstractmethod
    def feature_size(self, spec: RobotSpec) -> int:
        """Width of one feature row."""

    @abstractmethod
    def features(
        self, spec: RobotSpec, frames: Frames, phase_rad: FloatArray, last_action: FloatArray
    ) -> NDArray[np.float32]:
        """Feature rows of a batch of frames, scaled to the order of one.

        Args:
            spec: the robot the frames come from.
            frames: leading shape (batch,).
            phase_rad: the actuator's phase, shape (batch,).
            last_action: what was sent in the step before, shape (batch, n_actions).

        Returns:
            Shape (batch, feature_size), float32.
        """

    def aim(self, rows: FloatArray, commands: FloatArray) -> FloatArray:
        """What the network is told of commands, beside what the robot sees: by default the commands themselves.

        A family whose commands are places tells where they are from the robot; what is learned then holds everywhere.

        Args:
            rows: newest feature rows. Shape: (..., feature_size).
            commands: shape (..., C).

        Returns:
            Shape: (..., C).
        """
        del rows
        return commands

    def lean_rad(self, rows: FloatArray) -> FloatArray:
        """Lean of the body in feature rows, as `skills.lean.lean_rad` has it; of a family that marches.

        Args:
            rows: feature rows. Shape: (..., feature_size).

        Returns:
            Shape: (...).
        """
        raise NotImplementedError(f"the family {self.name!r} does not know how its robot leans")

    def mirrors(self, spec: RobotSpec, commands: Sequence[tuple[float, ...]]) -> tuple[Mirror, ...]:
        """Mirror images under which a robot's experience is as true as the original.

        Args:
            spec: the robot.
            commands: of the skills that learn, in the learner's order.
        """
        del spec, commands
        return ()
