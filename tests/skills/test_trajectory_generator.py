"""The generator against targets computed by hand, and its symmetries."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sim.a1 import a1_spec, make_a1
from sim.minitaur import minitaur_spec
from sim.robot import Command, CommandMode
from sim.state import Pose
from skills.trajectory_generator import (
    BOUND_AT,
    GaitRange,
    TrajectoryGenerator,
    action_size,
    gait_range,
    leg_targets,
    right_ahead_rad,
)

SPEC = minitaur_spec()
N = action_size(SPEC)
A1_SPEC = a1_spec()
A1_N = action_size(A1_SPEC)
GAIT = GaitRange(
    frequency_hz=2.0,
    frequency_span_hz=1.0,
    stride_rad=0.6,
    lift_rad=0.5,
    lift_span_rad=0.2,
    residual_swing_rad=0.1,
    residual_extension_rad=0.3,
    turn_stride_rad=0.2,
    turn_sidestep_rad=0.4,
    residual_abduction_rad=0.25,
)
ACTIONS = arrays(np.float64, N, elements=st.floats(-1, 1))
A1_ACTIONS = arrays(np.float64, A1_N, elements=st.floats(-1, 1))
PHASES = st.floats(0, 2 * math.pi)
QUARTER = 0.5 * math.pi


def action(frequency=0.0, left=0.0, right=0.0, lift=0.0, size=N):
    out = np.zeros(size)
    out[:4] = frequency, left, right, lift
    return out


def mirrored(vector):
    """Swap left and right legs of leg-space targets or residuals, both (front left, back left, front right, ...)."""
    return vector[[2, 3, 0, 1, 6, 7, 4, 5]]


def mirrored_action(a):
    return np.concatenate((a[[0, 2, 1, 3]], mirrored(a[4:])))


def test_a_trot_lifts_diagonal_pairs_in_turn():
    front_left_up = leg_targets(GAIT, QUARTER, action(left=0.5, right=0.5))[4:]
    assert front_left_up == pytest.approx([-0.5, 0, 0, -0.5])
    front_right_up = leg_targets(GAIT, QUARTER + math.pi, action(left=0.5, right=0.5))[4:]
    assert front_right_up == pytest.approx([0, -0.5, -0.5, 0])


def test_a_trot_swings_lifted_legs_forward_and_standing_legs_back():
    walk = action(left=0.5, right=0.5)
    assert leg_targets(GAIT, 0.0, walk)[:4] == pytest.approx([-0.3, 0.3, 0.3, -0.3])
    assert leg_targets(GAIT, math.pi, walk)[:4] == pytest.approx([0.3, -0.3, -0.3, 0.3])
    assert leg_targets(GAIT, 0.0, -walk)[:4] == pytest.approx([0.3, -0.3, -0.3, 0.3]), "backward mirrors in time"


def test_opposite_strides_bound_front_and_back_in_turn():
    turn_left = action(left=-0.5, right=0.5)
    out = leg_targets(GAIT, QUARTER, turn_left)
    assert out[4:] == pytest.approx([-0.5, 0, -0.5, 0])
    out = leg_targets(GAIT, 0.0, turn_left)
    # The turn acts with the opposite sign: +0.3 rad of amplitude on the left, so swing = -0.3 cos(0) in front.
    assert out[:4] == pytest.approx([-0.3, 0.3, 0.3, -0.3])


def test_a_stride_difference_smaller_than_the_mean_does_not_disturb_a_trot():
    even = leg_targets(GAIT, 1.0, action(left=0.5, right=0.5))
    uneven = leg_targets(GAIT, 1.0, action(left=0.3, right=0.7))
    assert uneven == pytest.approx(even)


def test_lift_and_residuals_have_the_size_that_the_range_says():
    a = action(lift=-1.0)
    a[4:8] = 1.0, -1.0, 0.5, 0.0
    a[8:] = 0.0, 1.0, -1.0, 0.5
    out = leg_targets(GAIT, QUARTER, a)
    assert out[:4] == pytest.approx([0.1, -0.1, 0.05, 0.0], abs=1e-12)
    assert out[4:] == pytest.approx([-0.3, 0.3, -0.3, -0.3 + 0.15])


@given(ACTIONS, PHASES)
def test_targets_stay_within_the_ranges(a, phase):
    out = leg_targets(GAIT, phase, a)
    assert np.all(np.abs(out[:4]) <= GAIT.stride_rad + GAIT.residual_swing_rad + 1e-9)
    assert np.all(out[4:] <= GAIT.residual_extension_rad + 1e-9)
    assert np.all(out[4:] >= -(GAIT.lift_rad + GAIT.lift_span_rad + GAIT.residual_extension_rad) - 1e-9)


@pytest.mark.parametrize("spec", [SPEC, A1_SPEC], ids=lambda spec: spec.name)
@given(data=st.data(), phase=PHASES)
def test_the_range_of_a_robot_never_reaches_a_joint_limit_without_residuals(spec, data, phase):
    a = np.zeros(action_size(spec))
    a[:4] = data.draw(arrays(np.float64, 4, elements=st.floats(-1, 1)))
    targets = spec.stand_position_rad + spec.leg_to_joint @ leg_targets(gait_range(spec), phase, a)
    assert np.all(targets > spec.position_lower_rad)
    assert np.all(targets < spec.position_upper_rad)


@given(ACTIONS, PHASES)
def test_the_default_range_never_reaches_a_joint_limit(a, phase):
    targets = SPEC.stand_position_rad + SPEC.leg_to_joint @ leg_targets(GaitRange(), phase, a)
    assert np.all(targets > SPEC.position_lower_rad)
    assert np.all(targets < SPEC.position_upper_rad)


@given(ACTIONS, PHASES)
def test_a_mirrored_action_gives_mirrored_legs(a, phase):
    left, right = a[1], a[2]
    turn, forward = (right - left) / 2, (right + left) / 2
    bound = min(max(abs(turn) - abs(forward), 0) / BOUND_AT, 1)
    # The right side leads by this much, so that the mirrored gait is the same gait at another moment.
    ahead = math.copysign(math.pi * (1 - bound), turn)
    assert leg_targets(GAIT, phase + ahead, mirrored_action(a)) == pytest.approx(
        mirrored(leg_targets(GAIT, phase, a)), abs=1e-9
    )


@given(ACTIONS, ACTIONS, PHASES, st.floats(0, 1))
def test_targets_are_continuous_in_action_and_phase(a, b, phase, share):
    here = a + share * (b - a)
    step = 1e-6
    near = np.clip(here + step * (b - a), -1, 1)
    moved = leg_targets(GAIT, phase + step, near) - leg_targets(GAIT, phase, here)
    # The steepest slope is the shift of a leg's phase while trot turns into bound: below 2 pi / BOUND_AT rad per unit.
    assert np.abs(moved).max() < step * 4 * math.pi / BOUND_AT


def test_the_phase_runs_at_the_frequency_of_the_action():
    generator = TrajectoryGenerator(SPEC, 0.02, GAIT)
    for _ in range(10):
        generator.step(action(frequency=0.5))
    assert generator.phase_rad == pytest.approx(2 * math.pi * 2.5 * 0.2 % (2 * math.pi), abs=1e-9)
    generator.reset(1.5)
    assert generator.phase_rad == 1.5


@settings(max_examples=30)
@given(st.lists(ACTIONS, min_size=1, max_size=20))
def test_the_phase_stays_in_one_turn_and_actions_are_not_written_to(actions):
    generator = TrajectoryGenerator(SPEC, 0.02)
    for a in actions:
        a.flags.writeable = False
        targets = generator.step(a)
        assert 0 <= generator.phase_rad < 2 * math.pi
        assert np.isfinite(targets).all()


def test_joint_targets_are_the_stance_when_nothing_is_asked_and_no_leg_is_up():
    generator = TrajectoryGenerator(SPEC, 0.02, replace(GAIT, lift_rad=0.0))
    assert generator.step(action()) == pytest.approx(SPEC.stand_position_rad)


def test_a_robot_without_a_leg_map_is_refused_by_name():
    with pytest.raises(ValueError, match="'minitaur' has no leg_to_joint"):
        TrajectoryGenerator(replace(SPEC, leg_to_joint=None), 0.02)
    with pytest.raises(ValueError, match="four feet"):
        TrajectoryGenerator(replace(SPEC, foot_names=("a", "b")), 0.02)


# --- legs with abduction ---------------------------------------------------------------------------------------------


def a1_action(**parts):
    return action(size=A1_N, **parts)


def a1_mirrored(vector):
    """Swap left and right legs of (swing, extension, abduction); abductions point to the other side."""
    swing, extension, abduction = vector.reshape(3, 4)[:, [2, 3, 0, 1]]
    return np.concatenate((swing, extension, -abduction))


def test_actions_have_a_residual_for_each_degree_of_freedom():
    assert (N, A1_N) == (4 + 2 * 4, 4 + 3 * 4)


def test_walking_ahead_is_the_trot_of_other_legs_without_abduction():
    out = leg_targets(GAIT, 1.0, a1_action(left=0.5, right=0.5, lift=0.3))
    assert out[:8] == pytest.approx(leg_targets(GAIT, 1.0, action(left=0.5, right=0.5, lift=0.3)))
    assert out[8:] == pytest.approx([0.0] * 4)


def test_turning_left_swings_sides_apart_and_steps_ends_to_opposite_sides():
    turn = a1_action(left=-0.5, right=0.5)
    start = leg_targets(GAIT, 0.0, turn)
    # Front left and back right begin their swing: from 0.5 * 0.2 behind on the right, before on the left, and the front
    # leg from 0.5 * 0.4 on the right, the back leg from the left. The others stand at the other end.
    assert start[:4] == pytest.approx([0.1, -0.1, 0.1, -0.1])
    assert start[8:] == pytest.approx([-0.2, -0.2, 0.2, 0.2])
    end = leg_targets(GAIT, math.pi, turn)
    assert end[:4] == pytest.approx(-start[:4])
    assert end[8:] == pytest.approx(-start[8:])


def test_turning_keeps_diagonal_pairs_together():
    turn = a1_action(left=-1.0, right=1.0)
    assert leg_targets(GAIT, QUARTER, turn)[4:8] == pytest.approx([-0.5, 0, 0, -0.5])


def test_standing_feet_move_as_the_floor_turns_below_the_body():
    """Half way through a stance every foot moves along the circle about the body's middle, to the right in front."""
    gait, step = gait_range(A1_SPEC), 1e-6
    turn = a1_action(left=-0.5, right=0.5)
    place = A1_SPEC.hip_positions_m[:, :2] + 0.08505 * np.array((0.0, 1.0)) * np.sign(A1_SPEC.hip_positions_m[:, 1:2])
    for phase, standing in ((1.5 * math.pi, [0, 3]), (QUARTER, [1, 2])):
        rate = (leg_targets(gait, phase + step, turn) - leg_targets(gait, phase, turn)) / step
        velocity = np.stack((rate[:4], rate[8:]), axis=1)[standing]
        circle = np.stack((place[:, 1], -place[:, 0]), axis=1)[standing]
        scale = np.linalg.norm(velocity) / np.linalg.norm(circle)
        assert velocity == pytest.approx(scale * circle, abs=0.05 * scale)


def test_abduction_residuals_have_the_size_that_the_range_says():
    a = a1_action()
    a[12:] = 1.0, -1.0, 0.5, 0.0
    assert leg_targets(GAIT, 2.0, a)[8:] == pytest.approx([0.25, -0.25, 0.125, 0.0])


@given(A1_ACTIONS, PHASES)
def test_a_mirrored_action_gives_mirrored_legs_with_abduction(a, phase):
    image = np.concatenate((a[[0, 2, 1, 3]], a1_mirrored(a[4:])))
    ahead = float(right_ahead_rad(a, 3))
    assert leg_targets(GAIT, phase + ahead, image) == pytest.approx(a1_mirrored(leg_targets(GAIT, phase, a)), abs=1e-9)


@pytest.mark.parametrize(("size", "dofs"), [(N, 2), (A1_N, 3)])
def test_the_right_sides_lead_is_that_of_the_targets_for_whole_batches(size, dofs):
    rng = np.random.default_rng(0)
    actions = rng.uniform(-1, 1, (20, 7, size))
    actions[..., 4:] = 0.0
    ahead = right_ahead_rad(actions, dofs)
    assert ahead.shape == (20, 7)
    for a, lead in zip(actions.reshape(-1, size), ahead.reshape(-1), strict=True):
        # A right leg is lifted as far as the left one would be at the right one's phase.
        lifts = leg_targets(GAIT, 1.0, a)[4:8]
        assert lifts[2] == pytest.approx(leg_targets(GAIT, 1.0 + lead, a)[4], abs=1e-9)


def attempt(robot, left, right, seconds=10.0):
    """Speed ahead, turning rate and least uprightness of the plain generator, from a stance slightly off."""
    spec = robot.spec
    offset = np.random.default_rng(0).uniform(-0.05, 0.05, spec.n_joints)
    robot.place(Pose(joint_position=tuple(spec.stand_position_rad + offset)))
    generator, a = TrajectoryGenerator(spec, 0.02), a1_action(left=left, right=right)
    start, turned, least = robot.truth(), 0.0, 1.0
    heading = start.yaw_rad
    for _ in range(round(seconds / 0.02)):
        target = generator.step(a)
        sequence = round(robot.time_s / 0.02)
        robot.write(Command(mode=CommandMode.POSITION, target=target, kp=spec.kp, kd=spec.kd, sequence=sequence))
        robot.step(0.02)
        now = robot.truth()
        turned += math.remainder(now.yaw_rad - heading, math.tau)
        heading, least = now.yaw_rad, min(least, now.up_z)
    return (now.base_position[0] - start.base_position[0]) / seconds, turned / seconds, least


@pytest.fixture(scope="module")
def a1():
    with make_a1(0) as robot:
        yield robot


@pytest.mark.parametrize(("left", "right"), [(0.5, 0.5), (-0.5, -0.5), (-0.5, 0.5), (0.5, -0.5)])
def test_the_plain_generator_moves_the_a1_where_its_strides_say(a1, left, right):
    speed, turning, least = attempt(a1, left, right)
    forward, turn = left + right, right - left
    assert speed * forward + turning * turn >= 0.2
    assert least > 0.9
    assert abs(speed if turn else turning) < 0.1
