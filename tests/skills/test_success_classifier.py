"""The success classifier: the goal is where a person said, rarely where they said it is not."""

import dataclasses

import numpy as np
import pytest
from arm_readings import reading

from sim.kuka import kuka_spec
from sim.minitaur import minitaur_spec
from sim.robot import FrameLayout
from skills.gait import GAIT
from skills.hand_control import HAND_FAMILY
from skills.learners.success import SuccessConfig, learn_success, lowest_threshold
from skills.success_classifier import SuccessClassifier, SuccessWeights
from skills.undo_critic import timeless_features

SPEC = kuka_spec()
LAYOUT = FrameLayout.of(SPEC)
OPEN_M = 0.12
"""From here on the door is open, as the person of these tests sees it."""
CONFIG = SuccessConfig(hidden=(16, 16), ensemble=3, updates=300)


def attempt(*doors_m):
    """Feature rows of an attempt with the door at each place in turn."""
    frames = np.stack([LAYOUT.pack(reading(door=door)) for door in doors_m])
    return timeless_features(SPEC, HAND_FAMILY, frames)


def examples(n, seed=0):
    """Attempts that began with the door half open, by how they ended."""
    rng = np.random.default_rng(seed)
    open_m, shut_m = rng.uniform(OPEN_M + 0.01, 0.16, n), rng.uniform(0.0, OPEN_M - 0.01, n)
    return [attempt(0.06, end) for end in open_m], [attempt(*np.full(30, 0.06), end) for end in shut_m]


@pytest.fixture(scope="module")
def learned():
    return learn_success(*examples(40), CONFIG)


def test_the_goal_is_where_the_person_said(learned):
    classifier = SuccessClassifier(SPEC, HAND_FAMILY, learned.weights)
    assert classifier.reached(reading(door=0.155))
    assert not classifier.reached(reading(door=0.02))
    assert classifier.probability(reading(door=0.155)) > 0.8 > 0.2 > classifier.probability(reading(door=0.02))
    assert learned.held_out == 20
    assert learned.held_out_accuracy == pytest.approx(
        1.0 - (learned.held_out_false_positives + learned.held_out_false_negatives) / 20
    )
    assert learned.held_out_accuracy >= 0.9


def test_nothing_of_it_hangs_on_where_else_things_are(learned):
    classifier = SuccessClassifier(SPEC, HAND_FAMILY, learned.weights)
    frames = np.stack([LAYOUT.pack(reading(door=door)) for door in (0.02, 0.155)])
    one, other = classifier.probabilities(frames), classifier.probabilities(frames[::-1])
    np.testing.assert_allclose(one, other[::-1], rtol=1e-5)
    assert one[1] == pytest.approx(classifier.probability(reading(door=0.155)), rel=1e-5)


def test_long_before_its_end_a_failure_is_a_failure_too():
    # All that these attempts end in is alike; what tells them apart is where the failures came from.
    successes = [attempt(0.155)] * 8
    failures = [attempt(*np.full(20, 0.08), 0.02)] * 8
    weights = learn_success(successes, failures, CONFIG).weights
    assert weights.probabilities(attempt(0.08))[0] < 0.5
    # Just before the end it may have been nearly there: nothing is said of that.
    learned_from = 8 - 8 // CONFIG.held_back
    near = [attempt(*np.full(9, 0.08), 0.02)] * 8
    assert learn_success(successes, near, CONFIG).negatives == learned_from
    assert learn_success(successes, failures, CONFIG).negatives == learned_from * 9


def test_no_attempt_begins_where_its_goal_is_reached():
    # Successes and failures end alike but for the door; where the successes came from is no success.
    successes = [attempt(0.1, *np.full(20, 0.12), 0.155)] * 8
    failures = [attempt(0.02)] * 8
    start, end = learn_success(successes, failures, CONFIG).weights.probabilities(attempt(0.1, 0.155))
    assert start < 0.5 < end
    # Of one that ends where it began, the end is what counts.
    assert learn_success([attempt(0.155)] * 8, failures, CONFIG).negatives == 6


def test_the_threshold_rests_on_what_the_person_said():
    # Long before their end these failures were where success is, which nobody judged.
    successes, failures = [attempt(0.155)] * 20, [attempt(*np.full(20, 0.155), 0.02)] * 20
    learned = learn_success(successes, failures, dataclasses.replace(CONFIG, most_before_end=1))
    assert learned.held_out_false_negatives == learned.held_out_false_positives == 0


def test_one_success_among_many_failures_counts_as_much():
    good, bad = examples(60)
    weights = learn_success(good[:5], bad, CONFIG).weights
    assert weights.probabilities(attempt(0.155))[0] > weights.threshold


def test_probabilities_are_calibrated_where_people_disagree():
    # Of the same place a person says success three times in four: no certainty either way.
    good, bad = [attempt(0.1)] * 120, [attempt(0.1)] * 40 + [attempt(0.0)] * 80
    foretold = learn_success(good, bad, CONFIG).weights.probabilities(attempt(0.1, 0.0))
    assert 0.55 < foretold[0] < 0.9
    assert foretold[1] < 0.1


class TestThreshold:
    def test_no_more_than_the_rate_lies_above_it(self):
        negatives = np.arange(200) / 200
        assert lowest_threshold(negatives, 0.01) == pytest.approx(197 / 200)
        assert (negatives > lowest_threshold(negatives, 0.01)).sum() == 2
        assert (negatives > lowest_threshold(negatives, 0.05)).sum() == 10

    def test_few_negatives_allow_none(self):
        assert lowest_threshold(np.array([0.2, 0.9, 0.4]), 0.01) == 0.9

    def test_a_doubtful_success_is_none_where_that_is_wanted(self):
        good, bad = [attempt(0.1)] * 40, [attempt(0.1)] * 40
        assert learn_success(good, bad, CONFIG).held_out_false_positives == 0
        lenient = learn_success(good, bad, dataclasses.replace(CONFIG, false_positive_rate=0.9, least_threshold=0.0))
        assert lenient.weights.threshold <= learn_success(good, bad, CONFIG).weights.threshold

    def test_what_is_less_probable_than_not_is_never_success(self, learned):
        assert learned.weights.threshold >= 0.5


class TestTooLittle:
    @pytest.mark.parametrize(("good", "bad", "named"), [(4, 20, "4 attempts marked as success"), (20, 4, "as failure")])
    def test_says_how_many_are_needed(self, good, bad, named):
        successes, failures = examples(20)
        with pytest.raises(ValueError, match=f"{named}.*at least 5 of success and 5 of failure"):
            learn_success(successes[:good], failures[:bad], CONFIG)

    def test_broken_readings_are_no_classifier(self):
        good, bad = examples(8)
        with pytest.raises(ValueError, match="finite"):
            learn_success(good, [np.full_like(bad[0], np.nan), *bad], CONFIG)

    @pytest.mark.parametrize("wrong", [{"false_positive_rate": 1.0}, {"held_back": 1}, {"held_back": 6}])
    def test_settings_that_cannot_work_are_refused(self, wrong):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SuccessConfig(**wrong)


def test_the_same_examples_teach_the_same():
    assert (
        learn_success(*examples(8), CONFIG).weights.to_bytes() == learn_success(*examples(8), CONFIG).weights.to_bytes()
    )


class TestBytes:
    def test_keep_everything(self, learned):
        again = SuccessWeights.from_bytes(learned.weights.to_bytes())
        assert (again.threshold, again.caution) == (learned.weights.threshold, learned.weights.caution)
        seen = attempt(0.0, 0.1, 0.15)
        np.testing.assert_array_equal(again.probabilities(seen), learned.weights.probabilities(seen))

    @pytest.mark.parametrize("length", [0, 7, 100, -1])
    def test_damaged_ones_are_refused(self, learned, length):
        with pytest.raises(ValueError, match="success classifier"):
            SuccessWeights.from_bytes(learned.weights.to_bytes()[:length])

    @pytest.mark.parametrize(
        "change",
        [
            lambda w: {"mean": w.mean[:-1]},
            lambda w: {"layers": w.layers[1:]},
            lambda w: {"layers": w.layers[:-1]},
            lambda w: {"layers": ((w.layers[0][0], w.layers[0][1][:, :, :-1]), *w.layers[1:])},
        ],
    )
    def test_shapes_that_do_not_fit_together_are_refused(self, learned, change):
        with pytest.raises(ValueError, match=r"features|answers|layer"):
            dataclasses.replace(learned.weights, **change(learned.weights))

    @pytest.mark.parametrize("field", ["mean", "threshold", "layers"])
    def test_nan_is_refused(self, learned, field):
        spoiled = {
            "mean": np.full_like(learned.weights.mean, np.nan),
            "threshold": float("nan"),
            "layers": tuple((weight * np.float32("nan"), bias) for weight, bias in learned.weights.layers),
        }
        weights = dataclasses.replace(learned.weights, **{field: spoiled[field]})
        with pytest.raises(ValueError, match="NaN"):
            SuccessClassifier(SPEC, HAND_FAMILY, SuccessWeights.from_bytes(weights.to_bytes()))

    def test_those_of_another_robot_are_refused(self, learned):
        with pytest.raises(ValueError, match="features"):
            SuccessClassifier(minitaur_spec(), GAIT, learned.weights)
