"""The simulated arm: what it measures, that it can grip, and that it stops by itself."""

import numpy as np
import pybullet as p
import pytest

from sim.arm_scene import CUBE_HALF_M, DOOR_TRAVEL_M, HANDLE_CLOSED_M, OBJECT_START_M, handle_at
from sim.kuka import HOME_RAD, kuka_spec, make_kuka
from sim.robot import ARM_CHANNELS, FORCE_STOP, Command, CommandMode, Robot
from sim.simulated_arm import FORCE_STOP_S, ArmSensors, SimulatedArm
from sim.state import Pose
from skills.arm_kinematics import pointing_down, step_towards

SPEC = kuka_spec()
DT_S = 0.02
FORCE_STOPPED = ARM_CHANNELS.index(FORCE_STOP)
SEEN = slice(ARM_CHANNELS.index("object_x"), ARM_CHANNELS.index("object_yaw") + 1)
DOOR = ARM_CHANNELS.index("door_m")
HANDLE = slice(ARM_CHANNELS.index("handle_x"), ARM_CHANNELS.index("handle_z") + 1)
ON_TRAY_M = 0.02 + CUBE_HALF_M
"""Height of a cube's middle on the floor of the tray."""


class Driver:
    """Leads the hand of an arm along straight lines."""

    def __init__(self, robot: SimulatedArm) -> None:
        self.robot, self.sequence = robot, 0
        self.joints, self.fingers = robot.read().joint_position[:-1], HOME_RAD[-1]

    def to(self, place, *, fingers=None, seconds=2.0, speed=1.0):
        """Towards a place of the hand; returns whether the arm stopped by itself on the way."""
        self.fingers = self.fingers if fingers is None else fingers
        stopped = False
        for _ in range(round(seconds / DT_S)):
            self.joints = step_towards(
                SPEC.arm,
                self.joints,
                np.array(place),
                pointing_down(0.0),
                posture_rad=SPEC.stand_position_rad[:-1],
                most_rad=speed * SPEC.velocity_limit_radps[:-1] * DT_S,
            )
            self.send(np.append(self.joints, self.fingers))
            self.robot.step(DT_S)
            stopped = stopped or bool(self.robot.read().extra[FORCE_STOPPED])
        return stopped

    def send(self, target, mode=CommandMode.POSITION):
        self.sequence += 1
        self.robot.write(Command(mode=mode, target=target, kp=SPEC.kp, kd=SPEC.kd, sequence=self.sequence))


def push(driver, to_y_m=-0.06):
    """Push the handle of the closed door to the left; returns whether the arm stopped by itself."""
    x, y, z = HANDLE_CLOSED_M
    for height in (0.2, z - 0.01):
        driver.to((x - 0.005, y - 0.06, height), fingers=0.0, seconds=1.5)
    return driver.to((x - 0.005, to_y_m, z - 0.01), seconds=2.0, speed=0.1)


@pytest.fixture
def arm():
    with SimulatedArm(
        SPEC, sensors=ArmSensors(force_n=0.0, object_m=0.0, object_yaw_rad=0.0, door_m=0.0, dropouts_per_s=0.0)
    ) as it:
        yield it


def test_it_is_a_robot_whose_reading_fits_its_spec(arm):
    assert isinstance(arm, Robot)
    reading = arm.read()
    assert len(reading.joint_position) == SPEC.n_joints == len(SPEC.position_lower_rad)
    assert len(reading.extra) == len(SPEC.extra_names)
    np.testing.assert_allclose(reading.joint_position, HOME_RAD, atol=1e-3)
    np.testing.assert_allclose(reading.extra[SEEN][:2], OBJECT_START_M, atol=1e-6)


def test_it_grips_the_cube_lifts_it_and_puts_it_elsewhere(arm):
    driver = Driver(arm)
    for place, fingers in (((0.55, 0.0, 0.2), 0.25), ((0.55, 0.0, 0.04), 0.25), ((0.55, 0.0, 0.04), 0.0)):
        driver.to(place, fingers=fingers)
    driver.to((0.55, 0.0, 0.25))
    assert arm.truth().object_m[2] > 0.2
    driver.to((0.62, 0.1, 0.25))
    driver.to((0.62, 0.1, 0.05), speed=0.3, seconds=4.0)
    driver.to((0.62, 0.1, 0.05), fingers=0.25)
    driver.to((0.62, 0.1, 0.25))
    np.testing.assert_allclose(arm.truth().object_m, (0.62, 0.1, ON_TRAY_M), atol=0.02)
    assert not arm.truth().object_lost


def test_what_presses_too_hard_stops_and_backs_off(arm):
    driver = Driver(arm)
    arm.put_object(0.66, 0.17)
    driver.to((0.55, 0.0, 0.06))
    assert driver.to((0.55, 0.0, -0.05), seconds=1.0)
    arm.step(FORCE_STOP_S)
    reading = arm.read()
    assert reading.extra[FORCE_STOPPED] == 0.0
    assert np.linalg.norm(arm.truth().force_n) < SPEC.hand_force_limit_n
    driver.joints = reading.joint_position[:-1]
    assert not driver.to((0.55, 0.0, 0.2))
    np.testing.assert_allclose(arm.truth().hand_m, (0.55, 0.0, 0.2), atol=0.01)


@pytest.mark.parametrize("how", ["silence", "stop", "cut", "damping"])
def test_it_holds_still_when_commands_cease_or_forbid_motion(arm, how):
    driver = Driver(arm)
    driver.to((0.66, 0.17, 0.25), seconds=0.1)
    if how == "damping":
        driver.send(np.zeros(SPEC.n_joints), CommandMode.DAMPING)
    elif how != "silence":
        getattr(arm, how)()
    arm.step(0.5)
    before = arm.read().joint_position
    arm.step(1.0)
    np.testing.assert_allclose(arm.read().joint_position, before, atol=2e-3)
    assert np.linalg.norm(arm.truth().hand_m - (0.66, 0.17, 0.25)) > 0.05


def test_the_same_commands_give_the_same_bits(arm):
    def ride():
        arm.place(Pose())
        driver = Driver(arm)
        driver.sequence = arm._sequence
        driver.to((0.55, 0.0, 0.04), fingers=0.0, seconds=1.5)
        driver.to((0.55, 0.0, 0.2), seconds=1.0)
        push(driver)
        truth = arm.truth()
        return truth.object_m, np.array(truth.door_m), arm.read().joint_position

    for first, second in zip(ride(), ride(), strict=True):
        np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize(
    ("mode", "target", "match"),
    [
        (CommandMode.TORQUE, np.zeros(8), "no torques"),
        (CommandMode.POSITION, np.zeros(7), "8 finite"),
        (CommandMode.POSITION, np.full(8, np.nan), "8 finite"),
    ],
)
def test_what_it_cannot_do_is_refused(arm, mode, target, match):
    with pytest.raises(ValueError, match=match):
        arm.write(Command(mode=mode, target=target, kp=0.3, kd=1.0, sequence=1))


@pytest.mark.parametrize(("kp", "kd"), [(-0.1, 1.0), (0.3, np.nan), (np.inf, 1.0)])
def test_gains_that_make_no_sense_are_refused(arm, kp, kd):
    with pytest.raises(ValueError, match="gains"):
        arm.write(Command(mode=CommandMode.POSITION, target=np.zeros(8), kp=kp, kd=kd, sequence=1))


@pytest.mark.parametrize("scale", [np.ones(7), np.full(8, -1.0), np.full(8, np.nan)])
def test_a_scale_of_gains_that_makes_no_sense_is_refused(arm, scale):
    with pytest.raises(ValueError, match="gain_scale"):
        arm.write(Command(mode=CommandMode.POSITION, target=np.zeros(8), kp=0.3, kd=1.0, sequence=1, gain_scale=scale))


def test_a_weaker_gain_moves_it_more_slowly(arm):
    def moved(kp, scale=None):
        arm.place(Pose())
        target, sequence = np.array((HOME_RAD[0] + 0.2, *HOME_RAD[1:])), arm._sequence + 1
        arm.write(Command(mode=CommandMode.POSITION, target=target, kp=kp, kd=1.0, sequence=sequence, gain_scale=scale))
        arm.step(0.06)
        return arm.read().joint_position[0]

    assert 0.0 < moved(0.005) < 0.5 * moved(0.3)
    assert moved(0.3, np.array((0.01, *np.ones(7)))) < 0.8 * moved(0.3)


def test_a_camera_that_sees_nothing_says_so_and_keeps_the_last_place():
    with SimulatedArm(SPEC, sensors=ArmSensors(dropouts_per_s=20.0, dropout_s=1.0)) as arm:
        valid = []
        for _ in range(100):
            arm.step(DT_S)
            before = valid[-1][1] if valid else None
            reading = arm.read()
            valid.append((reading.base_valid, reading.extra[SEEN]))
            if not reading.base_valid and before is not None:
                np.testing.assert_array_equal(reading.extra[SEEN], before)
        assert 0 < sum(seen for seen, _ in valid) < 100


def test_an_object_off_the_tray_is_lost(arm):
    arm.put_object(0.52, 0.6)
    arm.step(1.0)
    assert arm.truth().object_lost
    arm.place(Pose())
    assert not arm.truth().object_lost


class TestDoor:
    @pytest.mark.parametrize("open_m", [0.0, 0.08, DOOR_TRAVEL_M])
    def test_it_stays_where_it_is_and_says_where(self, arm, open_m):
        arm.put_door(open_m)
        arm.step(1.0)
        assert arm.truth().door_m == pytest.approx(open_m, abs=1e-3)
        extra = arm.read().extra
        assert extra[DOOR] == arm.truth().door_m
        np.testing.assert_allclose(extra[HANDLE], HANDLE_CLOSED_M + np.array((0.0, open_m, 0.0)), atol=1e-3)

    def test_a_hand_pushes_it_and_it_stays_there(self, arm):
        driver = Driver(arm)
        assert not push(driver)
        pushed = arm.truth().door_m
        assert 0.05 < pushed < 0.1
        driver.to((0.55, -0.15, 0.2))
        assert arm.truth().door_m == pytest.approx(pushed, abs=2e-3)

    def test_against_its_end_stop_the_arm_stops_itself(self, arm):
        arm.put_door(0.1)
        driver = Driver(arm)
        x, y, z = handle_at(0.1)
        for height in (0.2, z - 0.01):
            driver.to((x - 0.005, y - 0.06, height), fingers=0.0)
        assert driver.to((x - 0.005, handle_at(DOOR_TRAVEL_M)[1] + 0.05, z - 0.01), speed=0.1, seconds=3.0)
        assert arm.truth().door_m == pytest.approx(DOOR_TRAVEL_M, abs=5e-3)

    def test_the_cube_lies_below_its_handle(self, arm):
        x, y, _ = handle_at(0.08)
        arm.put_object(x + 0.02, y)
        for open_m in (0.0, 0.08, DOOR_TRAVEL_M):
            arm.put_door(open_m)
            arm.step(0.2)
            np.testing.assert_allclose(arm.truth().object_m, (x + 0.02, y, ON_TRAY_M), atol=2e-3)

    def test_a_person_leaves_it_half_open(self, arm):
        arm.put_door(0.15)
        arm.place(Pose())
        assert arm.truth().door_m == pytest.approx(0.5 * DOOR_TRAVEL_M)

    def test_things_are_scattered_within_reach_of_the_hand(self, arm):
        rng, seen = np.random.default_rng(0), []
        for _ in range(20):
            arm.scatter(rng)
            truth = arm.truth()
            seen.append((*truth.object_m[:2], truth.door_m))
        seen = np.array(seen)
        lower, upper = SPEC.arm.box_lower_m[:2], SPEC.arm.box_upper_m[:2]
        assert (seen[:, :2] >= lower).all()
        assert (seen[:, :2] <= upper).all()
        assert (np.ptp(seen, axis=0) > 0.6 * np.array((*(upper - lower), DOOR_TRAVEL_M))).all()

    def test_it_goes_no_further_than_its_end_stops(self, arm):
        with pytest.raises(ValueError, match=r"0\.2 m"):
            arm.put_door(0.2)

    def test_a_blind_camera_does_not_blind_its_encoder(self):
        with SimulatedArm(SPEC, sensors=ArmSensors(dropouts_per_s=1e3, dropout_s=1e3)) as arm:
            readings = []
            for open_m in np.linspace(0.0, DOOR_TRAVEL_M, 50):
                arm.put_door(open_m)
                readings.append((open_m, arm.read()))
            assert not any(reading.base_valid for _, reading in readings)
            off = np.array([reading.extra[DOOR] - open_m for open_m, reading in readings])
            assert 5e-4 < off.std() < 2e-3
            np.testing.assert_allclose(
                [r.extra[HANDLE] for _, r in readings], [handle_at(r.extra[DOOR]) for _, r in readings]
            )


def test_a_closed_arm_says_so():
    arm = make_kuka(0)
    arm.close()
    arm.stop()
    assert arm.health().problems == ("robot is closed",)
    with pytest.raises(RuntimeError, match="closed"):
        arm.read()


def test_the_gripper_stays_as_it_is_mounted():
    """The model has a joint there, which crept by a degree a minute when nothing held it."""
    with make_kuka(0) as arm:
        driver = Driver(arm)
        low, high = arm.spec.arm.box_lower_m + 0.02, arm.spec.arm.box_upper_m - 0.02
        for _ in range(4):
            driver.to(low, seconds=1.0, fingers=HOME_RAD[-1])
            driver.to(high, seconds=1.0, fingers=0.0)
        (angle, *_) = p.getJointState(arm._body, 7, physicsClientId=arm._client)  # nothing measures it
        assert abs(angle) < 1e-3
