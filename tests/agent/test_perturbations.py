"""Skills that bring the world to nowhere in particular come in between tasks."""

import numpy as np
import pytest

from agent.opening import abilities_of
from agent.perturbations import Perturbations
from sim.kuka import kuka_spec
from sim.minitaur import minitaur_spec


class Fake:
    def __init__(self, problem=None):
        self.problem = problem

    def start_problem(self, observation):
        return self.problem


class TestChoice:
    def test_they_have_their_share_each_as_often(self):
        one, other = Fake(), Fake()
        chosen = Perturbations([one, other], 0.3, np.random.default_rng(0))
        drawn = [chosen.choose(None) for _ in range(2000)]
        assert drawn.count(one) == pytest.approx(300, abs=50)
        assert drawn.count(other) == pytest.approx(300, abs=50)

    def test_what_cannot_start_is_left_out(self):
        able = Fake()
        chosen = Perturbations([Fake("no"), able], 1.0, np.random.default_rng(0))
        assert {chosen.choose(None) for _ in range(20)} == {able}
        assert Perturbations([Fake("no")], 1.0, np.random.default_rng(0)).choose(None) is None

    def test_there_need_be_none(self):
        assert Perturbations([], 1.0, np.random.default_rng(0)).choose(None) is None
        assert Perturbations([Fake()], 0.0, np.random.default_rng(0)).choose(None) is None


def names(skills):
    return [skill.name for skill in skills]


class TestOfARun:
    def test_they_are_no_way_back_to_where_a_task_can_start(self):
        abilities = abilities_of((), kuka_spec())
        assert names(abilities.perturbations) == ["scatter_object", "scatter_door"]
        assert names(abilities.resets) == ["centre_object"]

    def test_only_what_a_task_of_the_run_handles_is_moved(self):
        assert names(abilities_of(("slide_open",), kuka_spec()).perturbations) == ["scatter_door"]
        assert names(abilities_of((), minitaur_spec()).perturbations) == []

    def test_a_run_without_resets_has_none(self):
        assert abilities_of((), kuka_spec(), with_resets=False).perturbations == ()
