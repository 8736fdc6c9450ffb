"""What recovery scripts share: short moves of the legs, chosen by feedback."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.robot import Array, Command, CommandMode, Observation, RobotSpec
from skills.skill import Progress
from skills.stand import Stand


@dataclass(frozen=True, kw_only=True)
class Move:
    """One target of the legs, held or approached for a while."""

    name: str
    duration_s: float
    swing_rad: Array
    """Shape: (n_feet,)."""
    extension_rad: Array
    """From the stance. Shape: (n_feet,)."""
    abduction_rad: Array | None = None
    """Of legs that have it. Shape: (n_feet,)."""
    gain: float = 1.0
    """Multiplies the robot's position gain."""
    ramp: bool = False
    """Approach the target over most of the duration instead of at once."""
    damping: float = 1.0
    """Multiplies the robot's velocity gain."""
    limp: NDArray[np.bool_] | None = None
    """Legs that are let go meanwhile. Shape: (n_feet,)."""

    @property
    def legs(self) -> Array:
        """The target in leg space. Shape: (leg_dofs * n_feet,), rad."""
        parts = (self.swing_rad, self.extension_rad)
        return np.concatenate(parts if self.abduction_rad is None else (*parts, self.abduction_rad))


class RecoveryScript(ABC):
    """A feedback script over short moves; the same observations give the same commands."""

    def __init__(self, spec: RobotSpec, dt_s: float) -> None:
        """Prepare for one try.

        Raises:
            ValueError: the robot lacks ``leg_to_joint`` or ``hip_positions_m``.
        """
        if spec.leg_to_joint is None or spec.hip_positions_m is None:
            raise ValueError(f"robot {spec.name!r} has no leg_to_joint or no hip_positions_m; add both to its spec")
        self._spec = spec
        self._dt = dt_s
        self._to_joint = spec.leg_to_joint
        self._to_leg = np.linalg.inv(spec.leg_to_joint)
        self._n = spec.n_feet
        self._hips = spec.hip_positions_m[:, :2]
        self._left = np.sign(self._hips[:, 1])
        self._stand = Stand(spec, dt_s)
        self._begin()

    def _begin(self) -> None:
        """Forget the last try."""
        self._moves: list[Move] = []
        self._elapsed_s = 0.0
        self._from = np.zeros(len(self._to_leg))
        self._stand.reset()

    def start(self, observation: Observation) -> None:
        """Begin a try."""
        del observation
        self._begin()

    def progress(self, observation: Observation) -> Progress:
        """Succeeded once the robot stands."""
        return Progress.SUCCEEDED if self._stand.update(observation) else Progress.RUNNING

    def act(self, observation: Observation) -> Command:
        """The command for this control period."""
        legs = self._to_leg @ (observation.joint_position - self._spec.stand_position_rad)
        roll = roll_of(observation)
        if self._moves and self._overtaken(self._moves[0].name, roll):
            self._moves.clear()
        if not self._moves:
            self._moves = self._plan(observation, legs, roll)
            self._enter(legs)
        move = self._moves[0]
        self._elapsed_s += self._dt
        command = self._position(move)
        if self._elapsed_s >= move.duration_s:
            self._ended(self._moves.pop(0).name)
            self._enter(legs)
        return command

    @abstractmethod
    def _plan(self, observation: Observation, legs: Array, roll: float) -> list[Move]:
        """The next moves, at least one.

        Args:
            observation: Newest reading.
            legs: Leg-space position from the stance, as `RobotSpec.leg_to_joint` orders it.
            roll: `roll_of` the body.
        """

    @abstractmethod
    def _overtaken(self, name: str, roll: float) -> bool:
        """Whether the body has moved on while a move for another posture is under way."""

    def _ended(self, name: str) -> None:
        """Note that a move came to its end."""
        del name

    def _enter(self, legs: Array) -> None:
        self._elapsed_s = 0.0
        self._from = legs

    def _position(self, move: Move) -> Command:
        target = move.legs
        if move.ramp:
            share = min(1.0, self._elapsed_s / (0.7 * move.duration_s))
            target = self._from + share * (target - self._from)
        spec = self._spec
        return Command(
            mode=CommandMode.POSITION,
            target=spec.stand_position_rad + self._to_joint @ target,
            kp=move.gain * spec.kp,
            kd=move.damping * spec.kd,
            gain_scale=None if move.limp is None else self._held(move.limp),
        )

    def _held(self, limp: NDArray[np.bool_]) -> Array:
        """1 for each joint that moves no leg which is let go, else 0."""
        moved = np.abs(self._to_joint) @ np.tile(limp, self._spec.leg_dofs)
        return np.where(moved > 0.0, 0.0, 1.0)


def roll_of(observation: Observation) -> float:
    """Roll of the body: 0 level, positive with the left side up, beyond pi / 2 upside down."""
    up = observation.up
    return math.atan2(up[1], up[2])
