"""A check-up: which joint moves when, and what is made of what it measures."""

from dataclasses import replace

import numpy as np
import pytest

from meta.checkup import AMPLITUDE_RAD, BETWEEN_S, CYCLE_S, CYCLES, CheckUp, feature_size
from sim.a1 import a1_spec
from tests.skills.readings import reading

SPEC = a1_spec()
DT_S = 0.02
MOTION = CheckUp(SPEC, DT_S)
FIRST = MOTION.resting_periods
EACH = round((CYCLE_S + BETWEEN_S) / DT_S)
N = SPEC.n_joints
PAIRS = [(dof, 9 + dof) for dof in range(3)] + [(3 + dof, 6 + dof) for dof in range(3)]
"""The same joint of two diagonal legs."""


def sent():
    return np.array([MOTION.command(period).target for period in range(MOTION.periods)]) - SPEC.stand_position_rad


def readings(angle, torque, **more):
    """Readings of a robot whose joints are at these angles off the stance, with these torques."""
    velocity = np.gradient(angle, DT_S, axis=0)
    return [
        replace(
            reading(),
            joint_position=SPEC.stand_position_rad + angle[k],
            joint_velocity=velocity[k],
            joint_torque=torque[k],
            **more,
        )
        for k in range(len(angle))
    ]


def test_two_joints_of_diagonal_legs_move_at_a_time_and_come_back():
    off = sent()
    assert not off[:FIRST].any()
    assert len(off) == FIRST + len(PAIRS) * EACH
    for number, pair in enumerate(PAIRS):
        moving = off[FIRST + number * EACH : FIRST + (number + 1) * EACH]
        assert not np.delete(moving, pair, axis=1).any()
        np.testing.assert_allclose(moving[-1], 0.0)
        np.testing.assert_allclose(np.abs(moving[:, pair]).max(axis=0), AMPLITUDE_RAD[3], rtol=0.1)
        for joint, cycles in zip(pair, CYCLES, strict=True):
            turns = np.flatnonzero(np.diff(np.sign(moving[moving[:, joint] != 0.0, joint])))
            assert len(turns) == 2 * cycles - 1  # each crosses the stance so often


def test_each_of_two_joints_is_heard_alone():
    """What one does at its own frequency does not show in the other's features."""
    off = sent()
    alone = off.copy()
    alone[:, [second for _, second in PAIRS]] = 0.0
    both, first = (MOTION.features(readings(angle, 10.0 * angle))[29:].reshape(N, 9) for angle in (off, alone))
    np.testing.assert_allclose(both[[one for one, _ in PAIRS]], first[[one for one, _ in PAIRS]], atol=1e-9)


def test_what_follows_in_step_and_what_lags():
    off = sent()
    late = np.roll(off, 3, axis=0)
    late[:3] = 0.0
    in_step, behind = (MOTION.features(readings(angle, 10.0 * off))[29:].reshape(N, 9) for angle in (off, late))
    np.testing.assert_allclose(in_step[:, 1], 0.0, atol=1e-9)  # a sine is all imaginary
    np.testing.assert_allclose(in_step[:, 5], -1.0, atol=1e-9)
    np.testing.assert_allclose(np.hypot(in_step[:, 2], in_step[:, 6]), 10.0 * AMPLITUDE_RAD[3], atol=1e-9)
    assert (np.abs(behind[:, 5]) < 0.8).all()
    assert (np.abs(behind[:, 1]) > 0.5).all()


def test_torque_along_the_motion_is_friction_and_the_rest_is_measured_at_rest():
    off = sent()
    rubbing = 2.0 * np.sign(np.gradient(off, DT_S, axis=0)) + 5.0
    lean = np.array((np.sin(0.05), 0.0, 0.0, np.cos(0.05)))
    found = MOTION.features(readings(off, rubbing, angular_velocity=np.array((0.1, 0.2, 0.3)), orientation_xyzw=lean))
    assert found.shape == (feature_size(SPEC),)
    np.testing.assert_allclose(found[:N], 0.0, atol=1e-9)
    np.testing.assert_allclose(found[N : 2 * N], 5.0, atol=0.1)  # the first joint moves off in its last period
    np.testing.assert_allclose(found[2 * N : 2 * N + 5], (0.1, 0.2, 0.3, 0.0, np.sin(0.1)), atol=1e-9)
    np.testing.assert_allclose(found[2 * N + 5 :].reshape(N, 9)[:, 0], 2.0, atol=0.5)


def test_readings_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"2 readings of a check-up of \d+"):
        MOTION.features(readings(np.zeros((2, N)), np.zeros((2, N))))
