"""A toy learner: skills that build on each other are all learned sooner by a curriculum than by taking turns.

What a skill can is what it was practised, and practice teaches it the more the better that is done which it builds on.
"""

import numpy as np
import pytest

from agent.curriculum import Curriculum, History, Tried

GOAL = 0.8
RATE = 0.03
"""By so much of what is missing does one attempt make a skill better whose foundation is perfect."""
FORGETS = 0.0005
"""Share of what a skill can that it loses while something else is practised."""
CHAIN = {"near": (), "far": ("near",), "farther": ("far",)}
LONG = {"a": (), "b": ("a",), "c": ("b",), "d": ("c",), "e": ("d",)}
STEPS = {"walk": (), "turn": (), "follow": ("walk", "turn"), "home": ("follow",), "up": ("walk",)}


class Toy:
    """Success of each skill is as probable as it was practised."""

    def __init__(self, needs, seed):
        self.needs, self.rng = needs, np.random.default_rng(seed)
        self.able = dict.fromkeys(needs, 0.05)

    def attempt(self, name):
        if name.startswith("never"):  # nothing makes it better: it succeeds by chance
            return Tried(skill=name, success=bool(self.rng.random() < 0.05), mean_reward=self.rng.normal())
        success = bool(self.rng.random() < self.able[name])
        foundation = np.prod([self.able[needed] for needed in self.needs[name]]) ** 2
        for other in self.able:
            self.able[other] *= 1.0 - FORGETS * (other != name)
        self.able[name] += RATE * foundation * (1.0 - self.able[name])
        return Tried(skill=name, success=success, mean_reward=self.able[name])


def attempts_to_learn_all(needs, mode, seed, most=3000):
    """Attempts until each skill that can be learned succeeds with a probability of `GOAL`."""
    toy, curriculum, rng = Toy(needs, seed), Curriculum(needs, mode), np.random.default_rng((seed, 1))
    for count in range(most):
        if min(able for name, able in toy.able.items() if not name.startswith("never")) >= GOAL:
            return count
        shares = curriculum.shares()
        curriculum.attempted(toy.attempt(str(rng.choice(list(shares), p=list(shares.values())))))
    return most


@pytest.mark.parametrize(
    ("needs", "share"),
    [
        pytest.param(CHAIN, 0.7, id="chain"),
        pytest.param(STEPS, 0.7, id="steps"),
        pytest.param(LONG, 0.55, id="long"),
    ],
)
def test_a_curriculum_takes_fewer_attempts_than_taking_turns(needs, share):
    took = {
        mode: np.array([attempts_to_learn_all(needs, mode, seed) for seed in range(10)])
        for mode in ("progress", "uniform")
    }
    ratios = took["progress"] / took["uniform"]
    assert ratios.max() < 1.0  # with every seed
    assert np.median(ratios) < share


def test_what_cannot_be_learned_is_hardly_practised(monkeypatch):
    """That is what progress and uncertainty are for: prerequisites alone hardly shorten this."""
    needs = {"a": (), "b": (), "c": (), "d": ("a",), "never 1": (), "never 2": ()}
    took = {mode: [attempts_to_learn_all(needs, mode, seed) for seed in range(10)] for mode in ("progress", "uniform")}
    monkeypatch.setattr(History, "progress", 0.0)
    monkeypatch.setattr(History, "uncertainty", 0.0)
    took["locks alone"] = [attempts_to_learn_all(needs, "progress", seed) for seed in range(10)]
    median = {mode: np.median(attempts) for mode, attempts in took.items()}
    assert median["progress"] < 0.85 * median["uniform"]
    assert median["progress"] < 0.9 * median["locks alone"]


def test_where_nothing_builds_on_another_it_costs_nothing():
    apart = dict.fromkeys(CHAIN, ())
    took = [[attempts_to_learn_all(apart, mode, seed) for seed in range(5)] for mode in ("progress", "uniform")]
    assert took[0] == took[1]
