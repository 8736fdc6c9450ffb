"""The hand's family and the pair of tasks that undo each other, by readings made by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
from arm_readings import ON_TRAY_M, SPEC, reading, steps

from agent.config import LearnerConfig
from sim.a1 import a1_spec
from sim.robot import FrameLayout, Frames
from skills.arm_kinematics import hand_pose
from skills.carry import (
    BORDER_M,
    CARRYING_SKILLS,
    CENTRE_OBJECT,
    CLEARLY_M,
    GOAL_M,
    HAND_SHARE,
    HOME_M,
    LYING_BELOW_M,
    MIDDLE_M,
    REACH_M,
    SCALE_M,
    ZONE_M,
)
from skills.hand_control import (
    BACK_S,
    CLEAR_M,
    DONE,
    HAND_FAMILY,
    LET_GO_S,
    MET_N,
    MOST_TURN_RAD,
    RETREAT_S,
    SPEED_MPS,
    TURN_RADPS,
    HandActuator,
)

ARM = SPEC.arm
DT_S = 0.02
OUT, HOME = CARRYING_SKILLS


class TestActuator:
    def hand(self, command):
        return hand_pose(ARM, command.target[:-1])

    def test_it_begins_where_the_hand_is_and_moves_it_at_the_speed_of_the_action(self):
        actuator = HandActuator(SPEC, DT_S)
        actuator.start(reading())
        begin = hand_pose(ARM, SPEC.stand_position_rad[:-1]).position_m
        for _ in range(25):
            command = actuator.command(np.array((0.5, -1.0, 0.0, 0.0, 0.0)), reading())
        np.testing.assert_allclose(
            self.hand(command).position_m - begin, 0.5 * SPEED_MPS * np.array((0.5, -1.0, 0.0)), atol=5e-3
        )

    @pytest.mark.parametrize("action", [(1, 1, 1, 1, 1), (-1, -1, -1, -1, -1), (1, -1, -1, 1, 0)])
    def test_neither_hand_nor_joints_leave_their_limits(self, action):
        actuator = HandActuator(SPEC, DT_S)
        actuator.start(reading())
        before = SPEC.stand_position_rad
        for _ in range(200):
            target = actuator.command(np.array(action, np.float32), reading()).target
            assert (np.abs(target - before) <= SPEC.velocity_limit_radps * DT_S).all()
            before = target
        assert (before >= SPEC.position_lower_rad).all()
        assert (before <= SPEC.position_upper_rad).all()
        place = hand_pose(ARM, before[:-1]).position_m
        assert (place >= ARM.box_lower_m - 2e-3).all()
        assert (place <= ARM.box_upper_m + 2e-3).all()

    def test_the_hand_turns_no_further_than_a_quarter_either_way(self):
        actuator = HandActuator(SPEC, DT_S)
        actuator.start(reading())
        turn = np.array((0.0, 0.0, 0.0, 0.5, 0.0))
        for _ in range(20):
            command = actuator.command(turn, reading())
        rotation = self.hand(command).rotation
        assert math.atan2(rotation[1, 0], rotation[0, 0]) == pytest.approx(0.5 * TURN_RADPS * 0.4, abs=0.02)
        for _ in range(200):
            command = actuator.command(turn, reading())
        rotation = self.hand(command).rotation
        assert math.atan2(rotation[1, 0], rotation[0, 0]) == pytest.approx(MOST_TURN_RAD, abs=0.02)

    @pytest.mark.parametrize(("action", "fingers"), [(1.0, 0.0), (-1.0, 0.3), (0.0, 0.15)])
    def test_fingers_close_as_far_as_they_are_told(self, action, fingers):
        actuator = HandActuator(SPEC, DT_S)
        actuator.start(reading())
        for _ in range(50):
            command = actuator.command(np.array((0.0, 0.0, 0.0, 0.0, action)), reading())
        assert command.target[-1] == pytest.approx(fingers)


class TestRetreat:
    """What the hand does after an attempt."""

    LOW, CLEAR = (0.5, 0.0, 0.05, 0.0), (0.5, 0.0, CLEAR_M + 0.01, 0.0)

    def test_it_lets_go_before_it_rises_and_is_done_once_it_is_clear(self):
        retreat = HAND_FAMILY.coming_to_rest(SPEC)
        assert retreat(reading(hand=self.CLEAR), 0.0).tolist() == [0, 0, 0, 0, -1]
        assert retreat(reading(hand=self.LOW), LET_GO_S).tolist() == [0, 0, 1, 0, -1]
        assert retreat(reading(hand=self.CLEAR), LET_GO_S + 0.5) is None

    @pytest.mark.parametrize("met", [{"force": (0.0, 0.0, -MET_N - 1.0)}, {"stopped": 1.0}])
    def test_it_backs_off_from_under_the_handle_then_rises_again(self, met):
        under = {"hand": (0.65, 0.0, 0.05, 0.0), "handle": (0.685, 0.03, 0.105)}
        retreat = HAND_FAMILY.coming_to_rest(SPEC)
        assert retreat(reading(**under, **met), 1.0).tolist() == [-1, 0, 0, 0, -1]
        assert retreat(reading(**under), 1.0 + 0.9 * BACK_S).tolist() == [-1, 0, 0, 0, -1]
        assert retreat(reading(**under), 1.0 + BACK_S).tolist() == [0, 0, 1, 0, -1]

    @pytest.mark.parametrize("met", [{"force": (0.0, 0.0, -MET_N - 1.0)}, {"stopped": 1.0}])
    @pytest.mark.parametrize("hand", [LOW, (0.65, 0.15, 0.05, 0.0), (0.65, 0.03, 0.19, 0.0)])
    def test_elsewhere_it_only_rises_for_it_would_take_the_object_along(self, hand, met):
        retreat = HAND_FAMILY.coming_to_rest(SPEC)
        assert retreat(reading(hand=hand, handle=(0.685, 0.03, 0.105), **met), 1.0).tolist() == [0, 0, 1, 0, -1]

    def test_it_does_not_try_for_ever(self):
        retreat = HAND_FAMILY.coming_to_rest(SPEC)
        assert retreat(reading(hand=self.LOW, stopped=1.0), RETREAT_S) is None


class TestFamily:
    def row(self, **what):
        layout = FrameLayout.of(SPEC)
        frames = Frames(layout.pack(reading(**what))[None], layout)
        last = np.arange(5.0)[None]
        return HAND_FAMILY.features(SPEC, frames, np.zeros(1), last)[0]

    def test_features_hold_what_was_measured_and_sent(self):
        row = self.row(
            thing=(0.68, 0.2, 0.04, 0.1),
            hand=(0.54, 0.0, 0.145, -0.2),
            force=(0.0, 30.0, -60.0),
            door=0.1,
            handle=(0.65, -0.02, 0.105),
        )
        assert row.shape == (HAND_FAMILY.feature_size(SPEC),)
        np.testing.assert_allclose(row[:3], 0.0, atol=1e-6)
        np.testing.assert_allclose(row[3:5], 1.0, atol=1e-6)
        np.testing.assert_allclose(row[6:9], (0.7, 1.0, -0.525), atol=1e-6)
        np.testing.assert_allclose(row[9:11], (math.cos(1.2), math.sin(1.2)), atol=1e-6)
        np.testing.assert_allclose(row[11:15], (0.55, -0.1, -0.2, 0.5), atol=1e-6)
        finely = np.array((0.14, 0.2, -0.105, 0.11, -0.02, -0.04, 0.105)) / 0.03
        np.testing.assert_allclose(row[15:22], np.tanh(finely), atol=1e-6)
        np.testing.assert_allclose(row[22:24], (-0.2 / MOST_TURN_RAD, 0.25 / 0.3), atol=1e-6)
        np.testing.assert_allclose(row[24:27], (0.0, 0.5, -1.0), atol=1e-6)
        np.testing.assert_array_equal(row[27:], np.arange(5.0))

    def test_a_cube_looks_the_same_after_a_quarter_turn(self):
        first, second = (self.row(thing=(0.5, 0.0, 0.04, yaw)) for yaw in (0.3, 0.3 + math.pi / 2))
        np.testing.assert_allclose(first, second, atol=1e-5)

    def test_a_robot_without_an_arm_cannot_have_it(self):
        assert HAND_FAMILY.problem(SPEC) is None
        assert "has no arm" in HAND_FAMILY.problem(a1_spec())


class TestReach:
    """Where tasks begin, where only the reset does, and what is lost."""

    (_, FAR), (_, LEFT) = REACH_M
    BORDER = (FAR - 0.5 * BORDER_M, 0.1)
    BEYOND = (0.55, LEFT + 0.01)

    def test_at_the_border_only_the_reset_begins(self):
        at_border = reading(thing=(*self.BORDER, ON_TRAY_M, 0.0))
        assert "out of reach" in OUT.start_problem(at_border)
        assert CENTRE_OBJECT.start_problem(at_border) is None
        assert "out of reach" in CENTRE_OBJECT.start_problem(reading(thing=(*self.BEYOND, ON_TRAY_M, 0.0)))
        assert "is to be" in CENTRE_OBJECT.start_problem(reading(thing=(*MIDDLE_M, ON_TRAY_M, 0.0)))

    def test_none_begins_that_the_noise_of_the_camera_would_end(self):
        x, y = GOAL_M
        almost, clearly = (reading(thing=(x - ZONE_M - far * CLEARLY_M, y, ON_TRAY_M, 0.0)) for far in (0.5, 1.5))
        assert OUT.over(almost) is None
        assert "is to be" in OUT.start_problem(almost)
        assert OUT.start_problem(clearly) is None

    def test_under_the_handle_of_the_door_nothing_begins(self):
        under, beside = (
            [
                skill.start_problem(reading(thing=(0.65, y, ON_TRAY_M, 0.0), handle=(0.665, 0.05, 0.105)))
                for skill in (OUT, HOME)
            ]
            for y in (0.03, -0.02)
        )
        assert all("handle" in problem for problem in under)
        assert beside == [None, None]

    def test_where_the_reset_ends_both_tasks_can_begin(self):
        for angle in np.linspace(0.0, 2 * math.pi, 8):
            x, y = MIDDLE_M[0] + ZONE_M * math.cos(angle), MIDDLE_M[1] + ZONE_M * math.sin(angle)
            assert [skill.start_problem(reading(thing=(x, y, ON_TRAY_M, 0.0))) for skill in (OUT, HOME)] == [None, None]

    @pytest.mark.parametrize(
        ("place", "seen", "lost"),
        [
            ((*BORDER, ON_TRAY_M), True, False),
            ((*BEYOND, ON_TRAY_M), True, True),
            ((*BEYOND, ON_TRAY_M), False, False),
            ((0.55, 0.0, -0.3), True, True),
        ],
    )
    def test_what_is_beyond_is_lost_once_it_was_seen_there(self, place, seen, lost):
        transition = steps(reading(thing=(*place, 0.0), seen=seen))
        assert OUT.irreversible(transition)[-1] == lost

    @pytest.mark.parametrize(
        ("place", "seen", "lost"), [(BORDER, True, False), (BEYOND, True, True), (BEYOND, False, False)]
    )
    def test_a_person_is_needed_for_what_lies_beyond(self, place, seen, lost):
        assert OUT.lost(reading(thing=(*place, ON_TRAY_M, 0.0), seen=seen)) == lost

    def test_the_tasks_undo_each_other(self):
        assert (OUT.undone_by, HOME.undone_by, CENTRE_OBJECT.undone_by) == (HOME.name, OUT.name, None)


class TestCarry:
    def test_reward_by_hand(self):
        """0.1 m off the zone, the hand 0.05 m above the object: 1 - tanh(0.5) and a quarter of 1 - tanh(0.25)."""
        x, y = GOAL_M
        transition = steps(reading(thing=(x + 0.1, y, 0.04, 0.0), hand=(x + 0.1, y, 0.09, 0.0)))
        terms = OUT.reward_terms(transition)
        assert terms["placed"][0] == pytest.approx(1.0 - math.tanh(0.1 / SCALE_M))
        assert terms["near"][0] == pytest.approx(HAND_SHARE * (1.0 - math.tanh(0.05 / SCALE_M)), abs=1e-6)
        assert OUT.reward(transition)[0] > HOME.reward(transition)[0]

    @pytest.mark.parametrize(("skill", "zone"), [(OUT, GOAL_M), (HOME, HOME_M)])
    def test_it_is_over_and_has_worked_once_the_object_is_in_the_zone(self, skill, zone):
        near = reading(thing=(zone[0] + 0.9 * ZONE_M, zone[1], 0.04, 0.0))
        far = reading(thing=(zone[0] + 1.1 * ZONE_M, zone[1], 0.04, 0.0))
        assert skill.over(near) == "in_zone"
        assert skill.over(far) is None
        assert skill.success(steps(far, near))
        assert not skill.success(steps(near, far))
        assert not skill.success(steps())

    def test_an_object_in_the_hand_is_in_no_zone_yet(self):
        held = reading(thing=(*GOAL_M, 0.1, 0.0))
        assert OUT.over(held) is None
        assert not OUT.success(steps(held))

    def test_where_nothing_is_seen_nothing_is_over(self):
        assert OUT.over(reading(thing=(*GOAL_M, 0.04, 0.0), seen=False)) is None

    def test_a_lost_object_ends_the_attempt_for_good(self):
        lost = reading(thing=(0.9, 0.0, -0.1, 0.0))
        assert OUT.over(lost) == "object_lost"
        assert OUT.terminated(steps(lost, reading())).tolist() == [True, False]
        assert "out of reach, at (0.90, 0.00, -0.10)" in OUT.start_problem(lost)

    @pytest.mark.parametrize("side", [(-1, 0), (1, 0), (0, -1), (0, 1)])
    def test_at_the_end_of_the_reach_it_is_nearly_lost_before_it_is_lost(self, side):
        """Outwards in steps of a millimetre: first no task begins, then none goes on, then it is lost."""
        way = np.outer(np.arange(0.0, 0.25, 1e-3), side) + MIDDLE_M
        seen = [reading(thing=(x, y, ON_TRAY_M, 0.0), handle=(0.9, 0.0, 0.1)) for x, y in way]
        begins = [OUT.start_problem(each) is None or "is to be" in OUT.start_problem(each) for each in seen]
        nearly = [OUT.nearly_lost(*pair) for pair in zip(seen[:1] + seen[:-1], seen, strict=True)]
        lost = [OUT.lost(each) for each in seen]
        assert 15 <= nearly.index(True) - begins.index(False) <= 25
        assert 4 <= lost.index(True) - nearly.index(True) <= 6
        assert all(nearly[nearly.index(True) :])
        assert not any(nearly[: nearly.index(True)])
        unseen = reading(thing=(*way[-1], ON_TRAY_M, 0.0), seen=False)
        assert not OUT.nearly_lost(unseen, unseen)

    @pytest.mark.parametrize("side", [(-1, 0), (1, 0), (0, -1), (0, 1)])
    @pytest.mark.parametrize(
        ("room_m", "moved_m", "wanted"),
        [
            (0.02, 0.015, True),  # gone after one and a half decisions like the last one
            (0.02, 0.012, False),
            (0.01, 0.009, False),  # so slow it may as well have been carried there
            (0.02, -0.015, False),  # away from there
        ],
    )
    def test_what_slides_out_of_reach_is_nearly_lost_before_it_is_there(self, side, room_m, moved_m, wanted):
        (x0, x1), (y0, y1) = REACH_M
        x_m, y_m = ((x0, x1)[side[0] > 0] if side[0] else 0.55), ((y0, y1)[side[1] > 0] if side[1] else 0.0)
        now = np.array((x_m, y_m)) - room_m * np.array(side)
        before = now - moved_m * np.array(side)
        seen = [reading(thing=(*place, ON_TRAY_M, 0.0)) for place in (before, now)]
        assert OUT.nearly_lost(*seen) is wanted
        assert not OUT.nearly_lost(replace(seen[0], base_valid=False), seen[1])
        assert not OUT.nearly_lost(seen[1], seen[1])

    def test_doing_it_pays_more_than_holding_the_object_over_the_zone_for_ever(self):
        held = reading(thing=(*GOAL_M, LYING_BELOW_M + 0.01, 0.0), hand=(*GOAL_M, LYING_BELOW_M + 0.01, 0.0))
        lies = reading(thing=(*GOAL_M, ON_TRAY_M, 0.0))
        attempt = steps(held, lies, replace(lies, base_valid=False), reading(thing=(*GOAL_M, -0.1, 0.0)))
        lingering, done = OUT.reward(attempt)[:2]
        assert done > lingering / (1.0 - LearnerConfig().gamma)
        assert OUT.reward_terms(attempt)["done"].tolist() == [0.0, DONE, 0.0, 0.0]
        assert OUT.terminated(attempt).tolist() == [False, True, False, True]
        assert not HOME.terminated(attempt)[1]

    def test_so_does_an_arm_that_pressed_until_it_stopped(self):
        assert OUT.terminated(steps(reading(), reading(stopped=1.0))).tolist() == [False, True]

    def test_it_begins_where_the_object_is_seen_outside_of_the_zone(self):
        assert OUT.start_problem(reading()) is None
        assert OUT.start_problem(reading(thing=(*GOAL_M, 0.04, 0.0))) == "the object is where it is to be"
        assert OUT.start_problem(reading(seen=False)) == "the camera does not see the object"
        assert OUT.start_problem(reading(stopped=1.0)) == "the arm has stopped itself"
        assert "out of reach" in OUT.start_problem(reading(thing=(0.38, 0.0, 0.04, 0.0)))

    def test_each_ends_where_the_other_begins(self):
        gap = math.dist(GOAL_M, HOME_M)
        assert gap > 4.0 * ZONE_M
        assert OUT.command != HOME.command
