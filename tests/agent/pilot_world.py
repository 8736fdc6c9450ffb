"""A world for scenarios of the pilot: a fake robot, a real store, and checks that no scenario can skip."""

import sqlite3
from collections.abc import Callable

import numpy as np
from fakes import DT_S, FakeRobot

from agent.abilities import Abilities
from agent.attempts import Interrupt
from agent.balance import Balance
from agent.brain import Brain
from agent.clock import SimulatedClock
from agent.config import SafetyConfig
from agent.latches import Acknowledgement, Latches
from agent.ledger import Ledger
from agent.loop import ControlLoop
from agent.operation import Operation
from agent.person import SimulatedPerson
from agent.pilot import Goal, Pilot
from agent.safety import ActionGate, Monitors
from agent.scene import Scene
from agent.scheduler import Scheduler
from agent.states import Event, Limits, State, torque_allowed
from persistence.home import Home
from persistence.records import RunStart, SkillKind, SkillRow
from persistence.store import Store
from persistence.writer import StoreWriter
from sim.robot import Command, CommandMode, Observation
from sim.workspace import Workspace
from skills.registry import get
from skills.skill import Displacement, Progress, ScriptedSkill
from skills.skill import SkillKind as Kind

LIMITS = Limits()
MOTION_RAD = 0.01
"""How far from the stance the skills of these tests hold the joints; nothing else commands that."""


class Motion:
    """Holds a target that tells a robot's script which skill is running."""

    def __init__(self, spec, seconds: float, progress) -> None:
        self._target = spec.stand_position_rad + MOTION_RAD
        self._spec = spec
        self._seconds = seconds
        self._progress = progress
        self._start_s = 0.0

    def start(self, observation: Observation) -> None:
        self._start_s = observation.stamp_s

    def act(self, observation: Observation) -> Command:
        return Command(mode=CommandMode.POSITION, target=self._target, kp=self._spec.kp, kd=self._spec.kd)

    def progress(self, observation: Observation) -> Progress:
        over = observation.stamp_s - self._start_s >= self._seconds - 1e-9
        return self._progress(observation) if over else Progress.RUNNING


class FakeSkill(ScriptedSkill):
    summary = "for tests"
    horizon_s = 2.0

    def __init__(self, name: str, kind: Kind, seconds: float = 1.0, upright_only: bool = False, **move: float) -> None:
        self.name, self.kind, self.displacement = name, kind, Displacement(**move)
        self._seconds = seconds
        self._upright_only = upright_only

    def success(self, transition) -> bool:
        return False

    def controller(self, spec, dt_s):
        def progress(reading: Observation) -> Progress:
            up = 1 - 2 * float(np.sum(reading.orientation_xyzw[:2] ** 2)) > 0.97
            return Progress.SUCCEEDED if up or not self._upright_only else Progress.FAILED

        return Motion(spec, self._seconds, progress)


class World:
    """One run: a fake robot, a pilot, and the books in a temporary home."""

    def __init__(
        self,
        root,
        *,
        attempts: int | None = 2,
        delay_s: float = 5.0,
        latches: Latches | None = None,
        lockstep: bool = True,
        permit: bool = True,
        catch_lean_rad: float | None = None,
        release: Callable[[Acknowledgement], bool] = lambda by: True,
        learned_get_up: bool = False,
        tasks: tuple[FakeSkill, ...] | None = None,
        resets: tuple[FakeSkill, ...] = (),
        stand_ups: tuple[FakeSkill, ...] | None = None,
        every_attempt: bool = False,
        ladder=None,
        checkups=None,
    ) -> None:
        self.robot = FakeRobot()
        self.home = Home(root / "home").prepare()
        self.writer = StoreWriter(self.home.db)
        self.tasks = tasks or tuple(
            FakeSkill(name, Kind.TASK, forward_m=forward) for name, forward in (("go", 1.0), ("back", -1.0))
        )
        self.resets = (get("return_home"), *resets)
        self.stand_up = FakeSkill("stand_up", Kind.RECOVERY, seconds=1.0, upright_only=True)
        learned = FakeSkill("learned", Kind.RECOVERY, seconds=1.0, upright_only=True)
        self.stand_ups = (learned, self.stand_up) if learned_get_up else (self.stand_up,)
        if stand_ups is not None:
            self.stand_ups = stand_ups
        self.signal = ""
        self.visits: list[tuple[str, float]] = [("BOOT", 0.0)]
        self.jobs: list[float] = []
        self.can_go_home = True
        self.checked = 0
        """How many attempts were seen to have a durable row."""
        self.problems: list[str] = []
        self.error: str = ""
        self.limits = LIMITS
        spec, workspace = self.robot.spec, Workspace()
        monitors = Monitors(spec, workspace, SafetyConfig(), 50.0)
        self.loop = ControlLoop(self.robot, SimulatedClock(self.robot, DT_S), ActionGate(spec, DT_S), monitors)
        self.ledger = Ledger(self.home, self.writer, self._open(), "BOOT", 0.0, unplanned=False)
        abilities = Abilities(tasks=self.tasks, resets=self.resets, stand_ups=self.stand_ups)
        self.pilot = Pilot(
            loop=self.loop,
            ledger=self.ledger,
            brain=Brain(None, spec, dt_s=0.02, seed=0, attempts_before=0, lockstep=lockstep, decimation=2, history=3),
            scheduler=Scheduler(self.tasks, workspace, np.random.default_rng(0)),
            abilities=abilities,
            scene=Scene(abilities, workspace),
            workspace=workspace,
            balance=Balance(spec, catch_lean_rad),
            person=SimulatedPerson(self.robot, delay_s, every_attempt=every_attempt) if delay_s >= 0 else None,
            limits=self.limits,
            goal=Goal(end_s=None, attempts=attempts),
            operation=Operation(latches=latches or Latches()),
            housekeeping=self._housekeeping,
            run_jobs=self.jobs.append,
            self_test=lambda _: self.problems,
            permit=permit,
            release=release,
            ladder=ladder,
            checkups=checkups,
        )
        enter = self.ledger.enter

        def entered(state: str, now_s: float) -> None:
            enter(state, now_s)
            self.visits.append((state, now_s))

        self.ledger.enter = entered
        self.robot.on_write = self._check_row
        self._script = lambda robot: None
        self.robot.script = self._step

    def _open(self) -> int:
        def begin(store: Store) -> int:
            run_id = store.start_run(RunStart(robot="fake", started_s=0.0, seed=0))
            names = [
                (skill.name, SkillKind(skill.kind.value)) for skill in (*self.tasks, *self.resets, *self.stand_ups)
            ]
            for name, kind in names:
                store.register_skill(SkillRow(name=name, kind=kind), 0.0)
            return run_id

        return self.writer.submit(begin).result()

    def _housekeeping(self) -> None:
        if self.loop.reading.robot_s > 2000.0:
            raise TimeoutError(f"the scenario does not end: {self.path[-20:]}")
        if self.ledger.error is not None:
            raise self.ledger.error
        if self.signal:
            self.pilot.stop_reason = self.signal
            raise Interrupt(Event.SIGTERM, self.signal)

    @property
    def state(self) -> State:
        return self.pilot.operation.state

    def _step(self, robot: FakeRobot) -> None:
        """Runs before each step of the robot: nothing may hide from it."""
        state, now_s = self.state, self.loop.clock.now_s()
        robot.goes_home = self.can_go_home and self.pilot.practice.skill_name == "return_home"
        if robot.powered and not torque_allowed(state, now_s - self.visits[-1][1], self.limits):
            self.error = self.error or f"torque in {state} after {now_s - self.visits[-1][1]:.2f} s"
        self._script(robot)

    def _check_row(self, command: Command) -> None:
        """Another connection, as a process that starts after a crash, must see the row of a running attempt."""
        moving = np.array_equal(command.target, self.robot.spec.stand_position_rad + MOTION_RAD)
        if moving and not self._durable:
            with sqlite3.connect(self.home.db) as other:
                found = other.execute("SELECT skill FROM attempts WHERE state = 'started'").fetchall()
            if found != [(self.pilot.practice.skill_name,)]:
                self.error = self.error or f"{self.pilot.practice.skill_name} moved without its row: {found}"
            self.checked += 1
        self._durable = moving

    _durable = False

    def run(self, script=lambda robot: None) -> None:
        self._script = script
        self.pilot.run()
        self.loop.tick(None)
        self.ledger.end_run(self.loop.clock.now_s(), self.pilot.stop_reason or "stop")
        assert self.error == ""
        assert not self.robot.powered

    @property
    def path(self) -> list[str]:
        return [state for state, _ in self.visits]

    def rows(self, sql: str) -> list[tuple]:
        return self.writer.submit(lambda store: [tuple(row.values()) for row in store.rows(sql)]).result()

    def in_order(self, *states: str) -> bool:
        """Whether the states were visited one right after the other."""
        return any(tuple(self.path[i : i + len(states)]) == states for i in range(len(self.path)))

    def seconds_in(self, state: str) -> float:
        return sum(
            row[0] for row in self.rows(f"SELECT ended_s - started_s FROM state_intervals WHERE state='{state}'")
        )


class Once:
    """Does something to the robot the first time that a condition holds."""

    def __init__(self, when, then) -> None:
        self.when, self.then, self.done = when, then, False

    def __call__(self, robot: FakeRobot) -> None:
        if not self.done and self.when(robot):
            self.done = True
            self.then(robot)


def tip_over(robot: FakeRobot) -> None:
    robot.tilt_rad = 2.5
