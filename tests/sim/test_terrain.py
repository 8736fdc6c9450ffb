"""Ramps around the middle: as high as they should be, felt by feet and IMU, stood on and got up from."""

import math
from dataclasses import replace
from itertools import count

import numpy as np
import pytest

from agent.config import SafetyConfig
from agent.robots import load_robot
from agent.safety import FallDetector
from sim.minitaur import make_minitaur
from sim.quiet_bullet import p
from sim.robot import Command, CommandMode
from sim.sensors import SensorParams
from sim.state import Pose
from sim.terrain import BEGIN_M, GENTLE_SHARE, height_m, slope_rad
from skills.skill import Progress
from skills.stand_up import StandUp

STEEP_DEG = 8.0
DT_S = 0.02
NUMBERS = count()
"""Of commands: a robot drops those that are not newer than the last."""


@pytest.fixture(params=["minitaur", "a1"])
def on_ramps(request):
    robot = load_robot(request.param, 0, slope_deg=STEEP_DEG)
    yield robot
    robot.close()


def stand(robot, seconds):
    spec = robot.spec
    for _ in range(round(seconds / DT_S)):
        robot.write(Command(CommandMode.POSITION, spec.stand_position_rad, spec.kp, spec.kd, next(NUMBERS)))
        robot.step(DT_S)


class TestHeight:
    def test_by_hand(self):
        assert height_m(8.0, 0.0) == height_m(8.0, BEGIN_M) == height_m(8.0, -BEGIN_M) == height_m(0.0, 2.0) == 0.0
        assert height_m(8.0, -BEGIN_M - 1.0) == pytest.approx(0.1405, abs=1e-4)
        assert height_m(8.0, BEGIN_M + 1.0) == pytest.approx(0.0699, abs=1e-4)

    def test_its_slope_is_the_slope(self):
        for y in (-2.0, -0.7, 0.0, 0.8, 2.2):
            rise = (height_m(8.0, y + 1e-4) - height_m(8.0, y - 1e-4)) / 2e-4
            assert rise == pytest.approx(math.tan(slope_rad(8.0, y)), abs=1e-6)
        assert slope_rad(8.0, 1.0) == pytest.approx(-GENTLE_SHARE * slope_rad(8.0, -1.0))

    def test_is_where_the_physics_has_the_ground(self, on_ramps):
        for x, y in ((0.0, 0.3), (0.0, 0.6), (-2.0, 1.5), (2.4, 2.4), (0.0, -0.6), (1.0, -1.5), (-2.4, -2.4)):
            above, below = (x + 3.0, y, 1.5), (x + 3.0, y, -0.5)
            hit = p.rayTest(above, below, physicsClientId=on_ramps._live.client)[0]
            assert hit[3][2] == pytest.approx(height_m(STEEP_DEG, y), abs=1e-4)


class TestStanding:
    @pytest.mark.parametrize("y", [0.0, BEGIN_M, 1.3, -1.3])
    def test_no_placement_touches_or_hovers(self, on_ramps, y):
        for yaw in np.linspace(-math.pi, math.pi, 6):
            on_ramps.place(Pose.standing(0.2, y, float(yaw)))
            client, body = on_ramps._live.client, on_ramps._live.body
            ground = (on_ramps._live.floor, *on_ramps._live.ramps)
            gaps = [c[8] for g in ground for c in p.getClosestPoints(body, g, 0.02, physicsClientId=client)]
            assert 0.0 < min(gaps) < 0.006

    @pytest.mark.parametrize("y", [1.3, -1.3])
    def test_feet_imu_and_tracker_tell_of_the_slope(self, on_ramps, y):
        on_ramps.place(Pose.standing(0.0, 0.0, math.pi / 2))
        stand(on_ramps, 1.0)
        level_m = on_ramps.read().base_position[2]
        on_ramps.place(Pose.standing(0.0, y, math.pi / 2))
        stand(on_ramps, 1.0)
        seen = on_ramps.read()
        assert seen.foot_contact.tolist() == [1.0] * 4
        assert not on_ramps.body_on_floor
        assert seen.base_position[2] - level_m == pytest.approx(height_m(STEEP_DEG, y), abs=0.02)
        # It looks north: up the ramp in the north, down the one in the south.
        assert math.copysign(1.0, seen.up[0]) == math.copysign(1.0, y)
        assert math.asin(abs(seen.up[0])) == pytest.approx(abs(slope_rad(STEEP_DEG, y)), rel=0.35)

    def test_standing_on_it_is_no_fall(self, on_ramps):
        detector = FallDetector(SafetyConfig())
        on_ramps.place(Pose.standing(0.0, -1.3, 0.4))
        for _ in range(50):
            stand(on_ramps, DT_S)
            assert not detector.update(on_ramps.read())

    def test_a_body_that_lies_on_it_is_felt(self, on_ramps):
        on_ramps.place(Pose(position=(0.0, -1.3, 0.0), orientation_xyzw=(1.0, 0.0, 0.0, 0.0), settle_s=1.0))
        assert on_ramps.body_on_floor


def test_without_ramps_nothing_differs():
    ends = []
    for raised in (False, True):
        with make_minitaur(3, sensors=SensorParams.ideal()) as robot:
            if raised:
                robot.raise_ramps(STEEP_DEG)
                robot.raise_ramps(0.0)
            robot.place(Pose.standing(0.0, 1.3))
            stand(robot, 0.5)
            ends.append(robot.truth())
    np.testing.assert_array_equal(ends[0].base_position, ends[1].base_position)
    np.testing.assert_array_equal(ends[0].joint_position, ends[1].joint_position)


def test_a_picture_shows_them():
    with make_minitaur(0) as robot:
        level = robot.camera(80, 60)
        robot.raise_ramps(STEEP_DEG)
        assert (robot.camera(80, 60) != level).mean() > 0.02


def test_a_robot_without_legs_refuses_them():
    with pytest.raises(ValueError, match=r"sim\.slope_deg is for simulated robots; 'kuka' is none"):
        load_robot("kuka", 0, slope_deg=STEEP_DEG)
    with pytest.raises(ValueError, match=r"sim\.slope_deg is for simulated robots with legs; gym:Pendulum-v1"):
        load_robot("gym:Pendulum-v1", 0, slope_deg=STEEP_DEG)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["minitaur", "a1"])
def test_a_robot_that_fell_on_the_steep_ramp_stands_up_again(name):
    """Six random falls; more than nine in ten succeed on level ground (`perdure bench standup`)."""
    stood = 0
    with load_robot(name, 0, slope_deg=STEEP_DEG) as robot:
        rng = np.random.default_rng(1)
        for _ in range(6):
            fallen = robot.random_fallen_pose(rng)
            robot.place(replace(fallen, position=(0.0, -1.4, 0.0)))
            script = StandUp().controller(robot.spec, DT_S)
            script.start(robot.read())
            for _ in range(round(StandUp.horizon_s / DT_S)):
                robot.write(replace(script.act(robot.read()), sequence=next(NUMBERS)))
                robot.step(DT_S)
                if script.progress(robot.read()) is not Progress.RUNNING:
                    break
            stood += script.progress(robot.read()) is Progress.SUCCEEDED
    assert stood >= 5
