"""A skill that a robot has never tried, learned from what it did for other skills, before and with attempts of its own.

    python -m benchmarks.new_skill [--only a1] [--seeds 0 1 2]
    perdure bench new-skill --seed 0 --n 30               # the Minitaur; n: robot minutes of each run

A robot learns some walking skills from nothing. Then another one of the family begins in a home of its own, with the
first home as `learner.prior_data`: it learns from stored data alone (`learner.offline_updates`), is evaluated, and
learns on with attempts. Beside it the same skill is learned from nothing. The new skill is no mirror image of the
others, and what a policy does that has learned nothing, its prior, is evaluated too: some of it is good already.
Evaluations are of the nominal robot, ten attempts each. With ``PERDURE_BENCH_HOMES`` homes are kept there, and
a run that was cut off goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agent.evaluation import attempts_of, summary
from agent.policies import find_policy
from agent.skill_template import write_template
from agent.stored_config import stored_config
from benchmarks import _daemon
from benchmarks._study import Study, main
from skills.registry import get, use_folders
from skills.skill import LearnedSkill

DEFAULT_N = 30
EVERY_MIN = 2.0
"""Robot time between evaluations."""
ATTEMPTS = 10
LEARNED = 0.9
"""A skill is learned once it returns this share of what it does at the end of learning from nothing."""
CIRCLE = "circle"
"""The skill that `perdure skills new` writes: ahead and to the left at once."""
ROBOTS: Mapping[str, Mapping[str, Any]] = {
    "minitaur": {"robot": "minitaur", "others": ["walk_forward", "walk_backward"], "new": "turn_left"},
    "minitaur-circle": {
        "robot": "minitaur",
        "others": ["walk_forward", "walk_backward", "turn_left", "turn_right"],
        "new": CIRCLE,
    },
    "a1": {"robot": "a1", "others": ["walk_forward", "turn_left", "turn_right"], "new": "walk_backward"},
}


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """One seed of the Minitaur with ``n`` robot minutes. Returns what `cell` returns."""
    return cell({**ROBOTS["minitaur"], "minutes": n}, seed)


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One robot, one seed.

    Returns:
        ``prior_return`` (of a policy that has learned nothing), ``offline_return`` (before the first attempt),
        ``online_return`` (at the end of learning from nothing, the best of the last three evaluations),
        ``prior_share`` and ``offline_share`` of it, ``learned_min`` and ``from_nothing_min`` (robot
        minutes until `LEARNED` of that; None: never), ``time_share`` of these, and ``with_data`` and ``from_nothing``:
        robot minutes, return and share of successes of each evaluation.
    """
    minutes, new = float(settings["minutes"]), settings["new"]
    name = f"new-skill-{settings['robot']}-{new}-seed{seed}"
    with (
        _daemon.kept_home(f"{name}-skill") as folder,
        _daemon.kept_home(f"{name}-others") as others,
        _daemon.kept_home(f"{name}-data") as data,
        _daemon.kept_home(f"{name}-nothing") as nothing,
    ):
        ways = _written(folder) if new == CIRCLE else {}
        _learn(others, settings["robot"], settings["others"], minutes, seed)
        prior = {**ways, "learner.prior_data": [str(others)]}
        first = _before(f"{name}-offline", settings, seed, prior)
        plain = _before(f"{name}-prior", settings, seed, ways)
        with_data = _curve(data, settings, seed, prior)
        from_nothing = _curve(nothing, settings, seed, ways)
    online = max(returned for _, returned, _ in from_nothing[-3:])
    reached = {name: _reached(curve, LEARNED * online) for name, curve in (("d", with_data), ("n", from_nothing))}
    if first[0] >= LEARNED * online:
        reached["d"] = 0.0
    return {
        "offline_return": first[0],
        "offline_success": first[1],
        "online_return": online,
        "prior_return": plain[0],
        "prior_share": plain[0] / online,
        "offline_share": first[0] / online,
        "learned_min": reached["d"],
        "from_nothing_min": reached["n"],
        "time_share": reached["d"] / reached["n"] if reached["d"] is not None and reached["n"] else None,
        "with_data": with_data,
        "from_nothing": from_nothing,
    }


def _written(folder: Path) -> dict[str, Any]:
    """Write the circle there, as a user would. Returns how a run finds it."""
    if not (folder / f"{CIRCLE}.py").exists():
        write_template(CIRCLE, folder)
    use_folders([folder])
    return {"run.skill_folders": [str(folder)]}


def _before(name: str, settings: Mapping[str, Any], seed: int, changes: Mapping[str, Any]) -> tuple[float, float]:
    """Return and share of successes of the policy before its first attempt."""
    with _daemon.kept_home(name) as home:
        # There is a policy to evaluate once a run has ended: one attempt, of which nothing is learned.
        untaught = {**changes, "learner.warmup_steps": 1_000_000, "run.attempts": 1}
        _learn(home, settings["robot"], [settings["new"]], float(settings["minutes"]), seed, untaught)
        return _evaluated(home, "before", settings, seed)


def _curve(home: Path, settings: Mapping[str, Any], seed: int, changes: Mapping[str, Any]) -> list[list[float]]:
    curve = []
    for minutes in np.arange(EVERY_MIN, float(settings["minutes"]) + 1e-9, EVERY_MIN):
        _learn(home, settings["robot"], [settings["new"]], float(minutes), seed, changes)
        curve.append([float(minutes), *_evaluated(home, f"{minutes:g}", settings, seed)])
    return curve


def _learn(
    home: Path, robot: str, skills: list[str], minutes: float, seed: int, changes: Mapping[str, Any] | None = None
) -> None:
    told = _daemon.told(changes or {})
    length = ("--speed", "max", "--seed", str(seed), "--robot", robot, "--skills", ",".join(skills))
    if "run.attempts" in (changes or {}):
        if not (home / "perdure.db").is_file():
            _daemon.run_daemon(home, *length, *told)
        return
    _daemon.run_until(home, minutes / 60, *length, *told)


def _evaluated(home: Path, when: str, settings: Mapping[str, Any], seed: int) -> tuple[float, float]:
    """As `_evaluate`; what is kept with the home is taken from there."""
    returned, success = _daemon.remembered(
        home, when, lambda: _evaluate(home, settings["robot"], settings["new"], seed)
    )
    return returned, success


def _evaluate(home: Path, robot: str, skill: str, seed: int) -> tuple[float, float]:
    """Mean return and share of successes of the newest policy."""
    chosen = get(skill)
    assert isinstance(chosen, LearnedSkill)
    policy = find_policy("latest", robot, chosen, home)
    found = summary(attempts_of(chosen, robot, policy, ATTEMPTS, seed, "nominal", config=stored_config(home)))
    return float(found["return_mean"]), float(found["success_rate"])


def _reached(curve: list[list[float]], wanted: float) -> float | None:
    """Robot minutes at the first evaluation from which on two in a row return so much; None: never."""
    good = [returned >= wanted for _, returned, _ in curve]
    for index, (minutes, _, _) in enumerate(curve):
        if good[index] and all(good[index : index + 2]):
            return minutes
    return None


STUDY = Study(
    name="new-skill",
    module="benchmarks.new_skill",
    variants={name: {**settings, "minutes": DEFAULT_N} for name, settings in ROBOTS.items()},
    cell=cell,
    figures={"prior_share": "higher", "offline_share": "higher", "offline_success": "higher", "time_share": "lower"},
    seeds=(0, 1, 2),
)

if __name__ == "__main__":
    main(STUDY)
