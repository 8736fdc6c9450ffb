"""Which policy of a skill is deployed: a newer one where an evaluation finds it not worse, else the one before.

Both are compared in pairs of attempts, in dynamics that training never saw (`agent.comparison`). Every change is a row
of ``deployments`` that names the evaluations it follows from, and the policy itself is kept, since checkpoints are not.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.comparison import compare_policies
from agent.config import Config
from agent.evaluation import evaluate_skill
from agent.evaluation_rows import evaluation_row, store_evaluation
from agent.inbox import DEPLOY, Request, request
from agent.policies import DEPLOYED, deployed_file, deployment, find_policy, zoo_settings
from agent.robots import load_robot
from agent.stored_config import stored_config
from persistence.files import atomic_write, sha256_bytes
from persistence.home import Home
from persistence.store import Store
from skills.policy import PolicyWeights
from skills.registry import get
from skills.skill import LearnedSkill

MARGIN = 0.1
"""A candidate may be worse by less than this share of successes. One that is worse by so much is deployed in about one
of forty comparisons: the interval of the difference misses on either side in one of forty."""
PROMOTE, ROLL_BACK, KEEP = "promote", "roll_back", "keep"


def not_worse(found: Mapping[str, Any], candidate: str) -> bool:
    """Whether a comparison, the candidate first, shows it to be better, or not worse by `MARGIN`."""
    return found["better"] == candidate or (found["better"] is None and found["interval"][0] > -MARGIN)


def promote(
    skill: str, robot: str, policy: str, attempts: int, home: Path, operator: str, seed: int | None = None
) -> dict[str, Any]:
    """Deploy a policy if it is not worse than the one that is deployed; the first is deployed with its evaluation, if
    it ever succeeds in it.

    Args:
        skill: name of a learned skill.
        robot: name of an installed simulated robot.
        policy: the candidate: ``zoo``, ``latest`` or a version.
        attempts: of each policy, at most.
        home: whose deployed policy it is to be.
        operator: who asks.
        seed: of starts and dynamics; None: one that no comparison in this home has had.

    Returns:
        ``skill``, ``action`` (`PROMOTE` or `KEEP`), ``policy_version`` (deployed from now on; None: none is),
        ``before_version``, ``reason``, ``evaluations`` (ids), ``seed``, ``comparison`` (as `compare_policies` gives;
        None for the first).

    Raises:
        ValueError: there is no such policy, it is deployed already, or the skill is scripted.
    """
    chosen = _learned(skill)
    candidate = find_policy(policy, robot, chosen, home)
    if policy == "zoo":
        _check_settings(robot, chosen, home)
    before = deployment(home, skill)
    seed = _fresh_seed(home, skill) if seed is None else seed
    if before is None:
        facts = evaluate_skill(skill, robot, policy, attempts, seed, home)
        ids = [store_evaluation(home, evaluation_row(facts))]
        if not facts["success_rate"]:
            none = {"policy_version": None, "before_version": None}
            return _kept(
                skill, none, f"policy {candidate.version} never succeeded in {attempts} attempts", ids, seed, None
            )
        reason = f"the first; succeeded in {facts['success_rate']:.0%} of {attempts} attempts"
        return _deploy(home, skill, candidate, None, PROMOTE, reason, ids, operator, seed) | {"comparison": None}
    if before["policy_version"] == candidate.version:
        raise ValueError(f"policy {candidate.version} is the deployed one of {skill!r} already")
    found = compare_policies(skill, robot, (policy, DEPLOYED), attempts, seed, home)
    ids = _store(home, found, seed)
    words = _words(found)
    if not not_worse(found, policy):
        return _kept(skill, before, f"policy {candidate.version} is not shown to be as good: {words}", ids, seed, found)
    reason = f"{'better' if found['better'] == policy else 'not worse'}: {words}"
    done = _deploy(home, skill, candidate, before["policy_version"], PROMOTE, reason, ids, operator, seed)
    return done | {"comparison": found}


def roll_back(
    skill: str, robot: str, attempts: int, home: Path, operator: str, seed: int | None = None
) -> dict[str, Any]:
    """Deploy again what was deployed before if it is better than what is.

    Arguments and results are those of `promote`; ``action`` is `ROLL_BACK` or `KEEP`.

    Raises:
        ValueError: nothing is deployed, or nothing was before.
    """
    chosen = _learned(skill)
    now = deployment(home, skill)
    if now is None or now["before_version"] is None:
        there = "no policy is deployed" if now is None else f"policy {now['policy_version']} was the first deployed one"
        raise ValueError(f"{there} of {skill!r}; there is nothing to go back to")
    earlier = str(now["before_version"])
    seed = _fresh_seed(home, skill) if seed is None else seed
    found = compare_policies(skill, robot, (earlier, DEPLOYED), attempts, seed, home)
    ids = _store(home, found, seed)
    if found["better"] != earlier:
        return _kept(skill, now, f"policy {earlier} is not shown to be better: {_words(found)}", ids, seed, found)
    weights = find_policy(earlier, robot, chosen, home)
    reason = f"worse than the one before: {_words(found)}"
    done = _deploy(home, skill, weights, now["policy_version"], ROLL_BACK, reason, ids, operator, seed)
    return done | {"comparison": found}


def _learned(skill: str) -> LearnedSkill:
    chosen = get(skill)
    if not isinstance(chosen, LearnedSkill):
        raise ValueError(f"skill {skill!r} is scripted: it has no policies to deploy")
    return chosen


def _check_settings(robot: str, skill: LearnedSkill, home: Path) -> None:
    """Refuse a policy that acts at other rates, or sees more or less of the past, than those of this home do."""
    made = load_robot(robot, 0)
    spec = made.spec
    made.close()
    theirs = Config.load(None, zoo_settings(robot, skill.family.name)).for_robot(spec)
    differing = [
        line
        for line in stored_config(home).for_robot(spec).diff(theirs)
        if line.startswith(("control.", "learner.history", "learner.past_actions"))
    ]
    if differing:
        raise ValueError(f"the zoo's policy was trained with other settings than this home has: {'; '.join(differing)}")


def _fresh_seed(home: Path, skill: str) -> int:
    """One that no stored evaluation of the skill has had: those may be why a policy is a candidate."""
    with Store.open(Home(home).db, read_only=True) as store:
        (row,) = store.rows("SELECT max(seed) AS seed FROM evaluations WHERE skill = ?", (skill,))
    return 0 if row["seed"] is None else int(row["seed"]) + 1


def _store(home: Path, found: Mapping[str, Any], seed: int) -> list[int]:
    """Both sides of a comparison."""
    pair = {name: found[name] for name in ("pairs", "difference", "interval", "z", "bound")}
    shared = {"skill": found["skill"], "robot": found["robot"], "dynamics": "held-out", "seed": seed}
    return [
        store_evaluation(
            home,
            evaluation_row(
                {**side, **shared, "policy_version": side["version"], "attempts": found["pairs"]},
                "comparison",
                **pair,
                against=other["version"],
                side=which,
            ),
        )
        for which, side, other in zip(("first", "second"), found["policies"], found["policies"][::-1], strict=True)
    ]


def _deploy(
    home: Path,
    skill: str,
    weights: PolicyWeights,
    before: int | None,
    action: str,
    reason: str,
    evaluations: list[int],
    operator: str,
    seed: int,
) -> dict[str, Any]:
    """Keep the policy, then say that it is the deployed one: a file that no row names does no harm."""
    data = weights.to_bytes()
    path = deployed_file(home, skill, weights.version)
    path.parent.mkdir(exist_ok=True)
    atomic_write(path, data)
    facts = {
        "skill": skill,
        "action": action,
        "policy_version": weights.version,
        "before_version": before,
        "reason": reason,
        "evaluations": evaluations,
    }
    row = facts | {"operator": operator, "file": path.name, "sha256": sha256_bytes(data)}
    request(home, Request(kind=DEPLOY, data=row))
    return facts | {"seed": seed}


def _kept(
    skill: str, now: Mapping[str, Any], reason: str, ids: list[int], seed: int, found: Mapping[str, Any] | None
) -> dict[str, Any]:
    return {
        "skill": skill,
        "action": KEEP,
        "policy_version": now["policy_version"],
        "before_version": now["before_version"],
        "reason": reason,
        "evaluations": ids,
        "seed": seed,
        "comparison": found,
    }


def _words(found: Mapping[str, Any]) -> str:
    low, high = found["interval"]
    return f"difference {found['difference']:+.3f}, {low:+.3f} to {high:+.3f}, in {found['pairs']} pairs"
