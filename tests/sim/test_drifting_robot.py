"""What drift does to a simulated robot while it runs, in the physics and in its readings."""

import math
from dataclasses import replace

import numpy as np
import pybullet as p
import pytest

from sim import bullet_world
from sim.a1 import make_a1
from sim.drift import Drift, DriftSchedule
from sim.minitaur import leg_pose_to_joints, make_minitaur
from sim.robot import Command, CommandMode
from sim.sensors import SensorParams
from sim.state import Pose

IN_THE_AIR = Pose(position=(0.0, 0.0, 3.0), clearance_m=None)
MAKE = {"minitaur": make_minitaur, "a1": make_a1}


@pytest.fixture(params=MAKE)
def robot(request):
    with MAKE[request.param](0, sensors=SensorParams.ideal()) as made:
        yield made


@pytest.fixture
def minitaur():
    with make_minitaur(0, sensors=SensorParams.ideal()) as made:
        yield made


class Hand:
    """Sends commands with rising sequence numbers."""

    sequence = 0

    def __init__(self, robot):
        self.robot = robot

    def hold(self, target, seconds, dt_s=0.02):
        spec = self.robot.spec
        for _ in range(round(seconds / dt_s)):
            Hand.sequence += 1
            command = Command(mode=CommandMode.POSITION, target=target, kp=spec.kp, kd=spec.kd, sequence=Hand.sequence)
            self.robot.write(command)
            self.robot.step(dt_s)

    def stand(self, seconds):
        self.hold(self.robot.spec.stand_position_rad, seconds)

    def trot(self, periods):
        phase = np.array([0.0, np.pi, np.pi, 0.0])
        for k in range(periods):
            angle = 4 * np.pi * 0.02 * k + phase
            self.hold(leg_pose_to_joints(0.3 * np.sin(angle), 1.9 - 0.25 * np.cos(angle)), 0.02)


def drift(robot, kind, size=0.0, robot_s=None, **more):
    robot.follow_drift(DriftSchedule([Drift(kind=kind, size=size, **more)], robot.spec.joint_names), robot_s)


def repair(robot):
    robot.follow_drift(DriftSchedule())


def state(robot):
    true = robot.truth()
    return (*true.base_position, *true.orientation_xyzw, *true.joint_position, *true.joint_velocity)


def roll_rad(robot):
    x, y, z, w = robot.truth().orientation_xyzw
    return math.atan2(2 * (w * x + y * z), 1 - 2 * (x * x + y * y))


def torques_at_first_push(robot):
    """Torques one physics step after a command at rest in the air, where each joint is told to move a little."""
    robot.set_dynamics(replace(robot.dynamics, action_latency_s=0.0))
    robot.place(IN_THE_AIR)
    Hand(robot).hold(robot.truth().joint_position + 0.1, 1 / robot.body.physics_hz, 1 / robot.body.physics_hz)
    return robot.truth().joint_torque


class TestMotors:
    def test_half_the_strength_gives_half_the_torque_at_the_same_command(self, robot):
        whole = torques_at_first_push(robot)
        drift(robot, "motor_strength", 0.5, joints=robot.spec.joint_names[1:2])
        weak = torques_at_first_push(robot)
        assert abs(whole[1]) > 0.1
        assert weak[1] == pytest.approx(0.5 * whole[1], rel=1e-9)
        np.testing.assert_array_equal(np.delete(weak, 1), np.delete(whole, 1))

    def test_a_dead_motor_gives_none(self, robot):
        drift(robot, "dead_motor", joints=robot.spec.joint_names[-1:])
        torques = torques_at_first_push(robot)
        assert torques[-1] == 0.0
        assert np.abs(torques[:-1]).min() > 0.1

    def test_viscous_friction_brakes_the_joint_it_is_of(self, minitaur):
        drift(minitaur, "viscous_friction", 0.05, joints=minitaur.spec.joint_names[:1])
        minitaur.place(IN_THE_AIR)
        p.resetJointState(
            minitaur._live.body, minitaur._live.motors[0], 1.0, 5.0, physicsClientId=minitaur._live.client
        )
        minitaur._forget_past()
        minitaur.step(0.002)
        assert minitaur.truth().joint_torque[0] == pytest.approx(0.05 * 5.0, rel=0.01)
        assert minitaur.truth().joint_torque[1] == 0.0

    def test_a_joint_that_rubs_stays_where_the_others_fall(self):
        with make_a1(0) as a1:
            drift(a1, "joint_friction", 1.0, joints=("front_left_hip",))
            a1.place(Pose(position=(0.0, 0.0, 1.0), clearance_m=None))
            p.setGravity(0.0, 0.0, 0.0, physicsClientId=a1._live.client)
            begun = a1.truth().joint_position
            p.applyExternalTorque(a1._live.body, -1, (0.0, 300.0, 0.0), p.LINK_FRAME, physicsClientId=a1._live.client)
            for _ in range(10):
                a1.step(0.02)
            moved = np.abs(a1.truth().joint_position - begun)
            others = moved[[4, 7, 10]]  # the other hips
            assert others.min() > 0.05
            assert moved[1] < 0.2 * others.min()

    def test_the_battery_sags_under_way(self, minitaur):
        hand = Hand(minitaur)
        hand.stand(0.2)
        before_v = minitaur.read().battery_v
        drift(minitaur, "battery_voltage", -6.0)
        hand.stand(0.2)
        assert before_v - minitaur.read().battery_v == pytest.approx(6.0, abs=0.2)
        repair(minitaur)
        hand.stand(0.2)
        assert minitaur.read().battery_v == pytest.approx(before_v, abs=0.2)


class TestBody:
    @pytest.mark.parametrize("side", [1.0, -1.0])
    def test_the_heavier_side_sags(self, minitaur, side):
        drift(minitaur, "payload", 0.5, at_m=(0.0, side * 0.08))
        Hand(minitaur).stand(1.0)
        assert side * roll_rad(minitaur) < -0.01  # a positive roll lowers the right side

    def test_masses_are_those_of_the_drift_until_it_is_repaired(self, robot):
        def total_kg():
            world = robot._live
            links = [-1, *range(p.getNumJoints(world.body, physicsClientId=world.client))]
            return sum(p.getDynamicsInfo(world.body, link, physicsClientId=world.client)[0] for link in links)

        own_kg, base_kg = total_kg(), robot._live.nominal[-1][0]
        drift(robot, "base_mass", 1.5)
        assert total_kg() == pytest.approx(own_kg + 0.5 * base_kg)
        drift(robot, "payload", 0.4)
        assert total_kg() == pytest.approx(own_kg + 0.4)
        repair(robot)
        assert total_kg() == pytest.approx(own_kg)

    def test_a_shift_beyond_reach_stops_where_the_mounts_can_carry_no_more(self, robot):
        drift(robot, "com_shift", 0.04, axis="y")
        Hand(robot).stand(0.5)
        assert 0.0 < robot.in_force.dynamics.com_offset_m[1] < 0.04
        assert robot.health().ok

    def test_feet_slip_on_a_slippery_floor(self, minitaur):
        ways = []
        for share in (1.0, 0.05):
            minitaur.place(Pose())
            drift(minitaur, "foot_friction", share)
            Hand(minitaur).stand(0.5)
            begun = minitaur.truth().base_position
            minitaur.push((0.0, 3.0))
            Hand(minitaur).stand(0.5)
            ways.append(float(np.linalg.norm(minitaur.truth().base_position - begun)))
        assert ways[1] > 2.0 * ways[0]


class TestSensors:
    def test_an_encoder_offset_shows_in_the_reading_and_in_where_the_joint_goes(self, robot):
        joint, target = 1, robot.spec.stand_position_rad + 0.05
        robot.set_dynamics(replace(robot.dynamics, observation_latency_s=0.0, battery_resistance_ohm=0.0))
        ends = []
        for size in (0.0, 0.1):
            drift(robot, "joint_offset", size, joints=robot.spec.joint_names[joint : joint + 1])
            robot.place(IN_THE_AIR)
            p.setGravity(0.0, 0.0, 0.0, physicsClientId=robot._live.client)
            Hand(robot).hold(target, 0.6)
            off = robot.read().joint_position - robot.truth().joint_position
            assert off[joint] == pytest.approx(size, abs=1e-12)
            assert not np.delete(off, joint).any()
            ends.append(robot.truth().joint_position)
        moved = ends[1] - ends[0]
        assert moved[joint] == pytest.approx(-0.1, abs=0.01)
        assert np.abs(np.delete(moved, joint)).max() < 0.02

    def test_an_offset_acts_on_the_command_that_is_held(self, minitaur):
        Hand(minitaur).stand(0.3)
        before = minitaur._controller.offset
        drift(minitaur, "joint_offset", 0.1, joints=("front_left_left",))
        # The left motors turn the other way round: an encoder that reads too much reads less in the motor's own sense.
        assert minitaur._controller.offset[0] - before[0] == pytest.approx(0.1 * minitaur.spec.kp)
        repair(minitaur)
        assert minitaur._controller.offset == before

    def test_biases_of_gyroscope_and_tilt_show_in_the_reading(self, robot):
        Hand(robot).stand(0.3)
        robot.set_dynamics(replace(robot.dynamics, observation_latency_s=0.0))
        before = robot.read()
        names = robot.spec.joint_names
        biases = [Drift(kind="gyro_bias", size=0.2, axis="z"), Drift(kind="tilt_bias", size=0.1, axis="x")]
        robot.follow_drift(DriftSchedule(biases, names))
        robot._cached = None  # the same moment, read again
        after = robot.read()
        np.testing.assert_allclose(after.angular_velocity - before.angular_velocity, (0.0, 0.0, 0.2), atol=1e-12)
        turned = p.multiplyTransforms(
            (0, 0, 0), (*(-before.orientation_xyzw[:3]), before.orientation_xyzw[3]), (0, 0, 0), after.orientation_xyzw
        )[1]
        assert 2 * math.asin(turned[0]) == pytest.approx(0.1, abs=1e-3)

    def test_latency_makes_readings_older(self, minitaur):
        Hand(minitaur).stand(0.2)
        drift(minitaur, "latency", 0.03)
        Hand(minitaur).stand(0.2)
        assert minitaur.time_s - minitaur.read().stamp_s == pytest.approx(0.01 + 0.015, abs=0.002)
        assert minitaur._controller.latency_ticks == round(0.025 * 500)


EVERYTHING = (
    Drift(kind="motor_strength", size=0.6, joints=("front_left_left",), begins_s=0.1, over_s=0.5),
    Drift(kind="joint_friction", size=0.05, begins_s=0.2),
    Drift(kind="viscous_friction", size=0.01, begins_s=0.2, over_s=0.3),
    Drift(kind="payload", size=0.4, at_m=(0.05, 0.05), begins_s=0.3, over_s=0.2),
    Drift(kind="battery_voltage", size=-2.0, begins_s=0.3, over_s=0.3),
    Drift(kind="joint_offset", size=0.05, joints=("back_left_left",), begins_s=0.35),
    Drift(kind="gyro_bias", size=0.1, axis="x", begins_s=0.4),
    Drift(kind="latency", size=0.02, begins_s=0.4),
    Drift(kind="foot_friction", size=0.5, begins_s=0.5),
)


class TestRunning:
    def test_a_fault_comes_in_its_control_period_and_goes(self, minitaur):
        drift(minitaur, "foot_friction", 0.5, begins_s=0.1, ends_s=0.2)
        frictions = []
        for _ in range(15):
            minitaur.step(0.02)
            frictions.append(minitaur.in_force.dynamics.foot_friction)
        assert frictions == [1.0] * 5 + [0.5] * 5 + [1.0] * 5

    def test_a_schedule_repeats_bit_by_bit(self):
        ends = []
        for _ in range(2):
            with make_minitaur(3) as made:
                made.follow_drift(DriftSchedule(EVERYTHING, made.spec.joint_names))
                Hand(made).trot(40)
                ends.append((state(made), tuple(made.read().joint_position)))
        assert ends[0] == ends[1]

    def test_a_robot_that_resumes_is_the_robot_that_never_stopped(self, minitaur):
        schedule = DriftSchedule(EVERYTHING, minitaur.spec.joint_names)
        minitaur.follow_drift(schedule)
        Hand(minitaur).trot(21)
        minitaur.place(Pose())
        Hand(minitaur).trot(20)
        with make_minitaur(0, sensors=SensorParams.ideal()) as other:
            other.follow_drift(schedule, 0.42)
            other.place(Pose())
            Hand(other).trot(20)
            assert other.in_force == minitaur.in_force
            assert state(other) == state(minitaur)

    def test_what_is_repaired_moves_as_if_nothing_had_been(self, minitaur):
        minitaur.place(Pose())
        Hand(minitaur).trot(20)
        wanted = state(minitaur)
        over = [replace(drift, ends_s=0.9) for drift in EVERYTHING]
        minitaur.follow_drift(DriftSchedule(over, minitaur.spec.joint_names), 0.0)
        Hand(minitaur).trot(46)
        assert minitaur.in_force.dynamics is minitaur.dynamics
        minitaur.place(Pose())
        Hand(minitaur).trot(20)
        assert state(minitaur) == wanted

    def test_drift_survives_placement_and_goes_on_top_of_what_is_set(self, minitaur):
        drift(minitaur, "motor_strength", 0.5)
        minitaur.set_dynamics(replace(minitaur.dynamics, motor_strength=(0.8,) * 8, foot_friction=0.7))
        minitaur.place(Pose())
        assert minitaur.dynamics.motor_strength == (0.8,) * 8
        assert minitaur.in_force.dynamics.motor_strength == (0.4,) * 8
        world = minitaur._live
        assert p.getDynamicsInfo(world.body, world.passive[0], physicsClientId=world.client)[1] == pytest.approx(0.7)

    def test_nothing_is_computed_while_nothing_changes(self, minitaur, monkeypatch):
        schedule = DriftSchedule(
            [Drift(kind="motor_strength", size=0.5, begins_s=0.2), Drift(kind="latency", size=0.02, begins_s=0.4)],
            minitaur.spec.joint_names,
        )
        asked, told = [], []
        at = schedule.at
        monkeypatch.setattr(schedule, "at", lambda nominal, robot_s: (asked.append(robot_s), at(nominal, robot_s))[1])
        monkeypatch.setattr(bullet_world, "apply_dynamics", lambda world, params: told.append(params))
        minitaur.follow_drift(schedule)
        for _ in range(50):
            minitaur.step(0.02)
        assert asked == pytest.approx([0.0, 0.2, 0.4], abs=1e-5)
        assert told == []  # neither is PyBullet's matter

    @pytest.mark.parametrize(
        ("kind", "size", "axis"),
        [
            ("joint_friction", 0.05, ""),
            ("foot_friction", 0.5, ""),
            ("base_mass", 1.2, ""),
            ("payload", 0.2, ""),
            ("com_shift", 0.005, "x"),
        ],
    )
    def test_the_physics_is_told_what_is_its_matter(self, minitaur, monkeypatch, kind, size, axis):
        told = []
        monkeypatch.setattr(bullet_world, "apply_dynamics", lambda world, params: told.append(params))
        drift(minitaur, kind, size, axis=axis)
        assert told == [minitaur.in_force.dynamics]
        repair(minitaur)
        assert told[1:] == [minitaur.dynamics]

    def test_a_joint_of_another_robot_is_refused_and_changes_nothing(self, minitaur):
        drift(minitaur, "motor_strength", 0.5)
        with pytest.raises(ValueError, match="unknown joint 'knee'"):
            minitaur.follow_drift(DriftSchedule([Drift(kind="dead_motor", joints=("knee",))], ("knee",)))
        assert minitaur.in_force.dynamics.motor_strength == (0.5,) * 8

    def test_extra_friction_of_a_part_of_the_motors_is_refused(self, minitaur):
        with pytest.raises(ValueError, match="extra friction of a part of 8 motors"):
            minitaur.set_dynamics(replace(minitaur.dynamics, extra_viscous_nms=(0.1,)))
