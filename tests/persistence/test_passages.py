"""Attempts as steps between situations: what is measured when the next one begins."""

import pytest

from persistence.passages import Passage, passages
from persistence.records import NOTHING_CAN_START, AttemptStart, InterruptClass

REST_S = 2.0
OUT, HOME = frozenset({"carry_out"}), frozenset({"carry_home", "stand_up"})


@pytest.fixture
def attempt(life):
    """Makes an attempt of 10 s from a situation, and rests."""

    def make(before):
        start = AttemptStart(
            run_id=life.run_id,
            skill="walk",
            started_s=life.now_s,
            could_start=None if before is None else tuple(before),
        )
        attempt_id = life.store.start_attempt(start)
        life.finish(attempt_id, [life.interval("ATTEMPT", 10.0, attempt_id)])
        life.spend("RESET", REST_S)

    return make


def passage(before, after, took_s=10.0 + REST_S):
    return Passage(skill="walk", before=before, after=after, took_s=took_s)


def test_an_attempt_leads_to_where_the_next_one_begins(store, attempt):
    attempt(OUT)
    attempt(HOME)
    attempt(OUT)
    assert passages(store) == [passage(OUT, HOME), passage(HOME, OUT)]


def test_where_nothing_can_start_the_attempt_before_it_led_there(store, life, attempt):
    attempt(OUT)
    life.help_comes_after(60.0, NOTHING_CAN_START, "assist")
    attempt(OUT)
    attempt(HOME)
    assert passages(store) == [passage(OUT, frozenset()), passage(OUT, HOME)]


def test_the_last_attempt_before_a_person_is_still_awaited_counts(store, life, attempt):
    attempt(OUT)
    life.ask_for_help(NOTHING_CAN_START, InterruptClass.ASSIST)
    assert passages(store) == [passage(OUT, frozenset())]


def test_what_a_person_changed_for_another_reason_is_nobodys_doing(store, life, attempt):
    attempt(OUT)
    life.help_comes_after(60.0, "robot_unfit")
    attempt(HOME)
    attempt(OUT)
    assert passages(store) == [passage(HOME, OUT)]


def test_of_many_attempts_the_newest_count(store, attempt):
    for before in (OUT, HOME, OUT, HOME):
        attempt(before)
    assert passages(store, newest=3) == [passage(HOME, OUT), passage(OUT, HOME)]


def test_between_runs_the_world_may_change(store, life, new_life, attempt):
    attempt(OUT)
    life.end()
    again = new_life(store)
    for before in (HOME, OUT):
        start = AttemptStart(run_id=again.run_id, skill="walk", started_s=again.now_s, could_start=tuple(before))
        attempt_id = store.start_attempt(start)
        again.finish(attempt_id, [again.interval("ATTEMPT", 5.0, attempt_id)])
    assert passages(store) == [passage(HOME, OUT, 5.0)]


def test_attempts_of_older_versions_say_nothing(store, attempt):
    attempt(None)
    attempt(OUT)
    attempt(HOME)
    assert passages(store) == [passage(OUT, HOME)]
