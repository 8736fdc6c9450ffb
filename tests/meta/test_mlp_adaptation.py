"""One inner step without weights for each task: the same losses and meta-gradients as by way of those weights."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from meta.maml import Maml
from meta.meta_learner import Examples, MetaConfig, Tasks
from meta.mlp_adaptation import layers_of

torch.set_num_threads(1)


def network(*widths):
    layers = [part for i, o in pairwise(widths) for part in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*layers[:-1]).double()


def tasks(n=5, support=6, query=9, into=4, out=3):
    generator = torch.Generator().manual_seed(2)

    def examples(count):
        shapes = (n, count, into), (n, count, out)
        return Examples(*(torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes))

    return Tasks(examples(support), examples(query))


@pytest.mark.parametrize("first_order", [False, True])
@pytest.mark.parametrize("learn_rates", [False, True])
@pytest.mark.parametrize("widths", [(4, 3), (4, 7, 3), (4, 7, 5, 3)])
def test_losses_and_gradients_are_those_of_adapted_copies(widths, learn_rates, first_order):
    torch.manual_seed(0)
    net = network(*widths)
    config = MetaConfig(inner_rate=0.2, learn_rates=learn_rates, first_order=first_order)
    short, long = Maml(net, config), Maml(net, config)
    assert short._layers is not None
    long._layers = None
    found = {}
    for name, learner in (("short", short), ("long", long)):
        after, before = learner.meta_loss(tasks())
        after.backward()
        assert not before.requires_grad
        found[name] = [after.detach(), before, *(p.grad for p in learner._learned.values())]
    for one, other in zip(found["short"], found["long"], strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)
    assert max(float(gradient.abs().max()) for gradient in found["short"][2:]) > 1e-3


def test_more_steps_or_another_loss_take_the_long_way():
    net = network(4, 7, 3)
    assert Maml(net, MetaConfig(inner_steps=2))._layers is None
    assert Maml(net, MetaConfig(), nn.functional.l1_loss)._layers is None


def test_only_linear_layers_with_relu_between_them_have_a_short_way():
    linear = [nn.Linear(2, 2) for _ in range(3)]
    assert layers_of(nn.Sequential(linear[0], nn.ReLU(), linear[1])) == ("0", "2")
    assert layers_of(nn.Sequential(linear[0])) == ("0",)
    for other in (
        nn.Sequential(linear[0], nn.Tanh(), linear[1]),
        nn.Sequential(linear[0], linear[1]),
        nn.Sequential(linear[0], nn.ReLU()),
        nn.Sequential(nn.Linear(2, 2, bias=False)),
        nn.Sequential(),
        linear[0],
    ):
        assert layers_of(other) is None
