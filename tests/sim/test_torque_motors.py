import math

import pytest

from sim.motors import MotorConstants
from sim.torque_motors import TorqueLimits, TorqueMotors

CONSTANTS = MotorConstants(
    torque_per_a_nm=0.5,
    loss_w=0.3,
    heat_capacity_j_per_k=400.0,
    thermal_resistance_k_per_w=0.5,
    empty_drop_v=4.0,
)
LIMITS = TorqueLimits(peak_nm=30.0, no_load_radps=20.0, nominal_v=24.0)
REST = [(0.0, 0.0)]


def bank(**changes):
    settings = {
        "strength": (1.0,),
        "viscous_nms": 0.0,
        "battery_v": 24.0,
        "battery_ohm": 0.0,
        "capacity_ah": None,
        "ambient_c": 25.0,
    }
    motors = TorqueMotors(1, 0.001, CONSTANTS, LIMITS)
    motors.configure(**(settings | changes))
    motors.recharge()
    motors.cool()
    return motors


def torque(motors, offset, kp=0.0, kd=0.0, states=REST):
    """Torque of one step whose controllers see the present state."""
    seen = motors.feedback(states, kp, kd)
    return motors.step([offset], kp, kd, states, seen, seen, 0.0)[0][0]


def test_position_control_by_hand():
    # 80 (0.5 - 0.4) - 3 * 1.5 = 3.5 N m, less 1.5 * 0.1 of friction.
    moving = [(0.4, 1.5)]
    assert torque(bank(viscous_nms=0.1), 80 * 0.5, 80.0, 3.0, moving) == pytest.approx(3.5 - 0.15)


@pytest.mark.parametrize(
    ("wanted", "speed", "given"),
    [
        (100.0, 0.0, 30.0),
        (100.0, 5.0, 22.5),
        (10.0, 5.0, 10.0),
        (100.0, 20.0, 0.0),
        (100.0, 30.0, 0.0),
        (100.0, -5.0, 30.0),
        (-100.0, 5.0, -30.0),
        (-100.0, -10.0, -15.0),
    ],
)
def test_limit_of_torque_falls_with_speed_in_its_own_direction_alone(wanted, speed, given):
    assert torque(bank(), wanted, states=[(0.0, speed)]) == pytest.approx(given)


def test_half_the_voltage_gives_half_the_no_load_speed():
    assert torque(bank(battery_v=12.0), 100.0, states=[(0.0, 5.0)]) == pytest.approx(15.0)


def test_strength_scales_torque_but_not_the_robots_own_estimate():
    motors = bank(strength=(0.5,))
    assert torque(motors, 10.0) == pytest.approx(5.0)
    assert motors.current_a[0] * CONSTANTS.torque_per_a_nm == pytest.approx(10.0)


def test_torque_control_gives_its_torque_in_motion():
    motors = bank()
    offset, kd = motors.torque_offsets([7.0])
    assert torque(motors, offset[0], 0.0, kd, [(1.0, 8.0)]) == pytest.approx(7.0)


def test_energy_is_work_plus_copper_loss():
    motors = bank()
    for _ in range(1000):
        torque(motors, 10.0, states=[(0.0, 2.0)])
    motors.settle_heat()
    # One second of 10 N m at 2 rad/s: 20 W of work, 0.3 * 100 W of loss.
    assert motors.energy_j == pytest.approx(50.0)
    assert motors.charge_used_ah == pytest.approx(50.0 / 24.0 / 3600.0)


def test_heating_matches_the_first_order_solution():
    motors = bank()
    for _ in range(3000):
        for _ in range(10):
            torque(motors, 20.0)
        motors.settle_heat()
    # 0.3 * 400 = 120 W over 0.5 K/W for 30 s at a time constant of 200 s.
    assert motors.temperature_c[0] == pytest.approx(25.0 + 60.0 * (1.0 - math.exp(-30.0 / 200.0)), rel=1e-3)


def test_battery_sags_under_load():
    motors = bank(battery_ohm=0.1)
    for _ in range(200):
        torque(motors, 20.0)
    # V = 24 - 0.1 * 120 / V.
    assert motors.supply_v == pytest.approx(12.0 + math.sqrt(144.0 - 12.0), rel=1e-4)


def test_state_that_is_not_a_number_is_refused():
    with pytest.raises(ValueError, match="NaN"):
        torque(bank(), 0.1, 80.0, 3.0, [(math.nan, math.nan)])


def test_a_gain_scale_makes_up_for_a_weak_motor_up_to_the_limit():
    moving = [(0.4, 1.5)]
    weak = bank(strength=(0.5,))
    weak.gain_scale = [2.0]
    assert torque(weak, 40.0, 80.0, 3.0, moving) == pytest.approx(torque(bank(), 40.0, 80.0, 3.0, moving))
    assert torque(weak, 1000.0) == pytest.approx(0.5 * LIMITS.peak_nm)
