"""The benchmark of the success classifier: what counts as true, as false, and as an attempt that ended wrongly."""

import numpy as np
import pytest

from benchmarks import success
from benchmarks.success import Attempt
from sim.kuka import kuka_spec, make_kuka
from sim.robot import FrameLayout
from skills.registry import get
from tests.skills.arm_readings import reading

LAYOUT = FrameLayout.of(kuka_spec())


def bools(text):
    return np.array([letter == "1" for letter in text])


@pytest.mark.parametrize(
    ("truly", "told", "false"),
    [
        ("00000", "00000", False),
        ("00000", "11011", False),
        ("00000", "01110", True),
        ("00111", "00111", False),
        ("00111", "11100", False),  # true by the time the attempt would have ended
        ("00011", "11111", True),
        ("11100", "11111", False),
    ],
)
def test_a_goal_is_false_where_it_is_not_reached_when_the_attempt_would_end(truly, told, false):
    assert success._false_goal(bools(truly), bools(told)) is false


def test_rates_by_hand():
    fresh = [Attempt(np.zeros((1, 1), np.float32), bools(truly)) for truly in "11100"]
    figures = success._figures(fresh, [bools(told) for told in "11010"])
    assert figures["accuracy"] == pytest.approx(3 / 5)
    assert figures["false_positive_rate"] == pytest.approx(1 / 2)
    assert figures["false_negative_rate"] == pytest.approx(1 / 3)
    assert figures["false_goals"] == 0.0


def test_an_attempt_says_of_each_decision_what_was_seen_and_what_is_true():
    skill = get("slide_open")
    with make_kuka(0) as arm:
        trials = success._Trials(arm, skill, np.random.default_rng(0))
        made = trials._attempt("finished")
        assert made.reached[-1] == (abs(arm.truth().door_m - success.OPEN_M) < success.END_M)
        scattered = trials._attempt("scattered")
    assert made.frames.shape == (len(made.reached), LAYOUT.width)
    assert not made.reached[0]
    assert made.reached[-1]
    assert success._rule(skill, made.frames)[[0, -1]].tolist() == [False, True]
    assert len(scattered.frames) == 1


def test_keys_are_numbers_of_examples(monkeypatch):
    rng = np.random.default_rng(0)

    def attempts(self, n):
        doors = rng.uniform(0.0, 0.16, n)
        frames = [LAYOUT.pack(reading(door=door))[None] for door in doors]
        return [Attempt(frame, np.array([door > 0.1])) for frame, door in zip(frames, doors, strict=True)]

    monkeypatch.setattr(success._Trials, "attempts", attempts)
    monkeypatch.setattr(success, "DRAWS", 1)
    monkeypatch.setattr(success, "SPARE", 4)
    monkeypatch.setattr(success, "EXAMPLES", (20, 30))
    figures = success._task("slide_open", seed=0, n=25)
    assert set(figures) == {"fresh", "fresh_successes", "rule", "20"}
    assert figures["20"]["accuracy"] > 0.5
    assert success._marked(attempts(None, 4), 10, rng) is None
