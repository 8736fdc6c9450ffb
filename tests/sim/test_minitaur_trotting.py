"""The robot of PyBullet's trotting environment: the same body, the same motion."""

import math

import numpy as np
import pytest

from benchmarks import trotting
from sim import bullet_world as bw
from sim.minitaur_trotting import (
    LONG_LINK_M,
    MINITAUR_TROTTING,
    SHORT_LINK_M,
    UPPER_LINK_M,
    knee_angles_rad,
    make_minitaur_trotting,
)
from sim.quiet_bullet import p
from sim.robot import Command, CommandMode
from sim.state import Pose


@pytest.mark.parametrize("extension_rad", [0.5, math.pi / 2, 2.0, 2.6])
def test_knees_close_the_legs(extension_rad):
    world = bw.build_world(MINITAUR_TROTTING)
    try:
        bw.pose_robot(world, (0, 0, 0), (0, 0, 0, 1), [extension_rad] * 8, 0.002)
        assert bw.loop_error_m(world) < 1e-4
    finally:
        world.close()


def test_outline_reaches_as_low_as_the_collision_shapes():
    rng = np.random.default_rng(0)
    for _ in range(20):
        pose = MINITAUR_TROTTING.fallen_pose(rng)
        world = bw.build_world(MINITAUR_TROTTING)
        try:
            bw.pose_robot(world, pose.position, pose.orientation_xyzw, pose.joint_position, 0.02)
            near = p.getClosestPoints(world.body, world.floor, 0.05, physicsClientId=world.client)
            assert min(point[8] for point in near) == pytest.approx(0.02, abs=0.002)
        finally:
            world.close()


def test_level_links_close_by_the_law_of_cosines():
    # Upper links level: the knees are 0.202 m apart, the lower links are the other two sides of a triangle.
    apart = 2 * UPPER_LINK_M
    long_rad, short_rad = knee_angles_rad(math.pi / 2)
    at_long = math.acos((apart**2 + LONG_LINK_M**2 - SHORT_LINK_M**2) / (2 * apart * LONG_LINK_M))
    at_short = math.acos((apart**2 + SHORT_LINK_M**2 - LONG_LINK_M**2) / (2 * apart * SHORT_LINK_M))
    assert long_rad == pytest.approx(-(math.pi - at_long))
    assert short_rad == pytest.approx(-(math.pi - at_short))


def test_world_has_the_environments_weight_and_floor():
    world = bw.build_world(MINITAUR_TROTTING)
    try:
        assert sum(mass for mass, _ in world.nominal.values()) == pytest.approx(7.473)
        gravity = p.getPhysicsEngineParameters(physicsClientId=world.client)["gravityAccelerationZ"]
        assert gravity == -10.0
        shape = p.getCollisionShapeData(world.floor, -1, physicsClientId=world.client)[0]
        assert shape[2] == p.GEOM_BOX
        assert p.getDynamicsInfo(world.floor, -1, physicsClientId=world.client)[1] == 1.0
    finally:
        world.close()


def test_standing_robot_rests_on_four_feet_at_the_height_of_its_spec():
    with make_minitaur_trotting() as robot:
        spec = robot.spec
        for sequence in range(50):
            robot.write(Command(CommandMode.POSITION, spec.stand_position_rad, spec.kp, spec.kd, sequence))
            robot.step(0.02)
        truth = robot.truth()
        assert truth.base_position[2] == pytest.approx(spec.stand_height_m, abs=0.005)
        assert truth.up_z > 0.999
        assert truth.foot_contact.tolist() == [1, 1, 1, 1]
        assert robot.read().battery_v == 16.0  # the supply does not sag


def test_motion_repeats_bit_by_bit():
    def end():
        with make_minitaur_trotting() as robot:
            for sequence in range(20):
                swing = 0.3 * math.sin(sequence)
                leg = np.array([swing, -swing, -swing, swing, 0, 0, 0, 0])
                target = robot.spec.stand_position_rad + robot.spec.leg_to_joint @ leg
                robot.write(Command(CommandMode.POSITION, target, 1.0, 0.015, sequence))
                robot.step(0.02)
            return robot.truth()

    first, second = end(), end()
    assert np.array_equal(first.base_position, second.base_position)
    assert np.array_equal(first.joint_position, second.joint_position)


def test_held_out_dynamics_can_be_set():
    with make_minitaur_trotting() as robot:
        randomiser = robot.body.randomiser(3)
        for _ in range(20):
            robot.set_dynamics(randomiser.held_out())
        robot.place(Pose.standing())


def test_open_loop_walk_follows_the_recorded_environment(monkeypatch):
    monkeypatch.setattr(trotting, "ATTEMPT_S", 2.0)
    driver = trotting.Driver()
    try:
        states = driver.walk(trotting.ShippedWalker(residual=False)).states[:: trotting.RECORD_EVERY]
    finally:
        driver.robot.close()
    with np.load(trotting.DATA / "minitaur_trotting_reference.npz") as file:
        joints, position = file["open_loop_joints"][: len(states)], file["open_loop_position"][: len(states)]
    ours = np.array([state.base_position for state in states])
    assert len(states) == 84
    assert np.sqrt(np.mean((np.array([state.joint_position for state in states]) - joints) ** 2)) < 0.003
    assert np.abs((ours - ours[0]) - (position - position[0])).max() < 0.003
    assert ours[-1, 0] - ours[0, 0] == pytest.approx(position[-1, 0] - position[0, 0], abs=0.003)
