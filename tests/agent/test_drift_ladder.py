"""How far down a robot is that is not what it was: with care, and not without a person."""

import math
from types import SimpleNamespace

import pytest

from agent.drift_ladder import DRIFTED, FEWEST, FLOOR, WINDOW, DriftLadder, stored_usual
from agent.states import State
from meta.drift_monitor import Finding
from persistence.home import Home
from persistence.records import (
    AttemptEnd,
    AttemptStart,
    DriftEvent,
    InterruptClass,
    Outcome,
    RunStart,
    SkillKind,
    SkillRow,
)
from persistence.store import Store


class Watch:
    changed, known = False, ""


class Told(list):
    """A ladder on a robot that walked well; remembers what it was told."""

    def __init__(self, usual=40):
        self.watch = Watch()
        self.ladder = DriftLadder(self.watch, self.append)
        for k in range(usual):
            self.ladder.attempted("walk", 1.0 + 0.01 * k)
        self.watch.changed = True

    def tried(self, *rewards, skill="walk"):
        for reward in rewards:
            self.ladder.attempted(skill, reward)
        return self


def test_a_changed_robot_that_does_as_well_stays_at_the_top():
    made = Told().tried(*[1.2] * 100)
    assert not made.ladder.degraded
    assert not made


def test_too_few_good_attempts_in_twenty_degrade_it_and_as_many_good_ones_bring_it_back():
    half = [1.2, 0.2] * (WINDOW // 2)
    made = Told().tried(*half)
    assert not made.ladder.degraded  # half of them is the floor itself
    made.tried(*[0.2] * 2)
    assert made.ladder.degraded
    assert made == [FLOOR - 1 / WINDOW]
    made.tried(*[1.2] * 2)
    assert not made.ladder.degraded


def test_twenty_more_without_success_are_hopeless():
    made = Told().tried(*[0.2] * WINDOW)
    assert made.ladder.degraded
    for _ in range(WINDOW):
        assert not made.ladder.hopeless
        made.tried(0.2)
    assert made.ladder.hopeless
    assert len(made) == 1


def test_a_fall_is_no_good_attempt():
    assert Told().tried(*[-math.inf] * WINDOW).ladder.degraded


def test_a_fall_is_none_where_one_attempt_in_ten_was_always_one():
    made = Told(usual=0)
    made.watch.changed = False
    made.tried(*[-math.inf] * 6, *[1.0] * 34)
    made.watch.changed = True
    assert made.tried(*[-math.inf] * WINDOW).ladder.degraded


def test_what_a_robot_does_that_is_made_up_for_is_not_its_usual():
    made = Told()
    made.watch.changed, made.watch.known = False, "motor_strength left"
    made.tried(*[0.3] * 40)
    made.watch.changed = True
    assert made.tried(*[0.3] * WINDOW).ladder.degraded


def test_what_was_usual_before_a_restart_is_known(tmp_path):
    home = Home(tmp_path).prepare()
    attempts = [Outcome.SUCCESS, Outcome.FALL, Outcome.ABORTED, *[Outcome.SUCCESS] * 50, Outcome.TIMEOUT]
    with Store.open(home.db) as store:
        run_id = store.start_run(RunStart(robot="fake", started_s=0.0))
        store.register_skill(SkillRow(name="walk", kind=SkillKind.TASK), 0.0)
        for number, outcome in enumerate([*attempts, *[Outcome.SUCCESS] * 3]):
            start = AttemptStart(run_id=run_id, skill="walk", started_s=float(number))
            if number == len(attempts):
                store.add_drift(DriftEvent(kind=Finding.CHANGED.value, robot_s=float(number)))
            end = AttemptEnd(
                attempt_id=store.start_attempt(start),
                ended_s=number + 0.5,
                outcome=outcome,
                steps=10,
                return_=10.0 * number,
            )
            store.finish_attempt(end)
        usual = stored_usual(store)
        assert list(usual["walk"]) == [float(number) for number in range(14, 54)]
    ladder = DriftLadder(SimpleNamespace(changed=True, known=""), usual=usual)
    for _ in range(WINDOW):
        ladder.attempted("walk", 1.0)
    assert ladder.degraded


def test_one_attempt_in_ten_was_always_bad():
    """The worst tenth of what was usual is the measure, not the mean."""
    made = Told(usual=0)
    made.watch.changed = False
    made.tried(*[0.1] * 4, *[1.0] * 36)
    made.watch.changed = True
    assert not made.tried(*[1.0] * WINDOW).ladder.degraded
    assert made.tried(*[0.9] * WINDOW).ladder.degraded


def test_a_skill_that_was_hardly_known_is_not_judged():
    made = Told(usual=FEWEST - 1).tried(*[0.2] * 100)
    assert not made.ladder.degraded
    assert not Told().tried(*[0.2] * 100, skill="another").ladder.degraded


@pytest.mark.parametrize("how", ["repaired", "helped"])
def test_a_robot_as_usual_or_one_that_a_person_has_seen_begins_at_the_top(how):
    made = Told().tried(*[0.2] * (2 * WINDOW))
    assert made.ladder.hopeless
    if how == "repaired":
        made.watch.changed = False
        made.tried(1.2)
    else:
        made.ladder.start_over()
    assert not made.ladder.degraded
    assert not made.ladder.hopeless
    made.watch.changed = True
    assert not made.tried(*[0.2] * (WINDOW - 1)).ladder.degraded
    assert made.tried(0.2).ladder.degraded


def test_a_changed_robot_that_needs_a_person_again_is_to_be_repaired():
    made = Told()
    assert [made.ladder.called("stand_up_failed") for _ in range(3)] == ["stand_up_failed", DRIFTED, DRIFTED]
    made.ladder.start_over()  # a person was there, and did not mend it
    assert made.ladder.called("stand_up_failed") == DRIFTED
    made.watch.changed = False
    made.tried(1.2)
    assert [made.ladder.called("stand_up_failed") for _ in range(3)] == ["stand_up_failed"] * 3
    made.watch.changed = True
    assert made.ladder.called("hard_fence") == "hard_fence"


class Scripted:
    """A ladder that a test moves."""

    degraded = hopeless = False

    def start_over(self):
        self.degraded = self.hopeless = False

    def called(self, cause):
        return cause

    def attempted(self, skill, mean_reward):
        raise AssertionError("the skills of these tests earn nothing")


class TestPilot:
    def test_a_degraded_robot_makes_its_attempts_with_care(self, world):
        ladder = Scripted()
        made = world(attempts=3, ladder=ladder)
        asked = []
        controller = made.pilot.practice._brain.controller
        made.pilot.practice._brain.controller = lambda skill, *, explore, known_drift: (
            asked.append((made.state, explore)) or controller(skill, explore=explore)
        )

        def script(robot):
            ladder.degraded = len(made.visits) > 7

        made.run(script)
        assert asked == [(State.ATTEMPT, True), (State.DEGRADED, False), (State.DEGRADED, False)]
        assert made.in_order("ATTEMPT", "DEGRADED", "RESET", "STANDBY")
        assert made.rows("SELECT DISTINCT outcome FROM attempts") == [("success",)]

    def test_one_that_is_no_better_with_care_calls_a_person_who_repairs_it(self, world):
        ladder = Scripted()
        ladder.degraded = ladder.hopeless = True
        made = world(attempts=1, ladder=ladder)
        repaired = []
        made.pilot._person._repair = repaired.append
        made.run()
        assert made.in_order("ATTEMPT", "DEGRADED", "NEED_HUMAN", "SELF_TEST")
        assert made.rows("SELECT cause, class FROM interventions") == [("drifted", InterruptClass.FAILURE.value)]
        assert len(repaired) == 1
        assert made.rows("SELECT outcome FROM attempts") == [("success",)]

    def test_one_that_is_well_again_goes_on_as_before(self, world):
        ladder = Scripted()
        ladder.degraded = True
        made = world(attempts=1, ladder=ladder)

        def script(robot):
            if made.state is State.ATTEMPT:
                ladder.degraded = False

        entered = made.ledger.enter

        def enter(state, now_s):
            entered(state, now_s)
            if state == "DEGRADED":
                ladder.degraded = False

        made.ledger.enter = enter
        made.run(script)
        assert made.in_order("ATTEMPT", "DEGRADED", "ATTEMPT", "RESET")

    def test_what_the_person_is_called_for_is_the_ladders_word(self, world):
        ladder = Scripted()
        ladder.called = lambda cause: f"again: {cause}"
        made = world(attempts=1, ladder=ladder)
        made.problems = ["battery at 12.0 V"]

        def mended(robot):
            if robot.places:
                made.problems.clear()

        made.run(mended)
        assert made.rows("SELECT cause FROM interventions") == [("again: self_test: battery at 12.0 V",)]
