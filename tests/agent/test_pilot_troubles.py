"""What goes wrong while the robot moves: falls, fences, faults, told as scenarios like those of test_pilot.py."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from fakes import DT_S, FakeRobot
from pilot_world import LIMITS, Once, World, tip_over

from agent.config import SafetyConfig
from agent.states import State
from sim.robot import Command, CommandMode, Observation
from sim.state import SimulationError


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

    def test_a_person_who_minds_every_attempt_picks_the_robot_up(self, world):
        made = world(attempts=2, every_attempt=True)
        made.robot.rights_itself = False
        made.run(Once(lambda robot: made.state is State.ATTEMPT and robot.time_s > 1.0, tip_over))
        assert made.in_order("ATTEMPT", "FALLING", "RECOVER", "RESET", "STANDBY", "ARMING", "ATTEMPT")
        assert made.rows("SELECT outcome FROM attempts ORDER BY id") == [("fall",), ("success",)]
        for table in ("self_recoveries", "interventions"):
            assert made.rows(f"SELECT count(*) FROM {table}") == [(0,)]

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

    def test_a_leg_that_was_stuck_in_one_try_does_not_end_the_next(self, world):
        """The second of full torque that ended the first try is no part of the second."""
        made = world(attempts=2)
        made.robot.rights_itself = False
        saturated = SafetyConfig().saturation_share

        def stuck(robot: FakeRobot) -> None:
            tries = made.rows("SELECT count(*) FROM attempts WHERE skill = 'stand_up' AND state = 'finished'")[0][0]
            trying = made.state is State.RECOVER and not tries
            robot.torque_nm = float(robot.spec.torque_limit_nm[0]) if trying else 0.0
            robot.rights_itself = bool(tries)

        made.stand_up._seconds = 2.0 * saturated
        tip = Once(lambda robot: made.state is State.ATTEMPT, tip_over)
        made.run(lambda robot: (tip(robot), stuck(robot)))
        tried = made.rows("SELECT end_reason, ended_s - started_s FROM attempts WHERE skill = 'stand_up' ORDER BY id")
        assert [reason for reason, _ in tried] == ["saturated", "succeeded"]
        assert made.rows("SELECT recovered, tries FROM self_recoveries") == [(1, 2)]
        assert made.rows("SELECT count(*) FROM interventions") == [(0,)]

    @pytest.mark.parametrize(
        ("helps", "tried"),
        [("learned", ["learned"]), ("script", ["learned", "stand_up"]), ("", ["learned", "stand_up", "stand_up"])],
    )
    def test_ways_to_stand_up_are_tried_in_their_order_and_the_last_one_again(self, world, helps, tried):
        made = world(attempts=1, learned_get_up=True)
        made.robot.rights_itself = False
        for way in made.stand_ups:
            way._seconds = 1.8
        tip = Once(lambda robot: made.state is State.ATTEMPT, tip_over)

        def script(robot: FakeRobot) -> None:
            tip(robot)
            names = [
                skill for (skill,) in made.rows("SELECT skill FROM attempts WHERE skill != 'go' AND skill != 'back'")
            ]
            robot.rights_itself = helps == ("learned" if names == ["learned"] else "script" if len(names) > 1 else None)

        made.run(script)
        found = made.rows("SELECT skill FROM attempts WHERE skill IN ('learned', 'stand_up') ORDER BY id")
        assert [skill for (skill,) in found] == tried

    @pytest.mark.parametrize(("stuck_in", "recoveries"), [({0}, 1), ({0, 2}, 2), ({0, 1}, 1)])
    def test_a_joint_that_is_stuck_is_freed_and_the_legs_sorted_unless_that_did_not_help(
        self, world, stuck_in, recoveries
    ):
        made = world(attempts=3, learned_get_up=True)
        for task in made.tasks:
            task._seconds = 2.0 * SafetyConfig().saturation_share

        def script(robot: FakeRobot) -> None:
            number = made.path.count("ATTEMPT") - 1
            stuck = made.state is State.ATTEMPT and number in stuck_in
            robot.torque_nm = float(robot.spec.torque_limit_nm[0]) if stuck else 0.0

        made.run(script)
        ends = made.rows("SELECT end_reason FROM attempts WHERE skill IN ('go', 'back') ORDER BY id")
        assert [end == "saturated" for (end,) in ends] == [number in stuck_in for number in range(3)]
        assert made.rows("SELECT kind, recovered FROM self_recoveries") == [("bad_stance", 1)] * recoveries
        assert made.rows("SELECT count(*) FROM attempts WHERE skill = 'learned'") == [(0,)]
        assert made.rows("SELECT count(*) FROM interventions") == [(0,)]

    def test_what_is_made_up_for_is_undone_before_a_second_try_to_stand_up(self, world):
        undone = []
        made = world(attempts=1, checkups=SimpleNamespace(due=lambda robot_s: False, undo=undone.append))
        made.robot.rights_itself = False
        made.stand_up._seconds = 1.8
        tip = Once(lambda robot: made.state is State.ATTEMPT, tip_over)

        def script(robot: FakeRobot) -> None:
            tip(robot)
            robot.rights_itself = bool(undone)

        made.run(script)
        tries = made.rows("SELECT outcome, started_s, ended_s FROM attempts WHERE skill = 'stand_up' ORDER BY id")
        assert [outcome for outcome, *_ in tries] == ["timeout", "success"]
        assert tries[0][2] <= undone[0] <= tries[1][1]
        assert len(undone) == 1

    def test_a_bad_stance_is_for_the_script(self, world):
        made = world(attempts=1, learned_get_up=True)

        def script(robot: FakeRobot) -> None:
            robot.rights_itself = False
            robot.tilt_rad = 0.0 if "RECOVER" in made.path else 0.5

        made.run(script)
        assert made.rows("SELECT count(*) FROM attempts WHERE skill = 'learned'") == [(0,)]
        assert made.rows("SELECT kind, recovered FROM self_recoveries") == [("bad_stance", 1)]

    @pytest.mark.parametrize(("stands_well", "stand_ups"), [(True, []), (False, ["stand_up"])])
    def test_a_robot_that_stands_too_badly_for_its_check_up_stands_up_anew_by_the_script(
        self, world, stands_well, stand_ups
    ):
        looks = []

        def run(tick):
            looks.append(tick(None).robot_s)
            return stands_well

        checkups = SimpleNamespace(due=lambda robot_s: not looks, run=run, undo=None)
        made = world(attempts=2, learned_get_up=True, checkups=checkups)
        made.run()
        assert len(looks) == 1
        tried = made.rows("SELECT skill FROM attempts WHERE skill IN ('learned', 'stand_up')")
        assert [skill for (skill,) in tried] == stand_ups
        assert made.rows("SELECT kind, recovered FROM self_recoveries") == [("bad_stance", 1)] * len(stand_ups)
        assert made.rows("SELECT count(*) FROM attempts WHERE skill IN ('go', 'back')") == [(2,)]

    @pytest.mark.parametrize(("sinks", "helps"), [(True, "learned"), (True, "script"), (False, "")])
    def test_a_robot_that_has_sunk_to_the_floor_while_it_cooled_stands_up_first(self, world, sinks, helps):
        """Its legs, moved to the stance from where they came to lie, might fold through."""
        made = world(attempts=2, learned_get_up=True)
        made.stand_ups[0]._seconds = 3.0 if helps == "script" else 1.0

        def script(robot: FakeRobot) -> None:
            robot.temperature_c = 90.0 if made.path.count("ATTEMPT") == 1 and "LEARN_ONLY" not in made.path else 30.0
            if made.state is State.LEARN_ONLY and sinks:
                robot._joints = robot.spec.stand_position_rad + 2.0

        made.run(script)
        tried = made.rows("SELECT skill FROM attempts WHERE skill IN ('learned', 'stand_up') ORDER BY id")
        assert [skill for (skill,) in tried] == {"learned": ["learned"], "script": ["learned", "stand_up"], "": []}[
            helps
        ]
        if sinks:
            assert made.in_order(
                "LEARN_ONLY", "STANDBY", "ARMING", "FALLING", "RECOVER", "RESET", "STANDBY", "ARMING", "ATTEMPT"
            )
        assert made.rows("SELECT count(*) FROM self_recoveries") == [(0,)]
        assert made.rows("SELECT count(*) FROM interventions") == [(0,)]

    def test_rests_are_no_falls_however_many(self, world):
        made = world(attempts=2 * LIMITS.falls_per_hour)

        def script(robot: FakeRobot) -> None:
            hot = made.path.count("ATTEMPT") > made.path.count("LEARN_ONLY") and made.state is not State.RECOVER
            robot.temperature_c = 90.0 if hot else 30.0
            if made.state is State.LEARN_ONLY:
                robot._joints = robot.spec.stand_position_rad + 2.0

        made.run(script)
        stood_up = made.rows("SELECT count(*) FROM attempts WHERE skill = 'stand_up'")
        assert stood_up[0][0] > LIMITS.falls_per_hour
        assert made.rows("SELECT count(*) FROM interventions") == [(0,)]

    def test_legs_that_are_wrong_after_an_attempt_are_sorted_once_and_booked(self, world):
        made = world(attempts=3)

        def script(robot: FakeRobot) -> None:
            if made.state is State.ATTEMPT and made.path.count("ATTEMPT") == 2:
                made.robot.spoil = wrong
            if made.path.count("ATTEMPT") == 3:
                made.robot.spoil = lambda reading: reading

        def wrong(reading: Observation) -> Observation:
            return replace(reading, joint_position=reading.joint_position + 2.0)

        made.run(script)
        assert made.rows("SELECT kind, recovered FROM self_recoveries") == [("bad_stance", 1)]
        assert made.rows("SELECT count(*) FROM attempts WHERE skill IN ('go', 'back')") == [(3,)]

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
        """In a pose in which the robot can be left alone, where it has one."""
        made = world(attempts=2)
        rest_rad = made.robot.spec.stand_position_rad + 0.5
        made.robot.spec = replace(made.robot.spec, rest_position_rad=rest_rad)
        rested = []

        def heat(robot: FakeRobot) -> None:
            if made.state is State.ATTEMPT and robot.time_s < 2.0:
                robot.temperature_c = 85.0
            elif made.state is State.LEARN_ONLY:
                robot.temperature_c -= 0.1
                rested.append(robot.read().joint_position)

        made.run(heat)
        np.testing.assert_allclose(rested[0], rest_rad)
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
