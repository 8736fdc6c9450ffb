"""What dynamics models see of a robot, and which of their errors tell of which joint."""

import numpy as np

from meta.robot_steps import (
    BODY,
    MOST,
    actions_of,
    channel_errors,
    channel_joints,
    signed_channels,
    steps_of,
)
from meta.sensor_checks import CHECKS, sensor_checks
from sim.minitaur import minitaur_spec
from sim.robot import FrameLayout, Frames

SPEC = minitaur_spec()
N = SPEC.n_joints
STATE = BODY + 3 * N
NONE = np.zeros((4, CHECKS))


def frames(count, seed=0):
    layout = FrameLayout.of(SPEC)
    rows = np.random.default_rng(seed).uniform(-1.0, 1.0, (count, layout.width)).astype(np.float32)
    return Frames(rows, layout)


def test_actions_say_what_was_sent_before_and_where_in_its_cycle_the_actuator_is():
    sent = np.array(((1.0, 2.0), (3.0, 4.0)), np.float32)
    rows = actions_of(sent, np.array((9.0, 8.0), np.float32), np.array((0.0, 0.5 * np.pi)))
    np.testing.assert_allclose(rows, ((1, 2, 9, 8, 0, 1), (3, 4, 1, 2, 1, 0)), atol=1e-6)


def test_a_reading_that_is_no_number_makes_the_steps_beside_it_useless():
    seen = frames(5)
    seen.joint_position[2, 3] = np.nan
    made = steps_of(SPEC, 7, seen, np.zeros((4, 2), np.float32), np.zeros(2, np.float32), np.zeros(5))
    assert made.states.shape == (5, STATE)
    assert made.valid.tolist() == [True, False, False, True]
    assert made.attempt == 7
    for one, other in zip((made.checks, made.turning), sensor_checks(SPEC, seen), strict=True):
        np.testing.assert_array_equal(one, other)


class TestChannels:
    def test_there_are_five_for_the_body_and_seven_for_each_joint(self):
        rows = channel_errors(N, *(np.zeros((4, STATE)) for _ in range(3)), NONE[:4])
        assert rows.shape == (4, len(channel_joints(N))) == (4, 1 + N + signed_channels(N))
        assert [int((channel_joints(N) == joint).sum()) for joint in (-1, 0, N - 1)] == [1 + CHECKS, 7, 7]

    def test_an_error_of_one_joint_shows_in_its_own_channels_alone(self):
        for part in range(3):
            z = np.zeros((1, STATE))
            z[0, BODY + part * N + 5] = 3.0
            (row,) = channel_errors(N, z, np.ones((1, STATE)), -np.ones((1, STATE)), NONE[:1])
            assert set(channel_joints(N)[row != 0.0]) == {5}

    def test_a_weak_motor_errs_against_its_torque_whichever_way_that_goes(self):
        z, expected = np.zeros((2, STATE)), np.zeros((2, STATE))
        torque = BODY + 2 * N + 4
        expected[:, torque], z[:, torque] = (2.0, -2.0), (-1.0, 1.0)
        mean = channel_errors(N, z, expected, np.zeros((2, STATE)), NONE[:2]).mean(axis=0)
        of_joint = mean[-signed_channels(N) : -CHECKS].reshape(-1, N)[:, 4]
        np.testing.assert_allclose(of_joint, (0, 0, 0, 0, -1, 0), atol=1e-9)

    def test_a_joint_that_rubs_errs_against_its_motion_whichever_way_that_goes(self):
        z, following = np.zeros((2, STATE)), np.zeros((2, STATE))
        following[:, BODY + N + 2], z[:, BODY + N + 2] = (3.0, -3.0), (-1.0, 1.0)
        mean = channel_errors(N, z, np.zeros((2, STATE)), following, NONE[:2]).mean(axis=0)
        of_joint = mean[-signed_channels(N) : -CHECKS].reshape(-1, N)[:, 2]
        np.testing.assert_allclose(of_joint, (0, 0, 0, -1, 0, 0), atol=1e-9)

    def test_one_broken_step_counts_no_more_than_so_much(self):
        z = np.full((1, STATE), 1e6)
        assert np.abs(channel_errors(N, z, np.ones((1, STATE)), np.ones((1, STATE)), NONE[:1])).max() == MOST**2
