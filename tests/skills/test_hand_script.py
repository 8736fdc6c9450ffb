"""Scripts of the hand, asked about any frame."""

from dataclasses import replace

import numpy as np
import pytest
from arm_readings import SPEC, reading
from hypothesis import given
from hypothesis import strategies as st

from sim.robot import FrameLayout, Frames
from skills.carry import CARRYING_SKILLS, CENTRE_OBJECT, HOME_M
from skills.carry_script import carry_script
from skills.hand_script import ramp
from skills.slide import SLIDING_SKILLS

LAYOUT = FrameLayout.of(SPEC)
SKILLS = (*CARRYING_SKILLS, CENTRE_OBJECT, *SLIDING_SKILLS)
HOME, OPEN_DOOR = CARRYING_SKILLS[1], SLIDING_SKILLS[0]


def asked(skill, *readings):
    """What its script would do. Shape: (readings, 5)."""
    return skill.script(SPEC)(Frames(np.stack([LAYOUT.pack(each) for each in readings]), LAYOUT))


@pytest.mark.parametrize("skill", SKILLS, ids=lambda skill: skill.name)
@given(seed=st.integers(0, 2**32 - 1))
def test_there_is_an_action_everywhere_and_it_depends_on_its_frame_alone(skill, seed):
    rng, script = np.random.default_rng(seed), skill.script(SPEC)
    rows = rng.uniform(-1.0, 1.0, (8, LAYOUT.width)).astype(np.float32)
    together = script(Frames(rows, LAYOUT))
    assert together.shape == (8, 5)
    assert np.isfinite(together).all()
    assert np.abs(together).max() <= 1.0
    for row, action in zip(rows, together, strict=True):
        np.testing.assert_allclose(script(Frames(row, LAYOUT)), action, atol=1e-6)


def test_a_hand_beside_the_object_rises_before_it_comes_over_it():
    """Low and 60 mm beside, it would push the object away."""
    (action,) = asked(HOME, reading(thing=(0.6, 0.1, 0.045, 0.0), hand=(0.54, 0.1, 0.045, 0.0)))
    np.testing.assert_array_equal(action[:3], (0.0, 0.0, 1.0))


def test_the_hand_turns_the_other_way_where_the_folded_arm_could_not_follow():
    """A quarter of a turn on, the cube looks the same."""
    near, other = (reading(thing=(0.5, 0.0, 0.045, yaw), hand=(0.5, 0.0, 0.16, yaw + 0.2)) for yaw in (-0.3, -0.7))
    little, much = asked(HOME, near, other)
    assert little[3] < 0.0 < much[3]


def test_the_hand_turns_the_other_way_where_it_cannot_turn_further():
    """The nearer side of the cube is beyond a quarter of a turn."""
    near, beyond = (reading(thing=(0.5, 0.0, 0.045, yaw), hand=(0.5, 0.0, 0.16, 1.3)) for yaw in (1.5, 1.8))
    further, back = asked(HOME, near, beyond)
    assert back[3] < 0.0 < further[3]


@pytest.mark.parametrize("opening_rad", [0.115, 0.15])
def test_what_is_held_off_its_middle_is_lifted_too(opening_rad):
    """Fingers that have the cube's edge are wider open than those around its middle."""
    seen = reading(thing=(0.6, 0.1, 0.045, 0.0), hand=(0.6, 0.1, 0.05, 0.0))
    (action,) = asked(HOME, replace(seen, joint_position=np.append(SPEC.stand_position_rad[:-1], opening_rad)))
    assert action[2] == 1.0
    assert action[4] > 0.9


def test_what_is_carried_can_be_turned_before_it_is_put_down():
    script = carry_script(SPEC, HOME_M, 0.05, turned_rad=0.6)
    held = {"thing": (*HOME_M, 0.16, 0.0), "hand": (*HOME_M, 0.16, 0.0)}
    carrying = replace(reading(**held), joint_position=np.append(SPEC.stand_position_rad[:-1], 0.12))
    turned = replace(carrying, extra=np.where(np.arange(len(carrying.extra)) == 3, 0.6, carrying.extra))
    left, done = (script(Frames(LAYOUT.pack(it), LAYOUT)) for it in (carrying, turned))
    assert left[3] > 0.5
    assert left[2] > -0.1
    assert done[3] == pytest.approx(0.0, abs=1e-6)
    assert done[2] < -0.5


def test_a_door_is_not_pushed_from_its_wrong_side():
    """Opening takes the handle to the left, so the hand has to be right of it: from the left it first rises."""
    right, left = ((0.68, -0.01 + side * 0.045, 0.1, 0.0) for side in (-1.0, 1.0))
    handle = (0.685, -0.01, 0.105)
    pushing, rising = asked(OPEN_DOOR, reading(hand=right, handle=handle), reading(hand=left, handle=handle))
    assert pushing[1] > 0.5
    assert rising[2] == 1.0
    assert rising[1] == 0.0


def test_what_lies_where_it_is_to_be_is_left_there():
    (action,) = asked(HOME, reading(thing=(*HOME_M, 0.045, 0.0), hand=(*HOME_M, 0.045, 0.0)))
    assert action[2] == 1.0
    assert action[4] < 0.0


def test_a_ramp_goes_either_way():
    np.testing.assert_allclose(ramp(np.array((0.0, 1.0, 2.0, 3.0)), 1.0, 2.0), (0.0, 0.0, 1.0, 1.0))
    np.testing.assert_allclose(ramp(np.array((0.0, 1.25, 3.0)), 2.0, 1.0), (1.0, 0.75, 0.0))
