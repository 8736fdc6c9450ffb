"""The event chain finds what SQLite's own checks miss."""

import hashlib
import json
import re
import sqlite3

import numpy as np
import pytest

from persistence import events
from persistence.home import Home
from persistence.report import store_report
from persistence.store import Store


def test_hash_is_the_documented_one():
    body = '{"data":{"a":1},"kind":"x.y","robot_s":2.0,"seq":1}'
    assert events.event_hash("0" * 64, 1, 2, "x.y", {"a": 1}) == hashlib.sha256(("0" * 64 + body).encode()).hexdigest()


def test_numbers_that_are_not_json_become_plain():
    value = {"a": np.float32(0.5), "b": (1, 2), "c": float("nan"), "d": np.arange(2), "e": np.float64("inf")}
    assert events.canonical(value) == '{"a":0.5,"b":[1,2],"c":null,"d":[0,1],"e":null}'
    with pytest.raises(TypeError, match="cannot store"):
        events.canonical({"a": object()})


def test_chain_is_gap_free_and_its_mark_is_outside(life, store: Store, home: Home):
    for _ in range(3):
        life.attempt()
    seqs = [row["seq"] for row in store.rows("SELECT seq FROM events ORDER BY seq")]
    assert seqs == list(range(1, len(seqs) + 1))
    head = store.chain_head()
    assert json.loads(home.head.read_text()) == {"seq": head.seq, "hash": head.hash}
    report = store_report(home.db)
    assert (report.ok, report.events, report.chain_head, report.problems) == (True, head.seq, head.hash, ())


def test_same_life_gives_the_same_chain_whatever_the_wall_clock(tmp_path, new_life, monkeypatch):
    heads = []
    for name in ("one", "two"):
        home = Home(tmp_path / name).prepare()
        monkeypatch.setattr(events, "wall_utc", lambda name=name: f"wall clock of {name}")
        with Store.open(home.db) as store:
            life = new_life(store)
            life.attempt()
            if name == "two":
                life.heartbeat("STANDBY", 0.5)
            life.spend("STANDBY", 1.0)
            life.help_comes_after(60.0)
            life.end()
            heads.append(store.chain_head())
    assert heads[0] == heads[1]


def test_events_are_append_only(life, store: Store):
    for sql in ("UPDATE events SET kind = 'x'", "DELETE FROM events"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            store.connection.execute(sql)


def tamper(home: Home, *statements: str) -> None:
    conn = sqlite3.connect(home.db)
    conn.execute("DROP TRIGGER events_no_update")
    conn.execute("DROP TRIGGER events_no_delete")
    for statement in statements:
        conn.execute(statement)
    conn.commit()
    conn.close()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE events SET robot_s = robot_s + 1 WHERE seq = 3", "event 3 .* was changed"),
        ("UPDATE events SET data = '{}' WHERE seq = 2", "event 2 .* was changed"),
        ("UPDATE events SET kind = 'nothing' WHERE seq = 2", "event 2 .* was changed"),
        ("UPDATE events SET hash = 'ab' WHERE seq = 2", "event 2 .* was changed"),
        ("DELETE FROM events WHERE seq = 3", "gap: event 2 is followed by 4"),
        ("DELETE FROM events WHERE seq > 5", "1 events lost: the mark is at seq 6, the database ends at 5"),
        ("DELETE FROM attempts", "attempts: 0 rows, the event chain has 1"),
        ("UPDATE state_intervals SET ended_s = 8 WHERE state = 'ATTEMPT'", "gap between 8.0 and 10.0"),
        ("DELETE FROM state_intervals WHERE state = 'STANDBY'", "end at 10.0, the last heartbeat is at 11.0"),
        ("UPDATE attempts SET skill = 'unknown'", "foreign_key_check: attempts"),
    ],
)
def test_tampering_is_found(life, store: Store, home: Home, statement: str, says: str):
    life.attempt()
    life.spend("STANDBY", 1.0)
    store.close()
    assert store_report(home.db).ok
    tamper(home, statement)
    report = store_report(home.db)
    assert not report.ok
    assert any(re.search(says, problem) for problem in report.problems), report.problems


def test_a_loss_stays_visible_after_the_chain_has_gone_on(life, store: Store, home: Home):
    life.attempt()
    store.close()
    tamper(home, "DELETE FROM events WHERE seq = 5")
    with Store.open(home.db) as again:
        again.append_event("test.more", 1.0, {})
        assert again.rows("SELECT kind FROM events WHERE seq = 5") == [{"kind": "store.events_lost"}]
    problems = store_report(home.db).problems
    assert any("a loss was found before event 5: 1 events lost" in problem for problem in problems)


def test_a_missing_or_unreadable_mark_is_found(life, store: Store, home: Home):
    home.head.write_text("{")
    assert any("unreadable" in problem for problem in store.verify_chain())
    home.head.unlink()
    assert any("no high-water mark" in problem for problem in store.verify_chain())


def test_a_mark_that_lags_is_sound(life, store: Store, home: Home):
    old = home.head.read_bytes()
    life.attempt()
    home.head.write_bytes(old)
    assert store.verify_chain() == []


def test_lost_rows_of_a_cut_write_ahead_log_are_found(life, store: Store, home: Home, tmp_path):
    for _ in range(20):
        life.attempt()
    # a copy while the log still holds the rows, as a disk would after losing the end of the file
    copy = Home(tmp_path / "copy").prepare()
    wal = home.db.with_name("perdure.db-wal").read_bytes()
    copy.db.write_bytes(home.db.read_bytes())
    copy.db.with_name("perdure.db-wal").write_bytes(wal[: len(wal) * 3 // 4])
    copy.head.write_bytes(home.head.read_bytes())
    conn = sqlite3.connect(copy.db)
    assert conn.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
    conn.close()
    report = store_report(copy.db)
    assert not report.ok
    assert any("events lost" in problem for problem in report.problems)


def test_report_on_a_missing_store_says_so(tmp_path):
    report = store_report(tmp_path / "perdure.db")
    assert not report.ok
    assert "no database at" in report.problems[0]
