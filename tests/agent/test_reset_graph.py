"""Ways back: counted chances, the cheapest chain, and what is assumed of what was never tried."""

import pytest

from agent.reset_graph import HOPE, PERSON_S, TRIES, ResetGraph
from persistence.passages import Passage

OUT, HOME, CENTRE = "carry_out", "carry_home", "centre"
TOOK_S = 10.0
MEANS = {OUT: 15.0, HOME: 15.0, CENTRE: 20.0}
WITH_DOOR = {**MEANS, "open": 10.0, "close": 10.0}
AT_HOME, AT_GOAL, ASTRAY, LOST = map(frozenset, ({OUT}, {HOME}, {CENTRE}, ()))


def passage(skill, before, after, took_s=TOOK_S):
    return Passage(skill=skill, before=before, after=after, took_s=took_s)


def graph(*counted):
    """``counted``: (skill, before, after, times)."""
    made = ResetGraph(MEANS)
    made.learn(passage(*rest) for *rest, times in counted for _ in range(times))
    return made


def test_what_can_start_needs_no_way():
    way = graph().way(AT_HOME, frozenset({OUT}))
    assert (way.first, way.expected_s) == (OUT, 0.0)


def test_where_nothing_can_start_there_is_no_way():
    assert graph().way(LOST, frozenset({OUT})) is None
    assert graph().way(frozenset({"stand_up"}), AT_HOME) is None  # no means of this graph


def test_what_was_never_tried_is_assumed_to_lead_there_every_other_time():
    assert graph().way(AT_HOME, frozenset({HOME})).expected_s == pytest.approx(2 * MEANS[OUT])


def test_tries_that_lead_back_are_counted_until_one_does_not():
    """Three of four attempts change nothing: with what is assumed, 5 attempts for 1.5 arrivals."""
    made = graph((OUT, AT_HOME, AT_HOME, 3), (OUT, AT_HOME, AT_GOAL, 1))
    expected = made.way(AT_HOME, frozenset({HOME})).expected_s
    assert expected == pytest.approx(TOOK_S * (4 + HOPE) / (1 + 0.5 * HOPE), rel=0.05)  # old ones count a little less


def test_the_chain_goes_through_what_another_skill_leaves_behind():
    """From astray only centring can start; it leads home, and from there the way out to the goal is sure."""
    sure = (OUT, AT_HOME, AT_GOAL, 50)
    made = graph((CENTRE, ASTRAY, AT_HOME, 50), sure)
    way = made.way(ASTRAY, frozenset({HOME}))
    assert way.first == CENTRE
    assert way.expected_s == pytest.approx(2 * TOOK_S, rel=0.1)


def test_of_two_first_skills_the_cheaper_one_is_taken_and_a_person_is_dear():
    both = frozenset({OUT, CENTRE})
    quick_but_loses = ((OUT, both, AT_GOAL, 9), (OUT, both, LOST, 1))
    slow = (CENTRE, both, AT_GOAL, 10)
    made = ResetGraph(MEANS)
    for skill, before, after, times in (*quick_but_loses, slow):
        took_s = 30.0 if skill == CENTRE else 5.0
        made.learn([passage(skill, before, after, took_s)] * times)
    assert 0.1 * PERSON_S > 30.0
    assert made.way(both, frozenset({HOME})).first == CENTRE
    assert made.way(both, frozenset({HOME}), means=(OUT,)).first == OUT


def test_a_skill_that_gets_better_is_believed():
    made = graph((OUT, AT_HOME, AT_HOME, 500))
    before = made.way(AT_HOME, frozenset({HOME})).expected_s
    made.learn([passage(OUT, AT_HOME, AT_GOAL)] * 100)
    assert made.way(AT_HOME, frozenset({HOME})).expected_s < 0.1 * before


def test_attempts_of_other_skills_are_left_out():
    made = graph(("stand_up", frozenset({"stand_up"}), AT_HOME, 5))
    assert made.way(frozenset({"stand_up"}), AT_HOME) is None


class TestCutOff:
    OPEN, CLOSE = frozenset({"open"}), frozenset({"close"})

    def door(self, times):
        """The object is lost; the door can be opened and closed for ever."""
        made = ResetGraph(WITH_DOOR)
        made.learn([passage("open", self.OPEN, self.CLOSE), passage("close", self.CLOSE, self.OPEN)] * times)
        return made

    def test_a_task_is_cut_off_once_all_that_can_be_done_was_tried_often(self):
        assert not self.door(TRIES // 2 - 1).cut_off(self.OPEN, AT_HOME)
        assert self.door(TRIES // 2).cut_off(self.OPEN, AT_HOME)
        made = self.door(TRIES)
        made.learn([passage("open", self.OPEN, self.OPEN | self.CLOSE)])  # from there nothing was tried yet
        assert not made.cut_off(self.OPEN, AT_HOME)
        assert not self.door(TRIES).cut_off(self.OPEN, self.CLOSE)

    def test_one_arrival_lately_is_hope_enough(self):
        made = self.door(TRIES)
        made.learn([passage("open", self.OPEN, AT_HOME)])
        assert not made.cut_off(self.OPEN, AT_HOME)
        made.learn([passage("open", self.OPEN, self.CLOSE)] * 200)
        assert made.cut_off(self.OPEN, AT_HOME)

    def test_it_is_cut_off_where_nothing_can_be_done_at_all(self):
        assert ResetGraph(WITH_DOOR).cut_off(LOST, AT_HOME)


def test_a_skill_brings_what_could_not_start_before_if_it_often_does():
    both = frozenset({OUT, "open"})
    made = graph((OUT, AT_HOME, AT_GOAL, 6), (OUT, AT_HOME, ASTRAY, 1), ("open", ASTRAY, ASTRAY, 5))
    assert made.brings(OUT, HOME)
    assert not made.brings(OUT, CENTRE)
    assert not made.brings(CENTRE, OUT)  # was never tried
    door = ResetGraph(WITH_DOOR)
    door.learn([passage("open", both, both)] * 9)
    assert not door.brings("open", OUT)  # it could start before
    door.learn(
        [passage("open", frozenset({"open"}), frozenset({"open"}))] * 9 + [passage("open", frozenset({"open"}), both)]
    )
    assert not door.brings("open", OUT)  # that once was chance
