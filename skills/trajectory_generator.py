"""Policy-modulating trajectory generator for legged robots (Iscen et al., CoRL 2018, "Policies Modulating TGs").

An open-loop generator swings the legs in a trot; the policy changes frequency, stride and lift, and adds a residual to
each leg. Targets are continuous in phase and action, and a policy that leaves the generator alone already steps. The
generator works in leg space (swing, extension and, where legs have it, abduction), which `RobotSpec.leg_to_joint` maps
to joints.

Turning: legs with abduction keep trotting; front legs step to one side and back legs to the other, so that every
standing foot moves as the floor turns below the body. Legs that only swing fore and aft cannot turn a robot that stands
on a diagonal pair, since turning would drag both feet sideways over more than twice the way that the legs can push
them. Such a robot bounds when its sides stride in opposite directions: a front or back pair can turn about the middle
between its feet.
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
"""frequency, stride left, stride right, lift; then the residuals of all swings, extensions and abductions."""


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
    turn_stride_rad: float = 0.2
    """Of legs with abduction: swing amplitude at stride actions -1 and 1, opposite on both sides."""
    turn_sidestep_rad: float = 0.28
    """And abduction amplitude, opposite at both ends. In the ratio of the feet's places ahead of and beside the body's
    middle, so that all feet turn about it."""
    residual_swing_rad: float = 0.2
    residual_extension_rad: float = 0.2
    residual_abduction_rad: float = 0.2


ABDUCTED_LEGS = GaitRange(
    frequency_hz=3.5,
    stride_rad=0.4,
    lift_rad=0.45,
    lift_span_rad=0.1,
    residual_swing_rad=0.12,
    residual_extension_rad=0.12,
    residual_abduction_rad=0.08,
)
"""For legs of abduction, hip and knee. They are long and stiff: what steers a leg of the Minitaur tips this robot."""


def gait_range(spec: RobotSpec) -> GaitRange:
    """What actions mean for a robot's legs."""
    return ABDUCTED_LEGS if spec.leg_dofs == 3 else GaitRange()


def action_size(spec: RobotSpec) -> int:
    """Number of action dimensions of the walking family for a robot."""
    return GENERATOR_ACTIONS + spec.leg_dofs * spec.n_feet


class TrajectoryGenerator:
    """Turns actions into joint targets, one control period at a time."""

    def __init__(self, spec: RobotSpec, dt_s: float, gait: GaitRange | None = None) -> None:
        """Prepare for one robot.

        Args:
            spec: needs ``leg_to_joint`` and four feet in the order front left, back left, front right, back right.
            dt_s: control period.
            gait: meaning of the actions; what suits the robot's legs when None.

        Raises:
            ValueError: the robot has no leg-space map or not four feet.
        """
        if spec.leg_to_joint is None or spec.n_feet != N_LEGS:
            raise ValueError(
                f"robot {spec.name!r} has no leg_to_joint map for four feet; it cannot use a trot generator"
            )
        self.gait = gait or gait_range(spec)
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
            action: shape (4 + leg_dofs * n_feet,), each in [-1, 1].

        Returns:
            Joint targets, shape (n_joints,), rad.
        """
        gait = self.gait
        frequency = gait.frequency_hz + gait.frequency_span_hz * float(action[0])
        self.phase_rad = (self.phase_rad + 2.0 * np.pi * frequency * self._dt_s) % (2.0 * np.pi)
        return self._spec.stand_position_rad + self._map @ leg_targets(gait, self.phase_rad, action)


def right_ahead_rad(action: FloatArray, leg_dofs: int = 2) -> FloatArray:
    """How far the right side's phase runs ahead of the left side's: half a cycle in a trot, nothing in a bound.

    Args:
        action: shape (..., n_actions).
        leg_dofs: degrees of freedom of a leg; three always trot.

    Returns:
        Shape (...), rad.
    """
    if leg_dofs == 3:
        return np.full(action.shape[:-1], math.pi)
    left, right = action[..., 1], action[..., 2]
    forward, turn = 0.5 * (right + left), 0.5 * (right - left)
    bound = np.clip((np.abs(turn) - np.abs(forward)) / BOUND_AT, 0.0, 1.0)
    ahead: FloatArray = np.copysign(math.pi * (1.0 - bound), turn)
    return ahead


def leg_targets(gait: GaitRange, phase_rad: float, action: FloatArray) -> Array:
    """Leg-space targets of the gait at one phase.

    Args:
        gait: meaning of the action.
        phase_rad: phase of the left front leg.
        action: shape (4 + leg_dofs * 4,), each in [-1, 1].

    Returns:
        Swings, extensions and, where legs have them, abductions, around the stance. Shape: (leg_dofs * 4,), rad.
    """
    lift = gait.lift_rad + gait.lift_span_rad * action[3]
    residual = action[GENERATOR_ACTIONS:].reshape(-1, N_LEGS)
    steps = _bound_or_trot if len(residual) == 2 else _trot
    phase, stride, sidestep = steps(gait, phase_rad, float(action[1]), float(action[2]))
    # In the first half of its phase a leg shortens, and swings from -stride to +stride.
    swing = -stride * np.cos(phase) + gait.residual_swing_rad * residual[0]
    extension = -lift * np.maximum(np.sin(phase), 0.0) + gait.residual_extension_rad * residual[1]
    if len(residual) == 2:
        return np.concatenate((swing, extension))
    abduction = -sidestep * np.cos(phase) + gait.residual_abduction_rad * residual[2]
    return np.concatenate((swing, extension, abduction))


def _trot(gait: GaitRange, phase_rad: float, left: float, right: float) -> tuple[Array, Array, Array]:
    """Phase, stride and sidestep of each leg: the sides turn by different strides, the ends by stepping sideways."""
    forward, turn = 0.5 * (right + left), 0.5 * (right - left)
    walk, pull = gait.stride_rad * forward, gait.turn_stride_rad * turn
    phase = phase_rad + np.array((0.0, math.pi, math.pi, 2.0 * math.pi))
    stride = np.array((walk - pull, walk - pull, walk + pull, walk + pull))
    sidestep = gait.turn_sidestep_rad * turn * np.array((1.0, -1.0, 1.0, -1.0))
    return phase, stride, sidestep


def _bound_or_trot(gait: GaitRange, phase_rad: float, left: float, right: float) -> tuple[Array, Array, Array]:
    """Phase and stride of each leg: a trot, or a bound once the sides' strides differ by more than their mean."""
    forward, turn = 0.5 * (right + left), 0.5 * (right - left)
    bound = min(max(abs(turn) - abs(forward), 0.0) / BOUND_AT, 1.0)
    # In a trot the right side runs half a cycle ahead, in a bound both sides run together.
    ahead = math.copysign(math.pi * (1.0 - bound), turn)
    phase = phase_rad + np.array((0.0, math.pi, ahead, math.pi + ahead))
    # A difference between the sides only brakes a trot. In a bound the body tips onto the pair that is short, so that
    # feet push while they swing to the front, and the difference acts with the opposite sign.
    turn *= -bound
    stride = gait.stride_rad * np.array((forward - turn, forward - turn, forward + turn, forward + turn))
    return phase, stride, np.zeros(N_LEGS)
