"""The study of adaptation: what counts as being back, and that a walk is what it says."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from agent.config import Config
from agent.policies import find_policy, zoo_settings
from benchmarks import adaptation

HZ = 25.0
BEFORE, AFTER = round(adaptation.BEFORE_S * HZ), round(adaptation.AFTER_S * HZ)


def walk(*parts):
    """Ten seconds that earn 2 a step once on the way, then pieces of seconds and reward."""
    rewards = [np.zeros(round(adaptation.FROM_S * HZ)), np.full(BEFORE - round(adaptation.FROM_S * HZ), 2.0)]
    rewards += [np.full(round(seconds * HZ), reward) for seconds, reward in parts]
    return adaptation.Course(np.concatenate(rewards), HZ)


def test_what_comes_before_the_robot_is_on_its_way_does_not_count():
    assert walk((30.0, 2.0)).before == 2.0


def test_a_walk_that_is_hardly_slower_is_back_at_once():
    one = walk((30.0, 1.9))
    assert one.share(30.0) == pytest.approx(0.95)
    assert one.back_s == 0.0
    assert not one.fell


def test_one_that_needs_seven_seconds_is_back_after_those():
    one = walk((7.0, 0.5), (23.0, 2.0))
    # 2 s of which 1.73 s are good earn nine tenths.
    assert one.back_s == pytest.approx(7.0 - (2.0 - 2.0 * (0.9 - 0.25) / 0.75), abs=0.05)
    assert one.share(1.0) == pytest.approx(0.25)
    assert one.share(30.0) == pytest.approx((7 * 0.25 + 23) / 30)


def test_after_a_fall_nothing_is_earned():
    one = walk((3.0, 2.0))
    assert one.fell
    assert one.share(30.0) == pytest.approx(0.1)
    assert walk((0.5, 1.0)).back_s is None


def test_a_policy_that_cannot_walk_has_no_share():
    one = adaptation.Course(np.zeros(5), HZ)
    assert (one.before, one.share(30.0), one.back_s, one.fell) == (0.0, 0.0, None, True)


def test_the_summary_is_of_held_out_drifts_and_half_a_motor():
    found = {
        name: {
            "before": [2.0, 2.0],
            "share": [0.5, 0.7],
            "first_s": [0.2, 0.4],
            "back_s": [None, 4.0],
            "fell": [True, False],
        }
        for name in adaptation.DRIFTS
    }
    found["battery_side"]["share"] = [1.0, 1.0]
    figures = adaptation.summary(found)
    assert figures["recovered_share"] == pytest.approx(0.6)
    assert figures["battery_side_share"] == 1.0
    assert figures["unadapted_share"] == pytest.approx(0.3)
    assert (figures["recovery_s_median"], figures["back_share"]) == (None, 0.5)
    found["half_motor"]["back_s"] = [3.0, 4.0]
    assert adaptation.summary(found)["recovery_s_median"] == 3.5
    assert figures["falls"] == len(adaptation.DRIFTS)


def test_the_drift_comes_in_when_it_is_said_to(monkeypatch):
    """Of two walks with the same seed, the one under a drift is the same until then, and another one after it."""
    monkeypatch.setattr(adaptation, "BEFORE_S", 2.0)
    monkeypatch.setattr(adaptation, "AFTER_S", 2.0)
    config = Config.load(None, zoo_settings("a1", adaptation.WALK.family.name))
    weights = find_policy("zoo", "a1", adaptation.WALK, Path())
    weak, stiff = (
        adaptation.walk("a1", adaptation.by_policy(weights), config, drift, 7).rewards
        for drift in ("half_motor", "held_out_stiff")
    )
    assert len(weak) == len(stiff) == 4 * HZ
    same = int(np.argmax(weak != stiff))
    assert 2.0 * HZ - 2 <= same <= 2.0 * HZ + 2
    assert not math.isclose(weak[-10:].mean(), stiff[-10:].mean(), rel_tol=1e-3)


def test_a_policy_that_was_tuned_acts_from_the_drift_on(monkeypatch):
    monkeypatch.setattr(adaptation, "BEFORE_S", 2.0)
    monkeypatch.setattr(adaptation, "AFTER_S", 2.0)
    config = Config.load(None, zoo_settings("a1", adaptation.WALK.family.name))
    weights = find_policy("zoo", "a1", adaptation.WALK, Path())
    still = replace(weights, layers=tuple((0.0 * weight, 0.0 * bias) for weight, bias in weights.layers))
    as_it_was, tuned = (
        adaptation.walk("a1", adaptation.by_policy(weights, later), config, "held_out_stiff", 7).rewards
        for later in (None, still)
    )
    differs = int(np.argmax(as_it_was != tuned))
    assert 2.0 * HZ - 2 <= differs <= 2.0 * HZ + 2
    assert as_it_was[-10:].mean() > 1.5 * tuned[-10:].mean()


def test_each_drift_is_judged_by_the_policy_that_learned_on_under_it(monkeypatch, tmp_path):
    monkeypatch.setenv("PERDURE_BENCH_HOMES", str(tmp_path))
    learned, latest = [], {}

    def learn(home, robot, minutes, seed, settings, *, drifts):
        learned.append((home.name, minutes, dict(settings), drifts))
        latest[home] = settings["sim.drift"]

    def judge(robot, make, config, seeds, *, drifts):
        (drift,) = drifts
        assert make == ("zoo", None if drift in adaptation.LOW_BATTERY else drift)
        each = {"share": [0.5], "first_s": [0.5], "back_s": [1.0], "fell": [False]}
        return dict.fromkeys(drifts, each)

    monkeypatch.setattr(adaptation, "learn", learn)
    monkeypatch.setattr(adaptation, "find_policy", lambda which, robot, skill, home: latest.get(home, which))
    monkeypatch.setattr(adaptation, "by_policy", lambda weights, later: (weights, later))
    monkeypatch.setattr(adaptation, "judge", judge)
    figures = adaptation.cell(adaptation.STUDY.variants["a1-finetuned"], 3)
    assert list(figures["drifts"]) == list(adaptation.DRIFTS)
    assert len(learned) == len(adaptation.DRIFTS) - 2
    name, minutes, settings, drifts = learned[0]
    assert (name, minutes, drifts) == ("adaptation-a1-finetuned-half_motor-seed3", 5, False)
    assert settings == {"run.start": "zoo", "sim.drift": "half_motor"}
