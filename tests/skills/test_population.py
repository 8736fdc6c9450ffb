"""A population: who acts, who is credited, and that members neither disturb each other nor get lost at a restart."""

import copy
import json
import math
from dataclasses import replace

import numpy as np
import pytest

from skills.learners.learner import AttemptSummary
from skills.learners.population import MEMBER_STRIDE, PopulationLearner, Standings, member_of
from skills.policy import PolicyWeights

SKILLS = ("walk", "turn")


class Member:
    """A learner that counts."""

    def __init__(self, number: int = 0, refuses: bool = False) -> None:
        self.updates = 0
        self.told: list[AttemptSummary] = []
        self._number = float(number)
        self._refuses = refuses

    @property
    def refused_reason(self) -> str:
        return "NaN" if self._refuses else ""

    def update(self, n: int, *, offline: bool = False) -> dict[str, float]:
        if not self._refuses:
            self.updates += n
        return {"refused": float(self._refuses), "loss": self._number}

    def attempted(self, summary: AttemptSummary) -> None:
        self.told.append(summary)

    def candidates(self):
        return (
            PolicyWeights(
                version=self.updates,
                layers=((np.zeros((1, 2), np.float32), np.full(2, self._number, np.float32)),),
                obs_mean=np.zeros(1, np.float32),
                obs_std=np.ones(1, np.float32),
            ),
        )

    def state(self):
        return {"number": np.array([self._number])}, {"updates": self.updates}

    def load_state(self, arrays, meta):
        if not np.isfinite(arrays["number"]).all():
            raise ValueError("learner state holds NaN")
        self._number, self.updates = float(arrays["number"][0]), meta["updates"]


def population(size=3, **members):
    made = [Member(number, **members) for number in range(size)]
    return PopulationLearner(made, SKILLS), made


def attempt(version, reward, skill=0):
    return AttemptSummary(
        skill=skill, policy_version=version, steps=100, mean_reward=reward, mean_costs=np.zeros(0), fell=False
    )


def acting(learner, name="walk"):
    """Members of a skill's candidates, in order."""
    return [member_of(weights.version) for weights in learner.candidates() if weights.skill == name]


def test_an_evaluation_tells_the_member_but_not_the_standings():
    learner, made = population(2)
    learner.attempted(replace(attempt(MEMBER_STRIDE, 5.0), evaluation=True))
    assert not learner.standings.count.any()
    learner.attempted(attempt(MEMBER_STRIDE, 5.0))
    assert learner.standings.count.sum() == 1.0
    assert len(made[1].told) == 2


class TestStandings:
    def test_means_forget(self):
        standings = Standings(2, 1)
        for reward in (1.0, 0.0):
            standings.attempted(0, 0, reward)
        f = Standings.FORGETTING
        assert standings.mean(0, 0) == pytest.approx(f / (1 + f))
        assert standings.mean(1, 0) == -math.inf

    def test_the_bound_is_that_of_the_paper(self):
        standings, f = Standings(2, 1), Standings.FORGETTING
        for member, reward in ((0, 1.0), (1, 3.0), (0, 2.0)):
            standings.attempted(member, 0, reward)
        count = np.array([f**2 + 1, f])
        weights, rewards = np.array([f**2, f, 1]), np.array([1.0, 3.0, 2.0])
        n = weights.sum()
        spread = math.sqrt(weights @ rewards**2 / n - (weights @ rewards / n) ** 2)
        bound = [(f**2 + 2) / count[0], 3.0] + Standings.BONUS * spread * np.sqrt(math.log(n) / count)
        assert standings.next_to_act(0) == int(np.argmax(bound)) == 1
        np.testing.assert_allclose(standings.count[:, 0], count)

    def test_each_acts_once_before_any_acts_twice(self):
        standings, order = Standings(4, 1), []
        for _ in range(4):
            order.append(standings.next_to_act(0))
            standings.attempted(order[-1], 0, 1.0 - order[-1])
        assert order == [0, 1, 2, 3]

    @pytest.mark.parametrize("noise", [0.05, 0.3])
    def test_the_best_acts_most_and_every_other_now_and_then(self, noise):
        rng, means = np.random.default_rng(2), np.array([0.5, 0.9, 0.6])
        standings, acted = Standings(3, 1), []
        for _ in range(300):
            member = standings.next_to_act(0)
            acted.append(member)
            standings.attempted(member, 0, means[member] + noise * rng.standard_normal())
        share = np.bincount(acted, minlength=3) / len(acted)
        assert share[1] > 0.55
        assert min(np.bincount(acted[150:], minlength=3)) >= 2

    def test_a_member_that_becomes_the_best_is_found(self):
        rng, standings, acted = np.random.default_rng(3), Standings(3, 1), []
        for number in range(200):
            member = standings.next_to_act(0)
            acted.append(member)
            mean = (0.8, 0.4, 0.2 if number < 60 else 1.2)[member]
            standings.attempted(member, 0, mean + 0.1 * rng.standard_normal())
        assert standings.best(0) == 2
        assert acted[100:].count(2) > 70

    def test_the_scale_of_rewards_does_not_matter(self):
        orders = []
        for scale in (1.0, 1000.0):
            rng, standings, acted = np.random.default_rng(4), Standings(3, 1), []
            for _ in range(60):
                acted.append(standings.next_to_act(0))
                standings.attempted(acted[-1], 0, scale * (acted[-1] + rng.standard_normal()))
            orders.append(acted)
        assert orders[0] == orders[1]


class TestWhoActs:
    def test_first_comes_the_best_then_who_is_to_be_tried(self):
        learner, _ = population()
        assert acting(learner) == [0]
        learner.attempted(attempt(0, 1.0))
        assert acting(learner) == [0, 1]
        learner.attempted(attempt(MEMBER_STRIDE, 2.0))
        assert acting(learner) == [1, 2]

    def test_each_skill_has_its_own_best(self):
        learner, _ = population(2)
        for skill, rewards in ((0, (1.0, 2.0)), (1, (2.0, 1.0))):
            for member, reward in enumerate(rewards):
                learner.attempted(attempt(member * MEMBER_STRIDE, reward, skill))
        assert acting(learner, "walk")[0] == 1
        assert acting(learner, "turn")[0] == 0

    def test_versions_say_whose_a_policy_is_and_the_first_member_keeps_its_own(self):
        learner, _ = population(2)
        learner.update(7)
        learner.attempted(attempt(7, 1.0))
        first, second = (weights for weights in learner.candidates() if weights.skill == "walk")
        assert (first.version, second.version) == (7, MEMBER_STRIDE + 7)
        assert second.layers[0][1][0] == 1.0


class TestLearning:
    def test_every_member_takes_every_update(self):
        learner, members = population()
        figures = learner.update(5)
        assert [member.updates for member in members] == [5, 5, 5]
        assert learner.updates == 5
        assert [figures[f"member{index}.loss"] for index in range(3)] == [0.0, 1.0, 2.0]

    def test_a_refused_update_of_one_member_shows(self):
        learner = PopulationLearner([Member(), Member(refuses=True)], SKILLS)
        figures = learner.update(5)
        assert (figures["refused"], figures["updates"], learner.updates) == (1.0, 5.0, 5)
        assert learner.refused_reason == "member 1: NaN"
        assert population()[0].refused_reason == ""

    def test_a_member_hears_of_its_own_attempts_only_and_under_its_own_version(self):
        learner, members = population()
        learner.attempted(attempt(MEMBER_STRIDE + 40, 0.5, skill=1))
        assert [len(member.told) for member in members] == [0, 1, 0]
        assert (members[1].told[0].policy_version, members[1].told[0].skill) == (40, 1)

    @pytest.mark.parametrize("summary", [attempt(None, 1.0), attempt(9 * MEMBER_STRIDE, 1.0), attempt(0, math.nan)])
    def test_an_attempt_of_nobody_changes_nothing(self, summary):
        learner, members = population()
        learner.attempted(summary)
        assert not learner.standings.count.any()
        assert not any(member.told for member in members)


class TestResuming:
    def test_a_restored_population_goes_on_as_if_it_had_not_stopped(self):
        whole, _ = population()
        rng = np.random.default_rng(0)
        whole.update(3)

        def go_on(learner, rewards):
            chosen = []
            for reward in rewards:
                version = [weights.version for weights in learner.candidates() if weights.skill == "walk"][-1]
                learner.attempted(attempt(version, reward))
                chosen.append(version)
            return chosen

        go_on(whole, rng.standard_normal(7))
        arrays, meta = whole.state()
        resumed = PopulationLearner([Member(9), Member(9), Member(9)], SKILLS)
        resumed.load_state(copy.deepcopy(arrays), json.loads(json.dumps(meta)))
        rewards = rng.standard_normal(20)
        assert go_on(resumed, rewards) == go_on(whole, rewards)
        assert resumed.updates == 3
        assert [w.to_bytes() for w in resumed.candidates()] == [w.to_bytes() for w in whole.candidates()]

    def test_a_state_that_does_not_fit_one_member_changes_none(self):
        learner, members = population()
        arrays, meta = PopulationLearner([Member(7), Member(8), Member(9)], SKILLS).state()
        arrays["member1.number"] = np.array([np.nan])
        with pytest.raises(ValueError, match="member 1"):
            learner.load_state(arrays, meta)
        assert [member.state()[0]["number"][0] for member in members] == [0.0, 1.0, 2.0]

    @pytest.mark.parametrize("size", [2, 4])
    def test_another_number_of_members_is_refused(self, size):
        with pytest.raises(ValueError, match=f"{size} members; this population has 3"):
            population(3)[0].load_state(*population(size)[0].state())

    def test_another_kind_or_damaged_standings_are_refused(self):
        learner, _ = population()
        arrays, meta = learner.state()
        with pytest.raises(ValueError, match="kind 'sac'"):
            learner.load_state(arrays, meta | {"kind": "sac"})
        with pytest.raises(ValueError, match="total"):
            learner.load_state(arrays | {"total": np.full((3, 2), np.nan)}, meta)


def test_a_population_of_none_is_refused():
    with pytest.raises(ValueError, match="at least one member"):
        PopulationLearner([], SKILLS)
