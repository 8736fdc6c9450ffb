import dataclasses
import math

import numpy as np
import pytest

from sim.sensors import SensorModel, SensorParams, rotate_small, to_body, yaw_of


def model(params, seed=0):
    return SensorModel(params, (-1.0, 1.0), 0.0954, 2, np.random.default_rng(seed))


def test_noise_has_the_stated_deviation_and_no_mean():
    params = SensorParams()
    sensors = model(params)
    readings = np.array([sensors.measure([0.0] * 19) for _ in range(20000)])
    expected = np.array(
        [params.joint_position_rad] * 2
        + [params.joint_velocity_radps] * 2
        + [params.joint_torque_nm] * 2
        + [params.motor_temperature_c] * 2
        + [params.orientation_rad] * 3
        + [params.gyro_radps] * 3
        + [params.tracker_position_m] * 3
        + [params.tracker_yaw_rad, params.battery_v]
    )
    np.testing.assert_allclose(readings.std(axis=0), expected, rtol=0.03)
    unbiased = np.r_[0:8, 14:19]
    assert (np.abs(readings.mean(axis=0)[unbiased]) < 5 * expected[unbiased] / math.sqrt(20000)).all()


def test_biases_differ_between_robots_and_stay_for_one():
    params = dataclasses.replace(SensorParams.ideal(), gyro_bias_radps=0.01)
    one, other = model(params, 1), model(params, 2)
    first, second, foreign = one.measure([0.0] * 19), one.measure([0.0] * 19), other.measure([0.0] * 19)
    np.testing.assert_array_equal(first, second)
    assert (first[11:14] != foreign[11:14]).all()


def test_ideal_sensors_give_signs_and_torque_constant_alone():
    out = model(SensorParams.ideal()).measure([0.5, 0.5, 2.0, 2.0, 10.0, 10.0, *[1.0] * 13])
    np.testing.assert_allclose(out[:6], [-0.5, 0.5, -2.0, 2.0, -0.954, 0.954])
    np.testing.assert_array_equal(out[6:], 1.0)


def test_contacts_flip_as_often_as_stated():
    sensors = model(SensorParams(contact_flip_probability=0.1))
    flips = 0.0
    for _ in range(5000):
        sensors.measure([0.0] * 19)
        flips += sum(sensors.contacts([0.0, 0.0]))
    assert flips / 10000 == pytest.approx(0.1, abs=0.015)


def test_tracker_drops_out_for_the_stated_share_of_time():
    sensors = model(SensorParams(tracker_dropouts_per_s=0.5, tracker_dropout_s=0.5))
    seen = [sensors.tracker_sees(0.02 * k) for k in range(200000)]
    # Mean gap 2 s, mean drop-out 0.5 s (plus half a tick): a fifth of the time.
    assert 1 - np.mean(seen) == pytest.approx(0.2, abs=0.02)


def test_small_rotation_and_body_frame_agree_with_matrices():
    yaw = 0.7
    q = (0.0, 0.0, math.sin(yaw / 2), math.cos(yaw / 2))
    assert yaw_of(q) == pytest.approx(yaw)
    np.testing.assert_allclose(to_body(q, (math.cos(yaw), math.sin(yaw), 2.0)), (1.0, 0.0, 2.0), atol=1e-12)
    x, y, z, w = rotate_small(q, (0.0, 0.0, 0.01))
    assert yaw_of((x, y, z, w)) == pytest.approx(yaw + 0.01, abs=1e-6)
    assert math.hypot(x, y, z, w) == pytest.approx(1.0)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_bad_sensor_values_are_refused_by_name(value):
    with pytest.raises(ValueError, match="gyro_radps"):
        SensorParams(gyro_radps=value)
