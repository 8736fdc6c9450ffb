"""Who is practised how much: prerequisites, mastery and its loss, learning progress."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.curriculum import (
    ENOUGH,
    FEWEST,
    KEEPING,
    MASTERY,
    WINDOW,
    Curriculum,
    Standing,
    Tried,
    needs_of,
    successes_for,
)
from skills.skill import Level

CHAIN = {"near": (), "far": ("near",), "farther": ("far",)}
PAIR = {"one": (), "two": ("one",)}


def attempts(skill, *outcomes, reward=0.0):
    """Each outcome: so many in a row, positive successes, negative failures."""
    return [Tried(skill=skill, success=n > 0, mean_reward=reward) for n in outcomes for _ in range(abs(n))]


def feed(made, tries):
    return [change for tried in tries for change in made.attempted(tried)]


def skill(name, level=None, requires=()):
    of = Level(of="walk_to", axis="distance_m", value=level) if isinstance(level, int | float) else level
    return SimpleNamespace(name=name, level=of, requires=requires)


class TestNeeds:
    def test_the_next_easier_of_its_like_comes_first_whatever_the_order(self):
        assert needs_of([skill("far", 3), skill("near", 1), skill("farther", 9), skill("walk")]) == {
            "far": ("near",),
            "near": (),
            "farther": ("far",),
            "walk": (),
        }

    def test_all_that_are_just_easier_do(self):
        assert needs_of([skill("east", 1), skill("west", 1), skill("far", 2)])["far"] == ("east", "west")

    def test_another_axis_or_another_purpose_is_no_easier(self):
        slope = Level(of="walk_to", axis="slope_rad", value=0.0)
        run = Level(of="run_to", axis="distance_m", value=0.0)
        needs = needs_of([skill("up", slope), skill("run", run), skill("far", 2)])
        assert needs == {"up": (), "run": (), "far": ()}

    def test_what_the_run_does_not_have_is_not_waited_for(self):
        assert needs_of([skill("far", 2, requires=("walk", "stand_up")), skill("walk")])["far"] == ("walk",)

    def test_named_twice_is_needed_once(self):
        assert needs_of([skill("near", 1), skill("far", 2, requires=("near",))])["far"] == ("near",)

    def test_skills_that_wait_for_each_other_are_refused(self):
        with pytest.raises(ValueError, match=r"wait for each other: .* change `requires` or `level`"):
            needs_of([skill("near", 1, requires=("far",)), skill("far", 2)])


class TestMastery:
    @pytest.mark.parametrize(("n", "needed"), [(10, 9), (15, 13), (20, 17)])
    def test_takes_so_many(self, n, needed):
        assert successes_for(MASTERY, n) == needed
        for successes, standing in ((needed - 1, Standing.PRACTISING), (needed, Standing.MASTERED)):
            made = Curriculum({"one": ()}, earlier=attempts("one", successes - n, successes))
            assert made.standing("one") is standing

    def test_a_few_successes_in_a_row_are_not_enough(self):
        assert Curriculum(PAIR, earlier=attempts("one", FEWEST - 1)).standing("one") is Standing.PRACTISING

    def test_luck_rarely_masters_and_skill_always_does(self):
        """Looked at after each of 200 attempts; a skill that is done half of the time may get there by luck."""

        def ever(p):
            found = 0
            for seed in range(200):
                made, rng = Curriculum({"one": ()}), np.random.default_rng(seed)
                feed(made, [Tried(skill="one", success=bool(hit), mean_reward=0.0) for hit in rng.random(200) < p])
                found += made.histories["one"].was_mastered
            return found / 200

        assert ever(0.4) <= 0.03
        assert ever(0.5) <= 0.15
        assert ever(0.8) == 1.0

    def test_what_was_mastered_is_lost_by_a_clear_sign_only(self):
        made = Curriculum(PAIR, earlier=attempts("one", 20))
        assert feed(made, attempts("one", -10)) == []
        ((lost,),) = [made.attempted(tried) for tried in attempts("one", -1)]
        assert (lost.skill, lost.before, lost.after) == ("one", Standing.MASTERED, Standing.REGRESSED)
        assert (lost.successes, lost.attempts) == (9, WINDOW)

    def test_what_was_lost_is_mastered_again_as_it_was_at_first(self):
        made = Curriculum(PAIR, earlier=attempts("one", 20, -11))
        (again,) = feed(made, attempts("one", 20))
        assert (again.skill, again.after, again.successes) == ("one", Standing.MASTERED, 17)


class TestWaiting:
    def test_each_waits_for_the_one_before(self):
        made = Curriculum(CHAIN)
        assert made.standings() == {"near": "practising", "far": "waiting", "farther": "waiting"}
        assert made.waits_for("farther") == ("far",)
        assert made.shares() == {
            "near": pytest.approx(7 / 9),
            "far": pytest.approx(1 / 9),
            "farther": pytest.approx(1 / 9),
        }
        (begun,) = feed(made, attempts("near", 3))
        assert (begun.skill, begun.before, begun.after) == ("far", Standing.WAITING, Standing.PRACTISING)
        assert made.shares()["far"] == made.shares()["near"] == pytest.approx(7 * made.shares()["farther"])

    def test_no_longer_where_a_few_tries_show_that_it_is_good_enough_itself(self):
        made = Curriculum(CHAIN)
        changes = feed(made, attempts("far", 3))
        assert [(each.skill, each.after) for each in changes] == [
            ("far", Standing.PRACTISING),
            ("farther", Standing.PRACTISING),
        ]

    @pytest.mark.parametrize(("n", "needed"), [(3, 3), (9, 7), (20, 14)])
    def test_until_what_is_needed_succeeds_more_often_than_not(self, n, needed):
        assert successes_for(ENOUGH, n) == needed
        for successes, standing in ((needed - 1, Standing.WAITING), (needed, Standing.PRACTISING)):
            assert Curriculum(PAIR, earlier=attempts("one", successes - n, successes)).standing("two") is standing

    def test_two_successes_are_not_enough(self):
        assert successes_for(ENOUGH, 2) is None
        assert Curriculum(PAIR, earlier=attempts("one", 2)).standing("two") is Standing.WAITING

    def test_again_by_a_clear_sign_only(self):
        made = Curriculum(PAIR, earlier=attempts("one", -6, 14))
        assert feed(made, attempts("one", -13)) == []
        ((back,),) = [made.attempted(tried) for tried in attempts("one", -1)]
        assert (back.skill, back.before, back.after) == ("two", Standing.PRACTISING, Standing.WAITING)
        assert made.histories["one"].successes == 6

    def test_what_was_mastered_never_waits_again(self):
        made = Curriculum(CHAIN, earlier=attempts("near", 20) + attempts("far", 20) + attempts("near", -20))
        assert made.standings() == {"near": "regressed", "far": "mastered", "farther": "practising"}

    def test_what_is_left_out_is_not_waited_for(self):
        made = Curriculum(CHAIN)
        made.leave_out("near")
        assert made.standings() == {"far": "practising", "farther": "waiting"}
        assert made.attempted(attempts("near", 1)[0]) == ()
        assert [each.skill for each in made.attempted(attempts("far", 1)[0])] == ["far"]

    def test_in_uniform_nothing_waits_and_all_have_alike(self):
        made = Curriculum(CHAIN, "uniform", attempts("near", 20, -11))
        assert made.shares() == {name: pytest.approx(1 / 3) for name in CHAIN}
        assert made.standing("farther") is Standing.PRACTISING


class TestProgress:
    def progress(self, tries):
        return Curriculum({"one": ()}, earlier=tries).histories["one"].progress

    def test_is_hand_computed(self):
        # Of 40: 4 of the older 20, 14 of the newer.
        assert self.progress(attempts("one", -16, 4, -6, 14)) == pytest.approx(0.5)

    def test_counts_in_either_direction(self):
        assert self.progress(attempts("one", 14, -6, 4, -16)) == pytest.approx(0.5)

    def test_only_the_newest_count(self):
        assert self.progress(attempts("one", 30, -40)) == 0.0

    def test_of_a_few_is_not_known(self):
        assert self.progress(attempts("one", 4, -5)) is None

    def test_while_success_stays_the_same_the_reward_tells(self):
        steady = [Tried(skill="one", success=False, mean_reward=0.1 * i - 3.0) for i in range(40)]
        assert self.progress(steady) == pytest.approx(20 / 39)  # half of what it varied by, all in all
        assert self.progress(attempts("one", -20, reward=0.7)) == 0.0
        once = [Tried(skill="one", success=i == 30, mean_reward=0.1 * i) for i in range(40)]
        assert self.progress(once) == pytest.approx(20 / 39)  # one success tells less

    def test_practice_goes_where_success_changes(self):
        needs = {"still": (), "better": (), "worse": (), "later": ("still",)}
        made = Curriculum(
            needs,
            earlier=attempts("still", -40) + attempts("better", -20, 10, -10) + attempts("worse", -10, 10, -20),
        )
        shares = made.shares()
        assert shares["better"] == pytest.approx(shares["worse"])
        assert shares["better"] == pytest.approx((0.2 + 0.5) / 0.2 * shares["still"])

    def test_practice_goes_where_success_comes_and_goes(self):
        needs = {"now and then": (), "hardly ever": (), "never": (), "later": ("never",)}
        made = Curriculum(
            needs,
            earlier=attempts("now and then", *[-1, 1] * 20)
            + attempts("hardly ever", *[-9, 1] * 4)
            + attempts("never", -40),
        )
        shares = made.shares()
        assert shares["now and then"] == pytest.approx((0.2 + 1.0) / 0.2 * shares["never"])
        assert shares["hardly ever"] == pytest.approx((0.2 + 0.36) / 0.2 * shares["never"])

    def test_only_the_newest_ten_say_how_open_it_is(self):
        history = Curriculum({"one": ()}, earlier=attempts("one", *[-1, 1] * 10, 10)).histories["one"]
        assert history.uncertainty == 0.0

    def test_what_was_lost_comes_before_all_else(self):
        made = Curriculum(
            {"lost": (), "better": (), "later": ("better",)},
            earlier=attempts("lost", 20, -11) + attempts("better", -20, 16, -4),
        )
        assert made.shares()["lost"] > made.shares()["better"]

    def test_what_is_mastered_is_kept_by_a_small_share(self):
        made = Curriculum(CHAIN, earlier=attempts("near", 20) + attempts("far", 20) + attempts("farther", -20))
        shares = made.shares()
        assert shares["near"] == shares["far"] == pytest.approx(KEEPING / 2)
        assert shares["farther"] == pytest.approx(1.0 - KEEPING)
        feed(made, attempts("farther", 20))
        assert made.shares() == {name: pytest.approx(1 / 3) for name in CHAIN}


NAMES = ("a", "b", "c", "d")
GRAPHS = st.tuples(*(st.sets(st.sampled_from(NAMES[:i])) if i else st.just(set()) for i in range(4))).map(
    lambda needs: {name: tuple(sorted(need)) for name, need in zip(NAMES, needs, strict=True)}
)
RUNS = st.lists(st.tuples(st.sampled_from(NAMES), st.booleans(), st.integers(1, 25)), max_size=12).map(
    lambda runs: [tried for name, success, n in runs for tried in attempts(name, n if success else -n, reward=0.1 * n)]
)


@settings(deadline=None)
@given(GRAPHS, RUNS, st.sampled_from(("progress", "uniform")), st.integers(0, 300))
def test_a_restart_changes_nothing_and_no_task_starves(needs, tries, mode, cut):
    straight, resumed = Curriculum(needs, mode), Curriculum(needs, mode, tries[:cut])
    feed(straight, tries)
    feed(resumed, tries[cut:])
    assert straight.shares() == resumed.shares()
    assert straight.standings() == resumed.standings()
    shares, standings = straight.shares(), straight.standings()
    assert sum(shares.values()) == pytest.approx(1.0)
    assert shares.keys() == set(NAMES)
    assert min(shares.values()) >= 0.01
    waiting = [shares[name] for name in NAMES if standings[name] is Standing.WAITING]
    others = [shares[name] for name in NAMES if standings[name] in (Standing.PRACTISING, Standing.REGRESSED)]
    assert max(waiting, default=0.0) < min(others, default=1.0) or mode == "uniform"
