"""The study of a motor that stays weak: what of a home's books it goes by."""

import pytest

from agent.drift_ladder import DRIFTED
from benchmarks import lasting_drift as study
from persistence.home import Home
from persistence.records import (
    AttemptEnd,
    AttemptStart,
    InterruptClass,
    Intervention,
    Outcome,
    RunStart,
    SkillKind,
    SkillRow,
)
from persistence.store import Store
from sim.drift import Drift, DriftKind

AHEAD = "walk_forward"
WEAK = Drift(kind=DriftKind.MOTOR_STRENGTH, size=0.5, joints=("knee",), begins_s=study.CALM_S, ends_s=4500.0)


@pytest.fixture
def judged(tmp_path):
    """What comes of attempts ahead, one in every 20 s, that earn per step what ``earns`` says of their beginning."""

    def judge(earns, calls=()):
        with Store.open(Home(tmp_path).prepare().db) as store:
            run_id = store.start_run(RunStart(robot="fake", started_s=0.0))
            store.register_skill(SkillRow(name=AHEAD, kind=SkillKind.TASK), 0.0)
            for begin in range(0, 5400, 20):
                attempt = store.start_attempt(AttemptStart(run_id=run_id, skill=AHEAD, started_s=float(begin)))
                earned = earns(begin)
                end = AttemptEnd(
                    attempt_id=attempt,
                    ended_s=begin + 8.0,
                    outcome=Outcome.FALL if earned is None else Outcome.SUCCESS,
                    steps=100,
                    return_=100.0 if earned is None else 100.0 * earned,
                )
                store.finish_attempt(end)
            for at_s, cause in calls:
                store.open_intervention(Intervention(cause=cause, e10_class=InterruptClass.FAILURE, opened_s=at_s))
        return study.judge(tmp_path, WEAK)

    return judge


def test_a_robot_that_learns_to_do_without(judged):
    found = judged(lambda begin: 2.0 if begin < 900 else 1.0 if begin < 2400 else 1.9)
    assert found["curve"][AHEAD] == [0.5] * 5 + [0.95] * 7
    assert found["curve"]["turn_left"] == [None] * 12
    assert (found["kept_share"], found["worst_share"], found["after_share"]) == (0.95, 0.95, 0.95)
    assert (found["repaired_s"], found["falls"], found["calls"]) == (None, 0, 0)


def test_a_fall_earns_nothing(judged):
    assert judged(lambda begin: 2.0 if begin < 4300 else None)["kept_share"] == pytest.approx(1.0 - 10 / 45, abs=1e-3)


def test_what_comes_after_a_person_has_repaired_it_does_not_count(judged):
    found = judged(lambda begin: 1.0 if 900 <= begin < 2400 else 2.0, [(2400.0, DRIFTED)])
    assert found["curve"][AHEAD] == [0.5] * 5
    assert (found["kept_share"], found["repaired_s"], found["calls"]) == (0.5, 1500.0, 1)
    assert found["after_share"] == 1.0
