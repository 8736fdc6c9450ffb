"""Walking up and down slopes: begun only where a standing robot feels that slope, and where up is up, down is down."""

import math
from itertools import count

import numpy as np
import pytest
from readings import SPEC, random_transition, reading, transition

from agent.robots import load_robot
from agent.skill_check import check
from sim.robot import Command, CommandMode
from sim.state import Pose
from sim.terrain import BEGIN_M, GENTLE_SHARE
from sim.workspace import Workspace
from skills.registry import skills
from skills.route import ROUTES
from skills.slopes import FELT, HIGH_M, LOW_M, ON_RAMP_M, SLOPE_SKILLS, SLOPES_DEG
from skills.walk import WalkLimits

MIDWAY_M = 0.5 * (LOW_M + HIGH_M)
UP, DOWN, STEEP_UP, STEEP_DOWN = (skills()[name] for name in ("walk_up_1", "walk_down_1", "walk_up_2", "walk_down_2"))


def on_slope(slope_deg, x=0.0, y=MIDWAY_M, yaw=math.pi / 2, valid=True):
    """A robot that looks up a slope, which rises to the north, or to the south where it is steep."""
    standing = reading(x, y, yaw, valid)
    pitch, half = -math.radians(slope_deg), 0.5 * yaw
    # First turned, then pitched nose up about its own y axis.
    c, s, cp, sp = math.cos(half), math.sin(half), math.cos(pitch / 2), math.sin(pitch / 2)
    standing.orientation_xyzw = np.array([-s * sp, c * sp, s * cp, c * cp])
    return standing


def stood(robot, y, yaw):
    """What a robot reads that stands on its ramps."""
    robot.place(Pose.standing(0.0, y, yaw))
    for _ in range(25):
        robot.write(Command(CommandMode.POSITION, robot.spec.stand_position_rad, robot.spec.kp, robot.spec.kd, next(N)))
        robot.step(0.02)
    return robot.read()


N = count()


class TestStart:
    def test_the_reading_made_by_hand_looks_uphill(self):
        seen = on_slope(4.0)
        assert seen.up == pytest.approx((math.sin(math.radians(4.0)), 0.0, math.cos(math.radians(4.0))), abs=1e-6)

    @pytest.mark.parametrize(("felt", "starts"), [(0.0, False), (0.95 * FELT * 4, False), (1.05 * FELT * 4, True)])
    def test_only_where_the_ground_feels_steep_enough(self, felt, starts):
        problem = UP.start_problem(on_slope(felt))
        assert (problem is None) is starts
        assert starts or problem == f"tilted {felt:.1f} deg, which is no slope of 4 deg"

    def test_and_not_where_it_feels_like_the_steeper_one(self):
        assert UP.start_problem(on_slope(FELT * 8 - 0.1)) is None
        assert "no slope of 4 deg" in UP.start_problem(on_slope(FELT * 8 + 0.1))
        assert "no slope of 8 deg" in STEEP_UP.start_problem(on_slope(FELT * 8 - 0.1, y=-MIDWAY_M, yaw=-math.pi / 2))
        assert STEEP_UP.start_problem(on_slope(FELT * 8 + 0.1, y=-MIDWAY_M, yaw=-math.pi / 2)) is None

    def test_only_on_the_ramp_itself(self):
        assert UP.start_problem(on_slope(4.0, y=1.01 * ON_RAMP_M)) is None
        assert UP.start_problem(on_slope(4.0, y=0.99 * ON_RAMP_M)) == "not on its ramp"
        assert UP.start_problem(on_slope(4.0, y=-MIDWAY_M)) == "not on its ramp"

    def test_up_and_down_are_told_by_the_lean_whichever_way_it_faces(self):
        assert UP.start_problem(on_slope(4.0)) is None
        assert DOWN.start_problem(on_slope(4.0)) is None
        # The same lean, but the place is on the other side of the robot: above the upper, or below the lower place.
        assert UP.start_problem(on_slope(4.0, y=HIGH_M + 0.3)) == "the place is not up from here"
        assert DOWN.start_problem(on_slope(4.0, y=LOW_M - 0.19)) == "the place is not down from here"

    def test_nor_where_the_way_leads_across_the_slope(self):
        assert UP.start_problem(on_slope(4.0, x=1.5, y=HIGH_M - 0.2)) == "the place is not up from here"

    def test_there_tilted_or_unseen_as_everywhere(self):
        assert UP.start_problem(on_slope(4.0, y=HIGH_M)) == "already there"
        assert "tracker" in UP.start_problem(on_slope(4.0, valid=False))
        assert "tilted 30 deg" in UP.start_problem(on_slope(30.0))

    @pytest.mark.parametrize("name", ["minitaur", "a1"])
    def test_on_a_simulated_ramp_those_of_that_ramp_start_in_any_heading_and_no_others(self, name):
        with load_robot(name, 0, slope_deg=SLOPES_DEG[-1]) as robot:
            for y, able in ((MIDWAY_M, {UP, DOWN}), (-MIDWAY_M, {STEEP_UP, STEEP_DOWN}), (0.0, set())):
                right = 0
                for yaw in np.linspace(-math.pi, math.pi, 8, endpoint=False):
                    seen = stood(robot, y, float(yaw))
                    started = {skill for skill in SLOPE_SKILLS if skill.start_problem(seen) is None}
                    assert started <= able
                    right += started == able
                assert right >= 7, "noise of the IMU may refuse one near the border of what a slope feels like"


class TestAttempt:
    def test_what_was_climbed_is_measured(self):
        low, high = on_slope(4.0), on_slope(4.0, y=HIGH_M)
        high.base_position[2] = low.base_position[2] + 0.06
        assert UP.measures(transition([low, low], [low, high]))["climbed_m"] == pytest.approx(0.06, abs=1e-6)

    def test_standing_level_on_the_slope_costs_nothing_and_rewards_are_finite(self):
        for skill in SLOPE_SKILLS:
            seen = on_slope(skill.slope_deg)
            costs = skill.costs(transition([seen], [seen]), SPEC)
            assert costs["pitch"][0] == costs["roll"][0] == 0.0
            assert skill.limits.pitch_rad == pytest.approx(WalkLimits().pitch_rad + math.radians(skill.slope_deg))
            assert np.isfinite(skill.reward(random_transition(np.random.default_rng(0), 30))).all()


class TestSkills:
    def test_the_ramps_are_those_of_the_simulator(self):
        assert SLOPES_DEG[0] == GENTLE_SHARE * SLOPES_DEG[1]
        for skill in SLOPE_SKILLS:
            assert skill.ground.slope_deg == SLOPES_DEG[-1]
            for place in (skill.place_m[1], skill.ground.y_m):
                assert abs(place) > BEGIN_M + SPEC.hip_positions_m[:, 0].max()
                assert Workspace().margin_m(0.0, place) > Workspace().soft_margin_m

    def test_where_one_ends_its_partner_starts(self):
        for one, other, side in ((UP, DOWN, 1), (DOWN, UP, 1), (STEEP_UP, STEEP_DOWN, -1), (STEEP_DOWN, STEEP_UP, -1)):
            assert one.undone_by == other.name
            assert other.start_problem(on_slope(one.slope_deg, y=float(one.place_m[1]), yaw=side * math.pi / 2)) is None

    def test_all_mirrors_leave_them_true(self):
        for mirror in ROUTES.mirrors(SPEC, [skill.command for skill in SLOPE_SKILLS]):
            assert mirror.skill_of.tolist() == [0, 1, 2, 3]

    def test_they_run_on_request_after_the_walk_that_leads_there(self):
        assert [(skill.level.of, skill.level.value) for skill in SLOPE_SKILLS] == [
            ("walk_up", 4.0),
            ("walk_down", 4.0),
            ("walk_up", 8.0),
            ("walk_down", 8.0),
        ]
        for skill in SLOPE_SKILLS:
            assert skill.on_request
            assert set(skill.requires) <= set(skills())

    @pytest.mark.parametrize(("name", "robot"), [("walk_up_2", "minitaur"), ("walk_down_1", "a1")])
    def test_the_users_check_tries_them_on_their_slope(self, name, robot):
        assert check(name, robot) == []
