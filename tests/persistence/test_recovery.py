"""After any stop the store is brought to an end once, and the daemon knows where to go on."""

import pytest

from persistence.home import Home
from persistence.records import CheckpointRow, InterruptClass, Outcome, PolicyRow, RunStart
from persistence.report import store_report
from persistence.store import Store


def test_empty_store_starts_at_zero(store):
    resume = store.recover()
    assert (resume.robot_time_s, resume.run_id, resume.crashed, resume.attempts) == (0.0, None, False, 0)


def test_clean_stop_leaves_no_crash(life, store):
    life.attempt()
    life.end()
    resume = store.recover()
    assert not resume.crashed
    assert resume.open_interventions == ()
    assert (resume.robot_time_s, resume.attempts, resume.recent_crashes) == (10.0, 1, 0)


def test_r2_crash_interval_opens_at_the_last_heartbeat(life, store, new_life):
    life.spend("BOOT", 1.0)
    attempt_id = life.start()
    life.heartbeat("ATTEMPT", 4.0, attempt_id)
    resume = store.recover()
    assert resume.robot_time_s == 5.0
    assert resume.crashed
    assert resume.operating_state == "ATTEMPT"
    assert resume.aborted_attempts == (attempt_id,)
    assert resume.recent_crashes == 1
    crash = resume.open_interventions[0]
    assert (crash.cause, crash.e10_class, crash.opened_s) == ("daemon_crash", InterruptClass.FAILURE, 5.0)
    row = store.rows("SELECT outcome, ended_s, end_reason FROM attempts")[0]
    assert tuple(row.values()) == ("aborted", 5.0, "daemon_crash")
    assert store.rows("SELECT ended, ended_s FROM runs") == [{"ended": "crash", "ended_s": 5.0}]
    assert store_report(store.path).ok


def test_recover_again_changes_nothing(life, store):
    life.start()
    life.heartbeat("ATTEMPT", 4.0)
    first = store.recover()
    head = store.chain_head()
    second = store.recover()
    assert store.chain_head() == head
    assert second.aborted_attempts == ()
    assert (second.crashed, second.robot_time_s, second.open_interventions) == (True, 4.0, first.open_interventions)


def test_robot_time_lost_in_a_crash_is_unscheduled_downtime(life, store, new_life):
    life.heartbeat("STANDBY", 4.0)
    store.recover()
    store.start_run(RunStart(robot="minitaur", started_s=30.0))
    rows = store.rows("SELECT state, e10, started_s, ended_s FROM state_intervals ORDER BY started_s")
    assert [tuple(row.values()) for row in rows] == [
        ("STANDBY", "standby", 0.0, 4.0),
        ("CRASHED", "unscheduled_down", 4.0, 30.0),
    ]
    assert store_report(store.path).ok


def test_crash_while_waiting_for_a_person_is_the_same_interrupt(life, store):
    life.attempt()
    life.ask_for_help("stuck", InterruptClass.ASSIST)
    life.heartbeat("NEED_HUMAN", 30.0)
    resume = store.recover()
    assert [item.cause for item in resume.open_interventions] == ["stuck"]
    assert resume.open_interventions[0].e10_class is InterruptClass.FAILURE
    assert store.rows("SELECT merged_causes FROM interventions") == [{"merged_causes": '["daemon_crash"]'}]


def test_crash_loop_without_work_is_one_interrupt(store, new_life):
    for _ in range(3):
        life = new_life(store)
        life.heartbeat("BOOT", 1.0)
    resume = store.recover()
    assert (resume.recent_crashes, len(resume.open_interventions)) == (3, 1)
    assert resume.robot_time_s == 3.0


def test_counters_come_back(life, store):
    life.attempt()
    store.start_phase("v2", life.now_s)
    store.add_policy(PolicyRow(version=12, robot_s=life.now_s))
    store.add_checkpoint(CheckpointRow(seq=3, robot_s=life.now_s, path="ckpt-3", manifest_sha256="ab"))
    life.attempt(outcome=Outcome.FALL)
    resume = store.recover()
    assert (resume.attempts, resume.last_attempt_id, resume.phase_id) == (2, 2, 1)
    assert (resume.policy_version, resume.checkpoint_seq) == (12, 3)


def test_r5_a_clock_that_steps_back_takes_no_time_away(life, store):
    life.heartbeat("STANDBY", 10.0)
    life.heartbeat("STANDBY", 4.0)
    assert store.recover().robot_time_s == 10.0


def test_crash_before_the_first_heartbeat(life, store, new_life):
    resume = store.recover()
    assert resume.crashed
    assert resume.robot_time_s == 0.0
    new_life(store).spend("BOOT", 1.0)
    assert store_report(store.path).ok


def test_next_life_goes_on_in_the_same_chain(life, store, home: Home, new_life):
    life.attempt()
    life.start()
    store.close()
    with Store.open(home.db) as again:
        next_life = new_life(again)
        assert next_life.now_s == pytest.approx(10.0)
        assert next_life.attempt() == 3
    assert store_report(home.db).ok
