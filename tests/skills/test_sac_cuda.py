"""The learner on a GPU does what it does on the CPU. Runs where torch finds a GPU."""

from typing import Any

import numpy as np
import pytest
import torch

from persistence.replay import ReplayBuffer
from skills.learners.config import SacConfig
from skills.learners.sac import SLOW_UPDATES, SacLearner

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason=f"torch {torch.__version__} finds no GPU")
OBS, ACTIONS, SKILLS = 9, 4, 2


def replay(reward: float = 1.0) -> ReplayBuffer:
    rng = np.random.default_rng(0)
    made, steps = ReplayBuffer(5000, OBS, ACTIONS, SKILLS), 200
    for _ in range(10):
        made.add_episode(
            rng.standard_normal((steps + 1, OBS)),
            rng.uniform(-1, 1, (steps, ACTIONS)),
            reward * rng.standard_normal((steps, SKILLS)),
            rng.random((steps, SKILLS)) < 0.01,
        )
    return made


def learner(device: str, memory: ReplayBuffer | None = None, **settings: Any) -> SacLearner:
    config = SacConfig(device=device, **{"hidden": (32, 32), "batch": 64, **settings})
    return SacLearner(memory or replay(), np.eye(SKILLS), np.zeros((SKILLS, ACTIONS)), config, seed=3)


def bank(subject: SacLearner) -> torch.Tensor:
    return torch.from_numpy(subject.state()[0]["bank"])


def test_without_a_gpu_it_says_so(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match=r"'cuda', but torch .* finds no GPU"):
        learner("cuda")


@on_gpu
class TestParity:
    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"layer_norm": True, "actor_delay": 20},
            {"ensemble": 5, "target_subset": 2, "actor_mean": True},
            {"batch_norm": True},
            {"reset_every": 30, "actor_delay": 5},
        ],
        ids=["plain", "the daemon's", "redq", "crossq", "resets"],
    )
    def test_updates_are_those_of_the_cpu_but_for_rounding(self, settings):
        here, there = learner("cpu", **settings), learner("cuda", **settings)
        assert torch.equal(bank(here), bank(there))
        for calls in range(4):
            ours, theirs = here.update(20), there.update(20)
            assert ours["refused"] == theirs["refused"] == 0.0
            torch.testing.assert_close(bank(there), bank(here), rtol=0.02, atol=0.002 * (calls + 1))
            assert theirs["critic_loss"] == pytest.approx(ours["critic_loss"], rel=0.02)
            assert theirs["entropy"] == pytest.approx(ours["entropy"], rel=0.02, abs=0.02)

    def test_a_replayed_update_is_the_same_as_one_step_by_step(self):
        captured, stepped = learner("cuda", layer_norm=True), learner("cuda", layer_norm=True)
        stepped._captured = None
        captured.update(40)
        stepped.update(40)
        torch.testing.assert_close(bank(captured), bank(stepped), rtol=1e-3, atol=1e-5)

    def test_dropout_learns(self):
        subject = learner("cuda", dropout=0.1, layer_norm=True)
        before = bank(subject)
        assert subject.update(20)["refused"] == 0.0
        assert not torch.equal(bank(subject), before)


@on_gpu
class TestState:
    def test_it_goes_on_from_a_checkpoint_of_the_other_device(self):
        here, there = learner("cpu"), learner("cuda")
        here.update(20)
        there.load_state(*here.state())
        assert torch.equal(bank(here), bank(there))
        here.update(5)
        there.update(5)
        torch.testing.assert_close(bank(there), bank(here), rtol=0.01, atol=1e-3)
        fresh = learner("cpu")
        fresh.load_state(*there.state())
        assert torch.equal(bank(fresh), bank(there))

    def test_its_policy_acts_like_its_network(self):
        subject = learner("cuda")
        subject.update(20)
        assert subject.snapshot().finite

    def test_a_call_that_diverges_is_undone_and_the_slower_ones_after_it_learn(self):
        memory = replay()
        subject = learner("cuda", memory)
        subject.update(20)
        before = bank(subject)
        subject._core.learning_rate = subject.config.learning_rate
        good = subject._core.bank.clone()
        subject._core.bank.fill_(float("nan"))
        assert subject.update(5)["refused"] == 1.0
        subject._core.bank.copy_(good)
        subject._slow_until = subject.updates + SLOW_UPDATES
        assert torch.equal(bank(subject), before)
        assert subject.update(20)["refused"] == 0.0
        assert len(subject._captured._graphs) == 2
