"""How a run enters the books."""

import json
from dataclasses import fields

import pytest

from agent.config import Config
from agent.guard import GUARDED_S
from agent.guard import LATCHES as GUARD_LATCHES
from agent.latches import Latches, Level
from agent.learner_job import learner_job, learner_settings, stored_attempts
from agent.ledger import GOALS, LATCHES, PERMIT
from agent.opening import check_robot_is_the_same, move_aside, open_run, restore_permit, robot_seed, tidy_episodes
from agent.settings import ConfigError
from agent.states import State
from meta.drift_monitor import Finding
from persistence.errors import HomeError
from persistence.home import Home
from persistence.records import AttemptEnd, AttemptStart, DriftEvent, Outcome, RunStart, StateInterval
from persistence.store import Store
from sim.a1 import a1_spec
from sim.minitaur import minitaur_spec
from sim.robot import Limit
from skills.learners.config import SacConfig
from skills.registry import get


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path).prepare()


def open_and_end(home, changes, now_s, limits=(), **shown):
    """One run of a second with a configuration; returns what it said on standard error's behalf: the phases so far."""
    with Store.open(home.db) as store:
        resume = store.recover()
        run_id = open_run(store, Config.load(None, changes), resume, Latches(), now_s, limits, shown)
        store.end_run(run_id, now_s + 1.0, "test", [StateInterval.of("STANDBY", now_s, now_s + 1.0)])
        return [(row["name"].split()[0], row["reason"]) for row in store.rows("SELECT * FROM phases ORDER BY id")]


class TestPhases:
    def test_the_first_run_begins_one(self, home):
        assert open_and_end(home, {}, 0.0) == [("perdure", "first run")]

    def test_how_long_and_with_which_seed_is_not_another_agent(self, home):
        open_and_end(home, {"run.seed": 1}, 0.0)
        assert len(open_and_end(home, {"run.seed": 2, "run.hours": 3.0, "run.attempts": 4}, 1.0)) == 1

    def test_another_setting_is_another_agent_and_is_told(self, home, capsys):
        open_and_end(home, {}, 0.0)
        phases = open_and_end(home, {"learner.batch": 64}, 1.0)
        assert phases[1] == ("perdure", "learner.batch: 128 -> 64")
        assert "learner.batch: 128 -> 64" in capsys.readouterr().err

    def test_other_limits_of_the_robot_are_another_agent_and_are_told(self, home, capsys):
        def limits(most):
            return (Limit(name="power", unit="W", upper=(most,), source="the supply"),)

        open_and_end(home, {}, 0.0, limits(330.0))
        assert len(open_and_end(home, {}, 1.0, limits(330.0))) == 1
        phases = open_and_end(home, {}, 2.0, limits(300.0))
        told = "limits.power: {'upper': [330.0]} -> {'upper': [300.0]}"
        assert phases[1] == ("perdure", told)
        assert told in capsys.readouterr().err
        # A robot without a table says nothing of the one before.
        assert len(open_and_end(home, {}, 3.0)) == 2

    def test_so_is_another_reward(self, home):
        own, learned = {}, {"walk_forward": "c" * 64}
        open_and_end(home, {}, 0.0, goals={"carry_out": "a" * 64}, rewards=own)
        phases = open_and_end(home, {}, 1.0, goals={"carry_out": "a" * 64}, rewards=learned)
        assert phases[1][1] == "reward of walk_forward: own terms -> cccccccccccc"
        assert open_and_end(home, {}, 2.0, goals={"carry_out": "a" * 64})[2][1].endswith("-> own terms")

    def test_another_goal_is_another_agent_and_is_told(self, home, capsys):
        open_and_end(home, {}, 0.0)
        first, second = {"carry_out": "a" * 64}, {"carry_out": "b" * 64}
        assert open_and_end(home, {}, 1.0, goals=first)[1][1] == "goal of carry_out: own rule -> aaaaaaaaaaaa"
        assert len(open_and_end(home, {}, 2.0, goals=first)) == 2
        assert open_and_end(home, {}, 3.0, goals=second)[2][1] == "goal of carry_out: aaaaaaaaaaaa -> bbbbbbbbbbbb"
        assert open_and_end(home, {}, 4.0)[3][1] == "goal of carry_out: bbbbbbbbbbbb -> own rule"
        assert len(open_and_end(home, {}, 5.0)) == 4
        assert "bbbbbbbbbbbb -> own rule" in capsys.readouterr().err
        with Store.open(home.db, read_only=True) as store:
            events = store.rows("SELECT data FROM events WHERE kind = ? ORDER BY seq", (GOALS,))
        assert [json.loads(row["data"])["goals"] for row in events] == [first, first, second, {}]

    def test_another_version_is_another_agent(self, home, monkeypatch):
        open_and_end(home, {}, 0.0)
        monkeypatch.setattr("agent.opening.versions", lambda: {"perdure": "9.9.9"})
        assert open_and_end(home, {}, 1.0)[1][1] == "version: 0.1.0 -> 9.9.9"


class TestFresh:
    def test_what_the_guard_latched_stays_and_all_else_is_moved(self, home):
        (home.root / GUARD_LATCHES).write_text("[]")
        open_and_end(home, {}, 0.0)
        move_aside(home)
        assert (home.root / GUARD_LATCHES).exists()
        assert not home.db.exists()

    def test_a_database_that_cannot_be_read_is_moved_too(self, home):
        home.db.write_bytes(b"no database at all" * 100)
        move_aside(home)
        assert not home.db.exists()

    def test_a_robot_that_is_held_is_not_let_go_by_it(self, home):
        open_and_end(home, {}, 0.0)
        held = Latches().add("hard_fence", Level.L2, State.SAFE_STOP, 0.0)
        with Store.open(home.db) as store:
            store.append_event(LATCHES, 1.0, {"latches": held.to_json()})
        with pytest.raises(HomeError, match=r"held \(hard_fence\)"):
            move_aside(home)
        assert home.db.exists()


class TestPermit:
    """Who starts a daemon allows motion; a daemon that the guard starts has only what the one before had."""

    @pytest.mark.parametrize(
        ("guarded_s", "stored", "permitted"),
        [
            ("0", [], True),
            ("0", [True, False], True),
            ("5", [], False),
            ("5", [True], True),
            ("5", [True, False], False),
        ],
    )
    def test_it_is_the_one_of_the_daemon_before(self, home, monkeypatch, guarded_s, stored, permitted):
        monkeypatch.setenv(GUARDED_S, guarded_s)
        open_and_end(home, {}, 0.0)
        with Store.open(home.db) as store:
            for value in stored:
                store.append_event(PERMIT, 1.0, {"permitted": value})
            assert restore_permit(store) is permitted


class TestEpisodes:
    def test_files_without_a_row_go_and_files_with_one_stay(self, home):
        (home.episodes / "attempt-00000007.safetensors").write_bytes(b"left over")
        open_and_end(home, {}, 0.0)
        with Store.open(home.db) as store:
            assert tidy_episodes(store, home) == ["attempt-00000007.safetensors"]
            assert stored_attempts(store, home, 1000).paths == ()

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
            assert sorted(path.name for path in stored.unusual) == ["2", "3", "6", "7"]
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


def test_each_run_of_a_home_has_noise_of_its_own():
    seeds = {robot_seed(seed, run) for seed in range(3) for run in range(4)}
    assert len(seeds) == 12
    assert robot_seed(1, 2) == robot_seed(1, 2)


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


def test_a_home_belongs_to_one_robot(tmp_path):
    home = Home(tmp_path).prepare()
    with Store.open(home.db) as store:
        check_robot_is_the_same(store, home, "a1")  # nobody's yet
        store.start_run(RunStart(robot="kuka", started_s=0.0))
        check_robot_is_the_same(store, home, "kuka")
        with pytest.raises(HomeError, match=r"is the home of robot 'kuka', and this run is of 'a1'.*--home.*--fresh"):
            check_robot_is_the_same(store, home, "a1")
