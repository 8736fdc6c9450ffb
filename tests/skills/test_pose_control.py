"""Postures as actions: where they lead, how they get there, and that their mirror images are true."""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from readings import reading

from sim.a1 import a1_spec, make_a1
from sim.minitaur import minitaur_spec
from sim.robot import CommandMode, FrameLayout, Frames
from sim.sensors import SensorParams
from skills.pose_control import BODY, FILTER_S, NEAR_RAD, PoseActuator

SPEC = a1_spec()
DT_S = 0.01


class TestTargets:
    def test_zero_is_the_stance_and_the_ends_are_the_joints_limits(self):
        actuator = PoseActuator(SPEC, DT_S)
        np.testing.assert_array_equal(actuator.target_rad(np.zeros(12)), SPEC.stand_position_rad)
        np.testing.assert_allclose(actuator.target_rad(np.ones(12)), SPEC.position_upper_rad)
        np.testing.assert_allclose(actuator.target_rad(-np.ones(12)), SPEC.position_lower_rad)

    def test_half_an_action_by_hand(self):
        # Hip: stance 0.8, upper limit 4.18879: 0.8 + 0.6 / 2 + (3.38879 - 0.6) / 8.
        target = PoseActuator(SPEC, DT_S).target_rad(np.full(12, 0.5))
        assert target[1] == pytest.approx(1.44860, abs=1e-5)
        # Knee: stance -1.6, upper limit -0.91630: -1.6 + 0.3 + 0.08370 / 8.
        assert target[2] == pytest.approx(-1.28954, abs=1e-5)

    @pytest.mark.parametrize("spec", [SPEC, minitaur_spec()], ids=lambda spec: spec.name)
    def test_targets_rise_with_the_action_and_are_fine_near_the_stance(self, spec):
        actuator = PoseActuator(spec, DT_S)
        targets = np.array([actuator.target_rad(np.full(spec.n_joints, a)) for a in np.linspace(-1, 1, 41)])
        assert (np.diff(targets, axis=0) > 0.0).all()
        slope = (targets[21] - targets[19]) / 0.1
        assert (slope < NEAR_RAD + 0.02).all()

    @pytest.mark.parametrize("spec", [SPEC, minitaur_spec()], ids=lambda spec: spec.name)
    @given(seed=st.integers(0, 2**32 - 1))
    def test_the_action_of_a_target_leads_to_it_and_beyond_a_limit_to_the_limit(self, spec, seed):
        actuator = PoseActuator(spec, DT_S)
        target = np.random.default_rng(seed).uniform(spec.position_lower_rad - 0.5, spec.position_upper_rad + 0.5)
        reached = actuator.target_rad(actuator.action_of(target))
        within = np.clip(target, spec.position_lower_rad, spec.position_upper_rad)
        np.testing.assert_allclose(reached, within, atol=1e-9)


class TestFilter:
    def test_the_first_target_is_taken_as_it_is_and_the_next_ones_are_approached(self):
        actuator = PoseActuator(SPEC, DT_S)
        first = actuator.command(np.zeros(12), reading())
        assert first.mode is CommandMode.POSITION
        assert (first.kp, first.kd) == (SPEC.kp, SPEC.kd)
        np.testing.assert_array_equal(first.target, SPEC.stand_position_rad)
        for _ in range(3):
            after = actuator.command(np.ones(12), reading())
        left = (SPEC.position_upper_rad - after.target) / (SPEC.position_upper_rad - SPEC.stand_position_rad)
        np.testing.assert_allclose(left, math.exp(-3 * DT_S / FILTER_S))

    def test_an_attempt_knows_nothing_of_the_one_before(self):
        actuator = PoseActuator(SPEC, DT_S)
        actuator.command(np.ones(12), reading())
        actuator.start(reading())
        np.testing.assert_array_equal(actuator.command(np.zeros(12), reading()).target, SPEC.stand_position_rad)


class TestFamily:
    def test_features_hold_what_was_measured_and_sent(self):
        layout = FrameLayout.of(SPEC)
        frame = np.zeros((1, layout.width), np.float32)
        place = layout.slices()
        frame[:, place["orientation_xyzw"]] = (1.0, 0.0, 0.0, 0.0)
        frame[:, place["angular_velocity"]] = (1.0, 2.0, 3.0)
        frame[:, place["joint_position"]] = SPEC.stand_position_rad + 0.1
        frame[:, place["joint_velocity"]] = 2.0
        frame[:, place["base_position"]] = 7.0
        row = BODY.features(SPEC, Frames(frame, layout), np.zeros(1), np.full((1, 12), 0.3))
        wanted = [0, 0, -1, 0.2, 0.4, 0.6, *[0.1] * 12, *[0.1] * 12, *[0.3] * 12]
        assert row.shape == (1, BODY.feature_size(SPEC))
        np.testing.assert_allclose(row[0], wanted, atol=1e-6)

    def test_a_robot_without_a_stance_is_refused(self):
        assert BODY.problem(SPEC) is None
        assert "stance" in BODY.problem(replace(SPEC, stand_position_rad=SPEC.position_upper_rad + 0.1))
        assert "stance" in BODY.problem(replace(SPEC, position_upper_rad=np.full(12, np.inf)))

    def test_a_robot_that_claims_no_symmetry_has_no_mirror_images(self):
        assert BODY.mirrors(replace(SPEC, symmetries=()), [()]) == ()


def play(actions):
    """Features of a noiseless A1 that is sent actions at 20 Hz from its stance."""
    layout, actuator, frames = FrameLayout.of(SPEC), PoseActuator(SPEC, DT_S), []
    with make_a1(0, sensors=SensorParams.ideal()) as robot:
        for number, action in enumerate(np.repeat(actions, 5, axis=0)):
            robot.write(replace(actuator.command(action, reading()), sequence=number + 1))
            robot.step(DT_S)
            if number % 5 == 4:
                frames.append(layout.pack(robot.read()))
    return BODY.features(SPEC, Frames(np.stack(frames), layout), np.zeros(len(actions)), actions)


def test_mirrored_actions_make_the_mirrored_motion():
    (mirror,) = BODY.mirrors(SPEC, [()])
    actions = np.cumsum(np.random.default_rng(3).uniform(-0.12, 0.12, (12, 12)), axis=0)
    original, mirrored = play(actions), play(mirror.actions(actions))
    error = np.abs(mirror.rows(original) - mirrored)
    assert np.abs(original - mirrored).mean() > 0.05, "the motion is not its own mirror image"
    assert error.mean() < 0.02
