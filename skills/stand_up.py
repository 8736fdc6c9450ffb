"""Placeholder while the real script is being written."""

from __future__ import annotations
import numpy as np
from sim.robot import Command, CommandMode, Observation, RobotSpec, Transition
from skills.skill import Controller, Progress, ScriptedSkill, SkillKind


class _C:
    def __init__(self, spec: RobotSpec) -> None:
        self.s = spec

    def start(self, observation: Observation) -> None: ...
    def act(self, observation: Observation) -> Command:
        return Command(mode=CommandMode.POSITION, target=self.s.stand_position_rad, kp=self.s.kp, kd=self.s.kd)

    def progress(self, observation: Observation) -> Progress:
        x, y, _, _ = observation.orientation_xyzw
        return Progress.SUCCEEDED if 1 - 2 * (x * x + y * y) > 0.97 else Progress.RUNNING


class StandUp(ScriptedSkill):
    name = "stand_up"
    kind = SkillKind.RECOVERY
    summary = "stand up"
    horizon_s = 20.0

    def success(self, transition: Transition) -> bool:
        return False

    def controller(self, spec: RobotSpec, dt_s: float) -> Controller:
        return _C(spec)
