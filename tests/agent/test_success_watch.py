"""Success that changes without cause: an alarm when the reward does not go with it, and hardly ever else."""

import numpy as np
import pytest

from agent.success_watch import SUCCESS_WITHOUT_CAUSE, WINDOW, SuccessWatch, earlier_attempts
from persistence.home import Home
from persistence.records import AttemptEnd, AttemptStart, DriftEvent, Outcome, RunStart, SkillKind, SkillRow
from persistence.store import Store

ATTEMPTS = 600
T = np.arange(ATTEMPTS)


def watch(success, reward):
    """Jumps that are found, each with when."""
    found = []
    watched = SuccessWatch(lambda jump, robot_s: found.append((robot_s, jump)))
    for at, (succeeded, figure) in enumerate(zip(success, reward, strict=True)):
        watched.attempted("task", Outcome.SUCCESS if succeeded else Outcome.TIMEOUT, float(figure), float(at))
    return found


def rewards(probability, success, rng):
    """A skill that succeeds more often earns more, and more where it succeeds."""
    return 0.4 * probability + 0.2 * success + rng.normal(0.0, 0.15, len(success))


def logistic(middle, width):
    return 0.02 + 0.93 / (1.0 + np.exp(-(T - middle) / width))


class TestFalseAlarms:
    @pytest.mark.parametrize(
        "probability",
        [logistic(200, 10), logistic(300, 80), np.where(T < 200, 0.1, 0.9), np.full(ATTEMPTS, 0.5)],
        ids=["fast", "slow", "at once", "flat"],
    )
    def test_a_skill_that_is_learned_hardly_ever_gives_one(self, probability):
        alarms = 0
        for seed in range(20):
            rng = np.random.default_rng(seed)
            success = rng.random(ATTEMPTS) < probability
            alarms += len(watch(success, rewards(probability, success, rng)))
        assert alarms <= 1  # of 12,000 attempts

    def test_a_skill_that_is_lost_again_gives_none(self):
        rng = np.random.default_rng(0)
        probability = np.where(T < 300, 0.9, 0.1)
        success = rng.random(ATTEMPTS) < probability
        assert watch(success, rewards(probability, success, rng)) == []

    def test_where_the_reward_says_nothing_chance_alone_rarely_does(self):
        alarms = 0
        for seed in range(40):
            rng = np.random.default_rng(seed)
            alarms += len(watch(rng.random(ATTEMPTS) < 0.5, rng.normal(size=ATTEMPTS)))
        assert alarms <= 5  # of 24,000 attempts


class TestAlarm:
    @pytest.mark.parametrize("base", [0.05, 0.2, 0.4])
    def test_a_sensor_that_begins_to_report_success_is_found_within_a_window(self, base):
        for seed in range(20):
            rng = np.random.default_rng(seed)
            true = rng.random(ATTEMPTS) < base
            told = true | (T >= 300)
            found = [(at, jump) for at, jump in watch(told, rewards(base, true, rng)) if at >= 300]
            at, jump = found[0]
            assert at < 300 + WINDOW
            assert jump.after > jump.before
            assert (jump.skill, jump.attempts) == ("task", WINDOW)
            assert jump.p_success < 1e-4 < 0.05 < jump.p_reward

    def test_one_that_ceases_to_is_found_too(self):
        rng = np.random.default_rng(0)
        true = rng.random(ATTEMPTS) < 0.8
        ((at, jump),) = watch(true & (T < 300), rewards(0.8, true, rng))
        assert 300 <= at < 300 + WINDOW
        assert jump.after < jump.before

    def test_one_change_gives_one_alarm(self):
        rng = np.random.default_rng(1)
        assert len(watch(T >= 300, rng.normal(size=ATTEMPTS))) == 1

    def test_success_that_comes_while_the_reward_falls_is_found(self):
        rng = np.random.default_rng(2)
        found = watch(T >= 300, rng.normal(size=ATTEMPTS) - (T >= 300))
        assert len(found) == 1

    def test_skills_are_watched_apart(self):
        found = []
        watched = SuccessWatch(lambda jump, robot_s: found.append(jump.skill))
        for at in range(WINDOW):
            for skill, outcome in (("one", Outcome.SUCCESS), ("other", Outcome.TIMEOUT)):
                watched.attempted(skill, outcome, 0.0, float(at))
        assert found == []

    @pytest.mark.parametrize("outcome", [Outcome.ABORTED, Outcome.FAULT])
    def test_what_was_cut_off_from_outside_says_nothing(self, outcome):
        found = []
        watched = SuccessWatch(lambda jump, robot_s: found.append(jump))
        for at in range(3 * WINDOW):
            watched.attempted("task", Outcome.SUCCESS if at < WINDOW else outcome, 0.0, float(at))
        assert found == []


class TestAcrossRuns:
    @pytest.fixture
    def store(self, tmp_path):
        with Store.open(Home(tmp_path).prepare().db) as store:
            store.start_run(RunStart(robot="kuka", started_s=0.0))
            store.start_phase("one", 0.0)
            store.register_skill(SkillRow(name="task", kind=SkillKind.TASK))
            store.register_skill(SkillRow(name="other", kind=SkillKind.TASK))
            yield store

    def add(self, store, start_s, outcomes, skill="task", return_=3.0, steps=10):
        for at, outcome in enumerate(outcomes):
            number = store.start_attempt(AttemptStart(run_id=1, skill=skill, started_s=start_s + at))
            end = AttemptEnd(
                attempt_id=number, ended_s=start_s + at + 0.5, outcome=outcome, steps=steps, return_=return_
            )
            store.finish_attempt(end)

    def test_the_newest_attempts_are_remembered_with_their_reward_per_step(self, store):
        self.add(store, 0.0, [Outcome.SUCCESS, Outcome.ABORTED, Outcome.FALL])
        self.add(store, 10.0, [Outcome.TIMEOUT] * 3, skill="other", return_=-1.0)
        self.add(store, 20.0, [Outcome.SUCCESS], return_=None, steps=0)
        earlier = earlier_attempts(store)
        assert list(earlier["task"]) == [(True, pytest.approx(0.3)), (False, pytest.approx(0.3))]
        assert list(earlier["other"]) == [(False, pytest.approx(-0.1))] * 3
        assert [len(tried) for tried in earlier_attempts(store, window=1).values()] == [2, 2]

    def test_what_was_before_the_last_alarm_is_not(self, store):
        self.add(store, 0.0, [Outcome.TIMEOUT] * 5)
        self.add(store, 0.0, [Outcome.TIMEOUT] * 5, skill="other")
        store.add_drift(DriftEvent(kind=SUCCESS_WITHOUT_CAUSE, robot_s=4.5, detail={"skill": "task"}))
        self.add(store, 5.0, [Outcome.SUCCESS] * 2)
        earlier = earlier_attempts(store)
        assert [success for success, _ in earlier["task"]] == [True, True]
        assert len(earlier["other"]) == 5

    def test_nor_what_another_agent_did(self, store):
        self.add(store, 0.0, [Outcome.TIMEOUT] * 5)
        store.start_phase("two", 6.0, "learner.batch: 128 -> 64")
        self.add(store, 7.0, [Outcome.SUCCESS])
        assert list(earlier_attempts(store)["task"]) == [(True, pytest.approx(0.3))]

    def test_a_change_while_nobody_ran_is_found_in_the_next_run(self, store):
        figures = np.linspace(0.0, 1.0, WINDOW)
        for at, figure in enumerate(figures):
            self.add(store, 2.0 * at, [Outcome.TIMEOUT], return_=float(figure))
        found = []
        watched = SuccessWatch(lambda jump, robot_s: found.append(jump), earlier_attempts(store))
        for at, figure in enumerate(figures):
            watched.attempted("task", Outcome.SUCCESS, float(figure) / 10, 100.0 + at)
        assert [(jump.before, jump.after) for jump in found] == [(0.0, 1.0)]
