"""Gradient updates per second of the learner, beside stable-baselines3, sbx and what the processor could do.

Run: python -m benchmarks.learner [--seed S] [--n UPDATES] [--threads T] [--sbx-python PATH]. Saves
benchmarks/results/learner.json.

Everybody takes `PER_CALL` updates a call on random transitions of HalfCheetah's widths, and every update moves critics,
target critics, actor and temperature (see `benchmarks._baselines.updater`). All take turns within the same run, on the
same cores, after a call that is not timed. sbx has a process of its own, which waits while the others work.

The peak is that of a 1024 x 1024 float32 product, timed between the others in the same process, so a busy machine slows
down all of them alike. ``roofline_share`` is the arithmetic of the update's matrix products per second over that peak.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from agent.machine import machine_facts, package_version
from benchmarks import _baselines
from benchmarks._baselines import PER_CALL, REPLAY_STEPS
from persistence.replay import ReplayBuffer
from skills.learners.config import SacConfig
from skills.learners.sac import SacLearner

RESULT = Path(__file__).parent / "results" / "learner.json"
OBS, ACTIONS = 17, 6
"""Widths of HalfCheetah, the usual task for such figures."""
ROUNDS = 5
OURS = "2x256, batch 256"
"""What is compared with the others."""
VARIANTS: dict[str, dict[str, Any]] = {
    OURS: {},
    "2x256, batch 128": {"batch": 128},
    "2x128, batch 256": {"hidden": (128, 128)},
    "2x128, batch 128": {"hidden": (128, 128), "batch": 128},
    "2x256, batch 256, layer norm": {"layer_norm": True},
    "2x256, batch 256, layer norm, dropout": {"layer_norm": True, "dropout": 0.01},
    "2x256, batch 256, 10 critics": {"ensemble": 10},
}

Timed = Callable[[int], float]
"""Makes a number of calls of `PER_CALL` updates; returns the seconds they took."""


def ours(seed: int, **settings: Any) -> SacLearner:
    """Our learner on random transitions."""
    rng = np.random.default_rng(seed)
    replay, steps = ReplayBuffer(REPLAY_STEPS, OBS, ACTIONS), 250
    for _ in range(REPLAY_STEPS // steps):
        replay.add_episode(
            rng.standard_normal((steps + 1, OBS)),
            rng.uniform(-1, 1, (steps, ACTIONS)),
            rng.standard_normal((steps, 1)),
            np.zeros((steps, 1), bool),
        )
    return SacLearner(replay, np.zeros((1, 0)), np.zeros((1, ACTIONS)), SacConfig(**settings), seed)


def update_flop(settings: dict[str, Any]) -> int:
    """Multiplications and additions in the matrix products of one update."""
    config = SacConfig(**settings)

    def macs(sizes: tuple[int, ...]) -> int:
        return sum(fan_in * fan_out for fan_in, fan_out in pairwise(sizes))

    actor = macs((OBS, *config.hidden, 2 * ACTIONS))
    critic = macs((OBS + ACTIONS, *config.hidden, 1))
    actor_in, critic_in, action_in = (width * config.hidden[0] for width in (OBS, OBS + ACTIONS, ACTIONS))
    # Actor: forward at s and s'; backward by weights and by hidden layers at s. Critics: forward of the target at s',
    # of the critics at (s, a) and (s, u), where the observation's product is shared; backward likewise.
    actor_total = 2 * actor + actor + (actor - actor_in)
    forward = critic + critic + (critic - (critic_in - action_in))
    backward = critic + (critic - critic_in) + (critic - critic_in) + action_in
    return 2 * config.batch * (actor_total + config.ensemble * (forward + backward))


def _peak(repeats: int = 8) -> float:
    a, out = torch.randn(1024, 1024), torch.empty(1024, 1024)
    start = time.perf_counter()
    for _ in range(repeats):
        torch.mm(a, a, out=out)
    return 2 * 1024**3 * repeats / (time.perf_counter() - start)


def run(seed: int = 0, n: int = 1000, threads: int = 2) -> dict[str, Any]:
    """Time ``n`` updates of each variant in `ROUNDS` interleaved rounds; figures are medians over rounds.

    Args:
        seed: of networks and data.
        n: updates of each variant.
        threads: of each learner; all are held to as many cores.

    Returns:
        ``updates_per_s``, ``ratio_sb3`` and ``ratio_sbx`` (ours over theirs, None where it is not installed, for which
        ``missing`` gives the reason), ``roofline_share``, ``peak_gflops``, ``variants`` (name to updates per second),
        ``load_average`` and ``versions``.
    """
    torch.set_num_threads(threads)
    cores = os.sched_getaffinity(0)
    # Children inherit it, and JAX makes as many threads as it finds cores.
    os.sched_setaffinity(0, sorted(cores)[:threads])
    try:
        with contextlib.ExitStack() as stack:
            subjects: dict[str, Timed] = {
                name: _timed(partial(ours(seed, **kind).update, PER_CALL)) for name, kind in VARIANTS.items()
            }
            peers, missing, versions = _peers(stack, seed, threads)
            rates, peaks = _rounds(subjects | peers, max(1, n // (ROUNDS * PER_CALL)))
    finally:
        os.sched_setaffinity(0, cores)
    base, peak = rates[OURS], statistics.median(peaks)
    return {
        "updates_per_s": round(statistics.median(base), 1),
        "ratio_sb3": _ratio(base, rates.get("stable-baselines3")),
        "ratio_sbx": _ratio(base, rates.get("sbx")),
        "missing": missing,
        "roofline_share": round(
            statistics.median(a * update_flop({}) / b for a, b in zip(base, peaks, strict=True)), 3
        ),
        "peak_gflops": round(peak / 1e9, 1),
        "variants": {name: round(statistics.median(values), 1) for name, values in rates.items()},
        "threads": threads,
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "versions": versions,
    }


def _peers(
    stack: contextlib.ExitStack, seed: int, threads: int
) -> tuple[dict[str, Timed], dict[str, str], dict[str, Any]]:
    """The other libraries that are there; why others are not; versions."""
    peers: dict[str, Timed] = {}
    missing: dict[str, str] = {}
    versions: dict[str, Any] = {"stable-baselines3": package_version("stable-baselines3")}
    if versions["stable-baselines3"]:
        peers["stable-baselines3"] = _timed(_baselines.updater("stable_baselines3", OBS, ACTIONS, seed))
    else:
        missing["stable-baselines3"] = "stable-baselines3 is not installed; pip install '.[bench]'"
    if _baselines.sbx_python():
        ask = stack.enter_context(_baselines.sbx_updates(OBS, ACTIONS, seed, threads))
        peers["sbx"], versions["sbx"] = ask, ask("versions")
    else:
        missing["sbx"] = _baselines.NO_SBX
    return peers, missing, versions


def _rounds(subjects: dict[str, Timed], calls: int) -> tuple[dict[str, list[float]], list[float]]:
    """Updates per second of each subject in each round, and the peak in that round."""
    for timed in subjects.values():
        timed(1)
    rates: dict[str, list[float]] = {name: [] for name in subjects}
    peaks: list[float] = []
    for _ in range(ROUNDS):
        for name, timed in subjects.items():
            rates[name].append(calls * PER_CALL / timed(calls))
        peaks.append(_peak())
    return rates, peaks


def _timed(call: Callable[[], object]) -> Timed:
    def timed(calls: int) -> float:
        start = time.perf_counter()
        for _ in range(calls):
            call()
        return time.perf_counter() - start

    return timed


def _ratio(base: list[float], other: list[float] | None) -> float | None:
    return round(statistics.median(a / b for a, b in zip(base, other, strict=True)), 2) if other else None


def main() -> None:
    """Run from the shell."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    _baselines.add_sbx_option(parser)
    options = parser.parse_args()
    _baselines.apply_sbx_option(options)
    facts = {"benchmark": "learner", "seed": options.seed, "n": options.n, "machine": machine_facts()}
    result = facts | run(options.seed, options.n, options.threads)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
