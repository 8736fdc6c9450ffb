"""The family of the body skills: each action is a posture, a target for every joint, on any robot that has joints.

The policy sees proprioception only, no tracker. Nothing is known of gaits here: what lies on its back needs other
motions than a walk, and the same actions have to serve for both.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from sim.robot import Array, Command, CommandMode, FloatArray, Frames, Observation, RobotSpec
from skills.family import Family
from skills.leg_mirrors import joint_image, leg_partners, leg_space_image
from skills.symmetry import Mirror
from skills.trajectory_generator import N_LEGS

NEAR_RAD = 0.6
"""Slope of a target over its action at the stance; less where a limit is nearer."""
FILTER_S = 0.03
"""Time constant of the low-pass filter between targets: at 20 decisions per second each would be a blow."""
_NEWTON_STEPS = 20
_GYRO_SCALE = 0.2
_JOINT_VELOCITY_SCALE = 0.05


class PoseActuator:
    """Joint targets around the stance, low-pass filtered at the control rate.

    An action of 0 is the stance and one of -1 or 1 a limit of the joint, with a cubic in between: fine near the stance,
    where a robot walks, and yet every posture is within reach of a robot that lies on its back.
    """

    phase_rad = 0.0

    def __init__(self, spec: RobotSpec, dt_s: float) -> None:
        """Prepare for one attempt at a control period of ``dt_s``."""
        self._stance = spec.stand_position_rad
        self._up = spec.position_upper_rad - self._stance
        self._down = self._stance - spec.position_lower_rad
        self._near = np.minimum(NEAR_RAD, np.minimum(self._up, self._down))
        self._share = -math.expm1(-dt_s / FILTER_S)
        self._kp, self._kd = spec.kp, spec.kd
        self._target: Array | None = None

    def start(self, observation: Observation) -> None:
        """Forget the last target: the first one is taken as it is."""
        del observation
        self._target = None

    def target_rad(self, action: FloatArray) -> Array:
        """Where an action leads to. Shapes: (n_joints,) in and out."""
        a = action.astype(np.float64)
        reach = np.where(a > 0.0, self._up, self._down)
        target: Array = self._stance + self._near * a + (reach - self._near) * a**3
        return target

    def action_of(self, target_rad: FloatArray) -> Array:
        """The action that leads to a target, or as near to it as any does: `target_rad` the other way round."""
        wanted = np.asarray(target_rad, np.float64) - self._stance
        reach = np.where(wanted > 0.0, self._up, self._down)
        size, near = np.minimum(np.abs(wanted) / reach, 1.0), self._near / reach
        a = size.copy()
        for _ in range(_NEWTON_STEPS):  # from below, up a slope that grows: it overshoots once, then comes back
            a -= (near * a + (1.0 - near) * a**3 - size) / (near + 3.0 * (1.0 - near) * a**2)
        action: Array = np.sign(wanted) * a
        return action

    def command(self, action: FloatArray, observation: Observation) -> Command:
        """One control period further towards the action's target."""
        del observation
        wanted = self.target_rad(action)
        self._target = wanted if self._target is None else self._target + self._share * (wanted - self._target)
        return Command(mode=CommandMode.POSITION, target=self._target, kp=self._kp, kd=self._kd)


class PoseFamily(Family):
    """Postures as actions. Its skills have no direction to be told: left and right are the same to all of them."""

    name = "body"

    def problem(self, spec: RobotSpec) -> str | None:
        """Needs a stance within the joints' limits, to move around."""
        stance, lower, upper = spec.stand_position_rad, spec.position_lower_rad, spec.position_upper_rad
        if not (len(stance) and np.all((lower < stance) & (stance < upper)) and np.isfinite(upper - lower).all()):
            return f"robot {spec.name!r} has no stance within finite limits of its joints"
        return None

    def action_size(self, spec: RobotSpec) -> int:
        """One action for each joint."""
        return spec.n_joints

    def actuator(self, spec: RobotSpec, dt_s: float) -> PoseActuator:
        """A fresh filter."""
        return PoseActuator(spec, dt_s)

    def feature_size(self, spec: RobotSpec) -> int:
        """Width of one feature row."""
        return 3 + 3 + 3 * spec.n_joints

    def features(
        self, spec: RobotSpec, frames: Frames, phase_rad: FloatArray, last_action: FloatArray
    ) -> NDArray[np.float32]:
        """Up vector, gyroscope, joint positions around the stance, joint velocities, last action."""
        del phase_rad
        return np.concatenate(
            (
                frames.up,
                _GYRO_SCALE * frames.angular_velocity,
                frames.joint_position - spec.stand_position_rad,
                _JOINT_VELOCITY_SCALE * frames.joint_velocity,
                last_action,
            ),
            axis=-1,
            dtype=np.float32,
        )

    def mirrors(self, spec: RobotSpec, commands: Sequence[tuple[float, ...]]) -> tuple[Mirror, ...]:
        """Left for right, on a robot that has it: every skill is its own partner."""
        if "left_right" not in spec.symmetries or spec.leg_to_joint is None or spec.n_feet != N_LEGS:
            return ()
        legs = leg_partners(left_right=True, front_back=False)
        index, sign = joint_image(spec, *leg_space_image(spec.leg_dofs, legs, left_right=True, front_back=False))
        starts = np.arange(3) * spec.n_joints + 6
        # World's up mirrors as a vector, the gyroscope as an axial one; position, velocity and action as the joints do.
        return (
            Mirror(
                row_index=np.concatenate((np.arange(6), *(start + index for start in starts))),
                row_sign=np.concatenate(((1, -1, 1), (-1, 1, -1), np.tile(sign, 3))),
                action_index=index,
                action_sign=sign,
                skill_of=np.arange(len(commands)),
            ),
        )


BODY = PoseFamily()
