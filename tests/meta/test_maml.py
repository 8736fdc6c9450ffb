"""MAML: one step by hand, first and second order, all tasks at once as one by one, and that it learns to adapt."""

import math

import pytest
import torch
from torch import nn

from meta.maml import Maml
from meta.meta_learner import META_LEARNERS, Examples, MetaConfig, Tasks, meta_learner

torch.set_num_threads(1)


def slope(weight):
    """A network y = w x."""
    network = nn.Linear(1, 1, bias=False).double()
    with torch.no_grad():
        network.weight.fill_(weight)
    return network


def point(x, y):
    return Examples(torch.tensor([[x]]).double(), torch.tensor([[y]]).double())


def stacked(*tasks):
    return Tasks(
        *(Examples(*(torch.stack(part) for part in zip(*side, strict=True))) for side in zip(*tasks, strict=True))
    )


def draw(n=4, seed=0):
    """Tasks of straight lines with slopes of their own. Shapes: (n, 8, 1)."""
    generator = torch.Generator().manual_seed(seed)
    slopes = 4.0 * torch.rand(n, 1, 1, generator=generator) - 2.0
    sides = []
    for _ in range(2):
        x = 2.0 * torch.rand(n, 8, 1, generator=generator) - 1.0
        sides.append(Examples(x, slopes * x))
    return Tasks(*sides)


def small(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(1, 24), nn.ReLU(), nn.Linear(24, 1))


class TestByHand:
    # w = 1, a = 0.1. Support x = 2, y = 6: L = (2w - 6)^2 = 16, L' = 4 (2w - 6) = -16, so w' = 2.6. Query x = 1, y = 4:
    # L = (w' - 4)^2 = 1.96, and dL/dw = 2 (w' - 4) dw'/dw with dw'/dw = 1 - 8a = 0.2, or 1 to the first order.
    TASK = Tasks(point(2.0, 6.0), point(1.0, 4.0))

    def learner(self, **settings):
        return Maml(slope(1.0), MetaConfig(inner_rate=0.1, **settings))

    def test_adaptation(self):
        subject = self.learner()
        adapted = subject.adapt(subject.parameters, self.TASK.support)
        assert float(adapted["weight"]) == pytest.approx(2.6)
        assert float(subject.parameters["weight"].detach()) == 1.0
        assert not adapted["weight"].requires_grad

    def test_several_steps(self):
        subject = self.learner(inner_steps=2)  # w'' = 2.6 - 0.1 * 4 (5.2 - 6)
        assert float(subject.adapt(subject.parameters, self.TASK.support)["weight"]) == pytest.approx(2.92)

    @pytest.mark.parametrize(("first_order", "wanted"), [(False, -2.8 * 0.2), (True, -2.8)])
    def test_meta_gradient(self, first_order, wanted):
        subject = self.learner(first_order=first_order)
        after, before = subject.meta_loss(stacked(self.TASK))
        assert float(after.detach()) == pytest.approx(1.96)
        assert float(before) == pytest.approx(16.0)
        after.backward()
        assert float(subject.parameters["weight"].grad) == pytest.approx(wanted)

    def test_gradient_of_a_learned_rate(self):
        """dL/d(log a) = 2 (w' - 4) * (-a L') = -2.8 * 1.6."""
        subject = self.learner(learn_rates=True)
        subject.meta_loss(stacked(self.TASK))[0].backward()
        assert float(subject.log_rates["weight"].grad) == pytest.approx(-2.8 * 1.6)

    def test_meta_step_reports_and_descends(self):
        subject = self.learner(outer_rate=0.01)
        figures = subject.meta_step(stacked(self.TASK))
        assert figures == pytest.approx({"query_loss": 1.96, "support_loss": 16.0, "grad_norm": 0.56})
        assert float(subject.parameters["weight"].detach()) == pytest.approx(1.01)  # Adam's first step is its rate


class TestTasksAtOnce:
    @pytest.mark.parametrize("first_order", [False, True])
    def test_are_the_mean_of_one_after_the_other(self, first_order):
        config = MetaConfig(first_order=first_order, inner_steps=2)
        tasks = draw()
        together, alone = Maml(small(), config), Maml(small(), config)
        loss, _ = together.meta_loss(tasks)
        loss.backward()
        for index in range(4):
            one = Tasks(*(Examples(*(part[index : index + 1] for part in side)) for side in tasks))
            (alone.meta_loss(one)[0] / 4).backward()
        for name, parameter in together.parameters.items():
            torch.testing.assert_close(parameter.grad, alone.parameters[name].grad, rtol=1e-4, atol=1e-6)

    def test_query_is_judged_at_what_adapt_gives(self):
        subject, tasks = Maml(small(), MetaConfig()), draw(1)
        adapted = subject.adapt(subject.parameters, Examples(*(part[0] for part in tasks.support)))
        output = torch.func.functional_call(subject._network, adapted, (tasks.query.inputs[0],))
        wanted = nn.functional.mse_loss(output, tasks.query.targets[0])
        torch.testing.assert_close(subject.meta_loss(tasks)[0], wanted)


class TestLearning:
    @pytest.mark.parametrize("settings", [{}, {"first_order": True}, {"learn_rates": True}])
    def test_learns_to_adapt_to_slopes_it_has_not_seen(self, settings):
        subject = Maml(small(), MetaConfig(outer_rate=5e-3, **settings))
        unseen = draw(32, seed=10_000)
        first = float(subject.meta_loss(unseen)[0].detach())
        for seed in range(150):
            subject.meta_step(draw(8, seed))
        after, before = subject.meta_loss(unseen)
        assert float(after.detach()) < 0.35 * float(before)
        assert float(after.detach()) < 0.5 * first
        if "learn_rates" in settings:
            assert len({float(rate.detach()) for rate in subject.log_rates.values()}) == 4

    def test_a_step_to_numbers_that_are_not_finite_is_undone(self):
        subject = Maml(small(), MetaConfig(learn_rates=True))
        subject.meta_step(draw())
        before = {name: tensor.detach().clone() for name, tensor in subject._learned.items()}
        bad = draw()
        bad.query.targets[0, 0] = math.nan
        assert subject.meta_step(bad) == {}
        assert "finite" in subject.refused_reason
        assert all(torch.equal(before[name], tensor) for name, tensor in subject._learned.items())
        assert subject.meta_step(draw()) and subject.refused_reason == ""

    def test_the_network_that_was_given_stays_as_it_is(self):
        network = small()
        before = [parameter.detach().clone() for parameter in network.parameters()]
        Maml(network, MetaConfig()).meta_step(draw())
        assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))


class TestFactory:
    def test_makes_what_it_names(self):
        assert type(meta_learner("maml", small())) is Maml

    def test_names_what_there_is(self):
        with pytest.raises(ValueError, match=r"no meta-learner 'reptile'; there are \['learn2learn', 'maml'\]"):
            meta_learner("reptile", small())
        assert set(META_LEARNERS) == {"maml", "learn2learn"}

    @pytest.mark.parametrize(
        ("name", "value"), [("inner_rate", 0.0), ("outer_rate", math.inf), ("inner_rate", math.nan), ("inner_steps", 0)]
    )
    def test_settings_that_cannot_work_are_refused(self, name, value):
        with pytest.raises(ValueError, match=name):
            MetaConfig(**{name: value})
