"""How long one policy decision takes in the loop, features and network: `perdure bench policy --n 20000`.

``n`` is the number of decisions. One core, default network.
"""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np

from agent.config import Config
from sim.minitaur import make_minitaur
from skills.gait import GAIT
from skills.policy import MlpPolicy, PolicyWeights
from skills.policy_control import PolicyDecision
from skills.registry import learned, skills
from skills.trajectory_generator import action_size

DEFAULT_N = 20_000


def run(seed: int, n: int) -> dict[str, Any]:
    """Time decisions of a random policy on one observation. Returns ``us_p50``, ``us_p99`` and ``us_max``."""
    rng = np.random.default_rng(seed)
    with make_minitaur(seed) as robot:
        observation, spec = robot.read(), robot.spec
    skill = learned(skills(), GAIT.name)[0]
    config = Config().learner
    actions = action_size(spec)
    obs = config.history * GAIT.feature_size(spec)
    sizes = (obs + len(skill.command), *config.hidden, 2 * actions)
    layers = tuple(
        (rng.normal(0.0, 0.05, (a, b)).astype(np.float32), np.zeros(b, np.float32))
        for a, b in itertools.pairwise(sizes)
    )
    mean, std = np.zeros(obs, np.float32), np.ones(obs, np.float32)
    weights = PolicyWeights(version=0, layers=layers, obs_mean=mean, obs_std=std)
    decide = PolicyDecision(skill, spec, MlpPolicy(weights), rng, config.history)
    last = np.zeros(actions, np.float32)
    took_s = np.zeros(n)
    for index in range(n):
        start = time.perf_counter()
        decide(observation, 0.1 * index, last)
        took_s[index] = time.perf_counter() - start
    p50, p99 = np.percentile(took_s, (50, 99))
    return {
        "us_p50": 1e6 * p50,
        "us_p99": 1e6 * p99,
        "us_max": 1e6 * float(took_s.max()),
        "hidden": list(config.hidden),
    }
