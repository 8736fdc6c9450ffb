"""The study of a robot day: what it counts of a home's books."""

import pytest

from benchmarks import robot_day
from persistence.home import Home
from persistence.records import (
    AttemptEnd,
    AttemptStart,
    Fault,
    InterruptClass,
    Intervention,
    Outcome,
    RunStart,
    SelfRecovery,
    SkillKind,
    SkillRow,
)
from persistence.store import Store


def test_hours_calls_and_pushes_are_counted(tmp_path):
    home = Home(tmp_path).prepare()
    with Store.open(home.db) as store:
        run_id = store.start_run(RunStart(robot="fake", started_s=0.0))
        for name, kind in (("walk", SkillKind.TASK), ("return_home", SkillKind.RESET)):
            store.register_skill(SkillRow(name=name, kind=kind), 0.0)
        made = [(100.0, "walk", "success"), (200.0, "walk", "success"), (300.0, "return_home", "timeout")]
        made += [(3700.0, "walk", "success"), (3800.0, "walk", "fall"), (7300.0, "walk", "success")]
        made += [(7400.0, "walk", "timeout"), (7500.0, "walk", "aborted")]
        for ended_s, skill, outcome in made:
            attempt = store.start_attempt(AttemptStart(run_id=run_id, skill=skill, started_s=ended_s - 5.0))
            store.finish_attempt(AttemptEnd(attempt_id=attempt, ended_s=ended_s, outcome=Outcome(outcome)))
        for cause, at_s in (("drifted", 5000.0), ("hard_fence", 6000.0)):
            called = store.open_intervention(Intervention(cause=cause, e10_class=InterruptClass.ASSIST, opened_s=at_s))
            store.close_intervention(called, at_s + 60.0)
        store.add_fault(Fault(kind="push", robot_s=10.0, injected=True))
        store.add_self_recovery(SelfRecovery(kind="fall", started_s=3800.0, ended_s=3805.0, recovered=True))
    found = robot_day.judge(tmp_path, 3.0)
    assert found["curve"] == [[2, 2], [1, 2], [1, 2]]
    assert (found["first_hour"], found["last_hour"], found["kept_share"]) == (1.0, 0.5, 0.5)
    assert (found["calls"], found["calls_of_wear"], found["causes"]) == (2, 1, {"drifted": 1, "hard_fence": 1})
    assert (found["falls"], found["pushes"], found["changes"]) == (1, 1, 0)


def test_the_robot_wears_all_day_and_is_the_same_when_a_run_goes_on(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setenv("PERDURE_BENCH_HOMES", str(tmp_path))
    monkeypatch.setattr(robot_day._daemon, "run_until", lambda home, hours, *told: asked.append((home, hours, told)))
    monkeypatch.setattr(robot_day, "judge", lambda home, hours: {})
    for _ in range(2):
        robot_day.cell({"robot": "a1", "hours": 24, "set": robot_day.SET}, 5)
    assert asked[0] == asked[1]
    home, hours, told = asked[0]
    assert (home, hours) == (tmp_path / "robot-day-a1-24h-seed5", 24.0)
    schedule = tmp_path / "robot-day-a1-24h-seed5.toml"
    assert f'sim.drift="{schedule}"' in told
    assert "hours = 24.0" in schedule.read_text()


@pytest.mark.parametrize("hours", [0.2, 1.0])
def test_a_day_without_attempts_keeps_nothing(tmp_path, hours):
    home = Home(tmp_path).prepare()
    with Store.open(home.db) as store:
        store.start_run(RunStart(robot="fake", started_s=0.0))
    assert robot_day.judge(tmp_path, hours)["kept_share"] == 0.0
