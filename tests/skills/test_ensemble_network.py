"""Updates of a small ensemble: taken, or taken back as a whole."""

import numpy as np
import torch

from skills.learners.ensemble_network import EnsembleNetwork, take_updates

X = torch.ones(4, 3)


def network():
    made = EnsembleNetwork(2, (3, 8, 1), torch.Generator().manual_seed(0))
    return made, torch.optim.AdamW(made.parameters(), 1e-2)


def test_updates_lower_the_loss():
    made, adam = network()
    before = float((made(X) - 1.0).square().mean().detach())
    assert take_updates(made, adam, lambda: (made(X) - 1.0).square().mean(), 50) < 0.1 * before


def test_numbers_that_are_not_finite_undo_all_of_them_and_learning_can_go_on():
    made, adam = network()
    take_updates(made, adam, lambda: made(X).square().mean(), 3)
    before, turn = made.arrays(), iter(range(10))

    def loss():
        return made(X).square().mean() * (float("nan") if next(turn) == 2 else 1.0)

    assert take_updates(made, adam, loss, 5) is None
    for (weight, bias), (old_weight, old_bias) in zip(made.arrays(), before, strict=True):
        np.testing.assert_array_equal(weight, old_weight)
        np.testing.assert_array_equal(bias, old_bias)
    assert np.isfinite(take_updates(made, adam, lambda: made(X).square().mean(), 1))
