"""What a family makes of its skills' commands is what the networks are told, in the loop and in learning alike."""

import numpy as np
import torch
from readings import DT_S, N_ACTIONS, SPEC, reading
from sac_kit import ACTIONS, OBS, SKILLS

from persistence.replay import ReplayBuffer
from skills.features import HISTORY
from skills.go_to import GOING, GOING_SKILLS
from skills.learners.config import SacConfig
from skills.learners.sac import SacLearner
from skills.policy import MlpPolicy, PolicyWeights
from skills.policy_control import PolicyDecision, policy_controller
from skills.symmetry import Mirror

COMMANDS = np.array([[10.0, 0.0], [20.0, 0.0], [30.0, 0.0]])
SWAP = Mirror(
    row_index=np.array([1, 0, 2, 3, 4]),
    row_sign=np.array([1.0, 1.0, -1.0, 1.0, 1.0]),
    action_index=np.arange(ACTIONS),
    action_sign=np.ones(ACTIONS),
    skill_of=np.array([0, 2, 1]),
)


def drawn(aim, mirrors=(), history=2):
    """A minibatch of random data, not normalised."""
    rng = np.random.default_rng(0)
    replay = ReplayBuffer(500, OBS, ACTIONS, SKILLS, history)
    for _ in range(4):
        zeros = np.zeros((40, SKILLS))
        replay.add_episode(rng.standard_normal((41, OBS)), rng.uniform(-1, 1, (40, ACTIONS)), zeros, zeros)
    config = SacConfig(hidden=(16,), batch=8, normalise=False)
    subject = SacLearner(replay, COMMANDS, np.zeros((SKILLS, ACTIONS)), config, 0, None, mirrors, aim)
    (minibatch,), _ = subject._sampler.draw(1, subject._rng, subject._generator)
    return minibatch


def parts(minibatch):
    """Newest feature rows and what is said of commands, both (24, .), and each transition's own command."""
    inputs = minibatch.inputs.numpy()
    told, rows = inputs[:, -3:-1], inputs[:, -3 - OBS : -3]
    own = COMMANDS[minibatch.skill.numpy().argmax(1)]
    return rows, told, np.tile(own, (3, 1))


def sum_of_row(rows, commands):
    """Something that depends on the row and on the command."""
    return commands + np.stack((rows.sum(-1), rows[..., 0]), axis=-1)


def test_a_learner_is_told_of_each_observation_what_its_newest_row_and_the_skills_command_make():
    for mirrors in ((), (SWAP,)):
        rows, told, own = parts(drawn(sum_of_row, mirrors))
        np.testing.assert_allclose(told, sum_of_row(rows, own), rtol=1e-5)
        assert not np.allclose(told[8:16], told[16:]), "the next observation is another one"


def test_without_an_aim_it_is_told_the_command():
    _, told, own = parts(drawn(None))
    assert np.array_equal(told, own)
    assert torch.equal(drawn(None).inputs, drawn(lambda rows, commands: commands).inputs)


class Spy(MlpPolicy):
    def act(self, obs, command, prior, noise=None):
        self.seen = np.array(obs), np.array(command)
        return super().act(obs, command, prior, noise)


def test_a_policy_is_told_where_the_place_is_from_the_robot():
    skill, width = GOING_SKILLS[0], HISTORY * GOING.feature_size(SPEC)
    rng = np.random.default_rng(1)
    layer = rng.standard_normal((width + 2, 2 * N_ACTIONS)).astype(np.float32), np.zeros(2 * N_ACTIONS, np.float32)
    weights = PolicyWeights(
        version=1, layers=(layer,), obs_mean=np.zeros(width, np.float32), obs_std=np.ones(width, np.float32)
    )
    spy = Spy(weights)
    controller = policy_controller(skill, SPEC, DT_S, weights, None, decimation=2)
    controller._decide = PolicyDecision(skill, SPEC, spy, None)
    controller.start(reading())
    for x in (-0.5, 0.1):
        controller.act(reading(x, 0.3, 2.0))
        obs, told = spy.seen
        expected = GOING.aim(obs[-GOING.feature_size(SPEC) :], np.array(skill.command))
        np.testing.assert_allclose(told, expected, atol=1e-6)
        controller.act(reading(x, 0.3, 2.0))
    assert not np.allclose(told, GOING.aim(obs[: GOING.feature_size(SPEC)], np.array(skill.command))), "the newest row"
