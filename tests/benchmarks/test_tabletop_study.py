"""The tabletop study: what a step is to every skill, what each variant is given, and what a short run counts."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import tabletop
from benchmarks.tabletop import (
    COST_PER_STEP,
    LEFT_RIGHT,
    VARIANTS,
    Practice,
    evaluate,
    features,
    remember,
    run,
    steps_to,
)
from persistence.replay import ReplayBuffer
from sim.tabletop import HOME, TARGETS, Tabletop, demonstrated_action, demonstration, reached


@pytest.fixture(autouse=True)
def little(monkeypatch):
    monkeypatch.setattr(tabletop, "UPDATES_PER_STEP", 0.1)
    monkeypatch.setattr(tabletop, "PRETRAINING_UPDATES", 5)
    monkeypatch.setattr(tabletop, "RANDOM_STEPS", 100)
    monkeypatch.setattr(tabletop, "EVALUATE_EVERY", 200)


class Demonstrator:
    """Acts like the demonstrator, from what the policy sees."""

    def act(self, seen, command, prior, noise=None):
        goal = TARGETS[np.abs(TARGETS[:, 2:] / 2.5 - command).sum(1).argmin()]
        return demonstrated_action(np.concatenate((seen[:4], [seen[4]] * 2, goal, [-1, -1]))).astype(np.float32)


class Still:
    def act(self, seen, command, prior, noise=None):
        return np.array([0, 0, -1], np.float32)


def practice_of(variant):
    return Practice.of(VARIANTS[variant], 0, 400)


def everything_in(memory):
    """Every step at least once, all but surely."""
    return memory.sample(np.random.default_rng(0), 20 * len(memory))


def test_each_step_has_the_reward_and_the_end_of_every_skill():
    memory = ReplayBuffer(500, 7, 3, 5)
    for at, target in ((HOME, 2), (2, HOME)):
        remember(memory, *demonstration(at, target, 0.3, np.random.default_rng(0)))
    drawn = everything_in(memory)
    there = reached(drawn.next_obs)
    assert there.any(0).tolist() == [False, False, True, False, True]
    assert np.array_equal(drawn.terminated, there)
    assert drawn.reward == pytest.approx(np.where(there, 0.0, -COST_PER_STEP))


def test_the_policy_sees_where_the_mug_is_from_the_gripper():
    env = Tabletop()
    env.reset(options={"target": 0})
    seen, *_ = env.step(np.array([1, -1, -1], np.float32))
    assert features(seen) == pytest.approx([0.2, -0.2, 2.5, 0.0, -1.0, 2.3, 0.2])


def test_the_table_in_the_mirror_is_as_true():
    """A way to one goal, mirrored, is the way to another, step by step."""
    rng = np.random.default_rng(0)
    for target in range(len(TARGETS) - 1):
        observations, actions = demonstration(HOME, target, 0.3, rng)
        env = Tabletop()
        seen, _ = env.reset(options={"target": int(LEFT_RIGHT.skill_of[target])})
        for row, action in zip(observations[1:], LEFT_RIGHT.actions(actions), strict=True):
            seen, _, _, _, info = env.step(action)
            assert features(seen) == pytest.approx(LEFT_RIGHT.rows(features(row)), abs=1e-6)
        assert info["success"]


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_runs_and_counts(variant):
    figures = run(0, 400, VARIANTS[variant])
    assert [row[0] for row in figures["curve"]] == [200, 400]
    assert figures["steps"] == 400
    assert figures["interventions"] == 1
    assert figures["updates"] == 6 * 5 + 5 * VARIANTS[variant]["demonstrations"]
    assert figures["steps_to_80"] is None
    assert 0 <= figures["final_held"] <= figures["final"] <= 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_demonstrations_are_only_where_the_variant_has_them(variant):
    practice = practice_of(variant)
    if not VARIANTS[variant]["demonstrations"]:
        assert len(practice.shown) == 0
        return
    assert practice.shown.episodes == (20 if variant == "twenty" else 24)
    ends = everything_in(practice.shown).terminated.sum(0)
    assert (ends > 0).all()


def test_a_person_comes_as_often_as_the_protocol_says(monkeypatch):
    monkeypatch.setattr(tabletop, "PUT_BACK_EVERY", 200)
    monkeypatch.setattr(tabletop, "CONTINUING_PUT_BACK_EVERY", 100)
    assert run(0, 400, VARIANTS["nothing"])["interventions"] == 2
    assert run(0, 400, VARIANTS["continuing"])["interventions"] == 4


def test_the_robot_practises_a_goal_and_the_way_home_in_turn(monkeypatch):
    monkeypatch.setattr(tabletop, "PRACTICE_STEPS", 50)
    practised = np.array(run(0, 400, VARIANTS["nothing"])["practised"])
    assert practised[:, 0].sum() == 8
    assert practised[HOME, 0] == 4


def test_from_outside_come_goals_only(monkeypatch):
    monkeypatch.setattr(tabletop, "GOAL_CHANGE_EVERY", 50)
    practised = np.array(run(0, 400, VARIANTS["continuing"])["practised"])
    assert practised[:, 0].sum() == 8
    assert practised[HOME, 0] == 0


def test_what_is_evaluated_is_an_average(monkeypatch):
    monkeypatch.setattr(tabletop, "AVERAGING", 0.25)
    practice = practice_of("nothing")
    expected = practice.policy.weights.to_flat()
    for _ in range(4):
        practice.go_on()
        if practice.learner.updates:
            expected = 0.75 * expected + 0.25 * practice.policy.weights.to_flat()
    average = practice.averaged().weights
    assert practice.learner.updates == 10
    assert average.to_flat() == pytest.approx(expected, abs=1e-6)
    assert not np.array_equal(average.to_flat(), practice.policy.weights.to_flat())
    assert np.array_equal(average.obs_std, practice.policy.weights.obs_std)


def test_an_evaluation_begins_at_home_and_asks_for_every_goal():
    assert evaluate(Demonstrator()) == (1.0, 1.0)
    assert evaluate(Still()) == (0.0, 0.0)


def test_successful_steps_and_the_step_of_the_record(monkeypatch):
    """With a demonstrator for a policy, all but the ways to the goal is success."""
    monkeypatch.setattr(tabletop, "RANDOM_STEPS", 0)
    monkeypatch.setattr(tabletop, "PUBLISHED_RECORD", 100)
    monkeypatch.setattr(Practice, "_act", lambda self: demonstrated_action(self._seen).astype(np.float32))
    figures = run(0, 400, VARIANTS["continuing"])
    assert 320 <= figures["successful_steps"] <= 370
    assert figures["steps_to_record"] == 150
    assert figures["practised"][HOME] == [0, 0]
    assert np.sum(figures["practised"], 0).tolist() == [1, 1]


def test_steps_to_a_share_are_where_five_evaluations_have_that_mean():
    curve = [(step, share, 0.0, 0) for step, share in enumerate([1, 0, 0, 0, 1, 1, 0.5, 1, 1], 1)]
    assert steps_to(0.4, curve) == 5
    assert steps_to(0.5, curve) == 7
    assert steps_to(0.7, curve) == 8
    assert steps_to(0.95, curve) is None
