"""Scripted reset: walk back towards the middle of the workspace, steered by the external tracker."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from sim.robot import FloatArray, Observation, RobotSpec, Transition
from skills.decisions import DecisionController
from skills.gait import GAIT, START_TILT_RAD
from skills.skill import Progress, ScriptedSkill, SkillKind
from skills.trajectory_generator import action_size

HOME_RADIUS_M = 0.6
"""The reset is done within this distance of the middle."""
_WALK_WITHIN_RAD = 0.15
"""Turn on the spot until the way points this close to the middle, ..."""
_TURN_BEYOND_RAD = 0.45
"""... then walk until it points farther off than this. The generator cannot walk curves."""
_FAR_M = 1.7
"""Farther out than this a rough heading will do: turning on the spot drifts, and the fence is near."""
_FAR_WITHIN_RAD = 0.75
"""Under pi/4, so that even from a corner a walk within this of the way home leads along or away from both fences."""
_STRIDE = 0.8
_FREQUENCY = 0.5


class ReturnHome(ScriptedSkill):
    """Turn towards the middle, then walk there with the plain generator."""

    name = "return_home"
    kind = SkillKind.RESET
    summary = "walk back to the middle of the workspace"
    horizon_s = 60.0

    def problem(self, spec: RobotSpec) -> str | None:
        """Needs what the walking skills need."""
        return GAIT.problem(spec)

    def start_problem(self, observation: Observation) -> str | None:
        """Not from the middle itself, and upright."""
        x, y, _ = observation.base_position
        if math.hypot(float(x), float(y)) <= HOME_RADIUS_M:
            return "already near the middle"
        tilt = observation.tilt_rad
        return None if tilt < START_TILT_RAD else f"tilted {math.degrees(tilt):.0f} deg"

    def success(self, transition: Transition) -> bool:
        """Whether the last frame is near the middle."""
        last = transition.next_frame.base_position[-1]
        return bool(np.hypot(last[0], last[1]) <= HOME_RADIUS_M)

    def controller(self, spec: RobotSpec, dt_s: float) -> ReturnHomeController:
        """A fresh steering controller."""
        return ReturnHomeController(spec, dt_s)


class ReturnHomeController(DecisionController):
    """The trajectory generator steered by the bearing to the middle."""

    def __init__(self, spec: RobotSpec, dt_s: float) -> None:
        """Prepare for one attempt."""
        n_actions = action_size(spec)
        decimation = max(1, round(1.0 / (spec.policy_rate_hz * dt_s)))
        super().__init__(GAIT, GAIT.actuator(spec, dt_s), self._steer, np.zeros(n_actions), decimation=decimation)
        self._n_actions = n_actions
        self._turning = True

    def start(self, observation: Observation) -> None:
        """Begin an attempt."""
        super().start(observation)
        self._turning = True

    def progress(self, observation: Observation) -> Progress:
        """Done when the tracker sees the robot near the middle."""
        x, y, _ = observation.base_position
        near = observation.base_valid and math.hypot(x, y) <= HOME_RADIUS_M
        return Progress.SUCCEEDED if near else Progress.RUNNING

    def _steer(self, observation: Observation, phase_rad: float, last: NDArray[np.float32]) -> FloatArray:
        del phase_rad, last
        action = np.zeros(self._n_actions)
        if not observation.base_valid:
            return action  # step on the spot rather than walk blind
        x, y, _ = observation.base_position
        bearing = math.remainder(math.atan2(-y, -x) - observation.base_yaw, math.tau)
        # Walking backward is as good: head home with whichever end is nearer.
        forward = 1.0 if abs(bearing) <= 0.5 * math.pi else -1.0
        error = math.remainder(bearing, math.pi)
        if math.hypot(x, y) > _FAR_M:
            self._turning = abs(error) > _FAR_WITHIN_RAD
        else:
            self._turning = abs(error) > (_WALK_WITHIN_RAD if self._turning else _TURN_BEYOND_RAD)
        turn = math.copysign(1.0, error)
        action[0] = _FREQUENCY
        action[1], action[2] = (-_STRIDE * turn, _STRIDE * turn) if self._turning else (_STRIDE * forward,) * 2
        return action
