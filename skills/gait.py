"""The family of the walking skills: a trajectory generator that a policy modulates, on any robot with four legs.

The policy sees proprioception only, no tracker, so that it works where no tracker is. One feature row per policy step;
the newest rows are stacked (history and past actions in the observation let it identify latency and dynamics; review
section 4.8).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim.robot import Command, CommandMode, FloatArray, Frames, Observation, RobotSpec
from skills.family import Family, Retreat
from skills.lean import lean_rad
from skills.leg_mirrors import joined, joint_image, leg_partners, leg_space_image
from skills.symmetry import Mirror
from skills.trajectory_generator import (
    GENERATOR_ACTIONS,
    N_LEGS,
    TrajectoryGenerator,
    action_size,
    right_ahead_rad,
)

START_TILT_RAD = math.radians(25.0)
"""A robot that leans more is not on its feet, and no walk starts."""
MARCH_S = 0.6
"""Between a walk and the stance."""
_TINY_S = 1e-6
"""Sums of control periods may be a hair short."""
_GYRO_SCALE = 0.2
_JOINT_VELOCITY_SCALE = 0.05


class GaitActuator:
    """Joint targets of the trajectory generator, one control period at a time."""

    def __init__(self, spec: RobotSpec, dt_s: float) -> None:
        """Prepare for one attempt.

        Raises:
            ValueError: the robot has no leg-space map or not four feet.
        """
        self._generator = TrajectoryGenerator(spec, dt_s)
        self._kp, self._kd = spec.kp, spec.kd

    @property
    def phase_rad(self) -> float:
        """Phase of the left front leg."""
        return self._generator.phase_rad

    def start(self, observation: Observation) -> None:
        """Begin a new gait."""
        del observation
        self._generator.reset()

    def command(self, action: FloatArray, observation: Observation) -> Command:
        """Targets of the gait one control period on."""
        del observation
        target = self._generator.step(action)
        return Command(mode=CommandMode.POSITION, target=target, kp=self._kp, kd=self._kd)


class GaitFamily(Family):
    """Walking in all directions: the command is (forward, turn)."""

    name = "walk"
    smoothing = 0.6
    marches = True

    def coming_to_rest(self, spec: RobotSpec) -> Retreat:
        """A march on the spot: a walk that is stopped dead tips.

        Told to stand at once, the zoo's A1 fell after 14 of 100 walks forward and 2 of 100 back; after a march, never
        (benchmarks/rest.py).
        """
        march = np.zeros(self.action_size(spec))
        return lambda observation, seconds: march if seconds < MARCH_S - _TINY_S else None

    def problem(self, spec: RobotSpec) -> str | None:
        """Needs four legs and a map from leg space to joints."""
        if spec.leg_to_joint is None or spec.n_feet != N_LEGS:
            return f"robot {spec.name!r} has no leg_to_joint map for four feet"
        return None

    def action_size(self, spec: RobotSpec) -> int:
        """Frequency, strides, lift, and a residual for each degree of freedom of each leg."""
        return action_size(spec)

    def actuator(self, spec: RobotSpec, dt_s: float) -> GaitActuator:
        """A fresh generator."""
        return GaitActuator(spec, dt_s)

    def feature_size(self, spec: RobotSpec) -> int:
        """Width of one feature row."""
        return 3 + 3 + 2 * spec.n_joints + 4 + action_size(spec)

    def features(
        self, spec: RobotSpec, frames: Frames, phase_rad: FloatArray, last_action: FloatArray
    ) -> NDArray[np.float32]:
        """Up vector, gyroscope, joint positions around the stance, joint velocities, both sides' phases, last action.

        Both sides' phases, because they are then mirror images of each other.
        """
        right_rad = phase_rad + right_ahead_rad(last_action, spec.leg_dofs)
        return np.concatenate(
            (
                frames.up,
                _GYRO_SCALE * frames.angular_velocity,
                frames.joint_position - spec.stand_position_rad,
                _JOINT_VELOCITY_SCALE * frames.joint_velocity,
                np.stack((np.sin(phase_rad), np.cos(phase_rad), np.sin(right_rad), np.cos(right_rad)), axis=-1),
                last_action,
            ),
            axis=-1,
            dtype=np.float32,
        )

    def lean_rad(self, rows: FloatArray) -> FloatArray:
        """From the up vector and the gyroscope."""
        return lean_rad(rows[..., 0:3], rows[..., 3:6] / _GYRO_SCALE)

    def mirrors(self, spec: RobotSpec, commands: Sequence[tuple[float, ...]]) -> tuple[Mirror, ...]:
        """Left for right, front for back, and both, as far as the robot is symmetric and the skills have partners."""
        flips = {"left_right": (True, False), "front_back": (False, True)}
        wanted = [flips[name] for name in spec.symmetries]
        if len(wanted) > 1:
            wanted.append((True, True))
        made = [self._mirror(spec, commands, left_right=lr, front_back=fb) for lr, fb in wanted]
        return tuple(mirror for mirror in made if mirror is not None)

    def _mirror(
        self, spec: RobotSpec, commands: Sequence[tuple[float, ...]], *, left_right: bool, front_back: bool
    ) -> Mirror | None:
        """One mirror image; None when a skill has no partner."""
        images = self._command_images(commands, left_right=left_right, front_back=front_back)
        if set(images) != set(commands):
            return None
        forward = -1.0 if front_back else 1.0
        legs = leg_partners(left_right=left_right, front_back=front_back)
        leg_index, leg_sign = leg_space_image(spec.leg_dofs, legs, left_right=left_right, front_back=front_back)
        joint_index, joint_sign = joint_image(spec, leg_index, leg_sign)
        strides = (2, 1) if left_right else (1, 2)
        phases = (2, 3, 0, 1) if left_right else (0, 1, 2, 3)
        action_index = np.concatenate(((0, *strides, 3), GENERATOR_ACTIONS + leg_index))
        action_sign = np.concatenate(((1, forward, forward, 1), leg_sign))
        side, end = -1.0 if left_right else 1.0, -1.0 if front_back else 1.0
        # World's up mirrors as a vector, the gyroscope as an axial one; front and back step half a cycle apart.
        parts = (
            (np.arange(3), (end, side, 1.0)),
            (np.arange(3), (side, end, side * end)),
            (joint_index, joint_sign),
            (joint_index, joint_sign),
            (np.array(phases), np.full(4, end)),
            (action_index, action_sign),
            *self._further_parts(left_right=left_right, front_back=front_back),
        )
        return Mirror(
            row_index=joined([index for index, _ in parts]),
            row_sign=np.concatenate([np.asarray(sign, np.float64) for _, sign in parts]),
            action_index=action_index,
            action_sign=action_sign,
            skill_of=np.array([list(commands).index(image) for image in images]),
        )

    def _command_images(
        self, commands: Sequence[tuple[float, ...]], *, left_right: bool, front_back: bool
    ) -> list[tuple[float, ...]]:
        """What each command becomes in the mirror."""
        forward, turn = -1.0 if front_back else 1.0, -1.0 if left_right != front_back else 1.0
        return [(forward * a, turn * b) for a, b in commands]

    def _further_parts(
        self, *, left_right: bool, front_back: bool
    ) -> tuple[tuple[NDArray[np.intp], Sequence[float]], ...]:
        """Index and sign of features that a family adds at the end of a row."""
        del left_right, front_back
        return ()


GAIT = GaitFamily()
