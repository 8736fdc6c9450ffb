"""Scripted recovery: stand up from any fallen pose, by feedback from the robot's own sensors alone.

The legs of a robot with a `RobotSpec.leg_to_joint` map swing all the way round, so they reach the floor on the robot's
back as well as below its belly. The script is a set of short moves. When one ends, the next is chosen from which way is
up in the body frame:

* on its back: tuck the legs above the back, then thrust with one side only, which throws the robot over the other;
* on its side: stretch the free upper legs below the belly and swing them over the back, until the body rocks over to
  either face;
* on its belly or feet: fold the legs, bring them below the body the unwound way, rise;
* a leg whose linkage has folded through (its foot points the wrong way at healthy joint angles, so the robot stands
  tilted over that corner): flick it past the point where its knees meet, so that the foot flies outward again.

Targets are absolute joint angles near the stance, never an equivalent some turns away, because gaits use absolute ones.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sim.robot import Array, Command, CommandMode, Observation, RobotSpec, Transition
from skills.skill import Progress, ScriptedSkill, SkillKind

UPRIGHT_TILT_RAD = math.radians(15.0)
"""Tilt below which the robot counts as upright."""
_STANCE_RAD = 0.4
"""Largest distance of a joint from the stance while standing; the weight bends it by about 0.1."""
_STILL_RADPS = 0.6
"""Largest body rate while standing still; far above the noise of a gyroscope, 0.01 rad/s in simulation."""
_STILL_JOINT_RADPS = 2.0
_HOLD_S = 0.5
"""How long the robot must stand still before it has stood up."""

_SHORT_RAD, _LONG_RAD = -1.4, 0.8
"""Extension from the stance of a folded and of a stretched leg; the leg's own limits are a little wider."""
_THRUST = 1.5
"""Position gain of strokes that need all the torque there is, over the robot's own."""
_REACH_RAD = 0.5
"""Extension of legs that swing fast: far enough from straight not to pass it by overshoot."""
_BELLY_ROLL_RAD, _BACK_ROLL_RAD = 1.1, 2.2
"""Rolls below and above which the robot counts as belly down and as upside down; between them it lies on a side."""
_BACK_MOVES = frozenset({"tuck", "throw", "follow"})
_ROCK_MOVES = frozenset({"load", "swing", "home"})


@dataclass(frozen=True, kw_only=True)
class _Move:
    """One target of the legs, held or approached for a while."""

    name: str
    duration_s: float
    swing_rad: Array
    """Shape: (n_feet,)."""
    extension_rad: Array
    """From the stance. Shape: (n_feet,)."""
    gain: float = 1.0
    """Multiplies the robot's position gain."""
    ramp: bool = False
    """Approach the target over most of the duration instead of at once."""
    damping: float = 1.0
    """Multiplies the robot's velocity gain."""


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

    def controller(self, spec: RobotSpec, dt_s: float) -> StandUpController:
        """A fresh script for one try.

        Raises:
            ValueError: the robot does not say how its legs map to joints.
        """
        return StandUpController(spec, dt_s)

    def success(self, transition: Transition) -> bool:
        """Whether the last frame is upright."""
        return bool(transition.next_frame.up[-1, 2] > math.cos(UPRIGHT_TILT_RAD))


class StandUpController:
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
        self._begin()

    def _begin(self) -> None:
        self._moves: list[_Move] = []
        self._elapsed_s = 0.0
        self._from = np.zeros(2 * self._n)
        self._still_s = 0.0
        self._throws = 0
        self._rocks = 0
        self._repairs = 0
        self._stood_badly = False
        self._contact = np.zeros(self._n)

    def start(self, observation: Observation) -> None:
        """Begin a try."""
        del observation
        self._begin()

    def progress(self, observation: Observation) -> Progress:
        """Succeeded after half a second of standing still, upright, on most feet, joints near the stance."""
        o = observation
        standing = (
            _up(o)[2] > math.cos(UPRIGHT_TILT_RAD)
            and float(np.abs(o.joint_position - self._spec.stand_position_rad).max()) < _STANCE_RAD
            and float(np.abs(o.joint_velocity).max()) < _STILL_JOINT_RADPS
            and float(np.abs(o.angular_velocity).max()) < _STILL_RADPS
            and float(self._contact.mean()) > 0.5
        )
        self._still_s = self._still_s + self._dt if standing else 0.0
        return Progress.SUCCEEDED if self._still_s >= _HOLD_S else Progress.RUNNING

    def act(self, observation: Observation) -> Command:
        """The command for this control period."""
        self._contact += 0.1 * (observation.foot_contact - self._contact)
        legs = self._to_leg @ (observation.joint_position - self._spec.stand_position_rad)
        roll = _roll(observation)
        if self._moves and self._overtaken(self._moves[0].name, roll):
            self._moves.clear()
        if not self._moves:
            self._moves = self._plan(observation, legs, roll)
            self._enter(legs)
        move = self._moves[0]
        self._elapsed_s += self._dt
        command = self._position(move)
        if self._elapsed_s >= move.duration_s:
            self._stood_badly = self._moves.pop(0).name == "stand"
            self._enter(legs)
        return command

    def _enter(self, legs: Array) -> None:
        self._elapsed_s = 0.0
        self._from = legs

    def _overtaken(self, name: str, roll: float) -> bool:
        """Whether the body has moved on while a move for another posture is under way."""
        if name in _ROCK_MOVES:
            return not _BELLY_ROLL_RAD - 0.1 < abs(roll) < _BACK_ROLL_RAD + 0.1
        if name in _BACK_MOVES:
            return abs(roll) < _BELLY_ROLL_RAD - 0.1
        return abs(roll) > _BELLY_ROLL_RAD + 0.2

    # --- choice of moves ---------------------------------------------------------------------------------------------

    def _plan(self, observation: Observation, legs: Array, roll: float) -> list[_Move]:
        if abs(roll) > _BACK_ROLL_RAD:
            return self._throw_over(observation, legs)
        if abs(roll) > _BELLY_ROLL_RAD:
            return self._rock(observation)
        return self._rise(observation)

    def _throw_over(self, observation: Observation, legs: Array) -> list[_Move]:
        """Tuck the legs above the back, thrust with one side, follow through with short legs."""
        self._throws += 1
        up = _up(observation)
        side = math.copysign(1.0, up[1]) if abs(up[1]) > 0.05 else 1.0
        if self._throws % 3 == 0:
            # Twice in vain: something is in the way on that side.
            side = -side
        above = np.where(legs[: self._n] >= 0.0, math.pi, -math.pi)
        short = np.full(self._n, _SHORT_RAD)
        thrust = np.where(self._left * side > 0.0, _LONG_RAD, _SHORT_RAD)
        return [
            _Move(name="tuck", duration_s=0.5, swing_rad=above, extension_rad=short, ramp=True),
            _Move(name="throw", duration_s=0.45, swing_rad=above, extension_rad=thrust, gain=_THRUST),
            _Move(name="follow", duration_s=0.4, swing_rad=above, extension_rad=short),
        ]

    def _rock(self, observation: Observation) -> list[_Move]:
        """Lower legs folded, upper legs stretched below the belly, then swung over the back and home again.

        Each stroke pushes the body the other way. The pause varies from round to round, because the rocking period,
        which a stroke must meet to feed it, differs with how the lower legs prop the body.
        """
        self._rocks += 1
        upper = self._left * math.copysign(1.0, _up(observation)[1]) > 0.0
        zeros, short = np.zeros(self._n), np.full(self._n, _SHORT_RAD)
        over = np.where(upper, math.pi, 0.0)
        stretched = np.where(upper, _REACH_RAD, _SHORT_RAD)
        pause = (0.5, 0.35, 0.7)[self._rocks % 3]
        return [
            _Move(name="load", duration_s=pause, swing_rad=zeros, extension_rad=stretched),
            _Move(name="swing", duration_s=0.25, swing_rad=over, extension_rad=stretched, gain=_THRUST),
            _Move(name="home", duration_s=0.25, swing_rad=zeros, extension_rad=short),
        ]

    def _rise(self, observation: Observation) -> list[_Move]:
        """Fold, rise, stand; before it, repair legs that did not carry the last time."""
        zeros, short = np.zeros(self._n), np.full(self._n, _SHORT_RAD)
        moves = [
            _Move(name="fold", duration_s=0.6, swing_rad=zeros, extension_rad=short, ramp=True),
            _Move(name="lift", duration_s=0.5, swing_rad=zeros, extension_rad=zeros, ramp=True),
            _Move(name="stand", duration_s=1.2, swing_rad=zeros, extension_rad=zeros),
        ]
        if self._stood_badly:
            self._stood_badly = False
            bad = self._bad_leg(observation)
            if bad.any():
                return self._repair(bad) + moves
        return moves

    def _bad_leg(self, observation: Observation) -> NDArray[np.bool_]:
        """The leg below the lowest corner of the body, or all that do not touch the floor when it lies level."""
        down = self._hips @ _up(observation)[:2]
        if down.max() - down.min() > 0.05:
            return np.asarray(down == down.min())
        return np.asarray(self._contact < 0.5)

    def _repair(self, bad: NDArray[np.bool_]) -> list[_Move]:
        """Point the bad legs somewhere, then flick them; the next repair uses another flick."""
        flick = _FLICKS[self._repairs % len(_FLICKS)]
        self._repairs += 1
        return [
            _Move(
                name="flick",
                duration_s=stroke.duration_s,
                swing_rad=np.where(bad, stroke.swing_rad * np.sign(self._hips[:, 0]), 0.0),
                extension_rad=np.where(bad, stroke.extension_rad, _SHORT_RAD),
                gain=stroke.gain,
                damping=stroke.damping,
            )
            for stroke in flick
        ]

    # --- commands ----------------------------------------------------------------------------------------------------

    def _position(self, move: _Move) -> Command:
        target = np.concatenate((move.swing_rad, move.extension_rad))
        if move.ramp:
            share = min(1.0, self._elapsed_s / (0.7 * move.duration_s))
            target = self._from + share * (target - self._from)
        spec = self._spec
        return Command(
            mode=CommandMode.POSITION,
            target=spec.stand_position_rad + self._to_joint @ target,
            kp=move.gain * spec.kp,
            kd=move.damping * spec.kd,
        )


def _up(observation: Observation) -> Array:
    """World's up in the body frame. Shape: (3,)."""
    x, y, z, w = observation.orientation_xyzw
    return np.array((2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)))


def _roll(observation: Observation) -> float:
    """Roll of the body: 0 level, positive with the left side up, beyond pi / 2 upside down."""
    up = _up(observation)
    return math.atan2(up[1], up[2])
