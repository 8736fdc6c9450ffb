"""The study of detection: which drifts there are, and what of a home's books counts as seen, missed or imagined."""

from itertools import pairwise

import pytest

from agent.checkups import DIAGNOSED
from agent.drift_watch import WATCHED
from benchmarks import drift_detection as study
from benchmarks._drifting import as_toml
from meta.drift_monitor import Finding
from persistence.home import Home
from persistence.records import AttemptEnd, AttemptStart, DriftEvent, Outcome, RunStart, SkillKind, SkillRow
from persistence.store import Store
from sim.drift import Drift, DriftKind
from sim.drift_presets import read_drifts
from sim.drift_ranges import SIZES, unit_of
from sim.minitaur import make_minitaur


@pytest.fixture(scope="module")
def subject():
    with make_minitaur(0) as robot:
        return robot.drift_subject


def test_every_kind_comes_once_of_a_size_that_no_training_has(subject):
    drifts = list(study.schedule(subject, study.DEFAULT_N, seed=3))
    assert {drift.kind for drift in drifts} == set(SIZES) - {DriftKind.BATTERY_VOLTAGE}
    for drift in drifts:
        low, high = (bound * unit_of(drift.kind, subject) for bound in SIZES[drift.kind].held_out)
        assert low - 1e-4 <= abs(drift.size) <= high + 1e-4
        assert drift.ends_s - drift.begins_s == study.LASTS_S
    assert drifts[0].begins_s == study.CALM_S
    assert all(b.begins_s - a.ends_s == study.PAUSE_S for a, b in pairwise(drifts))
    assert list(study.schedule(subject, 2, seed=3)) == drifts[:2]
    assert list(study.schedule(subject, 2, seed=4)) != drifts[:2]


def weak(begins_s, joint="knee"):
    return Drift(
        kind=DriftKind.MOTOR_STRENGTH, size=0.4, joints=(joint,), begins_s=begins_s, ends_s=begins_s + study.LASTS_S
    )


@pytest.fixture
def home(tmp_path):
    """Attempts of 8 s in every 10 s from 0 to 600, and changes found at some times."""
    made = Home(tmp_path).prepare()

    def fill(changes, watched_s=None):
        with Store.open(made.db) as store:
            run_id = store.start_run(RunStart(robot="fake", started_s=0.0))
            store.register_skill(SkillRow(name="walk", kind=SkillKind.TASK), 0.0)
            for begin in range(0, 600, 10):
                attempt = store.start_attempt(AttemptStart(run_id=run_id, skill="walk", started_s=float(begin)))
                store.finish_attempt(AttemptEnd(attempt_id=attempt, ended_s=begin + 8.0, outcome=Outcome.SUCCESS))
            store.add_drift(DriftEvent(kind="motor_strength", robot_s=100.0, source="injected"))
            if watched_s is not None:
                store.add_drift(DriftEvent(kind=WATCHED, robot_s=watched_s))
            for at_s, joints in changes:
                store.add_drift(DriftEvent(kind=Finding.CHANGED.value, robot_s=at_s, detail={"joints": joints}))
                store.add_drift(DriftEvent(kind=Finding.CALM.value, robot_s=at_s + 1.0, detail={}))
        return tmp_path

    return fill


DRIFTS = [weak(100.0), weak(250.0), weak(400.0)]
CHANGES = [(50.0, []), (105.0, ["knee"]), (140.0, ["hip"]), (165.0, []), (245.0, []), (430.0, ["hip"])]


def test_what_is_found_while_a_drift_lasts_is_seen_and_all_else_is_imagined(home):
    found = study.judge(home(CHANGES), DRIFTS)
    assert [each["delay_s"] for each in found["drifts"]] == [5.0, None, 24.0]  # of 30 s the robot practised 24
    assert [each["named"] for each in found["drifts"]] == [True, False, False]
    assert found["false_alarms"] == 2  # 165 s is just after a repair
    assert found["calm_h"] == pytest.approx((480 - 3 * 96) / 3600)


def test_calm_is_what_was_watched(home):
    found = study.judge(home(CHANGES, watched_s=60.0), DRIFTS)
    assert found["calm_h"] == pytest.approx((480 - 48 - 3 * 96) / 3600)
    assert found["false_alarms"] == 1  # what was found at 50 s is of an earlier run


def test_what_is_only_suspected_is_not_noticed_and_no_false_alarm_but_counted(home):
    root = home([])
    with Store.open(Home(root).db) as store:
        for at_s in (50.0, 105.0, 165.0, 245.0):
            store.add_drift(DriftEvent(kind=Finding.SUSPECTED.value, robot_s=at_s, detail={"joints": ["knee"]}))
    found = study.judge(root, DRIFTS)
    assert [each["delay_s"] for each in found["drifts"]] == [None] * 3
    assert (found["false_alarms"], found["suspicions"]) == (0, 2)


def test_a_check_up_knows_the_joint_better(home):
    root = home(CHANGES)
    with Store.open(Home(root).db) as store:
        for at_s, detail in ((110.0, {}), (120.0, {"joints": ["hip"]}), (440.0, {"joints": ["knee"]})):
            store.add_drift(DriftEvent(kind=DIAGNOSED, robot_s=at_s, detail=detail))
    assert [each["named"] for each in study.judge(root, DRIFTS)["drifts"]] == [False, False, True]


def test_what_was_earned_under_a_drift_is_told_in_shares_of_what_was_before(tmp_path, monkeypatch):
    monkeypatch.setattr(study, "CALM_S", 90.0)
    made = Home(tmp_path).prepare()
    with Store.open(made.db) as store:
        run_id = store.start_run(RunStart(robot="fake", started_s=0.0))
        for name in ("walk", "turn"):
            store.register_skill(SkillRow(name=name, kind=SkillKind.TASK), 0.0)
        for skill, begin_s, lasted_s, earned, outcome in (
            ("walk", 0.0, 8.0, 100.0, Outcome.SUCCESS),
            ("turn", 10.0, 8.0, 40.0, Outcome.SUCCESS),
            ("walk", 95.0, 8.0, 0.0, Outcome.SUCCESS),  # the drift begins in the middle of it
            ("walk", 110.0, 8.0, 50.0, Outcome.SUCCESS),
            ("turn", 120.0, 8.0, 40.0, Outcome.TIMEOUT),
            ("turn", 130.0, 2.0, 0.0, Outcome.SUCCESS),  # too short
            ("walk", 140.0, 8.0, 0.0, Outcome.ABORTED),
        ):
            attempt = store.start_attempt(AttemptStart(run_id=run_id, skill=skill, started_s=begin_s))
            end_s = begin_s + lasted_s
            store.finish_attempt(
                AttemptEnd(attempt_id=attempt, ended_s=end_s, outcome=outcome, steps=10, return_=earned)
            )
    found = study.judge(tmp_path, [weak(100.0), weak(250.0)])
    assert [each["earned"] for each in found["drifts"]] == [0.75, None]


def test_runs_are_counted_together():
    def drift(kind, joint, delay_s, named=False, earned=1.0):
        return {"kind": kind, "size": 1.0, "joint": joint, "delay_s": delay_s, "named": named, "earned": earned}

    cells = [
        {
            "drifts": [drift("a", "knee", 2.0, named=True), drift("b", None, 4.0)],
            "false_alarms": 1,
            "suspicions": 4,
            "calm_h": 0.5,
        },
        {
            "drifts": [drift("a", "hip", 3.0), drift("a", "hip", None, earned=0.9)],
            "false_alarms": 0,
            "suspicions": 2,
            "calm_h": 1.5,
        },
    ]
    figures = study.together(cells)
    assert figures["detected_share"] == 0.75
    assert figures["delay_s_median"] == 3.0
    assert figures["named_share"] == 0.5
    assert (figures["false_alarms_per_h"], figures["suspicions_per_h"]) == (0.5, 3.0)
    assert figures["by_kind"] == {"a": [2, 3], "b": [1, 1]}
    assert figures["missed_earned"] == [0.9]
    unseen = {"drifts": [drift("a", "hip", None, earned=None)], "false_alarms": 0, "suspicions": 0, "calm_h": 1.0}
    nothing = study.together([unseen])
    assert nothing["missed_earned"] == []
    assert (nothing["detected_share"], nothing["delay_s_median"], nothing["named_share"]) == (0.0, None, None)


def test_a_home_is_kept_for_each_robot_policy_length_and_seed(tmp_path, monkeypatch):
    homes = []
    monkeypatch.setenv("PERDURE_BENCH_HOMES", str(tmp_path))
    monkeypatch.setattr(study._daemon, "run_until", lambda home, hours, *told: homes.append((home.name, hours)))
    monkeypatch.setattr(study, "judge", lambda home, drifts: {})
    for policy in study.POLICIES:
        study.cell({"robot": "minitaur", "drifts": 2, "set": study.POLICIES[policy]}, 5)
    hours = pytest.approx(1500.0 / 3600.0)
    assert homes == [(f"detection-minitaur-{policy}-2-seed5", hours) for policy in ("fixed", "learning")]
    assert (tmp_path / "detection-minitaur-learning-2-seed5.toml").is_file()


def test_a_schedule_is_read_back_as_it_was(subject, tmp_path):
    drifts = list(study.schedule(subject, study.DEFAULT_N, seed=1))
    file = tmp_path / "drift.toml"
    file.write_text(as_toml(drifts))
    assert sorted(map(repr, read_drifts(file, subject))) == sorted(map(repr, drifts))
