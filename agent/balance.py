"""Catching a fall: when the body leans too far, the robot crouches on legs spread wide, then takes up its stance.

Most falls of a robot that learns to walk are slow: the body leans for half a second and more while the policy, which
has seldom been there, goes on with its task. Low and wide it does not tip over. The rule needs no learning, so it is
there from the first attempt on, and it holds for every skill.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from agent.config import SafetyConfig
from sim.robot import Array, Command, CommandMode, Observation, RobotSpec
from skills.lean import lean_rad

LET_GO = 2.0 / 3.0
"""Share of the lean at which a catch begins below which it may end."""
HOLD_S = 0.4
"""Shortest crouch: legs need this long to get there."""
RISE_S = 0.6
"""From the crouch back to the stance: a gait that begins in a crouch leans at once."""
LONGEST_S = 4.0
"""A robot that has not come back after this long does not by crouching."""
CROUCH_RAD, SPLAY_RAD = 1.2, 0.7
"""How far legs without abduction are shortened from the stance and swung apart, front from back: low on a long base."""
SPREAD_CROUCH_RAD, SPREAD_RAD = 0.6, 0.6
"""How far legs with abduction are shortened and spread to the sides."""


class Balance:
    """Follows the lean of one robot and takes over when it is too much."""

    def __init__(self, spec: RobotSpec, begin_rad: float | None) -> None:
        """Take over from a lean of ``begin_rad`` on; never, if None or if the robot has no legs to crouch on."""
        legs = spec.leg_to_joint is not None and spec.hip_positions_m is not None
        self._begin_rad = begin_rad if legs else None
        self._spec = spec
        self._target = crouch(spec) if self._begin_rad is not None else np.zeros(0)
        self._since_s: float | None = None
        self._crouched_s = 0.0
        self._rising_s: float | None = None

    @classmethod
    def configured(cls, spec: RobotSpec, safety: SafetyConfig) -> Balance:
        """As a robot and the settings want it."""
        begin_rad = spec.catch_lean_rad if safety.catch_lean_rad is None else safety.catch_lean_rad
        return cls(spec, begin_rad if safety.catch else None)

    @property
    def since_s(self) -> float | None:
        """Stamp of the reading at which the present catch began; None while there is none."""
        return self._since_s

    def reset(self) -> None:
        """Forget the present catch: the robot has fallen after all, or somebody else looks after it."""
        self._since_s = self._rising_s = None

    def failed(self, observation: Observation) -> bool:
        """Whether the present catch has lasted too long: the robot has to stand up as from a fall."""
        return self._since_s is not None and observation.stamp_s - self._since_s > LONGEST_S

    def command(self, observation: Observation, foreseen: Callable[[], bool] = lambda: False) -> Command | None:
        """What to do instead of what was meant at this reading; None: go on.

        ``foreseen`` tells whether a fall is to be expected although the body does not yet lean too far.
        """
        if self._begin_rad is None:
            return None
        lean, now_s = float(lean_rad(observation.up, observation.angular_velocity)), observation.stamp_s
        leans = lean > self._begin_rad
        # How a crouch looks is nothing that falls are predicted from.
        if (leans and self._rising_s is not None) or (self._since_s is None and (leans or foreseen())):
            self._since_s = now_s if self._since_s is None else self._since_s
            self._crouched_s, self._rising_s = now_s, None
        if self._since_s is None:
            return None
        if self._rising_s is None and lean < LET_GO * self._begin_rad and now_s - self._crouched_s >= HOLD_S:
            self._rising_s = now_s
        risen = 0.0 if self._rising_s is None else (now_s - self._rising_s) / RISE_S
        if risen > 1.0:
            self.reset()
            return None
        spec = self._spec
        target = self._target + risen * (spec.stand_position_rad - self._target)
        return Command(mode=CommandMode.POSITION, target=target, kp=spec.kp, kd=spec.kd)


def crouch(spec: RobotSpec) -> Array:
    """Joint positions of a crouch on spread legs, for a robot that knows its legs and hips. Shape: (n_joints,), rad."""
    assert spec.leg_to_joint is not None
    assert spec.hip_positions_m is not None
    legs, n = np.zeros(spec.leg_to_joint.shape[1]), spec.n_feet
    ends, sides = np.sign(spec.hip_positions_m[:, 0]), np.sign(spec.hip_positions_m[:, 1])
    if spec.leg_dofs == 3:
        legs[n : 2 * n], legs[2 * n :] = -SPREAD_CROUCH_RAD, SPREAD_RAD * sides
    else:
        legs[:n], legs[n:] = SPLAY_RAD * ends, -CROUCH_RAD
    target = spec.stand_position_rad + spec.leg_to_joint @ legs
    return np.clip(target, spec.position_lower_rad, spec.position_upper_rad)
