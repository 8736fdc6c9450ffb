"""The gate and the monitors: what no policy can bypass, and what an observation is worth."""

import math
from dataclasses import replace

import numpy as np
import pytest
from fakes import DT_S, N_JOINTS, fake_spec, observation
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from agent.collision import LegClearance
from agent.config import SafetyConfig
from agent.safety import (
    OVERTRAVEL_RAD,
    ActionGate,
    FallDetector,
    JoltMonitor,
    Monitors,
    PowerMonitor,
    SaturationMonitor,
    SensorFilter,
)
from sim.minitaur import minitaur_spec
from sim.robot import FORCE_STOP, Command, CommandMode, Observation
from sim.workspace import Workspace

SPEC = fake_spec()
LIMITS = SafetyConfig()
STEP_RAD = float(SPEC.velocity_limit_radps[0]) * DT_S
ANY_FLOAT = st.floats(allow_nan=True, allow_infinity=True, width=64)
TARGETS = arrays(np.float64, N_JOINTS, elements=ANY_FLOAT)


def command(target: object, mode: CommandMode = CommandMode.POSITION, kp: float = 1.0, kd: float = 0.02) -> Command:
    return Command(mode=mode, target=np.asarray(target, dtype=np.float64), kp=kp, kd=kd)


class TestGate:
    @settings(deadline=None, max_examples=150)
    @given(st.lists(st.tuples(TARGETS, st.sampled_from(list(CommandMode)), ANY_FLOAT, ANY_FLOAT), max_size=6))
    def test_no_sequence_of_commands_passes_a_limit(self, sequence):
        gate = ActionGate(SPEC, DT_S)
        now = observation()
        last = now.joint_position
        for target, mode, kp, kd in sequence:
            sent = gate.filter(command(target, mode, kp, kd), now)
            assert sent.target.shape == (N_JOINTS,)
            assert np.isfinite(sent.target).all()
            assert 0.0 <= sent.kp < math.inf
            assert 0.0 <= sent.kd < math.inf
            if sent.mode is CommandMode.TORQUE:
                assert (np.abs(sent.target) <= SPEC.torque_limit_nm).all()
                last = now.joint_position
            elif sent.mode is CommandMode.POSITION:
                assert (sent.target >= SPEC.position_lower_rad).all()
                assert (sent.target <= SPEC.position_upper_rad).all()
                assert (np.abs(sent.target - last) <= STEP_RAD + 1e-12).all()
                last = sent.target
            else:
                last = now.joint_position

    @pytest.mark.parametrize("target", [np.full(N_JOINTS, np.nan), np.full(N_JOINTS, np.inf), np.zeros(3), 0.0, []])
    @pytest.mark.parametrize("mode", list(CommandMode))
    def test_what_makes_no_sense_becomes_damping(self, target, mode):
        gate = ActionGate(SPEC, DT_S)
        sent = gate.filter(command(target, mode), observation())
        assert (sent.mode, sent.kp, sent.kd) == (CommandMode.DAMPING, 0.0, SPEC.kd)
        assert sent.target.shape == (N_JOINTS,)
        assert gate.replaced == 1

    @pytest.mark.parametrize("gains", [(math.nan, 0.0), (0.0, math.nan), (math.inf, 0.0), (-1.0, 0.0), (1.0, -0.01)])
    def test_a_gain_that_no_robot_takes_becomes_damping(self, gains):
        sent = ActionGate(SPEC, DT_S).filter(command(np.zeros(N_JOINTS), kp=gains[0], kd=gains[1]), observation())
        assert sent.mode is CommandMode.DAMPING
        assert (sent.kp, sent.kd) == (0.0, SPEC.kd)

    @pytest.mark.parametrize("scale", [np.ones(3), np.full(N_JOINTS, math.nan), np.full(N_JOINTS, -0.5)])
    def test_a_scale_of_gains_that_no_robot_takes_becomes_damping(self, scale):
        gate = ActionGate(SPEC, DT_S)
        asked = replace(command(np.zeros(N_JOINTS)), gain_scale=scale)
        assert gate.filter(asked, observation()).mode is CommandMode.DAMPING
        fine = replace(asked, gain_scale=np.full(N_JOINTS, 1.5))
        assert gate.filter(fine, observation()).gain_scale is fine.gain_scale

    def test_damping_passes_unchanged_and_uncounted(self):
        gate = ActionGate(SPEC, DT_S)
        asked = command(np.zeros(N_JOINTS), CommandMode.DAMPING, 0.0, 0.5)
        assert gate.filter(asked, observation()) is asked
        assert (gate.replaced, gate.limited) == (0, 0)

    def test_what_is_within_all_limits_passes_unchanged_and_uncounted(self):
        gate = ActionGate(SPEC, DT_S)
        target = SPEC.stand_position_rad + 0.9 * STEP_RAD
        np.testing.assert_array_equal(gate.filter(command(target), observation()).target, target)
        assert gate.limited == 0

    @settings(deadline=None, max_examples=50)
    @given(arrays(np.float64, 8, elements=st.floats(-9.0, 9.0)))
    @example(np.array([0.0, 3.0, 6.0, 3.0, 0.0, 0.0, 0.0, 0.0]))
    @example(np.array([4.0, 4.0, 4.0, 4.0, 8.0, 4.0, 1.0, 4.0]))
    def test_no_leg_of_the_minitaur_is_told_to_fold_or_to_wind_up(self, target):
        spec = minitaur_spec()
        sent = ActionGate(spec, 1.0).filter(command(target), replace(observation(), joint_position=target)).target
        legs = np.linalg.inv(spec.leg_to_joint) @ (sent - spec.stand_position_rad)
        asked = np.linalg.inv(spec.leg_to_joint) @ (target - spec.stand_position_rad)
        nearest = np.clip(asked, spec.leg_lower_rad, spec.leg_upper_rad)
        turned = np.clip(target, spec.position_lower_rad, spec.position_upper_rad) - spec.stand_position_rad
        way_back = np.clip(np.linalg.inv(spec.leg_to_joint) @ turned, spec.leg_lower_rad, spec.leg_upper_rad)
        clearance = LegClearance(spec)
        in_the_way = clearance.clear(target) and not clearance.clear(
            spec.stand_position_rad + spec.leg_to_joint @ way_back
        )
        # Where a leg is beyond its limit and another is in the way back, it goes back as far as it can.
        reach = np.abs(asked - nearest) if in_the_way else 0.0
        assert (np.abs(legs - np.clip(legs, spec.leg_lower_rad, spec.leg_upper_rad)) <= reach + 1e-9).all()
        if np.array_equal(asked, nearest):
            assert not clearance.clear(target) or np.array_equal(sent, target)

    def test_the_first_target_is_limited_against_the_measured_position_and_the_next_against_the_last(self):
        gate = ActionGate(SPEC, DT_S)
        far = np.full(N_JOINTS, 2.0)
        measured = observation().joint_position
        np.testing.assert_allclose(gate.filter(command(far), observation()).target, measured + STEP_RAD)
        np.testing.assert_allclose(gate.filter(command(far), observation()).target, measured + 2 * STEP_RAD)
        assert gate.limited == 2
        gate.reset()
        np.testing.assert_allclose(gate.filter(command(far), observation()).target, measured + STEP_RAD)

    @pytest.mark.parametrize("between", [CommandMode.TORQUE, CommandMode.DAMPING])
    def test_after_other_commands_the_measured_position_counts_again(self, between):
        gate = ActionGate(SPEC, DT_S)
        gate.filter(command(SPEC.stand_position_rad), observation())
        gate.filter(command(np.zeros(N_JOINTS), between), observation())
        moved = replace(observation(), joint_position=np.full(N_JOINTS, -1.0))
        sent = gate.filter(command(np.full(N_JOINTS, 2.0)), moved)
        np.testing.assert_allclose(sent.target, -1.0 + STEP_RAD)


def spoilt(**change: object) -> Observation:
    return replace(observation(1.0), **change)


ZERO = np.zeros(N_JOINTS)
BAD = {
    "NaN in one joint angle": spoilt(joint_position=np.array([np.nan] + [0.5] * 7)),
    "inf in one joint speed": spoilt(joint_velocity=np.array([np.inf] + [0.0] * 7)),
    "NaN torque": spoilt(joint_torque=np.array([0.0] * 7 + [np.nan])),
    "infinities that cancel": spoilt(joint_torque=np.array([np.inf, -np.inf] + [0.0] * 6)),
    "NaN orientation": spoilt(orientation_xyzw=np.array([np.nan, 0.0, 0.0, 1.0])),
    "inf rate": spoilt(angular_velocity=np.array([0.0, np.inf, 0.0])),
    "NaN rate": spoilt(angular_velocity=np.array([0.0, np.nan, 0.0])),
    "rate of 1e30": spoilt(angular_velocity=np.array([0.0, 0.0, -1e30])),
    "NaN battery": spoilt(battery_v=math.nan),
    "NaN temperature": spoilt(motor_temperature_c=np.array([np.nan] + [30.0] * 7)),
    "NaN position": spoilt(base_position=np.array([np.nan, 0.0, 0.2])),
    "inf heading": spoilt(base_yaw=math.inf),
    "stamp that repeats": spoilt(stamp_s=0.98),
    "stamp that goes back": spoilt(stamp_s=0.5),
    "stamp that is NaN": spoilt(stamp_s=math.nan),
}


class TestSensorFilter:
    @pytest.mark.parametrize("name", BAD)
    def test_a_bad_reading_is_replaced_by_the_last_good_one(self, name):
        sensors = SensorFilter(LIMITS)
        good = observation(0.98)
        assert sensors.clean(good) is good
        assert sensors.clean(BAD[name]) is good
        assert (sensors.rejected, sensors.faulty) == (1, False)
        after = observation(1.02)
        assert sensors.clean(after) is after

    @pytest.mark.parametrize("name", BAD)
    def test_five_in_a_row_are_a_fault_that_a_good_one_ends(self, name):
        sensors = SensorFilter(LIMITS)
        sensors.clean(observation(0.98))
        faulty = []
        for _ in range(5):
            sensors.clean(BAD[name])
            faulty.append(sensors.faulty)
        assert faulty == [False, False, False, False, True]
        sensors.clean(observation(1.1))
        assert not sensors.faulty
        assert sensors.rejected == 5

    def test_bad_readings_that_are_not_in_a_row_are_no_fault(self):
        sensors = SensorFilter(LIMITS)
        for i in range(40):
            reading = observation(DT_S * (i + 1))
            sensors.clean(reading if i % 2 else replace(reading, battery_v=math.nan))
            assert not sensors.faulty

    def test_after_a_reset_an_earlier_stamp_is_a_beginning(self):
        sensors = SensorFilter(LIMITS)
        sensors.clean(observation(100.0))
        sensors.reset()
        first = observation(0.0)
        assert sensors.clean(first) is first


def falls_at(detector: FallDetector, tilts: list[float]) -> list[bool]:
    return [detector.update(observation(DT_S * i, tilt_rad=math.radians(tilt))) for i, tilt in enumerate(tilts)]


class TestFalls:
    @pytest.mark.parametrize("degrees", [0.0, 15.0, 60.0, 90.0, 179.0])
    def test_tilt_is_the_angle_of_the_up_axis(self, degrees):
        assert math.degrees(observation(tilt_rad=math.radians(degrees)).tilt_rad) == pytest.approx(degrees, abs=1e-5)

    def test_sixty_degrees_count_after_three_tenths_of_a_second(self):
        seen = falls_at(FallDetector(LIMITS), [61.0] * 20)
        assert seen.index(True) in (15, 16)  # 0.30 s, with or without the rounding of the stamps
        assert all(seen[16:])

    def test_85_degrees_count_at_once(self):
        assert falls_at(FallDetector(LIMITS), [0.0, 86.0]) == [False, True]

    def test_a_short_lean_is_no_fall_however_often(self):
        assert not any(falls_at(FallDetector(LIMITS), ([70.0] * 14 + [50.0]) * 5))

    def test_59_degrees_are_never_a_fall(self):
        assert not any(falls_at(FallDetector(LIMITS), [59.0] * 200))

    def test_a_reset_starts_the_time_anew(self):
        detector = FallDetector(LIMITS)
        falls_at(detector, [70.0] * 14)
        detector.reset()
        assert not any(falls_at(detector, [70.0] * 14))


class TestSaturation:
    def update(self, monitor: SaturationMonitor, torques: list[float]) -> list[bool]:
        joints = [np.array([0.0, torque] + [0.0] * 6) for torque in torques]
        return [monitor.update(replace(observation(), joint_torque=joint)) for joint in joints]

    def test_a_stuck_joint_is_seen_within_a_second(self):
        seen = self.update(SaturationMonitor(SPEC, LIMITS, 50), [-3.0] * 50)
        assert seen.index(True) == 40  # the 41st period is more than 80 % of 50
        assert all(seen[40:])

    def test_four_fifths_of_the_time_at_the_limit_are_allowed(self):
        assert not any(self.update(SaturationMonitor(SPEC, LIMITS, 50), [3.0, 3.0, 3.0, 3.0, 1.0] * 60))

    def test_old_periods_are_forgotten(self):
        monitor = SaturationMonitor(SPEC, LIMITS, 50)
        seen = self.update(monitor, [3.0] * 60 + [0.0] * 60)
        assert seen[59]
        assert not any(seen[71:])

    def test_below_the_limit_is_nothing(self):
        assert not any(self.update(SaturationMonitor(SPEC, LIMITS, 50), [2.9] * 200))

    def test_a_reset_forgets(self):
        monitor = SaturationMonitor(SPEC, LIMITS, 50)
        self.update(monitor, [3.0] * 40)
        monitor.reset()
        assert not any(self.update(monitor, [3.0] * 40))


class TestPower:
    def update(self, monitor: PowerMonitor, powers_w: list[float]) -> list[bool]:
        """Half the power in one joint that drives, half in one that brakes."""
        readings = []
        for power_w in powers_w:
            torque, speed = np.zeros(N_JOINTS), np.zeros(N_JOINTS)
            torque[:2], speed[:2] = (2.0, 2.0), (0.25 * power_w, -0.25 * power_w)
            readings.append(replace(observation(), joint_torque=torque, joint_velocity=speed))
        return [monitor.update(reading) for reading in readings]

    def monitor(self) -> PowerMonitor:
        return PowerMonitor(replace(SPEC, power_limit_w=100.0), 50.0)

    def test_the_mean_of_half_a_second_counts(self):
        seen = self.update(self.monitor(), [101.0] * 60)
        assert seen.index(True) == 24
        assert all(seen[24:])
        assert not any(self.update(self.monitor(), [99.0] * 60))
        assert not any(self.update(self.monitor(), [190.0, 0.0] * 60))

    def test_a_reset_forgets_and_without_a_limit_there_is_none(self):
        monitor = self.monitor()
        self.update(monitor, [200.0] * 20)
        monitor.reset()
        assert not any(self.update(monitor, [200.0] * 20))
        assert not any(self.update(PowerMonitor(SPEC, 50.0), [1e9] * 60))


class TestJolts:
    def monitor(self) -> JoltMonitor:
        return JoltMonitor(replace(SPEC, jolt_limit_radps2=400.0))

    def reading(self, k: int, rate_radps: float) -> Observation:
        return replace(observation(), stamp_s=k * DT_S, angular_velocity=np.array([0.0, rate_radps, 0.0]))

    @pytest.mark.parametrize(("change", "jolted"), [(7.9, False), (8.1, True), (-8.1, True)])
    def test_the_change_of_rate_over_a_period_counts(self, change, jolted):
        monitor = self.monitor()
        assert not monitor.update(self.reading(1, 1.0))
        assert monitor.update(self.reading(2, 1.0 + change)) is jolted
        assert not monitor.update(self.reading(3, 1.0 + change))

    def test_a_reset_forgets_and_the_same_reading_twice_says_nothing(self):
        monitor = self.monitor()
        monitor.update(self.reading(1, 0.0))
        monitor.reset()
        assert not monitor.update(self.reading(2, 50.0))
        assert not monitor.update(self.reading(2, 0.0))

    def test_without_a_limit_there_is_none(self):
        monitor = JoltMonitor(SPEC)
        monitor.update(self.reading(1, 0.0))
        assert not monitor.update(self.reading(2, 1e6))


class TestMonitors:
    def test_a_new_stretch_knows_nothing_of_a_jolt_before_it(self):
        for forgets in (False, True):
            monitors = Monitors(replace(SPEC, jolt_limit_radps2=400.0), Workspace(), LIMITS, 50.0)
            monitors.update(replace(observation(DT_S), angular_velocity=np.zeros(3)))
            if forgets:
                monitors.reset()
            _, alerts = monitors.update(replace(observation(2 * DT_S), angular_velocity=np.full(3, 50.0)))
            assert alerts.jolted is not forgets

    @pytest.mark.parametrize("end", ["position_lower_rad", "position_upper_rad"])
    def test_a_joint_beyond_its_limits_alerts(self, end):
        limit = getattr(SPEC, end)
        outward = 1.0 if end == "position_upper_rad" else -1.0
        for beyond, alert in ((0.8, False), (1.2, True)):
            joints = SPEC.stand_position_rad.copy()
            joints[3] = limit[3] + outward * beyond * OVERTRAVEL_RAD
            _, alerts = self.monitors().update(replace(observation(), joint_position=joints))
            assert alerts.overtravelled is alert

    def test_an_arm_that_has_stopped_itself_alerts(self):
        monitors = Monitors(replace(SPEC, extra_names=("other", FORCE_STOP)), Workspace(), LIMITS, 50.0)
        for i, (extra, alert) in enumerate([((1.0, 0.0), False), ((0.0, 1.0), True)]):
            _, alerts = monitors.update(replace(observation(DT_S * i), extra=np.array(extra)))
            assert alerts.pressed is alert
        assert not self.monitors().update(replace(observation(), extra=np.ones(2)))[1].pressed

    def monitors(self) -> Monitors:
        return Monitors(SPEC, Workspace(), LIMITS, 50.0)

    @pytest.mark.parametrize(
        ("x_m", "soft", "hard"),
        [(0.0, False, False), (1.99, False, False), (2.01, True, False), (2.49, True, False), (-2.51, True, True)],
    )
    def test_fences_alert_beyond_their_distance(self, x_m, soft, hard):
        for place in ({"x_m": x_m}, {"y_m": -x_m}):
            _, alerts = self.monitors().update(observation(**place))
            assert (alerts.soft_fence, alerts.hard_fence) == (soft, hard)

    def test_heat_has_hysteresis(self):
        monitors = self.monitors()
        hot = []
        for i, temperature in enumerate([79.0, 81.0, 79.0, 71.0, 69.0, 75.0, 80.5]):
            reading = replace(observation(DT_S * i), motor_temperature_c=np.array([30.0] * 7 + [temperature]))
            hot.append(monitors.update(reading)[1].hot)
        assert hot == [False, True, True, True, False, False, True]

    def test_alerts_come_from_the_reading_that_is_acted_on(self):
        monitors = self.monitors()
        monitors.update(observation(0.0))
        outside = replace(observation(0.02, x_m=9.0, tilt_rad=3.0), battery_v=math.nan)
        used, alerts = monitors.update(outside)
        assert used.stamp_s == 0.0
        assert not (alerts.hard_fence or alerts.fallen)

    def test_restart_forgets_readings_and_reset_does_not(self):
        monitors = self.monitors()
        monitors.update(observation(10.0))
        monitors.reset()
        assert monitors.update(observation(1.0))[0].stamp_s == 10.0
        monitors.restart()
        assert monitors.update(observation(1.0))[0].stamp_s == 1.0
        assert monitors.rejected_readings == 1
