"""Makes of learned dynamics models what a robot is expected to do, and what errors are like while nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from meta.change_point import Calibration, Float64
from meta.dynamics import DynamicsEnsemble
from meta.dynamics_learner import DynamicsLearner
from meta.expectation import Expectation, ForwardModel
from meta.transitions import AttemptSteps, Float32, Scales, split_by_attempt

BLOCK = 5
"""Steps that are averaged to one error."""
Errors = Callable[[Float32, Float32, Float32], Float64]
"""Normalised errors, foretold states and states as they turned out, each (T, S), to channels (T, J)."""


def expectation_of(
    learner: DynamicsLearner,
    attempts: Sequence[AttemptSteps],
    channels: Errors,
    signed: int,
    *,
    block: int = BLOCK,
) -> Expectation:
    """What a learner has learned, with errors calibrated on the attempts that it validates on and never learned from.

    Args:
        learner: has learned from ``attempts``.
        attempts: calm ones.
        channels: makes of errors what is watched.
        signed: how many of the last channels are of either sign.
        block: steps that are averaged to one error.

    Raises:
        ValueError: too few of them are left to calibrate with.
    """
    _, held = split_by_attempt(attempts, learner.config.validation_share, learner.seed)
    model, errors = forward_model(learner.ensemble), []
    for attempt in held:
        z, expected = model.errors(attempt.states[:-1], attempt.actions, attempt.states[1:])
        rows = channels(z, expected, attempt.states[1:])
        errors.append(np.where(attempt.valid[:, None], rows, np.nan))
    return Expectation(model=model, calibration=Calibration.of(errors, block, signed))


def forward_model(ensemble: DynamicsEnsemble) -> ForwardModel:
    """A copy of an ensemble as it is now."""

    def copied(name: str) -> Float32:
        array: Float32 = getattr(ensemble, name).detach().numpy().copy()
        return array

    return ForwardModel(
        layers=tuple(
            (weight.detach().numpy().copy(), bias.detach().numpy().copy())
            for weight, bias in zip(ensemble.weights, ensemble.biases, strict=True)
        ),
        log_variance=(copied("least_log_variance"), copied("most_log_variance")),
        scales=Scales(**{name: copied(name) for name in ("input_mean", "input_std", "delta_mean", "delta_std")}),
    )
