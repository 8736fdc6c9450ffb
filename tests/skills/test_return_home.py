"""Return home: where it steers, when it is done, and that it gets there in the simulator."""

import math

import numpy as np
import pytest
from readings import DT_S, SPEC, reading, transition

from sim.minitaur import make_minitaur
from sim.state import Pose
from skills.return_home import HOME_RADIUS_M, ReturnHome
from skills.skill import Progress, SkillKind


def strides(observation):
    """(left, right) that a fresh controller asks for."""
    controller = ReturnHome().controller(SPEC, DT_S)
    controller.start(observation)
    controller.act(observation)
    return tuple(controller.decision.proposed[1:3])


@pytest.mark.parametrize(
    ("x", "y", "yaw", "way"),
    [
        (-1.2, 0.0, 0.0, (1, 1)),  # home straight ahead
        (1.2, 0.0, 0.0, (-1, -1)),  # straight behind: back up
        (0.0, -1.2, 0.5 * math.pi - 0.5, (-1, 1)),  # a little to the left
        (0.0, -1.2, 0.5 * math.pi + 0.5, (1, -1)),  # a little to the right
        (1.2, 0.0, 0.5, (1, -1)),  # behind and, seen from the tail, to be turned right
        (1.2, 0.0, -0.5, (-1, 1)),
        (1.2, 0.1, -math.pi, (1, 1)),  # the heading wraps
        (1.2, -0.1, math.pi, (1, 1)),
    ],
)
def test_it_turns_towards_the_middle_or_walks_there_by_the_nearer_end(x, y, yaw, way):
    assert np.sign(strides(reading(x, y, yaw))) == pytest.approx(way)


def test_it_steps_on_the_spot_while_the_tracker_is_blind():
    assert strides(reading(-1.2, 0.0, 0.0, valid=False)) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("x", "y", "yaw", "way"),
    [
        (-2.2, 0.0, 0.5, (1, 1)),
        (2.2, 0.0, 0.5, (-1, -1)),
        (-2.2, -2.2, 0.25 * math.pi + 0.7, (1, 1)),
        (0.0, -2.2, 0.5 * math.pi - 0.9, (-1, 1)),
    ],
)
def test_near_the_fence_it_walks_in_with_a_rough_heading_rather_than_turn_there(x, y, yaw, way):
    assert np.sign(strides(reading(x, y, yaw))) == pytest.approx(way)


def test_it_does_not_switch_between_turning_and_walking_within_the_band():
    controller = ReturnHome().controller(SPEC, DT_S)

    def opposed(yaw):
        observation = reading(-1.2, 0.0, yaw)
        while True:
            controller.act(observation)
            if controller.decision is not None:
                left, right = controller.decision.proposed[1:3]
                return bool(left * right < 0)

    controller.start(reading(-1.2, 0.0, 0.0))
    turning = [opposed(yaw) for yaw in (0.6, 0.3, 0.1, 0.3, 0.4, 0.5, 0.3)]
    assert turning == [True, True, False, False, False, True, True]


def test_it_is_done_only_when_the_tracker_sees_it_near_the_middle():
    controller = ReturnHome().controller(SPEC, DT_S)
    near = 0.9 * HOME_RADIUS_M
    assert controller.progress(reading(near, 0.0, 0.0)) is Progress.SUCCEEDED
    assert controller.progress(reading(near, 0.0, 0.0, valid=False)) is Progress.RUNNING
    assert controller.progress(reading(near, near, 0.0)) is Progress.RUNNING


def test_success_is_judged_at_the_last_frame():
    skill = ReturnHome()
    assert skill.kind is SkillKind.RESET
    out, home = reading(2.0, 0.0, 0.0), reading(0.1, 0.1, 0.0)
    assert skill.success(transition([out, out], [out, home]))
    assert not skill.success(transition([out, home], [home, out]))


@pytest.mark.parametrize("yaw", [0.2, 2.2])
def test_it_comes_home_from_a_corner_without_leaving_the_workspace(yaw):
    with make_minitaur(1) as robot:
        robot.place(Pose.standing(2.0, 1.5, yaw))
        controller = ReturnHome().controller(SPEC, DT_S)
        controller.start(robot.read())
        for tick in range(1000):
            observation = robot.read()
            if controller.progress(observation) is Progress.SUCCEEDED:
                break
            command = controller.act(observation)
            command.sequence = tick
            robot.write(command)
            robot.step(DT_S)
            assert np.abs(robot.truth().base_position[:2]).max() < 2.5
        assert math.hypot(*robot.truth().base_position[:2]) < HOME_RADIUS_M + 0.05
        assert tick * DT_S < 15.0
