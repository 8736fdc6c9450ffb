"""Going to places: what the network is told of them, rewards by hand, and mirror images that leave them true."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from readings import LAYOUT, N_ACTIONS, SPEC, STEP_S, random_transition, reading, transition

from sim.robot import Frames
from skills.gait import GAIT
from skills.go_to import CLEARLY_M, GOING, GOING_SKILLS, NEAR_M, THERE_M, GoingReward, GoTo
from skills.registry import skills
from skills.walk import WALKING_SKILLS

W = GoingReward()
EAST = GoTo("east", (0.4, 0.0))
places = st.tuples(st.floats(-1.5, 1.5), st.floats(-1.5, 1.5))
yaws = st.floats(-math.pi, math.pi)


def rows(*readings):
    frames = Frames(np.stack([LAYOUT.pack(o) for o in readings]), LAYOUT)
    return GOING.features(SPEC, frames, np.zeros(len(readings)), np.zeros((len(readings), N_ACTIONS)))


def aimed(at, place, yaw=0.0):
    return GOING.aim(rows(reading(*at, yaw)), np.array([place]))[0]


class TestAim:
    def test_by_hand(self):
        # 0.3 m north of a robot that looks north is 0.3 m ahead of it; seen from the south it is to the left.
        assert aimed((0.2, 0.1), (0.2, 0.4), math.pi / 2) == pytest.approx((0.3 / (0.3 + NEAR_M), 0), abs=1e-5)
        assert aimed((0.2, 0.1), (0.2, 0.4), 0.0) == pytest.approx((0, 0.3 / (0.3 + NEAR_M)), abs=1e-5)

    @settings(deadline=None, max_examples=50)
    @given(places, places, yaws, places, yaws)
    def test_wherever_robot_and_place_are_moved_together_nothing_changes(self, at, place, yaw, shift, turn):
        c, s = math.cos(turn), math.sin(turn)

        def moved(point):
            return c * point[0] - s * point[1] + shift[0], s * point[0] + c * point[1] + shift[1]

        before, after = aimed(at, place, yaw), aimed(moved(at), moved(place), yaw + turn)
        np.testing.assert_allclose(before, after, atol=2e-5)

    @settings(deadline=None, max_examples=50)
    @given(places, places, yaws)
    def test_tells_the_distance_within_a_length_of_one(self, at, place, yaw):
        length = np.linalg.norm(aimed(at, place, yaw))
        distance = math.dist(at, place)
        assert length < 1.0
        assert length / (1.0 - length) * NEAR_M == pytest.approx(distance, abs=1e-3)

    def test_other_families_are_told_the_command_itself(self):
        commands = np.array([[1.0, -0.5]])
        assert GAIT.aim(np.zeros((1, 3)), commands) is commands


class TestFeatures:
    def test_begin_as_those_of_walking(self):
        steps = random_transition(np.random.default_rng(0), 20)
        phase, last = np.linspace(0, 6, 20), steps.action
        walking = GAIT.features(SPEC, steps.frame, phase, last)
        going = GOING.features(SPEC, steps.frame, phase, last)
        assert going.shape == (20, GOING.feature_size(SPEC))
        np.testing.assert_array_equal(going[:, : walking.shape[1]], walking)
        np.testing.assert_array_equal(GOING.lean_rad(going), GAIT.lean_rad(walking))

    def test_end_with_place_and_heading(self):
        assert rows(reading(0.7, -1.2, math.pi / 6))[0, -4:] == pytest.approx((0.7, -1.2, math.sqrt(0.75), 0.5))


class TestMirrors:
    COMMANDS = tuple(skill.command for skill in GOING_SKILLS)
    ALL = GOING.mirrors(SPEC, COMMANDS)

    def test_all_twelve_places_have_partners_in_all_three(self):
        assert len(self.ALL) == 3

    def test_places_without_partners_leave_only_the_robot_turned_about(self):
        (mirror,) = GOING.mirrors(SPEC, [(0.4, 0.2), (0.2, 0.0)])
        assert mirror.skill_of.tolist() == [0, 1]

    @pytest.mark.parametrize("index", range(3), ids=["left_right", "front_back", "both"])
    @settings(deadline=None, max_examples=50)
    @given(at=places, yaw=yaws)
    def test_a_place_that_is_ahead_is_where_the_mirror_says(self, index, at, yaw):
        mirror = self.ALL[index]
        end, side = ((1, -1), (-1, 1), (-1, -1))[index]
        row = rows(reading(*at, yaw))
        for k in range(len(GOING_SKILLS)):
            theirs = GOING.aim(row, np.array([self.COMMANDS[mirror.skill_of[k]]]))
            ours = GOING.aim(mirror.rows(row), np.array([self.COMMANDS[k]]))
            np.testing.assert_allclose(ours, theirs * (end, side), atol=1e-5)

    @pytest.mark.parametrize("index", range(3), ids=["left_right", "front_back", "both"])
    def test_the_mirrored_step_earns_what_the_step_earns_with_the_partners_place(self, index):
        mirror, rng = self.ALL[index], np.random.default_rng(index)
        seen = rng.uniform((-1, -1, -3), (1, 1, 3), (50, 3))
        across = (-1, -1, 1)[index]
        ours = [reading(across * x, y, (math.pi - yaw, -yaw, math.pi + yaw)[index]) for x, y, yaw in seen]
        theirs = [reading(x, y, yaw) for x, y, yaw in seen]
        for k, skill in enumerate(GOING_SKILLS):
            partner = GOING_SKILLS[mirror.skill_of[k]]
            have, want = (
                one.reward(transition(steps[:-1], steps[1:])) for one, steps in ((skill, ours), (partner, theirs))
            )
            np.testing.assert_allclose(have, want, atol=1e-3)


class TestReward:
    def terms(self, before, after, skill=EAST):
        return {name: float(term[0]) for name, term in skill.reward_terms(transition([before], [after])).items()}

    def test_a_step_straight_ahead_by_hand(self):
        got = self.terms(reading(0.0, 0.0), reading(0.01, 0.0))
        assert got["progress"] == pytest.approx(0.01 / (W.reference_mps * STEP_S), abs=1e-3)
        assert got["hurry"] == -W.hurry
        assert [got[k] for k in ("facing", "roughness", "there", "fall")] == pytest.approx([0] * 4, abs=1e-5)

    def test_walking_backward_is_as_good(self):
        steps = reading(0.0, 0.0, math.pi), reading(0.01, 0.0, math.pi)
        assert self.terms(*steps) == pytest.approx(self.terms(reading(0, 0), reading(0.01, 0)), abs=1e-4)

    def test_more_than_a_calm_gait_gives_is_not_rewarded_and_its_opposite_costs_more(self):
        away, back = reading(0.0, 0.0), reading(0.08, 0.0)
        assert self.terms(away, back)["progress"] == W.cap
        assert self.terms(back, away)["progress"] == -W.setback_cap

    def test_turning_either_end_to_the_place_by_hand(self):
        share = 0.4 / (0.4 + NEAR_M)
        got = self.terms(reading(yaw=0.5), reading(yaw=0.46))
        assert got["facing"] == pytest.approx(W.facing_m * 0.04 * share / (W.reference_mps * STEP_S), abs=1e-3)
        other_end = self.terms(reading(yaw=2.5), reading(yaw=2.54))
        assert other_end["facing"] == pytest.approx(got["facing"], abs=1e-3)

    @settings(deadline=None, max_examples=50)
    @given(
        st.lists(
            st.tuples(st.floats(-0.015, 0.015), st.floats(-0.015, 0.015), st.floats(-0.04, 0.04)),
            min_size=1,
            max_size=20,
        )
    )
    def test_what_shaping_gives_on_a_way_back_to_its_beginning_is_nothing(self, moves):
        x, y, yaw = np.cumsum([(-1.0, -0.5, 0.3), *moves, *[tuple(-v for v in move) for move in moves]], axis=0).T
        way = [reading(*at) for at in zip(x, y, yaw, strict=True)]
        terms = EAST.reward_terms(transition(way[:-1], way[1:]))
        assert float(np.sum(terms["progress"])) == pytest.approx(0.0, abs=1e-2)
        assert float(np.sum(terms["facing"])) == pytest.approx(0.0, abs=1e-2)

    def test_arrival_and_a_fall_end_it_and_count_once(self):
        there, tipped = reading(0.4 - 0.09, 0.0), reading(0.0, 0.0, roll=1.0)
        steps = transition([reading(0.29, 0.0), reading()], [there, tipped])
        assert EAST.terminated(steps).tolist() == [True, True]
        terms = EAST.reward_terms(steps)
        assert terms["there"].tolist() == [W.there, 0.0]
        assert terms["fall"].tolist() == [0.0, -W.fall]

    def test_a_fall_costs_more_than_standing_still_for_ever(self):
        assert W.fall > W.hurry / (1.0 - 0.98)


class TestAttempt:
    def test_is_over_where_the_tracker_sees_it_there(self):
        assert EAST.over(reading(0.4 + 0.99 * THERE_M, 0.0)) == "there"
        assert EAST.over(reading(0.4 + 1.01 * THERE_M, 0.0)) is None
        assert EAST.over(reading(0.4, 0.0, valid=False)) is None

    def test_starts_upright_seen_and_clearly_elsewhere(self):
        assert EAST.start_problem(reading()) is None
        assert "there" in EAST.start_problem(reading(0.4 - THERE_M - 0.9 * CLEARLY_M))
        assert EAST.start_problem(reading(0.4 - THERE_M - 1.1 * CLEARLY_M)) is None
        assert "tracker" in EAST.start_problem(reading(valid=False))
        assert "tilted" in EAST.start_problem(reading(roll=0.6))

    def test_success_is_where_it_was_seen_last(self):
        near, far = reading(0.35, 0.0), reading(0.0, 0.0)
        assert EAST.success(transition([far], [near]))
        assert not EAST.success(transition([near, near], [near, far]))
        assert EAST.measures(transition([far], [near]))["off_m"] == pytest.approx(0.05, abs=1e-5)


class TestSkills:
    def test_twelve_places_of_their_own_run_only_on_request(self):
        assert len({skill.command for skill in GOING_SKILLS}) == 12
        for skill in GOING_SKILLS:
            assert skills()[skill.name] is skill
            assert skill.on_request
            assert np.abs(skill.prior_action(SPEC)).max() == 0

    def test_costs_are_those_of_walking(self):
        steps = random_transition(np.random.default_rng(1), 30)
        walking = WALKING_SKILLS[0].costs(steps, SPEC)
        for name, cost in GOING_SKILLS[0].costs(steps, SPEC).items():
            np.testing.assert_array_equal(cost, walking[name])
        assert any(cost.any() for cost in walking.values())
