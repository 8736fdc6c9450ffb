"""Rewards of the walking skills by hand, and the properties that learning from any stored step needs."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from readings import LAYOUT, N_ACTIONS, SPEC, STEP_S, one_step, random_transition, reading, transition

from sim.robot import Frames, Transition
from skills.walk import RESTING_STRIDE, WALKING_SKILLS, WalkReward

FORWARD, BACKWARD, LEFT, RIGHT = WALKING_SKILLS
W = WalkReward()
SKILLS = pytest.mark.parametrize("skill", WALKING_SKILLS, ids=lambda skill: skill.name)


def moved(forward=0.0, left=0.0, turn=0.0, yaw=0.7, steps=1, **after):
    """Steps at a constant speed (m/s, rad/s) in the body frame, which begins at yaw."""
    middle = yaw + 0.5 * turn * STEP_S
    x = STEP_S * (math.cos(middle) * forward - math.sin(middle) * left)
    y = STEP_S * (math.sin(middle) * forward + math.cos(middle) * left)
    before, then = reading(0.3, -0.2, yaw), reading(0.3 + x, -0.2 + y, yaw + turn * STEP_S, **after)
    return transition([before] * steps, [then] * steps)


def terms(skill, steps):
    return {name: float(term[0]) for name, term in skill.reward_terms(steps).items()}


def test_terms_of_a_walk_by_hand():
    got = terms(FORWARD, moved(forward=0.25, left=-0.1, turn=0.2))
    assert got["progress"] == pytest.approx(0.25 / 0.5, abs=1e-4)
    assert got["drift"] == pytest.approx(-0.5 * 0.1, abs=1e-4)
    assert got["yaw_drift"] == pytest.approx(-0.5 * 0.2, abs=1e-4)
    assert got["alive"] == pytest.approx(0.1)
    assert [got[k] for k in ("roughness", "fall")] == pytest.approx([0] * 2, abs=1e-6)


def test_terms_of_a_turn_by_hand():
    got = terms(LEFT, moved(forward=0.3, left=0.4, turn=0.35))
    assert got["progress"] == pytest.approx(0.35 / 0.7, abs=1e-3)
    assert got["drift"] == pytest.approx(-0.5 * 0.5, abs=1e-3)
    assert got["yaw_drift"] == 0
    assert terms(RIGHT, moved(turn=0.35))["progress"] == pytest.approx(-0.5, abs=1e-3)


def test_roughness_by_hand():
    action = np.zeros((1, N_ACTIONS))
    action[0, :3] = 0.6, -0.6, 0.3
    got = terms(FORWARD, transition([reading()], [reading()], action=action))
    assert got["roughness"] == pytest.approx(-0.2 * 0.81 / N_ACTIONS)


@SKILLS
def test_the_reward_is_the_sum_of_its_terms(skill):
    steps = random_transition(np.random.default_rng(0), 50)
    assert skill.reward(steps) == pytest.approx(sum(skill.reward_terms(steps).values()))


@SKILLS
@settings(max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), n=st.integers(1, 12))
def test_a_batch_equals_its_steps_one_by_one_and_nothing_is_written_to(skill, seed, n):
    steps = random_transition(np.random.default_rng(seed), n)
    for array in (steps.frame.data, steps.next_frame.data, steps.action, steps.previous_action, steps.dt_s):
        array.flags.writeable = False
    for judge in (skill.reward, skill.terminated, lambda steps: sum(skill.costs(steps, SPEC).values())):
        whole = judge(steps)
        assert whole.shape == (n,)
        assert np.isfinite(whole).all()
        # Vectorised cosines round the last bit of a float32 differently in batches of different size.
        alone = np.concatenate([judge(one_step(steps, i)) for i in range(n)])
        np.testing.assert_allclose(whole, alone, rtol=1e-5, atol=1e-5)
        assert np.array_equal(whole, judge(steps))


@SKILLS
def test_a_frame_of_zeros_gives_finite_answers(skill):
    zeros = Frames(np.zeros((3, LAYOUT.width), np.float32), LAYOUT)
    nothing = np.zeros((3, N_ACTIONS))
    steps = Transition(frame=zeros, action=nothing, previous_action=nothing, next_frame=zeros, dt_s=np.full(3, STEP_S))
    for judge in (skill.reward, skill.terminated, lambda steps: sum(skill.costs(steps, SPEC).values())):
        assert np.isfinite(judge(steps)).all()
    assert skill.measures(steps) == {}
    assert not skill.success(steps), "a tracker that saw nothing proves nothing"


@SKILLS
def test_the_asked_motion_beats_standing_and_standing_beats_the_contrary(skill):
    forward, turn = skill.command
    good = skill.reward(moved(forward=0.3 * forward, turn=0.35 * turn))
    still = skill.reward(moved())
    bad = skill.reward(moved(forward=-0.3 * forward, turn=-0.35 * turn))
    assert good > 4 * still > 0 > bad


@pytest.mark.parametrize(("skill", "rate"), [(FORWARD, {"forward": 2.0}), (LEFT, {"turn": 2.8})], ids=["walk", "turn"])
def test_rocking_to_and_fro_earns_less_than_standing(skill, rate):
    """The reward of the way there must not outweigh that of the same way back, at whatever speeds."""
    slow = {name: value / 8 for name, value in rate.items()}
    there = 8 * skill.reward(moved(**slow))
    back = skill.reward(moved(**{name: -value for name, value in rate.items()}))
    assert there + back < 9 * skill.reward(moved())


def test_speed_beyond_the_cap_is_not_rewarded():
    cap = W.forward_cap * W.forward_reference_mps
    assert FORWARD.reward(moved(forward=2 * cap)) == pytest.approx(FORWARD.reward(moved(forward=1.1 * cap)), abs=1e-3)


@SKILLS
def test_a_dive_never_pays(skill):
    """Falling over takes about sqrt(0.2 m / g) = 0.15 s; this grants twice that, at 1 m/s or 1.4 rad/s."""
    forward, turn = skill.command
    dive = skill.reward(moved(forward=forward, turn=1.4 * turn, steps=8))
    fall = moved(forward=forward, turn=1.4 * turn, roll=math.radians(60))
    assert terms(skill, fall)["fall"] == -W.fall
    assert dive[:7].sum() + skill.reward(fall).sum() < 0 < dive.sum()


def test_a_jump_of_the_tracker_weighs_less_than_a_fall():
    jump = moved(forward=-100.0, left=100.0, turn=50.0)
    for skill in WALKING_SKILLS:
        assert abs(skill.reward(jump)[0]) < W.fall


def test_the_task_is_over_beyond_fifty_degrees():
    assert not FORWARD.terminated(moved(roll=math.radians(49)))[0]
    assert FORWARD.terminated(moved(roll=math.radians(51)))[0]
    assert FORWARD.terminated(moved(roll=math.pi))[0]


def test_costs_are_how_far_a_limit_is_exceeded():
    limit = FORWARD.limits.roll_rad
    costs = [FORWARD.costs(moved(roll=ratio * limit), SPEC)["roll"][0] for ratio in (0.0, 0.9, 1.5, 2.0)]
    assert costs == pytest.approx([0.0, 0.0, 0.5, 1.0], abs=1e-5)
    level = FORWARD.costs(moved(), SPEC)
    assert set(level) == {"roll", "pitch", "power", "jerk"}
    assert all(cost[0] == 0.0 for cost in level.values())


def test_pitch_power_and_jerk_cost_by_hand():
    n = SPEC.n_joints
    before, after = reading(), reading()
    pitch_rad = 2.0 * FORWARD.limits.pitch_rad
    after.orientation_xyzw = np.array([0.0, math.sin(pitch_rad / 2), 0.0, math.cos(pitch_rad / 2)])
    # The torque rises from 0 by a step that gives three times the allowed rate, and drives at four times the power.
    torque_nm = 3.0 * FORWARD.limits.torque_rate_per_s * STEP_S * 3.5
    after.joint_torque = np.full(n, torque_nm)
    after.joint_velocity = np.full(n, 4.0 * FORWARD.limits.power_w_per_kg * 6.0 / (n * torque_nm))
    costs = FORWARD.costs(transition([before], [after]), SPEC)
    assert {name: float(cost[0]) for name, cost in costs.items()} == pytest.approx(
        {"roll": 0.0, "pitch": 1.0, "power": 3.0, "jerk": 2.0}, abs=1e-4
    )


def test_all_walking_skills_have_the_same_costs():
    step = random_transition(np.random.default_rng(0), 20)
    costs = [skill.costs(step, SPEC) for skill in WALKING_SKILLS]
    for other in costs[1:]:
        for name, cost in costs[0].items():
            assert np.array_equal(cost, other[name])


def test_mirrored_steps_earn_what_the_mirrored_skill_earns():
    step, mirror = moved(forward=0.1, left=0.2, turn=0.3), moved(forward=0.1, left=-0.2, turn=-0.3)
    assert LEFT.reward(step) == pytest.approx(RIGHT.reward(mirror), abs=1e-4)
    assert FORWARD.reward(step) == pytest.approx(FORWARD.reward(mirror), abs=1e-4)


def test_steps_that_the_tracker_missed_do_not_count_in_measures():
    steps = transition(
        [reading(0.0), reading(0.02), reading(0.02, valid=False)],
        [reading(0.02), reading(0.02, valid=False), reading(9.0)],
    )
    assert FORWARD.measures(steps)["speed_mps"] == pytest.approx(0.02 / STEP_S, rel=1e-4)


@SKILLS
def test_success_is_the_mean_speed_without_a_fall(skill):
    forward, turn = skill.command

    def at(share, **after):
        speed = share * skill.success_at
        return moved(forward=speed * forward, turn=speed * turn, steps=5, **after)

    assert skill.success(at(1.01))
    assert not skill.success(at(0.99))
    assert not skill.success(at(-2.0))
    assert not skill.success(at(1.5, roll=math.radians(60)))


def test_priors_stride_the_way_of_the_skill_and_leave_the_rest_alone():
    s = RESTING_STRIDE
    strides = [tuple(skill.prior_action(SPEC)[1:3]) for skill in WALKING_SKILLS]
    assert strides == [(s, s), (-s, -s), (-s, s), (s, -s)]
    for skill in WALKING_SKILLS:
        prior = skill.prior_action(SPEC)
        assert prior.shape == (N_ACTIONS,)
        assert not np.delete(prior, [1, 2]).any()


@SKILLS
def test_an_attempt_starts_only_when_upright(skill):
    assert skill.start_problem(reading(roll=math.radians(20))) is None
    assert skill.start_problem(reading(roll=math.radians(30))) == "tilted 30 deg"
    assert skill.start_problem(reading(roll=math.pi)) == "tilted 180 deg"
