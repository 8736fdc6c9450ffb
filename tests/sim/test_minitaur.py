import numpy as np
import pybullet as p
import pytest

from sim import bullet_world as bw
from sim.minitaur import knee_angle_rad, leg_length_m, leg_lines, leg_pose_to_joints, make_minitaur, minitaur_spec
from sim.state import Pose


def feet_in_body_frame(robot):
    world = robot._live
    base, _ = p.getBasePositionAndOrientation(world.body, physicsClientId=world.client)
    feet = []
    for leg in range(4):
        state = p.getLinkState(
            world.body, world.passive[2 * leg + 1], computeForwardKinematics=1, physicsClientId=world.client
        )
        foot = p.multiplyTransforms(state[4], state[5], [0, 0.005, 0.2], [0, 0, 0, 1])[0]
        feet.append(np.array(foot) - base)
    return np.array(feet)


def place(robot, swing, extension):
    joints = tuple(leg_pose_to_joints(np.full(4, swing), np.full(4, extension)))
    robot.place(Pose(position=(0.0, 0.0, 1.0), clearance_m=None, joint_position=joints))


@pytest.fixture(scope="module")
def robot():
    with make_minitaur(0) as r:
        yield r


def test_knee_angle_of_the_stance_is_the_published_one():
    # pybullet_envs' Minitaur uses -2.1834 rad for motors at pi / 2.
    assert knee_angle_rad(np.pi / 2) == pytest.approx(-2.1834, abs=1e-3)


@pytest.mark.parametrize("extension", [0.4, 1.2, 1.9, 2.6])
def test_leg_length_is_that_of_the_five_bar(robot, extension):
    place(robot, 0.0, extension)
    # Legs lean out by 5 degrees; the motors lie up to 5 mm off the base plane.
    down = -feet_in_body_frame(robot)[:, 2]
    np.testing.assert_allclose(down, leg_length_m(extension), atol=0.006)


@pytest.mark.parametrize("extension", [0.4, 1.9, 2.7])
@pytest.mark.parametrize("swing", [-3.0, 0.0, 1.0])
def test_chain_is_closed_where_the_robot_is_put(robot, extension, swing):
    place(robot, swing, extension)
    assert bw.loop_error_m(robot._live) < 0.006


def test_positive_swing_moves_every_foot_forward(robot):
    place(robot, 0.0, 1.9)
    before = feet_in_body_frame(robot)
    place(robot, 0.3, 1.9)
    moved = feet_in_body_frame(robot)[:, 0] - before[:, 0]
    np.testing.assert_allclose(moved, leg_length_m(1.9) * np.sin(0.3), atol=0.005)


def test_spec_maps_legs_to_joints_and_limits_hold_the_stance():
    spec = minitaur_spec()
    assert spec.leg_to_joint.shape == (8, 8)
    assert np.linalg.matrix_rank(spec.leg_to_joint) == 8
    assert (spec.position_lower_rad < spec.stand_position_rad).all()
    assert (spec.stand_position_rad < spec.position_upper_rad).all()
    feet = np.array([f.startswith("front") for f in spec.foot_names])
    assert (spec.hip_positions_m[feet, 0] > 0).all()
    assert (spec.hip_positions_m[~feet, 0] < 0).all()


def test_whole_robot_weighs_what_the_spec_says(robot):
    assert sum(mass for mass, _ in robot._live.nominal.values()) == pytest.approx(minitaur_spec().mass_kg)


@pytest.mark.parametrize("extension", [0.6, 1.9, 2.6])
@pytest.mark.parametrize("swing", [-2.0, 0.0, 0.7])
def test_the_legs_are_drawn_where_their_links_are(robot, extension, swing):
    place(robot, swing, extension)
    drawn = leg_lines(leg_pose_to_joints(np.full(4, swing), np.full(4, extension)))
    assert drawn.shape == (4, 5, 3)
    # Legs lean out by 5 degrees; the motors lie up to 5 mm off the base plane.
    np.testing.assert_allclose(drawn[:, 0, ::2], feet_in_body_frame(robot)[:, ::2], atol=0.007)
    world = robot._live
    base, _ = p.getBasePositionAndOrientation(world.body, physicsClientId=world.client)
    for leg in range(4):
        halves = world.passive[2 * leg : 2 * leg + 2]
        knees = [
            p.getLinkState(world.body, k, computeForwardKinematics=1, physicsClientId=world.client) for k in halves
        ]
        seen = np.sort([np.array(state[4])[0] - base[0] for state in knees])
        np.testing.assert_allclose(np.sort(drawn[leg, (1, 3), 0]), seen, atol=0.007)
