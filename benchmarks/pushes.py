"""Which pushes a walk survives, with and without catching falls: `perdure bench pushes --n 50`.

The zoo's policies walk without exploration; at a random phase of the gait, a push strikes the body from a random side.
``n`` walks for each robot, direction and size of push, the same with `agent.balance` and without. A fall is one within
2 s. A push of 1 m/s gives the robot's mass that speed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from agent.balance import Balance
from benchmarks._walking import walker
from sim.robot import Command, Observation
from skills.walk import WALKING_SKILLS

DEFAULT_N = 50
ROBOTS = ("minitaur", "a1")
SIZES_MPS = (0.5, 1.0, 1.5)
WALK_S = (1.5, 2.5)
"""Shortest and longest walk before the push."""
AFTER_S = 2.0


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Falls per ``n`` pushed walks.

    Returns:
        For each robot, direction and size of push in m/s: falls ``uncaught`` and ``caught``, of the same ``walks``.
    """
    return {
        robot: {
            skill.name: {str(size): _falls(robot, skill.name, size, seed, n) for size in SIZES_MPS}
            for skill in WALKING_SKILLS
        }
        for robot in ROBOTS
    }


def _falls(robot: str, skill: str, size_mps: float, seed: int, n: int) -> dict[str, int]:
    return {
        "walks": n,
        "uncaught": sum(_falls_once(robot, skill, size_mps, seed + walk, catch=False) for walk in range(n)),
        "caught": sum(_falls_once(robot, skill, size_mps, seed + walk, catch=True) for walk in range(n)),
    }


def _falls_once(name: str, skill: str, size_mps: float, seed: int, *, catch: bool) -> bool:
    """Whether the robot falls after one push."""
    rng = np.random.default_rng(seed)
    with walker(name, skill, seed) as walking:
        loop, dt_s = walking.loop, walking.config.control.dt_s
        balance = Balance.configured(walking.robot.spec, replace(walking.config.safety, catch=catch))

        def act(observation: Observation) -> Command:
            return balance.command(observation) or walking.controller.act(observation)

        for _ in range(math.ceil(rng.uniform(*WALK_S) / dt_s)):
            if loop.tick(act).alerts.fallen:
                return True
        walking.push(size_mps, rng.uniform(-math.pi, math.pi))
        return any(loop.tick(act).alerts.fallen for _ in range(math.ceil(AFTER_S / dt_s)))
