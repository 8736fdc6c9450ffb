"""What it costs to stop a walk: `perdure bench rest --n 100`.

Falls within 1.5 s of the end of a walk, when the robot is told to take up its stance at once, and when it marches on
the spot first, as the daemon has it do (`agent.postures`). ``n`` is the number of walks for each robot and direction,
with the exploring policy of the zoo, ended at a random phase of the gait.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from agent.clock import SimulatedClock
from agent.config import Config
from agent.loop import ControlLoop, Tick
from agent.policies import find_policy
from agent.postures import Postures
from agent.robots import load_robot
from agent.safety import ActionGate, Monitors
from sim.robot import Command, Observation
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose
from sim.workspace import Workspace
from skills.policy_control import policy_controller
from skills.registry import get
from skills.skill import LearnedSkill
from skills.walk import WALKING_SKILLS

DEFAULT_N = 100
ROBOTS = ("minitaur", "a1")
DIRECTIONS = tuple(skill.name for skill in WALKING_SKILLS[:2])
WALK_S = (1.5, 3.5)
"""Shortest and longest walk."""
REST_S = 1.5


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Falls per ``n`` walks.

    Returns:
        For each robot and direction: ``walks`` that had not fallen when they were to stop, and of these the falls
        after it, ``at_once`` and ``marching``; the same walks in both.
    """
    return {robot: {direction: _falls(robot, direction, seed, n) for direction in DIRECTIONS} for robot in ROBOTS}


def _falls(robot: str, direction: str, seed: int, n: int) -> dict[str, int]:
    outcomes = [_walk(robot, direction, seed + walk, march=march) for walk in range(n) for march in (False, True)]
    at_once, marching = outcomes[::2], outcomes[1::2]
    walks = [outcome for outcome in at_once if outcome is not None]
    return {
        "walks": len(walks),
        "at_once": sum(walks),
        "marching": sum(outcome for outcome in marching if outcome is not None),
    }


def _walk(name: str, direction: str, seed: int, *, march: bool) -> bool | None:
    """Whether the robot fell once its walk was over; None if it fell before."""
    skill, robot, rng = get(direction), load_robot(name, seed), np.random.default_rng(seed)
    assert isinstance(skill, LearnedSkill)
    assert isinstance(robot, SimulatedRobot)
    config = Config().for_robot(robot.spec)
    weights = find_policy("zoo", name, skill, Path())
    with robot:
        dt_s = config.control.dt_s
        robot.place(Pose.standing(0.0, 0.0, 0.0))
        monitors = Monitors(robot.spec, Workspace(size_m=100.0), config.safety, 1.0 / dt_s)
        loop = ControlLoop(robot, SimulatedClock(robot, dt_s), ActionGate(robot.spec, dt_s), monitors)
        fallen = False

        def tick(act: Callable[[Observation], Command]) -> Tick:
            nonlocal fallen
            now = loop.tick(act)
            fallen = fallen or now.alerts.fallen
            return now

        postures = Postures(loop, tick)
        now = postures.stand(0.5)
        controller = policy_controller(skill, robot.spec, dt_s, weights, rng, decimation=config.control.decimation)
        controller.start(now.observation)
        for _ in range(math.ceil(rng.uniform(*WALK_S) / dt_s)):
            tick(controller.act)
        if fallen:
            return None
        if march:
            postures.come_to_rest(controller)
        postures.stand(REST_S)
    return fallen
