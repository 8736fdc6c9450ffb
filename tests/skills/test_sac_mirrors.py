"""Mirror images: what they make of a transition, and that a learner learns from them as if the robot had done it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sac_kit import ACTIONS, OBS, SKILLS, draw, filled, learner

from persistence.replay import ReplayBuffer
from skills.symmetry import Mirror

torch.set_num_threads(1)


def mirror(**changes):
    """Swaps features 0 and 1, turns 2, swaps both actions and turns them, swaps skills 1 and 2."""
    fields = {
        "row_index": np.array([1, 0, 2, 3, 4]),
        "row_sign": np.array([1.0, 1.0, -1.0, 1.0, 1.0]),
        "action_index": np.array([1, 0]),
        "action_sign": np.array([-1.0, -1.0]),
        "skill_of": np.array([0, 2, 1]),
    }
    return Mirror(**(fields | changes))


IDENTITY = Mirror(
    row_index=np.arange(OBS),
    row_sign=np.ones(OBS),
    action_index=np.arange(ACTIONS),
    action_sign=np.ones(ACTIONS),
    skill_of=np.arange(SKILLS),
)


class TestMirror:
    def test_every_row_of_a_stack_and_the_action_by_hand(self):
        stacked = np.array([[0.0, 1, 2, 3, 4, 10, 11, 12, 13, 14]], np.float32)
        assert mirror().rows(stacked).tolist() == [[1, 0, -2, 3, 4, 11, 10, -12, 13, 14]]
        assert mirror().actions(np.array([[0.25, 0.5]])).tolist() == [[-0.5, -0.25]]

    def test_mirroring_twice_gives_the_original_and_keeps_the_type(self):
        stacked = np.random.default_rng(0).standard_normal((4, 3, 2 * OBS)).astype(np.float32)
        twice = mirror().rows(mirror().rows(stacked))
        assert np.array_equal(twice, stacked)
        assert twice.dtype == np.float32

    @pytest.mark.parametrize(
        ("changes", "says"),
        [
            ({"row_index": np.array([0, 0, 2, 3, 4])}, "no permutation"),
            ({"row_sign": np.array([1.0, 1.0, 0.5, 1.0, 1.0])}, "1 or -1"),
            ({"row_sign": np.ones(4)}, "1 or -1"),
            ({"action_sign": np.array([1.0, -1.0])}, "twice"),
            ({"skill_of": np.array([1, 2, 0])}, "twice"),
        ],
    )
    def test_what_is_no_mirror_image_is_refused(self, changes, says):
        with pytest.raises(ValueError, match=says):
            mirror(**changes)


class TestLearning:
    def test_the_mirrored_block_is_the_mirrored_data(self):
        """One learner with a mirror on the data, one without on mirrored data, the same draws: block 1 of the first is
        that of the second, and block 0 is as it was."""
        rng = np.random.default_rng(0)
        plain, mirrored = (ReplayBuffer(500, OBS, ACTIONS, SKILLS, 2) for _ in range(2))
        m = mirror()
        for _ in range(4):
            features, actions = rng.standard_normal((41, OBS)), rng.uniform(-1, 1, (40, ACTIONS))
            rewards, ends = rng.standard_normal((40, SKILLS)), rng.random((40, SKILLS)) < 0.2
            plain.add_episode(features, actions, rewards, ends)
            mirrored.add_episode(m.rows(features), m.actions(actions), rewards[:, m.skill_of], ends[:, m.skill_of])
        (ours,) = draw(learner(plain, mirrors=(m,), normalise=False))
        (same,) = draw(learner(plain, normalise=False))
        (other,) = draw(learner(mirrored, normalise=False))
        for have, want, twin in zip(ours, same, other, strict=True):
            for index, part in enumerate(torch.arange(len(have)).split(4)):
                assert torch.equal(have[part], (twin if index % 2 else want)[part])
        assert not torch.equal(ours.inputs, same.inputs)

    def test_costs_are_the_same_in_the_mirror_and_priced_for_the_skill_that_learns(self):
        """Skill 1 pays nothing, skill 2 pays 3 per cost of 1: reward 0 becomes 0 or (0 - 3) / 4, mirrored or not."""
        replay = ReplayBuffer(100, OBS, ACTIONS, SKILLS, costs=1)
        zeros = np.zeros((50, SKILLS))
        replay.add_episode(np.ones((51, OBS)), np.zeros((50, ACTIONS)), zeros, zeros, costs=np.ones((50, 1)))
        subject = learner(replay, mirrors=(mirror(),), batch=64)
        subject._lagrangian.multiplier[2, 0] = 3.0
        (m,) = draw(subject)
        for block in (slice(0, 32), slice(32, 64)):
            skill = m.skill[block].argmax(-1)
            assert set(m.reward[block][skill == 2].tolist()) == {-0.75}
            assert set(m.reward[block][skill != 2].tolist()) == {0.0}

    def test_the_identity_changes_nothing_bit_by_bit(self):
        first, second = learner(), learner(mirrors=(IDENTITY, IDENTITY, IDENTITY))
        assert first.update(20) == second.update(20)
        assert torch.equal(first._core.bank, second._core.bank)

    @pytest.mark.parametrize(
        ("mirrors", "batch", "says"),
        [
            ((IDENTITY,) * 8, 8, "batch is 8; 8 mirror images"),
            ((mirror(skill_of=np.array([1, 0])),), 8, "does not fit"),
        ],
    )
    def test_mirrors_that_do_not_fit_are_refused(self, mirrors, batch, says):
        with pytest.raises(ValueError, match=says):
            learner(filled(), mirrors=mirrors, batch=batch)
