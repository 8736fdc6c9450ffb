"""What fails in the middle leaves nothing behind, wherever it fails."""

import itertools
import sqlite3

import pytest

from persistence import transactions
from persistence.home import Home
from persistence.records import CheckpointRow
from persistence.report import store_report
from persistence.store import Store


def facts(store: Store) -> list[object]:
    tables = ("attempts", "state_intervals", "self_recoveries", "runs", "events")
    return [store.rows(f"SELECT * FROM {table}") for table in tables]


def test_a_write_that_is_cut_short_anywhere_leaves_no_trace(life, store: Store):
    attempt_id = life.start()
    row = life.interval("ATTEMPT", 5.0, attempt_id)
    before = facts(store)
    failed_at = []
    for allowed in range(10_000):
        calls = itertools.count()
        store.connection.set_progress_handler(lambda calls=calls, at=allowed: next(calls) == at, 10)
        try:
            life.finish(attempt_id, [row])
        except sqlite3.OperationalError:
            store.connection.set_progress_handler(None, 10)
            failed_at.append(allowed)
            assert facts(store) == before
            continue
        store.connection.set_progress_handler(None, 10)
        break
    assert len(failed_at) > 20
    assert store.rows("SELECT outcome FROM attempts") == [{"outcome": "success"}]
    assert store_report(store.path).problems == ()


def test_a_full_disk_loses_nothing_that_was_acknowledged(life, store: Store):
    pages = store.connection.execute("PRAGMA page_count").fetchone()[0]
    store.connection.execute(f"PRAGMA max_page_count = {pages + 2}")
    kept = 0
    with pytest.raises(sqlite3.OperationalError, match="full"):
        for kept in range(1000):  # noqa: B007
            store.append_event("test.filler", 0.0, {"text": "x" * 2000})
    assert store.rows("SELECT count(*) AS n FROM events WHERE kind = 'test.filler'") == [{"n": kept}]
    store.connection.execute("PRAGMA max_page_count = 1000000")
    life.attempt()
    assert store_report(store.path).problems == ()


def test_a_mark_that_cannot_be_moved_does_not_make_committed_facts_fail(life, store: Store, monkeypatch):
    def full(path, head):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(transactions.events, "write_head", full)
        assert life.attempt() == 1
        assert "No space left" in store.mark_error
    assert store.verify_chain() == []
    life.attempt()
    assert store.mark_error is None
    assert store.verify_chain() == []


def test_where_a_file_lies_is_no_part_of_the_chain(tmp_path, new_life):
    heads = []
    for name in ("one", "two"):
        home = Home(tmp_path / name).prepare()
        with Store.open(home.db) as store:
            new_life(store)
            path = str(home.checkpoints / "ckpt-1")
            store.add_checkpoint(CheckpointRow(seq=1, robot_s=0.0, path=path, manifest_sha256="ab"))
            heads.append(store.chain_head())
            assert store.rows("SELECT path FROM checkpoints") == [{"path": path}]
    assert heads[0] == heads[1]
