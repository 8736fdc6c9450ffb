"""Ensembles of dynamics models: batched arithmetic against one member at a time, uncertainty by hand, copies to plan
with.
"""

import numpy as np
import pytest
import torch
from torch.nn import functional
from toy_dynamics import ACTION, STATE, attempts

from meta.dynamics import DynamicsEnsemble
from meta.transitions import Scales, Steps

torch.set_num_threads(1)
SCALES = Scales(
    input_mean=np.array((1.0, -2.0, 0.5, 0.0), np.float32),
    input_std=np.array((2.0, 0.5, 1.0, 4.0), np.float32),
    delta_mean=np.array((0.3, -0.1), np.float32),
    delta_std=np.array((0.5, 3.0), np.float32),
)


def ensemble(members=3, hidden=(8, 7)):
    made = DynamicsEnsemble(STATE, ACTION, hidden, members, torch.Generator().manual_seed(1))
    made.set_scales(SCALES)
    return made


def batch(rows=9, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(rows, STATE, generator=generator), torch.randn(rows, ACTION, generator=generator)


def one_member(made, member, states, actions):
    """The same network written out."""
    inputs = torch.cat((states, actions), dim=1)
    x = (inputs - torch.from_numpy(SCALES.input_mean)) / torch.from_numpy(SCALES.input_std)
    x = x.clamp(-10, 10)
    layers = list(zip(made.weights, made.biases, strict=True))
    for weight, bias in layers[:-1]:
        x = functional.linear(x, weight[member].T, bias[member, 0]).relu()
    weight, bias = layers[-1]
    return functional.linear(x, weight[member].T, bias[member, 0])


class TestForward:
    def test_is_each_member_alone(self):
        made, (states, actions) = ensemble(), batch()
        mean, _ = made(states.expand(3, -1, -1), actions.expand(3, -1, -1))
        for member in range(3):
            alone = one_member(made, member, states, actions)[:, :STATE]
            torch.testing.assert_close(mean[member], alone, rtol=1e-5, atol=1e-6)

    def test_log_variance_stays_between_its_bounds(self):
        made, (states, actions) = ensemble(), batch()
        with torch.no_grad():
            made.weights[-1].mul_(1000.0)
        _, log_variance = made(states.expand(3, -1, -1), actions.expand(3, -1, -1))
        assert float(log_variance.detach().max()) <= 0.5 + 1e-4
        assert float(log_variance.detach().min()) >= -10.0 - 1e-4
        assert float(log_variance.detach().max() - log_variance.detach().min()) > 5.0

    def test_a_difference_and_what_undoes_it(self):
        made, (states, _) = ensemble(), batch()
        following = made.advance(states, torch.full_like(states, 2.0))
        torch.testing.assert_close(following - states, torch.tensor((1.3, 5.9)).expand(9, -1))
        torch.testing.assert_close(made.normalised_difference(states, following), torch.full_like(states, 2.0))


class TestUncertainty:
    def test_members_that_agree_know(self):
        made, (states, actions) = ensemble(), batch()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.copy_(parameter[:1].expand_as(parameter))
        predicted = made.predict(states, actions)
        assert float(predicted.epistemic.max()) < 1e-6
        torch.testing.assert_close(predicted.std, predicted.aleatoric)

    def test_by_hand(self):
        """Two members say 1 and 3 usual steps, with log variances 0 and log 3 (bounds out of the way)."""
        made, (states, actions) = ensemble(members=2), batch()
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.zero_()
            made.most_log_variance.fill_(50.0)
            made.least_log_variance.fill_(-50.0)
            made.biases[-1][0, 0] = torch.tensor((1.0, 1.0, 0.0, 0.0))
            made.biases[-1][1, 0] = torch.tensor((3.0, 3.0, np.log(3.0), np.log(3.0)))
        predicted = made.predict(states, actions)
        usual = torch.from_numpy(SCALES.delta_std)
        shift = 2.0 * usual + torch.from_numpy(SCALES.delta_mean)
        torch.testing.assert_close(predicted.mean, states + shift)
        torch.testing.assert_close(predicted.epistemic, usual.expand(9, -1))  # deviation of (1, 3) is 1
        torch.testing.assert_close(predicted.aleatoric, (2.0**0.5 * usual).expand(9, -1))  # mean of (1, 3) is 2
        torch.testing.assert_close(predicted.std, (3.0**0.5 * usual).expand(9, -1))


class TestPlanningModel:
    @pytest.mark.parametrize("rows", [1, 9])
    def test_foretells_the_members_means(self, rows):
        made = ensemble()
        model = made.planning_model()
        for seed in range(2):
            states, actions = batch(rows, seed)
            own = torch.stack([states, states + 1.0, states - 2.0])
            wanted, _ = made(own, actions.expand(3, -1, -1))
            torch.testing.assert_close(
                model.next_states(own, actions), made.advance(own, wanted).detach(), rtol=1e-4, atol=1e-5
            )

    def test_inputs_far_from_all_data_are_clipped_in_both(self):
        made, (states, actions) = ensemble(), batch()
        far = (states + 1e4).expand(3, -1, -1)
        wanted = made.advance(far, made(far, actions.expand(3, -1, -1))[0]).detach()
        torch.testing.assert_close(made.planning_model().next_states(far, actions), wanted, rtol=1e-4, atol=1e-4)

    def test_keeps_nothing_of_one_call_in_the_next(self):
        model, (states, actions) = ensemble().planning_model(), batch()
        first = model.next_states(states.expand(3, -1, -1), actions)
        kept = first.clone()
        model.next_states(states.expand(3, -1, -1) + 5.0, actions)
        torch.testing.assert_close(first, kept)
        torch.testing.assert_close(model.next_states(states[:4].expand(3, -1, -1), actions[:4]), kept[:, :4])

    def test_is_a_copy(self):
        made, (states, actions) = ensemble(), batch()
        model = made.planning_model()
        before = model.next_states(states.expand(3, -1, -1), actions)
        with torch.no_grad():
            for parameter in made.parameters():
                parameter.add_(1.0)
        torch.testing.assert_close(model.next_states(states.expand(3, -1, -1), actions), before)

    def test_of_some_members(self):
        made, (states, actions) = ensemble(), batch()
        all_of_them = made.planning_model().next_states(states.expand(3, -1, -1), actions)
        two = made.planning_model(2)
        assert two.members == 2
        torch.testing.assert_close(two.next_states(states.expand(2, -1, -1), actions), all_of_them[:2])


def test_scales_of_data_arrive():
    made = ensemble()
    scales = Scales.of(Steps(attempts(2)))
    made.set_scales(scales)
    np.testing.assert_array_equal(made.delta_std.numpy(), scales.delta_std)
    np.testing.assert_array_equal(made.input_mean.numpy(), scales.input_mean)
