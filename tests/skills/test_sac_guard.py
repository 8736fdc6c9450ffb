"""Safe to run: divergence and NaN are undone, a stuck learner goes on, and no robot acts with new networks."""

from __future__ import annotations

import json
import math

import pytest
import torch
from sac_kit import disturb, filled, learner

from skills.learners.guard import LOSS_JUMP, PATIENCE, SLACK, Guard, Remedy

torch.set_num_threads(1)


def figures(**changes):
    return {"critic_loss": 0.1, "q_size": 1.0, "entropy": 0.0, "temperature": 0.1, "temperature_0": 0.1} | changes


class TestGuard:
    def test_bound_by_hand(self):
        """gamma 0.9, rewards up to 3, two actions, alpha 0.5: 2 (3 + 0.5 * 2) / 0.1 = 80; entropy -6 makes it 120."""
        guard = Guard(0.9, 2, -2.0)
        assert not guard.fault(figures(), True, 3.0)
        assert guard.bound(figures(temperature_1=0.5)) == pytest.approx(80.0)
        assert guard.bound(figures(temperature_1=0.5, entropy=-6.0)) == pytest.approx(120.0)

    def test_values_learned_at_a_high_temperature_are_believed_when_it_has_fallen(self):
        guard = Guard(0.9, 2, -2.0)
        guard.accept(figures(temperature_1=4.0))
        assert guard.bound(figures()) == pytest.approx(2 * (1.0 + 4.0 * 2) / 0.1)

    def test_the_largest_honest_value_passes_and_a_larger_one_does_not(self):
        guard = Guard(0.99, 2, -2.0)
        bound = guard.bound(figures())
        assert bound > SLACK * 1.0 / 0.01
        assert guard.fault(figures(q_size=bound), True, 1.0) == ""
        assert "a critic says" in guard.fault(figures(q_size=1.01 * bound), True, 1.0)

    def test_rewards_seen_once_are_remembered_and_shape_what_is_possible(self):
        guard = Guard(0.99, 2, -2.0)
        assert not guard.fault(figures(q_size=900.0), True, 5.0)
        assert not guard.fault(figures(q_size=900.0), True, 1.0)

    def test_a_loss_that_jumps_is_refused_unless_rewards_explain_it(self):
        """Usual loss 0.01: a jump to 60 is 6000 times that and above 0.5 * 10^2; one to 40 is not above it."""
        guard = Guard(0.99, 2, -2.0)
        guard.accept(figures(critic_loss=0.01))
        assert LOSS_JUMP * 0.01 < 40.0
        assert guard.fault(figures(critic_loss=40.0), True, 1.0) == ""
        assert "times its usual size" in guard.fault(figures(critic_loss=60.0), True, 1.0)
        assert guard.fault(figures(critic_loss=60.0), True, 2.0) == ""
        assert "can have" in guard.fault(figures(critic_loss=1e7), True, 2.0)

    @pytest.mark.parametrize("name", ["critic_loss", "q_size", "entropy", "temperature_0"])
    def test_figures_that_are_not_finite_are_named(self, name):
        assert name in Guard(0.99, 2, -2.0).fault(figures(**{name: math.nan}), True, 1.0)

    def test_patience_ends_with_a_gentle_remedy_then_with_a_thorough_one(self):
        guard = Guard(0.99, 2, -2.0)
        nothing = [Remedy.NOTHING] * (PATIENCE - 1)
        assert [guard.refuse() for _ in range(3 * PATIENCE)] == [
            *nothing, Remedy.SLOW, *nothing, Remedy.RESET, *nothing, Remedy.RESET
        ]  # fmt: skip
        guard.accept(figures())
        assert guard.refuse() is Remedy.NOTHING


def poisoned(subject, reward):
    return disturb(subject, lambda m: m._replace(reward=torch.full_like(m.reward, reward)))


class TestRefusal:
    @pytest.mark.parametrize(("poison", "says"), [(math.nan, "not finite"), (math.inf, "not finite"), (1e6, "loss")])
    def test_a_broken_update_is_undone_and_says_why(self, poison, says):
        subject = learner()
        subject.update(5)
        good = subject._core.bank.clone()
        heal = poisoned(subject, poison)
        found = subject.update(3)
        assert (found["refused"], found["refused_updates"], found["updates"]) == (1.0, 3.0, 5.0)
        assert says in subject.refused_reason
        assert torch.equal(subject._core.bank, good)
        assert subject.candidates()[0].finite
        heal()
        found = subject.update(2)
        assert (found["refused"], found["updates"], subject.refused_reason) == (0.0, 7.0, "")
        assert all(map(math.isfinite, found.values()))

    def test_a_critic_that_runs_away_never_reaches_the_robot(self):
        """Targets of ten times the critics' own values, as an unstable bootstrap makes: they grow until refused."""
        subject = learner(learning_rate=0.05, tau=1.0, discount=0.9)
        disturb(subject, lambda m: m._replace(discount=10.0 + 0.0 * m.discount))
        bounds, refused = [], 0
        for _ in range(60):
            found = subject.update(5)
            refused += int(found["refused"])
            if not found["refused"]:
                bounds.append(found["q_size"] / subject._guard.bound(found))
        assert refused > 0
        assert max(bounds) <= 1.0

    def test_after_three_refusals_the_optimiser_forgets_and_the_rate_is_halved_for_a_while(self, monkeypatch):
        monkeypatch.setattr("skills.learners.sac.SLOW_UPDATES", 100)
        subject = learner()
        subject.update(5)
        weights = subject._core.actor_flat.clone()
        assert float(subject._core._moments.abs().sum()) > 0
        heal = poisoned(subject, math.nan)
        for _ in range(PATIENCE):
            subject.update(1)
        assert float(subject._core._moments.abs().sum()) == 0
        assert torch.equal(subject._core.actor_flat, weights)
        heal()
        rates = []
        for _ in range(3):
            subject.update(60)
            rates.append(subject._core.learning_rate)
        assert rates == pytest.approx([1.5e-4, 1.5e-4, 3e-4])

    def test_after_six_refusals_networks_are_new_and_the_old_policy_acts_until_they_have_recovered(self):
        subject = learner(reset_recovery=10)
        subject.update(5)
        acting = subject.snapshot().sha256
        heal = poisoned(subject, math.nan)
        for _ in range(2 * PATIENCE):
            subject.update(1)
        heal()
        assert subject.snapshot().sha256 != acting
        assert subject.candidates()[0].sha256 == acting
        subject.update(9)
        assert subject.candidates()[0].sha256 == acting
        subject.update(1)
        assert subject.candidates()[0].sha256 == subject.snapshot().sha256

    def test_large_rewards_are_never_refused(self):
        """Rewards of 1000 move the critics far from their start; that is learning, not divergence."""
        subject = learner(filled(reward=1000.0), learning_rate=3e-3, discount=0.9)
        assert sum(subject.update(20)["refused"] for _ in range(50)) == 0


class TestReset:
    def test_networks_are_new_at_the_right_update_and_learn_on_the_same_data(self):
        subject = learner(reset_every=10, reset_recovery=4)
        subject.update(10)
        before = subject._core.bank.clone()
        subject.update(1)
        assert (subject._progress.reset_at, subject.updates) == (10, 11)
        assert float(subject._core._moments[-1]) == 1.0, "Adam has made one step since"
        assert not torch.allclose(subject._core.actor_flat, before[: len(subject._core.actor_flat)], atol=1e-2)

    def test_the_policy_from_before_acts_with_its_normaliser_and_version_until_recovery(self):
        subject = learner(reset_every=10, reset_recovery=4)
        subject.update(10)
        old = subject.candidates()[0]
        assert old.version == 10
        seen = []
        for _ in range(5):
            subject.update(1)
            (acting,) = subject.candidates()
            seen.append((acting.version, acting.sha256 == old.sha256))
        assert seen == [(10, True), (10, True), (10, True), (14, False), (15, False)]

    def test_a_refused_call_takes_its_reset_back(self):
        subject = learner(reset_every=10, reset_recovery=4)
        subject.update(8)
        good = subject.snapshot().sha256
        heal = poisoned(subject, math.nan)
        assert subject.update(5)["refused"] == 1.0
        assert (subject.updates, subject._progress.reset_at, subject._progress.held) == (8, 0, None)
        assert subject.candidates()[0].sha256 == good
        heal()
        subject.update(3)
        assert subject._progress.reset_at == 10

    def test_a_learner_that_is_resumed_during_recovery_still_holds_the_old_policy(self):
        replay = filled()
        first, second = (learner(replay, seed=seed, reset_every=10, reset_recovery=5) for seed in (1, 2))
        first.update(12)
        arrays, meta = first.state()
        second.load_state(arrays, json.loads(json.dumps(meta)))
        assert second.candidates()[0].to_bytes() == first.candidates()[0].to_bytes()
        assert second.candidates()[0].version == 10
        assert first.update(4) == second.update(4)
        assert second.candidates()[0].version == 16
