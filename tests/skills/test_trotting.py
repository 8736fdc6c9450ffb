"""The trotting policy with a correction: the same as the one it corrects where nothing is learned."""

from dataclasses import replace

import numpy as np
import pytest
from readings import reading

from agent.opening import abilities_of
from sim.a1 import a1_spec
from sim.minitaur_trotting import minitaur_trotting_spec
from sim.robot import CommandMode, FrameLayout, Frames
from skills.skill import Transition
from skills.trotting import (
    CORRECTION_RAD,
    FREQUENCY_HZ,
    FREQUENCY_SPAN_HZ,
    LIFT_SPAN,
    N_MODULATIONS,
    RESIDUAL_RAD,
    ROBOT,
    TROT_FORWARD,
    TROTTING,
    ShippedPolicy,
    TrottingActuator,
    generator_legs_rad,
    leg_command,
)
from skills.walk import WALKING_SKILLS

SPEC = minitaur_trotting_spec()
DT_S = 0.01
STILL = np.zeros(TROTTING.action_size(SPEC))


def leaning(y):
    """Pitched so that the body's x axis points down by twice ``y`` rad."""
    return replace(reading(), orientation_xyzw=np.array((0.0, y, 0.0, np.sqrt(1.0 - y * y))))


def test_it_acts_on_how_the_body_leans_within_its_bounds():
    policy = ShippedPolicy()
    level, rolled = (policy.act(np.array((x, 0.0, 0.0, np.sqrt(1.0 - x * x))), np.zeros(3)) for x in (0.0, 0.05))
    assert np.abs(np.stack((level, rolled))).max() <= 1.0
    assert np.abs(rolled - level).max() > 0.05


def test_each_control_period_goes_on_in_the_cycle_and_heeds_the_newest_reading():
    actuator = TrottingActuator(SPEC, DT_S)
    actuator.start(leaning(0.0))
    first = actuator.command(STILL, leaning(0.0))
    assert first.mode is CommandMode.POSITION
    assert (first.kp, first.kd) == (SPEC.kp, SPEC.kd)
    assert actuator.phase_rad == pytest.approx(2.0 * np.pi * FREQUENCY_HZ * DT_S)
    for _ in range(round(1.0 / FREQUENCY_HZ / DT_S) - 1):
        actuator.command(STILL, leaning(0.0))
    np.testing.assert_allclose(actuator.command(STILL, leaning(0.0)).target, first.target, atol=1e-9)
    actuator.start(leaning(0.0))
    assert np.abs(actuator.command(STILL, leaning(0.05)).target - first.target).max() > 0.01


def test_a_correction_moves_the_leg_that_it_is_for():
    """A swing moves both motors of a leg the opposite way, an extension the same way."""

    def target(action):
        actuator = TrottingActuator(SPEC, DT_S)
        actuator.start(leaning(0.0))
        return actuator.command(action, leaning(0.0)).target

    swing, extension = (target(0.5 * np.eye(len(STILL))[N_MODULATIONS + k]) - target(STILL) for k in (1, 5))
    for moved in (swing, extension):
        np.testing.assert_allclose(np.abs(moved), 0.5 * CORRECTION_RAD * (np.arange(8) // 2 == 1), atol=1e-9)
    assert swing[2] == pytest.approx(-swing[3])
    assert extension[2] == pytest.approx(extension[3])


def test_what_was_shipped_is_modulated():
    """Frequency, stride, lift, and how much of the network's answer counts."""

    def modulated(index, amount):
        actuator = TrottingActuator(SPEC, DT_S)
        actuator.start(leaning(0.05))
        actuator.phase_rad = 0.25 * np.pi
        command = actuator.command(amount * np.eye(len(STILL))[index], leaning(0.05))
        return command.target, actuator.phase_rad - 0.25 * np.pi

    legs = generator_legs_rad(0.25 * np.pi)
    answer = RESIDUAL_RAD * ShippedPolicy().act(leaning(0.05).orientation_xyzw, leaning(0.05).angular_velocity)
    scale = np.repeat((1.0, 1.0 + LIFT_SPAN), 4)
    for index, amount, wanted in (
        (0, 1.0, legs + answer),
        (1, -1.0, np.concatenate((np.zeros(4), legs[4:])) + answer),
        (2, 1.0, scale * legs + answer),
        (3, -1.0, legs),
        (3, 1.0, legs + answer),
    ):
        target, turned = modulated(index, amount)
        np.testing.assert_allclose(target, leg_command(SPEC, wanted).target, atol=1e-9)
        hz = FREQUENCY_HZ + (FREQUENCY_SPAN_HZ if index == 0 else 0.0)
        assert turned == pytest.approx(2.0 * np.pi * hz * DT_S)


@pytest.mark.parametrize(("lean_deg", "fallen"), [(31.0, False), (33.0, True)])
def test_it_has_fallen_where_its_environment_says_so(lean_deg, fallen):
    """minitaur_gym_env.py: the body's up axis below 0.85 of the world's; other walks have not fallen yet."""
    layout = FrameLayout.of(SPEC)
    seen = Frames(layout.pack(leaning(np.sin(np.radians(lean_deg) / 2.0)))[None], layout)
    step = Transition(seen, STILL[None], STILL[None], seen, np.array([0.04]))
    assert TROT_FORWARD.terminated(step).tolist() == [fallen]
    assert not WALKING_SKILLS[0].terminated(step).any()


def test_no_correction_is_what_it_advises_everywhere():
    layout = FrameLayout.of(SPEC)
    advice = TROT_FORWARD.script(SPEC)(Frames(np.zeros((3, 2, layout.width), np.float32), layout))
    np.testing.assert_array_equal(advice, np.zeros((3, 2, len(STILL))))


def test_no_other_robot_has_it_and_its_own_only_on_request():
    assert TROTTING.problem(SPEC) is None
    assert "minitaur_trotting" in TROTTING.problem(a1_spec())
    assert TROT_FORWARD not in abilities_of((), SPEC).tasks
    assert abilities_of((TROT_FORWARD.name,), SPEC).tasks == (TROT_FORWARD,)
    assert SPEC.name == ROBOT


def test_features_hold_what_was_measured_and_sent():
    layout = FrameLayout.of(SPEC)
    frame = np.zeros((1, layout.width), np.float32)
    place = layout.slices()
    frame[:, place["orientation_xyzw"]] = (1.0, 0.0, 0.0, 0.0)
    frame[:, place["angular_velocity"]] = (1.0, 2.0, 3.0)
    frame[:, place["joint_position"]] = SPEC.stand_position_rad + 0.1
    frame[:, place["joint_velocity"]] = 2.0
    row = TROTTING.features(SPEC, Frames(frame, layout), np.full(1, np.pi / 6), np.full((1, len(STILL)), 0.3))
    wanted = [0, 0, -1, 0.2, 0.4, 0.6, *[0.1] * 16, 0.5, np.sqrt(0.75), *[0.3] * len(STILL)]
    assert row.shape == (1, TROTTING.feature_size(SPEC))
    np.testing.assert_allclose(row[0], wanted, atol=1e-6)
