"""A simulated robot that walks by the zoo's policy, for benchmarks that disturb it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from agent.clock import SimulatedClock
from agent.config import Config
from agent.loop import ControlLoop
from agent.policies import find_policy
from agent.postures import Postures
from agent.robots import load_robot
from agent.safety import ActionGate, Monitors
from sim.dynamics import DynamicsParams
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose
from sim.workspace import Workspace
from skills.decisions import DecisionController
from skills.policy_control import policy_controller
from skills.registry import get
from skills.skill import LearnedSkill


@dataclass(frozen=True)
class Walker:
    """A robot on its feet, and what makes it walk."""

    robot: SimulatedRobot
    loop: ControlLoop
    controller: DecisionController
    config: Config

    def push(self, speed_mps: float, side_rad: float) -> None:
        """Knock the body from a side, so hard that the robot's mass gains a speed."""
        impulse = speed_mps * self.robot.spec.mass_kg
        self.robot.push((impulse * float(np.cos(side_rad)), impulse * float(np.sin(side_rad))))


@contextmanager
def walker(
    name: str,
    skill_name: str,
    seed: int,
    *,
    dynamics: DynamicsParams | None = None,
    rng: np.random.Generator | None = None,
) -> Iterator[Walker]:
    """A robot that has stood for half a second and is about to walk on an endless floor.

    Args:
        name: of the robot.
        skill_name: what it is to do.
        seed: of its sensors' noise.
        dynamics: its own when None.
        rng: draws exploration; None acts with the mean.
    """
    skill, robot = get(skill_name), load_robot(name, seed)
    assert isinstance(skill, LearnedSkill)
    assert isinstance(robot, SimulatedRobot)
    config = Config().for_robot(robot.spec)
    dt_s = config.control.dt_s
    with robot:
        if dynamics is not None:
            robot.set_dynamics(dynamics)
        robot.place(Pose.standing(0.0, 0.0, 0.0))
        monitors = Monitors(robot.spec, Workspace(size_m=1000.0), config.safety, 1.0 / dt_s)
        loop = ControlLoop(robot, SimulatedClock(robot, dt_s), ActionGate(robot.spec, dt_s), monitors)
        now = Postures(loop, loop.tick).stand(0.5)
        weights = find_policy("zoo", name, skill, Path())
        controller = policy_controller(skill, robot.spec, dt_s, weights, rng, decimation=config.control.decimation)
        controller.start(now.observation)
        yield Walker(robot, loop, controller, config)
