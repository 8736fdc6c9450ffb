"""How long one adaptation and one plan take: `perdure bench adaptation-speed --n 300`.

``n`` is the number of each. One core, networks of two hidden layers, a state of 40 and an action of 8 numbers, 16 steps
to adapt to, plans of 500 candidates over 20 steps. Thread time leaves out what other programs take of the core.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from meta.dynamics import DynamicsEnsemble
from meta.grbal import Grbal, GrbalConfig
from meta.planner import Planner, PlannerConfig
from meta.transitions import Scales

DEFAULT_N = 300
STATE, ACTION = 40, 8
WIDTHS = (128, 256)
MEMBERS = (1, 2, 5)
WARM_UP = 3
CANDIDATES, HORIZON = 500, 20


def run(seed: int, n: int) -> dict[str, Any]:
    """Time adaptations and plans.

    Returns:
        ``adapt`` (hidden width -> times) and ``plan`` (method, members -> times), each with ``ms_p50``, ``ms_p99`` and
        ``thread_ms_p99``; ``plan_matmul_ms``, the part of a plan with one member that matrix products alone take, at
        the speed of one that is measured beside.
    """
    rng = np.random.default_rng(seed)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return {
            "adapt": {str(width): _timed(_adaptation(width, rng, seed), n) for width in WIDTHS},
            "plan": {
                f"{method}_{members}": _timed(_plan(method, members, rng, seed), n)
                for method in ("cem", "mppi")
                for members in MEMBERS
            },
            "plan_matmul_ms": 1e3 * _plan_flop() / _peak(),
        }
    finally:
        torch.set_num_threads(threads)


def _timed(once: Callable[[], object], n: int) -> dict[str, float]:
    took_s, thread_s = np.zeros(n + WARM_UP), np.zeros(n + WARM_UP)
    for index in range(n + WARM_UP):
        start, thread = time.perf_counter(), time.thread_time()
        once()
        took_s[index], thread_s[index] = time.perf_counter() - start, time.thread_time() - thread
    p50, p99 = np.percentile(took_s[WARM_UP:], (50, 99))
    return {
        "ms_p50": 1e3 * p50,
        "ms_p99": 1e3 * p99,
        "thread_ms_p99": 1e3 * float(np.percentile(thread_s[WARM_UP:], 99)),
    }


def _adaptation(width: int, rng: np.random.Generator, seed: int) -> Callable[[], object]:
    """From readings to a model that can be planned with."""
    ones, zeros = (np.full(STATE + ACTION, value, np.float32) for value in (1.0, 0.0))
    scales = Scales(input_mean=zeros, input_std=ones, delta_mean=zeros[:STATE], delta_std=ones[:STATE])
    grbal = Grbal(scales, GrbalConfig(hidden=(width, width)), seed)
    states = rng.normal(size=(grbal.config.past + 1, STATE)).astype(np.float32)
    actions = rng.uniform(-1.0, 1.0, (grbal.config.past, ACTION)).astype(np.float32)
    return lambda: grbal.planning_model(grbal.adapt(states[:-1], actions, states[1:]))


def _plan(method: Any, members: int, rng: np.random.Generator, seed: int) -> Callable[[], object]:
    generator = torch.Generator().manual_seed(seed)
    model = DynamicsEnsemble(STATE, ACTION, (WIDTHS[0],) * 2, members, generator).planning_model()
    ones = np.ones(ACTION, np.float32)
    planner = Planner(-ones, ones, PlannerConfig(method=method, candidates=CANDIDATES, horizon=HORIZON), seed)
    state = rng.normal(size=STATE).astype(np.float32)
    pending = np.zeros((2, ACTION), np.float32)

    def cost(states: Tensor, actions: Tensor, following: Tensor) -> Tensor:
        return (following[..., 0] - 1.0).square() + 0.01 * actions.square().sum(-1)

    return lambda: planner.plan(model, cost, state, pending=pending, latency_steps=1.5)


def _plan_flop() -> int:
    """Of the matrix products of all rollouts with one member."""
    width = WIDTHS[0]
    return 2 * CANDIDATES * HORIZON * ((STATE + ACTION) * width + width * width + width * STATE)


def _peak() -> float:
    """Best speed of a product as large as the hidden layer's. Returns flop/s."""
    a, b = torch.randn(CANDIDATES, WIDTHS[0]), torch.randn(WIDTHS[0], WIDTHS[0])
    best_s = np.inf
    for _ in range(20):
        start = time.perf_counter()
        for _ in range(20):
            torch.mm(a, b)
        best_s = min(best_s, (time.perf_counter() - start) / 20)
    return 2 * CANDIDATES * WIDTHS[0] ** 2 / best_s
