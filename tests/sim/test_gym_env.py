import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import sim.gym_env as gym_env


@pytest.mark.parametrize("name", [gym_env.ENV_ID, gym_env.A1_ENV_ID])
def test_environment_passes_gymnasiums_checker(name):
    env = gym.make(name, render_mode="rgb_array")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(env.unwrapped)
    env.close()


def test_standing_earns_less_than_a_step_forward_and_ends_by_time():
    env = gym.make(gym_env.ENV_ID, episode_s=1.0)
    env.reset(seed=0)
    total, truncated = 0.0, False
    while not truncated:
        _, reward, terminated, truncated, info = env.step(np.zeros(8, np.float32))
        total += reward
        assert not terminated
    assert total < 0.0
    assert abs(info["speed_mps"]) < 0.05
    env.close()


def test_same_seed_gives_the_same_episode():
    def episode():
        env = gym.make(gym_env.ENV_ID, randomise=True)
        observation, _ = env.reset(seed=5)
        env.action_space.seed(5)
        rows = [observation] + [env.step(env.action_space.sample())[0] for _ in range(10)]
        env.close()
        return np.array(rows)

    np.testing.assert_array_equal(episode(), episode())


@pytest.mark.parametrize("arguments", [{"policy_hz": 30}, {"render_mode": "human"}, {"episode_s": 0.0}])
def test_bad_arguments_are_refused(arguments):
    with pytest.raises(ValueError, match=r"offered|above"):
        gym_env.WalkEnv(**arguments)


def test_unknown_robot_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"rocket.*minitaur"):
        gym_env.make_simulated_robot("rocket", 0)
