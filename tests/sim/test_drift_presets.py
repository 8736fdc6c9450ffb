"""Drifts with names, from files, and at random: in their ranges, which never meet."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agent.policies import ZOO
from sim.a1 import A1, a1_spec
from sim.drift import KINDS, Drift, DriftKind, DriftSchedule
from sim.drift_presets import HELD_OUT, PRESETS, TABLE, drifts_from, find_drifts, preset
from sim.drift_ranges import SIZES, drawn, unit_of
from sim.minitaur import MINITAUR, minitaur_spec
from sim.minitaur_trotting import MINITAUR_TROTTING, minitaur_trotting_spec

SUBJECTS = {
    "minitaur": MINITAUR.drift_subject(minitaur_spec()),
    "a1": A1.drift_subject(a1_spec()),
    "minitaur_trotting": MINITAUR_TROTTING.drift_subject(minitaur_trotting_spec()),
}
MINI = SUBJECTS["minitaur"]
subjects = st.sampled_from(list(SUBJECTS.values()))


def total_s(params):
    return params.action_latency_s + params.observation_latency_s


class TestPresets:
    @pytest.mark.parametrize("robot", SUBJECTS)
    @pytest.mark.parametrize("name", PRESETS)
    def test_each_fits_each_robot_and_changes_it(self, name, robot):
        subject = SUBJECTS[robot]
        schedule = DriftSchedule(preset(name, subject), subject.joint_names)
        drifted = schedule.at(subject.nominal, 0.0)
        assert drifted.dynamics != subject.nominal or any(drifted.joint_offset_rad)

    def test_there_are_nine_of_the_table_and_six_held_out(self):
        assert (len(TABLE), len(HELD_OUT)) == (9, 6)

    @pytest.mark.parametrize("robot", SUBJECTS)
    @pytest.mark.parametrize("name", HELD_OUT)
    def test_what_is_held_out_is_beyond_every_training_size(self, name, robot):
        subject = SUBJECTS[robot]
        (drift,) = preset(name, subject)
        sizes = SIZES[drift.kind].training
        relative = abs(drift.size / unit_of(drift.kind, subject))
        low, high = sorted(map(abs, sizes))
        assert relative < low - 1e-9 or relative > high + 1e-9

    @pytest.mark.parametrize(("name", "wanted_s"), [("table_latency_40", 0.04), ("table_latency_60", 0.06)])
    @pytest.mark.parametrize("robot", SUBJECTS)
    def test_latencies_of_the_table_are_totals(self, name, wanted_s, robot):
        subject = SUBJECTS[robot]
        drifted = DriftSchedule(preset(name, subject), subject.joint_names).at(subject.nominal, 0.0)
        assert total_s(drifted.dynamics) == pytest.approx(wanted_s)

    def test_the_published_battery_and_load(self):
        got = DriftSchedule(preset("battery_side", MINI), MINI.joint_names).at(MINI.nominal, 0.0).dynamics
        assert (got.battery_v, got.payload_kg) == (10.0, 0.5)
        assert got.payload_offset_m == pytest.approx((0.0, 0.08))
        a1 = SUBJECTS["a1"]
        heavy = DriftSchedule(preset("battery_side", a1), a1.joint_names).at(a1.nominal, 0.0).dynamics
        assert heavy.battery_v == pytest.approx(24.0 * 10.0 / 16.0)
        assert heavy.payload_kg == pytest.approx(0.5 * 12.458 / 7.5, rel=0.01)

    def test_a_joint_can_be_asked_for_where_there_is_one(self):
        assert preset("half_motor", MINI, joint="front_right_left")[0].joints == ("front_right_left",)
        with pytest.raises(ValueError, match="not of one joint"):
            preset("table_motors", MINI, joint="front_right_left")
        with pytest.raises(ValueError, match="unknown joint 'toe'"):
            preset("half_motor", MINI, joint="toe")


class TestText:
    def test_names_with_and_without_a_time(self):
        assert find_drifts("", MINI) == ()
        assert [drift.begins_s for drift in find_drifts("half_motor", MINI)] == [0.0]
        assert [drift.begins_s for drift in find_drifts("battery_side@600", MINI)] == [600.0, 600.0]

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("half_moto", "unknown drift 'half_moto'; presets: half_motor"),
            ("half_motor@soon", "'soon'"),
            ("half_motor@nan", "finite"),
            ("none.toml", "cannot read the drift schedule none.toml"),
        ],
    )
    def test_mistakes_are_named(self, text, match):
        with pytest.raises(ValueError, match=match):
            find_drifts(text, MINI)

    def test_a_file(self, tmp_path):
        path = tmp_path / "drift.toml"
        path.write_text(
            '[[drift]]\nkind = "motor_strength"\njoint = "front_left_left"\nsize = 0.5\nbegins_s = 60\nends_s = 90\n'
            '[[drift]]\npreset = "table_slippery"\nbegins_s = 30.0\nover_s = 10.0\n'
            "[random]\nseed = 3\nhours = 2\nfaults_per_hour = 4\n"
        )
        found = find_drifts(str(path), MINI)
        assert found[0] == Drift(
            kind=DriftKind.MOTOR_STRENGTH, joints=("front_left_left",), size=0.5, begins_s=60.0, ends_s=90.0
        )
        assert (found[1].kind, found[1].begins_s, found[1].over_s) == (DriftKind.FOOT_FRICTION, 30.0, 10.0)
        assert found[2:] == drawn(MINI, seed=3, hours=2, faults_per_hour=4)

    def test_a_file_of_several_processes(self):
        found = find_drifts(str(ZOO / "faults.toml"), MINI)
        weak = [drift for drift in found if drift.kind is DriftKind.MOTOR_STRENGTH]
        assert {drift.kind for drift in found} == set(SIZES)
        assert 0.5 < len(weak) / len(found) < 0.65  # 100 of 180 an hour, and one in thirteen of the others
        low, high = SIZES[DriftKind.MOTOR_STRENGTH].training
        assert all(low <= drift.size <= high for drift in weak)

    @pytest.mark.parametrize(
        ("text", "match"),
        [
            ("[[drfit]]", "unknown table 'drfit'"),
            ("drift = 3", r"write \[\[drift\]\]"),
            ('[[drift]]\nkind = "motor_strength"\nsize = 9', "size 9"),
            ('[[drift]]\nkind = "motor_strength"\njoint = "toe"\nsize = 0.9', "unknown joint 'toe'"),
            ('[[drift]]\npreset = "half_motor"\nsize = 9', "size"),
            ("[random]\nseeds = 9", "seeds"),
            ("[random]\nseed = 1\nhours = -1", "not negative"),
            ("[random]\nseed = 1\nkinds = ['stiffness']", "unknown kind 'stiffness'; valid: motor_strength"),
            ("[random]\nseed = 1\nkinds = ['dead_motor']", "unknown kind 'dead_motor'"),
            ("[random]\nseed = 1\nkinds = []", "no kind"),
            ("random = 3", r"write \[\[random\]\]"),
            ("[[drift", "drift.toml"),
        ],
    )
    def test_a_wrong_file_is_named_with_what_is_wrong(self, tmp_path, text, match):
        path = tmp_path / "drift.toml"
        path.write_text(text)
        with pytest.raises(ValueError, match=match) as caught:
            find_drifts(str(path), MINI)
        assert str(path) in str(caught.value)

    def test_tables_from_code(self):
        found = drifts_from({"drift": [{"kind": "latency", "size": 0.01}]}, MINI)
        assert found == (Drift(kind=DriftKind.LATENCY, size=0.01),)


class TestDraws:
    @pytest.mark.parametrize("kind", SIZES)
    def test_training_and_held_out_sizes_never_meet(self, kind):
        sizes = SIZES[kind]
        (a, b), (c, d) = sizes.training, sizes.held_out
        assert a < b
        assert c < d
        assert b < c or d < a
        if sizes.either_sign:
            assert min(a, c) > 0.0

    @pytest.mark.parametrize("robot", SUBJECTS)
    def test_every_size_of_both_ranges_is_allowed(self, robot):
        for kind, sizes in SIZES.items():
            for size in (*sizes.training, *sizes.held_out):
                assert KINDS[kind].low <= size * unit_of(kind, SUBJECTS[robot]) <= KINDS[kind].high

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**32), st.booleans(), subjects)
    def test_draws_stay_in_their_range(self, seed, held_out, subject):
        found = drawn(subject, seed=seed, held_out=held_out, faults_per_hour=3.0)
        for drift in found:
            sizes = SIZES[drift.kind]
            low, high = sizes.held_out if held_out else sizes.training
            relative = drift.size / unit_of(drift.kind, subject)
            assert low - 1e-9 <= (abs(relative) if sizes.either_sign else relative) <= high + 1e-9
            assert 0.0 <= drift.begins_s < 86400.0
            assert (drift.over_s, drift.ends_s) == (86400.0, math.inf) or drift.over_s == 0.0

    @settings(deadline=None)
    @given(st.integers(0, 2**32))
    def test_a_seed_gives_the_same_and_another_something_else(self, seed):
        assert drawn(MINI, seed=seed) == drawn(MINI, seed=seed)
        assert drawn(MINI, seed=seed) != drawn(MINI, seed=seed + 1)
        assert not set(drawn(MINI, seed=seed)) & set(drawn(MINI, seed=seed, held_out=True))

    def test_faults_come_at_the_rate_that_was_asked_for_and_are_mended_in_time(self):
        found = drawn(MINI, seed=0, hours=1000.0, faults_per_hour=2.0, repaired_after_s=600.0, wear=False)
        assert len(found) == pytest.approx(2000, abs=4 * math.sqrt(2000))
        rests = [drift.ends_s - drift.begins_s for drift in found]
        assert sum(rests) / len(rests) == pytest.approx(600.0, rel=0.1)
        assert {drift.kind for drift in found} == set(SIZES)

    def test_what_is_not_wanted_does_not_come(self):
        assert drawn(MINI, seed=0, faults_per_hour=0.0, wear=False) == ()
        assert all(drift.ends_s == math.inf for drift in drawn(MINI, seed=0, repaired_after_s=None))
        with pytest.raises(ValueError, match="leave it out"):
            drawn(MINI, seed=0, repaired_after_s=0.0)
        found = drawn(MINI, seed=0, hours=10.0, faults_per_hour=5.0, wear=False, kinds=("latency", "payload"))
        assert {drift.kind for drift in found} == {DriftKind.LATENCY, DriftKind.PAYLOAD}
        found = drawn(MINI, seed=0, hours=500.0, wear=False, dead_motors=True)
        assert DriftKind.DEAD_MOTOR in {drift.kind for drift in found}
