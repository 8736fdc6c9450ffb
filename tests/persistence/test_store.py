"""Facts go in once, durably, without a gap, and come out as they went in."""

import json
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from sqlite_utils import Database

from persistence.connection import SCHEMA_VERSION
from persistence.errors import NewerDatabaseError, StoreError
from persistence.home import Home
from persistence.migrations import MIGRATIONS
from persistence.records import (
    AttemptEnd,
    AttemptStart,
    CheckpointRow,
    Deployment,
    DriftEvent,
    Evaluation,
    Fault,
    InterruptClass,
    Intervention,
    Outcome,
    PolicyRow,
    RunStart,
    Schedule,
    SelfRecovery,
    StateInterval,
    e10_of,
)
from persistence.store import Store

DEPLOYMENT = Deployment(
    skill="walk",
    robot_s=0.0,
    policy_version=4,
    before_version=None,
    action="promote",
    reason="the first",
    evaluations=(1,),
    file="walk-4.safetensors",
    sha256="ab",
)


def test_pragmas_make_commits_durable(store):
    values = [store.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    assert values == ["wal", 2]
    assert store.connection.execute("PRAGMA foreign_keys").fetchone()[0] == 1


def test_import_is_light():
    code = "import sys, persistence.store; print([m for m in ('numpy', 'scipy', 'sqlite_utils') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_attempt_comes_back_as_it_went_in(life, store):
    life.spend("BOOT", 1.0)
    attempt_id = store.start_attempt(
        AttemptStart(run_id=life.run_id, skill="walk", started_s=1.0, policy_version=7, evaluation=True)
    )
    end = AttemptEnd(
        attempt_id=attempt_id,
        ended_s=3.0,
        outcome=Outcome.TIMEOUT,
        end_reason="time limit",
        steps=50,
        return_=float("nan"),
        measures={"speed_mps": 0.5, "yaw_rate_radps": float("inf")},
        reward_terms={"forward": 2.0},
        episode_file="attempt-00000001.safetensors",
        episode_sha256="ab",
    )
    store.finish_attempt(end, [StateInterval.of("ATTEMPT", 1.0, 3.0, attempt_id=attempt_id)])
    row = store.rows("SELECT * FROM attempts")[0]
    assert row["uid"] == "attempt-00000001"
    assert (row["outcome"], row["evaluation"], row["policy_version"], row["steps"]) == ("timeout", 1, 7, 50)
    assert row["return"] is None
    assert json.loads(row["measures"]) == {"speed_mps": 0.5, "yaw_rate_radps": None}
    assert json.loads(row["reward_terms"]) == {"forward": 2.0}


def test_an_attempt_ends_once(life):
    attempt_id = life.attempt()
    with pytest.raises(StoreError, match="already ended"):
        life.finish(attempt_id, [])
    with pytest.raises(StoreError, match="unknown"):
        life.finish(99, [])


def test_one_attempt_at_a_time(life):
    life.start()
    with pytest.raises(StoreError, match="attempt 1 is still started"):
        life.start()


def test_unknown_skill_is_named_with_the_known_ones(life):
    with pytest.raises(StoreError, match="unknown skill 'fly'; registered: stand_up, walk"):
        life.start("fly")


@pytest.mark.parametrize("start_s", [0.5, 1.5])
def test_gap_and_overlap_of_state_intervals_are_refused(life, store, start_s):
    life.spend("BOOT", 1.0)
    with pytest.raises(StoreError, match=r"recorded time ends at 1\.0"):
        store.record_intervals(life.run_id, [StateInterval.of("STANDBY", start_s, 2.0)])
    assert store.rows("SELECT count(*) AS n FROM state_intervals") == [{"n": 1}]


def test_refused_interval_leaves_the_attempt_started(life, store):
    attempt_id = life.start()
    with pytest.raises(StoreError, match="recorded time ends"):
        life.finish(attempt_id, [StateInterval.of("ATTEMPT", 5.0, 6.0)])
    assert store.rows("SELECT state FROM attempts") == [{"state": "started"}]
    assert store.verify_chain() == []


def test_zero_length_intervals_leave_no_row(life, store):
    life.store.record_intervals(life.run_id, [life.interval("ARMING", 0.0), life.interval("ATTEMPT", 1.0)])
    assert [row["state"] for row in store.rows("SELECT state FROM state_intervals")] == ["ATTEMPT"]


def covered(store: Store) -> list[tuple[str, float, float]]:
    rows = store.rows("SELECT state, started_s, ended_s FROM state_intervals ORDER BY started_s")
    return [tuple(row.values()) for row in rows]


def test_heartbeat_extends_recorded_time_and_the_definite_interval_replaces_it(life, store):
    life.spend("BOOT", 1.0)
    life.heartbeat("STANDBY", 2.0)
    life.heartbeat("STANDBY", 5.0)
    assert covered(store) == [("BOOT", 0.0, 1.0), ("STANDBY", 1.0, 6.0)]
    store.record_intervals(life.run_id, [StateInterval.of("STANDBY", 1.0, 4.0)])
    assert covered(store) == [("BOOT", 0.0, 1.0), ("STANDBY", 1.0, 4.0), ("STANDBY", 4.0, 6.0)]
    pending = [StateInterval.of("ARMING", 4.0, 7.0)]
    store.heartbeat(life.run_id, 8.0, StateInterval.of("ATTEMPT", 7.0, 7.0), pending)
    assert covered(store)[2:] == [("ARMING", 4.0, 7.0), ("ATTEMPT", 7.0, 8.0)]


def test_heartbeats_are_no_events(life, store):
    before = store.chain_head()
    life.heartbeat("BOOT", 2.0)
    assert store.chain_head() == before


def test_run_ends_where_its_intervals_end(life, store):
    life.spend("BOOT", 1.0)
    with pytest.raises(StoreError, match=r"state intervals reach to 1\.0"):
        store.end_run(life.run_id, 2.0)
    store.end_run(life.run_id, 2.0, "hours reached", [StateInterval.of("SHUTDOWN", 1.0, 2.0)])
    assert store.rows("SELECT ended, ended_s, end_reason FROM runs") == [
        {"ended": "stop", "ended_s": 2.0, "end_reason": "hours reached"}
    ]
    with pytest.raises(StoreError, match="has ended"):
        life.heartbeat("STANDBY", 1.0)


def test_robot_time_between_two_runs_is_off(life, store):
    life.spend("BOOT", 1.0)
    life.end()
    store.start_run(RunStart(robot="minitaur", started_s=11.0))
    assert covered(store) == [("BOOT", 0.0, 1.0), ("OFF", 1.0, 11.0)]


def test_a_run_cannot_start_in_the_past_nor_beside_another(life, store):
    life.spend("BOOT", 10.0)
    with pytest.raises(StoreError, match=r"call recover\(\) before"):
        store.start_run(RunStart(robot="minitaur", started_s=10.0))
    life.end()
    with pytest.raises(StoreError, match=r"continue the robot clock from ResumeState\.robot_time_s"):
        store.start_run(RunStart(robot="minitaur", started_s=9.0))


def test_every_other_fact_has_a_row_and_an_event(life, store):
    store.add_fault(Fault(kind="motor_hot", robot_s=0.0, severity="hard", detail={"motor": 3}))
    store.add_drift(DriftEvent(kind="payload", robot_s=0.0, source="injected", detail={"mass_kg": 1.0}))
    store.add_policy(PolicyRow(version=4, robot_s=0.0, family="walk", updates=1000))
    store.add_checkpoint(CheckpointRow(seq=1, robot_s=0.0, path="ckpt-1", manifest_sha256="ab"))
    store.add_evaluation(Evaluation(skill="walk", robot_s=0.0, attempts=10, success_rate=0.9))
    store.add_deployment(DEPLOYMENT)
    store.add_self_recovery(SelfRecovery(kind="fall", started_s=0.0, ended_s=1.0, recovered=True))
    store.start_phase("v2", 0.0, "new network")
    store.set_schedule(Schedule(name="nightly", cron="0 3 * * *", action="evaluate", skill="walk"))
    store.set_schedule(Schedule(name="nightly", cron="0 4 * * *", action="evaluate", skill="walk"))
    for table in ("faults", "drift_events", "policies", "checkpoints", "evaluations", "deployments", "phases"):
        assert store.rows(f"SELECT count(*) AS n FROM {table}") == [{"n": 1}], table
    assert store.rows("SELECT cron FROM schedules") == [{"cron": "0 4 * * *"}]
    kinds = [row["kind"] for row in store.rows("SELECT kind FROM events ORDER BY seq")]
    assert kinds[3:] == [
        "fault.added",
        "drift.added",
        "policy.added",
        "checkpoint.added",
        "evaluation.added",
        "policy.deployed",
        "self_recovery.added",
        "phase.started",
        "schedule.set",
        "schedule.set",
    ]


def test_wrong_words_are_refused_by_the_database(life, store):
    with pytest.raises(sqlite3.IntegrityError):
        store.add_fault(Fault(kind="motor_hot", robot_s=0.0, severity="awful"))
    assert store.verify_chain() == []


def test_every_view_can_be_read(life, store):
    life.attempt(fall=True)
    life.help_comes_after(60.0)
    views = [row["name"] for row in store.rows("SELECT name FROM sqlite_master WHERE type = 'view'")]
    assert len(views) == 9
    store.add_policy(PolicyRow(version=4, robot_s=0.0))
    store.add_deployment(DEPLOYMENT)
    for view in views:
        assert store.rows(f"SELECT * FROM {view}"), view
    assert store.rows("SELECT skill, speed_mps, duration_s FROM v_attempts") == [
        {"skill": "walk", "speed_mps": 0.4, "duration_s": 10.0}
    ]
    assert store.rows("SELECT cause, class, minutes, open FROM v_interventions") == [
        {"cause": "stuck", "class": "failure", "minutes": 1.0, "open": 0}
    ]


def test_reader_sees_commits_and_never_blocks_the_writer(life, store, home: Home):
    with Store.open(home.db, read_only=True) as reader:
        reader.connection.execute("BEGIN")
        assert reader.rows("SELECT count(*) AS n FROM attempts") == [{"n": 0}]
        life.attempt()
        reader.connection.execute("COMMIT")
        assert reader.rows("SELECT count(*) AS n FROM attempts") == [{"n": 1}]
        with pytest.raises(StoreError, match="reading only"):
            reader.append_event("test", 0.0, {})
        with pytest.raises(sqlite3.OperationalError, match="readonly"):
            reader.connection.execute("DELETE FROM attempts")


def test_reader_works_after_the_writer_has_closed(home: Home):
    Store.open(home.db).close()
    with Store.open(home.db, read_only=True) as reader:
        assert reader.chain_head().seq == 0


def test_database_of_a_newer_version_is_not_touched(home: Home):
    conn = sqlite3.connect(home.db)
    conn.executescript("CREATE TABLE events (x); CREATE TABLE runs (x); PRAGMA user_version = 99;")
    conn.close()
    before = home.db.read_bytes()
    for read_only in (False, True):
        with pytest.raises(NewerDatabaseError, match=r"schema version 99, this perdure knows up to 4; install a newer"):
            Store.open(home.db, read_only=read_only)
    assert home.db.read_bytes() == before
    assert {path.name for path in home.root.iterdir() if path.is_file()} == {"perdure.db"}


def test_a_database_of_someone_else_is_not_touched(home: Home):
    conn = sqlite3.connect(home.db)
    conn.execute("CREATE TABLE recipes (x)")
    conn.close()
    before = home.db.read_bytes()
    with pytest.raises(StoreError, match=r"not a perdure database .its tables: recipes"):
        Store.open(home.db)
    assert home.db.read_bytes() == before


def test_a_file_that_is_no_database_is_refused(home: Home):
    home.db.write_bytes(b"hello, world, this is no database" * 100)
    with pytest.raises(StoreError, match=r"cannot read .* as a database"):
        Store.open(home.db)


def test_missing_database_is_refused_for_reading(tmp_path: Path):
    with pytest.raises(StoreError, match="no database at"):
        Store.open(tmp_path / "perdure.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_the_first_version_keeps_its_policies(home: Home):
    conn = sqlite3.connect(home.db)
    MIGRATIONS.apply(Database(conn), stop_before="m002_learner_figures")
    conn.execute("INSERT INTO policies (version, robot_s, wall_utc) VALUES (7, 1.5, '')")
    conn.commit()
    conn.close()
    with Store.open(home.db) as store:
        assert store.rows("SELECT version, robot_s, figures FROM policies") == [
            {"version": 7, "robot_s": 1.5, "figures": "{}"}
        ]
        store.add_policy(PolicyRow(version=8, robot_s=2.0, figures={"lambda.walk_forward.roll": 0.25}))
        (row,) = store.rows(
            "SELECT figures ->> '$.\"lambda.walk_forward.roll\"' AS price FROM policies WHERE version = 8"
        )
        assert row["price"] == 0.25


def test_a_database_from_before_lineage_keeps_its_rows_and_takes_new_ones(home: Home):
    conn = sqlite3.connect(home.db)
    MIGRATIONS.apply(Database(conn), stop_before="m004_versions")
    conn.execute("INSERT INTO skills (name, kind, wall_utc) VALUES ('walk', 'task', '')")
    conn.execute("INSERT INTO policies (version, robot_s, wall_utc) VALUES (7, 1.5, '')")
    conn.execute("INSERT INTO evaluations (skill, robot_s, attempts, wall_utc) VALUES ('walk', 1.5, 1, '')")
    conn.commit()
    conn.close()
    with Store.open(home.db) as store:
        store.add_policy(
            PolicyRow(version=8, robot_s=2.0, parent=7, origin={"begun": "checkpoint", "seq": 1}, attempts=3)
        )
        store.add_evaluation(Evaluation(skill="walk", robot_s=2.0, attempts=9, purpose="eval", dynamics="held-out"))
        assert [
            tuple(row.values()) for row in store.rows("SELECT version, parent, origin, attempts FROM policies")
        ] == [
            (7, None, "{}", None),
            (8, 7, '{"begun":"checkpoint","seq":1}', 3),
        ]
        purposes = store.rows("SELECT purpose, dynamics FROM evaluations ORDER BY id")
        assert [tuple(row.values()) for row in purposes] == [("run", ""), ("eval", "held-out")]


def test_the_newest_deployment_of_each_skill_is_the_one_in_force(life, store):
    store.add_deployment(DEPLOYMENT)
    store.add_deployment(replace(DEPLOYMENT, skill="stand_up"))
    store.add_deployment(replace(DEPLOYMENT, policy_version=9, before_version=4))
    rows = store.rows("SELECT skill, policy_version FROM v_deployed ORDER BY skill")
    assert [tuple(row.values()) for row in rows] == [("stand_up", 4), ("walk", 9)]


def test_opening_again_migrates_nothing(home: Home, store: Store):
    applied = store.rows("SELECT * FROM _sqlite_migrations")
    store.close()
    with Store.open(home.db) as again:
        assert again.rows("SELECT * FROM _sqlite_migrations") == applied
        assert len(applied) == SCHEMA_VERSION


def test_state_map_is_the_one_of_the_design():
    productive = {"ARMING", "ATTEMPT", "DEGRADED", "RESET", "HOLD", "FALLING", "RECOVER"}
    assert {e10_of(state).value for state in productive} == {"productive"}
    assert {e10_of(state).value for state in ("STANDBY", "LEARN_ONLY", "BOOT", "SELF_TEST", "SHUTDOWN")} == {"standby"}
    assert {e10_of(state).value for state in ("NEED_HUMAN", "SAFE_STOP", "ESTOP")} == {"unscheduled_down"}
    assert {e10_of(state, unplanned=True).value for state in ("BOOT", "SELF_TEST")} == {"unscheduled_down"}
    assert e10_of("STANDBY", unplanned=True).value == "standby"
    with pytest.raises(ValueError, match="unknown operating state 'DANCE'; valid: ARMING"):
        e10_of("DANCE")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -1.0])
def test_times_must_be_finite_and_not_negative(bad):
    with pytest.raises(ValueError, match="started_s must be a finite number"):
        AttemptStart(run_id=1, skill="walk", started_s=bad)
    with pytest.raises(ValueError, match="opened_s must be a finite number"):
        Intervention(cause="stuck", e10_class=InterruptClass.ASSIST, opened_s=bad)


def test_intervention_needs_a_cause():
    with pytest.raises(ValueError, match="needs a cause"):
        Intervention(cause="", e10_class=InterruptClass.ASSIST, opened_s=0.0)


def test_part_replaced_makes_an_assist_a_failure(life, store):
    intervention_id = life.ask_for_help(kind=InterruptClass.ASSIST)
    store.close_intervention(intervention_id, 5.0, operator="ann", action="new motor", part_replaced=True)
    row = store.rows("SELECT class, part_replaced, closed_s, operator, action FROM interventions")[0]
    assert tuple(row.values()) == ("failure", 1, 5.0, "ann", "new motor")
    with pytest.raises(StoreError, match=r"was closed at robot second 5.0; open ones: none"):
        store.close_intervention(intervention_id, 6.0)
    with pytest.raises(StoreError, match="does not exist"):
        store.close_intervention(42, 6.0)


def test_intervention_cannot_close_before_it_opened(life, store):
    life.spend("ATTEMPT", 10.0)
    intervention_id = life.ask_for_help()
    with pytest.raises(StoreError, match=r"opened at robot second 10\.0"):
        store.close_intervention(intervention_id, 9.0)


def test_intervention_entered_by_hand_is_closed(life, store):
    new = Intervention(cause="nudged", e10_class=InterruptClass.ASSIST, opened_s=0.0, operator="bob")
    store.add_intervention(new, closed_s=30.0)
    assert store.open_interventions() == ()
    assert store.rows("SELECT operator, closed_s FROM interventions") == [{"operator": "bob", "closed_s": 30.0}]
