"""Feature rows by hand, and their stack."""

import math

import numpy as np
import pytest
from readings import LAYOUT, N_ACTIONS, SPEC, random_transition, reading

from sim.robot import Frames
from skills.features import FeatureHistory
from skills.gait import GAIT

WIDTH = GAIT.feature_size(SPEC)


def test_a_row_by_hand():
    observation = reading(yaw=1.0, roll=math.radians(30))
    observation.angular_velocity = np.array([1.0, -2.0, 3.0])
    observation.joint_position = SPEC.stand_position_rad + 0.1
    observation.joint_velocity = np.full(SPEC.n_joints, 10.0)
    frames = Frames(LAYOUT.pack(observation)[None], LAYOUT)
    row = GAIT.features(SPEC, frames, np.array([0.5 * math.pi]), np.full((1, N_ACTIONS), 0.25))[0]
    assert row.dtype == np.float32
    assert row.shape == (WIDTH,) == (3 + 3 + 8 + 8 + 4 + 12,)
    assert row[:3] == pytest.approx([0.0, 0.5, math.sqrt(0.75)], abs=1e-6), "rolled right: up points to the left side"
    assert row[3:6] == pytest.approx([0.2, -0.4, 0.6])
    assert row[6:14] == pytest.approx(np.full(8, 0.1), abs=1e-6)
    assert row[14:22] == pytest.approx(np.full(8, 0.5))
    assert row[22:26] == pytest.approx([1.0, 0.0, -1.0, 0.0], abs=1e-6), "a trot: the right side is half a cycle ahead"
    assert row[26:] == pytest.approx(np.full(12, 0.25))


def test_rows_do_not_depend_on_tracker_or_place():
    near, far = reading(), reading(2.0, -1.0, yaw=2.5, valid=False, stamp_s=50.0)
    frames = Frames(np.stack([LAYOUT.pack(near), LAYOUT.pack(far)]), LAYOUT)
    rows = GAIT.features(SPEC, frames, np.zeros(2), np.zeros((2, N_ACTIONS)))
    assert rows[0] == pytest.approx(rows[1], abs=1e-7)


def test_a_batch_equals_its_rows_one_by_one_and_nothing_is_written_to():
    rng = np.random.default_rng(3)
    frames = random_transition(rng, 20).frame
    phase, last = rng.uniform(0, 6, 20), rng.uniform(-1, 1, (20, N_ACTIONS))
    for array in (frames.data, phase, last):
        array.flags.writeable = False
    rows = GAIT.features(SPEC, frames, phase, last)
    for i in range(20):
        one = slice(i, i + 1)
        assert np.array_equal(rows[one], GAIT.features(SPEC, Frames(frames.data[one], LAYOUT), phase[one], last[one]))


def test_a_frame_of_zeros_gives_a_finite_row():
    frames = Frames(np.zeros((1, LAYOUT.width), np.float32), LAYOUT)
    assert np.isfinite(GAIT.features(SPEC, frames, np.zeros(1), np.zeros((1, N_ACTIONS)))).all()


def test_the_stack_holds_the_newest_rows_newest_last_and_begins_with_the_first_repeated():
    history = FeatureHistory(2, rows=3)
    a, b, c, d = (np.full(2, v, np.float32) for v in (1, 2, 3, 4))
    assert history.push(a).tolist() == [1, 1, 1, 1, 1, 1]
    assert history.push(b).tolist() == [1, 1, 1, 1, 2, 2]
    kept = history.push(c)
    assert history.push(d).tolist() == [2, 2, 3, 3, 4, 4]
    assert kept.tolist() == [1, 1, 2, 2, 3, 3], "what was returned before does not change"
    history.reset()
    assert history.push(d).tolist() == [4] * 6
