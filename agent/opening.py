"""How a run begins: what it finds in the home, and what it enters into the books."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from agent.abilities import Abilities
from agent.brain import Turn
from agent.config import Config
from agent.curriculum import needs_of
from agent.guard import LATCHES as GUARD_LATCHES
from agent.guard import replaces_after_s
from agent.latches import Latches, Level
from agent.ledger import GOALS, LATCHES, PERMIT
from agent.machine import machine_facts, versions
from agent.policies import DEPLOYED, find_policy
from agent.settings import ConfigError
from agent.states import Limits, State
from agent.tier_books import unearned
from persistence import records
from persistence.episodes import remove_orphans
from persistence.errors import HomeError, PersistenceError
from persistence.home import Home, typed
from persistence.records import ResumeState, RunStart, SkillRow
from persistence.store import Store
from sim.robot import Limit, RobotSpec
from skills.get_up import GetUp
from skills.policy import PolicyWeights
from skills.registry import of_kind, skills
from skills.skill import LearnedSkill, ScriptedSkill, Skill, SkillKind

SHOWN = {"goals": ("goal", "own rule"), "rewards": ("reward", "own terms")}
"""What a person may have shown of a skill: what it is, and what is in force else."""
LIMITS = "limits"
"""Where the versions of a run keep the limits of its robot."""
TURNS = 1000
"""Attempts that are read back: some of each skill."""
_TURNS = """
SELECT a.skill, a.policy_version IS NOT NULL AS by_policy, a.outcome = 'success' AS success
FROM attempts a JOIN skills k ON k.name = a.skill
WHERE a.state = 'finished' AND a.outcome <> 'aborted' AND NOT a.evaluation AND k.family <> '' ORDER BY a.id DESC LIMIT ?
"""


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
            ack = typed("ack --action ...", home.root)
            raise HomeError(
                f"the robot of {home.root} is held ({causes}); start without --fresh, help it and {ack}, or take "
                "another --home"
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


def earlier_turns(store: Store) -> list[Turn]:
    """The newest attempts of learned skills, oldest first; no evaluations."""
    return [
        Turn(skill=row["skill"], by_policy=bool(row["by_policy"]), success=bool(row["success"]))
        for row in reversed(store.rows(_TURNS, (TURNS,)))
    ]


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


def robot_seed(seed: int, run_id: int) -> int:
    """A seed for the robot's own noise that differs from run to run of one home."""
    return int(np.random.SeedSequence((seed, run_id)).generate_state(1)[0])


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
