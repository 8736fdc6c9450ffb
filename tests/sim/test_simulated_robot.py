import dataclasses
import hashlib
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pybullet as p
import pytest

from sim.bullet_world import loop_error_m
from sim.dynamics import DynamicsParams
from sim.minitaur import leg_pose_to_joints, make_minitaur
from sim.robot import Command, CommandMode, Robot
from sim.sensors import SensorParams
from sim.state import Pose, SimulationError

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def robot():
    with make_minitaur(0) as r:
        yield r


class Hand:
    """Sends commands with rising sequence numbers."""

    def __init__(self, robot):
        self.robot, self.sequence = robot, 0

    def move(self, target, mode=CommandMode.POSITION, ticks=1, **gains):
        spec = self.robot.spec
        for _ in range(ticks):
            self.sequence += 1
            settings = {"kp": spec.kp, "kd": spec.kd} | gains
            self.robot.write(Command(mode=mode, target=target, sequence=self.sequence, **settings))
            self.robot.step(0.02)

    def stand(self, ticks):
        self.move(self.robot.spec.stand_position_rad, ticks=ticks)

    def trot(self, ticks, direction=1.0):
        phase = np.array([0.0, np.pi, np.pi, 0.0])
        for k in range(ticks):
            angle = 4 * np.pi * 0.02 * k + phase
            self.move(leg_pose_to_joints(direction * 0.3 * np.sin(angle), 1.9 - 0.25 * np.cos(angle)))


def digest(robot):
    t = robot.truth()
    blob = b"".join(
        np.ascontiguousarray(v).tobytes()
        for v in (t.base_position, t.orientation_xyzw, t.linear_velocity, t.joint_position, t.joint_velocity)
    )
    o = robot.read()
    return hashlib.sha256(blob + o.joint_position.tobytes() + o.base_position.tobytes()).hexdigest()


def run_to_digest(seed):
    with make_minitaur(seed) as r:
        hand = Hand(r)
        hand.trot(50)
        return digest(r)


def test_keeps_the_robot_protocol(robot):
    assert isinstance(robot, Robot)


def test_same_seed_is_bit_equal_in_another_process():
    code = "import sys; sys.path[:0] = ['tests/sim', '.']; import test_simulated_robot as t; print(t.run_to_digest(7))"
    env = os.environ | {"PYTHONHASHSEED": "random"}
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert out.stdout.split()[-1] == run_to_digest(7)
    assert run_to_digest(8) != run_to_digest(7)


def test_placing_makes_the_physics_start_anew_bit_by_bit(robot):
    ends, hand = [], Hand(robot)
    for _ in range(3):
        robot.place(Pose.standing(0.3, -0.2, 0.5))
        hand.trot(40)
        t = robot.truth()
        ends.append((tuple(t.base_position), tuple(t.joint_velocity)))
    assert ends[0] == ends[1] == ends[2]


def test_placing_makes_the_readings_start_anew_at_any_moment():
    """Base and tracker are sampled each 10 ms from the placing on, not by the robot's clock."""
    ends = []
    with make_minitaur(0, DynamicsParams(observation_latency_s=0.003), SensorParams.ideal()) as robot:
        hand = Hand(robot)
        for steps in (0, 1, 3):
            robot.step(0.002 * steps)
            robot.place(Pose.standing(0.3, -0.2, 0.5))
            hand.trot(40)
            seen = robot.read()
            ends.append((tuple(seen.angular_velocity), tuple(seen.base_position)))
    assert ends[0] == ends[1] == ends[2]


@pytest.mark.parametrize("module", ["minitaur", "simulated_robot", "gym_env", "bullet_world"])
def test_nothing_is_printed_by_the_physics(module):
    code = f"import sim.{module}; from sim.minitaur import make_minitaur; make_minitaur(0).close()"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert out.stdout == ""
    assert out.stderr == ""


def test_stance_stands_still_for_five_seconds(robot):
    hand = Hand(robot)
    hand.stand(50)
    start = robot.truth()
    hand.stand(250)
    end = robot.truth()
    assert np.linalg.norm(end.base_position - start.base_position) < 0.01
    assert end.base_position[2] == pytest.approx(robot.spec.stand_height_m, abs=0.01)
    assert end.up_z > 0.999
    assert end.foot_contact.tolist() == [1.0] * 4
    assert robot.health().ok


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_trot_goes_where_the_legs_swing(robot, direction):
    Hand(robot).trot(150, direction)
    assert direction * robot.truth().base_position[0] > 0.4
    assert loop_error_m(robot._live) < 0.003


def test_fifty_fallen_poses_rest_above_the_floor_and_use_all_sides(robot):
    rng = np.random.default_rng(1)
    ups = []
    for _ in range(50):
        robot.place(robot.random_fallen_pose(rng))
        robot.step(0.1)
        t = robot.truth()
        ups.append(t.up_z)
        assert np.isfinite(t.joint_position).all()
        assert np.abs(t.linear_velocity).max() < 2.0
        assert 0.02 < t.base_position[2] < 0.35
    assert min(ups) < -0.8
    assert max(ups) > 0.8


@pytest.mark.parametrize("latency", [0.0, 0.01, 0.034, 0.2])
def test_joint_readings_are_late_by_exactly_the_latency(latency):
    dynamics = DynamicsParams(observation_latency_s=latency)
    with make_minitaur(0, dynamics, SensorParams.ideal()) as r:
        hand = Hand(r)
        target = r.spec.stand_position_rad + 0.4
        past = {}
        for _ in range(200):
            hand.sequence += 1
            r.write(Command(mode=CommandMode.POSITION, target=target, kp=1.0, kd=0.02, sequence=hand.sequence))
            r.step(0.002)
            t = r.truth()
            past[round(t.time_s * 500)] = t
            o = r.read()
            assert o.stamp_s == pytest.approx(t.time_s - latency)
            measured = past.get(round(o.stamp_s * 500))
            if measured is not None:
                np.testing.assert_array_equal(o.joint_position, measured.joint_position)
                np.testing.assert_array_equal(o.joint_velocity, measured.joint_velocity)


def test_imu_and_tracker_are_late_too():
    dynamics = DynamicsParams(observation_latency_s=0.04)
    sensors = dataclasses.replace(SensorParams.ideal(), tracker_delay_s=0.06)
    with make_minitaur(0, dynamics, sensors) as r:
        hand, past = Hand(r), []
        for _ in range(20):
            hand.trot(1)
            past.append(r.truth())
        o = r.read()
        np.testing.assert_allclose(o.orientation_xyzw, past[-3].orientation_xyzw, atol=1e-12)
        np.testing.assert_array_equal(o.base_position, past[-4].base_position)


def test_action_latency_delays_the_motion():
    def first_motion(latency):
        with make_minitaur(0, DynamicsParams(action_latency_s=latency, observation_latency_s=0.0)) as r:
            rest = r.truth().joint_position
            r.write(Command(mode=CommandMode.POSITION, target=rest + 0.8, kp=1.0, kd=0.0, sequence=1))
            for k in range(100):
                r.step(0.002)
                if r.truth().joint_velocity.max() > 3.0:
                    return k
        return None

    assert first_motion(0.03) - first_motion(0.0) == pytest.approx(15, abs=1)


def test_two_readings_at_one_time_are_one_measurement(robot):
    robot.step(0.02)
    first = robot.read()
    np.testing.assert_array_equal(first.joint_position, robot.read().joint_position)


def test_silence_damps_the_joints(robot):
    hand = Hand(robot)
    hand.stand(50)
    for _ in range(9):
        robot.step(0.02)
    assert robot.truth().base_position[2] > 0.18
    for _ in range(100):
        robot.step(0.02)
    assert robot.truth().base_position[2] < 0.15


def test_stop_is_safe_at_any_time_and_takes_the_torque_off(robot):
    robot.stop()
    robot.step(0.02)
    Hand(robot).stand(20)
    robot.stop()
    robot.stop()
    for _ in range(30):
        robot.step(0.02)
    np.testing.assert_array_equal(robot.truth().joint_torque, 0.0)
    robot.close()
    robot.stop()


def test_energy_and_temperature_rise_while_standing(robot):
    hand = Hand(robot)
    energy, heat = [], []
    for _ in range(10):
        hand.stand(10)
        energy.append(robot.truth().energy_j)
        heat.append(sum(robot._motors.temperature_c))
    assert all(a < b for a, b in pairwise(energy))
    assert all(a < b for a, b in pairwise(heat))


def test_tracker_holds_the_last_pose_in_a_dropout():
    sensors = SensorParams(tracker_dropouts_per_s=5.0, tracker_dropout_s=0.3)
    with make_minitaur(3, sensors=sensors) as r:
        hand, last = Hand(r), None
        unseen = 0
        for _ in range(100):
            hand.trot(1)
            o = r.read()
            if not o.base_valid and last is not None:
                unseen += 1
                np.testing.assert_array_equal(o.base_position, last.base_position)
                assert o.base_yaw == last.base_yaw
            last = o
        assert unseen > 10


def test_dynamics_reach_the_physics(robot):
    robot.set_dynamics(DynamicsParams(base_mass_ratio=1.5, payload_kg=0.4, com_offset_m=(0.02, 0.0), foot_friction=0.3))
    world = robot._live
    links = [-1, *range(p.getNumJoints(world.body, physicsClientId=world.client))]
    info = {k: p.getDynamicsInfo(world.body, k, physicsClientId=world.client) for k in links}
    assert sum(i[0] for i in info.values()) == pytest.approx(6.0 + 1.5 + 0.4)
    assert all(info[k][1] == pytest.approx(0.3) for k in world.passive)
    robot.place(Pose())
    again = robot._live
    assert p.getDynamicsInfo(again.body, -1, physicsClientId=again.client)[0] == pytest.approx(4.5)


def test_weak_leg_makes_the_robot_sag_on_that_leg(robot):
    robot.set_dynamics(DynamicsParams(motor_strength=(0.3, 0.3, *[1.0] * 6)))
    robot.place(Pose())
    Hand(robot).stand(100)
    position = robot.truth().joint_position
    assert position[:2].mean() < position[2:].mean() - 0.1


def test_wrong_number_of_motor_strengths_is_refused_and_changes_nothing(robot):
    before = robot.dynamics
    with pytest.raises(ValueError, match="8 motors"):
        robot.set_dynamics(DynamicsParams(motor_strength=(1.0,) * 7))
    assert robot.dynamics == before


@pytest.mark.parametrize("velocity", [float("nan"), 1e3])
def test_explosion_rebuilds_the_world_and_is_reported(robot, velocity):
    Hand(robot).stand(10)
    world = robot._live
    p.resetBaseVelocity(world.body, [velocity, 0, 0], [0, 0, 0], physicsClientId=world.client)
    with pytest.raises(SimulationError, match="exploded"):
        robot.step(0.02)
    assert not robot.health().ok
    robot.step(0.02)
    assert np.isfinite(robot.read().joint_position).all()
    robot.place(Pose())
    assert robot.health().ok


def test_clock_never_goes_back_through_placement(robot):
    Hand(robot).stand(5)
    before = robot.time_s
    robot.place(Pose())
    assert robot.time_s == before
    robot.step(0.02)
    assert robot.time_s == pytest.approx(before + 0.02)


def test_looking_does_not_change_the_physics():
    def end(look):
        with make_minitaur(0) as r:
            hand = Hand(r)
            hand.trot(10)
            if look:
                picture = r.camera(64, 48)
                assert picture.shape == (48, 64, 3)
                assert picture.dtype == np.uint8
                assert picture.std() > 5.0
            hand.trot(10)
            return tuple(r.truth().base_position)

    assert end(True) == end(False)


def test_two_robots_live_side_by_side():
    with make_minitaur(0) as one, make_minitaur(0) as other:
        Hand(one).trot(20)
        one.close()
        Hand(other).trot(20)
        assert other.truth().base_position[0] != 0.0


def test_closed_robot_says_so(robot):
    robot.close()
    robot.close()
    with pytest.raises(RuntimeError, match="closed"):
        robot.read()
    with pytest.raises(RuntimeError, match="closed"):
        robot.place(Pose())
    assert not robot.health().ok


def _rss_kb():
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_does_not_grow_over_many_placements(robot):
    for _ in range(10):
        robot.place(Pose())
    before = _rss_kb()
    for _ in range(40):
        robot.place(Pose())
    assert _rss_kb() - before < 4000  # a leaked world takes about 1 MB


@pytest.mark.parametrize(
    "pose", [{"position": (np.nan, 0.0, 0.0)}, {"orientation_xyzw": (0.0, 0.0, 0.0, 0.0)}, {"settle_s": np.inf}]
)
def test_impossible_poses_are_refused(pose):
    with pytest.raises(ValueError, match=r"finite|length"):
        Pose(**pose)


def test_pose_with_wrong_joints_leaves_the_world_as_it_was(robot):
    with pytest.raises(ValueError, match="8 joints"):
        robot.place(Pose(joint_position=(1.9,) * 7))
    robot.step(0.02)


@pytest.mark.parametrize("impulse_ns", [(2.0, 0.0), (0.0, -2.0)])
def test_a_push_gives_the_body_the_speed_of_its_impulse_once(impulse_ns):
    speeds = []
    for push in (False, True):
        with make_minitaur(0) as robot:
            robot.place(Pose(position=(0.0, 0.0, 3.0), clearance_m=None))  # in the air nothing holds it back
            if push:
                robot.push(impulse_ns)
            for _ in range(10):
                robot.step(0.02)
                speeds.append(robot.truth().linear_velocity[:2])
    gained = np.array(speeds[10:]) - speeds[:10]
    # The legs swing against the body, so its own speed swings about that of the whole robot.
    assert gained.mean(axis=0) == pytest.approx(np.array(impulse_ns) / robot.spec.mass_kg, rel=0.3, abs=0.05)


def test_a_push_that_is_no_number_is_refused(robot):
    with pytest.raises(ValueError, match="not finite"):
        robot.push((float("nan"), 0.0))


@pytest.mark.parametrize("side", range(4))
def test_a_wall_stops_the_robot_on_its_side_until_it_is_placed_anew(robot, side):
    outward = np.array([(1, 0), (0, 1), (-1, 0), (0, -1)][side])

    def slide() -> float:
        robot.push(tuple(30.0 * outward))
        for _ in range(50):
            robot.step(0.02)
        return float(outward @ robot.truth().base_position[:2])

    robot.place(Pose())
    robot.put_wall(side)
    assert slide() < 0.1
    robot.place(Pose())
    assert slide() > 0.3


def test_a_wall_has_one_of_four_sides(robot):
    with pytest.raises(ValueError, match="side 4 of a wall"):
        robot.put_wall(4)
