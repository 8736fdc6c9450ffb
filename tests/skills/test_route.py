"""Routes: how far a robot has come on them, what the network is told, and mirror images that leave it true."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from readings import LAYOUT, N_ACTIONS, SPEC, reading

from sim.robot import Frames
from skills.follow import FOLLOWING_SKILLS
from skills.go_to import GOING, NEAR_M
from skills.route import AHEAD_M, APART_M, ROUTES, Legs, Route

U = Route(((0.0, 0.0), (0.0, 1.0), (1.5, 1.0), (1.5, 0.0)))
LEGS = Legs.between(U.array)
places = st.tuples(st.floats(-2.0, 2.0), st.floats(-2.0, 2.0))
yaws = st.floats(-math.pi, math.pi)


def rows(*readings):
    frames = Frames(np.stack([LAYOUT.pack(o) for o in readings]), LAYOUT)
    return ROUTES.features(SPEC, frames, np.zeros(len(readings)), np.zeros((len(readings), N_ACTIONS)))


def aimed(at, route, yaw=0.0):
    return ROUTES.aim(rows(reading(*at, yaw)), np.array([route.command]))[0]


class TestProjection:
    @pytest.mark.parametrize(
        ("at", "along", "beside"),
        [
            ((0.0, -0.3), 0.0, 0.3),
            ((-0.2, 0.4), 0.4, 0.2),
            ((0.7, 1.1), 1.7, 0.1),
            ((1.4, 0.5), 3.0, 0.1),
            ((1.5, -0.4), 3.5, 0.4),
        ],
    )
    def test_by_hand(self, at, along, beside):
        assert LEGS.project(np.array(at)) == pytest.approx((along, beside))

    def test_points_along_it_by_hand(self):
        seen = LEGS.at(np.array([0.0, 0.5, 1.2, 3.0, 9.0]))
        np.testing.assert_allclose(seen, [(0, 0), (0, 0.5), (0.2, 1), (1.5, 0.5), (1.5, 0)], atol=1e-12)

    @settings(deadline=None, max_examples=100)
    @given(places)
    def test_no_point_of_the_route_is_nearer(self, at):
        along, beside = LEGS.project(np.array(at))
        on_route = LEGS.at(np.linspace(0.0, U.length_m, 500))
        gaps = np.linalg.norm(on_route - at, axis=-1)
        assert beside <= gaps.min() + 1e-9
        assert math.dist(LEGS.at(np.array([along]))[0], at) == pytest.approx(beside, abs=1e-9)

    @given(st.floats(0.0, U.length_m))
    def test_on_the_route_it_is_as_far_as_it_has_come(self, along):
        seen, beside = LEGS.project(LEGS.at(np.array([along]))[0])
        assert seen == pytest.approx(along, abs=1e-9)
        assert beside == pytest.approx(0.0, abs=1e-9)


class TestRoute:
    def test_one_that_comes_near_itself_is_refused(self):
        narrow = tuple((min(x, APART_M - 0.1), y) for x, y in U.points)
        with pytest.raises(ValueError, match=r"legs 1 and 3 .* 0\.70 m apart; leave 0\.8 m"):
            Route(narrow)

    def test_so_is_one_that_crosses_itself_far_from_all_its_points(self):
        with pytest.raises(ValueError, match=r"legs 1 and 3"):
            Route(((0.0, 0.0), (4.0, 0.0), (2.0, 2.0), (2.0, -2.0)))

    @pytest.mark.parametrize("points", [(), ((0.0, 0.0),) * 5])
    def test_no_points_and_too_many_are_refused(self, points):
        with pytest.raises(ValueError, match=f"a route of {len(points)} points; it takes 1 to 4"):
            Route(points)

    def test_both_ways_to_stand_on_an_axis_are_one_command(self):
        one, other = (Route(((0.3, 0.0),), axis_rad=0.4 + turn).command for turn in (0.0, math.pi))
        assert one == pytest.approx(other)
        assert one[-2:] == pytest.approx((math.cos(0.8), math.sin(0.8)))
        assert Route(((0.3, 0.0),)).command[-2:] == (0.0, 0.0)

    @pytest.mark.parametrize("axis_rad", [0.0, math.pi / 2, math.pi])
    def test_an_axis_along_the_mirror_or_across_it_is_its_own_image(self, axis_rad):
        commands = [Route(((0.0, 0.4),), axis_rad).command]
        assert len(ROUTES.mirrors(SPEC, commands)) == 3
        assert len(ROUTES.mirrors(SPEC, [Route(((0.0, 0.4),), 0.3).command])) == 1


class TestAim:
    def test_a_place_is_told_as_in_going_to_it(self):
        row = rows(reading(0.2, -0.1, 0.7))
        told = ROUTES.aim(row, np.array([Route(((0.5, 0.3),)).command]))[0]
        place = GOING.aim(row, np.array([(0.5, 0.3)]))[0]
        np.testing.assert_allclose(told, [*place] * 4 + [0.0, 0.0], atol=1e-6)

    def test_sees_round_the_corner(self):
        told = aimed((0.0, 0.8), U, math.pi / 2).reshape(5, 2)
        for (ahead, left), off in zip(told, [(0.2, -0.1), (0.2, -0.4), (0.2, -0.7), (0.2, -1.0)], strict=False):
            length = math.hypot(*off)
            assert (ahead, left) == pytest.approx(np.array(off) / (length + NEAR_M), abs=1e-5)
        assert AHEAD_M.tolist() == pytest.approx([0.3, 0.6, 0.9, 1.2])

    def test_tells_the_axis_near_the_end_either_way_round(self):
        route = Route(((0.0, 0.0),), axis_rad=0.5)
        expected = math.cos(0.6), math.sin(0.6)
        assert aimed((0.0, 0.0), route, 0.2)[-2:] == pytest.approx(expected, abs=1e-5)
        assert aimed((0.0, 0.0), route, 0.2 - math.pi)[-2:] == pytest.approx(expected, abs=1e-5)
        assert aimed((0.0, NEAR_M), route, 0.2)[-2:] == pytest.approx(0.5 * np.array(expected), abs=1e-5)

    def test_of_a_batch_is_that_of_each(self):
        rng = np.random.default_rng(0)
        seen = rows(*(reading(*rng.uniform(-1.5, 1.5, 2), rng.uniform(-3, 3)) for _ in range(12)))
        commands = np.array([FOLLOWING_SKILLS[k].command for k in rng.integers(len(FOLLOWING_SKILLS), size=12)])
        together = ROUTES.aim(seen.reshape(3, 4, -1), commands.reshape(3, 4, -1))
        alone = [ROUTES.aim(row, command) for row, command in zip(seen, commands, strict=True)]
        np.testing.assert_allclose(together.reshape(12, -1), alone, atol=1e-6)


class TestMirrors:
    COMMANDS = tuple(skill.command for skill in FOLLOWING_SKILLS)
    ALL = ROUTES.mirrors(SPEC, COMMANDS)

    def test_all_skills_have_partners_in_all_three(self):
        assert len(self.ALL) == 3
        names = [skill.name for skill in FOLLOWING_SKILLS]
        partner = dict(zip(names, [names[k] for k in self.ALL[0].skill_of], strict=True))
        assert partner["follow_2_right"] == "follow_2_left"
        assert partner["walk_to_3_north"] == "walk_to_3_north"

    @pytest.mark.parametrize("index", range(3), ids=["left_right", "front_back", "both"])
    @settings(deadline=None, max_examples=50)
    @given(at=places, yaw=yaws)
    def test_what_is_told_is_what_the_mirror_says(self, index, at, yaw):
        mirror = self.ALL[index]
        end, side = ((1, -1), (-1, 1), (-1, -1))[index]
        row = rows(reading(*at, yaw))
        for k in range(len(FOLLOWING_SKILLS)):
            theirs = ROUTES.aim(row, np.array([self.COMMANDS[mirror.skill_of[k]]]))
            ours = ROUTES.aim(mirror.rows(row), np.array([self.COMMANDS[k]]))
            # Cosine and sine of the turned angle: the sine turns over with either mirror, and back with both.
            np.testing.assert_allclose(ours, theirs * ((end, side) * 4 + (1, end * side)), atol=1e-4)
