"""Which of a learner's candidates acts: the best, or what the learner wants tried."""

import numpy as np
from structlog.testing import capture_logs

from agent.selection import Selection
from persistence.replay import ReplayBuffer
from skills.learners.ars import ArsLearner
from skills.learners.learner import AttemptSummary
from skills.learners.population import MEMBER_STRIDE
from skills.policy import PolicyWeights


def offer(*versions):
    return [
        PolicyWeights(
            version=version,
            layers=((np.zeros((1, 2), np.float32), np.zeros(2, np.float32)),),
            obs_mean=np.zeros(1, np.float32),
            obs_std=np.ones(1, np.float32),
        )
        for version in versions
    ]


def choose(selection, *versions, skill="walk", explore=True):
    return selection.choose(skill, offer(*versions), explore=explore, figures={}).version


class TestExploring:
    def test_a_single_candidate_acts_whatever_happens(self):
        selection = Selection()
        assert [choose(selection, 7) for _ in range(3)] == [7, 7, 7]

    def test_each_candidate_is_tried_in_order_then_the_best_acts_once_and_what_is_left_is_tried_again(self):
        selection = Selection()
        assert [choose(selection, 10, 11, 12) for _ in range(3)] == [11, 12, 10]
        assert [choose(selection, 10, 12) for _ in range(4)] == [12, 10, 12, 10]

    def test_a_search_goes_on_after_an_attempt_too_short_to_judge(self):
        """The loop of search and selection, in which one attempt is cut at 10 steps."""
        learner = ArsLearner(ReplayBuffer(100, 3, 2), ["walk"], 0)
        selection, cut = Selection(), {3}
        for _ in range(20):
            weights = selection.choose("walk", learner.candidates(), explore=True, figures={})
            steps = 10 if weights.version in cut else 100
            cut.discard(weights.version)
            learner.attempted(
                AttemptSummary(
                    skill=0,
                    policy_version=weights.version,
                    steps=steps,
                    mean_reward=0.1,
                    mean_costs=np.zeros(0),
                    fell=False,
                )
            )
        assert learner.update(1)["search_steps.walk"] == 2.0

    def test_a_learner_that_is_an_attempt_behind_is_not_made_to_try_the_same_twice(self):
        selection = Selection()
        assert choose(selection, 10, 11, 12) == 11
        assert choose(selection, 10, 11, 12) == 12
        assert choose(selection, 10, 12, 13) == 13

    def test_what_comes_back_after_it_was_withdrawn_is_tried_again(self):
        selection = Selection()
        assert [choose(selection, *versions) for versions in ((1, 2), (1, 3), (1, 2))] == [2, 3, 2]

    def test_skills_do_not_share_what_was_tried(self):
        selection = Selection()
        assert [choose(selection, 1, 2, skill=skill) for skill in ("walk", "turn", "walk")] == [2, 2, 1]


class TestEvaluating:
    def test_it_takes_the_best_and_leaves_what_is_to_be_tried(self):
        selection = Selection()
        assert choose(selection, 10, 11, explore=False) == 10
        assert choose(selection, 10, 11) == 11


class TestLog:
    def test_a_change_of_the_best_member_is_told_once_with_what_it_rests_on(self):
        figures = {"member2.reward.walk": 0.8, "member0.reward.walk": 0.5, "member0.reward.turn": 0.1, "loss": 3.0}
        with capture_logs() as logs:
            selection = Selection()
            for version in (5, 2 * MEMBER_STRIDE, 2 * MEMBER_STRIDE + 9):
                selection.choose("walk", offer(version), explore=True, figures=figures)
        (entry,) = logs
        assert entry["event"] == "population.best"
        assert (entry["skill"], entry["member"]) == ("walk", 2)
        assert (entry["member2.reward.walk"], entry["member0.reward.walk"]) == (0.8, 0.5)
        assert "member0.reward.turn" not in entry
        assert "loss" not in entry
