"""The study of the trotting policy under drifts: what counts as survived, and that alone it is the shipped policy."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from agent.config import Config
from benchmarks import trotting, trotting_drifts
from persistence.home import Home
from persistence.records import AttemptEnd, AttemptStart, Outcome, RunStart, SkillKind, SkillRow
from persistence.store import Store
from sim.drift_presets import TABLE, preset
from skills.trotting import TROT_FORWARD

CONFIG = Config.load(None, {"run.robot": "minitaur_trotting", **trotting_drifts.SETTINGS})


def test_what_survives_a_drift_and_is_worth_it():
    found = {name: {"return": 5.0, "speed_mps": 0.9, "falls": 0} for name in TABLE}
    found[TABLE[0]] = {"return": 4.0, "speed_mps": 0.8, "falls": 1}
    found[TABLE[1]] = {"return": 2.4, "speed_mps": 0.4, "falls": 0}
    figures = trotting_drifts.summary(found, 5.0)
    assert (figures["survived"], figures["kept"]) == (8, 7)
    assert figures["return_share"] == pytest.approx((4.0 + 2.4 + 7 * 5.0) / 45.0)


def test_alone_it_trots_as_shipped_and_a_drift_is_there_once_it_stands(monkeypatch):
    monkeypatch.setattr(trotting, "ATTEMPT_S", 1.5)
    found = trotting_drifts.judge(CONFIG, None, ("nominal", "table_leg_fifth"), starts=1)
    driver = trotting.Driver()
    offset = trotting.start_offsets_rad(1)[0]
    with driver.robot as robot:
        weak = preset("table_leg_fifth", robot.drift_subject)
        drifted = driver.walk(trotting.ShippedWalker(residual=True), offset, weak)
        shipped = driver.walk(trotting.ShippedWalker(residual=True), offset)
    # The drift comes after the reset, and is gone with the next one.
    assert drifted.states[0].joint_position == pytest.approx(shipped.states[0].joint_position, abs=1e-6)
    assert drifted.speed_mps < 0.5 * shipped.speed_mps
    assert found["nominal"]["falls"] == 0
    assert found["nominal"]["speed_mps"] == pytest.approx(shipped.speed_mps, abs=0.15)
    assert found["nominal"]["return"] == pytest.approx(shipped.return_, abs=0.25)
    assert found["table_leg_fifth"]["falls"] == 1
    assert np.isfinite(found["table_leg_fifth"]["return"])


MINUTES = {**trotting_drifts.SEARCHED, "faults": [[20, 120], [60, 400]], "trial_min": 3, "search_min": 30}


def test_each_drift_is_met_from_where_learning_without_it_ended(tmp_path, monkeypatch):
    monkeypatch.setenv("PERDURE_BENCH_HOMES", str(tmp_path))
    learned = {}
    hard = {"table_motors", "table_leg_half"}

    def learn(home, robot, minutes, seed, settings, *, drifts, faults_per_hour=0):
        del robot, seed
        if home.name in learned and learned[home.name][0] >= minutes:
            return
        home.mkdir(exist_ok=True)
        past = (home / "past").read_text() if (home / "past").exists() else ""
        what = f"{settings.get('sim.drift', faults_per_hour)} {settings.get('learner.algorithm', '')}".strip()
        (home / "past").write_text(f"{past}, {what}".removeprefix(", "))
        learned[home.name] = (minutes, drifts, settings.get("learner.hold_policy"), (home / "past").read_text())

    def judge(config, weights, drifts=("nominal", *TABLE)):
        del config
        stood = weights is not None and weights.version == "later"
        return {
            name: {"return": 5.0 if stood or name == "nominal" else 1.0, "falls": int(not stood)} for name in drifts
        }

    def find(version, robot, skill, home):
        del version, robot, skill
        return SimpleNamespace(version="first" if home.name == "trotting-drifts-seed3" else "later")

    def tried(home, from_min, to_min=math.inf):
        if to_min < math.inf:
            assert (from_min, to_min) == (60, 63)
            return [not home.name.endswith(tuple(hard))] * 10
        return [False] * (learned[home.name][0] - from_min)

    monkeypatch.setattr(trotting_drifts, "learn", learn)
    monkeypatch.setattr(trotting_drifts, "_tried", tried)
    monkeypatch.setattr(trotting_drifts._daemon, "practised_h", lambda home: learned[home.name][0] / 60)
    monkeypatch.setattr(trotting_drifts, "judge", judge)
    monkeypatch.setattr(trotting_drifts, "find_policy", find)
    monkeypatch.setattr(trotting_drifts, "stored_config", lambda home: CONFIG)
    unfinished = tmp_path / "trotting-drifts-seed3-table_mass-unfinished"
    unfinished.mkdir()
    figures = trotting_drifts.cell(MINUTES, 3)
    assert learned.pop("trotting-drifts-seed3") == (60, True, None, "120, 400")
    assert learned == {
        f"trotting-drifts-seed3-{drift}": (93, False, False, f"120, 400, {drift}, {drift} offsets")
        if drift in hard
        else (63, False, True, f"120, 400, {drift}")
        for drift in TABLE
    }
    assert not unfinished.exists()
    assert [figures[who]["survived"] for who in ("alone", "corrected", "searched")] == [0, 0, 9]
    assert figures["policy_version"] == "first"
    assert figures["minutes"] == {drift: 33 if drift in hard else 3 for drift in TABLE}
    assert figures["attempts"] == {drift: 30 if drift in hard else 0 for drift in TABLE}

    learned["trotting-drifts-seed3"] = (60, True, None, "")
    trotting_drifts.cell(MINUTES, 3)
    assert learned["trotting-drifts-seed3-table_mass"][3] == "120, 400, table_mass"  # nothing is learned again


@pytest.mark.parametrize(("successes", "searched"), [(7, True), (8, False)])
def test_it_is_searched_where_less_than_most_of_the_trial_succeeds(tmp_path, monkeypatch, successes, searched):
    asked = []
    monkeypatch.setattr(
        trotting_drifts, "learn", lambda home, robot, minutes, seed, settings, *, drifts: asked.append(minutes)
    )
    with Store.open(Home(tmp_path).prepare().db) as store:
        run_id = store.start_run(RunStart(robot="fake", started_s=0.0))
        for name in (TROT_FORWARD.name, "stand_up"):
            store.register_skill(SkillRow(name=name, kind=SkillKind.TASK), 0.0)

        def attempt(outcome, begin_s, skill=TROT_FORWARD.name):
            made = store.start_attempt(AttemptStart(run_id=run_id, skill=skill, started_s=begin_s))
            store.finish_attempt(AttemptEnd(attempt_id=made, ended_s=begin_s + 5.0, outcome=outcome, steps=9))

        for begin_s, outcome, many in ((3500.0, Outcome.FALL, 9), (3790.0, Outcome.FALL, 9)):  # before it, and after
            for _ in range(many):
                attempt(outcome, begin_s)
        for number in range(10):
            attempt(Outcome.SUCCESS if number < successes else Outcome.FALL, 3610.0 + number)
        attempt(Outcome.ABORTED, 3650.0)
        attempt(Outcome.FALL, 3660.0, "stand_up")
    trotting_drifts.adapt(tmp_path, TABLE[0], MINUTES, 0)
    assert asked == ([63, 93] if searched else [63])
