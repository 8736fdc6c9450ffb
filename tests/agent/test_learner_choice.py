"""Which learner the settings of a run make, on a memory of its own."""

import numpy as np
import pytest

from agent.config import Config
from agent.learner_job import learner_job
from agent.learning import Studies
from persistence.home import Home
from sim.minitaur import minitaur_spec
from skills.learners.ars import ArsLearner
from skills.learners.offsets import OffsetSearch
from skills.learners.population import MEMBER_STRIDE, PopulationLearner
from skills.learners.sac import SacLearner
from skills.walk import WALKING_SKILLS

NAMES = [skill.name for skill in WALKING_SKILLS]


def learner(folder, **settings):
    overrides = {f"learner.{name}": value for name, value in {"hidden": [8], "batch": 8, **settings}.items()}
    config = Config.load(overrides=overrides).for_robot(minitaur_spec())
    job = learner_job(config, Home(folder).prepare(), minitaur_spec(), WALKING_SKILLS, None)
    return Studies(job).learner


def test_soft_actor_critic_serves_all_skills_with_one_policy(tmp_path):
    made = learner(tmp_path)
    assert isinstance(made, SacLearner)
    assert [weights.skill for weights in made.candidates()] == [None]


def test_random_search_has_a_policy_for_each_skill_as_it_is_and_to_try(tmp_path):
    made = learner(tmp_path, algorithm="ars")
    assert isinstance(made, ArsLearner)
    offered = [weights.skill for weights in made.candidates()]
    assert list(dict.fromkeys(offered)) == NAMES
    assert all(offered.count(name) > 1 for name in NAMES)


def test_a_search_for_offsets_begins_on_top_of_what_the_gradients_have_left(tmp_path):
    arrays, meta = learner(tmp_path / "before").state()
    arrays["bank"] += 1.0
    made, after = learner(tmp_path, algorithm="offsets"), learner(tmp_path / "after")
    assert isinstance(made, OffsetSearch)
    for each in (made, after):
        each.load_state(arrays, meta)
    offered = [weights.skill for weights in made.candidates()]
    assert list(dict.fromkeys(offered)) == NAMES
    np.testing.assert_array_equal(made.candidates()[0].to_flat(), after.candidates()[0].to_flat())


class TestPopulation:
    def test_the_first_member_is_the_learner_of_a_run_without_one(self, tmp_path):
        alone = learner(tmp_path / "alone").candidates()[0]
        first = learner(tmp_path / "together", population=["lr=1e-3"]).candidates()[0]
        np.testing.assert_array_equal(first.to_flat(), alone.to_flat())

    def test_each_further_member_differs_by_its_settings_and_its_seed(self, tmp_path):
        made = learner(tmp_path, population=["hidden=[16]", "hidden=[8]"])
        assert isinstance(made, PopulationLearner)
        arrays, meta = made.state()
        assert len(meta["members"]) == 3
        sizes = [arrays[f"member{index}.bank"].size for index in range(3)]
        assert sizes[0] == sizes[2] < sizes[1]
        assert not np.array_equal(arrays["member0.bank"], arrays["member2.bank"])
        assert {weights.version for weights in made.candidates()} == {0}
        made.standings.attempted(0, 0, 0.5)
        assert [weights.version for weights in made.candidates()][1] == MEMBER_STRIDE

    @pytest.mark.parametrize("algorithm", ["ars", "offsets"])
    def test_searches_have_none(self, tmp_path, algorithm):
        with pytest.raises(ValueError, match='algorithm = "sac"'):
            learner(tmp_path, algorithm=algorithm, population=["lr=1e-3"])
