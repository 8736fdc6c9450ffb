"""Which pushes a walk survives, with and without catching falls: `perdure bench pushes --n 50`.

The zoo's policies walk without exploration; at a random phase of the gait, a push strikes the body from a random side,
and from the worst one: the same walk again, pushed from each of eight sides until one fells it. ``n`` walks for each
robot, direction and size of push, the same with `agent.balance` and without. A fall is one within 2 s. A push of 1 m/s
gives the robot's mass that speed.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
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
SIDES_RAD = tuple(k * math.pi / 4 for k in range(8))


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Falls per ``n`` pushed walks.

    Returns:
        For each robot, direction and size of push in m/s: of the same ``walks``, falls ``uncaught`` and ``caught``, by
        a push from a random side, and ``worst_uncaught`` and ``worst_caught``, by one from the worst.
    """
    return {
        robot: {
            skill.name: {str(size): _falls(robot, skill.name, size, seed, n) for size in SIZES_MPS}
            for skill in WALKING_SKILLS
        }
        for robot in ROBOTS
    }


def _falls(robot: str, skill: str, size_mps: float, seed: int, n: int) -> dict[str, int]:
    out = {"walks": n}
    draws = [_draw(seed + walk) for walk in range(n)]
    for name, catch in (("uncaught", False), ("caught", True)):
        falls = partial(_falls_once, robot, skill, size_mps, catch=catch)
        out[name] = sum(falls(seed + walk, walk_s, side) for walk, (walk_s, side) in enumerate(draws))
        out[f"worst_{name}"] = sum(
            any(falls(seed + walk, walk_s, side) for side in SIDES_RAD) for walk, (walk_s, _) in enumerate(draws)
        )
    return out


def _draw(seed: int) -> tuple[float, float]:
    """How long a walk lasts before the push, and from which side it comes."""
    rng = np.random.default_rng(seed)
    return rng.uniform(*WALK_S), rng.uniform(-math.pi, math.pi)


def _falls_once(
    name: str, skill: str, size_mps: float, seed: int, walk_s: float, side_rad: float, *, catch: bool
) -> bool:
    """Whether the robot falls after one push."""
    with walker(name, skill, seed) as walking:
        loop, dt_s = walking.loop, walking.config.control.dt_s
        balance = Balance.configured(walking.robot.spec, replace(walking.config.safety, catch=catch))

        def act(observation: Observation) -> Command:
            return balance.command(observation) or walking.controller.act(observation)

        for _ in range(math.ceil(walk_s / dt_s)):
            if loop.tick(act).alerts.fallen:
                return True
        walking.push(size_mps, side_rad)
        return any(loop.tick(act).alerts.fallen for _ in range(math.ceil(AFTER_S / dt_s)))
