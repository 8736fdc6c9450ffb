"""The pen: four walls that hold the robot, and nothing else that differs from an open floor."""

import numpy as np
import pytest

from agent.robots import load_robot
from sim.minitaur import make_minitaur
from sim.minitaur_pen import PEN_M, make_minitaur_pen
from sim.quiet_bullet import p
from sim.robot import Command, CommandMode
from sim.sensors import SensorParams
from sim.state import Pose
from sim.workspace import Workspace

SHOVE_NS = 1.6
"""In each control period: 80 N, more than the feet of a robot of 6 kg can hold."""


def stand(robot, seconds, shove_ns=(0.0, 0.0)):
    spec = robot.spec
    for sequence in range(round(seconds / 0.02)):
        robot.push(shove_ns)
        robot.write(Command(CommandMode.POSITION, spec.stand_position_rad, spec.kp, spec.kd, sequence))
        robot.step(0.02)
    return robot.truth().base_position


@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (-1, 0), (0, -1), (1, 1)])
def test_no_shove_takes_the_robot_out_of_the_pen(direction):
    away = 1.1 * np.array(direction)
    with make_minitaur_pen() as penned, make_minitaur() as free:
        ends = []
        for robot in (penned, free):
            robot.place(Pose.standing(*away, 0.0))
            ends.append(np.abs(stand(robot, 1.0, tuple(SHOVE_NS * np.array(direction)))[:2]).max())
    assert ends[0] < 0.5 * PEN_M
    assert ends[1] > 0.5 * PEN_M, "the shove is too weak to show anything"


def test_the_walls_are_there_after_every_placement_and_stand_where_they_should():
    with make_minitaur_pen() as robot:
        for _ in range(2):
            robot.place(Pose.standing())
            world = robot._live
            faces = []
            for axis, sign in ((0, 1), (1, 1), (0, -1), (1, -1)):
                ray = np.zeros(3)
                ray[axis], ray[2] = 5.0 * sign, 0.9
                hit = p.rayTest((0, 0, 0.9), ray, physicsClientId=world.client)[0]
                faces.append(abs(hit[3][axis]))
            assert faces == pytest.approx([0.5 * PEN_M] * 4, abs=1e-3)


def test_far_from_the_walls_the_pen_is_an_open_floor():
    ends = []
    for make in (make_minitaur, make_minitaur_pen):
        with make(3, sensors=SensorParams.ideal()) as robot:
            stand(robot, 0.5)
            ends.append(robot.truth())
    np.testing.assert_allclose(ends[0].base_position, ends[1].base_position, atol=1e-6)
    np.testing.assert_allclose(ends[0].joint_position, ends[1].joint_position, atol=1e-6)


def test_the_default_fence_is_never_reached_in_it():
    floor = Workspace()
    assert floor.inside_soft(0.5 * PEN_M, 0.5 * PEN_M)


def test_it_is_an_installed_robot():
    robot = load_robot("minitaur_pen", 0)
    try:
        assert robot.body.pen_m == PEN_M
    finally:
        robot.close()
