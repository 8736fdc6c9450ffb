"""The mug on the table: dynamics by hand, nothing put back unasked, and a demonstrator that gets everywhere."""

from __future__ import annotations

import itertools

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sim.tabletop import HOME, SUCCESS_DISTANCE, TARGETS, Tabletop, demonstration, reached

EVERYWHERE = range(len(TARGETS))


def moved(*actions, **options):
    """A fresh table after some actions: last observation, last reward, and the environment."""
    env = Tabletop()
    seen, _ = env.reset(options={"target": 0, **options})
    reward = 0.0
    for action in actions:
        seen, reward, terminated, truncated, _ = env.step(np.array(action, np.float32))
        assert not terminated
        assert not truncated
    return seen, reward, env


def test_it_is_a_gymnasium_environment():
    check_env(gymnasium.make("perdure/Tabletop-v0").unwrapped, skip_render_check=True)


def test_the_start_and_the_goal_are_in_the_observation():
    seen, _, _ = moved(target=2)
    assert seen.tolist() == [0, 0, 2.5, 0, -1, -1, 0, 0, 0, 2, -1, -1]


def test_a_whole_action_is_a_fifth_of_a_unit():
    seen, _, _ = moved([1, -0.5, -1], [7, 0, -1])
    assert seen[:4] == pytest.approx([0.4, -0.1, 2.5, 0.0])


def test_gripper_and_mug_stay_on_the_table():
    seen, _, _ = moved(*[[1, 1, -1]] * 20)
    assert seen[:4] == pytest.approx([2.8, 2.8, 2.5, 0.0])


def test_a_closing_hand_takes_the_mug_from_where_it_was_before_the_move():
    # Ten steps right: 0.5 away. Two closing ones more: after the first one 0.3 away, which the second one grasps.
    seen, _, _ = moved(*[[1, 0, -1]] * 10, [1, 0, 1])
    assert seen[2:6] == pytest.approx([2.5, 0.0, -1, -1])
    seen, _, _ = moved(*[[1, 0, -1]] * 10, [1, 0, 1], [0, 1, 1])
    assert seen[:6] == pytest.approx([2.2, 0.2, 2.5, 0.2, 0, 0])


def test_a_hand_that_is_not_closed_leaves_the_mug():
    seen, _, _ = moved(*[[1, 0, -1]] * 11, [0, 1, 0.1], [0, 1, 0.0], [0, 1, -1])
    assert seen[:6] == pytest.approx([2.2, 0.6, 2.5, 0.2, -1, -1])


def test_a_mug_against_the_edge_slides_in_the_hand():
    # Held 0.3 to the right of the gripper: it meets the edge while the gripper goes on and stays in the hand.
    seen, _, _ = moved(*[[1, 0, -1]] * 11, *[[1, 0, 1]] * 3, [-1, 0, 1])
    assert seen[:6] == pytest.approx([2.6, 0.0, 2.6, 0.0, 0, 0])


def test_only_a_person_puts_things_back():
    seen, _, env = moved(*[[1, 0, -1]] * 11, *[[-1, 1, 1]] * 5)
    left = seen[2:4].copy()
    assert left == pytest.approx([1.5, 1.0])
    env.target = 3
    for _ in range(1000):
        seen, *_ = env.step(np.array([0.1, 0.1, -1], np.float32))
    assert seen[2:4] == pytest.approx(left)
    assert seen[8:10].tolist() == [0, -2]
    seen, _ = env.reset()
    assert seen[:6].tolist() == [0, 0, 2.5, 0, -1, -1]


def test_goals_are_drawn_among_the_four():
    env = Tabletop()
    env.reset(seed=0)
    drawn = {env.target for _ in range(50) if env.reset()}
    assert drawn == set(EVERYWHERE) - {HOME}


@pytest.mark.parametrize(("gripper", "expected"), [((0.0, 0.1), True), ((0.0, 0.21), False), ((0.15, 0.15), False)])
def test_success_is_of_gripper_and_mug_together(gripper, expected):
    place = TARGETS[1].copy()
    place[:2] = gripper
    assert reached(place).tolist() == [False, expected, False, False, False]
    place[2] += SUCCESS_DISTANCE
    assert not reached(place).any()


def test_the_reward_is_for_being_there():
    _, reward, env = moved([0, 1, -1], at=3, target=3)
    assert reward == 1.0
    assert env.step(np.array([0, 1, -1], np.float32))[1] == 0.0
    assert env.step(np.array([0, -1, -1], np.float32))[1] == 1.0
    env.target = 2
    assert env.step(np.zeros(3, np.float32))[1] == 0.0


@pytest.mark.parametrize(("at", "target"), list(itertools.permutations(EVERYWHERE, 2)))
def test_the_demonstrator_gets_from_everywhere_to_everywhere(at, target):
    observations, actions = demonstration(at, target, 0.3, np.random.default_rng(0))
    assert 30 <= len(actions) <= 80
    assert len(observations) == len(actions) + 1
    assert np.abs(actions).max() <= 1.0
    there = reached(observations)
    assert there[0, at]
    assert there[:, target].tolist() == [False] * len(actions) + [True]
