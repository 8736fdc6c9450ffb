"""The state machine on a robot, told as scenarios with a fake robot and a real store.

In every scenario the robot itself checks at each step that it has torque only where the state allows it (I1), and at
each command that an attempt moves it only after the attempt's row is durable (I10).
"""

import json
import threading

import pytest
from fakes import FakeRobot
from pilot_world import LIMITS, Once, tip_over

from agent.latches import Latches, Level
from agent.ledger import LATCHES, PERMIT
from agent.pilot import Goal
from agent.states import Event, State


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

    def test_a_changed_robot_is_told_by_attempts_of_tasks_that_are_practised(self, world):
        made = world(attempts=3)
        runner, seen = made.pilot.practice._runner, []
        run = runner.run

        def spy(skill, controller, **how):
            seen.append(how["as_practised"])
            return run(skill, controller, **how)

        runner.run = spy
        made.pilot.practice.evaluations.extend(made.pilot.tasks[:1])
        made.run(Once(lambda robot: made.state is State.ATTEMPT, lambda robot: setattr(robot, "x_m", 2.4)))
        attempts = made.rows("SELECT skill, evaluation FROM attempts ORDER BY id")
        assert ("return_home", 0) in attempts
        assert any(evaluation for _, evaluation in attempts)
        tasks = {skill.name for skill in made.pilot.tasks}
        assert seen == [skill in tasks and not evaluation for skill, evaluation in attempts]

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

    @pytest.mark.parametrize("delay_s", [-1.0, 1.0])
    def test_it_ends_at_its_time_while_a_person_is_needed_whose_help_does_not_help(self, world, delay_s):
        """Or none comes at all; what is still open then is open when the next run begins."""
        made = world(attempts=None, delay_s=delay_s)
        made.problems = ["battery at 10.0 V"]
        made.pilot._goal = Goal(end_s=10.0, attempts=None)
        made.run()
        assert 10.0 <= made.loop.clock.now_s() < 15.0
        assert made.pilot.stop_reason == "hours reached"
        assert made.rows("SELECT cause, closed_s FROM interventions") == [("self_test: battery at 10.0 V", None)]

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

    def test_one_that_takes_another_ones_place_without_a_permit_waits_for_a_person(self, world):
        made = world(attempts=1, permit=False)
        made.run(Once(lambda robot: robot.time_s > 5.0, lambda robot: made.pilot.permit()))
        assert next(now_s for state, now_s in made.visits if state == "ARMING") > 5.0
        kept = made.rows(f"SELECT data FROM events WHERE kind = '{PERMIT}' ORDER BY seq")
        assert [json.loads(data)["permitted"] for (data,) in kept] == [True, False]

    def test_what_a_person_said_before_an_emergency_stop_does_not_end_it(self, world):
        """The word is given while a safe stop still settles, and counts only once torque is off."""
        held = Latches().add("hard_fence", Level.L2, State.SAFE_STOP, 0.0)
        made = world(attempts=1, delay_s=-1.0, latches=held)

        def helped(robot: FakeRobot) -> None:
            made.pilot.acknowledge("Ada", "put it back", physical_release=True)

        def pressed(robot: FakeRobot) -> None:
            made.pilot.apply(Event.ESTOP, "estop")

        events = (
            Once(lambda robot: robot.time_s > 0.1, helped),
            Once(lambda robot: robot.time_s > 0.2, pressed),
            Once(lambda robot: robot.time_s > 10.0, lambda robot: setattr(made, "signal", "sigterm")),
        )
        made.run(lambda robot: [event(robot) for event in events])
        assert made.path[:3] == ["BOOT", "SAFE_STOP", "ESTOP"]
        assert "SELF_TEST" not in made.path

    def test_a_word_that_the_guard_has_not_taken_yet_is_told_again(self, world):
        held = Latches().add("stand_up_failed", Level.L2, State.NEED_HUMAN, 0.0)
        answers = iter([False, False, True])
        made = world(attempts=1, delay_s=-1.0, latches=held, release=lambda by: next(answers))
        said = Once(lambda robot: robot.time_s > 1.0, lambda robot: made.pilot.acknowledge("Ada", "put it back"))
        begin = Once(lambda robot: robot.time_s > 5.0, lambda robot: made.pilot.permit())
        made.run(lambda robot: (said(robot), begin(robot)))
        assert next(answers, None) is None
        assert made.rows("SELECT count(*) FROM attempts") == [(1,)]

    def test_an_operator_who_acknowledges_does_not_start_the_robot(self, world):
        """P11: a reset permits restart, it does not restart."""
        held = Latches().add("stand_up_failed", Level.L2, State.NEED_HUMAN, 0.0)
        made = world(attempts=1, delay_s=-1.0, latches=held)
        acknowledge = Once(lambda robot: robot.time_s > 1.0, lambda robot: made.pilot.acknowledge("Ada", "put it back"))
        early = Once(lambda robot: robot.time_s > 0.5, lambda robot: made.pilot.permit())
        begin = Once(lambda robot: robot.time_s > 5.0, lambda robot: made.pilot.permit())
        made.run(lambda robot: (early(robot), acknowledge(robot), begin(robot)))
        arming_s = next(now_s for state, now_s in made.visits if state == "ARMING")
        assert arming_s > 5.0
        assert made.rows("SELECT operator FROM interventions") == [("Ada",)]
