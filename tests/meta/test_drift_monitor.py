"""A robot whose joints shake at random: what the monitor says when one of them begins to drift, and when it stops."""

import dataclasses

import numpy as np
import pytest
from fakes import N_JOINTS, fake_spec, observation

from meta import drift_monitor
from meta.change_point import Calibration
from meta.drift_monitor import CALM_S, HABIT_S, Condition, DriftMonitor, Finding, suspicions_per_h
from meta.expectation import Expectation, ForwardModel
from meta.robot_steps import BODY, action_size, channel_errors, posture_size, signed_channels
from meta.sensor_checks import CHECKS, MOST
from meta.transitions import Scales
from sim.robot import FrameLayout

SPEC = fake_spec()
LAYOUT = FrameLayout.of(SPEC)
STATE, ACTION = posture_size(SPEC), action_size(N_JOINTS)
SENT = np.zeros(N_JOINTS, np.float32)


USUAL = np.array((0.0, 0.0, 0.0, 0.2), np.float32)
"""What checks of sensors usually are."""


def expects_rest(version=1, shift=0.0):
    """Expects zeros of every state, and errors of about one; of joint 3's velocity, errors around ``shift``."""
    weight = np.zeros((1, STATE + ACTION, 2 * STATE), np.float32)
    weight[0, :STATE, :STATE] = -np.eye(STATE)
    bound = np.zeros((1, 1, STATE), np.float32)
    model = ForwardModel(
        layers=((weight, np.zeros((1, 1, 2 * STATE), np.float32)),),
        log_variance=(bound - 0.01, bound + 0.01),
        scales=Scales(
            input_mean=np.zeros(STATE + ACTION, np.float32),
            input_std=np.ones(STATE + ACTION, np.float32),
            delta_mean=np.zeros(STATE, np.float32),
            delta_std=np.ones(STATE, np.float32),
        ),
    )
    rng = np.random.default_rng(0)
    calm = []
    for _ in range(8):
        states = np.zeros((501, STATE), np.float32)
        states[:, 2] = 1.0  # upright
        states[:, 3:] = rng.standard_normal((501, STATE - 3))
        states[:, BODY + N_JOINTS + 3] += shift
        z, expected, _ = model.errors(states[:-1], np.zeros((500, ACTION), np.float32), states[1:])
        turning, volts = rng.standard_normal((501, 3)), 16.0 + 0.2 * rng.standard_normal(501)
        ripple = np.abs(np.diff(volts))[:, None]
        checks = np.clip(np.concatenate((0.5 * (turning[:-1] + turning[1:]), ripple), axis=1), -MOST, MOST) - USUAL
        calm.append(channel_errors(N_JOINTS, z, expected, states[1:], checks))
    calibrations = tuple(Calibration.of(calm, block, signed_channels(N_JOINTS)) for block in (2, 10))
    usual_checks = np.zeros((7, CHECKS), np.float32)
    usual_checks[-1] = USUAL
    return Expectation(version=version, model=model, calibrations=calibrations, usual_checks=usual_checks, familiar=0.0)


EXPECTED = expects_rest()


class Practice:
    """Decisions of a robot; notes what the monitor finds, with the number of the decision."""

    def __init__(self, monitor, seed=1):
        self.monitor = monitor
        self.found = []
        self.decisions = 0
        self._rng = np.random.default_rng(seed)
        monitor.begins(SENT)

    def go_on(self, seconds, shift=0.0, joint=3, size=1.0, bias_radps=(0.0, 0.0, 0.0), ripple_v=0.2):
        for _ in range(round(seconds * SPEC.policy_rate_hz)):
            noise = size * self._rng.standard_normal((3, N_JOINTS))
            noise[1, joint] += shift
            seen = dataclasses.replace(
                observation(),
                battery_v=16.0 + ripple_v * self._rng.standard_normal(),
                angular_velocity=size * self._rng.standard_normal(3) + bias_radps,
                joint_position=SPEC.stand_position_rad + noise[0],
                joint_velocity=noise[1],
                joint_torque=noise[2],
            )
            found = self.monitor.decided(LAYOUT.pack(seen), SENT, 0.0)
            self.decisions += 1
            if found is not None:
                self.found.append((self.decisions, found))
        return self


def kinds(practice):
    return [found.kind for _, found in practice.found]


RARELY = 0.05
"""False alarms per hour: so few that these few calm minutes have none."""


def monitor(false_alarms_per_h=RARELY, *, checked_up=False):
    made = DriftMonitor(SPEC, false_alarms_per_h=false_alarms_per_h, checked_up=checked_up)
    made.expect(EXPECTED)
    return made


def test_nothing_is_watched_before_there_is_an_expectation():
    made = DriftMonitor(SPEC)
    assert not made.watching
    assert not Practice(made).go_on(20, shift=5.0).found
    made.expect(None)
    assert not made.watching


def test_ten_calm_minutes_are_calm_and_hardly_suspicious():
    found = kinds(Practice(monitor(false_alarms_per_h=1.0)).go_on(600))
    assert Finding.CHANGED not in found
    assert len(found) <= 2  # 0.9 are to be expected at most


def test_a_joint_that_drifts_is_suspected_within_seconds_and_found_and_named_soon_after():
    made = Practice(monitor()).go_on(60).go_on(10, shift=1.5)
    (first_at, first), (at, found) = made.found
    assert (first.kind, found.kind) == (Finding.SUSPECTED, Finding.CHANGED)
    assert first.joint == found.joint == 3
    assert first.size > 1.0
    assert found.size > 1.0
    first_s, delay_s = first_at / SPEC.policy_rate_hz - 60.0, at / SPEC.policy_rate_hz - 60.0
    assert 0.0 < first_s < 2.0
    assert first_s < delay_s < 4.0
    assert first.practised_s == pytest.approx(first_s, abs=1.0)
    assert found.practised_s == pytest.approx(first.practised_s + delay_s - first_s)
    assert made.monitor.condition is Condition.CHANGED


def test_a_stumble_is_suspected_and_no_change():
    made = Practice(monitor()).go_on(20).go_on(0.3, shift=6.0).go_on(CALM_S - 2.0)
    assert kinds(made) == [Finding.SUSPECTED]
    assert made.monitor.suspected
    assert not made.monitor.changed
    made.go_on(4.0)
    assert not made.monitor.suspected
    made.go_on(0.3, shift=6.0).go_on(CALM_S)  # later it is another one
    assert kinds(made) == [Finding.SUSPECTED] * 2
    assert made.monitor.condition is Condition.USUAL


def test_a_second_stumble_soon_after_is_a_change():
    made = Practice(monitor()).go_on(20).go_on(0.3, shift=6.0).go_on(CALM_S - 5.0).go_on(0.3, shift=6.0)
    assert kinds(made) == [Finding.SUSPECTED, Finding.CHANGED]
    assert not made.monitor.suspected


def test_what_is_suspected_is_a_change_if_something_else_confirms_it():
    made = monitor()
    practice = Practice(made).go_on(20)
    assert made.confirm() is None
    while not made.suspected:
        practice.go_on(1.0 / SPEC.policy_rate_hz, shift=1.5)
    suspected = practice.found[-1][1]
    found = made.confirm()
    assert dataclasses.replace(found, kind=Finding.SUSPECTED) == suspected
    assert (found.kind, made.condition, made.suspected) == (Finding.CHANGED, Condition.CHANGED, False)
    assert made.confirm() is None


def test_what_is_suspected_and_made_up_for_is_nothing_any_more():
    made = Practice(monitor()).go_on(20).go_on(0.3, shift=6.0)
    assert made.monitor.settle() is None
    assert not made.monitor.suspected
    made.go_on(5.0).go_on(0.3, shift=6.0)
    assert kinds(made) == [Finding.SUSPECTED] * 2


def test_two_suspicions_by_chance_come_as_often_as_was_asked_for():
    for asked in (0.5, 1.0, 10.0):
        s = suspicions_per_h(asked)
        assert s * 4.0 * s * CALM_S / 3600.0 == pytest.approx(asked)
    assert suspicions_per_h(60.0) == 60.0
    with pytest.raises(ValueError, match="must be positive"):
        suspicions_per_h(0.0)


def test_errors_alarm_as_often_as_a_change_may_be_suspected(monkeypatch):
    least = []
    monkeypatch.setattr(drift_monitor, "ChangeDetector", lambda calibrations, least_steps: least.append(least_steps))
    monitor(false_alarms_per_h=0.5)
    assert least == [pytest.approx(3600.0 * SPEC.policy_rate_hz / suspicions_per_h(0.5))]


def test_a_change_is_over_after_half_a_minute_of_calm_and_no_earlier():
    made = Practice(monitor()).go_on(20).go_on(40, shift=1.5).go_on(CALM_S - 1.0)
    assert kinds(made) == [Finding.SUSPECTED, Finding.CHANGED]
    made.go_on(5)
    assert kinds(made)[2:] == [Finding.CALM]
    (changed_at, changed), (calm_at, calm) = made.found[1:]
    since_s = (calm_at - changed_at) / SPEC.policy_rate_hz
    assert calm.practised_s == pytest.approx(changed.practised_s + since_s)
    assert calm.practised_s == pytest.approx(40 + CALM_S, abs=2.0)
    assert made.monitor.condition is Condition.USUAL
    assert kinds(made.go_on(10, shift=1.5))[3:] == [Finding.SUSPECTED, Finding.CHANGED]


def test_what_was_learned_of_a_changed_robot_does_not_count_until_it_is_what_the_robot_is_like():
    made = Practice(monitor()).go_on(10, shift=1.5)
    made.monitor.expect(expects_rest(version=2, shift=1.5))
    made.go_on(HABIT_S - 60, shift=1.5)
    assert kinds(made) == [Finding.SUSPECTED, Finding.CHANGED]
    made.go_on(60, shift=1.5)
    assert kinds(made)[2:] == [Finding.HABIT]
    assert made.monitor.condition is Condition.HABIT
    assert made.monitor.changed
    made.monitor.expect(expects_rest(version=3, shift=1.5))
    made.go_on(CALM_S + 1.0, shift=1.5)
    assert kinds(made)[3:] == [Finding.CALM]


def test_a_newer_expectation_that_waited_counts_once_the_robot_is_calm_again():
    made = Practice(monitor()).go_on(10, shift=1.5)
    made.monitor.expect(expects_rest(version=2, shift=1.5))
    made.monitor.begins(SENT)  # it is repaired between two attempts
    while made.monitor.changed:
        made.go_on(1.0 / SPEC.policy_rate_hz)
    assert CALM_S - 2.0 < made.decisions / SPEC.policy_rate_hz - 10.0 < CALM_S + 1.0
    assert not made.go_on(20, shift=1.5).found[3:]


def test_the_same_version_again_does_not_begin_the_test_anew():
    made = Practice(monitor())
    for _ in range(50):
        made.monitor.expect(EXPECTED)
        made.go_on(0.2, shift=1.5)
    assert made.found


def test_the_step_over_a_gap_says_nothing():
    """What follows a fall that was caught, or another attempt, is not the consequence of what was decided last."""
    made = Practice(monitor())
    for _ in range(300):
        made.go_on(0.04, size=100.0)  # a single decision, far from what is expected, and never its consequence
        made.monitor.cut()
    assert not made.found
    made.go_on(2, size=100.0)
    assert made.found


def test_readings_that_are_no_numbers_say_nothing():
    made = monitor()
    practice = Practice(made)
    broken = dataclasses.replace(observation(), joint_velocity=np.full(N_JOINTS, np.nan))
    for _ in range(200):
        assert made.decided(LAYOUT.pack(broken), SENT, 0.0) is None
    assert not practice.go_on(30).found


def test_where_the_models_disagree_nothing_is_judged():
    """Two members, one of which expects more the faster the first joint is: there they disagree."""
    one = EXPECTED.model
    other = one.layers[0][0].copy()
    other[0, BODY + N_JOINTS, :] += 1.0
    layers = ((np.concatenate((one.layers[0][0], other)), np.zeros((2, 1, 2 * STATE), np.float32)),)
    bounds = tuple(np.repeat(bound, 2, axis=0) for bound in one.log_variance)
    model = dataclasses.replace(one, layers=layers, log_variance=bounds)
    made = DriftMonitor(SPEC, false_alarms_per_h=RARELY)
    made.expect(dataclasses.replace(EXPECTED, version=2, model=model, familiar=4.0))
    practice = Practice(made).go_on(20, shift=50.0, joint=0)
    assert not practice.found
    assert practice.go_on(20, shift=5.0, joint=3).found


def test_where_nothing_can_be_judged_a_changed_robot_is_not_calm():
    made = DriftMonitor(SPEC, condition=Condition.CHANGED)
    made.expect(dataclasses.replace(EXPECTED, familiar=-1.0))
    assert not Practice(made).go_on(3 * CALM_S).found


def test_a_robot_that_was_changed_when_it_was_last_seen_is_so_until_it_has_been_calm():
    made = DriftMonitor(SPEC, condition=Condition.CHANGED)
    made.expect(EXPECTED)
    practice = Practice(made).go_on(20, shift=1.5)
    assert made.condition is Condition.CHANGED
    assert not practice.found
    assert [found.kind for _, found in practice.go_on(CALM_S + 3.0).found] == [Finding.CALM]


def test_a_gyroscope_that_is_off_is_found_within_seconds():
    made = Practice(monitor()).go_on(60).go_on(10, bias_radps=(0.0, 0.0, 1.5))
    assert kinds(made) == [Finding.SUSPECTED, Finding.CHANGED]
    assert {found.joint for _, found in made.found} == {-1}
    assert made.found[0][0] / SPEC.policy_rate_hz - 60.0 < 4.0


def test_a_battery_that_sags_more_is_found_within_seconds():
    made = Practice(monitor()).go_on(60).go_on(10, ripple_v=0.6)
    assert kinds(made) == [Finding.SUSPECTED, Finding.CHANGED]
    assert {(found.joint, found.sensor) for _, found in made.found} == {(-1, "battery")}
    assert made.found[0][0] / SPEC.policy_rate_hz - 60.0 < 4.0


class TestSensorsOfARobotThatIsCheckedUp:
    """A check-up decides whether it is one of them that is off."""

    def test_that_they_differ_on_is_suspected_again_after_half_a_minute_and_no_change(self):
        made = Practice(monitor(checked_up=True)).go_on(20).go_on(3.0 * CALM_S, ripple_v=0.6)
        assert set(kinds(made)) == {Finding.SUSPECTED}
        apart_s = np.diff([at for at, _ in made.found]) / SPEC.policy_rate_hz
        assert len(apart_s) in (1, 2)
        assert apart_s.min() > CALM_S - 1.0
        found = made.monitor.confirm()
        assert (found.kind, found.sensor) == (Finding.CHANGED, "battery")

    def test_errors_of_motion_soon_after_are_a_change(self):
        made = Practice(monitor(checked_up=True)).go_on(20).go_on(2.0, ripple_v=0.6).go_on(5.0, shift=1.5)
        assert kinds(made) == [Finding.SUSPECTED, Finding.CHANGED]

    def test_one_that_differs_after_a_stumble_is_another_suspicion(self):
        made = Practice(monitor(checked_up=True)).go_on(20).go_on(0.3, shift=6.0).go_on(5.0, ripple_v=0.6)
        assert kinds(made) == [Finding.SUSPECTED] * 2
        assert [found.sensor for _, found in made.found] == ["", "battery"]

    def test_errors_of_motion_are_a_change_as_ever(self):
        made = Practice(monitor(checked_up=True)).go_on(20).go_on(10.0, shift=1.5)
        assert kinds(made) == [Finding.SUSPECTED, Finding.CHANGED]
        assert {found.sensor for _, found in made.found} == {""}


def test_sensors_are_compared_with_what_they_usually_differ_by():
    usual = EXPECTED.usual_checks.copy()
    usual[-1, 3] += 0.5  # of a battery that ripples more than this one
    made = DriftMonitor(SPEC, false_alarms_per_h=RARELY)
    made.expect(dataclasses.replace(EXPECTED, usual_checks=usual))
    assert kinds(Practice(made).go_on(10)) == [Finding.SUSPECTED, Finding.CHANGED]


def test_an_expectation_of_other_channels_is_not_taken():
    made = DriftMonitor(SPEC)
    one = EXPECTED.calibrations[1]
    calibration = dataclasses.replace(
        one,
        calm=one.calm[:, 1:],
        between=one.between[1:],
        inflation=one.inflation[1:],
    )
    made.expect(dataclasses.replace(EXPECTED, version=7, calibrations=(calibration,)))
    assert not made.watching


def test_a_change_that_is_made_up_for_is_over_at_once_and_the_next_one_is_found():
    made = monitor()
    practice = Practice(made).go_on(60)
    assert made.settle() is None
    practice.go_on(10, shift=1.5)
    assert made.changed
    found = made.settle()
    assert (found.kind, made.condition) == (Finding.CALM, Condition.USUAL)
    practice.go_on(20).go_on(10, shift=-1.5, joint=2)
    assert kinds(practice) == [Finding.SUSPECTED, Finding.CHANGED] * 2
