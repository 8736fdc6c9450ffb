"""Batch renormalisation: its values and gradients against autograd, before and after its warm-up."""

from __future__ import annotations

import pytest
import torch

from skills.learners.batch_norm import D_MAX, EPSILON, MOMENTUM, R_MAX, WARM_UP, BatchNorm

torch.set_num_threads(1)
MEMBERS, WIDTH, PASSING, ROWS = 2, 4, 3, 9


def made(mean=0.3, variance=0.5):
    running = torch.zeros(BatchNorm.running_size(MEMBERS, (WIDTH,)))
    norm = BatchNorm(running, MEMBERS, (WIDTH,), PASSING)
    norm.reset()
    norm._running[0][0].fill_(mean)
    norm._running[0][1].fill_(variance)
    return norm


def plain(x, mean, variance, warm):
    """Ioffe 2017, algorithm 1, with r and d as constants; the first rows by the running statistics."""
    passed, learned = x[:, :PASSING], x[:, PASSING:]
    batch_mean = learned.mean(1, keepdim=True)
    std = (learned.var(1, correction=0, keepdim=True) + EPSILON).sqrt()
    running_std = (torch.tensor(variance) + EPSILON).sqrt()
    r, d = torch.ones(()), torch.zeros(())
    if warm:
        r = (std / running_std).detach().clamp(1 / R_MAX, R_MAX)
        d = ((batch_mean - mean) / running_std).detach().clamp(-D_MAX, D_MAX)
    return torch.cat(((passed - mean) / running_std, (learned - batch_mean) / std * r + d), 1)


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize("variance", [0.5, 1e-4, 400.0])
def test_values_and_gradients_are_those_of_autograd(warm, variance):
    """Variances far from the batch's put r and d at their bounds."""
    norm, generator = made(variance=variance), torch.Generator().manual_seed(0)
    x, weight = (torch.randn(MEMBERS, ROWS, WIDTH, generator=generator) for _ in range(2))
    x = (2.0 * x + 1.0).requires_grad_()
    want = plain(x, 0.3, variance, warm)
    (grad,) = torch.autograd.grad((want * weight).sum(), x)
    out, have = torch.zeros_like(weight), weight.clone()
    norm.begin(WARM_UP if warm else WARM_UP - 1)
    norm.forward(0, x.detach(), out)
    norm.backward(0, x.detach(), have)
    torch.testing.assert_close(out, want.detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(have, grad, rtol=1e-4, atol=1e-5)


def test_running_statistics_move_towards_those_of_the_learning_rows_only():
    norm = made(mean=0.0, variance=1.0)
    x = torch.full((MEMBERS, ROWS, WIDTH), 3.0)
    x[:, :PASSING] = 1000.0
    norm.forward(0, x, torch.zeros_like(x))
    mean, variance = norm._running[0]
    torch.testing.assert_close(mean, torch.full_like(mean, 3.0 * (1.0 - MOMENTUM)))
    torch.testing.assert_close(variance, torch.full_like(variance, MOMENTUM))


def test_once_the_batch_is_typical_both_kinds_of_rows_are_normalised_alike():
    """With running statistics equal to the batch's, r = 1 and d = 0, and a row gives the same either way."""
    x = torch.randn(MEMBERS, PASSING, WIDTH, generator=torch.Generator().manual_seed(1))
    norm = made()
    norm._running[0][0].copy_(x.mean(1, keepdim=True))
    norm._running[0][1].copy_(x.var(1, correction=0, keepdim=True))
    norm.begin(WARM_UP)
    both = torch.cat((x, x), 1)
    out = torch.zeros_like(both)
    norm.forward(0, both, out)
    torch.testing.assert_close(out[:, :PASSING], out[:, PASSING:])
