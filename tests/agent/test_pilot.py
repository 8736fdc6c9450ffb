"""The state machine on a robot, told as scenarios with a fake robot and a real store.

In every scenario the robot itself checks at each step that it has torque only where the state allows it (I1), and at
each command that an attempt moves it only after the attempt's row is durable (I10).
"""

import itertools
import json
import sqlite3
import threading

import numpy as np
import pytest
from fakes import DT_S, FakeRobot

from agent.attempts import Interrupt
from agent.brain import Brain
from agent.clock import SimulatedClock
from agent.config import SafetyConfig
from agent.latches import Latches, Level
from agent.ledger import LATCHES, Ledger
from agent.loop import ControlLoop
from agent.operation import Operation
from agent.person import SimulatedPerson
from agent.pilot import Abilities, Goal, Pilot
from agent.safety import ActionGate, Monitors
from agent.scheduler import Scheduler
from agent.states import Event, Limits, State, torque_allowed
from persistence.home import Home
from persistence.records import RunStart, SkillKind, SkillRow
from persistence.store import Store
from persistence.writer import StoreWriter
from sim.robot import Command, CommandMode, Observation
from sim.state import SimulationError
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
    ) -> None:
        self.robot = FakeRobot()
        self.home = Home(root / "home").prepare()
        self.writer = StoreWriter(self.home.db)
        self.tasks = tuple(
            FakeSkill(name, Kind.TASK, forward_m=forward) for name, forward in (("go", 1.0), ("back", -1.0))
        )
        self.stand_up = FakeSkill("stand_up", Kind.RECOVERY, seconds=1.0, upright_only=True)
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
        self.pilot = Pilot(
            loop=self.loop,
            ledger=self.ledger,
            brain=Brain(None, spec, dt_s=0.02, seed=0, attempts_before=0, lockstep=lockstep, decimation=2, history=3),
            scheduler=Scheduler(self.tasks, workspace, np.random.default_rng(0)),
            abilities=Abilities(tasks=self.tasks, return_home=get("return_home"), stand_up=self.stand_up),
            workspace=workspace,
            person=SimulatedPerson(self.robot, delay_s) if delay_s >= 0 else None,
            limits=self.limits,
            goal=Goal(end_s=None, attempts=attempts),
            operation=Operation(latches=latches or Latches()),
            housekeeping=self._housekeeping,
            run_jobs=self.jobs.append,
            self_test=lambda _: self.problems,
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
            names = [(skill.name, SkillKind(skill.kind.value)) for skill in (*self.tasks, self.stand_up)]
            for name, kind in (*names, ("return_home", SkillKind.RESET)):
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


@pytest.fixture
def world(tmp_path):
    worlds = []

    def make(**options) -> World:
        worlds.append(World(tmp_path / str(len(worlds)), **options))
        return worlds[-1]

    yield make
    for made in worlds:
        # Whatever happened: the books cover all of the observed time, without a gap.
        rows = made.rows("SELECT started_s, ended_s FROM state_intervals ORDER BY started_s")
        assert all(before[1] == after[0] for before, after in itertools.pairwise(rows))
        made.writer.close()


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


class TestOrdinaryRun:
    def test_attempts_follow_each_other_until_the_goal(self, world):
        made = world(attempts=3)
        made.run()
        one = ["STANDBY", "ARMING", "ATTEMPT", "RESET"]
        assert made.path == ["BOOT", "SELF_TEST", *one, *one, *one, "STANDBY", "SHUTDOWN"]
        attempts = made.rows("SELECT state, outcome, ended_s - started_s FROM attempts")
        assert [row[:2] for row in attempts] == [("finished", "success")] * 3
        assert [row[2] for row in attempts] == pytest.approx([1.0] * 3)
        assert made.pilot.stop_reason == "attempts reached"
        assert made.checked == 3

    @pytest.mark.parametrize("cut_by", ["", "sigterm", "fall"])
    def test_in_real_time_it_stands_until_the_row_is_durable_whatever_comes_between(self, world, cut_by):
        made = world(attempts=1, lockstep=False)
        start = made.ledger.start_attempt
        disk = threading.Event()
        waited = [0]

        def slow(*args, **options):
            made.writer.submit(lambda store: disk.wait(10.0))
            return start(*args, **options)

        def script(robot: FakeRobot) -> None:
            if made.state is State.ATTEMPT and not disk.is_set():
                waited[0] += 1
                if waited[0] == 5 and cut_by == "fall":
                    robot.tilt_rad = 2.5
                if waited[0] == 5 and cut_by == "sigterm":
                    made.signal = "sigterm"
                if waited[0] == 5:
                    disk.set()

        made.ledger.start_attempt = slow
        made.run(script)
        assert made.rows("SELECT count(*) FROM attempts WHERE state = 'started'") == [(0,)]
        first = made.rows("SELECT outcome, end_reason FROM attempts WHERE id = 1")
        cut = ("aborted", "interrupted before it began")
        assert first == ([cut] if cut_by else [("success", "succeeded")])

    def test_jobs_run_only_while_the_robot_stands(self, world):
        made = world(attempts=3)
        made.run()
        assert len(made.jobs) == 3

    def test_the_run_ends_at_its_time(self, world):
        made = world(attempts=None)
        made.pilot._goal = Goal(end_s=10.0, attempts=None)
        made.run()
        assert 10.0 <= made.loop.clock.now_s() < 15.0
        assert made.pilot.stop_reason == "hours reached"

    def test_nothing_moves_before_the_first_arming(self, world):
        made = world(attempts=1)
        states = []
        made.robot.on_write = lambda command: states.append(made.state)
        made.run()
        assert states[0] is State.ARMING

    def test_a_failed_self_test_needs_a_person(self, world):
        made = world(attempts=1)
        made.problems = ["battery at 12.0 V"]

        def mended(robot: FakeRobot) -> None:
            if made.robot.places:
                made.problems.clear()

        made.run(mended)
        ((cause, kind, closed_s),) = made.rows("SELECT cause, class, closed_s FROM interventions")
        assert (cause, kind) == ("self_test: battery at 12.0 V", "failure")
        assert closed_s is not None
        assert made.rows("SELECT outcome FROM attempts") == [("success",)]


class TestFall:
    def test_a_fall_is_caught_booked_and_the_next_attempt_follows(self, world):
        made = world(attempts=2)
        made.run(Once(lambda robot: made.state is State.ATTEMPT and robot.time_s > 1.0, tip_over))
        assert made.in_order("ATTEMPT", "FALLING", "RECOVER", "RESET", "STANDBY", "ARMING", "ATTEMPT")
        found = made.rows("SELECT outcome, end_reason FROM attempts WHERE skill IN ('go', 'back') ORDER BY id")
        assert found == [("fall", "fallen"), ("success", "succeeded")]
        ((kind, recovered, tries, started_s, ended_s),) = made.rows(
            "SELECT kind, recovered, tries, started_s, ended_s FROM self_recoveries"
        )
        assert (kind, recovered) == ("fall", 1)
        assert 1 <= tries <= LIMITS.recover_tries
        assert ended_s - started_s > LIMITS.base_still_s + LIMITS.upright_s
        assert made.rows("SELECT count(*) FROM interventions") == [(0,)]

    def test_while_falling_it_only_damps(self, world):
        made = world(attempts=2)
        modes = set()
        check = made.robot.on_write

        def note(command: Command) -> None:
            check(command)
            if made.state is State.FALLING:
                modes.add(command.mode)

        made.robot.on_write = note
        made.run(Once(lambda robot: made.state is State.ATTEMPT, tip_over))
        assert modes == {CommandMode.DAMPING}

    def test_a_robot_that_never_lies_still_is_stood_up_after_the_limit(self, world):
        made = world(attempts=1)
        made.robot.spoil = lambda reading: reading if made.state is not State.FALLING else _shaken(reading)
        made.run(Once(lambda robot: made.state is State.ATTEMPT, tip_over))
        assert LIMITS.falling_s <= made.seconds_in("FALLING") <= LIMITS.falling_s + 0.1
        assert made.rows("SELECT recovered FROM self_recoveries") == [(1,)]

    def test_a_stand_up_that_never_works_is_tried_three_times_then_a_person_comes(self, world):
        made = world(attempts=2, delay_s=5.0)
        made.robot.rights_itself = False
        made.run(Once(lambda robot: made.state is State.ATTEMPT, tip_over))
        assert made.in_order("FALLING", "RECOVER", "NEED_HUMAN", "SELF_TEST", "STANDBY", "ARMING")
        assert made.rows("SELECT outcome FROM attempts WHERE skill = 'stand_up'") == [("timeout",)] * 3
        assert made.rows("SELECT recovered, tries FROM self_recoveries") == [(0, 3)]
        ((cause, kind, opened_s, closed_s, operator),) = made.rows(
            "SELECT cause, class, opened_s, closed_s, operator FROM interventions"
        )
        assert (cause, kind, operator) == ("stand_up_failed", "assist", "simulated person")
        assert closed_s - opened_s == pytest.approx(5.0, abs=0.05)
        assert made.rows("SELECT outcome FROM attempts ORDER BY id DESC LIMIT 1") == [("success",)]

    def test_after_help_the_self_test_is_downtime(self, world):
        made = world(attempts=2)
        made.robot.rights_itself = False
        made.run(Once(lambda robot: made.state is State.ATTEMPT, tip_over))
        tests = made.rows("SELECT e10 FROM state_intervals WHERE state = 'SELF_TEST' ORDER BY started_s")
        assert tests == [("standby",), ("unscheduled_down",)]

    def test_an_eleventh_fall_within_the_hour_asks_for_help(self, world):
        made = world(attempts=14, delay_s=5.0)
        tipped = set()

        def script(robot: FakeRobot) -> None:
            visit = len(made.visits)
            if made.state is State.ATTEMPT and visit not in tipped and len(tipped) < 11:
                tipped.add(visit)
                tip_over(robot)

        made.run(script)
        assert made.rows("SELECT cause, class FROM interventions") == [("too_many_falls", "assist")]
        assert made.rows("SELECT sum(recovered), count(*) FROM self_recoveries") == [(10, 11)]


def _shaken(reading: Observation) -> Observation:
    reading.angular_velocity = np.array([1.0, 0.0, 0.0])
    return reading


class TestComingToRest:
    @pytest.mark.parametrize(
        ("change", "rests"),
        [({}, ["ATTEMPT"]), ({"x_m": 2.4}, ["ATTEMPT", "RESET"]), ({"torque_nm": 3.0}, [])],
        ids=["an attempt", "and a way home", "not where a joint is stuck"],
    )
    def test_what_ends_in_rest(self, world, monkeypatch, change, rests):
        made, seen = world(attempts=1), []
        monkeypatch.setattr(made.pilot.practice, "come_to_rest", lambda: seen.append(made.state.value))

        def disturb(robot: FakeRobot) -> None:
            for name, value in change.items():
                setattr(robot, name, value)

        made.run(Once(lambda robot: made.state is State.ATTEMPT, disturb))
        assert seen == rests


class TestFences:
    def test_the_soft_fence_ends_the_attempt_and_the_reset_leads_back(self, world):
        made = world(attempts=2)

        made.run(Once(lambda robot: made.state is State.ATTEMPT, lambda robot: setattr(robot, "x_m", 2.4)))
        first = made.rows("SELECT outcome, end_reason FROM attempts WHERE id = 1")
        assert first == [("unsafe", "fence")]
        assert made.rows("SELECT outcome FROM attempts WHERE skill = 'return_home'") == [("success",)]
        assert made.rows("SELECT count(*) FROM interventions") == [(0,)]

    @pytest.mark.parametrize("x_m", [2.3, 2.37, 2.44])
    def test_outside_near_the_hard_fence_return_home_runs(self, world, x_m):
        """Also where an attempt has coasted beyond the line at which attempts end."""
        made = world(attempts=1)
        made.run(Once(lambda robot: made.state is State.RESET, lambda robot: setattr(robot, "x_m", x_m)))
        assert made.rows("SELECT outcome FROM attempts WHERE skill = 'return_home'") == [("success",)]
        assert made.rows("SELECT count(*) FROM interventions") == [(0,)]

    def test_near_the_hard_fence_a_fallen_robot_stands_up(self, world):
        made = world(attempts=1)

        def fall(robot: FakeRobot) -> None:
            robot.x_m = 2.45
            tip_over(robot)

        made.run(Once(lambda robot: made.state is State.RESET, fall))
        assert made.rows("SELECT recovered FROM self_recoveries") == [(1,)]
        assert made.rows("SELECT count(*) FROM interventions") == [(0,)]

    def test_a_reset_that_gets_nowhere_is_bounded(self, world):
        made = world(attempts=1)
        made.can_go_home = False
        made.run(Once(lambda robot: made.state is State.RESET, lambda robot: setattr(robot, "x_m", 2.4)))
        assert len(made.rows("SELECT 1 FROM attempts WHERE skill = 'return_home'")) == LIMITS.reset_tries
        assert made.rows("SELECT cause, class FROM interventions") == [("reset_failed", "assist")]

    def test_the_hard_fence_is_a_safe_stop_with_torque_off_after_it_has_settled(self, world):
        made = world(attempts=2, delay_s=6.0)
        powered = []

        def jump(robot: FakeRobot) -> None:
            if made.state is State.SAFE_STOP:
                powered.append(robot.powered)

        out = Once(lambda robot: made.state is State.ATTEMPT, lambda robot: setattr(robot, "x_m", 2.6))

        made.run(lambda robot: (out(robot), jump(robot)))
        assert made.in_order("ATTEMPT", "SAFE_STOP", "SELF_TEST", "STANDBY")
        settle = round(LIMITS.safe_stop_settle_s / DT_S)
        assert all(powered[: settle - 1])
        assert not any(powered[settle + 1 :])
        assert len(powered) > settle + 50
        assert made.rows("SELECT outcome, end_reason FROM attempts WHERE id = 1") == [("unsafe", "hard_fence")]
        assert made.rows("SELECT cause, class FROM interventions") == [("hard_fence", "assist")]
        assert (made.robot.x_m, len(made.robot.places)) == (0.0, 1)

    def test_a_person_who_is_early_waits_until_torque_is_off(self, world):
        made = world(attempts=2, delay_s=0.0)
        made.run(Once(lambda robot: made.state is State.ATTEMPT, lambda robot: setattr(robot, "x_m", 2.6)))
        ((opened_s, closed_s),) = made.rows("SELECT opened_s, closed_s FROM interventions")
        assert closed_s - opened_s >= LIMITS.safe_stop_settle_s


class TestFaults:
    def blind(self, made: World, ticks: int):
        """Sensors that say nothing from the middle of the first attempt on."""
        left = [ticks]

        def spoil(reading: Observation) -> Observation:
            if made.state in (State.ATTEMPT, State.HOLD) and made.loop.clock.now_s() > 0.8 and left[0] > 0:
                left[0] -= 1
                reading.battery_v = float("nan")
            return reading

        made.robot.spoil = spoil

    def test_a_few_bad_readings_change_nothing(self, world):
        made = world(attempts=2)
        self.blind(made, 4)
        made.run()
        assert "HOLD" not in made.path
        assert made.loop.monitors.rejected_readings == 4

    def test_a_fault_that_clears_leads_through_hold_to_reset(self, world):
        made = world(attempts=2)
        self.blind(made, 30)
        made.run()
        assert made.in_order("ATTEMPT", "HOLD", "RESET", "STANDBY", "ARMING", "ATTEMPT")
        assert made.rows("SELECT outcome, end_reason FROM attempts WHERE id = 1") == [("fault", "sensor")]
        assert made.rows("SELECT kind, severity FROM faults") == [("sensor", "soft")]
        assert made.seconds_in("HOLD") == pytest.approx(25 * DT_S + LIMITS.soft_clear_s, abs=0.1)
        assert made.rows("SELECT count(*) FROM interventions") == [(0,)]

    def test_a_fault_that_stays_is_a_safe_stop(self, world):
        made = world(attempts=2, delay_s=10.0)
        self.blind(made, 10**6)

        def mended(robot: FakeRobot) -> None:
            if robot.places:
                robot.spoil = lambda reading: reading

        made.run(mended)
        assert made.in_order("ATTEMPT", "HOLD", "SAFE_STOP", "SELF_TEST", "STANDBY")
        assert made.seconds_in("HOLD") == pytest.approx(LIMITS.hold_window_s, abs=0.1)
        assert made.rows("SELECT cause, class FROM interventions") == [("fault_did_not_clear", "failure")]

    def test_a_hot_motor_rests_until_it_has_cooled(self, world):
        made = world(attempts=2)

        def heat(robot: FakeRobot) -> None:
            if made.state is State.ATTEMPT and robot.time_s < 2.0:
                robot.temperature_c = 85.0
            elif made.state is State.LEARN_ONLY:
                robot.temperature_c -= 0.1

        made.run(heat)
        assert made.in_order("ATTEMPT", "RESET", "STANDBY", "LEARN_ONLY", "STANDBY", "ARMING")
        assert made.robot.temperature_c <= 70.0
        assert made.seconds_in("LEARN_ONLY") == pytest.approx(150 * DT_S, abs=0.1)
        assert made.rows("SELECT end_reason FROM attempts WHERE id = 1") == [("hot",)]
        assert made.rows("SELECT DISTINCT e10 FROM state_intervals WHERE state = 'LEARN_ONLY'") == [("standby",)]

    def test_an_exploded_simulation_is_a_hard_fault(self, world):
        made = world(attempts=2)

        def explode(robot: FakeRobot) -> None:
            raise SimulationError("the simulation exploded")

        made.run(Once(lambda robot: made.state is State.ATTEMPT and robot.time_s > 1.0, explode))
        assert made.in_order("ATTEMPT", "SAFE_STOP", "SELF_TEST")
        assert made.rows("SELECT outcome, end_reason FROM attempts WHERE id = 1") == [("fault", "simulation")]
        assert made.rows("SELECT cause, class FROM interventions") == [("simulation", "failure")]

    def test_a_robot_that_cannot_stand_straight_is_not_armed_forever(self, world):
        made = world(attempts=1)

        def script(robot: FakeRobot) -> None:
            if not robot.places:
                robot.rights_itself, robot.tilt_rad = False, 0.5

        made.run(script)
        assert made.path.count("ARMING") == 2
        assert made.in_order("ARMING", "FALLING", "RECOVER")
        assert made.rows("SELECT cause, class FROM interventions") == [("stand_up_failed", "assist")]
        assert made.rows("SELECT kind, recovered FROM self_recoveries") == [("bad_stance", 0)]

    def test_a_robot_that_stands_badly_mends_it_alone_and_that_is_no_fall(self, world):
        made = world(attempts=1)

        def script(robot: FakeRobot) -> None:
            robot.rights_itself = False
            robot.tilt_rad = 0.0 if "RECOVER" in made.path else 0.5

        made.run(script)
        assert made.rows("SELECT count(*) FROM interventions") == [(0,)]
        assert made.rows("SELECT kind, recovered FROM self_recoveries") == [("bad_stance", 1)]
        assert (made.ledger.totals.falls, made.ledger.totals.self_recoveries) == (0, 1)


class TestStop:
    @pytest.mark.parametrize("state", ["SELF_TEST", "ARMING", "ATTEMPT", "RESET", "FALLING", "RECOVER", "NEED_HUMAN"])
    def test_a_signal_ends_any_state_with_torque_off_and_closed_books(self, world, state):
        made = world(attempts=None, delay_s=500.0)
        made.robot.rights_itself = False
        tip = Once(
            lambda robot: made.state is State.ATTEMPT and state in ("FALLING", "RECOVER", "NEED_HUMAN"), tip_over
        )

        def script(robot: FakeRobot) -> None:
            tip(robot)
            if made.state == state:
                made.signal = "sigterm"

        made.run(script)
        assert made.path[-2:] == [state, "SHUTDOWN"]
        assert made.rows("SELECT ended, end_reason FROM runs") == [("stop", "sigterm")]
        assert made.rows("SELECT count(*) FROM attempts WHERE state = 'started'") == [(0,)]
        assert made.seconds_in("SHUTDOWN") <= LIMITS.shutdown_settle_s

    def test_an_attempt_that_a_signal_cuts_is_aborted(self, world):
        made = world(attempts=None)

        def script(robot: FakeRobot) -> None:
            if made.state is State.ATTEMPT and robot.time_s > 1.0:
                made.signal = "sigterm"

        made.run(script)
        assert made.rows("SELECT outcome, end_reason FROM attempts") == [("aborted", "sigterm")]


class TestRestart:
    def test_what_held_the_robot_holds_it_after_a_restart_and_starts_nothing(self, world):
        held = Latches().add("hard_fence", Level.L2, State.SAFE_STOP, 0.0)
        made = world(attempts=1, delay_s=4.0, latches=held)
        made.run()
        assert made.path[:5] == ["BOOT", "SAFE_STOP", "SELF_TEST", "STANDBY", "ARMING"]
        assert made.rows("SELECT cause, class FROM interventions") == [("hard_fence", "assist")]

    def test_without_a_person_it_waits_without_torque_and_a_signal_ends_it(self, world):
        held = Latches().add("stand_up_failed", Level.L2, State.NEED_HUMAN, 0.0)
        made = world(attempts=1, delay_s=-1.0, latches=held)

        def script(robot: FakeRobot) -> None:
            if robot.time_s > 20.0:
                made.signal = "sigterm"

        made.run(script)
        assert not {"ARMING", "ATTEMPT"} & set(made.path)
        assert made.rows("SELECT closed_s FROM interventions") == [(None,)]
        assert made.pilot.operation.latches.held_state is State.NEED_HUMAN

    def test_latches_are_kept_for_the_next_start(self, world):
        made = world(attempts=2)
        made.run(Once(lambda robot: made.state is State.ATTEMPT, lambda robot: setattr(robot, "x_m", 2.6)))
        stored = made.rows(f"SELECT data FROM events WHERE kind = '{LATCHES}' ORDER BY seq")
        kept = [Latches.from_json(json.loads(data)["latches"]) for (data,) in stored]
        assert kept[0].held_state is State.SAFE_STOP
        assert [latch.cause for latch in kept[0]] == ["hard_fence"]
        assert kept[-1].held_state is None

    def test_an_operator_who_acknowledges_does_not_start_the_robot(self, world):
        """P11: a reset permits restart, it does not restart."""
        held = Latches().add("stand_up_failed", Level.L2, State.NEED_HUMAN, 0.0)
        made = world(attempts=1, delay_s=-1.0, latches=held)
        acknowledge = Once(lambda robot: robot.time_s > 1.0, lambda robot: made.pilot.acknowledge("Ada", "put it back"))
        begin = Once(lambda robot: robot.time_s > 5.0, lambda robot: made.pilot.permit())
        made.pilot._permit = False

        made.run(lambda robot: (acknowledge(robot), begin(robot)))
        arming_s = next(now_s for state, now_s in made.visits if state == "ARMING")
        assert arming_s > 5.0
        assert made.rows("SELECT operator FROM interventions") == [("Ada",)]
