"""The A1 that begins lying."""

import numpy as np
import pytest

from sim.a1_lying import make_a1_lying


@pytest.mark.parametrize("seed", [0, 5, 9])
def test_it_lies_limp_with_its_back_down(seed):
    with make_a1_lying(seed) as robot:
        truth = robot.truth()
        assert truth.up_z < 0.2
        assert truth.base_position[2] < 0.2
        assert np.abs(truth.joint_torque).max() < 0.5
        robot.step(0.5)
        assert np.linalg.norm(robot.truth().base_position - truth.base_position) < 0.1


def test_it_lies_differently_with_each_seed_and_the_same_with_the_same():
    poses = []
    for seed in (1, 1, 2):
        with make_a1_lying(seed) as robot:
            poses.append(robot.truth().joint_position)
    np.testing.assert_array_equal(poses[0], poses[1])
    assert np.abs(poses[0] - poses[2]).max() > 0.1
