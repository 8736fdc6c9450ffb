import math
from dataclasses import replace

import numpy as np
import pytest

from sim.minitaur import leg_pose_to_joints, make_minitaur, minitaur_spec
from sim.robot import FrameLayout, Frames, Observation, Transition
from sim.state import Pose
from skills.skill import Progress, SkillKind
from skills.stand_up import StandUp, StandUpController

DT_S = 0.02
SPEC = minitaur_spec()
LAYOUT = FrameLayout(SPEC.n_joints, SPEC.n_feet)
HALF = math.sqrt(0.5)


def observation(orientation=(0.0, 0.0, 0.0, 1.0), joints=None, contact=1.0, rate=0.0):
    return Observation(
        stamp_s=0.0,
        joint_position=SPEC.stand_position_rad.copy() if joints is None else joints,
        joint_velocity=np.zeros(8),
        joint_torque=np.zeros(8),
        orientation_xyzw=np.array(orientation),
        angular_velocity=np.array((rate, 0.0, 0.0)),
        foot_contact=np.full(4, contact),
        battery_v=16.0,
        motor_temperature_c=np.full(8, 25.0),
        base_position=np.zeros(3),
        base_yaw=0.0,
        base_valid=True,
    )


def controller(start):
    made = StandUp().controller(SPEC, DT_S)
    made.start(start)
    return made


def ticks_to_success(o, limit=100):
    made = controller(o)
    for tick in range(1, limit + 1):
        made.act(o)
        if made.progress(o) is Progress.SUCCEEDED:
            return tick
    return None


def fallen(orientation, swing, extension):
    joints = tuple(float(q) for q in leg_pose_to_joints(np.array(swing), np.array(extension)))
    return Pose(orientation_xyzw=orientation, joint_position=joints, clearance_m=0.02, settle_s=1.0)


BACK = (1.0, 0.0, 0.0, 0.0)


@pytest.mark.parametrize("position", [(0.0, 2.0, 0.0), (0.0, -2.0, 0.0)], ids=["fence on the left", "on the right"])
def test_robot_on_its_back_beside_the_fence_is_thrown_away_from_it(position):
    _, truth = recover(replace(fallen(BACK, (0.0,) * 4, (1.9,) * 4), position=position))
    assert truth.up_z > 0.9
    assert abs(truth.base_position[1]) < abs(position[1]) - 0.3


def recover(pose, seed=0):
    """One try in simulation. Returns (seconds or None, true state)."""
    with make_minitaur(seed) as robot:
        robot.place(pose)
        o = robot.read()
        made = controller(o)
        for tick in range(1, round(StandUp.horizon_s / DT_S) + 1):
            command = made.act(o)
            command.sequence = tick
            robot.write(command)
            robot.step(DT_S)
            o = robot.read()
            if made.progress(o) is Progress.SUCCEEDED:
                return tick * DT_S, robot.truth()
        return None, robot.truth()


@pytest.mark.parametrize(
    ("orientation", "swing", "extension"),
    [
        pytest.param((0.0, 0.0, 0.0, 1.0), (0.0,) * 4, (0.8,) * 4, id="crouch"),
        pytest.param((HALF, 0.0, 0.0, HALF), (0.5, -0.5, 1.0, 0.0), (1.5,) * 4, id="right side"),
        pytest.param((-HALF, 0.0, 0.0, HALF), (2.0, 1.0, -1.0, 0.3), (1.2,) * 4, id="left side"),
        pytest.param((1.0, 0.0, 0.0, 0.0), (0.0,) * 4, (1.9,) * 4, id="back"),
        pytest.param((0.0, 1.0, 0.0, 0.0), (3.0, -3.0, 1.5, -1.5), (1.0, 2.5, 1.0, 2.5), id="back, legs apart"),
        pytest.param((0.0, 0.0, 0.0, 1.0), (3.1, -3.1, 2.0, -2.0), (1.5,) * 4, id="belly, legs above"),
        pytest.param((0.0, HALF, 0.0, HALF), (0.0,) * 4, (1.5,) * 4, id="nose"),
        pytest.param((0.0, -HALF, 0.0, HALF), (0.0,) * 4, (1.5,) * 4, id="tail"),
    ],
)
def test_stands_up_within_one_try(orientation, swing, extension):
    seconds, truth = recover(fallen(orientation, swing, extension))
    assert seconds is not None
    assert truth.up_z > math.cos(math.radians(15.0))
    assert truth.base_position[2] == pytest.approx(SPEC.stand_height_m, abs=0.04)
    # Absolute angles: a leg that came home a turn off would be 2 pi away.
    assert np.abs(truth.joint_position - SPEC.stand_position_rad).max() < 0.5


def test_success_takes_half_a_second_of_standing():
    # The contact average needs 7 periods to pass one half, then 25 periods of standing make 0.5 s.
    assert 25 <= ticks_to_success(observation()) <= 35


LEANING = (math.sin(math.radians(8.5)), 0.0, 0.0, math.cos(math.radians(8.5)))
A_TURN = np.tile((2 * math.pi, -2 * math.pi), 4)


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(observation(orientation=LEANING), id="tilt 17"),
        pytest.param(observation(joints=SPEC.stand_position_rad - 0.6), id="crouched"),
        pytest.param(observation(joints=SPEC.stand_position_rad + A_TURN), id="a turn off"),
        pytest.param(observation(rate=1.5), id="moving"),
        pytest.param(observation(contact=0.0), id="no foot on the floor"),
    ],
)
def test_not_standing_is_not_success(bad):
    assert ticks_to_success(bad) is None


def test_same_observations_give_the_same_commands():
    rng = np.random.default_rng(3)
    turns = rng.standard_normal((300, 4))
    turns /= np.linalg.norm(turns, axis=1, keepdims=True)
    stream = [observation(turn, rng.uniform(-3.0, 6.0, 8)) for turn in turns]
    first, second = controller(stream[0]), controller(stream[0])
    for o in stream:
        a, b = first.act(o), second.act(o)
        assert a.mode is b.mode
        assert np.array_equal(a.target, b.target)


def test_start_forgets_the_last_try():
    lying = observation((1.0, 0.0, 0.0, 0.0))
    made = controller(lying)
    first = [made.act(lying).target for _ in range(60)]
    for _ in range(200):
        made.act(lying)
    made.start(lying)
    assert all(np.array_equal(made.act(lying).target, target) for target in first)


def test_targets_keep_joint_limits():
    rng = np.random.default_rng(4)
    made = controller(observation())
    for orientation in rng.standard_normal((20, 4)):
        o = observation(orientation / np.linalg.norm(orientation), rng.uniform(-2.0, 6.0, 8))
        for _ in range(40):
            target = made.act(o).target
            assert np.isfinite(target).all()
            assert (target >= SPEC.position_lower_rad - 1e-9).all()
            assert (target <= SPEC.position_upper_rad + 1e-9).all()


def test_robot_without_legs_is_refused_by_name():
    with pytest.raises(ValueError, match=r"minitaur.*leg_to_joint"):
        StandUpController(replace(SPEC, leg_to_joint=None), DT_S)


def frames(*orientations):
    return Frames(np.stack([LAYOUT.pack(observation(q)) for q in orientations]), LAYOUT)


@pytest.mark.parametrize(("last", "expected"), [((0.0, 0.0, 0.0, 1.0), True), ((HALF, 0.0, 0.0, HALF), False)])
def test_success_judges_the_last_frame(last, expected):
    level, flipped = (0.0, 0.0, 0.0, 1.0), (1.0, 0.0, 0.0, 0.0)
    transition = Transition(
        frame=frames(flipped, level),
        action=np.zeros((2, 1)),
        previous_action=np.zeros((2, 1)),
        next_frame=frames(level, last),
        dt_s=np.full(2, 0.04),
    )
    assert StandUp().success(transition) is expected


def test_is_a_recovery_of_twenty_seconds():
    skill = StandUp()
    assert (skill.name, skill.kind, skill.horizon_s) == ("stand_up", SkillKind.RECOVERY, 20.0)


def test_leg_below_the_lowest_corner_is_flicked_after_standing_tilted():
    # 30 degrees about the axis through front right and back left: the back right corner is the lowest.
    half = math.radians(15.0)
    corner = np.array((-0.21, -0.0925)) / math.hypot(0.21, 0.0925)
    tilted = observation((-corner[1] * math.sin(half), corner[0] * math.sin(half), 0.0, math.cos(half)))
    down = Frames(LAYOUT.pack(tilted)[None], LAYOUT).up[0]
    assert SPEC.hip_positions_m[3] @ down == min(SPEC.hip_positions_m @ down)
    made = controller(tilted)
    to_leg = np.linalg.inv(SPEC.leg_to_joint)
    swings = np.array([(to_leg @ (made.act(tilted).target - SPEC.stand_position_rad))[:4] for _ in range(160)])
    assert np.abs(swings[:, 3]).max() > 3.0
    assert np.abs(swings[:, :3]).max() == pytest.approx(0.0, abs=1e-9)


def caught(stuck, swing, extension, torque=0.0):
    """All legs folded but one."""
    legs = np.full(8, -1.4)
    legs[:4], legs[stuck], legs[4 + stuck] = 0.0, swing, extension
    o = observation(joints=SPEC.stand_position_rad + SPEC.leg_to_joint @ legs)
    o.joint_torque[np.flatnonzero(SPEC.leg_to_joint[:, stuck])[0]] = torque
    return o


@pytest.mark.parametrize(
    ("stuck", "o", "way"),
    [
        pytest.param(1, caught(1, -0.6, 1.2), -1.0, id="does not fold"),
        pytest.param(2, caught(2, 0.3, -1.2, torque=SPEC.torque_limit_nm[0]), 1.0, id="motor at its limit"),
    ],
)
def test_a_caught_leg_is_let_go_while_the_others_lift_the_body_and_then_swung_out(stuck, o, way):
    made = controller(o)
    commands = [made.act(o) for _ in range(90)]
    to_leg = np.linalg.inv(SPEC.leg_to_joint)
    let_go = [number for number, command in enumerate(commands) if command.gain_scale is not None]
    assert len(let_go) == pytest.approx(0.5 / DT_S, abs=1)
    joints = np.abs(SPEC.leg_to_joint[:, stuck]) > 0.0
    assert all(np.array_equal(commands[number].gain_scale == 0.0, joints) for number in let_go)
    lifted = to_leg @ (commands[let_go[-1]].target - SPEC.stand_position_rad)
    assert np.delete(lifted, (stuck, 4 + stuck)) == pytest.approx(np.zeros(6), abs=1e-9)
    swung = to_leg @ (commands[let_go[-1] + 1].target - SPEC.stand_position_rad)
    assert (swung[stuck], swung[4 + stuck]) == pytest.approx((1.5 * way, -0.5))
    assert np.delete(swung, (stuck, 4 + stuck)) == pytest.approx(np.zeros(6), abs=1e-9)


def test_what_stays_caught_does_not_keep_the_robot_from_rising():
    o = caught(1, -0.6, 1.2)
    made = controller(o)
    to_leg = np.linalg.inv(SPEC.leg_to_joint)
    commands = [made.act(o) for _ in range(260)]
    let_go = [number for number, command in enumerate(commands) if command.gain_scale is not None]
    assert len(let_go) == pytest.approx(2 * 0.5 / DT_S, abs=2)
    tipping = to_leg @ (commands[let_go[-1]].target - SPEC.stand_position_rad)
    assert np.delete(tipping[4:], 1) == pytest.approx(np.full(3, 0.5))  # the second time the others stretch further
    assert commands[-1].target == pytest.approx(SPEC.stand_position_rad, abs=1e-9)
