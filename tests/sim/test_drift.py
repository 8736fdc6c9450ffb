"""A schedule of drifts is a function of nominal dynamics and robot time, and of nothing else."""

import json
import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sim.a1 import A1, a1_spec
from sim.drift import KINDS, STAIRS, Drift, DriftFollower, DriftKind, DriftSchedule
from sim.dynamics import BOUNDS, DynamicsParams, corner_masses_kg, within_reach
from sim.minitaur import MINITAUR, minitaur_spec

SUBJECT = MINITAUR.drift_subject(minitaur_spec())
JOINTS, NOMINAL = SUBJECT.joint_names, SUBJECT.nominal


@st.composite
def drifts(draw, kinds=tuple(DriftKind), ends=True):
    kind = draw(st.sampled_from(kinds))
    facts = KINDS[kind]
    begins_s = draw(st.floats(0.0, 1e5))
    return Drift(
        kind=kind,
        size=draw(st.floats(facts.low, facts.high)),
        joints=tuple(draw(st.sets(st.sampled_from(JOINTS), max_size=3))) if facts.joints else (),
        axis=draw(st.sampled_from(facts.axes)) if facts.axes else "",
        at_m=draw(st.tuples(st.floats(-0.3, 0.3), st.floats(-0.3, 0.3))) if kind is DriftKind.PAYLOAD else (0.0, 0.0),
        begins_s=begins_s,
        over_s=draw(st.sampled_from((0.0, 1.0, 3600.0, 86400.0))),
        ends_s=begins_s + draw(st.floats(1.0, 1e5)) if ends and draw(st.booleans()) else math.inf,
    )


def fault(kind, size=0.0, **more):
    return Drift(kind=kind, size=size, **more)


def at(drift, robot_s=0.0, nominal=NOMINAL):
    return DriftSchedule([drift], JOINTS).at(nominal, robot_s)


TIMES = st.floats(0.0, 3e5)


class TestSchedule:
    def test_without_drift_the_robot_is_the_nominal_one(self):
        drifted = DriftSchedule().at(NOMINAL, 5.0)
        assert drifted.dynamics is NOMINAL
        assert not any((*drifted.joint_offset_rad, *drifted.tilt_bias_rad, *drifted.gyro_bias_radps))
        assert DriftSchedule().next_change_s(5.0) == math.inf

    @settings(deadline=None)
    @given(st.lists(drifts(), max_size=5), TIMES, st.randoms())
    def test_the_order_of_drifts_does_not_matter(self, found, robot_s, random):
        shuffled = list(found)
        random.shuffle(shuffled)
        one, other = DriftSchedule(found, JOINTS), DriftSchedule(shuffled, JOINTS)
        assert one.at(NOMINAL, robot_s) == other.at(NOMINAL, robot_s)
        assert one.next_change_s(robot_s) == other.next_change_s(robot_s)

    @settings(deadline=None)
    @given(st.lists(drifts(), max_size=5), st.lists(TIMES, min_size=1, max_size=5))
    def test_what_was_asked_before_does_not_matter(self, found, times):
        used, fresh = DriftSchedule(found, JOINTS), DriftSchedule(found, JOINTS)
        asked = [used.at(NOMINAL, robot_s) for robot_s in times]
        assert fresh.at(NOMINAL, times[-1]) == asked[-1]

    @settings(deadline=None)
    @given(st.lists(drifts(), max_size=6), TIMES)
    def test_it_never_leaves_what_the_simulator_can_represent(self, found, robot_s):
        drifted = DriftSchedule(found, JOINTS).at(NOMINAL, robot_s).dynamics  # out of bounds it would raise
        for name, (low, high) in BOUNDS.items():
            value = getattr(drifted, name)
            for number in value if isinstance(value, tuple) else (value,):
                assert number is None or low <= number <= high

    @settings(deadline=None)
    @given(st.lists(drifts(), max_size=5), TIMES, st.floats(0.0, 1.0))
    def test_nothing_changes_before_the_next_change(self, found, robot_s, share):
        schedule = DriftSchedule(found, JOINTS)
        due_s = schedule.next_change_s(robot_s)
        assert due_s > robot_s - 1e-6
        between_s = robot_s + 0.999 * share * (min(due_s, 1e6) - robot_s)
        assert schedule.at(NOMINAL, between_s) == schedule.at(NOMINAL, robot_s)

    @settings(deadline=None)
    @given(st.lists(drifts(), min_size=1, max_size=5))
    def test_following_the_changes_reaches_every_state_and_ends(self, found):
        schedule, now_s, changes = DriftSchedule(found, JOINTS), -1.0, 0
        while (due_s := schedule.next_change_s(now_s)) < math.inf:
            now_s = max(due_s, math.nextafter(now_s, math.inf))
            changes += 1
            assert changes <= len(found) * (2 * STAIRS + 3)
        assert schedule.at(NOMINAL, now_s) == schedule.at(NOMINAL, 1e9)

    @settings(deadline=None)
    @given(drifts(ends=False), TIMES)
    def test_what_is_repaired_is_exactly_as_it_was(self, drift, robot_s):
        over = replace(drift, ends_s=drift.begins_s + 10.0)
        assert at(over, drift.begins_s + 10.0 + robot_s).dynamics is NOMINAL
        assert at(over, drift.begins_s - 1e-3).dynamics is NOMINAL

    @settings(deadline=None)
    @given(drifts(), st.floats(0.0, 1e5), st.floats(0.0, 1.0))
    def test_wear_comes_in_by_small_steps_and_never_goes_back(self, drift, since_s, share):
        slow = replace(drift, over_s=3600.0, ends_s=math.inf)
        now, later = (slow.share(drift.begins_s + since_s + more_s) for more_s in (0.0, share * 36.0))
        assert 0.0 <= later - now <= 1.0 / STAIRS + 1e-9
        assert slow.share(drift.begins_s + 3600.0) == 1.0
        assert abs(slow.share(drift.begins_s + since_s) - min(1.0, since_s / 3600.0)) <= 1.0 / STAIRS + 1e-9

    def test_unknown_joints_are_refused_with_those_there_are(self):
        with pytest.raises(ValueError, match=r"unknown joint 'knee'; joints: front_left_left, "):
            DriftSchedule([fault("motor_strength", 0.5, joints=("knee",))], JOINTS)


class TestEffects:
    """Sizes by hand, each alone at full size."""

    def test_motor_strength_is_of_the_named_joints_or_of_all(self):
        one = at(fault("motor_strength", 0.5, joints=(JOINTS[3],))).dynamics.motor_strength
        assert one == (1.0, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0)
        assert at(fault("motor_strength", 0.7)).dynamics.motor_strength == (0.7,) * 8
        assert at(fault("dead_motor", joints=(JOINTS[0],))).dynamics.motor_strength[:2] == (0.0, 1.0)

    def test_ratios_multiply(self):
        both = DriftSchedule([fault("motor_strength", 0.5), fault("motor_strength", 0.6)], JOINTS)
        assert both.at(replace(NOMINAL, motor_strength=(0.9,) * 8), 0.0).dynamics.motor_strength[0] == pytest.approx(
            0.27
        )
        assert at(fault("foot_friction", 0.3), 0.0, replace(NOMINAL, foot_friction=0.8)).dynamics.foot_friction == (
            pytest.approx(0.24)
        )
        assert at(fault("base_mass", 1.5)).dynamics.base_mass_ratio == 1.5

    def test_frictions_add_up_joint_by_joint(self):
        nominal = replace(NOMINAL, extra_friction_nm=(0.1,) + (0.0,) * 7)
        got = at(fault("joint_friction", 0.05, joints=JOINTS[:2]), 0.0, nominal).dynamics
        assert got.extra_friction_nm == pytest.approx((0.15, 0.05, *[0.0] * 6))
        assert at(fault("viscous_friction", 0.01)).dynamics.extra_viscous_nms == (0.01,) * 8
        assert got.joint_friction_nm == nominal.joint_friction_nm

    def test_loads_share_a_centre(self):
        nominal = replace(NOMINAL, payload_kg=0.3, payload_offset_m=(0.04, 0.0))
        got = at(fault("payload", 0.1, at_m=(0.0, 0.08)), 0.0, nominal).dynamics
        assert got.payload_kg == pytest.approx(0.4)
        assert got.payload_offset_m == pytest.approx((0.03, 0.02))

    def test_voltage_resistance_and_centre_of_mass_add_up(self):
        assert at(fault("battery_voltage", -6.0)).dynamics.battery_v == 10.0
        assert at(fault("battery_resistance", 0.03)).dynamics.battery_resistance_ohm == pytest.approx(0.05)
        assert at(fault("com_shift", -0.01, axis="y")).dynamics.com_offset_m == (0.0, -0.01)

    @pytest.mark.parametrize(
        ("own", "wanted"), [((0.01, 0.01), (0.02, 0.02)), ((0.0, 0.02), (0.0, 0.04)), ((0.0, 0.0), (0.01, 0.01))]
    )
    def test_latency_grows_where_it_is(self, own, wanted):
        nominal = replace(NOMINAL, action_latency_s=own[0], observation_latency_s=own[1])
        got = at(fault("latency", 0.02), 0.0, nominal).dynamics
        assert (got.action_latency_s, got.observation_latency_s) == pytest.approx(wanted)

    def test_sensors_are_off_and_the_dynamics_are_not(self):
        got = at(fault("joint_offset", 0.1, joints=(JOINTS[2],)))
        assert got.joint_offset_rad == (0.0, 0.0, 0.1, *[0.0] * 5)
        assert got.dynamics == NOMINAL
        assert at(fault("gyro_bias", 0.2, axis="z")).gyro_bias_radps == (0.0, 0.0, 0.2)
        assert at(fault("tilt_bias", -0.1, axis="x")).tilt_bias_rad == (-0.1, 0.0, 0.0)

    def test_half_way_in_it_is_half_as_large(self):
        got = at(fault("motor_strength", 0.5, begins_s=100.0, over_s=200.0), 200.0)
        assert got.dynamics.motor_strength == (0.75,) * 8


class TestDrift:
    @settings(deadline=None)
    @given(drifts())
    def test_survives_the_store(self, drift):
        assert Drift.from_dict(json.loads(json.dumps(drift.to_dict(), allow_nan=False))) == drift

    @pytest.mark.parametrize(
        ("data", "match"),
        [
            ({"kind": "rust"}, "unknown kind of drift 'rust'; valid: motor_strength"),
            ({"kind": "motor_strength", "size": 2.5}, "0 to 2"),
            ({"kind": "motor_strength", "size": math.nan}, "nan"),
            ({"kind": "motor_strength", "size": "half"}, "no number"),
            ({"kind": "dead_motor", "size": 0.5}, "0 to 0"),
            ({"kind": "payload", "size": 0.5, "joint": "x"}, "not of single joints"),
            ({"kind": "payload", "size": 0.5, "at_m": [1.0]}, "list of 2"),
            ({"kind": "com_shift", "size": 0.01}, "axis ''; valid: x, y"),
            ({"kind": "com_shift", "size": 0.01, "axis": "z"}, "axis 'z'"),
            ({"kind": "latency", "size": 0.01, "axis": "x"}, "valid: none"),
            ({"kind": "latency", "size": 0.01, "at_m": [0.1, 0.0]}, "only a payload"),
            ({"kind": "latency", "size": 0.01, "over_s": -1}, "negative duration"),
            ({"kind": "latency", "size": 0.01, "begins_s": 5, "ends_s": 5}, "end after the beginning"),
            ({"kind": "latency", "amount": 0.01}, "unknown key 'amount'"),
            ({"size": 0.01}, "without kind"),
        ],
    )
    def test_what_makes_no_sense_is_refused(self, data, match):
        with pytest.raises(ValueError, match=match):
            Drift.from_dict(data)

    def test_one_joint_may_be_written_as_one(self):
        assert Drift.from_dict({"kind": "dead_motor", "joint": "a"}).joints == ("a",)


def test_a_robot_that_began_later_follows_the_same_time():
    schedule = DriftSchedule([fault("motor_strength", 0.5, begins_s=100.0)], JOINTS)
    follower = DriftFollower(schedule, 90.0)
    assert follower.at(NOMINAL, 9.98).dynamics is NOMINAL
    assert follower.due_s == pytest.approx(10.0, abs=1e-5)
    assert follower.at(NOMINAL, 10.0).dynamics.motor_strength[0] == 0.5
    assert follower.due_s == math.inf


@settings(deadline=None)
@given(
    st.tuples(st.floats(-0.04, 0.04), st.floats(-0.04, 0.04)),
    st.floats(0.0, 5.0),
    st.tuples(st.floats(-0.09, 0.09), st.floats(-0.09, 0.09)),
    st.sampled_from((0.072, 0.5, 0.7)),
)
def test_the_centre_of_mass_goes_as_far_as_the_mounts_can_carry(com, kg, where, mount_kg):
    mount_m = A1.drift_subject(a1_spec()).mount_m
    wanted = DynamicsParams(com_offset_m=com, payload_kg=kg, payload_offset_m=where)
    got = within_reach(wanted, mount_kg, 6.0 + kg, mount_m)
    assert min(corner_masses_kg(got, mount_kg, 6.0 + kg, mount_m)) >= 0.1 * mount_kg
    easy = replace(wanted, com_offset_m=(0.0, 0.0), payload_offset_m=(0.0, 0.0))
    assert within_reach(easy, mount_kg, 6.0 + kg, mount_m) == easy
