"""The point that must not touch obstacles: dynamics, ends and offline data as the protocol says."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sim.navigation
from sim.navigation import BLOCK, CORRIDOR, offline_rollouts

IDS = ("perdure/Navigation1-v0", "perdure/Navigation2-v0")


@pytest.mark.parametrize("env_id", IDS)
def test_it_is_a_gymnasium_environment(env_id):
    check_env(gymnasium.make(env_id).unwrapped, skip_render_check=True)


@pytest.mark.parametrize(
    ("course", "place", "violated"),
    [
        (CORRIDOR, (0.0, 4.99), False),
        (CORRIDOR, (0.0, 5.0), True),
        (CORRIDOR, (-60.0, -7.0), True),
        (CORRIDOR, (-90.0, 0.0), True),
        (BLOCK, (-25.0, 7.6), False),
        (BLOCK, (-25.0, -7.5), True),
        (BLOCK, (-19.9, 0.0), False),
    ],
)
def test_obstacles(course, place, violated):
    assert course.violated(np.array(place)) is violated


def test_straight_ahead_through_the_corridor_is_a_success():
    env = gymnasium.make(IDS[0])
    place, _ = env.reset(seed=0)
    steps, over, info, reward = 0, False, {}, 0.0
    while not over:
        before = np.linalg.norm(place)
        aside = np.clip(-place[1], -1.0, 1.0)
        place, reward, over, _, info = env.step(np.array([1.0, aside], np.float32))
        assert reward == pytest.approx(-before, abs=1e-4)
        steps += 1
    assert info == {"violation": False, "success": True}
    assert 45 <= steps <= 50
    assert reward > -sim.navigation.GOAL_RADIUS


def test_straight_ahead_into_the_block_is_a_violation():
    env = gymnasium.make(IDS[1])
    env.reset(seed=0)
    over, info = False, {}
    while not over:
        place, _, over, _, info = env.step(np.array([1.0, 0.0], np.float32))
    assert info == {"violation": True, "success": False}
    assert -30.0 <= place[0] <= -29.0


def test_standing_still_runs_out_of_time():
    env = gymnasium.make(IDS[1])
    env.reset(seed=0)
    ends = [env.step(np.zeros(2, np.float32))[2:4] for _ in range(100)]
    assert ends[:-1] == [(False, False)] * 99
    assert ends[-1] == (False, True)


@pytest.mark.parametrize("course", [CORRIDOR, BLOCK])
def test_offline_data_begins_outside_of_obstacles_and_often_ends_in_them(course):
    rollouts = offline_rollouts(course, 2000, np.random.default_rng(0))
    assert 2000 <= sum(len(actions) for _, actions, _ in rollouts) < 2010
    for places, actions, violated in rollouts:
        assert places.shape == (len(actions) + 1, 2)
        assert np.abs(actions).max() <= 1.0
        assert np.abs(np.diff(places, axis=0) - actions).max() < 6 * sim.navigation.NOISE
        assert [course.violated(place) for place in places] == [False] * len(actions) + [violated]
    share = np.mean([violated for *_, violated in rollouts])
    assert 0.2 < share < 0.9
