"""How a run enters the books."""

import json

import pytest

from agent.brain import Turn
from agent.config import Config
from agent.guard import GUARDED_S
from agent.guard import LATCHES as GUARD_LATCHES
from agent.latches import Latches, Level
from agent.learner_job import stored_attempts
from agent.ledger import GOALS, LATCHES, PERMIT
from agent.opening import (
    check_robot_is_the_same,
    earlier_turns,
    move_aside,
    open_run,
    restore_permit,
    robot_seed,
    tidy_episodes,
)
from agent.states import State
from persistence.errors import HomeError
from persistence.home import Home
from persistence.records import AttemptEnd, AttemptStart, Outcome, RunStart, SkillKind, SkillRow, StateInterval
from persistence.store import Store
from sim.robot import Limit


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


def test_each_run_of_a_home_has_noise_of_its_own():
    seeds = {robot_seed(seed, run) for seed in range(3) for run in range(4)}
    assert len(seeds) == 12
    assert robot_seed(1, 2) == robot_seed(1, 2)


def test_a_home_belongs_to_one_robot(tmp_path):
    home = Home(tmp_path).prepare()
    with Store.open(home.db) as store:
        check_robot_is_the_same(store, home, "a1")  # nobody's yet
        store.start_run(RunStart(robot="kuka", started_s=0.0))
        check_robot_is_the_same(store, home, "kuka")
        with pytest.raises(HomeError, match=r"is the home of robot 'kuka', and this run is of 'a1'.*--home.*--fresh"):
            check_robot_is_the_same(store, home, "a1")


def test_turns_are_those_of_learned_skills_that_ended_by_themselves_oldest_first(tmp_path):
    with Store.open(Home(tmp_path).prepare().db) as store:
        run_id = store.start_run(RunStart(robot="fake", started_s=0.0, seed=0))
        for name, family in (("walk", "walk"), ("stand_up", "")):
            store.register_skill(SkillRow(name=name, kind=SkillKind.TASK, family=family), 0.0)
        for number, (skill, version, outcome, evaluation) in enumerate(
            [
                ("walk", None, Outcome.SUCCESS, False),
                ("walk", 3, Outcome.FALL, False),
                ("walk", 3, Outcome.ABORTED, False),
                ("walk", 4, Outcome.SUCCESS, True),
                ("stand_up", None, Outcome.SUCCESS, False),
                ("walk", 5, Outcome.SUCCESS, False),
            ]
        ):
            begun = AttemptStart(
                run_id=run_id, skill=skill, started_s=10.0 * number, policy_version=version, evaluation=evaluation
            )
            end_s = 10.0 * number + 5.0
            store.finish_attempt(AttemptEnd(attempt_id=store.start_attempt(begun), ended_s=end_s, outcome=outcome))
        assert earlier_turns(store) == [
            Turn(skill="walk", by_policy=False, success=True),
            Turn(skill="walk", by_policy=True, success=False),
            Turn(skill="walk", by_policy=True, success=True),
        ]
