"""Multipliers: the formula by hand, the right price where it is known, and no interference where none is needed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sac_kit import SKILLS, draw, filled, learner

from skills.learners.config import SacConfig
from skills.learners.lagrangian import PidLagrangian, penalised
from skills.learners.learner import AttemptSummary

torch.set_num_threads(1)


def controller(**settings):
    return PidLagrangian(1, 1, SacConfig(**settings))


def attempt(skill, costs, steps=250, version: int | None = 1):
    return AttemptSummary(
        skill=skill, policy_version=version, steps=steps, mean_reward=0.0, mean_costs=np.array(costs), fell=False
    )


class TestController:
    def test_two_attempts_by_hand(self):
        """Window 1000, limit 0.1, kp 2, ki 3, kd 4; 500 steps at cost 1: J = 1 - e^-0.5 = 0.39347, e = 2.9347,
        I = 0.5 * 1, lambda = 2 * 2.9347 + 3 * 0.5 + 4 * 3.9347 = 23.108. Then cost 0: J = 0.23865, e = 1.3865, I = 1,
        no rise: lambda = 2 * 1.3865 + 3 = 5.773."""
        subject = controller(cost_window=1000.0, cost_limit=0.1, kp=2.0, ki=3.0, kd=4.0, lambda_max=100.0)
        subject.attempted(0, 500, np.array([1.0]))
        assert subject.multiplier[0, 0] == pytest.approx(23.108, abs=1e-3)
        subject.attempted(0, 500, np.array([0.0]))
        assert subject.multiplier[0, 0] == pytest.approx(5.773, abs=1e-3)
        assert subject.figures() == {
            "lambda_0_0": pytest.approx(5.773, abs=1e-3),
            "cost_0_0": pytest.approx(0.23865, abs=1e-5),
        }

    def test_the_average_does_not_depend_on_how_walking_is_cut_into_attempts(self):
        whole, parts = controller(), controller()
        whole.attempted(0, 1000, np.array([0.3]))
        for _ in range(10):
            parts.attempted(0, 100, np.array([0.3]))
        assert parts.cost[0, 0] == pytest.approx(whole.cost[0, 0])

    @pytest.mark.parametrize("gains", [{}, {"kp": 0.0, "kd": 0.0}, {"kd": 1.0}])
    def test_the_right_price_is_found(self, gains):
        """Reward 2 x - x^2, cost x, limit 0.25. A learner at price p goes to x = 1 - p / 2, so the right price is 1.5.
        Its steps there are slow, as a learner's are."""
        subject, x = controller(cost_limit=0.25, **gains), 1.0
        for _ in range(3000):
            x += 0.1 * (1.0 - subject.multiplier[0, 0] / 2.0 - x)
            subject.attempted(0, 250, np.array([max(x, 0.0)]))
        assert subject.multiplier[0, 0] == pytest.approx(1.5, abs=0.02)
        assert x == pytest.approx(0.25, abs=0.01)

    def test_a_constraint_that_is_met_never_interferes(self):
        """Costs that rise and fall below the limit: the multiplier is 0 throughout, exactly."""
        subject, rng = controller(cost_limit=0.1, kd=10.0), np.random.default_rng(0)
        for _ in range(500):
            subject.attempted(0, 100, rng.uniform(0.0, 0.099, 1))
            assert subject.multiplier[0, 0] == 0.0

    def test_a_price_never_falls_below_the_least_and_rises_from_there(self):
        """With least price 2, one attempt of a whole window at twice the limit: e = 2 (1 - 1/e) - 1 = 0.2642; I = e,
        lambda = 2 + 0.1 * 0.2642 + 0.2642 + 0.1 * 1.2642. Then calm attempts bring it back to 2, exactly, and leave it
        there."""
        subject = controller(least_multiplier=2.0, cost_window=250.0, cost_limit=0.1)
        assert subject.multiplier[0, 0] == 2.0
        subject.attempted(0, 250, np.array([0.2]))
        assert subject.multiplier[0, 0] == pytest.approx(2.4171, abs=1e-4)
        for _ in range(5):
            subject.attempted(0, 250, np.array([0.0]))
        assert subject.multiplier[0, 0] == 2.0

    def test_a_state_with_lower_prices_goes_on_from_the_least(self):
        old, new = controller(ki=2.0), controller(ki=2.0, least_multiplier=3.0)
        old.attempted(0, 250, np.array([3.0]))
        assert 0.0 < old.multiplier[0, 0] < 3.0
        new.load_state(old.state())
        assert (new.multiplier[0, 0], new.integral[0, 0]) == (3.0, 0.0)
        assert new.cost[0, 0] == old.cost[0, 0] > 0.0

    def test_the_highest_price_holds_whatever_the_least(self):
        for least in (0.0, 2.0, 7.0):
            subject = controller(least_multiplier=least, lambda_max=5.0)
            for _ in range(300):
                subject.attempted(0, 2500, np.array([3.0]))
            assert subject.multiplier[0, 0] == 5.0

    def test_no_credit_is_saved_up_while_the_constraint_is_met(self):
        calm, fresh = controller(), controller()
        for _ in range(1000):
            calm.attempted(0, 250, np.array([0.0]))
        for subject in (calm, fresh):
            for _ in range(20):
                subject.attempted(0, 250, np.array([0.5]))
        assert calm.multiplier[0, 0] == pytest.approx(fresh.multiplier[0, 0])

    def test_a_constraint_that_cannot_be_met_winds_nothing_up(self):
        """After 300 or 3000 hopeless attempts the price falls off the top in the same number of calm ones."""
        calm_attempts = []
        for hopeless in (300, 3000):
            subject = controller(lambda_max=5.0)
            for _ in range(hopeless):
                subject.attempted(0, 250, np.array([3.0]))
            assert subject.multiplier[0, 0] == 5.0
            calm = 0
            while subject.multiplier[0, 0] > 0.0:
                subject.attempted(0, 250, np.array([0.0]))
                calm += 1
            calm_attempts.append(calm)
        assert calm_attempts[0] == calm_attempts[1]
        assert calm_attempts[0] < 150

    def test_skills_and_costs_have_prices_of_their_own(self):
        subject = PidLagrangian(2, 3, SacConfig())
        subject.attempted(1, 250, np.array([0.0, 1.0, 0.0]))
        assert (subject.multiplier > 0).tolist() == [[False] * 3, [False, True, False]]

    @pytest.mark.parametrize(("steps", "costs"), [(0, [0.0]), (10, [np.nan]), (10, [0.0, 0.0])])
    def test_impossible_attempts_are_refused(self, steps, costs):
        with pytest.raises(ValueError, match="costs"):
            controller().attempted(0, steps, np.array(costs))


class TestPrice:
    def test_penalised_reward_by_hand(self):
        """r 1, costs 2 and 3 at prices 0.5 and 1: (1 - 1 - 3) / 2.5 = -1.2; without a price the reward is untouched."""
        cost, price = np.array([[2.0, 3.0], [2.0, 3.0]], np.float32), np.array([[0.5, 1.0], [0.0, 0.0]])
        reward = penalised(np.array([1.0, 0.1], np.float32), cost, price)
        assert reward.tolist() == [pytest.approx(-1.2), float(np.float32(0.1))]

    def test_old_transitions_are_priced_anew_for_each_skill(self):
        replay = filled(costs=2)
        free, priced = learner(replay), learner(replay)
        priced._lagrangian.multiplier[1] = (1.0, 3.0)
        (before,), (after,) = draw(free), draw(priced)
        skill = before.skill.argmax(-1)
        assert torch.equal(after.reward[skill != 1], before.reward[skill != 1])
        assert (after.reward[skill == 1] < before.reward[skill == 1].abs()).all()
        assert not torch.equal(after.reward[skill == 1], before.reward[skill == 1])


class TestLearner:
    def test_multipliers_of_zero_give_the_same_bits_as_no_constraints(self):
        free, kept = learner(filled()), learner(filled(costs=3))
        for _ in range(3):
            kept.attempted(attempt(0, [0.0, 0.0, 0.0]))
            free.attempted(attempt(0, []))
            free.update(7)
            kept.update(7)
        assert torch.equal(free._core.bank, kept._core.bank)

    def test_attempts_move_the_figures_of_their_skill_and_a_script_moves_none(self):
        subject = learner(filled(costs=2))
        subject.attempted(attempt(2, [1.0, 0.0], version=None))
        assert subject.update(1)["cost_2_0"] == 0.0
        subject.attempted(attempt(2, [1.0, 0.0]))
        found = subject.update(1)
        assert found["cost_2_0"] == pytest.approx(1.0 - np.exp(-0.1))
        assert found["lambda_2_0"] > 0.0
        assert {found[f"lambda_{k}_{c}"] for k in range(SKILLS) for c in range(2) if (k, c) != (2, 0)} == {0.0}

    def test_multipliers_are_kept_in_the_state(self):
        replay = filled(costs=1)
        first, second = learner(replay), learner(replay, seed=5)
        first.attempted(attempt(1, [0.7]))
        second.load_state(*first.state())
        for subject in (first, second):
            subject.attempted(attempt(1, [0.2]))
        assert first.update(3) == second.update(3)

    def test_a_state_without_constraints_can_be_gone_on_from_with_them(self):
        free, kept = learner(filled()), learner(filled(costs=2))
        free.update(3)
        kept.load_state(*free.state())
        assert kept.updates == 3
        assert not kept._lagrangian.multiplier.any()

    def test_an_attempt_of_another_skill_is_refused(self):
        with pytest.raises(ValueError, match="skill 3"):
            learner(filled(costs=1)).attempted(attempt(3, [0.0]))
