"""Where a hand is and how to bring it elsewhere: an arm of two joints by hand, the simulated KUKA as a peer."""

import itertools
import math

import numpy as np
import pytest

from sim.kuka import kuka_spec, make_kuka
from sim.robot import ArmGeometry, cross_matrices
from sim.state import Pose
from skills.arm_kinematics import hand_pose, pointing_down, rotation_between, step_towards, turned

SPEC = kuka_spec()
ARM = SPEC.arm
PLANAR = ArmGeometry(
    axes=np.array([(0.0, 0.0, 1.0), (0.0, 0.0, 1.0)]),
    points_m=np.array([(0.0, 0.0, 0.0), (1.0, 0.0, 0.0)]),
    hand_m=np.array((1.5, 0.0, 0.0)),
    hand_rotation=np.eye(3),
    box_lower_m=np.full(3, -2.0),
    box_upper_m=np.full(3, 2.0),
)
"""Two links of 1 m and 0.5 m that turn about z."""


def joints(seed):
    low, high = SPEC.position_lower_rad[:-1], SPEC.position_upper_rad[:-1]
    return np.random.default_rng(seed).uniform(0.7 * low, 0.7 * high)


def test_two_links_by_hand():
    """Upper link along y, lower one turned back along x: the hand is at (0.5, 1), looking along x."""
    pose = hand_pose(PLANAR, np.array([math.pi / 2, -math.pi / 2]))
    np.testing.assert_allclose(pose.position_m, (0.5, 1.0, 0.0), atol=1e-12)
    np.testing.assert_allclose(pose.rotation, np.eye(3), atol=1e-12)
    # The first joint moves it at right angles to the way from the origin, the second along y; both turn it.
    np.testing.assert_allclose(pose.jacobian[:, 0], (-1.0, 0.5, 0.0, 0.0, 0.0, 1.0), atol=1e-12)
    np.testing.assert_allclose(pose.jacobian[:, 1], (0.0, 0.5, 0.0, 0.0, 0.0, 1.0), atol=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_the_hand_is_where_pybullet_has_it(seed):
    angles = joints(seed)
    with make_kuka(0) as robot:
        robot.place(Pose(joint_position=(*angles, 0.1)))
        pose = hand_pose(ARM, angles)
        np.testing.assert_allclose(pose.position_m, robot.truth().hand_m, atol=1e-5)
        heading = math.atan2(pose.rotation[1, 0], pose.rotation[0, 0])
        assert math.remainder(robot.read().extra[3] - heading, math.tau) == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize("seed", range(5))
def test_the_jacobian_is_the_slope(seed):
    angles, small = joints(seed), 1e-6
    pose = hand_pose(ARM, angles)
    for joint in range(7):
        nudged = angles.copy()
        nudged[joint] += small
        after = hand_pose(ARM, nudged)
        slope = np.append(after.position_m - pose.position_m, rotation_between(pose.rotation, after.rotation)) / small
        np.testing.assert_allclose(pose.jacobian[:, joint], slope, atol=1e-5)


def test_a_rotation_vector_undoes_a_turn():
    axis = np.array((2.0, -1.0, 2.0)) / 3.0
    for angle in (0.0, 1e-12, 0.3, 3.0):
        np.testing.assert_allclose(
            rotation_between(np.eye(3), turned(cross_matrices(axis[None]), np.array([angle]))[0]),
            angle * axis,
            atol=1e-9,
        )


CORNERS = list(itertools.product(*zip(ARM.box_lower_m, ARM.box_upper_m, strict=True)))


@pytest.mark.parametrize("yaw", [-1.5, 0.0, 1.5])
@pytest.mark.parametrize("place", CORNERS)
def test_steps_lead_to_every_corner_of_the_box_within_the_limits_of_the_joints(place, yaw):
    angles, most = SPEC.stand_position_rad[:-1], SPEC.velocity_limit_radps[:-1] * 0.02
    for _ in range(250):
        after = step_towards(
            ARM,
            angles,
            np.array(place),
            pointing_down(yaw),
            posture_rad=SPEC.stand_position_rad[:-1],
            most_rad=most,
        )
        assert (np.abs(after - angles) <= most * (1.0 + 1e-9)).all()
        angles = after
    pose = hand_pose(ARM, angles)
    np.testing.assert_allclose(pose.position_m, place, atol=1e-3)
    np.testing.assert_allclose(pose.rotation, pointing_down(yaw), atol=5e-3)
    assert (angles > SPEC.position_lower_rad[:-1]).all()
    assert (angles < SPEC.position_upper_rad[:-1]).all()
