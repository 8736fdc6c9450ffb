"""The script that slides a door: in simulation, from wherever hand, door and cube are."""

import numpy as np
import pytest
from arm_readings import by_script

from sim.kuka import make_kuka
from sim.robot import ARM_CHANNELS, FORCE_STOP
from sim.state import Pose
from skills.arm_kinematics import pointing_down, step_towards
from skills.slide import SLIDING_SKILLS

DT_S = 0.02


@pytest.mark.parametrize("seed", range(6))
def test_it_slides_the_door_to_its_end_without_pressing_from_anywhere(seed):
    rng, skill = np.random.default_rng(seed), SLIDING_SKILLS[seed % 2]
    with make_kuka(seed) as arm:
        low, high = arm.spec.arm.box_lower_m, arm.spec.arm.box_upper_m
        arm.place(
            Pose(joint_position=joints_at(arm.spec, rng.uniform(low + 0.01, high - 0.01), rng.uniform(-1.5, 1.5)))
        )
        x, y, _ = rng.uniform(low + 0.01, high - 0.01)
        arm.put_object(x, y, rng.uniform(-np.pi, np.pi))
        arm.put_door(rng.uniform(0.04, 0.12))
        assert skill.start_problem(arm.read()) is None
        for reading in by_script(arm, skill):
            assert not reading.extra[ARM_CHANNELS.index(FORCE_STOP)]
        assert skill.over(reading) == "at_end"


def joints_at(spec, hand_m, yaw_rad):
    """Joint positions of an arm whose hand is somewhere, its fingers open."""
    joints = stance = spec.stand_position_rad[:-1]
    for _ in range(150):
        joints = step_towards(
            spec.arm,
            joints,
            hand_m,
            pointing_down(yaw_rad),
            posture_rad=stance,
            most_rad=spec.velocity_limit_radps[:-1] * DT_S,
        )
    return (*joints, 0.25)
