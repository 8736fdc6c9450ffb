"""Cost of the replay memory: `perdure bench replay --seed 0 --n 2000`.

``n`` is the number of draws. The memory has the widths of the walking skills on the Minitaur, is full, and so evicts
while it is added to. An attempt of 10 s is added at a time, as the daemon does.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from persistence.replay import ReplayBuffer

DEFAULT_N = 2_000
CAPACITY = 200_000
FEATURES, ACTIONS, SKILLS, COSTS, HISTORY = 36, 12, 4, 4, 3
"""Width of a feature row and of an action, walking skills, safety costs, and feature rows of an observation."""
STEPS = 250
"""Of an attempt of 10 s."""
BATCH = 256
DRAWS = 10
"""Draws after each added attempt."""


def run(seed: int, n: int) -> dict[str, Any]:
    """Time ``n`` draws, with an attempt added after every `DRAWS` of them.

    Returns:
        ``add_us`` (per step) and ``sample_256_us`` (per draw): medians over calls, which other work on the machine
        hardly reaches; ``add_us_p95`` and ``sample_256_us_p95``; ``steps`` held; ``load_average``.
    """
    rng = np.random.default_rng(seed)
    replay = ReplayBuffer(CAPACITY, FEATURES, ACTIONS, SKILLS, HISTORY, COSTS)
    attempt = {
        "features": rng.standard_normal((STEPS + 1, FEATURES)),
        "actions": rng.uniform(-1, 1, (STEPS, ACTIONS)),
        "rewards": rng.standard_normal((STEPS, SKILLS)),
        "terminated": np.zeros((STEPS, SKILLS), bool),
        "costs": rng.random((STEPS, COSTS)),
    }
    while replay.steps_added <= CAPACITY:
        replay.add_episode(**attempt)
    add_us, sample_us = [], []
    for _ in range(math.ceil(n / DRAWS)):
        sample_us += [_us(lambda: replay.sample(rng, BATCH)) for _ in range(DRAWS)]
        add_us.append(_us(lambda: replay.add_episode(**attempt)) / STEPS)
    return {
        "add_us": round(float(np.median(add_us)), 3),
        "sample_256_us": round(float(np.median(sample_us)), 1),
        "add_us_p95": round(float(np.quantile(add_us, 0.95)), 3),
        "sample_256_us_p95": round(float(np.quantile(sample_us, 0.95)), 1),
        "steps": len(replay),
        "load_average": [round(load, 1) for load in os.getloadavg()],
    }


def _us(call: Callable[[], object]) -> float:
    start = time.perf_counter()
    call()
    return 1e6 * (time.perf_counter() - start)
