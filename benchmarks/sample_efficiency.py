"""How fast ways of learning from the same stored steps get the robot to walk: `perdure bench sample-efficiency --n 10`.

All learn all four skills from nothing for ``n`` robot minutes in the daemon.
The figures are the speeds of the last policy, and of the run's own attempts over all of its time.

    python -m benchmarks.sample_efficiency [--only updates-4 redq] [--seeds 0 1 2]
"""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _daemon
from benchmarks._study import Study, main
from benchmarks.walk import TARGETS, Judge, curve_of, learn
from skills.walk import WALKING_SKILLS

DEFAULT_N = 10
ATTEMPTS = 3
"""Of the last policy per skill."""
VARIANTS: dict[str, dict[str, Any]] = {
    **{f"updates-{updates}": {"learner.updates_per_step": float(updates)} for updates in (1, 2, 4, 8)},
    "no-symmetry": {"learner.updates_per_step": 2.0, "learner.symmetry": False},
    "no-layer-norm": {"learner.updates_per_step": 2.0, "learner.layer_norm": False},
    "crossq": {"learner.updates_per_step": 2.0, "learner.batch_norm": True, "learner.layer_norm": False},
    "redq": {
        "learner.updates_per_step": 4.0,
        "learner.ensemble": 10,
        "learner.target_subset": 2,
        "learner.actor_mean": True,
    },
    "droq": {"learner.updates_per_step": 8.0, "learner.dropout": 0.01},
    "resets": {"learner.updates_per_step": 8.0, "learner.reset_every": 8000},
}
"""What each changes of the defaults; to be compared with the plain learner at as many updates per step. Those are the
ratios at which the methods were published to work, as far as two cores allow: DroQ and REDQ 20, resets 32, CrossQ 1."""


def run(seed: int, n: int, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Learn for ``n`` robot minutes with some settings changed.

    Returns:
        ``final`` (speed of the last policy per skill), ``final_share`` (mean over skills of that over the speed at
        which the skill is good), ``area_share`` (the same of the run's own attempts, as a mean over all of its time),
        ``falls``, ``updates``, ``curve`` (robot minutes and speed of each attempt of the run, per skill).
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        status = learn(home, seed, n, "minitaur", (settings or {}).get("set", {}))
        judge = Judge("minitaur", home)
        policies = _daemon.kept_policies(home / "kept")
        final = {skill.name: judge.speed(skill, policies[max(policies)], ATTEMPTS) for skill in WALKING_SKILLS}
        curves = {skill.name: curve_of(home, skill) for skill in WALKING_SKILLS}
        falls = _daemon.perdure_json(home, "metrics")["falls"]
    return {
        "final": final,
        "final_share": float(np.mean([final[name] / target for name, target in TARGETS.items()])),
        "area_share": float(np.mean([area(curves[name], n) / target for name, target in TARGETS.items()])),
        "falls": falls,
        "updates": status["updates"],
        "curve": curves,
    }


def area(attempts: Sequence[tuple[float, float]], minutes: float) -> float:
    """Mean speed over the time: of the attempts in each robot minute, then over the minutes; before any it is 0."""
    speeds: list[list[float]] = [[] for _ in range(math.ceil(minutes))]
    for at_min, speed in attempts:
        speeds[min(len(speeds) - 1, int(at_min))].append(speed)
    means, last = [], 0.0
    for minute in speeds:
        last = float(np.mean(minute)) if minute else last
        means.append(last)
    return float(np.mean(means))


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One variant, one seed."""
    return run(seed, settings["minutes"], settings)


STUDY = Study(
    name="sample-efficiency",
    module="benchmarks.sample_efficiency",
    variants={name: {"minutes": DEFAULT_N, "set": changes} for name, changes in VARIANTS.items()},
    cell=cell,
    figures={
        "area_share": "higher",
        "final_share": "higher",
        **{f"final.{name}": "higher" for name in TARGETS},
        "falls": "lower",
    },
)

if __name__ == "__main__":
    main(STUDY)
