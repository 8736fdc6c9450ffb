"""The simulated person: comes when called, after the delay, once."""

import pytest
from fakes import FakeRobot

from agent.person import ASSIST_CAUSES, Placeable, SimulatedPerson
from sim.state import Pose


@pytest.fixture
def robot():
    robot = FakeRobot()
    robot.x_m, robot.tilt_rad = 2.6, 3.0
    return robot


def test_nobody_comes_without_a_call(robot):
    assert SimulatedPerson(robot, 0.0).answer("hard_fence", 1e6) is None
    assert robot.places == []


def test_the_person_comes_after_the_delay_and_puts_the_robot_in_the_middle(robot):
    person = SimulatedPerson(robot, 60.0)
    person.call(100.0)
    assert person.answer("hard_fence", 159.98) is None
    assert robot.x_m == 2.6
    answer = person.answer("hard_fence", 160.0)
    assert answer is not None
    assert answer.name == "simulated person"
    assert "hard_fence" in answer.note
    assert (robot.x_m, robot.y_m, robot.tilt_rad) == (0.0, 0.0, 0.0)


def test_one_who_minds_every_attempt_needs_no_call(robot):
    person = SimulatedPerson(robot, 60.0, every_attempt=True)
    assert person.every_attempt
    person.put_back()
    assert (robot.x_m, robot.tilt_rad) == (0.0, 0.0)


def test_one_call_is_answered_once(robot):
    person = SimulatedPerson(robot, 0.0)
    person.call(5.0)
    assert person.answer("stand_up_failed", 5.0) is not None
    assert person.answer("stand_up_failed", 500.0) is None
    assert len(robot.places) == 1


def test_only_an_emergency_stop_is_released_at_the_robot(robot):
    person = SimulatedPerson(robot, 0.0)
    released = []
    for cause in ("estop", "stand_up_failed", "sensor"):
        person.call(0.0)
        answer = person.answer(cause, 0.0)
        assert answer is not None
        released.append(answer.physical_release)
    assert released == [True, False, False]


def test_standing_is_level_in_the_middle():
    assert Pose.standing().position[:2] == (0.0, 0.0)


def test_a_robot_without_place_has_no_person():
    assert isinstance(FakeRobot(), Placeable)
    assert not isinstance(object(), Placeable)


def test_what_a_person_mends_by_placing_is_an_assist_and_a_dead_part_is_not():
    assert {"stand_up_failed", "hard_fence", "reset_failed"} <= ASSIST_CAUSES
    assert not {"simulation", "estop", "sensor", "store_not_writable", "daemon_crash"} & ASSIST_CAUSES


def test_one_who_is_called_to_a_robot_that_drifted_repairs_it(robot):
    repaired = []
    person = SimulatedPerson(robot, 5.0, repair=repaired.append)
    for cause, times in (("stand_up_failed", []), ("drifted", [9.0])):
        person.call(4.0)
        assert person.answer(cause, 9.0).note.startswith(f"{cause}: {'repaired' if times else 'put back'}")
        assert repaired == times
