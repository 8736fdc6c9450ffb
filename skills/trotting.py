"""The trotting policy that PyBullet ships, left as it is, with a learned correction on top of it.

The policy is that of Tan et al. (2018), "Sim-to-Real: Learning Agile Locomotion For Quadruped Robots": a generator
moves diagonal pairs of legs along ellipses, and a network of roll, pitch and their rates adds to it. Neither was ever
trained on a robot that had drifted. The correction changes the generator's frequency, stride and lift, how much of the
network's answer counts, and each leg (as Iscen et al. 2018 modulate a generator). It is zero where nothing is learned;
learned on robots that drift, it sees enough of the past to tell what has.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sim.robot import Array, Command, CommandMode, FloatArray, Frames, Observation, RobotSpec
from skills.family import Family, Script
from skills.skill import Displacement
from skills.trajectory_generator import N_LEGS
from skills.walk import Walk

WEIGHTS = Path(__file__).parent / "library" / "minitaur_trotting_policy.npz"
ROBOT = "minitaur_trotting"
FREQUENCY_HZ = 2.0
SWING_RAD = 0.3
EXTENSION_RAD = 0.35
RESIDUAL_RAD = 0.25
"""Of the shipped policy (minitaur_trotting_env.py)."""
CORRECTION_RAD = 0.4
"""Of each leg, by what is learned on top of it, at an action of 1."""
FREQUENCY_SPAN_HZ = 1.0
STRIDE_SPAN = 1.0
LIFT_SPAN = 0.5
"""Of the generator, at an action of 1: strides and lifts as shares of its amplitudes."""
PHYSICS_S = 0.001
N_MODULATIONS = 4
"""Of the cycle and of the answer; then come the legs."""
_GYRO_SCALE = 0.2
_JOINT_VELOCITY_SCALE = 0.05


class ShippedPolicy:
    """The mean network of the policy."""

    def __init__(self) -> None:
        """Load it."""
        with np.load(WEIGHTS) as file:
            self._net = {name: file[name].astype(np.float64) for name in file.files}
        # The environment bounds angles by one turn and rates by one turn per physics step, both widened by 0.01.
        self._bound = np.array([math.tau, math.tau, math.tau / PHYSICS_S, math.tau / PHYSICS_S]) + 0.01

    def act(self, orientation_xyzw: FloatArray, angular_velocity: FloatArray) -> Array:
        """The mean action in [-1, 1] for roll, pitch and their rates. Returns shape: (8,)."""
        net = self._net
        x, y, z, w = orientation_xyzw
        roll = math.atan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y))
        pitch = math.asin(max(-1.0, min(1.0, 2.0 * (w * y - z * x))))
        scaled = np.array((roll, pitch, *angular_velocity[:2])) / self._bound
        hidden = np.clip((scaled - net["mean"]) / net["std"], -5.0, 5.0)
        for layer in "01":
            hidden = np.maximum(hidden @ net["w" + layer] + net["b" + layer], 0.0)
        action: Array = np.tanh(hidden @ net["w2"] + net["b2"])
        return action


def generator_legs_rad(phase_rad: float) -> Array:
    """Diagonal pairs of legs on ellipses, half a cycle apart: swings, then extensions. Shape: (8,)."""
    pair = phase_rad + np.array((0.0, math.pi, math.pi, 0.0))
    return np.concatenate((SWING_RAD * np.sin(pair), EXTENSION_RAD * np.cos(pair)))


def leg_command(spec: RobotSpec, legs_rad: FloatArray) -> Command:
    """The command for swings and extensions as the environment counts them, its swings to the back. Shape: (8,)."""
    if spec.leg_to_joint is None:
        raise ValueError(f"robot {spec.name!r} has no leg_to_joint")
    ours = np.concatenate((-legs_rad[:4], legs_rad[4:]))
    target = spec.stand_position_rad + spec.leg_to_joint @ ours
    return Command(mode=CommandMode.POSITION, target=target, kp=spec.kp, kd=spec.kd)


class TrottingActuator:
    """The shipped policy at the control rate, and the action in force added to it."""

    def __init__(self, spec: RobotSpec, dt_s: float) -> None:
        """Prepare for one attempt at a control period of ``dt_s``."""
        self.phase_rad = 0.0
        self._spec, self._policy, self._dt_s = spec, ShippedPolicy(), dt_s

    def start(self, observation: Observation) -> None:
        """Begin a new trot."""
        del observation
        self.phase_rad = 0.0

    def command(self, action: FloatArray, observation: Observation) -> Command:
        """What the shipped policy does about this reading, corrected."""
        frequency, stride, lift, answer = action[:N_MODULATIONS]
        scale = np.repeat((1.0 + STRIDE_SPAN * stride, 1.0 + LIFT_SPAN * lift), N_LEGS)
        shipped = self._policy.act(observation.orientation_xyzw, observation.angular_velocity)
        legs = scale * generator_legs_rad(self.phase_rad) + min(1.0, 1.0 + answer) * RESIDUAL_RAD * shipped
        legs += CORRECTION_RAD * action[N_MODULATIONS:]
        hz = FREQUENCY_HZ + FREQUENCY_SPAN_HZ * float(frequency)
        self.phase_rad = (self.phase_rad + math.tau * hz * self._dt_s) % math.tau
        return leg_command(self._spec, legs)


class TrottingFamily(Family):
    """Corrections of the shipped policy: of the cycle, of what the network answers, and of each leg."""

    name = "trot"
    smoothing = 0.6

    def problem(self, spec: RobotSpec) -> str | None:
        """Only the robot that it was made for."""
        return None if spec.name == ROBOT else f"the trotting policy is for {ROBOT}, and the robot is {spec.name!r}"

    def action_size(self, spec: RobotSpec) -> int:
        """Frequency, stride, lift, how much of the network's answer counts; then swings, then extensions."""
        return N_MODULATIONS + spec.n_joints

    def actuator(self, spec: RobotSpec, dt_s: float) -> TrottingActuator:
        """A fresh trot."""
        return TrottingActuator(spec, dt_s)

    def feature_size(self, spec: RobotSpec) -> int:
        """Width of one feature row."""
        return 3 + 3 + 2 * spec.n_joints + 2 + self.action_size(spec)

    def features(
        self, spec: RobotSpec, frames: Frames, phase_rad: FloatArray, last_action: FloatArray
    ) -> NDArray[np.float32]:
        """Up vector, gyroscope, joint positions around the stance, joint velocities, phase, last action."""
        return np.concatenate(
            (
                frames.up,
                _GYRO_SCALE * frames.angular_velocity,
                frames.joint_position - spec.stand_position_rad,
                _JOINT_VELOCITY_SCALE * frames.joint_velocity,
                np.stack((np.sin(phase_rad), np.cos(phase_rad)), axis=-1),
                last_action,
            ),
            axis=-1,
            dtype=np.float32,
        )


TROTTING = TrottingFamily()


class Trot(Walk):
    """Trot straight ahead as the shipped policy does, whatever has drifted."""

    family = TROTTING
    on_request = True
    fallen_up_z = 0.85  # minitaur_gym_env.py, is_fallen

    def prior_action(self, spec: RobotSpec) -> Array:
        """No correction."""
        return np.zeros(TROTTING.action_size(spec))

    def script(self, spec: RobotSpec) -> Script:
        """No correction: a policy that strays from what was shipped where it does not have to falls."""
        size = TROTTING.action_size(spec)
        return lambda frames: np.zeros((*frames.up.shape[:-1], size))


TROT_FORWARD = Trot(
    "trot_forward",
    "trot straight ahead by PyBullet's policy and a learned correction",
    forward=1.0,
    success_at=0.5,
    displacement=Displacement(forward_m=8.0),
)
