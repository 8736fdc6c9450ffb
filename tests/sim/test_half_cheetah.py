"""The planar runner: what it shows, what it earns, and that a dead motor does nothing."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from sim.gym_robot import GymRobot
from sim.half_cheetah import EFFORT, EPISODE_STEPS, FORWARD, JOINTS, STEP_S, HalfCheetah, env_id


@pytest.fixture
def made():
    envs = []

    def make(crippled=None):
        envs.append(HalfCheetah(crippled))
        return envs[-1]

    yield make
    for env in envs:
        env.close()


def roll(env, actions, seed=3):
    seen, _ = env.reset(seed=seed)
    out, rewards = [seen], []
    for action in actions:
        seen, reward, terminated, truncated, _ = env.step(action)
        assert not (terminated or truncated)
        out.append(seen)
        rewards.append(reward)
    return np.array(out), np.array(rewards)


def push(joint, n=30):
    actions = np.zeros((n, len(JOINTS)), np.float32)
    actions[:, JOINTS.index(joint)] = 1.0
    return actions


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_it_is_a_gymnasium_environment(made):
    check_env(made(), skip_render_check=True)


def test_reward_is_speed_less_effort(made):
    actions = np.repeat(np.random.default_rng(0).uniform(-2.0, 2.0, (6, 6)), 10, axis=0).astype(np.float32)
    seen, rewards = roll(made(), actions)
    clipped = np.clip(actions, -1.0, 1.0)
    way_m = np.sum(rewards + EFFORT * np.square(clipped).sum(axis=1)) * STEP_S
    assert way_m == pytest.approx(np.sum(seen[1:, FORWARD]) * STEP_S, abs=0.05)
    assert abs(way_m) > 0.01


@pytest.mark.parametrize("joint", JOINTS)
def test_a_dead_motor_does_nothing_and_a_live_one_does(made, joint):
    still, _ = roll(made(joint), push(joint) * 0.0)
    dead, _ = roll(made(joint), push(joint))
    alive, _ = roll(made(), push(joint))
    np.testing.assert_array_equal(dead, still)
    index = 5 + JOINTS.index(joint)
    assert np.abs(alive[:, index] - still[:, index]).max() > 0.05


def test_the_same_seed_begins_alike_and_another_one_does_not(made):
    env, actions = made(), np.zeros((5, 6), np.float32)
    one, again, other = (roll(env, actions, seed)[0] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert np.abs(one - other).max() > 1e-3


def test_all_are_registered_and_a_motor_that_there_is_not_is_refused(made):
    for joint in (None, *JOINTS):
        robot = GymRobot(f"sim.half_cheetah:{env_id(joint)}", 0)
        assert robot.spec.n_joints == len(JOINTS)
        robot.close()
    assert gym.spec(env_id("fshin")).max_episode_steps == EPISODE_STEPS
    for refused in (env_id, made):
        with pytest.raises(ValueError, match="no motor 'knee'"):
            refused("knee")


def test_its_springs_hold_it_off_the_floor(made):
    seen, _ = roll(made(), np.zeros((200, len(JOINTS)), np.float32))
    assert seen[-1, 0] > 0.45
    assert np.abs(seen[-1, 11:]).max() < 0.02
