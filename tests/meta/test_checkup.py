"""A check-up: which joint moves when, and what is made of what it measures."""

from dataclasses import replace

import numpy as np
import pytest

from meta.checkup import (
    AMPLITUDE_RAD,
    BETWEEN_S,
    CYCLE_S,
    CYCLES,
    LIFT_RAD,
    REST_S,
    SETTLE_S,
    STEP_S,
    STEPS,
    CheckUp,
    feature_size,
)
from sim.a1 import a1_spec
from sim.minitaur import minitaur_spec
from tests.skills.readings import reading

SPEC = a1_spec()
DT_S = 0.02
MOTION = CheckUp(SPEC, DT_S)
FIRST = MOTION.resting_periods
STEPPING = 2 * STEPS * round(STEP_S / DT_S)
EACH = round((CYCLE_S + BETWEEN_S) / DT_S)
N = SPEC.n_joints
PAIRS = [(dof, 9 + dof) for dof in range(3)] + [(3 + dof, 6 + dof) for dof in range(3)]
"""The same joint of two diagonal legs."""


def sent(motion=MOTION, spec=SPEC):
    return np.array([motion.command(period).target for period in range(motion.periods)]) - spec.stand_position_rad


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


@pytest.mark.parametrize("spec", [SPEC, minitaur_spec()], ids=lambda spec: spec.name)
def test_each_foot_is_set_down_anew_with_that_of_the_diagonal_leg_before_the_robot_rests(spec):
    motion = CheckUp(spec, DT_S)
    steps, each = sent(motion, spec)[:STEPPING] @ np.linalg.inv(spec.leg_to_joint).T, round(STEP_S / DT_S)
    extension = steps[:, 4:8].reshape(2 * STEPS, each, 4)
    np.testing.assert_allclose(np.delete(steps, range(4, 8), axis=1), 0.0, atol=1e-12)
    for number, step in enumerate(extension):
        lifted, standing = ([0, 3], [1, 2]) if number % 2 == 0 else ([1, 2], [0, 3])
        np.testing.assert_allclose(step[:, standing], 0.0, atol=1e-12)
        np.testing.assert_allclose(step[:, lifted].min(axis=0), -LIFT_RAD[spec.leg_dofs], rtol=0.1)
        np.testing.assert_allclose(step[-1], 0.0, atol=1e-12)  # on all four before the others lift
    assert motion.resting_periods == STEPPING + round(SETTLE_S / DT_S) + round(REST_S / DT_S)
    assert not sent(motion, spec)[STEPPING : motion.resting_periods].any()


def test_two_joints_of_diagonal_legs_move_at_a_time_and_come_back():
    off = sent()
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
    both, first = (MOTION.features(readings(angle, 10.0 * angle))[29:-1].reshape(N, 9) for angle in (off, alone))
    np.testing.assert_allclose(both[[one for one, _ in PAIRS]], first[[one for one, _ in PAIRS]], atol=1e-9)


def test_what_follows_in_step_and_what_lags():
    off = sent()
    late = np.roll(off, 3, axis=0)
    late[:3] = 0.0
    in_step, behind = (MOTION.features(readings(angle, 10.0 * off))[29:-1].reshape(N, 9) for angle in (off, late))
    np.testing.assert_allclose(in_step[:, 1], 0.0, atol=1e-9)  # a sine is all imaginary
    np.testing.assert_allclose(in_step[:, 5], -1.0, atol=1e-9)
    np.testing.assert_allclose(np.hypot(in_step[:, 2], in_step[:, 6]), 10.0 * AMPLITUDE_RAD[3], atol=1e-9)
    assert (np.abs(behind[:, 5]) < 0.8).all()
    assert (np.abs(behind[:, 1]) > 0.5).all()


def test_torque_along_the_motion_is_friction_and_the_rest_is_measured_at_rest():
    off = sent()
    rubbing = 2.0 * np.sign(np.gradient(off, DT_S, axis=0)) + 5.0
    lean = np.array((np.sin(0.05), 0.0, 0.0, np.cos(0.05)))
    stepping = np.arange(MOTION.periods)[:, None] < STEPPING
    off = np.where(stepping, 9.0, off)  # what is read while it steps does not count
    found = MOTION.features(readings(off, rubbing, angular_velocity=np.array((0.1, 0.2, 0.3)), orientation_xyzw=lean))
    assert found.shape == (feature_size(SPEC),)
    np.testing.assert_allclose(found[:N], 0.0, atol=1e-9)
    np.testing.assert_allclose(found[N : 2 * N], 5.0, atol=0.1)  # the first joint moves off in its last period
    np.testing.assert_allclose(found[2 * N : 2 * N + 5], (0.1, 0.2, 0.3, 0.0, np.sin(0.1)), atol=1e-9)
    np.testing.assert_allclose(found[2 * N + 5 : -1].reshape(N, 9)[:, 0], 2.0, atol=0.5)


def test_a_battery_that_sags_as_joints_push_varies_whatever_it_holds():
    rest = np.zeros((MOTION.periods, N))
    load = np.abs(np.sin(np.arange(MOTION.periods)))

    def varies(full_v, ohm):
        volts = full_v - ohm * load
        seen = [replace(each, battery_v=volts[k]) for k, each in enumerate(readings(rest, rest))]
        return MOTION.features(seen)[-1]

    assert varies(24.0, 0.0) == pytest.approx(0.0, abs=1e-9)
    assert varies(24.0, 0.5) == pytest.approx(varies(22.0, 0.5)) == pytest.approx(0.5 * load.std())


def test_joint_angles_at_rest_are_told_from_all_features_and_from_the_first_few():
    angle = np.tile(np.arange(N) / 100.0, (MOTION.periods, 1))
    seen = readings(angle, np.ones_like(angle))
    for features in (MOTION.features(seen), MOTION.resting(seen[: MOTION.resting_periods])):
        np.testing.assert_allclose(MOTION.joint_angles(features), angle[0])


def test_readings_of_another_length_are_refused():
    with pytest.raises(ValueError, match=r"2 readings of a check-up of \d+"):
        MOTION.features(readings(np.zeros((2, N)), np.zeros((2, N))))
