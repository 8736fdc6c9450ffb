"""Gradient updates per second of the learner, beside stable-baselines3 and beside what the processor could do.

Run: python -m benchmarks.learner [--seed S] [--n UPDATES] [--threads T]. Saves benchmarks/results/learner.json.

The peak is that of a 1024 x 1024 float32 product, timed between the others in the same process, so a busy machine slows
down all of them alike. ``roofline_share`` is the arithmetic of the update's matrix products per second over that peak.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from persistence.replay import ReplayBuffer
from skills.learners.config import SacConfig
from skills.learners.sac import SacLearner

RESULT = Path(__file__).parent / "results" / "learner.json"
OBS, ACTIONS = 17, 6
"""Widths of HalfCheetah, the usual task for such figures."""
PER_CALL = 20
ROUNDS = 5
VARIANTS: dict[str, dict[str, Any]] = {
    "2x256, batch 256": {},
    "2x256, batch 128": {"batch": 128},
    "2x128, batch 256": {"hidden": (128, 128)},
    "2x128, batch 128": {"hidden": (128, 128), "batch": 128},
    "2x256, batch 256, layer norm": {"layer_norm": True},
    "2x256, batch 256, layer norm, dropout": {"layer_norm": True, "dropout": 0.01},
    "2x256, batch 256, 10 critics": {"ensemble": 10},
}


def _filled_replay(rng: np.random.Generator, skills: int = 1, features: int = OBS, history: int = 1) -> ReplayBuffer:
    replay = ReplayBuffer(20_000, features, ACTIONS, skills, history)
    for _ in range(80):
        replay.add_episode(
            rng.standard_normal((251, features)),
            rng.uniform(-1, 1, (250, ACTIONS)),
            rng.standard_normal((250, skills)),
            np.zeros((250, skills), bool),
        )
    return replay


def ours(seed: int, **settings: Any) -> Callable[[], object]:
    """Our learner on random transitions; each call takes `PER_CALL` updates."""
    rng = np.random.default_rng(seed)
    learner = SacLearner(_filled_replay(rng), np.zeros((1, 0)), np.zeros((1, ACTIONS)), SacConfig(**settings), seed)
    return lambda: learner.update(PER_CALL)


def stable_baselines3(seed: int) -> Callable[[], object]:
    """The same with stable-baselines3: same networks, batch, arithmetic, data; `PER_CALL` updates a call."""
    import gymnasium
    from stable_baselines3 import SAC
    from stable_baselines3.common.logger import configure

    class Random(gymnasium.Env[np.ndarray, np.ndarray]):
        observation_space = gymnasium.spaces.Box(-10, 10, (OBS,), np.float32)
        action_space = gymnasium.spaces.Box(-1, 1, (ACTIONS,), np.float32)

        def reset(self, **_: Any) -> tuple[np.ndarray, dict[str, Any]]:
            return np.zeros(OBS, np.float32), {}

    rng = np.random.default_rng(seed)
    model = SAC("MlpPolicy", Random(), policy_kwargs={"net_arch": [256, 256]}, buffer_size=20_000, seed=seed)
    model.set_logger(configure(None, []))
    for _ in range(20_000):
        row = rng.standard_normal((2, 1, OBS)).astype(np.float32)
        model.replay_buffer.add(row[0], row[1], rng.uniform(-1, 1, (1, ACTIONS)), np.zeros(1), np.zeros(1), [{}])
    return lambda: model.train(gradient_steps=PER_CALL, batch_size=256)


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


def run(seed: int = 0, n: int = 1000, threads: int = 1) -> dict[str, Any]:
    """Time ``n`` updates of each variant in `ROUNDS` interleaved rounds; figures are medians over rounds.

    Returns:
        ``updates_per_s``, ``ratio_sb3`` (None where it is not installed), ``ratio_sbx`` (None: not measured),
        ``roofline_share``, ``peak_gflops``, ``variants`` (name → updates/s) and machine facts.
    """
    torch.set_num_threads(threads)
    subjects = {name: ours(seed, **settings) for name, settings in VARIANTS.items()}
    try:
        subjects["stable-baselines3"] = stable_baselines3(seed)
    except ImportError:
        print("stable-baselines3 is not installed; pip install '.[bench]' to compare")
    rates: dict[str, list[float]] = {name: [] for name in subjects}
    peaks: list[float] = []
    calls = max(1, n // (ROUNDS * PER_CALL))
    for subject in subjects.values():
        subject()
    for _ in range(ROUNDS):
        for name, subject in subjects.items():
            start = time.perf_counter()
            for _ in range(calls):
                subject()
            rates[name].append(calls * PER_CALL / (time.perf_counter() - start))
        peaks.append(_peak())
    variants = {name: round(statistics.median(values), 1) for name, values in rates.items()}
    base, peak = rates[next(iter(VARIANTS))], statistics.median(peaks)
    sb3 = rates.get("stable-baselines3")
    return {
        "updates_per_s": variants[next(iter(VARIANTS))],
        "ratio_sb3": round(statistics.median(a / b for a, b in zip(base, sb3, strict=True)), 2) if sb3 else None,
        "ratio_sbx": None,
        "roofline_share": round(statistics.median(base) * update_flop({}) / peak, 3),
        "peak_gflops": round(peak / 1e9, 1),
        "variants": variants,
        "seed": seed,
        "n": n,
        "threads": threads,
        "machine": {"processor": _processor(), "cores": len(os.sched_getaffinity(0)), "system": platform.platform()},
        "load_average": [round(load, 1) for load in os.getloadavg()],
        "versions": {name: _version(name) for name in ("torch", "numpy", "stable-baselines3")},
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor()


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def main() -> None:
    """Run from the shell."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--n", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=1)
    arguments = parser.parse_args()
    result = run(arguments.seed, arguments.n, arguments.threads)
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
