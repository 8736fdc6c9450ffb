"""The script that carries: in simulation, from anywhere that the hand reaches."""

import numpy as np
import pytest
from arm_readings import by_script

from sim.arm_scene import DOOR_TRAVEL_M
from sim.kuka import kuka_spec, make_kuka
from skills.carry import CARRYING_SKILLS, CENTRE_OBJECT


@pytest.mark.parametrize("seed", range(6))
def test_it_brings_the_cube_into_the_zone_from_anywhere_the_hand_can_be(seed):
    rng, skill = np.random.default_rng(seed), CARRYING_SKILLS[seed % 2]
    low, high = kuka_spec().arm.box_lower_m, kuka_spec().arm.box_upper_m
    brings(skill, seed, *rng.uniform(low[:2] + 0.01, high[:2] - 0.01))


@pytest.mark.parametrize(("x", "y"), [(0.698, 0.0), (0.402, 0.1), (0.55, 0.198), (0.698, -0.198)])
def test_it_centres_a_cube_from_the_border_of_its_reach(x, y):
    brings(CENTRE_OBJECT, 7, x, y)


def brings(skill, seed, x, y):
    rng = np.random.default_rng(seed)
    with make_kuka(seed) as arm:
        arm.put_object(x, y, rng.uniform(-np.pi, np.pi))
        arm.put_door(DOOR_TRAVEL_M if y < 0.0 else 0.0)  # out of the way
        arm.step(0.3)
        *_, reading = by_script(arm, skill)
        assert skill.over(reading) == "in_zone"
        assert not arm.truth().object_lost
