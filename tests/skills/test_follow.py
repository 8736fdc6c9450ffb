"""Following routes: rewards by hand, short cuts that do not pay, turns to be passed in order, the charger's heading."""

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from readings import LAYOUT, N_ACTIONS, SPEC, STEP_S, one_step, random_transition, reading, transition

from agent.opening import abilities_of
from agent.scene import Scene
from sim.robot import Transition
from sim.workspace import Workspace
from skills.follow import (
    ALIGNED_RAD,
    CHARGER,
    CLEARLY_RAD,
    FOLLOWING_SKILLS,
    PASSED_M,
    RETURN_TO_CHARGER,
    Follow,
)
from skills.go_to import CLEARLY_M, NEAR_M, THERE_M, GoingReward, GoTo
from skills.registry import skills
from skills.return_home import HOME_RADIUS_M
from skills.route import Route
from skills.skill import Level

W = GoingReward()
CORNER = Follow("corner", "a corner", Route(((0.0, 0.0), (0.0, 1.0), (1.0, 1.0))), undone_by="place")
PLACE = Follow("place", "a place", Route(((0.4, 0.2),)), undone_by="corner")
STEP_M = 0.012
"""Between readings of the walks below: what earns 1 per step."""
CHARGER_X, CHARGER_Y = CHARGER.points[0]


def walked(*turns, yaw=0.0):
    """Readings on straight lines between places."""
    out = []
    for (ax, ay), (bx, by) in pairwise(turns):
        n = max(1, round(math.dist((ax, ay), (bx, by)) / STEP_M))
        out += [reading(ax + k / n * (bx - ax), ay + k / n * (by - ay), yaw) for k in range(n)]
    return [*out, reading(*turns[-1], yaw)]


def steps_of(way):
    return transition(way[:-1], way[1:])


def earned(skill, way):
    return float(skill.reward(steps_of(way)).sum())


class TestReward:
    def test_of_a_place_is_that_of_going_to_it(self):
        rng = np.random.default_rng(0)
        steps = random_transition(rng, 40)
        mine, theirs = PLACE.reward_terms(steps), GoTo("same", (0.4, 0.2)).reward_terms(steps)
        assert mine.keys() == theirs.keys()
        for name, term in theirs.items():
            np.testing.assert_allclose(mine[name], term, atol=1e-5)

    def test_a_step_along_the_route_by_hand(self):
        terms = CORNER.reward_terms(transition([reading(0.0, 0.3, math.pi / 2)], [reading(0.0, 0.306, math.pi / 2)]))
        assert terms["progress"][0] == pytest.approx(0.006 / (W.reference_mps * STEP_S), abs=1e-3)
        assert [terms[k][0] for k in ("facing", "there", "fall")] == pytest.approx([0.0] * 3, abs=1e-5)

    def test_a_step_back_to_the_route_is_worth_as_much(self):
        terms = CORNER.reward_terms(transition([reading(0.2, 0.3)], [reading(0.194, 0.3)]))
        assert terms["progress"][0] == pytest.approx(0.006 / (W.reference_mps * STEP_S), abs=1e-3)

    def test_a_short_cut_earns_less_than_the_path(self):
        path, short = walked((0, 0), (0, 1), (1, 1)), walked((0, 0), (1, 1))
        assert len(short) < len(path)
        assert earned(CORNER, short) < 0.75 * earned(CORNER, path)
        assert CORNER.success(steps_of(path))
        assert not CORNER.success(steps_of(short))

    def test_changing_sides_of_a_corner_to_and_fro_earns_nothing(self):
        # Inside of a corner the nearest point jumps from one leg to the other, here by 0.6 m.
        one, other = reading(0.3, 0.69), reading(0.31, 0.7)
        there, back = (
            float(CORNER.reward_terms(transition([a], [b]))["progress"][0]) for a, b in ((one, other), (other, one))
        )
        assert (there, back) == (W.cap, -W.setback_cap)

    @settings(deadline=None, max_examples=50)
    @given(
        st.lists(
            st.tuples(st.floats(-0.01, 0.01), st.floats(-0.01, 0.01), st.floats(-0.02, 0.02)), min_size=1, max_size=12
        )
    )
    def test_what_shaping_gives_on_a_way_back_to_its_beginning_is_nothing(self, moves):
        x, y, yaw = np.cumsum([(-0.3, 0.4, 0.3), *moves, *[tuple(-v for v in move) for move in moves]], axis=0).T
        terms = CORNER.reward_terms(steps_of([reading(*at) for at in zip(x, y, yaw, strict=True)]))
        assert float(np.sum(terms["progress"])) == pytest.approx(0.0, abs=1e-2)
        assert float(np.sum(terms["facing"])) == pytest.approx(0.0, abs=1e-2)

    @pytest.mark.parametrize("skill", FOLLOWING_SKILLS, ids=lambda skill: skill.name)
    def test_going_there_earns_more_than_staying_away(self, skill):
        x, y = skill.route.points[0]
        there = walked((x, y - 0.3), *skill.route.points)
        assert earned(skill, there) > W.there > 0.0 > earned(skill, [there[0]] * len(there))

    @pytest.mark.parametrize("skill", FOLLOWING_SKILLS, ids=lambda skill: skill.name)
    def test_is_finite_and_that_of_each_step_alone(self, skill):
        steps = random_transition(np.random.default_rng(1), 30)
        together = skill.reward(steps)
        assert np.isfinite(together).all()
        np.testing.assert_allclose([skill.reward(one_step(steps, k))[0] for k in range(30)], together, atol=1e-6)

    def test_what_was_done_for_one_path_teaches_another(self):
        # Relabelling: on the way along one leg each skill is paid for what the step did for it.
        right, left = skills()["follow_2_right"], skills()["follow_2_left"]
        way = walked((0.0, 0.9), (1.0, 0.9))
        assert earned(right, way) > 0.0 > earned(left, way)


class TestSuccess:
    def test_turns_have_to_be_passed(self):
        def way(by):
            return steps_of(walked((0, 0), (by, 1 - by), (1, 1)))

        assert CORNER.success(way(0.99 * PASSED_M / math.sqrt(2)))
        assert not CORNER.success(way(1.05 * PASSED_M / math.sqrt(2)))

    def test_and_in_their_order(self):
        u = Follow("u", "u", Route(((0, 0), (0, 1), (1.2, 1), (1.2, 0))), undone_by="corner")
        ordered = ((0, 0), (0, 1), (1.2, 1), (1.2, 0))
        crossed = ((0, 0), (1.2, 1), (0, 1), (1.2, 0))
        assert u.success(steps_of(walked(*ordered)))
        assert not u.success(steps_of(walked(*crossed)))

    def test_ends_where_it_was_seen_last(self):
        path = walked((0, 0), (0, 1), (1, 1))
        assert not CORNER.success(steps_of([*path, reading(1.0, 1.0 - 1.1 * THERE_M)]))
        assert CORNER.success(steps_of([*path, reading(1.0, 1.0 - 0.9 * THERE_M)]))
        assert not CORNER.success(nothing())

    def test_measures_what_is_left_and_how_far_off_it_was(self):
        measures = CORNER.measures(steps_of(walked((0.1, 0.0), (0.1, 0.5))))
        assert measures == {"off_m": pytest.approx(1.6, abs=1e-4), "beside_m": pytest.approx(0.1, abs=1e-4)}


def nothing():
    """An attempt that ended before its first step."""
    steps = steps_of([reading(), reading()])
    empty = type(steps.frame)(np.zeros((0, LAYOUT.width)), LAYOUT)
    none = np.zeros((0, N_ACTIONS))
    return Transition(frame=empty, action=none, previous_action=none, next_frame=empty, dt_s=np.zeros(0))


class TestStart:
    def test_a_path_is_begun_before_its_first_turn(self):
        assert CORNER.start_problem(reading(0.2, 0.75)) is None
        assert CORNER.start_problem(reading(-0.5, 0.3)) is None
        assert CORNER.start_problem(reading(0.5, 0.9)) == "past the first turn"

    def test_from_where_the_reset_home_ends_something_can_always_start(self):
        rng = np.random.default_rng(0)
        for angle, radius in zip(rng.uniform(-math.pi, math.pi, 300), rng.uniform(0, HOME_RADIUS_M, 300), strict=True):
            home = reading(radius * math.cos(angle), radius * math.sin(angle))
            for skill in FOLLOWING_SKILLS:
                problem = skill.start_problem(home)
                assert problem is None or (problem == "already there" and not skill.route.leg_lengths_m)

    @pytest.mark.parametrize("skill", FOLLOWING_SKILLS, ids=lambda skill: skill.name)
    def test_where_one_has_ended_what_undoes_it_starts_and_leads_to_where_it_starts(self, skill):
        undoer = skills()[skill.undone_by]
        assert undoer.start_problem(reading(*skill.route.points[-1], skill.route.axis_rad or 0.0)) is None
        assert skill.start_problem(reading(*undoer.route.points[-1])) is None
        assert undoer.level is None or skill.level is None or undoer.level == skill.level

    def test_so_where_both_run_no_reset_is_called_for(self):
        def stranded(*names):
            scene = Scene(abilities_of(names, SPEC), Workspace())
            return scene.stranded(scene.situation(reading(*skills()["follow_3_left"].route.points[-1])))

        assert stranded("follow_3_left", "follow_3_right", "walk_to_1_north", "walk_to_1_south") == frozenset()
        assert stranded("follow_3_left", "walk_to_1_north") == {"follow_3_left"}

    def test_all_ends_lie_well_within_the_default_fence(self):
        fence = Workspace()
        for skill in FOLLOWING_SKILLS:
            for point in skill.route.points:
                assert fence.margin_m(*point) > fence.soft_margin_m + 0.4


class TestCharger:
    def test_takes_both_place_and_heading_either_way_round(self):
        for about in (0.0, math.pi):
            for yaw, there in ((0.98 * ALIGNED_RAD, True), (1.02 * ALIGNED_RAD, False), (-0.98 * ALIGNED_RAD, True)):
                seen = reading(CHARGER_X, CHARGER_Y + 0.9 * THERE_M, yaw + about)
                assert (RETURN_TO_CHARGER.over(seen) == "there") is there
        assert RETURN_TO_CHARGER.over(reading(CHARGER_X, CHARGER_Y + 1.1 * THERE_M)) is None

    def test_is_begun_where_it_is_clearly_not_there(self):
        def problem(more_m, more_rad):
            return RETURN_TO_CHARGER.start_problem(reading(CHARGER_X, CHARGER_Y + more_m, more_rad))

        assert problem(0.0, ALIGNED_RAD + 0.9 * CLEARLY_RAD) == "already there"
        assert problem(0.0, ALIGNED_RAD + 1.1 * CLEARLY_RAD) is None
        assert problem(THERE_M + 0.9 * CLEARLY_M, 0.0) == "already there"
        assert problem(THERE_M + 1.1 * CLEARLY_M, 0.0) is None

    def test_turning_to_its_axis_pays_there_and_far_away_does_not(self):
        def facing(x, y):
            steps = transition([reading(x, y, 0.8)], [reading(x, y, 0.78)])
            return float(RETURN_TO_CHARGER.reward_terms(steps)["facing"][0])

        unit = W.facing_m * 0.02 / (W.reference_mps * STEP_S)
        assert facing(CHARGER_X, CHARGER_Y) == pytest.approx(unit, abs=1e-3)
        # So far south that the way there is across its axis, turning to the axis is turning away.
        away = 1.8
        share = away / (away + NEAR_M)
        assert facing(CHARGER_X, CHARGER_Y - away) == pytest.approx(unit * (1.0 - share - share), abs=1e-3)


class TestSkills:
    def test_they_run_only_on_request_and_mirror_places_of_one_level_are_equally_hard(self):
        assert len({skill.command for skill in FOLLOWING_SKILLS}) == len(FOLLOWING_SKILLS)
        for skill in FOLLOWING_SKILLS:
            assert skills()[skill.name] is skill
            assert skill.on_request
            assert np.abs(skill.prior_action(SPEC)).max() == 0

    def test_levels_grow_by_distance_and_length(self):
        levels = [skill.level for skill in FOLLOWING_SKILLS if skill.level is not None]
        distances = [level.value for level in levels if level.of == "walk_to"]
        lengths = [level.value for level in levels if level.of == "follow"]
        assert distances == [0.75, 0.75, 1.5, 1.5, 3.0, 3.0]
        assert lengths == [2.0, 2.0, 3.05, 3.05, 4.5, 4.5]
        assert Level(of="walk_to", axis="distance_m", value=3.0) in levels

    def test_what_they_require_is_there(self):
        for skill in FOLLOWING_SKILLS:
            assert set(skill.requires) <= set(skills())
        assert RETURN_TO_CHARGER.requires
