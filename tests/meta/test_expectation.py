"""What a robot is expected to do: the same numbers as the learned ensemble's, and errors that tell of a change."""

import dataclasses

import numpy as np
import pytest
import torch
from toy_dynamics import attempt, attempts

from meta.change_point import ChangeDetector
from meta.dynamics_learner import DynamicsConfig, DynamicsLearner
from meta.expectation import Expectation
from meta.expectation_learner import expectation_of, forward_model

torch.set_num_threads(1)
CONFIG = DynamicsConfig(members=2, hidden=(24, 24), most_updates=600, validation_share=0.4)


def channels(z, expected, following):
    """The size of all errors, and each as it is."""
    del expected, following
    return np.concatenate(((z**2).mean(axis=1)[:, None], z), axis=1)


@pytest.fixture(scope="module")
def learned():
    learner, calm = DynamicsLearner(2, 2, CONFIG, seed=3), attempts(60)
    learner.fit(calm)
    return learner, calm


@pytest.fixture(scope="module")
def expectation(learned):
    return expectation_of(*learned, channels, 2)


def test_errors_are_those_of_the_ensemble(learned):
    learner, calm = learned
    states, actions, following = calm[0].states[:-1], calm[0].actions, calm[0].states[1:]
    z, expected = forward_model(learner.ensemble).errors(states, actions, following)
    told = learner.ensemble.predict(torch.from_numpy(states), torch.from_numpy(actions))
    np.testing.assert_allclose(expected, told.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(z, (following - told.mean.numpy()) / told.std.numpy(), rtol=1e-3, atol=1e-3)


def test_a_weaker_motor_is_noticed_soon_and_a_calm_one_is_not(expectation):
    def alarm_step(gain):
        detector = ChangeDetector(expectation.calibration, least_steps=5000)
        for number in range(1000, 1010):
            seen = attempt(number, gain=gain)
            z, expected = expectation.model.errors(seen.states[:-1], seen.actions, seen.states[1:])
            for step, row in enumerate(channels(z, expected, seen.states[1:])):
                if detector.update(row):
                    return 60 * (number - 1000) + step
        return None

    assert alarm_step(1.0) is None
    assert alarm_step(0.5) < 120


def test_steps_that_cannot_be_trusted_are_not_calm_ones(learned, expectation):
    learner, calm = learned
    broken = [
        dataclasses.replace(
            each,
            states=np.where(np.arange(61)[:, None] == 30, 50.0, each.states).astype(np.float32),
            valid=~np.isin(np.arange(60), (29, 30)),
        )
        for each in calm
    ]
    found = expectation_of(learner, broken, channels, 2).calibration
    assert found.calm.max() < 1.5 * expectation.calibration.calm.max()


def test_bytes_keep_everything(expectation):
    again = Expectation.from_bytes(expectation.to_bytes())
    seen = attempt(7)
    for one, other in zip(
        again.model.errors(seen.states[:-1], seen.actions, seen.states[1:]),
        expectation.model.errors(seen.states[:-1], seen.actions, seen.states[1:]),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(again.calibration.calm, expectation.calibration.calm)
    np.testing.assert_array_equal(again.calibration.inflation, expectation.calibration.inflation)
    assert (again.calibration.block, again.calibration.signed) == (5, 2)
    for damaged in (expectation.to_bytes()[:100], b""):
        with pytest.raises(ValueError, match="expectation bytes"):
            Expectation.from_bytes(damaged)


def test_layers_that_do_not_fit_are_refused(expectation):
    model = expectation.model
    with pytest.raises(ValueError, match="lead from"):
        dataclasses.replace(model, layers=model.layers[:-1])
    with pytest.raises(ValueError, match="next one takes"):
        dataclasses.replace(model, layers=(model.layers[0], *model.layers[:1], model.layers[2]))


def test_numbers_that_are_not_finite_are_told(expectation):
    assert expectation.finite
    spoiled = dataclasses.replace(expectation.model, log_variance=(np.array(np.nan), np.array(0.0)))
    assert not dataclasses.replace(expectation, model=spoiled).finite


def test_with_too_few_calm_attempts_there_is_none(learned):
    learner, calm = learned
    with pytest.raises(ValueError, match="calm blocks"):
        expectation_of(learner, calm[:4], channels, 2)
