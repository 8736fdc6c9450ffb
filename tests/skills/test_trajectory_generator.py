"""The generator against targets computed by hand, and its symmetries."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from sim.minitaur import minitaur_spec
from skills.trajectory_generator import BOUND_AT, GaitRange, TrajectoryGenerator, action_size, leg_targets

SPEC = minitaur_spec()
N = action_size(SPEC)
GAIT = GaitRange(
    frequency_hz=2.0,
    frequency_span_hz=1.0,
    stride_rad=0.6,
    lift_rad=0.5,
    lift_span_rad=0.2,
    residual_swing_rad=0.1,
    residual_extension_rad=0.3,
)
ACTIONS = arrays(np.float64, N, elements=st.floats(-1, 1))
PHASES = st.floats(0, 2 * math.pi)
QUARTER = 0.5 * math.pi


def action(frequency=0.0, left=0.0, right=0.0, lift=0.0):
    out = np.zeros(N)
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
