"""Policy-modulating trajectory generator for legged robots (Iscen et al., CoRL 2018, "Policies Modulating TGs").

An open-loop generator swings the legs in a trot, or in a bound when the sides stride in opposite directions; the policy
changes frequency, stride and lift, and adds a residual to each leg. Targets are continuous in phase and action, and a
policy that leaves the generator alone already steps. The generator works in leg space (swing, extension), which
`RobotSpec.leg_to_joint` maps to joints.

Why two gaits: legs that only swing fore and aft cannot turn a robot that stands on a diagonal pair, since turning would
drag both feet sideways over more than twice the way that the legs can push them. A front or back pair can turn about
the middle between its feet.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from sim.robot import Array, FloatArray, RobotSpec

N_LEGS = 4
"""Order: front left, back left, front right, back right."""

BOUND_AT = 0.2
"""The trot has become a bound when the strides of both sides point apart by this much."""

GENERATOR_ACTIONS = 4
"""frequency, stride left, stride right, lift; then one swing and one extension residual per leg."""


@dataclass(frozen=True, kw_only=True)
class GaitRange:
    """What an action in [-1, 1] means for the gait."""

    frequency_hz: float = 2.5
    """Stepping frequency at action 0."""
    frequency_span_hz: float = 1.0
    stride_rad: float = 0.6
    """Swing amplitude at action 1. The mean of both sides walks; their difference turns once it outweighs the mean."""
    lift_rad: float = 0.5
    """How far a leg shortens in mid-swing at action 0."""
    lift_span_rad: float = 0.25
    residual_swing_rad: float = 0.2
    residual_extension_rad: float = 0.2


def action_size(spec: RobotSpec) -> int:
    """Number of action dimensions of the walking family for a robot."""
    return GENERATOR_ACTIONS + 2 * spec.n_feet


class TrajectoryGenerator:
    """Turns actions into joint targets, one control period at a time."""

    def __init__(self, spec: RobotSpec, dt_s: float, gait: GaitRange | None = None) -> None:
        """Prepare for one robot.

        Args:
            spec: needs ``leg_to_joint`` and four feet in the order front left, back left, front right, back right.
            dt_s: control period.
            gait: meaning of the actions.

        Raises:
            ValueError: the robot has no leg-space map or not four feet.
        """
        if spec.leg_to_joint is None or spec.n_feet != N_LEGS:
            raise ValueError(
                f"robot {spec.name!r} has no leg_to_joint map for four feet; it cannot use a trot generator"
            )
        self.gait = gait or GaitRange()
        self.phase_rad = 0.0
        self._spec = spec
        self._map = spec.leg_to_joint
        self._dt_s = dt_s

    def reset(self, phase_rad: float = 0.0) -> None:
        """Begin a new gait at ``phase_rad``."""
        self.phase_rad = phase_rad

    def step(self, action: FloatArray) -> Array:
        """Advance the phase by one control period and return joint targets.

        Args:
            action: shape (4 + 2 * n_feet,), each in [-1, 1].

        Returns:
            Joint targets, shape (n_joints,), rad.
        """
        gait = self.gait
        frequency = gait.frequency_hz + gait.frequency_span_hz * float(action[0])
        self.phase_rad = (self.phase_rad + 2.0 * np.pi * frequency * self._dt_s) % (2.0 * np.pi)
        return self._spec.stand_position_rad + self._map @ leg_targets(gait, self.phase_rad, action)


def leg_targets(gait: GaitRange, phase_rad: float, action: FloatArray) -> Array:
    """Leg-space targets of the gait at one phase.

    Args:
        gait: meaning of the action.
        phase_rad: phase of the left front leg.
        action: shape (4 + 2 * 4,), each in [-1, 1].

    Returns:
        Swings, then extensions, around the stance. Shape: (8,), rad.
    """
    left, right = float(action[1]), float(action[2])
    forward, turn = 0.5 * (right + left), 0.5 * (right - left)
    bound = min(max(abs(turn) - abs(forward), 0.0) / BOUND_AT, 1.0)
    # In a trot the right side runs half a cycle ahead, in a bound both sides run together.
    ahead = math.copysign(math.pi * (1.0 - bound), turn)
    phase = phase_rad + np.array((0.0, math.pi, ahead, math.pi + ahead))
    # A difference between the sides only brakes a trot. In a bound the body tips onto the pair that is short, so that
    # feet push while they swing to the front, and the difference acts with the opposite sign.
    turn *= -bound
    stride = gait.stride_rad * np.array((forward - turn, forward - turn, forward + turn, forward + turn))
    lift = gait.lift_rad + gait.lift_span_rad * action[3]
    residual = action[GENERATOR_ACTIONS:]
    # In the first half of its phase a leg shortens, and swings from -stride to +stride.
    swing = -stride * np.cos(phase) + gait.residual_swing_rad * residual[:N_LEGS]
    extension = -lift * np.maximum(np.sin(phase), 0.0) + gait.residual_extension_rad * residual[N_LEGS:]
    return np.concatenate((swing, extension))
