"""Two policies of a skill against each other, in the same starts and dynamics, until one is shown to be better."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from agent.config import Config
from agent.evaluation import attempts_of, summary
from agent.paired_test import LOOKS, paired
from agent.policies import find_policy, zoo_settings
from agent.stored_config import stored_config
from persistence.records import Outcome
from skills.registry import get
from skills.skill import LearnedSkill


def compare_policies(
    skill: str, robot: str, policies: tuple[str, str], attempts: int, seed: int, home: Path, dynamics: str = "held-out"
) -> dict[str, Any]:
    """Evaluate two policies, a tenth of the attempts each at a time, and stop as soon as it is clear which is better.

    Args:
        skill: name of a learned skill.
        robot: name of an installed simulated robot, or ``gym:ID``.
        policies: ``zoo``, ``latest`` or a version each.
        attempts: of each at most; at least `LOOKS`.
        seed: of dynamics, starts and sensor noise, which both meet alike.
        home: where stored policies are looked for.
        dynamics: as `evaluate_skill` takes it.

    Returns:
        ``better`` (the policy that is, or None), ``pairs``, ``difference`` in the share of successes (first less
        second) and its ``interval``, ``z`` and ``bound`` of the test, ``first_only`` and ``second_only``, and
        ``policies``: of each its name, version, and what `summary` says, without single attempts.

    Raises:
        ValueError: unknown skill, robot, policy or dynamics, too few attempts, or the skill is scripted.
    """
    chosen = get(skill)
    if not isinstance(chosen, LearnedSkill):
        raise ValueError(f"skill {skill!r} is scripted: it has no policies to compare")
    if attempts < LOOKS:
        raise ValueError(f"{attempts} attempts cannot be looked at {LOOKS} times; compare at least {LOOKS}")
    weights = [find_policy(which, robot, chosen, home) for which in policies]
    configs = [
        Config.load(None, zoo_settings(robot, chosen.family.name)) if which == "zoo" else stored_config(home)
        for which in policies
    ]
    results: list[list[Any]] = [[], []]
    step = attempts // LOOKS
    while True:
        begun = len(results[0])
        n = attempts - begun if begun >= step * (LOOKS - 1) else step
        for made, policy, config in zip(results, weights, configs, strict=True):
            # Seeds by pair: a look more or less changes no attempt.
            made += attempts_of(chosen, robot, policy, n, seed * LOOKS + begun // step, dynamics, config=config)
        first, second = ([each.outcome is Outcome.SUCCESS for each in made] for made in results)
        found = paired(first, second, attempts)
        if found.decided or found.pairs == attempts:
            break
    better = (0 if found.z > 0 else 1) if found.decided else None
    return {
        "skill": skill,
        "robot": robot,
        "better": None if better is None else policies[better],
        "pairs": found.pairs,
        "difference": found.difference,
        "interval": list(found.interval),
        "z": found.z,
        "bound": found.bound,
        "first_only": found.first_only,
        "second_only": found.second_only,
        "policies": [
            {"policy": which, "version": policy.version}
            | {name: value for name, value in summary(made).items() if name != "per_attempt"}
            for which, policy, made in zip(policies, weights, results, strict=True)
        ],
    }
