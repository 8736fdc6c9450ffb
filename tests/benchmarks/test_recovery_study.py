"""The study of recovery: what of a home's books counts as gone, noticed, named and back."""

from itertools import pairwise

import pytest

from agent.checkups import DIAGNOSED
from benchmarks import recovery as study
from meta.drift_monitor import Finding
from persistence.home import Home
from persistence.records import AttemptEnd, AttemptStart, DriftEvent, Outcome, RunStart, SkillKind, SkillRow
from persistence.store import Store
from sim.drift import Drift, DriftKind
from sim.minitaur import minitaur_spec


def weak(begins_s, joint):
    return Drift(
        kind=DriftKind.MOTOR_STRENGTH, size=0.5, joints=(joint,), begins_s=begins_s, ends_s=begins_s + study.LASTS_S
    )


@pytest.fixture
def home(tmp_path):
    """Attempts of 8 s in every 10 s that earn 2 per step, but for those of which something else is said."""
    made = Home(tmp_path).prepare()

    def fill(otherwise, changes=(), named=(), suspicions=()):
        with Store.open(made.db) as store:
            run_id = store.start_run(RunStart(robot="fake", started_s=0.0))
            store.register_skill(SkillRow(name=study.JUDGED, kind=SkillKind.TASK), 0.0)
            for begin in range(0, 1540, 10):
                attempt = store.start_attempt(AttemptStart(run_id=run_id, skill=study.JUDGED, started_s=float(begin)))
                earned, outcome = otherwise.get(begin, (2.0, Outcome.SUCCESS))
                end = AttemptEnd(
                    attempt_id=attempt, ended_s=begin + 8.0, outcome=outcome, steps=100, return_=100 * earned
                )
                store.finish_attempt(end)
            for at_s in changes:
                store.add_drift(DriftEvent(kind=Finding.CHANGED.value, robot_s=at_s, detail={"joints": []}))
            for at_s in suspicions:
                store.add_drift(DriftEvent(kind=Finding.SUSPECTED.value, robot_s=at_s, detail={"joints": []}))
            for at_s, joint in named:
                store.add_drift(DriftEvent(kind=DIAGNOSED, robot_s=at_s, detail={"joints": [joint]}))
        return tmp_path

    return fill


def test_a_change_that_is_noticed_named_and_made_up_for(home):
    cut = {1200: (0.5, Outcome.ABORTED), 1220: (1.5, Outcome.SUCCESS)}
    (found,) = study.judge(home(cut, [1206.5], [(1208.0, "knee")]), [weak(1203.0, "knee")])
    # Of twelve attempts until the repair one earns three quarters.
    assert found == {
        "joint": "knee",
        "noticed_s": 3.5,
        "named_s": 5.0,
        "back_s": 7.0,
        "right": True,
        "share": pytest.approx(1.0 - 0.25 / 12, abs=1e-3),
        "falls": 0,
    }


def test_one_is_noticed_when_it_is_suspected_if_that_is_confirmed(home):
    drifts = [weak(1203.0, "knee"), weak(1403.0, "knee")]
    found = study.judge(home({}, [1208.0], [(1208.0, "knee")], [1100.0, 1206.5, 1207.0, 1410.0]), drifts)
    assert [(each["noticed_s"], each["named_s"]) for each in found] == [(3.5, 5.0), (None, None)]


def test_one_that_does_no_harm_and_one_that_does_until_it_is_repaired(home):
    harm = dict.fromkeys(range(1400, 1540, 10), (1.7, Outcome.TIMEOUT)) | {1460: (2.0, Outcome.FALL)}
    found = study.judge(home(harm, [1452.0], [(1460.0, "hip")]), [weak(1203.0, "knee"), weak(1403.0, "knee")])
    assert [(each["noticed_s"], each["back_s"], each["share"]) for each in found] == [
        (None, 0.0, 1.0),
        (49.0, None, pytest.approx(0.85 * 6 / 7, abs=1e-3)),  # a fall earns nothing
    ]
    assert not found[1]["right"]
    together = study.together([{"motors": found, "calls": 2}])
    assert together["calls"] == 2
    assert study.together([{"motors": found}, {"motors": found, "calls": 2}])["calls"] is None
    assert (together["motors"], together["noticed"], together["right"], together["back"]) == (2, 1, 0, 1)
    assert (together["noticed_s_median"], together["never_gone"], together["back_s_median"]) == (49.0, 1, None)


def test_what_is_noticed_late_and_never_named_was_never_gone_if_the_walks_say_so(home):
    (kept,) = study.judge(home({}, [1290.0]), [weak(1203.0, "knee")])
    assert (kept["noticed_s"], kept["named_s"], kept["back_s"], kept["share"]) == (87.0, None, 0.0, 1.0)
    named = kept | {"noticed_s": 2.0, "named_s": 6.0, "back_s": 7.5}
    together = study.together([{"motors": [kept, kept, named]}])
    assert (together["back"], together["never_gone"], together["back_s_median"]) == (3, 2, 7.5)
    assert study.together([{"motors": [kept, named]}])["back_s_median_noticed"] is None


def test_a_schedule_leaves_time_between_motors():
    joints = minitaur_spec().joint_names
    drifts = list(study.schedule(joints, 4, seed=0))
    assert all(later.begins_s - drift.ends_s == study.PAUSE_S for drift, later in pairwise(drifts))
    assert {drift.joints[0] for drift in drifts} <= set(joints)
    assert drifts != list(study.schedule(joints, 4, seed=1))
