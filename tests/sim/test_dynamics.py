import dataclasses
import math

import pytest

from sim.dynamics import TRAINING_RANGES, DynamicsParams, DynamicsRandomiser, corner_masses_kg


def values(params):
    return {
        "base_mass_ratio": params.base_mass_ratio,
        "leg_mass_ratio": params.leg_mass_ratio,
        "inertia_ratio": params.inertia_ratio,
        "payload_kg": params.payload_kg,
        "viscous_friction_nms": params.viscous_friction_nms,
        "joint_friction_nm": params.joint_friction_nm,
        "foot_friction": params.foot_friction,
        "battery_v": params.battery_v,
        "control_latency_s": params.action_latency_s + params.observation_latency_s,
    }


def inside(params):
    return all(
        getattr(TRAINING_RANGES, name)[0] - 1e-12 <= v <= getattr(TRAINING_RANGES, name)[1] + 1e-12
        for name, v in values(params).items()
    )


def test_training_draws_stay_in_the_training_ranges():
    randomiser = DynamicsRandomiser(0)
    assert all(inside(randomiser.training()) for _ in range(200))


def test_held_out_draws_leave_the_training_ranges():
    randomiser = DynamicsRandomiser(0, held_out_values=6)
    assert all(not inside(randomiser.held_out()) for _ in range(200))


def test_streams_are_seeded_and_independent():
    one, other = DynamicsRandomiser(3), DynamicsRandomiser(3)
    for _ in range(5):
        one.held_out()
    assert [one.training() for _ in range(3)] == [other.training() for _ in range(3)]
    assert DynamicsRandomiser(4).training() != DynamicsRandomiser(3).training()


def test_corner_masses_keep_total_and_centre():
    params = DynamicsParams(payload_kg=0.4, payload_offset_m=(0.05, -0.03), com_offset_m=(0.01, 0.005))
    fl, bl, fr, br = corner_masses_kg(params, 0.5, 6.4, (0.21, 0.0925))
    assert fl + bl + fr + br == pytest.approx(2.0 + 0.4)
    moment_x = 0.21 * (fl + fr - bl - br)
    moment_y = 0.0925 * (fl + bl - fr - br)
    assert moment_x == pytest.approx(0.4 * 0.05 + 6.4 * 0.01)
    assert moment_y == pytest.approx(0.4 * -0.03 + 6.4 * 0.005)


@pytest.mark.parametrize(
    ("name", "value"),
    [("battery_v", math.nan), ("foot_friction", -0.1), ("motor_strength", (1.0, 3.0)), ("action_latency_s", 1.0)],
)
def test_bad_values_are_refused_by_name(name, value):
    with pytest.raises(ValueError, match=name):
        DynamicsParams(**{name: value})


def test_params_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        DynamicsParams().battery_v = 1.0
