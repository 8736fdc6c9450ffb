import math
from itertools import pairwise

import pytest

from sim.actuator import (
    HEAT_CAPACITY_J_PER_K,
    THERMAL_RESISTANCE_K_PER_W,
    MotorBank,
    current_of_torque_a,
    torque_of_current_nm,
)

REST = [(0.0, 0.0)]


def torque(motors, duty_or_target, kp=1.0, kd=0.0, states=REST):
    """Torque of one step whose controllers see the present state."""
    seen = motors.feedback(states, kp, kd)
    return motors.step([duty_or_target], kp, kd, states, seen, seen, 0.0)[0][0]


def bank(**changes):
    settings = {
        "strength": (1.0,),
        "viscous_nms": 0.0,
        "battery_v": 16.0,
        "battery_ohm": 0.0,
        "capacity_ah": None,
        "ambient_c": 25.0,
    }
    motors = MotorBank(1, 0.002)
    motors.configure(**(settings | changes))
    motors.recharge()
    motors.cool()
    return motors


@pytest.mark.parametrize(
    ("current", "expected"),
    [(0, 0), (5, 0.5), (10, 1.0), (25, 2.175), (-25, -2.175), (60, 3.5), (86, 3.5), (-1000, -3.5)],
)
def test_torque_follows_the_measured_table(current, expected):
    assert torque_of_current_nm(current) == pytest.approx(expected)


@pytest.mark.parametrize("wanted", [-3.4, -2.0, -0.3, 0.0, 0.7, 2.45, 3.49])
def test_current_of_torque_is_the_inverse(wanted):
    assert torque_of_current_nm(current_of_torque_a(wanted)) == pytest.approx(wanted)


def test_position_control_at_rest_by_hand():
    # Duty 1.0 * 0.2 rad = 0.2; 3.2 V over 0.186 ohm = 17.204 A; 1 + 0.09 * 7.204 = 1.6484 N m.
    assert torque(bank(), 0.2, kd=0.02) == pytest.approx(1.0 + 0.09 * (3.2 / 0.186 - 10.0))


def test_back_emf_and_velocity_gain_by_hand():
    # q 0.1, v 10: duty 0.5 - 0.1 - 0.2 = 0.2; (3.2 - 0.954) / 0.186 = 12.075 A; 1.1868 N m; less 10 * 0.01.
    moving = [(0.1, 10.0)]
    assert torque(bank(viscous_nms=0.01), 0.5, kd=0.02, states=moving) == pytest.approx(
        1.0 + 0.09 * ((3.2 - 0.954) / 0.186 - 10.0) - 0.1
    )


def test_no_torque_at_no_load_speed():
    spinning = [(0.0, 16.0 / 0.0954)]
    assert torque(bank(), 5.0, kp=0.0, states=spinning) == pytest.approx(0.0, abs=1e-9)


def test_controller_sees_the_blend_of_two_past_states():
    motors = bank()
    late, later = motors.feedback([(0.1, 1.0)], 1.0, 0.02), motors.feedback([(0.3, 3.0)], 1.0, 0.02)
    mixed = motors.feedback([(0.1 + 0.25 * 0.2, 1.0 + 0.25 * 2.0)], 1.0, 0.02)
    one = bank().step([0.4], 1.0, 0.02, REST, late, later, 0.25)[0][0]
    other = bank().step([0.4], 1.0, 0.02, REST, mixed, mixed, 0.0)[0][0]
    assert one == pytest.approx(other)


def test_strength_scales_torque_and_zero_is_dead():
    full = torque(bank(), 0.2)
    assert torque(bank(strength=(0.5,)), 0.2) == pytest.approx(0.5 * full)
    assert torque(bank(strength=(0.0,)), 0.2) == 0.0


@pytest.mark.parametrize("wanted", [-2.0, 0.5, 3.0])
def test_torque_control_reaches_its_torque_in_motion(wanted):
    motors = bank()
    moving = [(0.0, 20.0)]
    offset, kd = motors.torque_offsets([wanted])
    assert torque(motors, offset[0], kp=0.0, kd=kd, states=moving) == pytest.approx(wanted)


def test_battery_sags_to_the_loaded_voltage():
    motors = bank(battery_ohm=0.02)
    for _ in range(200):
        torque(motors, 0.5)
    # Fixed point of V = 16 - 0.02 * 0.5 * (0.5 V / 0.186).
    assert motors.supply_v == pytest.approx(16.0 / (1.0 + 0.02 * 0.25 / 0.186), rel=1e-6)


def test_battery_empties_by_its_charge():
    motors = bank(capacity_ah=0.01)
    for _ in range(500):
        torque(motors, 0.5)
        motors.settle_heat()
    assert motors.charge_used_ah == pytest.approx(0.5 * 43.0 / 3600, rel=0.1)
    assert motors.open_circuit_v == pytest.approx(16.0 - 2.8 * motors.charge_used_ah / 0.01)
    motors.recharge()
    assert motors.open_circuit_v == 16.0


def test_heating_matches_the_first_order_solution():
    motors = bank()
    duty = 0.186 * 20.0 / 16.0  # 20 A, 1.9 N m, 74.4 W
    for _ in range(3000):
        for _ in range(10):
            torque(motors, duty)
        motors.settle_heat()
    rise = 0.186 * 400 * THERMAL_RESISTANCE_K_PER_W
    tau = HEAT_CAPACITY_J_PER_K * THERMAL_RESISTANCE_K_PER_W
    assert motors.temperature_c[0] == pytest.approx(25.0 + rise * (1 - math.exp(-60.0 / tau)), rel=1e-3)


def test_heat_and_energy_rise_under_load_and_heat_falls_without():
    motors = bank()
    temperatures, energies = [], []
    for _ in range(50):
        for _ in range(10):
            torque(motors, 0.3)
        motors.settle_heat()
        temperatures.append(motors.temperature_c[0])
        energies.append(motors.energy_j)
    assert all(a < b for a, b in pairwise(temperatures))
    assert all(a < b for a, b in pairwise(energies))
    for _ in range(10):
        motors.coast(REST)
    motors.settle_heat()
    assert motors.temperature_c[0] < temperatures[-1]
    assert motors.energy_j == energies[-1]


def test_driver_switches_an_overloaded_motor_off_and_on_again():
    motors = bank()

    def seconds(s):
        for _ in range(round(s * 50)):
            for _ in range(10):
                torque(motors, 1.0)
            motors.settle_heat()

    seconds(0.9)
    assert motors.enabled == [True]
    seconds(0.2)
    assert motors.enabled == [False]
    assert torque(motors, 1.0) == 0.0
    seconds(2.0)
    assert motors.enabled == [True]


def test_one_strength_per_motor_is_needed():
    with pytest.raises(ValueError, match="2 values"):
        bank(strength=(1.0, 1.0))


def test_state_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        torque(bank(), 0.1, states=[(math.nan, math.nan)])


def test_a_gain_scale_makes_up_for_a_weak_motor_at_rest_up_to_the_full_duty():
    # Twice the duty, 0.02 of it, is twice the current, which half the torque constant makes as much torque of.
    weak = bank(strength=(0.5,))
    weak.gain_scale = [2.0]
    assert torque(weak, 0.01) == pytest.approx(torque(bank(), 0.01))
    assert torque(weak, 10.0) == pytest.approx(0.5 * torque(bank(), 1.0))
