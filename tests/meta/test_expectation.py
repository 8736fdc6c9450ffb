"""What a robot is expected to do: the same numbers as the learned ensemble's, and errors that tell of a change."""

import dataclasses

import numpy as np
import pytest
import torch
from toy_dynamics import attempt, attempts

from meta import expectation_learner
from meta.change_point import ChangeDetector
from meta.dynamics_learner import DynamicsConfig, DynamicsLearner
from meta.expectation import Expectation
from meta.expectation_learner import ExpectationConfig, ExpectationLearner, forward_model

torch.set_num_threads(1)
CONFIG = ExpectationConfig(
    model=DynamicsConfig(members=2, hidden=(24, 24)),
    blocks=(5,),
    first_steps=600,
    least_updates=1,
    held_back=3,
    every=5,
    capacity=2400,
    familiar_share=1.0,
)


def channels(z, expected, following, checks=None):
    """The size of all errors, each as it is, and what sensors differ by."""
    del expected, following
    parts = ((z**2).mean(axis=1)[:, None], z, *(() if checks is None else (checks,)))
    return np.concatenate(parts, axis=1)


def fed(calm, updates=20):
    learner = ExpectationLearner(2, 2, channels, 2, CONFIG, seed=3)
    for each in calm:
        learner.add(each)
        learner.update(updates)
    return learner


@pytest.fixture(scope="module")
def calm():
    return attempts(75)


@pytest.fixture(scope="module")
def expectation(calm):
    return fed(calm).snapshot()


@pytest.fixture(scope="module")
def fitted(calm):
    learner = DynamicsLearner(2, 2, CONFIG.model, seed=3)
    learner.refine(calm, 300)
    return learner


def test_errors_are_those_of_the_ensemble(fitted, calm):
    states, actions, following = calm[0].states[:-1], calm[0].actions, calm[0].states[1:]
    z, expected, disagreement = forward_model(fitted.ensemble).errors(states, actions, following)
    told = fitted.ensemble.predict(torch.from_numpy(states), torch.from_numpy(actions))
    np.testing.assert_allclose(expected, told.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(z, (following - told.mean.numpy()) / told.std.numpy(), rtol=1e-3, atol=1e-3)
    wanted = (told.epistemic / fitted.ensemble.delta_std).square().mean(-1).sqrt()
    np.testing.assert_allclose(disagreement, wanted, rtol=1e-3, atol=1e-5)


def test_a_weaker_motor_is_noticed_soon_and_a_calm_one_is_not(expectation):
    def alarm_step(gain):
        detector = ChangeDetector(expectation.calibrations, least_steps=5000)
        for number in range(1000, 1010):
            seen = attempt(number, gain=gain)
            z, expected, _ = expectation.model.errors(seen.states[:-1], seen.actions, seen.states[1:])
            for step, row in enumerate(channels(z, expected, seen.states[1:])):
                if detector.update(row):
                    return 60 * (number - 1000) + step
        return None

    assert alarm_step(1.0) is None
    assert alarm_step(0.5) < 120


def test_steps_that_cannot_be_trusted_are_not_calm_ones(calm, expectation):
    broken = [
        dataclasses.replace(
            each,
            states=np.where(np.arange(61)[:, None] == 30, 50.0, each.states).astype(np.float32),
            valid=~np.isin(np.arange(60), (29, 30)),
        )
        for each in calm
    ]
    found = fed(broken).snapshot().calibrations[0]
    assert found.calm.max() < 1.5 * expectation.calibrations[0].calm.max()


def test_a_reading_that_is_no_number_among_those_that_cannot_be_trusted_says_nothing(calm):
    broken = [
        dataclasses.replace(
            each,
            states=np.where(np.arange(61)[:, None] == 30, np.nan, each.states).astype(np.float32),
            valid=~np.isin(np.arange(60), (29, 30)),
        )
        for each in calm
    ]
    assert fed(broken).snapshot().finite


SLOPE, LEVEL = 0.3, 0.1
"""What sensors differ by, by how fast the robot turns to one side."""


@pytest.fixture(scope="module")
def turning(calm):
    """Calm attempts of a robot whose sensors differ."""
    rng = np.random.default_rng(4)
    out = []
    for number, each in enumerate(calm):
        turned = float(number % 3 - 1) + 0.01 * rng.standard_normal((60, 1))
        checks = SLOPE * turned + LEVEL + 0.05 * rng.standard_normal((60, 1))
        out.append(dataclasses.replace(each, checks=checks.astype(np.float32), turning=turned.astype(np.float32)))
    return out


def taught(attempts, config=CONFIG):
    learner = ExpectationLearner(2, 2, channels, 3, config, seed=3)
    for each in attempts:
        learner.add(each)
    learner.update(20)
    return learner.snapshot()


def test_what_sensors_usually_differ_by_is_learned_and_calm_is_what_is_left(turning):
    expectation = taught(turning)
    np.testing.assert_allclose(expectation.usual_checks[:, 0], (SLOPE, LEVEL), atol=0.02)
    assert np.abs(expectation.calibrations[0].calm[:, 3]).max() < 0.1  # without it they would reach 0.4
    again = Expectation.from_bytes(expectation.to_bytes())
    np.testing.assert_array_equal(again.usual_checks, expectation.usual_checks)


def test_sensors_are_compared_where_models_know_too_little(turning, monkeypatch):
    calibrated, told = expectation_learner.Calibration.of, []
    monkeypatch.setattr(
        expectation_learner.Calibration, "of", lambda rows, *rest: told.extend(rows) or calibrated(rows, *rest)
    )
    assert taught(turning, dataclasses.replace(CONFIG, familiar_share=0.8, blocks=(1,)))
    known = np.isfinite(np.concatenate(told)).mean(axis=0)
    np.testing.assert_allclose(known, (0.8, 0.8, 0.8, 1.0), atol=0.01)


def test_where_no_sensors_are_compared_nothing_is_usual(expectation):
    assert expectation.usual_checks.shape == (1, 0)


def test_bytes_keep_everything(expectation):
    again = Expectation.from_bytes(expectation.to_bytes())
    seen = attempt(7)
    for one, other in zip(
        again.model.errors(seen.states[:-1], seen.actions, seen.states[1:]),
        expectation.model.errors(seen.states[:-1], seen.actions, seen.states[1:]),
        strict=True,
    ):
        np.testing.assert_array_equal(one, other)
    for one, other in zip(again.calibrations, expectation.calibrations, strict=True):
        np.testing.assert_array_equal(one.calm, other.calm)
        np.testing.assert_array_equal(one.between, other.between)
        np.testing.assert_array_equal(one.inflation, other.inflation)
        assert (one.block, one.signed) == (other.block, other.signed)
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


def test_there_is_none_before_there_is_enough_to_learn_from_and_to_calibrate(calm):
    learner = ExpectationLearner(2, 2, channels, 2, CONFIG)
    for number, each in enumerate(calm[:40]):
        learner.add(each)
        figures = learner.update(1)
        enough = number >= 13  # two thirds of 60 steps each
        assert bool(figures) == enough
        assert learner.snapshot() is None  # 100 blocks of every sixth attempt take 51 attempts
    assert learner.updates == 27


def test_there_is_no_version_before_so_many_updates(calm):
    learner = ExpectationLearner(2, 2, channels, 2, dataclasses.replace(CONFIG, least_updates=30), seed=3)
    for each in calm:
        learner.add(each)
    learner.update(29)
    assert learner.snapshot() is None
    learner.update(1)
    assert learner.snapshot() is not None


def test_a_version_stays_until_the_next_is_due(calm):
    learner = fed(calm, updates=1)
    first = learner.snapshot()
    versions = []
    for number in range(12):
        learner.add(attempt(2000 + number))
        versions.append(learner.snapshot().version)
    assert first.version == 75
    assert versions == [75] * 4 + [80] * 5 + [85] * 3


def test_it_learns_on_from_the_newest_steps_alone(calm):
    """Of a robot that is another one for good, it forgets what the old one did."""
    learner = fed(calm)
    weak = [attempt(number, gain=0.5) for number in range(3000, 3060)]
    for each in weak:
        learner.add(each)
        learner.update(40)
    model = learner.snapshot().model
    sizes = [
        np.abs(model.errors(each.states[:-1], each.actions, each.states[1:])[0]).mean() for each in (weak[0], calm[0])
    ]
    assert sizes[0] < 0.5 * sizes[1]


def test_updates_that_lead_nowhere_are_undone_and_told(calm, monkeypatch):
    learner = fed(calm[:30])
    weight = learner._learner.ensemble.weights[0]
    before = weight.detach().clone()
    monkeypatch.setattr(learner._learner, "_minibatch", lambda *_: weight.sum() * torch.nan)
    assert learner.update(3) == {}
    assert "stopped being finite" in learner.refused_reason
    assert torch.equal(weight, before)


def test_settings_that_cannot_work_are_refused():
    with pytest.raises(ValueError, match="held_back is 1"):
        ExpectationConfig(held_back=1)
