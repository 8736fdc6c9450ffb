"""The daemon: puts the parts of a run together, runs it, and takes it apart again in the right order."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import structlog

from agent import inbox
from agent.attempts import Interrupt
from agent.background import BackgroundWriter
from agent.balance import Balance
from agent.brain import Brain
from agent.clearance import Clearance, Exam, Examiner
from agent.clock import SimulatedClock, Steppable, WallClock
from agent.config import Config
from agent.curriculum_books import open_curriculum
from agent.drift_care import DriftCare, can_be_made_up_for, drift_care
from agent.drifts import DriftBook, Drifts, subject_of
from agent.guard import is_guarded, permit_path, replaces_after_s
from agent.guard_link import GONE, GuardLink
from agent.jobs import RobotClockJobs, start_backup
from agent.learner_job import learner_job, stored_attempts
from agent.learner_link import LearnerLink, LearnerUnavailableError
from agent.learner_messages import LearnerJob, SaveCheckpoint, StoredAttempts
from agent.ledger import Ledger
from agent.logs import configure_logging
from agent.loop import ControlLoop
from agent.notes import Notes
from agent.opening import (
    abilities_of,
    check_database_is_there,
    check_may_run,
    earlier_turns,
    fixed_policies,
    move_aside,
    open_run,
    restore_latches,
    restore_permit,
    robot_seed,
    tidy_episodes,
)
from agent.operation import Operation
from agent.permit import runtime_dir
from agent.person import Placeable, SimulatedPerson
from agent.perturbations import Perturbations
from agent.pilot import Goal, Pilot
from agent.punctual import StopSignal, punctual
from agent.pushes import Pushes
from agent.quarantine import quarantine_what_ends_the_daemon
from agent.remote_robot import open_remote_robot
from agent.reporter import Reporter
from agent.robot_host import HostJob
from agent.robots import GYM_PREFIX, load_robot
from agent.safety import ActionGate, Monitors
from agent.scene import Scene
from agent.scheduler import Scheduler
from agent.shown import read_shown
from agent.states import Event, Limits, State
from agent.success_watch import SuccessWatch, earlier_attempts
from persistence.home import Home, HomeLock
from persistence.passages import passages
from persistence.records import ResumeState
from persistence.store import Store
from persistence.writer import StoreWriter
from sim.robot import Clock, FrameLayout, Frames, Observation, Robot
from sim.workspace import Workspace
from skills.registry import use_folders
from skills.skill import LearnedSkill

HEARTBEAT_S = 1.0
STATUS_S = 0.5
SHUTDOWN_S = 15.0
STORE_FAILED = "store failed"


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
            move_aside(paths)
        check_database_is_there(paths)
        with contextlib.closing(BackgroundWriter()) as background:
            configure_logging(paths.log, background)
            Run(config, paths, background).execute()
    return 0


@dataclass
class _Pace:
    """Wall-clock times at which the loop's small duties are next due."""

    heartbeat: float = 0.0
    status: float = 0.0


class Run:
    """One run of the daemon on one home directory."""

    def __init__(self, config: Config, home: Home, background: BackgroundWriter) -> None:
        """Remember what to run; nothing starts yet."""
        use_folders(config.run.skill_folders)
        self._config = config
        self._home = home
        self._background = background
        self._log = structlog.get_logger()
        self._realtime = config.run.speed == "realtime"
        self._signal = StopSignal()
        self._pace = _Pace()
        self._inbox_future: Future[tuple[inbox.Request, ...]] | None = None
        self._notes = Notes()
        self._checkpoint_seq = 0
        self._link: LearnerLink | None = None
        self._examiner: Examiner | None = None
        self._guard = GuardLink(home.root) if is_guarded() else None

    def execute(self) -> None:
        """Start, run, stop."""
        with contextlib.ExitStack() as stack:
            writer = StoreWriter(self._home.db)
            stack.callback(writer.close)
            self._writer = writer
            resume = writer.submit(Store.recover).result()
            orphans = writer.submit(lambda store: tidy_episodes(store, self._home)).result()
            if orphans:
                self._log.info("episodes.orphans_removed", files=orphans)
            run = self._config.run
            robot = self._make_robot(robot_seed(run.seed, resume.run_id or 0))
            self._config = self._config.for_robot(robot.spec)
            stack.callback(robot.close)
            stack.callback(self._end_learner)
            self._start(robot, resume)
            on_time = punctual(self._config.control.core) if self._realtime else contextlib.nullcontext()
            with self._signal.listening():  # to its end: a signal must not cut off the last checkpoint
                try:
                    with on_time:
                        self._fly()
                finally:
                    if self._guard is not None:
                        self._guard.leave()
                self._finish()

    # ------------------------------------------------------------------- start

    def _make_robot(self, seed: int) -> Robot:
        """In real time a robot lives in a process of its own; a Gymnasium environment only moves when it is told."""
        run, control, sim = self._config.run, self._config.control, self._config.sim
        if self._realtime and not run.robot.startswith(GYM_PREFIX):
            permit = place = None
            if self._guard is not None:
                permit, place = permit_path(self._home.root), runtime_dir(self._home.root) / "place"
            job = HostJob(
                name=run.robot,
                seed=seed,
                latency_ms=sim.latency_ms,
                slope_deg=sim.slope_deg,
                held_out=sim.held_out,
                rate_hz=control.rate_hz,
                core=control.core,
                permit=permit,
                place=place,
                again=replaces_after_s() > 0.0,
            )
            return open_remote_robot(job, self._notes.robot_restarted)
        return load_robot(
            run.robot,
            seed,
            latency_ms=sim.latency_ms,
            slope_deg=sim.slope_deg,
            reset_free=run.reset_free,
            held_out=sim.held_out,
        )

    def _start(self, robot: Robot, resume: ResumeState) -> None:
        config, writer = self._config, self._writer
        dt_s = config.control.dt_s
        if not (self._realtime or isinstance(robot, Steppable)):
            raise ValueError(f"robot {config.run.robot!r} is no simulator; it needs --speed realtime")
        abilities = abilities_of(
            config.run.skills,
            robot.spec,
            learned_get_up=config.safety.learned_get_up,
            with_resets=config.run.resets,
        )
        # What cannot work is refused here, before the run is in the books.
        writer.submit(lambda store: check_may_run(store, self._home, config, robot.spec, abilities.tasks)).result()
        able = (*abilities.tasks, *abilities.resets, *abilities.stand_ups)
        writer.submit(lambda store: quarantine_what_ends_the_daemon(store, able)).result()
        shown = read_shown(self._home, robot.spec, abilities.learned)
        abilities = shown.of(abilities)
        learning = abilities.learned
        fixed = fixed_policies(config, self._home, learning, resume.checkpoint_seq)
        job = None
        if learning and config.learner.enabled:
            goals, rewards = abilities.goals, abilities.rewards
            job = learner_job(config, self._home, robot.spec, learning, resume.checkpoint_seq, goals, rewards)
        start_s = resume.robot_time_s
        self._clock: Clock = (
            SimulatedClock(robot, dt_s, start_s=start_s, realtime=self._realtime)
            if isinstance(robot, Steppable)
            else WallClock(dt_s, start_s=start_s)
        )
        now_s = self._clock.now_s()
        subject = subject_of(robot)
        self._book = writer.submit(lambda store: DriftBook(store, config.sim, subject)).result()
        latches = writer.submit(lambda store: restore_latches(store, resume, now_s)).result()
        permit = writer.submit(restore_permit).result()
        limits = robot.spec.limits
        shas = shown.sha256
        run_id = writer.submit(lambda store: open_run(store, config, resume, latches, now_s, limits, shas)).result()
        if any(shas.values()):
            self._log.info("goals.read", **shas)
        workspace = Workspace(size_m=config.workspace.size_m, soft_margin_m=config.workspace.soft_margin_m)
        gate = ActionGate(robot.spec, dt_s)
        monitors = Monitors(robot.spec, workspace, config.safety, 1.0 / dt_s)
        renew = self._guard.renew if self._guard is not None else lambda: None
        watched = config.learner.enabled and bool(learning) and config.learner.watch_drift and bool(robot.spec.n_feet)
        driven = can_be_made_up_for(robot) if watched else robot
        loop = ControlLoop(driven, self._clock, gate, monitors, renew)
        self._ledger = Ledger(self._home, writer, run_id, State.BOOT.value, now_s, unplanned=resume.crashed)
        self._ledger.on_finished = lambda end: self._log.info(
            "attempt.finished", attempt=end.attempt_id, outcome=end.outcome.value, end_reason=end.end_reason
        )
        self._drifts = Drifts(robot, self._book, self._ledger.drift, now_s)
        self._pushes = Pushes(
            robot, config.sim.pushes_per_h, config.sim.push_mps, config.run.seed, now_s, self._notes.pushed
        )
        family = learning[0].family.name if learning else ""
        self._notes.open(self._ledger, self._clock, family)
        self._link = self._start_learner(job) if job is not None else None
        self._brain = Brain(
            self._link,
            robot.spec,
            dt_s=dt_s,
            seed=config.run.seed,
            attempts_before=resume.attempts,
            lockstep=not self._realtime,
            decimation=config.control.decimation,
            history=config.learner.history,
            past_actions=config.learner.past_actions,
            script_below=config.learner.script_below,
            earlier=writer.submit(earlier_turns).result(),
            fixed=fixed,
            clearance=self._new_clearance([skill.name for skill in learning]) if learning else None,
        )
        curriculum = writer.submit(lambda store: open_curriculum(store, abilities.tasks, config, now_s)).result()
        care = drift_care(driven, dt_s, family, config.learner, writer, self._notes) if watched else DriftCare()
        person = None
        if config.person.enabled and isinstance(robot, Placeable):
            p = config.person
            person = SimulatedPerson(robot, p.delay_s, every_attempt=p.every_attempt, repair=self._repair)
        self._jobs = RobotClockJobs(now_s)
        self._checkpoint_seq = resume.checkpoint_seq or 0
        hours = config.run.hours
        self._pilot = Pilot(
            loop=loop,
            ledger=self._ledger,
            brain=self._brain,
            scheduler=Scheduler(
                abilities.tasks, workspace, np.random.default_rng((config.run.seed, run_id, 1)), curriculum
            ),
            abilities=abilities,
            scene=Scene(
                abilities,
                workspace,
                writer.submit(passages).result(),
                self._brain.hopeless,
                heeds_skills=config.run.early_aborts,
            ),
            workspace=workspace,
            balance=Balance.configured(robot.spec, config.safety),
            person=person,
            limits=Limits(),
            goal=Goal(end_s=None if hours is None else now_s + 3600.0 * hours, attempts=config.run.attempts),
            operation=Operation(latches=latches),
            permit=permit,
            housekeeping=self._housekeeping,
            run_jobs=self._run_jobs,
            self_test=self._self_test,
            release=self._guard.acknowledge if self._guard is not None else lambda by: True,
            success_watch=SuccessWatch(self._notes.success_jumped, writer.submit(earlier_attempts).result()),
            perturbations=Perturbations(
                abilities.perturbations, config.run.perturb_share, np.random.default_rng((config.run.seed, run_id, 2))
            ),
            drift_watch=care.watch,
            ladder=care.ladder,
            checkups=care.checkups,
        )
        schedule = config.schedule
        self._jobs.every("evaluation", schedule.evaluate_every_min, self._evaluate)
        self._jobs.every("checkpoint", schedule.checkpoint_every_min, self._checkpoint)
        self._jobs.every("backup", schedule.backup_every_min, lambda: start_backup(self._home))
        self._reporter = Reporter(
            config=config,
            home=self._home,
            writer=writer,
            background=self._background,
            ledger=self._ledger,
            pilot=self._pilot,
            brain=self._brain,
            link=self._link,
            clock=self._clock,
            attempts_before=resume.attempts,
            drift_watch=care.watch,
        )

    def _start_learner(self, job: LearnerJob) -> LearnerLink:
        def episodes() -> StoredAttempts:
            return self._writer.submit(lambda store: stored_attempts(store, self._home, job.capacity)).result()

        return LearnerLink(job, episodes, self._notes.saved, self._notes.learner_restarted)

    def _new_clearance(self, skills: Sequence[str]) -> Clearance | None:
        """What keeps policies from acting that have not passed their safety evaluation; None: all act."""
        config, safety = self._config, self._config.safety
        if not safety.clearance_every:
            return None
        self._examiner = Examiner(
            Exam(
                robot=config.run.robot,
                skills=tuple(skills),
                config=config.to_dict(),
                attempts=safety.clearance_attempts,
                most_failures=safety.clearance_failures,
                seed=config.run.seed,
            ),
            config.learner.core,
        )
        return Clearance(
            self._examiner, every=safety.clearance_every, lockstep=not self._realtime, told=self._notes.examined
        )

    def _repair(self, robot_s: float) -> None:
        """The simulated person makes the robot what it was."""
        book = self._book
        self._writer.submit(lambda store: book.mend(store, robot_s)).result()

    def _end_learner(self) -> None:
        """The learner ignores signals: after an error of ours it would keep this process from ending."""
        if self._link is not None:
            self._link.kill()
        if self._examiner is not None:
            self._examiner.close()

    # --------------------------------------------------------------------- run

    def _fly(self) -> None:
        """Run the state machine; an error of ours still leaves the robot limp and the books closed."""
        try:
            self._pilot.run()
        except Exception as error:
            self._log.exception("daemon.failed")
            self._notes.last_error = f"{type(error).__name__}: {error}"
            self._pilot.loop.robot.stop()
            raise

    def _housekeeping(self) -> None:
        """Small duties between control periods."""
        self._drifts.look(self._clock.now_s())
        self._pushes.look(self._clock.now_s())
        if self._guard is not None:
            self._guard.look(self._pilot.operation.state)
            if self._guard.gone:
                self._guard_is_gone()
        if self._signal.name is not None:
            self._pilot.stop_reason = self._signal.name
            raise Interrupt(Event.SIGTERM, self._signal.name)
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
            self._reporter.write(self._notes.last_error)

    def _guard_is_gone(self) -> None:
        """Nobody could allow motion any more, whatever a person said, so the run ends; the robot can damp at most."""
        if self._pilot.stop_reason != GONE:
            self._notes.last_error = "the guard is gone; start perdure again"
            self._log.error("guard.gone")
            self._pilot.stop_reason = GONE
            raise Interrupt(Event.SIGTERM, GONE)

    def _books_failed(self, error: BaseException) -> None:
        """Without its books the robot must not go on (fault catalogue 42, 43)."""
        if self._pilot.stop_reason != STORE_FAILED:
            self._notes.last_error = f"{type(error).__name__}: {error}"
            self._log.error("store.failed", error=self._notes.last_error)
            self._pilot.stop_reason = STORE_FAILED
            raise Interrupt(Event.SIGTERM, "store_not_writable")

    def _serve_inbox(self) -> None:
        done = self._inbox_future
        if done is not None and done.done():
            self._inbox_future = None
            for wanted in done.result():
                if wanted.kind in (inbox.CLOSE, inbox.ACKNOWLEDGE) and self._pilot.operation.waits_for_human:
                    self._pilot.acknowledge(
                        str(wanted.data["operator"]),
                        str(wanted.data["action"]) or "closed",
                        physical_release=bool(wanted.data.get("released", False)),
                    )
                elif wanted.kind == inbox.RESUME:
                    self._pilot.permit()
        if self._inbox_future is None and (self._home.root / inbox.FOLDER).is_dir():
            now_s, root, estopped = self._clock.now_s(), self._home.root, self._pilot.operation.state is State.ESTOP
            book = self._book
            self._inbox_future = self._writer.submit(
                lambda store: inbox.serve(root, store, now_s, estopped=estopped, drifts=book)
            )

    def _run_jobs(self, now_s: float) -> None:
        self._brain.poll()
        if self._link is not None:
            self._notes.skipped(self._link.progress.skipped)
            self._notes.refused(self._link.progress.refused)
            self._notes.searched(self._link.progress.searches)
        for name in self._jobs.run_due(now_s):
            self._log.info("job.done", job=name, robot_s=now_s)
        if self._realtime:
            gc.collect()

    def _evaluate(self) -> None:
        waiting = {skill.name for skill in self._pilot.practice.evaluations}
        self._pilot.practice.evaluations.extend(
            skill for skill in self._pilot.tasks if isinstance(skill, LearnedSkill) and skill.name not in waiting
        )

    def _checkpoint(self) -> None:
        if self._link is None:
            return
        self._checkpoint_seq += 1
        self._link.checkpoint(self._checkpoint_seq, self._clock.now_s())
        if not self._realtime:
            self._link.wait_saved(self._checkpoint_seq)

    def _self_test(self, observation: Observation) -> list[str]:
        health = self._pilot.loop.robot.health()
        problems = list(health.problems) if not health.ok else []
        layout = FrameLayout.of(self._pilot.loop.robot.spec)
        frames = Frames(layout.pack(observation), layout)
        problems += [f"{name} is not finite" for name, _ in layout.fields if not np.isfinite(frames.field(name)).all()]
        return problems

    # -------------------------------------------------------------------- stop

    def _finish(self) -> None:
        """Last checkpoint, closed books, last status."""
        now_s = self._clock.now_s()
        self._brain.poll()
        if self._link is not None:
            if not self._realtime and self._signal.name is None:
                # Nobody is in a hurry: a repeatable run ends with all that its attempts teach.
                try:
                    self._brain.catch_up()
                except LearnerUnavailableError as error:
                    self._notes.last_error = str(error)
            last = SaveCheckpoint(self._checkpoint_seq + 1, now_s)
            self._link.close(last, SHUTDOWN_S)
        if self._ledger.error is None:
            self._ledger.end_run(now_s, self._pilot.stop_reason or "stop")
        self._log.info(
            "run.ended",
            robot_s=now_s,
            reason=self._pilot.stop_reason,
            **self._pilot.loop.lateness.summary(self._config.control.dt_s),
        )
        self._reporter.write_last(self._notes.last_error)
        if self._ledger.error is not None:
            raise RuntimeError(
                f"the store could not be written: {self._notes.last_error or self._ledger.error}; see {self._home.log}"
            )
