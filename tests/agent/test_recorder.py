"""An attempt's arrays: one row per decision, closed by what was measured last."""

from dataclasses import replace

import numpy as np
from fakes import observation

from agent.recorder import AttemptRecorder
from sim.robot import FrameLayout, Frames
from skills.decisions import Decision

LAYOUT = FrameLayout(8, 4)
RESTING = np.full(12, 0.25, np.float32)


def decision(value: float) -> Decision:
    return Decision(value, np.full(12, value, np.float32), np.full(12, value / 2, np.float32))


def record(stamps_s: list[float], last_s: float, phase_rad: float = 9.0):
    recorder = AttemptRecorder(LAYOUT, "walk", RESTING)
    for index, stamp_s in enumerate(stamps_s):
        recorder.decided(observation(stamp_s, x_m=float(index)), decision(float(index)))
    return recorder.finish(observation(last_s, x_m=99.0), phase_rad)


def test_an_attempt_without_a_decision_has_no_arrays():
    assert record([], 1.0) is None


def test_rows_are_in_order_and_the_last_frame_closes_them():
    arrays = record([0.0, 0.04, 0.08], 0.12)
    assert arrays.frames.shape == (4, LAYOUT.width)
    assert arrays.frames.dtype == np.float32
    np.testing.assert_array_equal(Frames(arrays.frames, LAYOUT).base_position[:, 0], [0.0, 1.0, 2.0, 99.0])
    np.testing.assert_array_equal(arrays.stamps_s, [0.0, 0.04, 0.08, 0.12])
    np.testing.assert_array_equal(arrays.proposed[:, 0], [0.0, 1.0, 2.0])
    np.testing.assert_array_equal(arrays.actions[:, 0], [0.0, 0.5, 1.0])
    np.testing.assert_array_equal(arrays.phase_rad, np.float32([0.0, 1.0, 2.0, 9.0]))
    np.testing.assert_array_equal(arrays.last_actions[0], RESTING)


def test_a_decision_whose_consequence_was_not_measured_is_dropped():
    arrays = record([0.0, 0.04, 0.08], 0.08)
    np.testing.assert_array_equal(arrays.stamps_s, [0.0, 0.04, 0.08])
    np.testing.assert_array_equal(arrays.actions[:, 0], [0.0, 0.5])
    np.testing.assert_array_equal(Frames(arrays.frames, LAYOUT).base_position[:, 0], [0.0, 1.0, 2.0])
    assert arrays.phase_rad[-1] == 9.0


def test_a_single_decision_without_consequence_leaves_nothing():
    assert record([0.0], 0.0) is None


def test_what_was_recorded_does_not_change_with_the_reading():
    recorder = AttemptRecorder(LAYOUT, "walk", RESTING)
    reading = observation(0.0, x_m=1.0)
    recorder.decided(reading, decision(0.0))
    reading.base_position[0] = 7.0
    arrays = recorder.finish(replace(reading, stamp_s=0.04), 0.0)
    np.testing.assert_array_equal(Frames(arrays.frames, LAYOUT).base_position[:, 0], [1.0, 7.0])


def test_the_reading_at_which_a_catch_began_closes_the_step_before_and_begins_one_that_is_marked():
    recorder = AttemptRecorder(LAYOUT, "walk", RESTING)
    recorder.decided(observation(0.0, x_m=0.0), decision(1.0))
    recorder.caught(observation(0.02, x_m=1.0), 1.5)
    recorder.decided(observation(0.5, x_m=2.0), decision(3.0))
    arrays = recorder.finish(observation(0.54, x_m=3.0), 4.0)
    np.testing.assert_array_equal(Frames(arrays.frames, LAYOUT).base_position[:, 0], [0.0, 1.0, 2.0, 3.0])
    np.testing.assert_array_equal(arrays.actions[:, 0], [0.5, 0.5, 1.5])
    np.testing.assert_array_equal(arrays.phase_rad, np.float32([1.0, 1.5, 3.0, 4.0]))
    assert arrays.caught == (1,)


def test_a_catch_that_nothing_was_measured_after_is_not_marked():
    recorder = AttemptRecorder(LAYOUT, "walk", RESTING)
    recorder.decided(observation(0.0), decision(1.0))
    recorder.caught(observation(0.02), 1.5)
    arrays = recorder.finish(observation(0.02), 4.0)
    assert (len(arrays.actions), arrays.caught) == (1, ())
