"""Walks that are planned: plans are judged as walks are, and what is planned from is what was learned from."""

import numpy as np
import pytest
import torch

from benchmarks import _planned_walk
from benchmarks._planned_walk import MEMBERS, PlannedWalk, WalkModel, cost_of, steps_of
from sim.minitaur import minitaur_spec
from sim.robot import FrameLayout
from skills.experience import AttemptArrays, transitions
from skills.walk import WALKING_SKILLS
from tests.skills.readings import reading

SPEC = minitaur_spec()
LAYOUT = FrameLayout.of(SPEC)
STEPS = 40


def wandering(seed=0):
    """Readings of a robot that goes somewhere else with each, and lies on its side in some."""
    rng = np.random.default_rng(seed)
    x, y, yaw = (np.cumsum(rng.normal(0.0, 0.03, STEPS + 1)) for _ in range(3))
    roll = rng.uniform(-1.2, 1.2, STEPS + 1)
    return [reading(x[i], y[i], yaw[i], stamp_s=0.04 * i, roll=roll[i]) for i in range(STEPS + 1)]


def attempt(readings, rng):
    actions = rng.uniform(-1.0, 1.0, (STEPS, 12)).astype(np.float32)
    return AttemptArrays(
        family="walk",
        frames=np.stack([LAYOUT.pack(each) for each in readings]),
        stamps_s=np.array([each.stamp_s for each in readings]),
        actions=actions,
        proposed=actions,
        resting=np.zeros(12, np.float32),
        phase_rad=rng.uniform(-3.0, 3.0, STEPS + 1).astype(np.float32),
    )


@pytest.mark.parametrize("skill", WALKING_SKILLS, ids=lambda skill: skill.name)
def test_a_plan_costs_what_a_walk_would_not_earn(skill):
    arrays = attempt(wandering(), np.random.default_rng(1))
    steps = steps_of(SPEC, 0, arrays)
    states, actions = (torch.from_numpy(each)[:, None, None] for each in (steps.states, steps.actions))
    costs = cost_of(skill)(states[:-1], actions, states[1:])[:, 0, 0].numpy()
    rewards = skill.reward(transitions(LAYOUT, arrays))[1:]
    assert skill.terminated(transitions(LAYOUT, arrays)).any()
    # The first action of a plan changes nothing that the planner knows of.
    np.testing.assert_allclose(costs[1:], skill.weights.alive - rewards[1:], atol=1e-4)


def test_what_is_planned_from_is_what_was_learned_from(monkeypatch):
    readings, rng = wandering(), np.random.default_rng(2)
    arrays = attempt(readings, rng)
    learned, seen = steps_of(SPEC, 0, arrays), []

    class Planned:
        def __init__(self, *args):
            self.actions = np.zeros((1, 12), np.float32)

        def plan(self, model, cost, state):
            seen.append(state)
            return self

    monkeypatch.setattr(_planned_walk, "Planner", Planned)
    told = []
    decide = PlannedWalk(WALKING_SKILLS[0], SPEC, lambda states, actions: told.append((states, actions)), 0)
    for number, now in enumerate(readings):
        decide(now, float(arrays.phase_rad[number]), arrays.last_actions[number])
    np.testing.assert_allclose(np.array(seen[1:]), learned.states, atol=1e-6)
    states, actions = told[-1]
    np.testing.assert_allclose(np.array(states), learned.states[-len(states) :], atol=1e-6)
    np.testing.assert_array_equal(np.array(actions), learned.actions[-len(actions) :])
    assert len(states) == len(actions) + 1


def test_steps_that_the_tracker_did_not_see_teach_nothing():
    readings = wandering()
    readings[7] = reading(stamp_s=readings[7].stamp_s, valid=False)
    steps = steps_of(SPEC, 0, attempt(readings, np.random.default_rng(3)))
    # Speeds of the states at 7 and 8 are unknown, and rows begin at the second frame.
    assert np.flatnonzero(~steps.valid).tolist() == [5, 6, 7]


def test_what_the_filter_makes_of_a_decision_is_what_was_planned(monkeypatch):
    class Planned:
        def __init__(self, *args):
            self.actions = np.full((1, 12), 0.3, np.float32)

        def plan(self, model, cost, state):
            return self

    monkeypatch.setattr(_planned_walk, "Planner", Planned)
    skill, last = WALKING_SKILLS[0], np.full(12, -0.2, np.float32)
    proposed = PlannedWalk(skill, SPEC, lambda states, actions: None, 0)(reading(), 0.0, last)
    share = skill.family.smoothing
    np.testing.assert_allclose(share * proposed + (1.0 - share) * last, 0.3, atol=1e-6)


def test_models_that_have_learned_adapt_to_the_last_steps_and_plan():
    rng = np.random.default_rng(5)
    attempts = [steps_of(SPEC, number, attempt(wandering(number), rng)) for number in range(4)]
    model = WalkModel(attempts, 3, seed=0)
    states, actions = list(attempts[0].states), list(attempts[0].actions)
    few, many = model.after(states[:5], actions[:4]), model.after(states, actions)
    here = torch.from_numpy(states[-1]).expand(MEMBERS, 1, -1)
    foretold = [each.next_states(here, torch.from_numpy(actions[-1])[None]) for each in (few, many)]
    assert foretold[0].shape == (MEMBERS, 1, attempts[0].states.shape[1])
    assert not torch.equal(*foretold)  # adapted
    assert torch.equal(foretold[0], model.after([], []).next_states(here, torch.from_numpy(actions[-1])[None]))
    decide = PlannedWalk(WALKING_SKILLS[0], SPEC, model.after, 0)
    proposed = decide(reading(), 0.0, np.zeros(12, np.float32))
    assert proposed.shape == (12,)
    assert np.isfinite(proposed).all()
