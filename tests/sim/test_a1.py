from dataclasses import replace
from pathlib import Path

import numpy as np
import pybullet as p
import pytest

from sim import bullet_world as bw
from sim.a1 import A1, LINK_M, NOMINAL, STAND_HIP_RAD, TRAINING_RANGES, a1_spec, leg_lines, make_a1
from sim.robot import Command, CommandMode
from sim.sensors import SensorParams
from sim.state import Pose

SPEC = a1_spec()
SIM = Path(bw.__file__).parent


@pytest.fixture(scope="module")
def robot():
    with make_a1(0) as r:
        yield r


@pytest.fixture
def fresh():
    with make_a1(0) as r:
        yield r


def toes(robot):
    """Toes in the body frame of a level robot, from the trunk's middle."""
    world = robot._live
    base, _ = p.getBasePositionAndOrientation(world.body, physicsClientId=world.client)
    middle = np.array(base) - (0.012731, 0.002186, 0.000515)
    links = [link for (name,) in A1.feet for link in world.links((name,))]
    states = [p.getLinkState(world.body, k, computeForwardKinematics=1, physicsClientId=world.client) for k in links]
    return np.array([state[4] for state in states]) - middle


def place(robot, swing=0.0, extension=0.0, abduction=0.0):
    legs = np.repeat((swing, extension, abduction), 4)
    joints = SPEC.stand_position_rad + SPEC.leg_to_joint @ legs
    robot.place(Pose(position=(0.0, 0.0, 1.0), clearance_m=None, joint_position=tuple(joints)))


def stand(robot, ticks, start=0):
    for k in range(ticks):
        target = SPEC.stand_position_rad
        robot.write(Command(mode=CommandMode.POSITION, target=target, kp=SPEC.kp, kd=SPEC.kd, sequence=start + k))
        robot.step(0.02)


@pytest.mark.parametrize("extension", [-0.5, 0.0, 0.3])
@pytest.mark.parametrize("swing", [-0.4, 0.0, 0.5])
def test_swing_and_extension_place_the_foot_exactly(robot, swing, extension):
    place(robot, swing, extension)
    length = 2 * LINK_M * np.cos(STAND_HIP_RAD - extension)
    hips = SPEC.hip_positions_m
    np.testing.assert_allclose(toes(robot)[:, 0] - hips[:, 0], length * np.sin(swing), atol=1e-6)
    np.testing.assert_allclose(toes(robot)[:, 2], -length * np.cos(swing), atol=1e-6)


def test_positive_abduction_moves_every_foot_left(robot):
    place(robot)
    before = toes(robot)
    place(robot, abduction=0.2)
    moved = toes(robot) - before
    length = 2 * LINK_M * np.cos(STAND_HIP_RAD)
    # The leg's plane lies 85 mm outside of the abduction axis, so that one side's feet rise and the other's sink.
    outside = 0.08505 * np.sign(SPEC.hip_positions_m[:, 1])
    np.testing.assert_allclose(moved[:, 1], length * np.sin(0.2) - outside * (1 - np.cos(0.2)), atol=1e-6)
    np.testing.assert_allclose(moved[:, 0], 0.0, atol=1e-6)


def test_limits_hold_the_stance_and_legs_map_to_all_joints():
    assert np.linalg.matrix_rank(SPEC.leg_to_joint) == 12
    assert SPEC.leg_dofs == 3
    assert (SPEC.position_lower_rad < SPEC.stand_position_rad).all()
    assert (SPEC.stand_position_rad < SPEC.position_upper_rad).all()
    front = np.array([name.startswith("front") for name in SPEC.foot_names])
    left = np.array([name.endswith("left") for name in SPEC.foot_names])
    assert ((SPEC.hip_positions_m[:, 0] > 0) == front).all()
    assert ((SPEC.hip_positions_m[:, 1] > 0) == left).all()


def test_spec_agrees_with_the_urdf(robot):
    world = robot._live
    assert sum(mass for mass, _ in world.nominal.values()) == pytest.approx(SPEC.mass_kg)
    info = [p.getJointInfo(world.body, j, physicsClientId=world.client) for j in world.motors]
    np.testing.assert_allclose([i[8] for i in info], SPEC.position_lower_rad, atol=1e-9)
    np.testing.assert_allclose([i[9] for i in info], SPEC.position_upper_rad, atol=1e-9)


def test_stance_stands_still_for_five_seconds(fresh):
    stand(fresh, 50)
    start = fresh.truth()
    stand(fresh, 250, 50)
    end = fresh.truth()
    assert np.linalg.norm(end.base_position - start.base_position) < 0.01
    assert end.base_position[2] == pytest.approx(SPEC.stand_height_m, abs=0.005)
    assert end.up_z > 0.999
    assert end.foot_contact.tolist() == [1.0] * 4
    assert np.abs(end.joint_velocity).max() < 0.01
    assert fresh.health().ok


@pytest.mark.parametrize(
    "turn", [(1.0, 0.0, 0.0, 0.0), (0.5, 0.5, 0.5, 0.5), (0.0, 0.6, 0.0, 0.8), (0.3, -0.5, 0.1, 0.8)]
)
def test_lowest_point_is_where_the_robot_first_touches_the_floor(robot, turn):
    turn = np.array(turn) / np.linalg.norm(turn)
    robot.place(Pose(orientation_xyzw=tuple(turn), clearance_m=0.0))
    world = robot._live
    gaps = p.getClosestPoints(world.body, world.floor, 0.3, physicsClientId=world.client)
    # Bullet rounds cylinders off to polygons and shapes by a margin of a millimetre.
    assert min(gap[8] for gap in gaps) == pytest.approx(0.0, abs=0.002)


def test_same_seed_is_bit_equal():
    def end(seed):
        with make_a1(seed) as r:
            stand(r, 20)
            return r.read().joint_position.tobytes() + r.truth().base_position.tobytes()

    assert end(3) == end(3)
    assert end(3) != end(4)


def test_joint_readings_are_late_by_exactly_the_latency():
    latency = 0.034
    with make_a1(0, replace(NOMINAL, observation_latency_s=latency), SensorParams.ideal()) as r:
        past = {}
        for k in range(100):
            target = SPEC.stand_position_rad + 0.2
            r.write(Command(mode=CommandMode.POSITION, target=target, kp=SPEC.kp, kd=SPEC.kd, sequence=k))
            r.step(0.002)
            t = r.truth()
            past[round(t.time_s * 1000)] = t.joint_position
            o = r.read()
            measured = past.get(round(o.stamp_s * 1000))
            if measured is not None:
                np.testing.assert_array_equal(o.joint_position, measured)
        assert o.stamp_s == pytest.approx(0.2 - latency)


def test_fallen_poses_rest_above_the_floor_and_use_all_sides(fresh):
    rng = np.random.default_rng(1)
    ups = []
    for _ in range(12):
        fresh.place(fresh.random_fallen_pose(rng))
        fresh.step(0.1)
        t = fresh.truth()
        ups.append(t.up_z)
        assert np.abs(t.linear_velocity).max() < 2.0
        assert 0.02 < t.base_position[2] < 0.35
        assert (t.joint_position > SPEC.position_lower_rad - 0.1).all()
        assert (t.joint_position < SPEC.position_upper_rad + 0.1).all()
    assert min(ups) < -0.8
    assert max(ups) > 0.8


def test_dynamics_reach_the_physics(fresh):
    fresh.set_dynamics(
        replace(NOMINAL, base_mass_ratio=1.2, payload_kg=1.0, com_offset_m=(0.004, 0.0), foot_friction=0.6)
    )
    world = fresh._live
    info = {k: p.getDynamicsInfo(world.body, k, physicsClientId=world.client) for k in world.index.values()}
    assert sum(i[0] for i in info.values()) == pytest.approx(SPEC.mass_kg + 0.2 * 4.713 + 1.0, abs=1e-3)
    assert all(info[k][1] == pytest.approx(0.6) for k in world.links(A1.grip))
    front, back = (sum(info[world.index[f"{a}{b}_hip_joint"]][0] for b in "LR") for a in "FR")
    assert front > back


def test_weak_leg_sags_and_joint_friction_holds_a_limp_leg(fresh):
    fresh.set_dynamics(replace(NOMINAL, motor_strength=(0.3,) * 3 + (1.0,) * 9))
    stand(fresh, 60)
    knees = fresh.truth().joint_position[2::3]
    assert knees[0] < knees[1:].min() - 0.03
    fresh.set_dynamics(replace(NOMINAL, joint_friction_nm=1.0))
    fresh.place(Pose(position=(0.0, 0.0, 1.0), clearance_m=None))
    before = fresh.truth().joint_position
    fresh.step(0.1)
    np.testing.assert_allclose(fresh.truth().joint_position, before, atol=0.02)


def test_every_draw_of_the_randomiser_can_be_set():
    """The farthest corner of the rims, and more draws than a night of evaluations makes."""
    randomiser = A1.randomiser(0, held_out_values=6)
    draws = [randomiser.held_out() for _ in range(300)] + [randomiser.training() for _ in range(100)]
    rims = TRAINING_RANGES.rims
    worst = replace(
        NOMINAL,
        base_mass_ratio=rims["base_mass_ratio"][1][1],
        leg_mass_ratio=rims["leg_mass_ratio"][1][1],
        payload_kg=rims["payload_kg"][1][1],
        payload_offset_m=(rims["payload_offset_m"][1][1],) * 2,
        com_offset_m=(rims["com_offset_m"][1][1],) * 2,
    )
    total = 1.2 * SPEC.mass_kg + worst.payload_kg
    for params in (*draws, worst):
        assert len(params.motor_strength) == 12
        assert params.pd_latency_s == 0.0
        assert min(bw.corner_masses_kg(params, 0.696, total, A1.mount_m)) > 0.07


def test_lightest_legs_with_the_strongest_motors_do_not_ring(fresh):
    fresh.set_dynamics(replace(NOMINAL, inertia_ratio=0.5, leg_mass_ratio=0.8, motor_strength=(1.2,) * 12))
    stand(fresh, 50)
    assert np.abs(fresh.truth().joint_velocity).max() < 0.1


@pytest.mark.parametrize(
    "module", ["bullet_world", "simulated_robot", "controller", "history", "sensors", "motors", "body", "state"]
)
def test_the_shared_physics_knows_no_robot_by_name(module):
    text = (SIM / f"{module}.py").read_text()
    assert not [line for line in text.splitlines() if "import" in line and ("minitaur" in line or "a1" in line)]


def test_the_legs_are_drawn_where_their_links_are(robot):
    rng = np.random.default_rng(0)
    for _ in range(20):
        joints = rng.uniform(SPEC.position_lower_rad, SPEC.position_upper_rad)
        robot.place(Pose(position=(0.0, 0.0, 1.0), clearance_m=None, joint_position=tuple(joints)))
        world = robot._live
        drawn = leg_lines(joints)
        np.testing.assert_allclose(drawn[:, 2], toes(robot), atol=1e-6)
        middle = np.array(p.getBasePositionAndOrientation(world.body, physicsClientId=world.client)[0])
        middle -= (0.012731, 0.002186, 0.000515)
        for point, joint in enumerate(("upper", "lower")):
            for leg, name in enumerate(("FL", "RL", "FR", "RR")):
                (link,) = world.links((f"{name}_{joint}_joint",))
                state = p.getLinkState(world.body, link, computeForwardKinematics=1, physicsClientId=world.client)
                np.testing.assert_allclose(drawn[leg, point], np.array(state[4]) - middle, atol=1e-6)
