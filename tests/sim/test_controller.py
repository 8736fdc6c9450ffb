from dataclasses import replace

import numpy as np
import pytest

from sim.actuator import MotorBank
from sim.controller import JointController
from sim.minitaur import EXTENSION_LOWER_RAD, EXTENSION_UPPER_RAD, MOTOR_DIRECTION, minitaur_spec
from sim.robot import Command, CommandMode


def controller(latency_ticks=0):
    out = JointController(minitaur_spec(), MOTOR_DIRECTION, 500, MotorBank(8, 0.002))
    out.latency_ticks = latency_ticks
    return out


def command(sequence, target=1.9, mode=CommandMode.POSITION, kp=1.0, kd=0.02):
    return Command(mode=mode, target=np.full(8, target), kp=kp, kd=kd, sequence=sequence)


@pytest.mark.parametrize("latency", [0, 1, 5, 17])
def test_command_comes_into_force_exactly_after_the_latency(latency):
    c = controller(latency)
    c.send(command(1), tick=100)
    if latency:
        c.update(100 + latency - 1)
        assert c.mode is None
    c.update(100 + latency)
    assert c.mode is CommandMode.POSITION
    np.testing.assert_allclose(c.offset, 1.9 * np.array(MOTOR_DIRECTION))


def test_old_and_equal_sequence_numbers_are_dropped():
    c = controller()
    c.send(command(5, 1.9), 0)
    c.send(command(5, 1.0), 0)
    c.send(command(4, 1.0), 0)
    c.update(0)
    np.testing.assert_allclose(np.abs(c.offset), 1.9)


def test_silence_of_two_tenths_of_a_second_damps():
    c = controller()
    c.send(command(1), 0)
    c.update(99)
    assert c.mode is CommandMode.POSITION
    c.update(100)
    assert c.mode is CommandMode.DAMPING
    assert c.kp == 0.0
    assert c.kd == minitaur_spec().kd


def test_commands_in_time_keep_the_timer_from_running_out():
    c = controller(5)
    for k in range(20):
        c.send(command(k), 90 * k)
        c.update(90 * k + 5)
        c.update(90 * k + 89)
        assert c.mode is CommandMode.POSITION


def test_stop_damps_then_releases_and_drops_what_is_under_way():
    c = controller(5)
    c.send(command(1), 0)
    c.stop(2)
    c.update(10)
    assert c.mode is CommandMode.DAMPING
    c.update(2 + 250)
    assert c.mode is None
    c.send(command(2), 300)
    c.update(305)
    assert c.mode is CommandMode.POSITION


@pytest.mark.parametrize("bad", [np.full(8, np.nan), np.full(7, 1.0), np.full(8, np.inf)])
def test_bad_targets_are_refused_and_change_nothing(bad):
    c = controller()
    with pytest.raises(ValueError, match=r"target|finite"):
        c.send(Command(mode=CommandMode.POSITION, target=bad, kp=1.0, kd=0.0, sequence=1), 0)
    c.update(0)
    assert c.mode is None
    c.send(command(1), 0)
    c.update(0)
    assert c.mode is CommandMode.POSITION


@pytest.mark.parametrize("gains", [{"kp": -1.0}, {"kd": float("nan")}])
def test_bad_gains_are_refused(gains):
    with pytest.raises(ValueError, match=r"gains|finite"):
        controller().send(command(1, **gains), 0)


@pytest.mark.parametrize(("target", "limit"), [(0.0, EXTENSION_LOWER_RAD), (5.0, EXTENSION_UPPER_RAD)])
def test_leg_cannot_be_told_to_fold(target, limit):
    c = controller()
    c.send(command(1, target), 0)
    c.update(0)
    np.testing.assert_allclose(np.abs(c.offset), limit)


def test_torque_beyond_the_limit_is_clipped():
    one, other = controller(), controller()
    one.send(command(1, 3.5, CommandMode.TORQUE), 0)
    other.send(command(1, 50.0, CommandMode.TORQUE), 0)
    one.update(0)
    other.update(0)
    assert one.offset == other.offset


def test_a_gain_scale_comes_and_goes_with_its_command():
    c, scale = controller(latency_ticks=3), np.linspace(0.5, 2.0, 8)
    c.send(replace(command(1), gain_scale=scale), 0)
    c.send(command(2), 10)
    c.send(replace(command(3), gain_scale=scale), 20)
    found = []
    for tick in (2, 3, 13, 23, 23 + 100):
        c.update(tick)
        found.append(list(c.motors.gain_scale))
    assert c.mode is CommandMode.DAMPING  # by the timer
    plain = [1.0] * 8
    assert found == [plain, scale.tolist(), plain, scale.tolist(), plain]


def test_a_torque_has_no_gains_to_scale():
    c = controller()
    c.send(replace(command(1, 1.0, CommandMode.TORQUE), gain_scale=np.full(8, 2.0)), 0)
    c.update(0)
    assert c.motors.gain_scale == [1.0] * 8


@pytest.mark.parametrize("bad", [np.ones(7), np.full(8, np.nan), np.full(8, -1.0), np.full(8, np.inf)])
def test_a_bad_gain_scale_is_refused(bad):
    with pytest.raises(ValueError, match="gain_scale"):
        controller().send(replace(command(1), gain_scale=bad), 0)
