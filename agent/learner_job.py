"""What the learner process of a run is told: its settings, and what there is to learn from."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from agent.config import Config, LearnerConfig
from agent.drift_watch import AFTER, LAST_FINDING
from agent.learner_messages import LearnerJob, StoredAttempts
from agent.policies import zoo_directory
from agent.settings import ConfigError
from meta.drift_monitor import Finding
from persistence.errors import HomeError
from persistence.home import Home
from persistence.store import Store
from sim.robot import RobotSpec
from skills.learned_reward import LearnedReward
from skills.skill import LearnedSkill
from skills.success_classifier import SuccessClassifier

SHIELD_UPDATES_PER_STEP = 1.0
"""Updates of a safety critic per policy step."""
SHIELD_DISCOUNT = 0.9
"""Harm that is k policy steps away counts this to the power of k: about half a second at 25 Hz."""


def learner_job(
    config: Config,
    home: Home,
    spec: RobotSpec,
    tasks: Sequence[LearnedSkill],
    checkpoint_seq: int | None,
    goals: Mapping[str, SuccessClassifier] | None = None,
    rewards: Mapping[str, LearnedReward] | None = None,
) -> LearnerJob:
    """How to start the learner of a family, for its skills ``tasks``.

    ``goals`` tell the success of some of them, and ``rewards`` are what some earn in the place of their own terms.

    Raises:
        ValueError: prior data or the zoo's state is not there.
    """
    c = config.learner
    family = tasks[0].family.name
    snapshots = home.root / "snapshots"
    snapshots.mkdir(exist_ok=True)
    return LearnerJob(
        spec=spec,
        family=family,
        skills=tuple(skill.name for skill in tasks),
        skill_folders=config.run.skill_folders,
        history=c.history,
        seed=config.run.seed,
        settings=learner_settings(c),
        algorithm=c.algorithm,
        population=tuple(learner_settings(changed(c, text)) for text in c.population),
        past_actions=c.past_actions,
        symmetry=c.symmetry,
        constrained=c.constraints,
        risk={"alarm_share": c.shield_alarms, "discount": SHIELD_DISCOUNT} if c.shield else None,
        risk_updates_per_update=min(1.0, SHIELD_UPDATES_PER_STEP / c.updates_per_step),
        false_alarms_per_min=c.false_alarms_per_min if c.predict_falls else None,
        hopeless_below=c.hopeless_below or None,
        watch_drift=c.watch_drift,
        search_offsets=c.watch_drift and c.search_offsets and not c.hold_policy,
        hold_policy=c.hold_policy,
        goals={name: goal.weights for name, goal in (goals or {}).items()},
        rewards={name: reward.weights for name, reward in (rewards or {}).items()},
        harm_lean_rad=config.safety.catch_lean_rad or spec.catch_lean_rad,
        prior_episodes=tuple(path for name in c.prior_data for path in prior_episodes(Path(name), c.replay_steps)),
        prior_share=c.prior_share,
        offline_updates=c.offline_updates if c.algorithm == "sac" and not c.hold_policy else 0,
        initial=zoo_directory(config.run.robot, family) if config.run.start == "zoo" else None,
        capacity=c.replay_steps,
        updates_per_step=c.updates_per_step,
        warmup_steps=c.warmup_steps,
        idle_updates_per_step=c.idle_updates_per_step if config.run.speed == "realtime" else 0.0,
        torch_threads=c.torch_threads,
        core=c.core,
        snapshot_dir=snapshots,
        checkpoint_dir=home.checkpoints,
        max_checkpoint_seq=checkpoint_seq,
        episodes=StoredAttempts(),
    )


def learner_settings(c: LearnerConfig) -> dict[str, Any]:
    """The settings of a learner under the names of `SacConfig`."""
    renamed = {
        "gamma": "discount",
        "lr": "learning_rate",
        "init_temperature": "initial_temperature",
        "init_std": "initial_std",
    }
    same = (
        "device",
        "hidden",
        "batch",
        "tau",
        "ensemble",
        "target_subset",
        "actor_mean",
        "imitation",
        "offline",
        "batch_norm",
        "reset_every",
        "actor_delay",
        "target_entropy",
        "cost_limit",
        "least_multiplier",
    )
    names = {name: name for name in (*same, "layer_norm", "dropout")} | renamed
    return {theirs: getattr(c, ours) for ours, theirs in names.items()}


def changed(c: LearnerConfig, text: str) -> LearnerConfig:
    """A member of a population: the learner with the settings of ``"lr=1e-3,gamma=0.97"`` changed.

    Raises:
        ConfigError: it is no list of learner settings and values.
    """
    try:
        values = tomllib.loads(f"member = {{ {text} }}")["member"]
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f'learner.population has {text!r}, not settings as "lr=1e-3,gamma=0.97" ({error})') from error
    return Config.load(overrides={f"learner.{name}": value for name, value in (asdict(c) | values).items()}).learner


def prior_episodes(root: Path, steps: int) -> tuple[Path, ...]:
    """The newest stored attempts of another home, of ``steps`` policy steps together, oldest first.

    Raises:
        HomeError: there is no such home.
    """
    home = Home(root.expanduser())
    if not home.db.is_file():
        raise HomeError(f"learner.prior_data names {root}, which has no perdure.db; name the home of another run")
    with Store.open(home.db, read_only=True) as store:
        return stored_attempts(store, home, steps).paths


def stored_attempts(store: Store, home: Home, steps: int) -> StoredAttempts:
    """The newest attempts that can be learned from, of ``steps`` policy steps together: what is older is left out."""
    rows = store.rows(
        f"SELECT a.episode_file, a.steps, ({LAST_FINDING}) AS found FROM attempts a "
        "WHERE a.state = 'finished' AND a.episode_file IS NOT NULL ORDER BY a.id"
    )
    first, held = len(rows), 0
    while first > 0 and held + rows[first - 1]["steps"] <= steps:
        first -= 1
        held += rows[first]["steps"]
    return StoredAttempts(
        paths=tuple(home.episodes / row["episode_file"] for row in rows[first:]),
        conditions={
            home.episodes / row["episode_file"]: AFTER[Finding(row["found"])] for row in rows[first:] if row["found"]
        },
        left_out=first,
    )
