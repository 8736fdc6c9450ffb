"""Scripted recovery: stand up from any fallen pose, by feedback from the robot's own sensors alone.

The legs of a robot with a `RobotSpec.leg_to_joint` map swing all the way round, so they reach the floor on the robot's
back as well as below its belly. The script is a set of short moves. When one ends, the next is chosen from which way is
up in the body frame:

* on its back: tuck the legs above the back, then thrust with one side only, which throws the robot over the other;
* on its side: stretch the free upper legs below the belly and swing them over the back, until the body rocks over to
  either face;
* on its belly or feet: fold the legs, bring them below the body the unwound way, rise;
* a leg caught under the body, which does not fold: let it go, lift the body with the others, swing it out;
* a leg whose linkage has folded through (its foot points the wrong way at healthy joint angles, so the robot stands
  tilted over that corner): flick it past the point where its knees meet, so that the foot flies outward again.

Targets are absolute joint angles near the stance, never an equivalent some turns away, because gaits use absolute ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.robot import Array, Observation, RobotSpec, Transition
from skills.recovery_script import Move, RecoveryScript
from skills.skill import ScriptedSkill, SkillKind
from skills.stand import UPRIGHT_TILT_RAD
from skills.stand_up_abducted import AbductedStandUp

_SHORT_RAD, _LONG_RAD = -1.4, 0.8
"""Extension from the stance of a folded and of a stretched leg; the leg's own limits are a little wider."""
_THRUST = 1.5
"""Position gain of strokes that need all the torque there is, over the robot's own."""
_REACH_RAD = 0.5
"""Extension of legs that swing fast: far enough from straight not to pass it by overshoot."""
_STUCK_RAD, _AT_LIMIT = 0.8, 0.95
"""A leg that has folded by so much less than it was told to, or one of whose motors still gives this share of its
torque, is caught under the body."""
_MOST_FREES = 2
"""In a row; then the robot rises with what there is."""
_OUT_SWING_RAD, _OUT_EXTENSION_RAD = 1.5, -0.5
"""Where it is swung to, away from the body."""
_RISEN_RAD = 0.4
"""A robot that has risen and leans more than this has a leg that does not carry."""
_BELLY_ROLL_RAD, _BACK_ROLL_RAD = 1.1, 2.2
"""Rolls below and above which the robot counts as belly down and as upside down; between them it lies on a side."""
_CLEAR_LEAN = 0.35
"""Sideways part of the body's vertical above which a robot on its back is thrown over the side that it leans to. Below,
tucking the legs levels it, and either side will do."""
_THROW_M = 0.8
"""How far a throw and what follows take the robot, sideways."""
_BACK_MOVES = frozenset({"tuck", "throw", "follow"})
_ROCK_MOVES = frozenset({"load", "swing", "home"})


@dataclass(frozen=True, kw_only=True)
class _Stroke:
    """One stroke of a flick; swing counts away from the body's middle, extension from the stance."""

    duration_s: float
    swing_rad: float
    extension_rad: float
    gain: float = 1.0
    damping: float = 1.0


_FLICKS = (
    (
        _Stroke(duration_s=0.5, swing_rad=1.5, extension_rad=-1.4),
        _Stroke(duration_s=0.16, swing_rad=3.1, extension_rad=-1.54, damping=0.0),
        _Stroke(duration_s=0.2, swing_rad=3.1, extension_rad=0.5, damping=0.0),
    ),
    (
        _Stroke(duration_s=0.5, swing_rad=-1.5, extension_rad=0.6),
        _Stroke(duration_s=0.1, swing_rad=1.5, extension_rad=0.85, damping=0.0),
        _Stroke(duration_s=0.1, swing_rad=-1.5, extension_rad=0.5, gain=6.0, damping=0.0),
    ),
    (
        _Stroke(duration_s=0.5, swing_rad=0.0, extension_rad=-0.4),
        _Stroke(duration_s=0.1, swing_rad=-1.5, extension_rad=-1.54, gain=6.0),
        _Stroke(duration_s=0.2, swing_rad=4.3, extension_rad=0.85, gain=3.0),
    ),
)
"""Found by a random search in simulation over two-stroke flicks: each puts any of the four legs right from lying level.
Undamped, or at a high gain, the leg overshoots to where its knees meet; its foot is free there and flies outward."""


class StandUp(ScriptedSkill):
    """Stand up from any fallen pose."""

    name = "stand_up"
    kind = SkillKind.RECOVERY
    summary = "stand up from any fallen pose"
    horizon_s = 20.0

    def problem(self, spec: RobotSpec) -> str | None:
        """Needs legs."""
        if spec.leg_to_joint is None or spec.hip_positions_m is None:
            return f"robot {spec.name!r} has no legs that it says how to move (leg_to_joint, hip_positions_m)"
        return None

    def controller(self, spec: RobotSpec, dt_s: float) -> RecoveryScript:
        """A fresh script for one try, the one for the robot's legs.

        Raises:
            ValueError: the robot does not say how its legs map to joints.
        """
        return AbductedStandUp(spec, dt_s) if spec.leg_dofs == 3 else StandUpController(spec, dt_s)

    def success(self, transition: Transition) -> bool:
        """Whether the last frame is upright."""
        return bool(transition.next_frame.up[-1, 2] > math.cos(UPRIGHT_TILT_RAD))


class StandUpController(RecoveryScript):
    """The script for legs that swing all the way round; the same observations give the same commands."""

    def _begin(self) -> None:
        super()._begin()
        self._throws = 0
        self._rocks = 0
        self._frees = 0
        self._repairs = 0
        self._last = ""

    def _ended(self, name: str) -> None:
        self._last = name

    def _overtaken(self, name: str, roll: float) -> bool:
        """Whether the body has moved on while a move for another posture is under way."""
        if name in _ROCK_MOVES:
            return not _BELLY_ROLL_RAD - 0.1 < abs(roll) < _BACK_ROLL_RAD + 0.1
        if name in _BACK_MOVES:
            return abs(roll) < _BELLY_ROLL_RAD - 0.1
        return abs(roll) > _BELLY_ROLL_RAD + 0.2

    # --- choice of moves ---------------------------------------------------------------------------------------------

    def _plan(self, observation: Observation, legs: Array, roll: float) -> list[Move]:
        if abs(roll) > _BACK_ROLL_RAD:
            return self._throw_over(observation, legs)
        if abs(roll) > _BELLY_ROLL_RAD:
            return self._rock(observation)
        return self._rise(observation, legs)

    def _throw_over(self, observation: Observation, legs: Array) -> list[Move]:
        """Tuck the legs above the back, thrust with one side, follow through with short legs."""
        self._throws += 1
        lean = float(observation.up[1])
        side = math.copysign(1.0, lean) if abs(lean) > _CLEAR_LEAN else _side_to_middle(observation)
        if self._throws % 3 == 0:
            # Twice in vain: something is in the way on that side.
            side = -side
        above = np.where(legs[: self._n] >= 0.0, math.pi, -math.pi)
        short = np.full(self._n, _SHORT_RAD)
        thrust = np.where(self._left * side > 0.0, _LONG_RAD, _SHORT_RAD)
        return [
            Move(name="tuck", duration_s=0.5, swing_rad=above, extension_rad=short, ramp=True),
            Move(name="throw", duration_s=0.45, swing_rad=above, extension_rad=thrust, gain=_THRUST),
            Move(name="follow", duration_s=0.4, swing_rad=above, extension_rad=short),
        ]

    def _rock(self, observation: Observation) -> list[Move]:
        """Lower legs folded, upper legs stretched below the belly, then swung over the back and home again.

        Each stroke pushes the body the other way. The pause varies from round to round, because the rocking period,
        which a stroke must meet to feed it, differs with how the lower legs prop the body.
        """
        self._rocks += 1
        upper = self._left * math.copysign(1.0, observation.up[1]) > 0.0
        zeros, short = np.zeros(self._n), np.full(self._n, _SHORT_RAD)
        over = np.where(upper, math.pi, 0.0)
        stretched = np.where(upper, _REACH_RAD, _SHORT_RAD)
        pause = (0.5, 0.35, 0.7)[self._rocks % 3]
        return [
            Move(name="load", duration_s=pause, swing_rad=zeros, extension_rad=stretched),
            Move(name="swing", duration_s=0.25, swing_rad=over, extension_rad=stretched, gain=_THRUST),
            Move(name="home", duration_s=0.25, swing_rad=zeros, extension_rad=short),
        ]

    def _rise(self, observation: Observation, legs: Array) -> list[Move]:
        """Fold, rise, stand; in between, free legs that did not fold and repair those that do not carry."""
        zeros, short = np.zeros(self._n), np.full(self._n, _SHORT_RAD)
        if self._last == "fold":
            stuck = self._stuck(observation, legs)
            # With more than half of them stuck there is nothing to stand on.
            if 0 < stuck.sum() <= self._n // 2 and self._frees < _MOST_FREES:
                return self._free(stuck, legs)
            self._frees = 0
            return [Move(name="lift", duration_s=0.5, swing_rad=zeros, extension_rad=zeros, ramp=True)]
        if self._last == "lift" and observation.tilt_rad < _RISEN_RAD:
            return [Move(name="stand", duration_s=1.2, swing_rad=zeros, extension_rad=zeros)]
        fold = [Move(name="fold", duration_s=0.6, swing_rad=zeros, extension_rad=short, ramp=True)]
        if self._last in {"lift", "stand"}:
            bad = self._bad_leg(observation)
            if bad.any():
                return self._repair(bad) + fold
        return fold

    def _stuck(self, observation: Observation, legs: Array) -> NDArray[np.bool_]:
        """Legs that have not folded, and those of a motor that is at its limit. Shape: (n_feet,)."""
        extension = legs[self._n : 2 * self._n]
        at_limit = np.abs(observation.joint_torque) > _AT_LIMIT * self._spec.torque_limit_nm
        pulling = np.reshape(np.abs(self._to_joint).T @ at_limit > 0.0, (-1, self._n)).any(axis=0)
        return pulling | (np.abs(extension - _SHORT_RAD) > _STUCK_RAD)

    def _free(self, stuck: NDArray[np.bool_], legs: Array) -> list[Move]:
        """Take the weight off legs that are caught under the body, by standing on the others, and swing them out.

        To pull at them would only keep their motors at the limit. Where that was in vain, the others tip the body over.
        """
        self._frees += 1
        zeros = np.zeros(self._n)
        others = np.full(self._n, 0.0 if self._frees % 2 else _REACH_RAD)
        return [
            Move(
                name="unload",
                duration_s=0.5,
                swing_rad=np.where(stuck, legs[: self._n], zeros),
                extension_rad=np.where(stuck, legs[self._n : 2 * self._n], others),
                ramp=True,
                limp=stuck,
            ),
            Move(
                name="swing out",
                duration_s=0.6,
                swing_rad=np.where(stuck, _OUT_SWING_RAD * np.sign(legs[: self._n]), zeros),
                extension_rad=np.where(stuck, _OUT_EXTENSION_RAD, others),
            ),
        ]

    def _bad_leg(self, observation: Observation) -> NDArray[np.bool_]:
        """The leg below the lowest corner of the body, or all that do not touch the floor when it lies level."""
        down = self._hips @ observation.up[:2]
        if down.max() - down.min() > 0.05:
            return np.asarray(down == down.min())
        return np.asarray(self._stand.contact < 0.5)

    def _repair(self, bad: NDArray[np.bool_]) -> list[Move]:
        """Point the bad legs somewhere, then flick them; the next repair uses another flick."""
        flick = _FLICKS[self._repairs % len(_FLICKS)]
        self._repairs += 1
        return [
            Move(
                name="flick",
                duration_s=stroke.duration_s,
                swing_rad=np.where(bad, stroke.swing_rad * np.sign(self._hips[:, 0]), 0.0),
                extension_rad=np.where(bad, stroke.extension_rad, _SHORT_RAD),
                gain=stroke.gain,
                damping=stroke.damping,
            )
            for stroke in flick
        ]


def _side_to_middle(observation: Observation) -> float:
    """The side to be thrown over, 1 or -1, that keeps the robot nearer to the middle of its floor, away from the fence.

    Over side 1 the robot travels to the left of the tracker's heading. A position that is not known gives 1.
    """
    x, y, _ = observation.base_position
    left_x, left_y = -_THROW_M * math.sin(observation.base_yaw), _THROW_M * math.cos(observation.base_yaw)
    over_left, over_right = max(abs(x + left_x), abs(y + left_y)), max(abs(x - left_x), abs(y - left_y))
    return -1.0 if over_right < over_left else 1.0
