"""The fall predictor: learned on a robot that tips over, calibrated, and quiet where it knows too little."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from sim.a1 import a1_spec
from skills.fall_predictor import FallPredictor, FallPredictorWeights
from skills.learners.falls import (
    NEVER,
    FallConfig,
    FallLearner,
    Reliability,
    Walk,
    calm_blocks,
    expected_calibration_error,
    lowest_threshold,
    platt,
    reliability_diagram,
)
from tests.skills.readings import LAYOUT, SPEC, reading

DT_S = 0.02


def tipping(rng: np.random.Generator, *, falls: bool) -> tuple[np.ndarray, Walk]:
    """Frames of four seconds of rocking; in the last second before a fall the roll grows up to a right angle."""
    t = np.arange(0.0, 4.0, DT_S)
    roll = 0.1 * np.sin(8.0 * t + rng.uniform(0.0, 6.0)) + rng.normal(0.0, 0.01, len(t))
    if falls:
        roll += 0.5 * math.pi * np.clip(t - 3.0, 0.0, 1.0) ** 2
    frames = np.stack([LAYOUT.pack(reading(roll=float(angle))) for angle in roll])
    return frames, Walk.of(SPEC, frames, t, float(t[-1] + DT_S) if falls else None)


def learned(walks: int, falls: int) -> FallLearner:
    rng = np.random.default_rng(0)
    learner = FallLearner(SPEC, FallConfig(hidden=(16, 16), ensemble=3, false_alarms_per_min=2.0))
    for index in range(walks):
        learner.add(tipping(rng, falls=index < falls)[1])
    learner.update(300)
    return learner


@pytest.fixture(scope="module")
def weights() -> FallPredictorWeights:
    return learned(120, 60).snapshot()


def test_it_sees_falls_coming_and_is_quiet_otherwise(weights):
    rng = np.random.default_rng(1)
    predictor = FallPredictor(SPEC, weights)
    leads = []
    for _ in range(20):
        frames, walk = tipping(rng, falls=True)
        alarms = predictor.probabilities(frames) > weights.threshold
        leads.append(walk.fell_s - walk.stamps_s[alarms.argmax()] if alarms.any() else 0.0)
        calm, _ = tipping(rng, falls=False)
        assert not (predictor.probabilities(calm) > weights.threshold).any()
    # The roll leaves the range of calm rocking 0.6 to 0.7 s before the fall.
    assert 0.3 < np.median(leads) < 1.0
    assert min(leads) > 0.2


def test_probabilities_are_calibrated(weights):
    rng = np.random.default_rng(2)
    predictor = FallPredictor(SPEC, weights)
    forecasts, outcomes = [], []
    for index in range(40):
        frames, walk = tipping(rng, falls=index % 2 == 0)
        falling, known = walk.labels(weights.horizon_s)
        forecasts.append(predictor.probabilities(frames)[known])
        outcomes.append(falling[known])
    # Learned from minibatches that are half falls, while less than a tenth of all moments are.
    diagram = reliability_diagram(np.concatenate(forecasts), np.concatenate(outcomes))
    assert expected_calibration_error(diagram) < 0.02
    assert np.mean(np.concatenate(forecasts)) == pytest.approx(np.mean(np.concatenate(outcomes)), abs=0.02)


def test_a_reading_is_judged_as_its_frame_is(weights):
    predictor = FallPredictor(SPEC, weights)
    level, tilted = reading(), reading(roll=1.0)
    assert predictor.probability(tilted) == pytest.approx(predictor.probabilities(LAYOUT.pack(tilted)[None])[0])
    assert predictor.alarm(tilted)
    assert not predictor.alarm(level)


def test_without_falls_enough_there_is_no_alarm():
    few = learned(20, 8).snapshot()
    assert few.threshold == NEVER
    assert not FallPredictor(SPEC, few).alarm(reading(roll=1.5))


def test_walks_that_somebody_disturbed_say_nothing_of_how_often_alarms_are_false():
    def threshold(disturbed: bool) -> float:
        rng = np.random.default_rng(0)
        learner = FallLearner(SPEC, FallConfig(hidden=(16, 16), ensemble=3, false_alarms_per_min=2.0))
        for index in range(120):
            learner.add(dataclasses.replace(tipping(rng, falls=index < 60)[1], disturbed=disturbed))
        learner.update(50)
        return learner.snapshot().threshold

    assert threshold(disturbed=False) < NEVER
    assert threshold(disturbed=True) == NEVER  # there is no time left to count false alarms in


def test_nothing_is_learned_before_the_first_fall():
    learner = learned(10, 0)
    assert learner.update(5) == {}
    assert learner.updates == 0


def test_the_same_attempts_and_seed_give_the_same_weights():
    assert learned(20, 10).snapshot().to_bytes() == learned(20, 10).snapshot().to_bytes()


def test_weights_survive_storing_and_bad_bytes_are_refused(weights):
    data = weights.to_bytes()
    assert FallPredictorWeights.from_bytes(data).to_bytes() == data
    with pytest.raises(ValueError, match="cannot be read"):
        FallPredictorWeights.from_bytes(data[:-10])
    with pytest.raises(ValueError, match="NaN"):
        FallPredictor(SPEC, dataclasses.replace(weights, slope=math.nan))
    with pytest.raises(ValueError, match=r"takes 30 numbers, those of a1 are 42"):
        FallPredictor(a1_spec(), weights)


def made(stamps, fell_s=None, leans=0.0) -> Walk:
    """A walk whose lean is given and whose postures say nothing."""
    leans_rad = np.broadcast_to(np.asarray(leans, float), stamps.shape)
    return Walk(
        postures=np.zeros((len(stamps), 1), np.float32),
        leans_rad=leans_rad,
        most_lean_rad=0.5,
        stamps_s=stamps,
        fell_s=fell_s,
    )


def test_what_lies_before_a_fall_and_what_nobody_knows():
    stamps = np.array([0.0, 1.0, 2.0, 2.5, 3.0])
    falling, known = made(stamps, 2.9).labels(0.5)
    assert falling[known].tolist() == [False, False, False, True]
    assert known.tolist() == [True, True, True, True, False]
    # Where an attempt ended otherwise, its last moments may have been those before a fall.
    falling, known = made(stamps).labels(0.5)
    assert not falling.any()
    assert known.tolist() == [True, True, True, True, False]


def test_an_alarm_is_false_unless_the_robot_falls_or_leans_too_far_around_it():
    stamps = np.arange(0.0, 10.0, 1.0)
    assert made(stamps).good(1.5).all()
    assert np.flatnonzero(~made(stamps, fell_s=9.5).good(1.5)).tolist() == [8, 9]
    leans = np.where(stamps == 3.0, 0.6, 0.4)
    assert np.flatnonzero(~made(stamps, leans=leans).good(1.5)).tolist() == [2, 3, 4]
    assert np.flatnonzero(~made(stamps, fell_s=9.5, leans=leans).good(1.5)).tolist() == [2, 3, 4, 8, 9]


def test_the_threshold_allows_as_many_false_alarms_as_it_is_told():
    config = FallConfig(false_alarms_per_min=1.0, false_alarm_s=1.5)
    rng = np.random.default_rng(3)
    stamps = np.arange(0.0, 600.0, 0.1)
    score = rng.random(len(stamps))
    threshold = lowest_threshold([(score, made(stamps))], config)
    false_alarms = sum(bool((score[block] > threshold).any()) for block in calm_blocks(made(stamps), 1.5))
    # Stretches between the first and the last reading of blocks are a fifteenth shorter than ten minutes.
    assert 7 <= false_alarms <= 9
    # What is followed by a fall is no false alarm, however high.
    assert lowest_threshold([(np.where(stamps > 598.5, 5.0, 0.5), made(stamps, fell_s=600.0))], config) == 0.5


def test_too_little_time_to_tell_how_rare_false_alarms_are_gives_no_threshold():
    config = FallConfig(false_alarms_per_min=1.0)
    half_a_minute = np.arange(0.0, 30.0, 0.1)
    assert lowest_threshold([(0.0 * half_a_minute, made(half_a_minute))], config) == math.inf
    assert lowest_threshold([(0.0 * half_a_minute, made(half_a_minute))] * 3, config) == 0.0
    # More of them are allowed than there is time for.
    often = FallConfig(false_alarms_per_min=100.0)
    assert lowest_threshold([(0.0 * half_a_minute, made(half_a_minute))], often) == -math.inf
    assert lowest_threshold([], config) == math.inf


def test_platt_scaling_undoes_a_known_distortion():
    rng = np.random.default_rng(4)
    true = rng.normal(0.0, 2.0, 20_000)
    labels = rng.random(len(true)) < 1.0 / (1.0 + np.exp(-true))
    slope, offset = platt(2.0 * true + 3.0, labels)
    assert slope == pytest.approx(0.5, abs=0.03)
    assert offset == pytest.approx(-1.5, abs=0.1)


def test_expected_calibration_error_by_hand():
    probability, right = np.array([0.05, 0.05, 0.95, 0.95]), np.array([False, False, True, True])
    assert expected_calibration_error(reliability_diagram(probability, right)) == pytest.approx(0.05)
    assert expected_calibration_error(reliability_diagram(probability, ~right)) == pytest.approx(0.95)
    mixed = reliability_diagram(np.array([0.2, 0.2, 0.2, 0.2, 1.0]), np.array([True, False, False, False, True]))
    assert mixed == [Reliability(pytest.approx(0.2), 0.25, 4), Reliability(1.0, 1.0, 1)]
    assert expected_calibration_error(mixed) == pytest.approx(0.8 * 0.05)
