"""The daemon: puts the parts of a run together, runs it, and takes it apart again in the right order."""

from __future__ import annotations

import contextlib
import gc
import json
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import structlog

from agent import inbox
from agent.attempts import Interrupt
from agent.brain import Brain
from agent.clock import SimulatedClock, Steppable
from agent.config import Config
from agent.jobs import RobotClockJobs
from agent.latches import Latches, Level
from agent.learner_link import LearnerLink
from agent.learner_process import LearnerJob, SaveCheckpoint, Saved
from agent.ledger import LATCHES, Ledger
from agent.loop import ControlLoop
from agent.machine import machine_facts, versions
from agent.operation import Operation
from agent.person import Placeable, SimulatedPerson
from agent.pilot import Abilities, Goal, Pilot
from agent.policies import find_policy
from agent.robots import load_robot
from agent.safety import ActionGate, Monitors
from agent.scheduler import Scheduler
from agent.states import Event, Limits, State
from agent.status import Status, write_status
from persistence import records
from persistence.backup import backup
from persistence.episodes import remove_orphans
from persistence.errors import HomeError
from persistence.home import Home, HomeLock
from persistence.metrics import metrics
from persistence.records import CheckpointRow, PolicyRow, ResumeState, RunStart, SkillRow
from persistence.store import Store
from persistence.writer import StoreWriter
from sim.robot import Observation, Robot
from sim.workspace import Workspace
from skills.registry import of_kind, skills
from skills.skill import LearnedSkill, ScriptedSkill, SkillKind
from skills.walk import FAMILY

HEARTBEAT_S = 1.0
STATUS_S = 0.5
METRICS_S = 5.0
SHUTDOWN_S = 15.0


def run_daemon(config: Config, home: Path, fresh: bool = False) -> int:
    """Run until the goal is reached or a signal comes.

    Args:
        config: checked configuration.
        home: home directory; created when missing.
        fresh: move what is in it aside and begin with nothing.

    Returns:
        Exit code: 0, or 1 when the run ended by an error of its own (which is raised for the command line to print).

    Raises:
        HomeLockedError: another daemon uses the home.
        PersistenceError: the home cannot be written, or its database is damaged or newer.
    """
    paths = Home(home).prepare()
    with HomeLock(paths):
        if fresh:
            _move_aside(paths)
        _check_database_is_there(paths)
        configure_logging(paths.log)
        Run(config, paths).execute()
    return 0


def _move_aside(home: Home) -> None:
    """Rename what a home holds into a folder of its own; nothing is ever deleted."""
    kept = [path for path in home.root.iterdir() if path not in (home.lock,) and not path.name.startswith("old-")]
    kept = [path for path in kept if path.suffix != ".toml"]
    if any(path.is_file() or any(path.iterdir()) for path in kept):
        folder = home.root / f"old-{time.strftime('%Y%m%dT%H%M%S')}-{os.getpid()}"
        folder.mkdir()
        for path in kept:
            path.rename(folder / path.name)
        home.prepare()


def _check_database_is_there(home: Home) -> None:
    """Refuse to begin an empty record beside what a lost one has left: its episodes would be removed as orphans."""
    left = sum(1 for _ in home.episodes.iterdir())
    if left and not home.db.exists():
        raise HomeError(
            f"{home.root} has {left} episode files but no perdure.db; restore a backup from {home.backups}, "
            "or begin anew with --fresh, which moves them aside"
        )


def configure_logging(path: Path) -> None:
    """Log events as JSON lines to a file."""
    handler = path.open("a", encoding="utf-8", buffering=1)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(file=handler),
        cache_logger_on_first_use=False,
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


@dataclass
class _Pace:
    """Wall-clock times at which the loop's small duties are next due."""

    heartbeat: float = 0.0
    status: float = 0.0
    metrics: float = 0.0


class Run:
    """One run of the daemon on one home directory."""

    def __init__(self, config: Config, home: Home) -> None:
        """Remember what to run; nothing starts yet."""
        self._config = config
        self._home = home
        self._log = structlog.get_logger()
        self._realtime = config.run.speed == "realtime"
        self._signal: str | None = None
        self._pace = _Pace()
        self._metrics: dict[str, Any] = {}
        self._metrics_future: Future[dict[str, Any]] | None = None
        self._inbox_future: Future[tuple[inbox.Request, ...]] | None = None
        self._last_error: str | None = None
        self._checkpoint_seq = 0
        self._link: LearnerLink | None = None

    def execute(self) -> None:
        """Start, run, stop."""
        with contextlib.ExitStack() as stack:
            writer = StoreWriter(self._home.db)
            stack.callback(writer.close)
            self._writer = writer
            resume = writer.submit(Store.recover).result()
            self._resume = resume
            known = writer.submit(
                lambda store: store.rows("SELECT episode_file FROM attempts WHERE episode_file IS NOT NULL")
            ).result()
            orphans = remove_orphans(self._home, [row["episode_file"] for row in known])
            if orphans:
                self._log.info("episodes.orphans_removed", files=orphans)
            robot = load_robot(self._config.run.robot, _mix(self._config.run.seed, resume.run_id or 0))
            stack.callback(robot.close)
            stack.callback(self._end_learner)
            self._start(robot, resume)
            with self._signals(), self._punctual():
                self._fly()
            self._finish()

    # ------------------------------------------------------------------- start

    def _start(self, robot: Robot, resume: ResumeState) -> None:
        config, writer = self._config, self._writer
        dt_s = 1.0 / config.control.rate_hz
        if not isinstance(robot, Steppable):
            raise ValueError(f"robot {config.run.robot!r} is no simulator; its driver must bring a clock of its own")
        abilities = abilities_of(config.run.skills)
        # What cannot work is refused here, before the run is in the books.
        fixed = None
        if not config.learner.enabled and any(isinstance(skill, LearnedSkill) for skill in abilities.tasks):
            fixed = find_policy("latest", config.run.robot, FAMILY, self._home.root)
        self._clock = SimulatedClock(robot, dt_s, start_s=resume.robot_time_s, realtime=self._realtime)
        now_s = self._clock.now_s()
        latches = self._restore_latches(resume, now_s)
        run_id = writer.submit(lambda store: self._open_run(store, resume, latches, now_s)).result()
        workspace = Workspace(size_m=config.workspace.size_m, soft_margin_m=config.workspace.soft_margin_m)
        gate = ActionGate(robot.spec, dt_s)
        monitors = Monitors(robot.spec, workspace, config.safety, config.control.rate_hz)
        loop = ControlLoop(robot, self._clock, gate, monitors)
        self._ledger = Ledger(self._home, writer, run_id, State.BOOT.value, now_s, unplanned=resume.crashed)
        self._ledger.on_finished = lambda end: self._log.info(
            "attempt.finished", attempt=end.attempt_id, outcome=end.outcome.value, end_reason=end.end_reason
        )
        self._link = self._start_learner(robot, abilities, resume) if config.learner.enabled else None
        self._brain = Brain(
            self._link,
            robot.spec,
            seed=config.run.seed,
            attempts_before=resume.attempts,
            lockstep=not self._realtime,
            decimation=config.control.decimation,
            history=config.learner.history,
            fixed=fixed,
        )
        person = None
        if config.person.enabled and isinstance(robot, Placeable):
            person = SimulatedPerson(robot, config.person.delay_s)
        self._jobs = RobotClockJobs(now_s)
        self._checkpoint_seq = resume.checkpoint_seq or 0
        hours = config.run.hours
        self._pilot = Pilot(
            loop=loop,
            ledger=self._ledger,
            brain=self._brain,
            scheduler=Scheduler(abilities.tasks, workspace, np.random.default_rng((config.run.seed, run_id, 1))),
            abilities=abilities,
            workspace=workspace,
            person=person,
            limits=Limits(),
            goal=Goal(end_s=None if hours is None else now_s + 3600.0 * hours, attempts=config.run.attempts),
            operation=Operation(latches=latches),
            housekeeping=self._housekeeping,
            run_jobs=self._run_jobs,
            self_test=self._self_test,
        )
        schedule = config.schedule
        self._jobs.every("evaluation", schedule.evaluate_every_min, self._evaluate)
        self._jobs.every("checkpoint", schedule.checkpoint_every_min, self._checkpoint)
        self._jobs.every("backup", schedule.backup_every_min, self._backup)
        self._started_wall_s = time.monotonic()
        self._started_robot_s = now_s

    def _open_run(self, store: Store, resume: ResumeState, latches: Latches, now_s: float) -> int:
        config = self._config
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
        version = str(versions().get("perdure") or "")
        if resume.phase_id is None:
            store.start_phase(f"perdure {version}", now_s, "first run")
        if latches.held_state is None:
            # Whoever started the daemon again has answered the crash; a robot that waited for a person still does.
            for item in store.open_interventions():
                store.close_intervention(item.id, now_s, operator="operator", action="started the daemon again")
        if before:
            self._tell_changes(before[0]["config"])
        return run_id

    def _tell_changes(self, stored: str) -> None:
        """Say what the configuration changes against the last run: a resume must not drift silently."""
        with contextlib.suppress(ValueError, TypeError):
            changes = Config.from_dict(json.loads(stored)).diff(self._config)
            if changes:
                self._log.warning("config.changed", changes=changes)
                sys.stderr.write("configuration changed since the last run: " + "; ".join(changes) + "\n")

    def _restore_latches(self, resume: ResumeState, now_s: float) -> Latches:
        """What held the robot when it was last seen still holds it: no restart clears a latch (I5)."""
        rows = self._writer.submit(
            lambda store: store.rows("SELECT data FROM events WHERE kind = ? ORDER BY seq DESC LIMIT 1", (LATCHES,))
        ).result()
        latches = Latches.from_json(json.loads(rows[0]["data"])["latches"]) if rows else Latches()
        limits = Limits()
        if resume.crashed and resume.recent_crashes >= limits.crash_count:
            latches = latches.add("crash_loop", Level.L2, State.SAFE_STOP, now_s, active=False)
        return latches

    def _start_learner(self, robot: Robot, abilities: Abilities, resume: ResumeState) -> LearnerLink | None:
        names = tuple(skill.name for skill in abilities.tasks if isinstance(skill, LearnedSkill))
        if not names:
            return None
        c = self._config.learner
        snapshots = self._home.root / "snapshots"
        snapshots.mkdir(exist_ok=True)
        job = LearnerJob(
            spec=robot.spec,
            family=FAMILY,
            skills=names,
            history=c.history,
            seed=self._config.run.seed,
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
            idle_updates_per_step=c.idle_updates_per_step if self._realtime else 0.0,
            torch_threads=c.torch_threads,
            core=c.core,
            snapshot_dir=snapshots,
            checkpoint_dir=self._home.checkpoints,
            max_checkpoint_seq=resume.checkpoint_seq,
            episodes=(),
        )
        return LearnerLink(job, self._stored_episodes, self._saved, self._learner_restarted)

    def _stored_episodes(self) -> list[Path]:
        rows = self._writer.submit(
            lambda store: store.rows(
                "SELECT episode_file FROM attempts WHERE state = 'finished' AND episode_file IS NOT NULL ORDER BY id"
            )
        ).result()
        return [self._home.episodes / row["episode_file"] for row in rows]

    def _end_learner(self) -> None:
        """The learner ignores signals: after an error of ours it would keep this process from ending."""
        if self._link is not None:
            self._link.kill()

    # --------------------------------------------------------------------- run

    def _fly(self) -> None:
        """Run the state machine; an error of ours still leaves the robot limp and the books closed."""
        try:
            self._pilot.run()
        except Exception as error:
            self._log.exception("daemon.failed")
            self._last_error = f"{type(error).__name__}: {error}"
            self._pilot.loop.robot.stop()
            raise

    def _housekeeping(self) -> None:
        """Small duties between control periods."""
        if self._signal is not None:
            self._pilot.stop_reason = self._signal
            raise Interrupt(Event.SIGTERM, self._signal)
        if self._ledger.error is not None:
            self._books_failed(self._ledger.error)
        wall_s = time.monotonic()
        if wall_s >= self._pace.heartbeat:
            self._pace.heartbeat = wall_s + HEARTBEAT_S
            self._ledger.heartbeat(self._clock.now_s())
            if self._realtime:
                self._brain.poll()
        elif wall_s >= self._pace.status:
            self._pace.status = wall_s + STATUS_S
            self._serve_inbox()
            write_status(self._home.root, self._status(wall_s))

    def _books_failed(self, error: BaseException) -> None:
        """Without its books the robot must not go on (fault catalogue 42, 43)."""
        if self._last_error is None:
            self._last_error = f"{type(error).__name__}: {error}"
            self._log.error("store.failed", error=self._last_error)
            self._pilot.stop_reason = "store failed"
            raise Interrupt(Event.SIGTERM, "store_not_writable")

    def _serve_inbox(self) -> None:
        done = self._inbox_future
        if done is not None and done.done():
            self._inbox_future = None
            for wanted in done.result():
                if wanted.kind == inbox.CLOSE and self._pilot.operation.waits_for_human:
                    self._pilot.acknowledge(str(wanted.data["operator"]), str(wanted.data["action"]) or "closed")
                elif wanted.kind == inbox.RESUME:
                    self._pilot.permit()
        if self._inbox_future is None and (self._home.root / inbox.FOLDER).is_dir():
            now_s, root = self._clock.now_s(), self._home.root
            self._inbox_future = self._writer.submit(lambda store: inbox.serve(root, store, now_s))

    def _run_jobs(self, now_s: float) -> None:
        self._brain.poll()
        if self._link is not None:
            self._tell_skipped(self._link.progress.skipped)
        for name in self._jobs.run_due(now_s):
            self._log.info("job.done", job=name, robot_s=now_s)
        if self._realtime:
            gc.collect()

    def _tell_skipped(self, skipped: list[str]) -> None:
        """Say which stored attempts or checkpoints were damaged; the run goes on without them."""
        for note in skipped:
            self._log.warning("learner.skipped", what=note)
            sys.stderr.write(f"damaged and not used: {note}\n")
            self._last_error = note
        skipped.clear()

    def _evaluate(self) -> None:
        waiting = {skill.name for skill in self._pilot.evaluations}
        self._pilot.evaluations.extend(
            skill for skill in self._pilot.tasks if isinstance(skill, LearnedSkill) and skill.name not in waiting
        )

    def _checkpoint(self) -> None:
        if self._link is None:
            return
        self._checkpoint_seq += 1
        self._link.checkpoint(self._checkpoint_seq, self._clock.now_s())
        if not self._realtime:
            self._link.wait_saved(self._checkpoint_seq)

    def _backup(self) -> None:
        """Copy the database in a thread of its own: the copy only reads, and may take its time."""
        threading.Thread(target=self._back_up, name="backup", daemon=True).start()

    def _back_up(self) -> None:
        try:
            made = backup(self._home)
            self._log.info("backup.made", file=made.path.name)
        except (OSError, RuntimeError, ValueError) as error:
            self._log.error("backup.failed", error=str(error))

    def _saved(self, saved: Saved) -> None:
        row = CheckpointRow(seq=saved.seq, robot_s=saved.robot_s, path=saved.name, manifest_sha256=saved.sha256)
        policy = PolicyRow(
            version=saved.version, robot_s=saved.robot_s, family=FAMILY, updates=saved.version, file=saved.name
        )
        self._ledger.checkpoint(row, policy)

    def _learner_restarted(self, reason: str) -> None:
        self._log.error("learner.restarted", reason=reason)
        self._last_error = reason
        self._ledger.fault("learner", self._clock.now_s(), "soft")

    def _self_test(self, observation: Observation) -> list[str]:
        health = self._pilot.loop.robot.health()
        problems = list(health.problems) if not health.ok else []
        if not np.isfinite(observation.joint_position).all():
            problems.append("joint positions are not finite")
        return problems

    # ------------------------------------------------------------------ status

    def _status(self, wall_s: float) -> Status:
        self._refresh_metrics(wall_s)
        m = self._metrics
        now_s = self._clock.now_s()
        progress = self._link.progress if self._link else None
        elapsed_s = max(1e-6, wall_s - self._started_wall_s)
        return Status(
            pid=os.getpid(),
            run_id=self._ledger.run_id,
            state=self._pilot.operation.state.value,
            skill=self._pilot.skill_name or None,
            attempts=self._resume.attempts + self._ledger.totals.attempts,
            robot_s=now_s,
            observed_hours=now_s / 3600.0,
            productive_hours=m.get("productive_hours", 0.0),
            speed_mps=self._pilot.last_speed_mps.get("walk_forward"),
            falls=m.get("falls", 0),
            self_recoveries=m.get("self_recoveries", 0),
            interventions=m.get("interventions", 0),
            failures=m.get("failures", 0),
            mtbf_hours=m.get("mtbf_hours"),
            mtbf_lower_hours=m.get("mtbf_lower_hours"),
            mtbf_upper_hours=m.get("mtbf_upper_hours"),
            policy_version=self._brain.policy_version,
            updates=progress.updates if progress else 0,
            updates_per_s=progress.updates_per_s if progress else 0.0,
            realtime_factor=(now_s - self._started_robot_s) / elapsed_s,
            home=str(self._home.root),
            robot=self._config.run.robot,
            seed=self._config.run.seed,
            mode=self._config.run.speed,
            last_error=self._last_error,
        )

    def _refresh_metrics(self, wall_s: float) -> None:
        """Ask the writer for the figures of the live view, in its own thread and on its own connection."""
        future = self._metrics_future
        if future is not None and future.done():
            self._metrics_future = None
            if future.exception() is None:
                self._metrics = future.result()
        if self._metrics_future is None and wall_s >= self._pace.metrics:
            self._pace.metrics = wall_s + METRICS_S
            self._metrics_future = self._writer.submit(metrics)

    # -------------------------------------------------------------------- stop

    def _finish(self) -> None:
        """Last checkpoint, closed books, last status."""
        now_s = self._clock.now_s()
        self._brain.poll()
        if self._link is not None:
            last = SaveCheckpoint(self._checkpoint_seq + 1, now_s)
            self._link.close(last, SHUTDOWN_S)
        if self._last_error is None or self._ledger.error is None:
            self._ledger.end_run(now_s, self._pilot.stop_reason or "stop")
            self._metrics = self._writer.submit(metrics).result()
        self._pace.metrics = float("inf")
        self._metrics_future = None
        self._log.info(
            "run.ended",
            robot_s=now_s,
            reason=self._pilot.stop_reason,
            **self._pilot.loop.lateness.summary(1.0 / self._config.control.rate_hz),
        )
        write_status(self._home.root, self._status(time.monotonic()))
        if self._ledger.error is not None:
            raise RuntimeError(f"the store could not be written: {self._last_error}; see {self._home.log}")

    @contextlib.contextmanager
    def _signals(self) -> Iterator[None]:
        """SIGTERM, SIGINT and SIGHUP ask for a clean stop; a second one ends the process at once."""

        def handle(number: int, frame: object) -> None:
            del frame
            if self._signal is not None:
                os._exit(128 + number)
            self._signal = signal.Signals(number).name.lower()

        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, handle) for number in names}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _punctual(self) -> Iterator[None]:
        """In real time the loop goes first, threads yield to it quickly, and garbage waits until an attempt is over."""
        if not self._realtime:
            yield
            return
        with contextlib.suppress(OSError):
            if self._config.control.core is not None:
                os.sched_setaffinity(0, {self._config.control.core})
            # Where the system allows it the loop goes before all ordinary processes; its children do not.
            os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(10))
        interval_s = sys.getswitchinterval()
        sys.setswitchinterval(0.0005)
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            yield
        finally:
            gc.enable()
            gc.unfreeze()
            sys.setswitchinterval(interval_s)
            with contextlib.suppress(OSError):
                os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def _mix(seed: int, run_id: int) -> int:
    """A seed for the robot's own noise that differs from run to run of one home."""
    return int(np.random.SeedSequence((seed, run_id)).generate_state(1)[0])


def _boot_id() -> str:
    with contextlib.suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    return ""
