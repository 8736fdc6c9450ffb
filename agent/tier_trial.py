"""The evaluation that a tier is earned by: the daemon itself, on simulated robots that training never saw.

It runs one task with the resets and recoveries that the robot has, in rounds, each on another robot; what its books
show is the evidence. Falls are few in them, so getting up is also tried from fallen poses, once each.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from agent.config import Config
from agent.daemon import run_daemon
from agent.evaluation import Fallible, attempts_of
from agent.opening import abilities_of
from agent.policies import POLICY_TENSOR, find_policy, zoo_settings
from agent.robots import load_robot
from agent.stored_config import stored_config
from agent.tier_books import read_evidence
from agent.tiers import Evidence
from persistence.checkpoints import save_checkpoint
from persistence.home import Home
from persistence.records import Outcome
from persistence.store import Store
from skills.skill import LearnedSkill, Skill

FALLS = 100
"""Fallen poses to get up from."""
NEVER_MIN = 1e4
"""Evaluations, checkpoints and backups are of no use here."""
KEPT = ("control.", "workspace.", "learner.", "safety.", "sim.latency_ms", "run.skill_folders")
"""Beginnings of the settings of a home that carry over."""


def try_out(
    skill: Skill,
    robot: str,
    policy: str,
    home: Path,
    *,
    hours: float,
    rounds: int,
    seed: int,
    falls: int = FALLS,
    told: Callable[[str], None] = lambda line: None,
) -> tuple[Evidence, int | None]:
    """Run a task for some robot time and see what it leaves behind.

    Args:
        skill: the task.
        robot: name of an installed simulated robot.
        policy: as `find_policy` takes it; of a learned skill.
        home: where stored policies and settings are looked for.
        hours: robot time of all rounds together.
        rounds: how many robots, each with dynamics of its own.
        seed: of dynamics, starts and sensor noise.
        falls: how many fallen poses the robot, if it can fall, has to get up from.
        told: gets a line after each round.

    Returns:
        The evidence, and the version of the policy; None for a script.

    Raises:
        ValueError: there is no such policy, the robot is real, or a round was cut short.
    """
    made = load_robot(robot, seed)
    spec, can_fall = made.spec, isinstance(made, Fallible)
    made.close()
    if not spec.simulated:
        raise ValueError(f"robot {robot!r} is real; what its skills have earned is read from the books of its home")
    abilities = abilities_of((skill.name,), spec)
    if policy == "zoo" and isinstance(skill, LearnedSkill):
        base = Config.load(None, zoo_settings(robot, skill.family.name))
    else:
        base = stored_config(home)
    config = _config(base, robot, skill, seed, hours / rounds)
    weights = {each.name: find_policy(policy, robot, each, home) for each in abilities.learned}
    with tempfile.TemporaryDirectory(prefix="perdure-tier-") as folder:
        trial = Home(Path(folder)).prepare()
        tensors = {f"{POLICY_TENSOR}.{name}": np.frombuffer(w.to_bytes(), np.uint8) for name, w in weights.items()}
        if tensors:
            save_checkpoint(trial.checkpoints, 1, tensors, {})
        for number in range(rounds):
            run_daemon(config, trial.root)
            with Store.open(trial.db, read_only=True) as store:
                (ended,) = store.rows("SELECT end_reason FROM runs ORDER BY id DESC LIMIT 1")
                evidence = read_evidence(store, skill.name, can_fall=can_fall, newest=10**9)
            if ended["end_reason"] != "hours reached":
                raise ValueError(f"the trial was cut short ({ended['end_reason']}); nothing was stored")
            told(
                f"robot {number + 1} of {rounds}: {evidence.attempts} attempts, {evidence.falls} falls, "
                f"{evidence.calls} calls, {evidence.beyond_limits} beyond limits in {evidence.hours:.2f} h"
            )
    if can_fall and abilities.stand_ups:
        results = attempts_of(abilities.stand_ups[0], robot, None, falls, seed, config=config)
        up = sum(result.outcome is Outcome.SUCCESS for result in results)
        told(f"got up from {up} of {falls} poses at the first try")
        evidence = replace(evidence, falls=evidence.falls + falls, got_up=evidence.got_up + up)
    return evidence, weights[skill.name].version if skill.name in weights else None


def _config(base: Config, robot: str, skill: Skill, seed: int, hours: float) -> Config:
    """Of one round: how the robot acts is the home's affair, how it is tried is the same for all."""
    kept = {name: value for name, value in Config().changes(base).items() if name.startswith(KEPT)}
    return Config.load(
        None,
        kept
        | {
            "run.robot": robot,
            "run.skills": [skill.name],
            "run.seed": seed,
            "run.hours": hours,
            "learner.enabled": False,
            "sim.held_out": True,
            "schedule.evaluate_every_min": NEVER_MIN,
            "schedule.checkpoint_every_min": NEVER_MIN,
            "schedule.backup_every_min": NEVER_MIN,
        },
    )
