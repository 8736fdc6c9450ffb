"""The pair of tasks that undo each other with a sliding door, by readings made by hand."""

import math

import numpy as np
import pytest
from arm_readings import reading, steps

from agent.config import LearnerConfig
from sim.arm_scene import DOOR_TRAVEL_M, handle_at
from skills.carry import CARRYING_SKILLS
from skills.hand_control import THINGS, command_for
from skills.registry import learned, skills
from skills.slide import BESIDE_M, CLEARLY_M, CLOSED_M, END_M, HAND_SCALE_M, HAND_SHARE, OPEN_M, SCALE_M, SLIDING_SKILLS

OPEN, CLOSE = SLIDING_SKILLS
ENDS = [(OPEN, OPEN_M, -1.0), (CLOSE, CLOSED_M, 1.0)]


class TestReward:
    @pytest.mark.parametrize(("skill", "end_m", "inward"), ENDS)
    def test_reward_by_hand(self, skill, end_m, inward):
        """The door 0.1 m off its end, the hand 0.05 m above where it pushes: 1 - tanh(1), 0.25 (1 - tanh(0.25))."""
        x, y, z = 0.685, 0.02, 0.105
        hand = (x, y + inward * BESIDE_M, z + 0.05, 0.0)
        terms = skill.reward_terms(steps(reading(door=end_m + 0.1 * inward, handle=(x, y, z), hand=hand)))
        assert terms["placed"][0] == pytest.approx(1.0 - math.tanh(0.1 / SCALE_M), abs=1e-6)
        assert terms["near"][0] == pytest.approx(HAND_SHARE * (1.0 - math.tanh(0.05 / HAND_SCALE_M)), abs=1e-6)

    def test_it_rises_with_the_door_and_is_the_others_fall(self):
        attempt = steps(*(reading(door=door) for door in np.linspace(CLOSED_M, OPEN_M, 5)))
        opened, closed = (skill.reward_terms(attempt)["placed"] for skill in SLIDING_SKILLS)
        assert (np.diff(opened) > 0.0).all()
        np.testing.assert_allclose(closed, opened[::-1], atol=1e-6)
        assert opened.min() >= 0.0
        assert opened.max() == pytest.approx(1.0)

    def test_neither_the_object_nor_what_the_camera_sees_matters(self):
        plain = steps(reading())
        for other in (steps(reading(thing=(0.66, -0.1, 0.045, 1.0))), steps(reading(thing=(0.9, 0.0, -0.5, 0.0)))):
            np.testing.assert_array_equal(OPEN.reward(plain), OPEN.reward(other))
        unseen = steps(reading(seen=False), reading(seen=False))
        assert OPEN.trusted(unseen).all()
        assert not CARRYING_SKILLS[0].trusted(unseen).any()


class TestAttempt:
    @pytest.mark.parametrize(("skill", "end_m", "inward"), ENDS)
    def test_it_is_over_and_has_worked_once_the_door_is_at_its_end(self, skill, end_m, inward):
        near, far = (reading(door=end_m + share * inward * END_M) for share in (0.9, 1.1))
        assert skill.over(near) == "at_end"
        assert skill.over(far) is None
        assert skill.success(steps(far, near))
        assert not skill.success(steps(near, far))
        assert not skill.success(steps())

    def test_it_measures_how_far_the_door_was_from_its_end(self):
        attempt = steps(reading(door=0.0), reading(door=0.1))
        assert OPEN.measures(attempt)["off_m"] == pytest.approx(0.06, abs=1e-6)
        assert CLOSE.measures(attempt)["off_m"] == pytest.approx(0.1, abs=1e-6)

    def test_it_begins_wherever_the_door_is_not_yet_where_it_is_to_be(self):
        assert OPEN.start_problem(reading()) is None
        assert OPEN.start_problem(reading(door=OPEN_M)) == "the door is where it is to be"
        assert CLOSE.start_problem(reading(door=CLOSED_M)) == "the door is where it is to be"
        assert OPEN.start_problem(reading(stopped=1.0)) == "the arm has stopped itself"

    def test_none_begins_that_the_noise_of_the_encoder_would_end(self):
        almost = reading(door=OPEN_M - END_M - 0.5 * CLEARLY_M)
        assert OPEN.over(almost) is None
        assert OPEN.start_problem(almost) == "the door is where it is to be"
        assert OPEN.start_problem(reading(door=OPEN_M - END_M - 1.5 * CLEARLY_M)) is None

    @pytest.mark.parametrize("how", [{"seen": False}, {"thing": (0.9, 0.0, -0.5, 0.0)}])
    def test_an_object_that_cannot_be_carried_leaves_the_door_to_practise(self, how):
        assert OPEN.start_problem(reading(**how)) is None
        assert CARRYING_SKILLS[0].start_problem(reading(**how)) is not None
        assert not OPEN.terminated(steps(reading(), reading(**how))).any()

    def test_doing_it_pays_more_than_lingering_on_the_verge_of_it_for_ever(self):
        attempt = steps(reading(door=OPEN_M - END_M - 0.001), reading(door=OPEN_M - END_M + 0.001))
        lingering, done = OPEN.reward(attempt)
        assert done > lingering / (1.0 - LearnerConfig().gamma)
        assert OPEN.terminated(attempt).tolist() == [False, True]

    def test_an_arm_that_pressed_until_it_stopped_ends_it_for_good(self):
        assert OPEN.terminated(steps(reading(), reading(stopped=1.0))).tolist() == [False, True]


class TestCommands:
    def test_they_tell_all_skills_of_the_hand_apart(self):
        hand = learned(skills(), "hand")
        assert [skill.name for skill in hand] == [
            "carry_out",
            "carry_home",
            "centre_object",
            "slide_open",
            "slide_close",
        ]
        assert len({skill.command for skill in hand}) == len(hand)
        assert {len(skill.command) for skill in hand} == {2 + len(THINGS)}

    def test_they_say_which_way_and_what(self):
        assert command_for("door", (0.0, 0.1)) == (0.0, 0.5, 0.0, 1.0)
        assert command_for("object", (-0.2, 0.0)) == (-1.0, 0.0, 1.0, 0.0)
        with pytest.raises(ValueError, match="shelf"):
            command_for("shelf", (0.0, 0.0))

    def test_they_lead_the_way_that_the_handle_of_the_simulated_door_goes(self):
        assert (CLOSED_M, OPEN_M) == (0.0, DOOR_TRAVEL_M)
        way = handle_at(OPEN_M)[1] - handle_at(CLOSED_M)[1]
        assert OPEN.command[1] * way > 0.0 > CLOSE.command[1] * way
