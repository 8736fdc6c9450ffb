"""One attempt: why it ends, how it is judged, and what is kept of it."""

from dataclasses import replace

import numpy as np
import pytest
from fakes import DT_S, FakeRobot

from agent.attempts import GOAL, GOAL_DECISIONS, ROBOT_CHANGED, AttemptResult, AttemptRunner, Interrupt
from agent.clock import SimulatedClock
from agent.config import SafetyConfig
from agent.fence import BRAKING_S
from agent.loop import ControlLoop
from agent.safety import ActionGate, JoltMonitor, Monitors, PowerMonitor
from agent.states import Event
from persistence.records import CANNOT_BE_UNDONE, Outcome
from sim.robot import FORCE_STOP, Command, CommandMode, Observation
from sim.workspace import Workspace
from skills.decisions import DecisionController
from skills.gait import GAIT
from skills.registry import get
from skills.skill import Progress, ScriptedSkill, SkillKind

WORKSPACE = Workspace()


class Script:
    """Stands still; says what it is told about its progress."""

    def __init__(self, robot: FakeRobot, progress=lambda seconds: Progress.RUNNING) -> None:
        self._spec = robot.spec
        self._progress = progress
        self._start_s = 0.0

    def start(self, observation: Observation) -> None:
        self._start_s = observation.stamp_s

    def act(self, observation: Observation) -> Command:
        return Command(mode=CommandMode.POSITION, target=self._spec.stand_position_rad, kp=1.0, kd=0.0)

    def progress(self, observation: Observation) -> Progress:
        return self._progress(observation.stamp_s - self._start_s)


class Task(ScriptedSkill):
    name = "task"
    kind = SkillKind.TASK
    summary = "a task"
    horizon_s = 1.0

    def controller(self, spec, dt_s):
        raise NotImplementedError

    def success(self, transition) -> bool:
        return False


def task(horizon_s: float, kind: SkillKind = SkillKind.TASK) -> Task:
    made = Task()
    made.horizon_s, made.kind = horizon_s, kind
    return made


@pytest.fixture
def robot():
    robot = FakeRobot()
    robot.goes_home = False
    return robot


def run(
    robot: FakeRobot,
    controller=None,
    skill=None,
    interrupt_at_s: float | None = None,
    event=None,
    cause="x",
    hopeless=None,
    goal=None,
    drift_watch=None,
    as_practised=True,
):
    monitors = Monitors(robot.spec, WORKSPACE, SafetyConfig(), 50.0)
    loop = ControlLoop(robot, SimulatedClock(robot, DT_S), ActionGate(robot.spec, DT_S), monitors)

    def tick(act):
        now = loop.tick(act)
        if interrupt_at_s is not None and now.robot_s >= interrupt_at_s - 1e-9:
            raise Interrupt(event, cause)
        return now

    begun_s = loop.reading.robot_s
    runner = AttemptRunner(loop, WORKSPACE, tick, drift_watch)
    result = runner.run(
        skill or Task(), controller or Script(robot), as_practised=as_practised, hopeless=hopeless, goal=goal
    )
    return result, loop.reading.robot_s - begun_s


def walk(robot: FakeRobot) -> tuple[DecisionController, object]:
    skill = get("walk_forward")
    prior = skill.prior_action(robot.spec)
    actuator = GAIT.actuator(robot.spec, DT_S)
    controller = DecisionController(GAIT, actuator, lambda *_: np.full(12, 0.5), prior, decimation=2)
    return controller, skill


class DriftWatchFake:
    def __init__(self, changes_at=None):
        self.told, self.changes_at = [], changes_at

    def begins(self, controller):
        self.told.append(controller)

    def decided(self, observation, decision, robot_s):
        self.told.append((observation.stamp_s, decision.sent))
        return len(self.told) == self.changes_at


class TestDriftWatch:
    def test_it_is_told_of_every_decision(self, robot):
        controller, skill = walk(robot)
        watch = DriftWatchFake()
        result, _ = run(robot, controller, skill, drift_watch=watch)
        first, *decisions = watch.told
        assert first is controller
        arrays = result.arrays
        assert [stamp_s for stamp_s, _ in decisions[: result.steps]] == arrays.stamps_s[: result.steps].tolist()
        np.testing.assert_array_equal([sent for _, sent in decisions[: result.steps]], arrays.actions)

    def test_an_attempt_in_which_the_robot_changes_is_over_and_says_nothing_of_its_skill(self, robot):
        controller, skill = walk(robot)
        watch = DriftWatchFake(changes_at=6)
        result, _ = run(robot, controller, skill, drift_watch=watch)
        assert (result.outcome, result.end_reason) == (Outcome.ABORTED, ROBOT_CHANGED)
        assert len(watch.told) == 6
        assert result.arrays is not None  # what was measured until then is kept

    def test_it_judges_no_attempt_in_which_the_robot_moves_otherwise_than_in_practice(self, robot):
        controller, skill = walk(robot)
        watch = DriftWatchFake()
        run(robot, controller, skill, drift_watch=watch, as_practised=False)
        assert watch.told[0] is None

    def test_a_script_that_decides_nothing_is_no_business_of_its(self, robot):
        watch = DriftWatchFake()
        run(robot, drift_watch=watch)
        assert watch.told == [None]


class TestEnd:
    def test_the_time_limit_is_exact(self, robot):
        result, seconds = run(robot)
        assert (result.outcome, result.end_reason) == (Outcome.TIMEOUT, "time")
        assert seconds == pytest.approx(1.0, abs=1e-9)

    @pytest.mark.parametrize(
        ("progress", "outcome"), [(Progress.SUCCEEDED, Outcome.SUCCESS), (Progress.FAILED, Outcome.TIMEOUT)]
    )
    def test_a_script_ends_itself(self, robot, progress, outcome):
        script = Script(robot, lambda seconds: progress if seconds >= 0.5 - 1e-9 else Progress.RUNNING)
        result, seconds = run(robot, script)
        assert (result.outcome, result.end_reason) == (outcome, progress.value)
        assert seconds == pytest.approx(0.5)

    @pytest.mark.parametrize("speed_mps", [0.3, 1.0, 2.5])
    def test_the_soft_fence_ends_it_in_time_to_stop_there(self, robot, speed_mps):
        robot.velocity_mps = (0.0, -speed_mps)
        result, _ = run(robot, skill=task(20.0))
        assert (result.outcome, result.end_reason) == (Outcome.UNSAFE, "fence")
        stopped_m = -robot.y_m + speed_mps * BRAKING_S
        assert stopped_m == pytest.approx(WORKSPACE.soft_half_m, abs=0.05)

    def test_a_gait_that_sways_is_not_taken_for_one_that_leaves(self, robot):
        robot.x_m = 1.9
        robot.script = lambda r: setattr(r, "velocity_mps", (1.0 if r.ticks % 10 < 5 else -1.0, 0.0))
        result, _ = run(robot, skill=task(3.0))
        assert result.end_reason == "time"

    def test_a_joint_that_stays_at_its_limit_ends_it(self, robot):
        robot.torque_nm = 3.0
        result, seconds = run(robot)
        assert (result.outcome, result.end_reason) == (Outcome.UNSAFE, "saturated")
        assert seconds < 1.0

    def test_more_power_than_the_supply_was_made_for_ends_it(self, robot, monkeypatch):
        monkeypatch.setattr(PowerMonitor, "update", lambda self, reading: reading.stamp_s > 0.3)
        result, seconds = run(robot)
        assert (result.outcome, result.end_reason) == (Outcome.UNSAFE, "power")
        assert seconds < 0.5

    @pytest.mark.parametrize(
        ("kind", "lies_down"), [(SkillKind.TASK, False), (SkillKind.TASK, True), (SkillKind.RECOVERY, False)]
    )
    def test_a_jolt_ends_it_unless_the_robot_lies_on_the_floor(self, robot, monkeypatch, kind, lies_down):
        monkeypatch.setattr(JoltMonitor, "update", lambda self, reading: reading.stamp_s > 0.3)
        skill = task(1.0)
        skill.kind, skill.lies_down = kind, lies_down
        result, _ = run(robot, skill=skill)
        upright = kind is SkillKind.TASK and not lies_down
        assert result.end_reason == ("jolt" if upright else "time")
        assert (result.outcome is Outcome.UNSAFE) is upright

    def test_an_arm_that_has_stopped_itself_ends_it(self, robot, monkeypatch):
        read = robot.read
        monkeypatch.setattr(robot, "read", lambda: replace(read(), extra=np.array([float(read().stamp_s > 0.3)])))
        robot.spec = replace(robot.spec, extra_names=(FORCE_STOP,))
        result, seconds = run(robot)
        assert (result.outcome, result.end_reason) == (Outcome.UNSAFE, "force")
        assert seconds < 0.5

    def test_a_joint_beyond_its_limits_ends_it(self, robot, monkeypatch):
        read = robot.read
        forced = np.full(robot.spec.n_joints, robot.spec.position_upper_rad + 0.1)
        monkeypatch.setattr(robot, "read", lambda: replace(read(), joint_position=forced))
        result, _ = run(robot)
        assert (result.outcome, result.end_reason) == (Outcome.UNSAFE, "joint_limit")

    def test_it_goes_no_further_than_can_be_undone(self, robot):
        controller, skill = walk(robot)
        result, seconds = run(
            robot, controller, skill, hopeless=lambda _, now: {"back"} if now.stamp_s >= 0.2 else set()
        )
        assert (result.end_reason, result.outcome) == (CANNOT_BE_UNDONE, Outcome.TIMEOUT)
        assert 0.2 <= seconds <= 0.2 + 3 * DT_S  # asked with each decision, every other period
        assert result.steps > 0

    def test_one_that_began_so_may_go_on(self, robot):
        controller, skill = walk(robot)
        assert run(robot, controller, skill, hopeless=lambda *_: {"back"})[0].end_reason == "time"

    def test_heat_ends_it(self, robot):
        robot.script = lambda r: setattr(r, "temperature_c", 90.0 if r.time_s > 0.3 else 30.0)
        result, seconds = run(robot)
        assert result.end_reason == "hot"
        assert seconds < 0.5


@pytest.mark.parametrize("replaces", [True, False])
def test_the_share_of_decisions_that_were_taken_over_is_measured(robot, replaces):
    controller, skill = walk(robot)
    taken = iter([replaces, False] * 1000)
    controller._safer = lambda proposed: np.zeros(12) if next(taken) else None
    result, _ = run(robot, controller, skill)
    assert result.measures.get("shielded") == (pytest.approx(0.5, abs=0.01) if replaces else None)


@pytest.mark.parametrize("too_far", [True, False])
def test_the_share_of_commands_that_the_gate_changed_is_measured(robot, too_far):
    script = Script(robot)
    act, turns = script.act, iter([too_far, False] * 1000)

    def lean_on_the_gate(reading):
        command = act(reading)
        return replace(command, target=command.target + 10.0) if next(turns) else command

    script.act = lean_on_the_gate
    result, _ = run(robot, script)
    # Where a target was out of reach, the way back to the next one may be too far for one period as well.
    share = result.measures.get("limited")
    assert (0.4 < share <= 1.0) if too_far else share is None


def test_what_the_gate_changed_in_an_attempt_is_not_counted_in_the_next(robot):
    monitors = Monitors(robot.spec, WORKSPACE, SafetyConfig(), 50.0)
    loop = ControlLoop(robot, SimulatedClock(robot, DT_S), ActionGate(robot.spec, DT_S), monitors)
    runner = AttemptRunner(loop, WORKSPACE, loop.tick)
    wild = Script(robot)
    wild.act = lambda reading: replace(Script(robot).act(reading), target=robot.spec.stand_position_rad + 10.0)
    assert runner.run(Task(), wild).measures["limited"] == 1.0
    # The way back to the stance takes a few periods; then nothing is changed any more.
    assert runner.run(Task(), Script(robot)).measures["limited"] < 0.3
    assert "limited" not in runner.run(Task(), Script(robot)).measures


class TestFence:
    @pytest.mark.parametrize("kind", [SkillKind.RESET, SkillKind.RECOVERY])
    @pytest.mark.parametrize("start_m", [2.05, 2.2, 2.36, 2.45])
    def test_who_has_to_come_back_or_to_stand_up_may_do_so_anywhere(self, robot, kind, start_m):
        robot.x_m = start_m
        result, seconds = run(robot, skill=task(1.0, kind))
        assert result.end_reason == "time"
        assert seconds == pytest.approx(1.0)

    @pytest.mark.parametrize("start_m", [2.05, 2.2, 2.25])
    def test_a_task_that_starts_beyond_the_soft_fence_may_come_back(self, robot, start_m):
        robot.x_m = start_m
        robot.velocity_mps = (-1.0, 0.0)
        assert run(robot)[0].end_reason == "time"

    @pytest.mark.parametrize(("start_m", "end_m"), [(1.9, 2.1), (2.1, 2.3), (2.2, 2.3)])
    def test_but_goes_out_by_no_more_than_the_rules_allow(self, robot, start_m, end_m):
        robot.x_m = start_m
        robot.velocity_mps = (1.0, 0.0)
        result, _ = run(robot, skill=task(5.0))
        assert (result.outcome, result.end_reason) == (Outcome.UNSAFE, "fence")
        assert end_m <= robot.x_m + 1e-9 <= end_m + 0.03

    @pytest.mark.parametrize("speed_mps", [0.5, 1.2])
    def test_who_came_in_from_beyond_one_soft_fence_keeps_to_the_one_on_the_far_side(self, robot, speed_mps):
        robot.x_m = 2.25
        robot.velocity_mps = (-speed_mps, 0.0)
        result, _ = run(robot, skill=task(20.0))
        assert result.end_reason == "fence"
        assert -robot.x_m + speed_mps * BRAKING_S == pytest.approx(WORKSPACE.soft_half_m, abs=0.05)


class Goal:
    """Stands in for a success classifier."""

    def __init__(self, reached) -> None:
        self.reached = lambda reading: reached(reading.stamp_s)


class TestGoal:
    def attempt(self, robot, reached, speed_mps=0.0, **given):
        controller, skill = walk(robot)
        robot.velocity_mps, robot.x_m = (speed_mps, 0.0), -1.9
        return run(robot, controller, skill, goal=Goal(reached), **given)

    def test_it_ends_once_the_goal_was_reached_at_so_many_decisions_in_a_row(self, robot):
        result, seconds = self.attempt(robot, lambda stamp_s: stamp_s >= 1.0 - 1e-9)
        assert (result.outcome, result.end_reason) == (Outcome.SUCCESS, GOAL)
        assert seconds == pytest.approx(1.0 + 2 * DT_S * (GOAL_DECISIONS - 1), abs=2 * DT_S)  # every other period

    def test_a_glimpse_of_it_does_not(self, robot):
        # Two decisions of every three.
        result, seconds = self.attempt(robot, lambda stamp_s: round(stamp_s / DT_S) % 6 < 4 and stamp_s < 9.0)
        assert (result.outcome, result.end_reason) == (Outcome.TIMEOUT, "time")
        assert seconds == pytest.approx(10.0)

    def test_at_the_end_of_its_time_it_is_what_counts(self, robot):
        result, _ = self.attempt(robot, lambda stamp_s: stamp_s >= 9.99)
        assert (result.outcome, result.end_reason) == (Outcome.SUCCESS, "time")

    def test_the_skills_own_rule_counts_no_more(self, robot):
        # Fast enough for the rule (see TestLearnedSkill), but not where the person wants it.
        result, _ = self.attempt(robot, lambda stamp_s: False, speed_mps=0.41)
        assert result.outcome is not Outcome.SUCCESS

    def test_nor_does_a_script_of_its_own_mind(self, robot):
        script = Script(robot, lambda seconds: Progress.SUCCEEDED)
        assert run(robot, script, goal=Goal(lambda stamp_s: False))[0].outcome is Outcome.TIMEOUT

    def test_a_fall_is_a_fall_wherever_it_ends(self, robot):
        result, _ = self.attempt(
            robot, lambda stamp_s: stamp_s >= 1.99, interrupt_at_s=2.0, event=Event.FALL_PREDICTED, cause="fallen"
        )
        assert result.outcome is Outcome.FALL

    def test_the_goal_is_asked_before_whether_it_can_be_undone(self, robot):
        result, _ = self.attempt(
            robot, lambda stamp_s: stamp_s >= 0.5, hopeless=lambda _, now: now.stamp_s >= 0.5 + 4 * DT_S
        )
        assert result.end_reason == GOAL


class TestInterrupt:
    @pytest.mark.parametrize(
        ("event", "cause", "outcome"),
        [
            (Event.FALL_PREDICTED, "fallen", Outcome.FALL),
            (Event.HARD_FAULT, "hard_fence", Outcome.UNSAFE),
            (Event.HARD_FAULT, "simulation", Outcome.FAULT),
            (Event.SOFT_FAULT, "sensor", Outcome.FAULT),
            (Event.SIGTERM, "sigterm", Outcome.ABORTED),
            (Event.ESTOP, "estop", Outcome.ABORTED),
        ],
    )
    def test_what_outranks_it_decides_the_outcome_and_is_handed_on(self, robot, event, cause, outcome):
        result, seconds = run(robot, interrupt_at_s=0.4, event=event, cause=cause)
        assert (result.outcome, result.end_reason) == (outcome, cause)
        assert (result.interrupt.event, result.interrupt.cause) == (event, cause)
        assert seconds == pytest.approx(0.4)

    def test_even_a_success_that_falls_is_a_fall(self, robot):
        controller, skill = walk(robot)
        robot.velocity_mps = (0.6, 0.0)
        result, _ = run(robot, controller, skill, interrupt_at_s=2.0, event=Event.FALL_PREDICTED, cause="fallen")
        assert result.outcome is Outcome.FALL

    @pytest.mark.parametrize(("cause", "steps"), [("simulation", 0), ("sensor", 50)])
    def test_what_was_measured_is_kept_unless_the_physics_exploded(self, robot, cause, steps):
        controller, skill = walk(robot)
        result, _ = run(robot, controller, skill, interrupt_at_s=2.0, event=Event.HARD_FAULT, cause=cause)
        assert result.outcome is Outcome.FAULT
        assert result.steps == steps
        assert (result.arrays is None) == (steps == 0)


class TestLearnedSkill:
    def attempt(self, robot: FakeRobot, speed_mps: float) -> AttemptResult:
        controller, skill = walk(robot)
        robot.velocity_mps = (speed_mps, 0.0)
        robot.x_m = -1.9
        result, _ = run(robot, controller, skill, interrupt_at_s=None)
        return result

    def test_speed_is_measured_and_decides_success(self, robot):
        result = self.attempt(robot, 0.3)
        assert result.measures["speed_mps"] == pytest.approx(0.3, abs=1e-4)
        assert result.outcome is Outcome.TIMEOUT
        fast = self.attempt(FakeRobot(), 0.39 + 0.02)
        assert fast.outcome is Outcome.SUCCESS

    def test_one_step_per_decision_and_rewards_that_add_up(self, robot):
        result = self.attempt(robot, 0.3)
        assert result.steps == 250  # 10 s at 25 Hz
        assert result.arrays.actions.shape == (250, 12)
        assert result.arrays.frames.shape[0] == 251
        np.testing.assert_allclose(np.diff(result.arrays.stamps_s), 0.04, atol=1e-9)
        assert result.return_ == pytest.approx(250 * sum(result.reward_terms.values()), rel=1e-4)
        assert result.mean_reward == pytest.approx(result.return_ / 250)
        # 0.3 m/s of a reference of 0.5, and 0.1 for being alive; nothing else happens to this robot.
        assert result.reward_terms["progress"] == pytest.approx(0.6, abs=1e-3)
        assert result.reward_terms["alive"] == pytest.approx(0.1)

    def test_the_action_before_the_first_is_the_prior(self, robot):
        result = self.attempt(robot, 0.3)
        prior = get("walk_forward").prior_action(robot.spec)
        np.testing.assert_allclose(result.arrays.resting, prior, atol=1e-6)
        np.testing.assert_allclose(result.arrays.actions[0], 0.6 * 0.5 + 0.4 * prior, atol=1e-6)
