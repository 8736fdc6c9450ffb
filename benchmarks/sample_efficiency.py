"""How fast ways of learning from the same stored steps get the robot to walk: `perdure bench sample-efficiency --n 10`.

All learn all four skills from nothing for ``n`` robot minutes in the daemon, and differ in one thing from the default.
The figures are the mean speed over the last robot minute's policy, and the robot minutes until walking is good.

    python -m benchmarks.sample_efficiency [--only default redq] [--seeds 0 1 2]
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import _daemon
from benchmarks._study import Study, main
from benchmarks.walk import TARGETS, Judge, learn
from skills.walk import WALKING_SKILLS

DEFAULT_N = 10
VARIANTS: dict[str, dict[str, Any]] = {
    "default": {},
    "no-symmetry": {"learner.symmetry": False},
    "updates-1": {"learner.updates_per_step": 1.0},
    "updates-4": {"learner.updates_per_step": 4.0},
    "updates-8": {"learner.updates_per_step": 8.0},
    "no-layer-norm": {"learner.layer_norm": False},
    "droq": {"learner.dropout": 0.01, "learner.updates_per_step": 8.0},
    "redq": {
        "learner.ensemble": 10,
        "learner.target_subset": 2,
        "learner.actor_mean": True,
        "learner.updates_per_step": 4.0,
    },
    "crossq": {"learner.batch_norm": True, "learner.layer_norm": False},
    "resets": {"learner.reset_every": 8000, "learner.updates_per_step": 8.0},
}
"""Each changes the defaults; the update ratios are those at which the methods were published to work, as far as two
cores allow: DroQ and REDQ 20 updates per step, resets 32, CrossQ 1."""


def run(seed: int, n: int, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Learn for ``n`` robot minutes with some settings changed.

    Returns:
        ``final`` (speed of the last policy per skill), ``robot_minutes_to_target`` (None: never), ``mean_share`` (mean
        over skills of the final speed over its target), ``falls``.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        changes = {"schedule.checkpoint_every_min": 1, **((settings or {}).get("set") or {})}
        status = learn(home, seed, n, "minitaur", changes)
        judge = Judge("minitaur", home)
        policies = _daemon.kept_policies(home / "kept")
        last = policies[max(policies)]
        final = {skill.name: judge.final(skill, last, 5)["nominal"]["value"] for skill in WALKING_SKILLS}
        good = {skill.name: judge.minutes_until_good(skill, policies) for skill in WALKING_SKILLS[:2]}
        falls = _daemon.perdure_json(home, "metrics")["falls"]
    return {
        "final": final,
        "mean_share": sum(final[name] / target for name, target in TARGETS.items()) / len(TARGETS),
        "robot_minutes_to_target": good,
        "falls": falls,
        "updates": status["updates"],
    }


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One variant, one seed."""
    return run(seed, settings["minutes"], settings)


STUDY = Study(
    name="sample_efficiency",
    module="benchmarks.sample_efficiency",
    variants={name: {"minutes": DEFAULT_N, "set": changes} for name, changes in VARIANTS.items()},
    cell=cell,
    figures={
        "robot_minutes_to_target.walk_forward": "lower",
        "robot_minutes_to_target.walk_backward": "lower",
        "mean_share": "higher",
        **{f"final.{name}": "higher" for name in TARGETS},
        "falls": "lower",
    },
)

if __name__ == "__main__":
    main(STUDY)
