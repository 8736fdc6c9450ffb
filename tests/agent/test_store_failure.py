"""A robot whose books cannot be written does not go on."""

import sqlite3

import pytest

from agent import daemon
from agent.config import Config
from persistence.report import store_report
from persistence.store import Store

TINY = {"learner.hidden": [16], "learner.batch": 16, "learner.warmup_steps": 100_000, "run.skills": ["walk_forward"]}


@pytest.mark.parametrize("already", [False, True], ids=["first trouble", "after other trouble"])
def test_a_full_disk_stops_the_run_and_loses_nothing_that_was_acknowledged(already, tmp_path, monkeypatch):
    finish, calls = Store.finish_attempt, []

    def full(store, *arguments, **named):
        calls.append(1)
        if len(calls) == 2:
            raise sqlite3.OperationalError("database or disk is full")
        return finish(store, *arguments, **named)

    monkeypatch.setattr(Store, "finish_attempt", full)
    if already:
        begin = daemon.Run._fly

        def fly(run):
            run._notes.learner_restarted("it was restarted before")
            begin(run)

        monkeypatch.setattr(daemon.Run, "_fly", fly)
    with pytest.raises(RuntimeError, match="disk is full"):
        daemon.run_daemon(Config.load(None, TINY | {"run.attempts": 5}), tmp_path)
    assert len(calls) == 2
    monkeypatch.undo()
    assert daemon.run_daemon(Config.load(None, TINY | {"run.attempts": 1}), tmp_path) == 0
    with Store.open(tmp_path / "perdure.db", read_only=True) as store:
        outcomes = [row["outcome"] for row in store.rows("SELECT outcome FROM attempts ORDER BY id")]
        causes = [row["cause"] for row in store.rows("SELECT cause FROM interventions")]
    assert len(outcomes) == 3
    assert outcomes[1] == "aborted"
    assert "aborted" not in (outcomes[0], outcomes[2])
    assert causes == ["daemon_crash"]
    assert store_report(tmp_path / "perdure.db").problems == ()
