"""Searches for offsets under known drifts: when they begin and end, what is offered when, and what is kept."""

import json

import numpy as np
import pytest

from skills.learners import drift_offsets
from skills.learners.drift_offsets import FEWEST, FIRST_VERSION, GENERATIONS, JUDGED, DriftOffsets
from skills.learners.evolution import population
from skills.learners.learner import AttemptSummary
from skills.learners.offsets import SHORT_TRIES
from skills.offsets import Offset, Offsets

ACTIONS = 3
NAMES = ("forward", "turn")
WEAK, STIFF = "motor_strength left", "joint_offset right"
STEPS = 100
USUAL = 2.0


def attempt(version, mean_reward, drift=WEAK, skill=0, steps=STEPS, **changes):
    fields = {"fell": False, "changed": False, "known_drift": drift} | changes
    return AttemptSummary(
        skill=skill,
        policy_version=version,
        steps=steps,
        mean_reward=mean_reward,
        mean_costs=np.zeros(0),
        **fields,
    )


def known(made=None, skill=0):
    """A learner that knows what a skill earns on the usual robot."""
    made = made or DriftOffsets(NAMES, ACTIONS)
    for _ in range(FEWEST):
        made.attempted(attempt(7, USUAL, "", skill))
    return made


def searching(made=None, drift=WEAK, earned=1.0, skill=0):
    made = made or known(skill=skill)
    for _ in range(JUDGED):
        made.attempted(attempt(7, earned, drift, skill))
    return made


def offered(made, drift=WEAK, skill=0):
    return [row for row in made.snapshot().rows if (row.drift, row.skill) == (drift, NAMES[skill])]


def one_generation(made, earns, drift=WEAK, skill=0):
    """Try all offsets of a generation that are on offer; ``earns`` says what each is worth."""
    for _ in range(population(ACTIONS)):
        tried = offered(made, drift, skill)[1]
        made.attempted(attempt(tried.version, earns(tried.values), drift, skill))


def at_its_best(values, at=(0.4, -0.3, 0.2)):
    """1 without an offset, `USUAL` with the right one."""
    return USUAL - (USUAL - 1.0) * float(np.sum((values - at) ** 2) / np.sum(np.square(at)))


class TestWhenASearchBegins:
    def test_where_attempts_earn_less_than_nine_tenths(self):
        assert offered(searching(earned=0.91 * USUAL)) == []
        rows = offered(searching(earned=0.89 * USUAL))
        assert len(rows) == 3  # the best so far, and two to be tried
        assert np.all(rows[0].values == 0.0)
        assert all(row.version >= FIRST_VERSION for row in rows)

    def test_not_before_so_many_have_been_judged_together(self):
        made = known()
        for number in range(JUDGED):
            assert offered(made) == [], number
            made.attempted(attempt(7, 1.0))
        assert offered(made) != []

    def test_not_where_nothing_is_known_to_have_drifted(self):
        made = searching(drift="")
        assert made.snapshot().rows == ()
        assert made.updates == 0

    def test_not_before_it_is_known_what_is_usual(self):
        made = DriftOffsets(NAMES, ACTIONS)
        for _ in range(FEWEST - 1):
            made.attempted(attempt(7, USUAL, ""))
        assert offered(searching(made)) == []

    def test_what_a_changed_robot_earns_is_not_usual(self):
        made = known()
        for _ in range(5 * FEWEST):
            made.attempted(attempt(7, 0.2, "", changed=True))
        assert offered(searching(made, earned=0.8 * USUAL)) != []

    def test_a_fall_counts_as_having_earned_nothing_from_then_on(self):
        made = known()
        for _ in range(JUDGED):
            made.attempted(attempt(7, USUAL, steps=STEPS // 2, fell=True))
        assert offered(made) != []
        made = known()
        for _ in range(JUDGED):
            made.attempted(attempt(7, USUAL, steps=STEPS // 2))
        assert offered(made) == []

    @pytest.mark.parametrize(
        "passed_over",
        [
            attempt(None, 0.0),
            attempt(7, float("nan")),
            attempt(7, 0.0, steps=3),
            attempt(7, 0.0, evaluation=True),
        ],
        ids=["a script", "no number", "too short", "an evaluation"],
    )
    def test_what_says_nothing_of_the_policy_is_passed_over(self, passed_over):
        made = known()
        for _ in range(3 * JUDGED):
            made.attempted(passed_over)
        assert offered(made) == []

    def test_each_skill_and_drift_is_a_case_of_its_own(self):
        made = searching(known(known(), skill=1))
        assert offered(made, skill=1) == []
        assert offered(made, STIFF) == []
        searching(made, STIFF)
        assert len({row.version for row in made.snapshot().rows}) == len(made.snapshot().rows)


class TestASearch:
    def test_it_ends_where_a_generation_earns_nearly_what_is_usual(self):
        made, generations = searching(), 0
        while len(offered(made)) > 1:
            one_generation(made, at_its_best)
            generations += 1
        assert 1 < generations < GENERATIONS
        (best,) = offered(made)
        assert at_its_best(best.values) > 0.95 * USUAL
        assert [news.over for news in made.news] == [False, True]
        assert made.news[0].share == pytest.approx(0.5)
        assert made.news[1].share > 0.95

    def test_where_it_has_arrived_counts_and_not_its_way_there(self):
        made = searching()
        search = made._cases[WEAK, 0].search
        while len(offered(made)) > 1:
            one_generation(made, at_its_best)
        np.testing.assert_array_equal(offered(made)[0].values, search.search.mean)
        assert at_its_best(search.search.mean) > at_its_best(search.best)

    def test_it_ends_after_so_many_generations(self):
        made = searching()
        for _ in range(GENERATIONS):
            assert len(offered(made)) > 1
            one_generation(made, lambda values: 1.2)
        assert len(offered(made)) == 1
        assert made.news[-1].share == pytest.approx(0.6)

    def test_an_offset_with_which_the_robot_gets_nowhere_does_not_stop_it(self):
        made = searching()
        for _ in range(2):
            for tried in range(population(ACTIONS)):
                version = offered(made)[1].version
                for _ in range(SHORT_TRIES if tried == 1 else 1):
                    made.attempted(attempt(version, 1.0, steps=5 if tried == 1 else STEPS))
        assert made.figures == {"offsets.generations.forward": 2.0}

    def test_what_is_no_better_than_before_is_not_kept(self):
        made = searching()
        for _ in range(GENERATIONS):
            one_generation(made, lambda values: 0.9)
        assert offered(made) == []
        for _ in range(5 * JUDGED):
            made.attempted(attempt(7, 0.95))
        assert offered(made) == [], "what was searched for in vain is not searched for again"

    def test_another_begins_where_the_same_drift_has_come_to_more(self):
        made = searching()
        while len(offered(made)) > 1:
            one_generation(made, at_its_best)
        best = offered(made)[0]
        for _ in range(JUDGED):
            made.attempted(attempt(best.version, 0.7 * USUAL))
        again = offered(made)
        assert len(again) == 3
        np.testing.assert_array_equal(again[0].values, best.values)
        assert not {row.version for row in again} & {best.version}

    def test_only_what_is_there_now_is_tried_and_what_was_found_is_kept(self):
        made = searching()
        while len(offered(made)) > 1:
            one_generation(made, at_its_best)
        found = offered(made)[0]
        searching(made, STIFF)
        assert len(offered(made, STIFF)) == 3
        made.attempted(attempt(7, USUAL, ""))
        assert len(offered(made, STIFF)) == 1
        assert [row.version for row in offered(made)] == [found.version]
        np.testing.assert_array_equal(offered(made)[0].values, found.values)

    def test_what_is_said_of_it(self):
        made = searching()
        assert made.figures == {"offsets.generations.forward": 0.0}
        while len(offered(made)) > 1:
            one_generation(made, at_its_best)
        assert made.figures["offsets.reached.forward"] > 0.95
        made.attempted(attempt(7, USUAL, ""))
        assert made.figures == {}

    def test_they_act_while_their_drift_is_there(self):
        made = known()
        assert not made.acting
        searching(made)
        assert made.acting
        made.attempted(attempt(7, USUAL, ""))
        assert not made.acting
        made.attempted(attempt(7, USUAL, STIFF))
        assert not made.acting

    def test_no_more_cases_than_can_be_kept(self, monkeypatch):
        monkeypatch.setattr(drift_offsets, "CASES", 3)
        made = known()
        for number in range(5):
            searching(made, f"motor {number}")
        assert [row.drift for row in made.snapshot().rows if not row.values.any()] == ["motor 2", "motor 3", "motor 4"]


class TestState:
    def test_it_goes_on_where_it_was(self):
        made = searching()
        one_generation(made, at_its_best)
        tried = offered(made)[1]
        made.attempted(attempt(tried.version, at_its_best(tried.values)))
        searching(made, STIFF)
        arrays, meta = made.state()
        other = DriftOffsets(NAMES, ACTIONS, seed=9)
        other.load_state(arrays, json.loads(json.dumps(meta)))
        for each in (made, other):
            each.attempted(attempt(7, 1.0))
            for _ in range(2):
                one_generation(each, at_its_best)
        assert made.snapshot().to_bytes() == other.snapshot().to_bytes()

    def test_what_is_of_skills_that_are_still_there_is_kept(self):
        made = searching(known(searching(), skill=1), skill=1)
        other = DriftOffsets(("other", "turn"), ACTIONS)
        other.load_state(*made.state())
        mine = [(row.version, row.values.tolist()) for row in offered(made, skill=1)]
        assert [(row.version, row.values.tolist()) for row in other.snapshot().rows] == mine
        assert {row.skill for row in other.snapshot().rows} == {"turn"}

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda arrays, meta: meta.update(format=99), "format"),
            (lambda arrays, meta: arrays.pop("0.search.mean"), "nothing as 0.search.mean"),
        ],
    )
    def test_a_state_that_does_not_fit_changes_nothing(self, change, message):
        made = searching()
        arrays, meta = made.state()
        meta = json.loads(json.dumps(meta))
        change(arrays, meta)
        other = searching(drift=STIFF)
        before = other.snapshot().to_bytes()
        with pytest.raises(ValueError, match=message):
            other.load_state(arrays, meta)
        assert other.snapshot().to_bytes() == before


class TestOffsets:
    def test_they_are_read_as_they_were_written(self):
        row = Offset(drift=WEAK, skill="forward", version=3, values=np.array([0.1, -2.0]))
        (read,) = Offsets.from_bytes(Offsets((row,)).to_bytes()).rows
        assert (read.drift, read.skill, read.version) == (WEAK, "forward", 3)
        np.testing.assert_array_equal(read.values, row.values)
        assert Offsets.from_bytes(Offsets().to_bytes()).rows == ()

    @pytest.mark.parametrize("data", [b"", b"nothing", Offsets().to_bytes()[:-2]], ids=["empty", "words", "cut"])
    def test_other_bytes_are_refused(self, data):
        with pytest.raises(ValueError, match="no offsets"):
            Offsets.from_bytes(data)

    def test_infinity_is_seen(self):
        row = Offset(drift=WEAK, skill="forward", version=3, values=np.array([0.1, np.inf]))
        assert not Offsets((row,)).finite
        assert Offsets().finite
