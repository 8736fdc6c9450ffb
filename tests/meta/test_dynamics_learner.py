"""Learning dynamics: losses by hand, bootstraps, validation by attempt, and what bad numbers cannot do."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from toy_dynamics import ACTION, STATE, attempt, attempts, step

from meta import dynamics_learner
from meta.dynamics_learner import DynamicsConfig, DynamicsLearner
from meta.transitions import Steps

torch.set_num_threads(1)
SMALL = DynamicsConfig(members=3, hidden=(24,), batch=32, evaluate_every=50, most_updates=300, learning_rate=3e-3)


def learner(seed=0, **settings):
    return DynamicsLearner(STATE, ACTION, replace(SMALL, **settings), seed)


def parameters(subject):
    return [parameter.detach().clone() for parameter in subject.ensemble.parameters()]


class TestLoss:
    ROWS = np.array([[0, 4], [7, 1], [3, 3]])

    def windows(self, rollout):
        return dynamics_learner._Windows.of(attempts(1, 12), rollout)

    def test_is_the_likelihood_of_torch(self):
        subject, windows = learner(), self.windows(1)
        at = torch.from_numpy(self.ROWS)
        mean, log_variance = subject.ensemble(windows.states[at], windows.actions[at])
        target = subject.ensemble.normalised_difference(windows.states[at], windows.states[at + 1])
        wanted = torch.nn.functional.gaussian_nll_loss(mean, target, log_variance.exp(), reduction="none")
        torch.testing.assert_close(subject.loss(windows, self.ROWS), wanted.mean((1, 2)))

    def test_over_several_steps_goes_on_from_its_own_predictions(self):
        subject, windows = learner(rollout=2), self.windows(2)
        at = torch.from_numpy(self.ROWS)
        states, wanted = windows.states[at], []
        for ahead in range(2):
            mean, log_variance = subject.ensemble(states, windows.actions[at + ahead])
            following = states + mean  # scales are those of the start
            error = following - windows.states[at + ahead + 1]
            if ahead:
                # The second error is that of the way from the predicted state to the measured one.
                error = mean - (windows.states[at + 2] - states)
            wanted.append(0.5 * (error.square() / log_variance.exp() + log_variance).mean((1, 2)))
            states = following
        loss = subject.loss(windows, self.ROWS)
        torch.testing.assert_close(loss, torch.stack(wanted).mean(0))
        have = torch.autograd.grad(loss.sum(), subject.ensemble.weights[0], retain_graph=True)[0]
        want = torch.autograd.grad(torch.stack(wanted).mean(0).sum(), subject.ensemble.weights[0])[0]
        torch.testing.assert_close(have, want)

    def test_members_do_not_share_it(self):
        subject, windows = learner(), self.windows(1)
        loss = subject.loss(windows, self.ROWS)
        gradient = torch.autograd.grad(loss[1], subject.ensemble.weights[0])[0]
        assert float(gradient[1].abs().max()) > 0.0
        assert float(gradient[[0, 2]].abs().max()) == 0.0


class TestFit:
    @pytest.mark.parametrize("rollout", [1, 3])
    def test_learns_the_body(self, rollout):
        subject = learner(rollout=rollout)
        figures = subject.fit(attempts(12))
        assert figures["validation_error"] < 0.3
        assert subject.refused_reason == ""
        fresh = Steps([attempt(500)])
        at = fresh.starts(1)
        states, actions = torch.from_numpy(fresh.states[at]), torch.from_numpy(fresh.actions[at])
        predicted = subject.ensemble.predict(states, actions)
        truth = step(fresh.states[at], fresh.actions[at])
        assert float(np.abs(predicted.mean.numpy() - truth).mean()) < 0.3 * np.abs(truth - fresh.states[at]).mean()
        elsewhere = subject.ensemble.predict(states + 5.0, actions)
        assert float(elsewhere.epistemic.mean()) > 3.0 * float(predicted.epistemic.mean())

    def test_each_member_learns_from_a_draw_of_its_own(self, monkeypatch):
        seen = []
        original = DynamicsLearner._minibatch

        def spy(self, train, bags):
            seen.append(bags)
            return original(self, train, bags)

        monkeypatch.setattr(DynamicsLearner, "_minibatch", spy)
        subject = learner(most_updates=1)
        windows = int(subject.fit(attempts(12))["windows"])
        (bags,) = seen
        assert bags.shape == (3, windows)
        for bag in bags:  # of n drawn with replacement, 1 - 1/e are there
            assert abs(len(set(bag)) / windows - (1.0 - math.exp(-1.0))) < 0.05
        assert not np.array_equal(np.sort(bags[0]), np.sort(bags[1]))

    def test_each_member_is_left_at_its_best(self, monkeypatch):
        """Validation losses as given, and a member's parameters are those of its lowest."""
        looks = iter([[9.0, 9.0, 9.0], [5.0, 1.0, 8.0], [6.0, 2.0, 7.0], [3.0, 4.0, 7.5], [9.0, 9.0, 9.0]])
        shots = []
        subject = learner(patience=1, evaluate_every=2)

        def look(held, sample):
            shots.append(parameters(subject))
            return torch.tensor(next(looks))

        monkeypatch.setattr(subject, "_validate", look)
        figures = subject.fit(attempts(5))
        assert figures["updates"] == subject.updates == 8
        assert figures["validation_loss"] == pytest.approx((3.0 + 1.0 + 7.0) / 3)
        for index, parameter in enumerate(subject.ensemble.parameters()):
            for member, best in enumerate((3, 1, 2)):
                assert torch.equal(parameter[member], shots[best][index][member])

    def test_going_on_never_makes_a_member_worse(self):
        subject = learner(most_updates=100)
        first = subject.fit(attempts(8))["validation_loss"]
        subject._adam.param_groups[0]["lr"] = 3.0
        assert subject.fit(attempts(8))["validation_loss"] <= first

    def test_going_on_keeps_the_scales(self):
        subject = learner(most_updates=1)
        subject.fit(attempts(4))
        before = subject.ensemble.delta_std.clone()
        larger = [replace(a, states=10.0 * a.states) for a in attempts(4)]
        subject.fit(larger)
        assert torch.equal(subject.ensemble.delta_std, before)

    def test_what_is_not_trusted_changes_nothing(self):
        def fitted(poison):
            data = attempts(4)
            for one in data:
                one.valid[10:20] = False
                one.states[11:20] = poison
            subject = learner(most_updates=20)
            subject.fit(data)
            return parameters(subject)

        for have, want in zip(fitted(1e6), fitted(np.nan), strict=True):
            assert torch.equal(have, want)

    def test_updates_that_are_not_finite_are_undone(self, monkeypatch):
        subject = learner(most_updates=100)
        subject.fit(attempts(4))
        before, calls = parameters(subject), []
        original = subject._minibatch

        def poisoned(train, bags):
            calls.append(1)
            return original(train, bags) * (math.nan if len(calls) == 7 else 1.0)

        monkeypatch.setattr(subject, "_minibatch", poisoned)
        figures = subject.fit(attempts(4))
        assert "finite" in subject.refused_reason
        assert figures["updates"] == 0 and subject.updates == 100
        assert all(torch.equal(a, b) for a, b in zip(before, parameters(subject), strict=True))
        monkeypatch.undo()
        subject.fit(attempts(4))
        assert subject.refused_reason == ""

    def test_is_repeatable(self):
        fits = []
        for seed in (1, 1, 2):
            subject = learner(seed=seed, most_updates=10)
            subject.fit(attempts(4))
            fits.append(parameters(subject))
        assert all(torch.equal(a, b) for a, b in zip(fits[0], fits[1], strict=True))
        assert not torch.equal(fits[0][0], fits[2][0])

    def test_needs_two_attempts_with_windows(self):
        with pytest.raises(ValueError, match="two or more"):
            learner().fit(attempts(1))
        with pytest.raises(ValueError, match="windows of 9 trusted steps"):
            learner(rollout=9).fit(attempts(3, 8))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("members", 0),
        ("hidden", ()),
        ("validation_share", 1.0),
        ("learning_rate", math.nan),
        ("rollout", 0),
        ("weight_decay", -1.0),
    ],
)
def test_settings_that_cannot_work_are_refused(name, value):
    with pytest.raises(ValueError, match=name):
        DynamicsConfig(**{name: value})
