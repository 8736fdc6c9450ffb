"""What the learner of a run is told."""

from dataclasses import fields

import pytest

from agent.config import Config
from agent.latches import Latches
from agent.learner_job import learner_job, learner_settings, stored_attempts
from agent.opening import open_run
from agent.settings import ConfigError
from meta.drift_monitor import Condition, Finding
from persistence.errors import HomeError
from persistence.home import Home
from persistence.records import AttemptEnd, AttemptStart, DriftEvent, Outcome
from persistence.store import Store
from sim.a1 import a1_spec
from sim.minitaur import minitaur_spec
from skills.learners.config import SacConfig
from skills.registry import get


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path).prepare()


class TestStoredAttempts:
    def test_only_the_newest_that_a_replay_memory_holds_are_read(self, home):
        with Store.open(home.db) as store:
            run_id = open_run(store, Config(), store.recover(), Latches(), 0.0)
            for number, steps in enumerate((50, 30, 20, 40), 1):
                start = AttemptStart(run_id=run_id, skill="walk_forward", started_s=float(number))
                attempt = store.start_attempt(start)
                store.finish_attempt(
                    AttemptEnd(
                        attempt_id=attempt,
                        ended_s=number + 0.5,
                        outcome=Outcome.SUCCESS,
                        steps=steps,
                        episode_file=str(number),
                        episode_sha256="0" * 64,
                    )
                )
            for room, names, left_out in ((1000, "1234", 0), (90, "234", 1), (60, "34", 2), (59, "4", 3), (10, "", 4)):
                stored = stored_attempts(store, home, room)
                assert ("".join(path.name for path in stored.paths), stored.left_out) == (names, left_out)

    def test_attempts_of_a_changed_robot_are_marked_until_it_is_calm_or_that_is_usual(self, home):
        findings = {2.2: Finding.CHANGED, 4.2: Finding.CALM, 6.2: Finding.CHANGED, 8.2: Finding.HABIT}
        with Store.open(home.db) as store:
            run_id = open_run(store, Config(), store.recover(), Latches(), 0.0)
            store.add_drift(DriftEvent(kind="motor_strength", robot_s=1.1, source="injected"))
            for number in range(1, 10):
                at_s = number + 0.2
                if at_s in findings:
                    store.add_drift(DriftEvent(kind=findings[at_s].value, robot_s=at_s))
                start = AttemptStart(run_id=run_id, skill="walk_forward", started_s=float(number))
                end = AttemptEnd(
                    attempt_id=store.start_attempt(start),
                    ended_s=number + 0.5,
                    outcome=Outcome.SUCCESS,
                    steps=1,
                    episode_file=str(number),
                    episode_sha256="0" * 64,
                )
                store.finish_attempt(end)
            stored = stored_attempts(store, home, 1000)
            conditions = {path.name: condition for path, condition in stored.conditions.items()}
            changed = dict.fromkeys("2367", Condition.CHANGED)
            assert conditions == changed | dict.fromkeys("45", Condition.USUAL) | dict.fromkeys("89", Condition.HABIT)
            assert len(stored.paths) == 9


class TestLearnerJob:
    def test_lockstep_has_no_spare_time_and_realtime_has(self, home):
        for speed, idle in (("max", 0.0), ("realtime", 7.0)):
            config = Config.load(None, {"run.speed": speed, "learner.idle_updates_per_step": 7.0})
            job = learner_job(config, home, minitaur_spec(), (get("walk_forward"),), None)
            assert job.idle_updates_per_step == idle

    def test_settings_reach_the_learner_under_its_names(self, home):
        config = Config.load(None, {"learner.gamma": 0.9, "learner.lr": 0.002, "learner.init_std": 0.7})
        settings = learner_job(config, home, minitaur_spec(), (get("walk_forward"),), 3).settings
        assert (settings["discount"], settings["learning_rate"], settings["initial_std"]) == (0.9, 0.002, 0.7)

    def test_a_member_of_a_population_differs_by_what_it_says(self, home):
        config = Config.load(None, {"learner.population": ["lr=1e-3,gamma=0.9", "ensemble=4"]})
        job = learner_job(config, home, minitaur_spec(), (get("walk_forward"),), None)
        one, other = job.population
        assert (one["learning_rate"], one["discount"], one["ensemble"]) == (1e-3, 0.9, 2)
        assert other == job.settings | {"ensemble": 4}

    def test_a_member_with_a_setting_that_does_not_exist_is_refused_by_name(self, home):
        config = Config.load(None, {"learner.population": ["lrr=1e-3"]})
        with pytest.raises(ConfigError, match="lrr"):
            learner_job(config, home, minitaur_spec(), (get("walk_forward"),), None)

    def test_prior_data_must_be_there(self, home, tmp_path):
        config = Config.load(None, {"learner.prior_data": [str(tmp_path / "nowhere")]})
        with pytest.raises(HomeError, match=r"nowhere, which has no perdure\.db"):
            learner_job(config, home, minitaur_spec(), (get("walk_forward"),), None)


def test_every_setting_of_a_learner_reaches_it():
    """What is left over, no configuration sets: the pace of updates is the daemon's, the rest is as it was found."""
    given = learner_settings(Config().for_robot(a1_spec()).learner)
    learning = SacConfig(**given)
    assert learning.least_multiplier == a1_spec().caution
    left = {field.name for field in fields(SacConfig)} - given.keys()
    controller = {"kp", "ki", "kd", "lambda_max", "cost_window"}
    shape = {"output_gain", "log_std_min", "log_std_max", "normalise", "normalise_steps", "obs_clip"}
    untried = {"offline_imitation", "expectile"}
    assert left == controller | shape | untried | {"updates_per_step", "reset_recovery"}
