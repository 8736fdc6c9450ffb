"""How a run begins: what it finds in the home, what it enters into the books, and what its learner is told."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from agent.abilities import Abilities
from agent.config import Config, LearnerConfig
from agent.curriculum import needs_of
from agent.drift_watch import FINDINGS
from agent.guard import LATCHES as GUARD_LATCHES
from agent.guard import replaces_after_s
from agent.latches import Latches, Level
from agent.learner_process import LearnerJob, StoredAttempts
from agent.ledger import GOALS, LATCHES, PERMIT
from agent.machine import machine_facts, versions
from agent.policies import DEPLOYED, find_policy, zoo_directory
from agent.settings import ConfigError
from agent.states import Limits, State
from agent.tier_books import unearned
from meta.drift_monitor import Finding
from persistence import records
from persistence.episodes import remove_orphans
from persistence.errors import HomeError, PersistenceError
from persistence.home import Home
from persistence.records import ResumeState, RunStart, SkillRow
from persistence.store import Store
from sim.robot import Limit, RobotSpec
from skills.get_up import GetUp
from skills.learned_reward import LearnedReward
from skills.policy import PolicyWeights
from skills.registry import of_kind, skills
from skills.skill import LearnedSkill, ScriptedSkill, Skill, SkillKind
from skills.success_classifier import SuccessClassifier

SHOWN = {"goals": ("goal", "own rule"), "rewards": ("reward", "own terms")}
"""What a person may have shown of a skill: what it is, and what is in force else."""
LIMITS = "limits"
"""Where the versions of a run keep the limits of its robot."""

SHIELD_UPDATES_PER_STEP = 1.0
"""Updates of a safety critic per policy step."""
SHIELD_DISCOUNT = 0.9
"""Harm that is k policy steps away counts this to the power of k: about half a second at 25 Hz."""


def move_aside(home: Home) -> None:
    """Rename what a home holds into a folder of its own; nothing is ever deleted.

    What the guard has latched stays: an empty home makes no robot safe.

    Raises:
        HomeError: a person has to release the robot first.
    """
    if home.db.is_file():
        held = Latches()
        with contextlib.suppress(PersistenceError), Store.open(home.db, read_only=True) as store:
            held = _stored_latches(store)  # of a damaged one nothing is known, and it is what --fresh is for
        if held.held_state is not None:
            causes = ", ".join(latch.cause for latch in held)
            raise HomeError(
                f"the robot of {home.root} is held ({causes}); start without --fresh, help it and `perdure ack`, "
                "or take another --home"
            )
    stay = (home.lock, home.root / GUARD_LATCHES)
    kept = [path for path in home.root.iterdir() if path not in stay and not path.name.startswith("old-")]
    kept = [path for path in kept if path.suffix != ".toml"]
    if any(path.is_file() or any(path.iterdir()) for path in kept):
        folder = home.root / f"old-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
        folder.mkdir()
        for path in kept:
            path.rename(folder / path.name)
        home.prepare()


def check_database_is_there(home: Home) -> None:
    """Refuse to begin an empty record beside what a lost one has left: its episodes would be removed as orphans."""
    left = sum(1 for _ in home.episodes.iterdir())
    if left and not home.db.exists():
        raise HomeError(
            f"{home.root} has {left} episode files but no perdure.db; restore a backup from {home.backups}, "
            "or begin anew with --fresh, which moves them aside"
        )


def check_robot_is_the_same(store: Store, home: Home, robot: str) -> None:
    """Refuse to go on with another robot: what was learned does not fit it, and figures of two are of neither.

    Raises:
        HomeError: the home is another robot's.
    """
    rows = store.rows("SELECT robot FROM runs ORDER BY id LIMIT 1")
    if rows and rows[0]["robot"] != robot:
        raise HomeError(
            f"{home.root} is the home of robot {rows[0]['robot']!r}, and this run is of {robot!r}; give it a --home of "
            "its own, or begin anew with --fresh, which moves aside what is there"
        )


def check_may_run(store: Store, home: Home, config: Config, spec: RobotSpec, tasks: Sequence[Skill]) -> None:
    """Refuse another robot than the home's, and to leave a skill alone with a real one that has not earned it.

    Raises:
        HomeError: the home is another robot's.
        ConfigError: a skill has not earned it, and nobody is said to be beside the robot.
    """
    check_robot_is_the_same(store, home, config.run.robot)
    if not (spec.simulated or config.run.attended):
        problem = unearned(tasks, (config.run.robot, spec.name), config, store)
        if problem:
            raise ConfigError(problem)


def abilities_of(
    names: tuple[str, ...], spec: RobotSpec, *, learned_get_up: bool = True, with_resets: bool = True
) -> Abilities:
    """The skills that a run may use; no names mean all that the robot can have.

    Args:
        names: of skills.
        spec: the robot.
        learned_get_up: whether a learned way to get up, where there is one, is tried before the scripted one.
        with_resets: whether the robot may help itself by resets, or perturb on purpose.

    Raises:
        ValueError: none of them is a task, the robot cannot have one, they wait for each other, or they belong to
            several families.
    """
    able = [skill for skill in skills().values() if skill.problem(spec) is None]
    chosen = names or tuple(skill.name for skill in able if not skill.on_request)
    tasks = of_kind(chosen, SkillKind.TASK)
    if not tasks:
        known = ", ".join(skill.name for skill in able if skill.kind is SkillKind.TASK)
        asked = f"none of the skills {', '.join(chosen)} is a task" if chosen else f"{spec.name} has no task of its own"
        raise ValueError(f"{asked}; add one of: {known or 'none is installed for this robot'}")
    for skill in tasks:
        if problem := skill.problem(spec):
            raise ValueError(f"skill {skill.name!r} cannot run: {problem}")
    needs_of(tasks)  # raises where some wait for each other
    families = {skill.family.name for skill in tasks if isinstance(skill, LearnedSkill)}
    if len(families) > 1:
        raise ValueError(f"skills of the families {', '.join(sorted(families))} cannot learn in one run; choose one")
    # A reset or a recovery is never left out: the robot must always be able to help itself.
    names_of_able = [skill.name for skill in able]
    resets = [
        skill
        for skill in of_kind(names_of_able, SkillKind.RESET)
        if not isinstance(skill, LearnedSkill) or skill.family.name in families
    ]
    recoveries = [skill for skill in of_kind(names_of_able, SkillKind.RECOVERY) if isinstance(skill, ScriptedSkill)]
    practised = {skill.name for skill in tasks}
    perturbing = [skill for skill in resets if practised & set(skill.perturbs)]
    return Abilities(
        tasks=tasks,
        resets=tuple(skill for skill in resets if not skill.perturbs) if with_resets else (),
        perturbations=tuple(perturbing) if with_resets else (),
        stand_ups=tuple(skill for skill in recoveries[::-1] if learned_get_up or not isinstance(skill, GetUp)),
    )


def fixed_policies(
    config: Config, home: Home, skills: Sequence[LearnedSkill], checkpoint_seq: int | None
) -> tuple[PolicyWeights, ...]:
    """The policies of a run that learns nothing, each of one skill; none where it learns.

    Raises:
        ConfigError: it is to act with what is deployed, and to learn.
        ValueError: a skill has no such policy.
    """
    start = config.run.start
    if config.learner.enabled:
        if start == DEPLOYED:
            raise ConfigError("run.start = deployed acts with what is deployed; add --set learner.enabled=false")
        return ()
    which = start if start == DEPLOYED or (start == "zoo" and checkpoint_seq is None) else "latest"
    found = [find_policy(which, config.run.robot, skill, home.root) for skill in skills]
    if which == DEPLOYED:  # each skill has one of its own, also where it was learned for a family
        found = [replace(weights, skill=skill.name) for weights, skill in zip(found, skills, strict=True)]
    return tuple(found)


def tidy_episodes(store: Store, home: Home) -> list[str]:
    """Remove what a crash left half-written: files without a row. Returns their names."""
    rows = store.rows("SELECT episode_file FROM attempts WHERE episode_file IS NOT NULL")
    return remove_orphans(home, [row["episode_file"] for row in rows])


_LAST_FINDING = f"""
SELECT d.kind FROM drift_events d WHERE d.kind IN ({", ".join("?" * len(FINDINGS))}) AND d.robot_s <= a.ended_s
ORDER BY d.id DESC LIMIT 1
"""


def stored_attempts(store: Store, home: Home, steps: int) -> StoredAttempts:
    """The newest attempts that can be learned from, of ``steps`` policy steps together: what is older is left out."""
    rows = store.rows(
        f"SELECT a.episode_file, a.steps, ({_LAST_FINDING}) = ? AS changed FROM attempts a "
        "WHERE a.state = 'finished' AND a.episode_file IS NOT NULL ORDER BY a.id",
        (*FINDINGS, Finding.CHANGED),
    )
    first, held = len(rows), 0
    while first > 0 and held + rows[first - 1]["steps"] <= steps:
        first -= 1
        held += rows[first]["steps"]
    return StoredAttempts(
        paths=tuple(home.episodes / row["episode_file"] for row in rows[first:]),
        unusual=frozenset(home.episodes / row["episode_file"] for row in rows[first:] if row["changed"]),
        left_out=first,
    )


def restore_latches(store: Store, resume: ResumeState, now_s: float) -> Latches:
    """What held the robot when it was last seen still holds it: no restart clears a latch (I5)."""
    latches, limits = _stored_latches(store), Limits()
    if resume.crashed and resume.recent_crashes >= limits.crash_count:
        latches = latches.add("crash_loop", Level.L2, State.SAFE_STOP, now_s, active=False)
    return latches


def _stored_latches(store: Store) -> Latches:
    rows = store.rows("SELECT data FROM events WHERE kind = ? ORDER BY seq DESC LIMIT 1", (LATCHES,))
    return Latches.from_json(json.loads(rows[0]["data"])["latches"]) if rows else Latches()


def restore_permit(store: Store) -> bool:
    """Whether motion may start: a person's own start is their word, a daemon that replaces another has only its."""
    if not replaces_after_s():
        return True
    rows = store.rows("SELECT data FROM events WHERE kind = ? ORDER BY seq DESC LIMIT 1", (PERMIT,))
    return bool(rows) and bool(json.loads(rows[0]["data"])["permitted"])


def open_run(
    store: Store,
    config: Config,
    resume: ResumeState,
    latches: Latches,
    now_s: float,
    limits: Sequence[Limit] = (),
    shown: Mapping[str, Mapping[str, str]] | None = None,
) -> int:
    """Enter a new run, its skills, its phase, the robot's limits and its goals into the books.

    Args:
        store: the books.
        config: of the run.
        resume: where the last run ended.
        latches: what holds the robot.
        now_s: robot time.
        limits: of the robot.
        shown: sha256 of the ``goals`` that tell the success of skills, and of the ``rewards`` that they are learned
            with, each by skill.

    Returns:
        The number of the run.
    """
    before = store.rows("SELECT config, versions FROM runs ORDER BY id DESC LIMIT 1")
    run_id = store.start_run(
        RunStart(
            robot=config.run.robot,
            started_s=now_s,
            speed=config.run.speed,
            seed=config.run.seed,
            config=config.to_dict(),
            versions={
                **versions(),
                "machine": machine_facts(),
                **({LIMITS: _bounds(limits)} if limits else {}),
            },
            boot_id=_boot_id(),
            pid=os.getpid(),
        )
    )
    for skill in skills().values():
        family = skill.family.name if isinstance(skill, LearnedSkill) else ""
        row = SkillRow(
            name=skill.name, kind=records.SkillKind(skill.kind.value), family=family, description=skill.summary
        )
        store.register_skill(row, now_s)
    now = {kind: dict((shown or {}).get(kind, {})) for kind in SHOWN}
    shown_before = _stored_goals(store)
    if any((*now.values(), *shown_before.values())):
        store.append_event(GOALS, now_s, now)
    changes = [change for kind in SHOWN for change in _goal_changes(kind, shown_before[kind], now[kind])]
    _open_phase(store, config, before[0] if before else None, limits, changes, now_s)
    if latches.held_state is None:
        # Whoever started the daemon again has answered the crash; a robot that waited for a person still does.
        for item in store.open_interventions():
            who = "guard" if replaces_after_s() else "operator"
            store.close_intervention(item.id, now_s, operator=who, action="started the daemon again")
    return run_id


def _open_phase(
    store: Store,
    config: Config,
    before: dict[str, Any] | None,
    limits: Sequence[Limit],
    goals: Sequence[str],
    now_s: float,
) -> None:
    """Begin a new phase where the agent is not what it was: growth curves are fitted within a phase only.

    Settings of [run] (how long, which seed) do not make another agent; all others, the version, the robot's limits and
    what counts as success do. What changed is said aloud: a resume must not drift silently.
    """
    version = versions().get("perdure")
    name = f"perdure {version}"
    if before is None:
        store.start_phase(name, now_s, "first run")
        return
    try:
        changes = Config.from_dict(json.loads(before["config"])).diff(config)
    except ValueError as error:
        changes = [f"the last run's configuration is not valid any more ({error})"]
    if changes:
        structlog.get_logger().warning("config.changed", changes=changes)
        sys.stderr.write("configuration changed since the last run: " + "; ".join(changes) + "\n")
    old_versions = json.loads(before["versions"])
    moved = _limit_changes(old_versions.get(LIMITS), limits)
    if moved:
        structlog.get_logger().warning("limits.changed", changes=moved)
        sys.stderr.write("limits of the robot changed since the last run: " + "; ".join(moved) + "\n")
    if goals:
        structlog.get_logger().warning("goals.changed", changes=goals)
        sys.stderr.write("goals changed since the last run: " + "; ".join(goals) + "\n")
    reasons = [change for change in changes if not change.startswith("run.")] + moved + list(goals)
    old = old_versions.get("perdure")
    if old != version:
        reasons.append(f"version: {old} -> {version}")
    if reasons:
        store.start_phase(name, now_s, "; ".join(reasons))


def _stored_goals(store: Store) -> dict[str, dict[str, str]]:
    """The goals and rewards of the last run that had some, or that no longer had any."""
    rows = store.rows("SELECT data FROM events WHERE kind = ? ORDER BY seq DESC LIMIT 1", (GOALS,))
    stored = json.loads(rows[0]["data"]) if rows else {}
    return {kind: dict(stored.get(kind, {})) for kind in SHOWN}


def _goal_changes(kind: str, before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What told the success, or the reward, of skills and does now, where these differ."""
    what, own = SHOWN[kind]

    def name(shown: Mapping[str, str], skill: str) -> str:
        return shown[skill][:12] if skill in shown else own

    return [
        f"{what} of {skill}: {name(before, skill)} -> {name(now, skill)}"
        for skill in sorted(before.keys() | now.keys())
        if before.get(skill) != now.get(skill)
    ]


def _bounds(limits: Sequence[Limit]) -> dict[str, dict[str, list[float]]]:
    return {limit.name: limit.bounds for limit in limits}


def _limit_changes(before: dict[str, Any] | None, limits: Sequence[Limit]) -> list[str]:
    """What a robot's limits were and are, where both are known and differ."""
    if before is None or not limits:
        return []
    now = _bounds(limits)
    return [
        f"limits.{name}: {before.get(name, 'none')} -> {now.get(name, 'none')}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]


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


def robot_seed(seed: int, run_id: int) -> int:
    """A seed for the robot's own noise that differs from run to run of one home."""
    return int(np.random.SeedSequence((seed, run_id)).generate_state(1)[0])


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
