"""How fast meta-training is, beside the same loop in learn2learn: `perdure bench meta --n 100`.

``n`` is the number of meta-steps. Both learn the same from the same tasks: linear dynamics, by a network of two hidden
layers, from 16 transitions to adapt to and 16 to be judged by, one inner step, second order, Adam. They take turns,
step by step, so that whatever else the machine does falls on both. Thread time leaves out what other programs take of
the core; both run on one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from meta.learn2learn_adapter import package_folder
from meta.meta_learner import Examples, GradientMetaLearner, MetaConfig, Tasks, meta_learner

DEFAULT_N = 100
STATE, ACTION = 40, 8
WIDTH = 128
TASKS = (4, 16, 64)
"""Of a meta-step."""
STEPS = 16
WARM_UP = 3


def run(seed: int, n: int) -> dict[str, Any]:
    """Meta-train with both.

    Returns:
        By the number of tasks in a meta-step: ``ours_ms`` and ``learn2learn_ms`` (median thread time of a meta-step),
        ``ratio`` of the two, and ``difference``, the largest one between what both have learned. Without learn2learn
        ``missing`` says so, and there are only our times.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        there = package_folder() is not None
        found: dict[str, Any] = {str(tasks): _both(seed, n, tasks, there=there) for tasks in TASKS}
        return found if there else found | {"missing": "learn2learn is not installed; `make learn2learn` builds it"}
    finally:
        torch.set_num_threads(threads)


def _both(seed: int, n: int, tasks: int, *, there: bool) -> dict[str, float]:
    generator = torch.Generator().manual_seed(seed)
    torch.manual_seed(seed)
    network = nn.Sequential(
        nn.Linear(STATE + ACTION, WIDTH), nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, STATE)
    )
    learners = {
        name: meta_learner(name, network, MetaConfig(inner_rate=0.05, outer_rate=1e-3))
        for name in (("maml", "learn2learn") if there else ("maml",))
    }
    took_ms: dict[str, list[float]] = {name: [] for name in learners}
    for _ in range(n + WARM_UP):
        drawn = _tasks(tasks, generator)
        for name, learner in learners.items():
            took_ms[name].append(_ms(learner, drawn))
    ours_ms, *others_ms = (float(torch.tensor(times[WARM_UP:]).median()) for times in took_ms.values())
    if not there:
        return {"ours_ms": ours_ms}
    return {
        "ours_ms": ours_ms,
        "learn2learn_ms": others_ms[0],
        "ratio": others_ms[0] / ours_ms,
        "difference": _difference(learners["maml"], learners["learn2learn"]),
    }


def _tasks(n: int, generator: torch.Generator) -> Tasks:
    """Linear dynamics, each of its own."""

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    maps = normal(n, STATE + ACTION, STATE) / (STATE + ACTION) ** 0.5

    def examples() -> Examples:
        inputs = normal(n, STEPS, STATE + ACTION)
        return Examples(inputs, inputs @ maps)

    return Tasks(support=examples(), query=examples())


def _ms(learner: GradientMetaLearner, tasks: Tasks, clock: Callable[[], float] = time.thread_time) -> float:
    start = clock()
    learner.meta_step(tasks)
    return 1e3 * (clock() - start)


def _difference(one: GradientMetaLearner, other: GradientMetaLearner) -> float:
    pairs = zip(one.parameters.values(), other.parameters.values(), strict=True)
    return max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs)
