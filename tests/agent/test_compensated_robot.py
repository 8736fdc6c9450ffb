"""A robot with known drifts: it measures and does what it would without them."""

from dataclasses import replace

import numpy as np
import pytest

from agent.compensated_robot import LEAST_STRENGTH, CompensatedRobot
from agent.robots import load_robot
from sim.a1 import a1_spec
from sim.drift import Drift, DriftKind, DriftSchedule
from sim.minitaur import minitaur_spec
from sim.robot import Command, CommandMode, Health, Robot
from sim.state import Pose
from tests.skills.readings import reading

SPEC = a1_spec()
KNEE = SPEC.joint_names[2]


class Told:
    """A robot that keeps what it is told."""

    def __init__(self, spec=SPEC, **seen):
        self.spec, self.told, self.calls = spec, [], []
        angles = {"joint_position": spec.stand_position_rad.copy(), "joint_velocity": np.zeros(spec.n_joints)}
        angles["joint_torque"] = np.full(spec.n_joints, 0.6)
        self.seen = replace(reading(), **(angles | seen))

    def read(self):
        return self.seen

    def write(self, command):
        self.told.append(command)

    def stop(self):
        self.calls.append("stop")

    def cut(self):
        self.calls.append("cut")

    def close(self):
        self.calls.append("close")

    def health(self):
        return Health(ok=False, problems=("warm",))


def torque(robot, command):
    """What a motor's controller asks for at rest, in its own units."""
    scale = 1.0 if command.gain_scale is None else command.gain_scale
    return scale * command.kp * (command.target - robot.seen.joint_position)


def position(spec, off=0.1):
    return Command(mode=CommandMode.POSITION, target=spec.stand_position_rad + off, kp=spec.kp, kd=spec.kd)


def test_without_a_drift_nothing_is_changed():
    robot = Told()
    same = CompensatedRobot(robot)
    assert isinstance(same, Robot)
    np.testing.assert_array_equal(same.read().joint_position, robot.seen.joint_position)
    same.write(position(SPEC))
    np.testing.assert_array_equal(robot.told[0].target, position(SPEC).target)


@pytest.mark.parametrize(("strength", "gain"), [(0.5, 2.0), (0.1, 1.0 / LEAST_STRENGTH)])
@pytest.mark.parametrize("spec", [SPEC, minitaur_spec()], ids=lambda spec: spec.name)
def test_a_weak_motor_is_asked_for_more(spec, strength, gain):
    battery = {"battery_v": spec.battery_nominal_v}
    plain, weak = Told(spec, **battery), Told(spec, **battery)
    compensated = CompensatedRobot(weak)
    compensated.compensate((Drift(kind=DriftKind.MOTOR_STRENGTH, size=strength, joints=(spec.joint_names[2],)),))
    assert compensated.read().joint_torque[1:3] == pytest.approx((0.6, 0.6 / gain))  # as much as it really gives
    damping = Command(mode=CommandMode.DAMPING, target=np.zeros(spec.n_joints), kp=0.0, kd=spec.kd)
    small = Command(mode=CommandMode.TORQUE, target=0.1 * spec.torque_limit_nm, kp=0.0, kd=0.0)
    own = replace(position(spec), gain_scale=np.full(spec.n_joints, 0.5))
    for command in (position(spec), small, damping, own):
        compensated.write(command)
    wanted = np.ones(spec.n_joints)
    wanted[2] = gain
    for told, share in ((weak.told[0], 1.0), (weak.told[3], 0.5)):
        np.testing.assert_allclose(torque(weak, told), share * wanted * torque(plain, position(spec)))
        np.testing.assert_array_equal(told.target, position(spec).target)
    np.testing.assert_allclose(weak.told[1].target, wanted * small.target)
    assert weak.told[2] is damping  # what is safe is not tampered with
    compensated.compensate(())
    compensated.read()
    compensated.write(position(spec))
    np.testing.assert_array_equal(weak.told[-1].gain_scale, np.ones(spec.n_joints))


@pytest.mark.parametrize("mode", [CommandMode.POSITION, CommandMode.TORQUE])
def test_no_limit_is_left(mode):
    robot = Told()
    compensated = CompensatedRobot(robot)
    compensated.compensate(
        (Drift(kind=DriftKind.MOTOR_STRENGTH, size=0.3), Drift(kind=DriftKind.JOINT_OFFSET, size=0.5))
    )
    compensated.read()
    most = SPEC.position_upper_rad if mode is CommandMode.POSITION else SPEC.torque_limit_nm
    compensated.write(replace(position(SPEC), mode=mode, target=0.9 * most))
    assert (robot.told[0].target <= most).all()
    assert (robot.told[0].target == most).any()


def test_an_encoder_and_a_gyroscope_that_are_off_are_read_right():
    robot = Told(angular_velocity=np.array((0.0, 0.3, 0.0)))
    compensated = CompensatedRobot(robot)
    compensated.compensate(
        (
            Drift(kind=DriftKind.JOINT_OFFSET, size=0.1, joints=(KNEE,)),
            Drift(kind=DriftKind.GYRO_BIAS, size=0.2, axis="y"),
            Drift(kind=DriftKind.FOOT_FRICTION, size=0.5),  # nothing to be done about
        )
    )
    seen = compensated.read()
    off = np.zeros(SPEC.n_joints)
    off[2] = 0.1
    np.testing.assert_allclose(seen.joint_position, robot.seen.joint_position - off)
    np.testing.assert_allclose(seen.angular_velocity, (0.0, 0.1, 0.0))
    compensated.write(position(SPEC))
    np.testing.assert_allclose(robot.told[0].target, position(SPEC).target + off)


def test_a_low_battery_is_made_up_for_where_gains_fall_with_it():
    for spec, share in ((minitaur_spec(), 0.8), (SPEC, 1.0)):
        robot = Told(spec, battery_v=0.8 * spec.battery_nominal_v)
        compensated = CompensatedRobot(robot)
        for _ in range(500):
            compensated.read()
        compensated.write(position(spec))
        np.testing.assert_allclose(share * torque(robot, robot.told[0]), torque(robot, position(spec)), rtol=1e-3)
        np.testing.assert_allclose(share * robot.told[0].gain_scale, 1.0, rtol=1e-3)


def test_all_else_is_the_robots():
    robot = Told()
    compensated = CompensatedRobot(robot)
    compensated.stop()
    compensated.cut()
    compensated.close()
    assert robot.calls == ["stop", "cut", "close"]
    assert compensated.health().problems == ("warm",)
    assert compensated.spec is SPEC


def test_an_a1_with_a_weak_knee_stands_as_a_whole_one():
    """At half strength its knee gives way by three times the angle; compensated for, not."""
    weak, found = Drift(kind=DriftKind.MOTOR_STRENGTH, size=0.4, joints=(KNEE,)), {}
    for name, drifts, known in (("whole", (), ()), ("weak", (weak,), ()), ("compensated", (weak,), (weak,))):
        with load_robot("a1", 0) as robot:
            robot.place(Pose.standing())
            robot.follow_drift(DriftSchedule(drifts, robot.spec.joint_names), robot.time_s)
            compensated = CompensatedRobot(robot)
            compensated.compensate(known)
            for number in range(50):
                compensated.read()
                compensated.write(replace(position(robot.spec, 0.0), sequence=number + 1))
                robot.step(0.02)
            found[name] = abs(robot.truth().joint_position[2] - robot.spec.stand_position_rad[2])
    assert found["weak"] > 1.5 * found["whole"]
    assert found["compensated"] == pytest.approx(found["whole"], rel=0.2)
