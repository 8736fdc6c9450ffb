"""How a run begins: what it finds in the home, what it enters into the books, and what its learner is told."""

from __future__ import annotations

import contextlib
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from agent.config import Config
from agent.latches import Latches, Level
from agent.learner_process import LearnerJob
from agent.ledger import LATCHES
from agent.machine import machine_facts, versions
from agent.pilot import Abilities
from agent.states import Limits, State
from persistence import records
from persistence.episodes import remove_orphans
from persistence.errors import HomeError
from persistence.home import Home
from persistence.records import ResumeState, RunStart, SkillRow
from persistence.store import Store
from sim.robot import RobotSpec
from skills.registry import of_kind, skills
from skills.skill import LearnedSkill, ScriptedSkill, SkillKind
from skills.walk import FAMILY


def move_aside(home: Home) -> None:
    """Rename what a home holds into a folder of its own; nothing is ever deleted."""
    kept = [path for path in home.root.iterdir() if path not in (home.lock,) and not path.name.startswith("old-")]
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


def abilities_of(names: tuple[str, ...]) -> Abilities:
    """The skills that a run may use; empty means all.

    Raises:
        ValueError: none of them is a task.
    """
    chosen = names or tuple(skills())
    tasks = of_kind(chosen, SkillKind.TASK)
    if not tasks:
        known = ", ".join(skill.name for skill in of_kind(skills(), SkillKind.TASK))
        raise ValueError(f"none of the skills {', '.join(chosen)} is a task; add one of: {known}")
    # A reset or a recovery is never left out: the robot must always be able to help itself.
    resets = [skill for skill in of_kind(skills(), SkillKind.RESET) if isinstance(skill, ScriptedSkill)]
    recoveries = [skill for skill in of_kind(skills(), SkillKind.RECOVERY) if isinstance(skill, ScriptedSkill)]
    return Abilities(
        tasks=tasks,
        return_home=resets[0] if resets else None,
        stand_up=recoveries[0] if recoveries else None,
    )


def tidy_episodes(store: Store, home: Home) -> list[str]:
    """Remove what a crash left half-written: files without a row. Returns their names."""
    rows = store.rows("SELECT episode_file FROM attempts WHERE episode_file IS NOT NULL")
    return remove_orphans(home, [row["episode_file"] for row in rows])


def stored_episodes(store: Store, home: Home) -> list[Path]:
    """Files of all attempts that can be learned from, oldest first."""
    rows = store.rows(
        "SELECT episode_file FROM attempts WHERE state = 'finished' AND episode_file IS NOT NULL ORDER BY id"
    )
    return [home.episodes / row["episode_file"] for row in rows]


def restore_latches(store: Store, resume: ResumeState, now_s: float) -> Latches:
    """What held the robot when it was last seen still holds it: no restart clears a latch (I5)."""
    rows = store.rows("SELECT data FROM events WHERE kind = ? ORDER BY seq DESC LIMIT 1", (LATCHES,))
    latches = Latches.from_json(json.loads(rows[0]["data"])["latches"]) if rows else Latches()
    limits = Limits()
    if resume.crashed and resume.recent_crashes >= limits.crash_count:
        latches = latches.add("crash_loop", Level.L2, State.SAFE_STOP, now_s, active=False)
    return latches


def open_run(store: Store, config: Config, resume: ResumeState, latches: Latches, now_s: float) -> int:
    """Enter a new run, its skills and its phase into the books. Returns the number of the run."""
    before = store.rows("SELECT config, versions FROM runs ORDER BY id DESC LIMIT 1")
    run_id = store.start_run(
        RunStart(
            robot=config.run.robot,
            started_s=now_s,
            speed=config.run.speed,
            seed=config.run.seed,
            config=config.to_dict(),
            versions={**versions(), "machine": machine_facts()},
            boot_id=_boot_id(),
            pid=os.getpid(),
        )
    )
    for skill in skills().values():
        family = skill.family if isinstance(skill, LearnedSkill) else ""
        row = SkillRow(
            name=skill.name, kind=records.SkillKind(skill.kind.value), family=family, description=skill.summary
        )
        store.register_skill(row, now_s)
    _open_phase(store, config, before[0] if before else None, now_s)
    if latches.held_state is None:
        # Whoever started the daemon again has answered the crash; a robot that waited for a person still does.
        for item in store.open_interventions():
            store.close_intervention(item.id, now_s, operator="operator", action="started the daemon again")
    return run_id


def _open_phase(store: Store, config: Config, before: dict[str, Any] | None, now_s: float) -> None:
    """Begin a new phase where the agent is not what it was: growth curves are fitted within a phase only.

    Settings of [run] (how long, which seed) do not make another agent; all others and the version do. What changed is
    said aloud: a resume must not drift silently.
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
    reasons = [change for change in changes if not change.startswith("run.")]
    old = json.loads(before["versions"]).get("perdure")
    if old != version:
        reasons.append(f"version: {old} -> {version}")
    if reasons:
        store.start_phase(name, now_s, "; ".join(reasons))


def learner_job(
    config: Config, home: Home, spec: RobotSpec, names: tuple[str, ...], checkpoint_seq: int | None
) -> LearnerJob:
    """How to start the learner of the walking family, for the skills called ``names``."""
    c = config.learner
    snapshots = home.root / "snapshots"
    snapshots.mkdir(exist_ok=True)
    return LearnerJob(
        spec=spec,
        family=FAMILY,
        skills=names,
        history=c.history,
        seed=config.run.seed,
        settings={
            "hidden": c.hidden,
            "batch": c.batch,
            "discount": c.gamma,
            "tau": c.tau,
            "learning_rate": c.lr,
            "ensemble": c.ensemble,
            "layer_norm": c.layer_norm,
            "dropout": c.dropout,
            "initial_temperature": c.init_temperature,
            "initial_std": c.init_std,
        },
        capacity=c.replay_steps,
        updates_per_step=c.updates_per_step,
        warmup_steps=c.warmup_steps,
        idle_updates_per_step=c.idle_updates_per_step if config.run.speed == "realtime" else 0.0,
        torch_threads=c.torch_threads,
        core=c.core,
        snapshot_dir=snapshots,
        checkpoint_dir=home.checkpoints,
        max_checkpoint_seq=checkpoint_seq,
        episodes=(),
    )


def robot_seed(seed: int, run_id: int) -> int:
    """A seed for the robot's own noise that differs from run to run of one home."""
    return int(np.random.SeedSequence((seed, run_id)).generate_state(1)[0])


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
