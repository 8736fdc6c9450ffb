"""A short run of the daemon whose robot is pushed."""

import sqlite3

from agent.config import Config
from agent.daemon import run_daemon


def test_pushes_are_in_the_books_and_the_same_again(tmp_path):
    found = []
    for name in ("one", "again"):
        settings = {
            "run.robot": "a1",
            "run.start": "zoo",
            "run.hours": 30.0 / 3600.0,
            "learner.enabled": False,
            "sim.pushes_per_h": 1200.0,
        }
        run_daemon(Config.load(None, settings), tmp_path / name)
        with sqlite3.connect(tmp_path / name / "perdure.db") as store:
            found.append(store.execute("SELECT robot_s, severity, injected FROM faults WHERE kind = 'push'").fetchall())
    assert found[0] == found[1]
    assert 3 <= len(found[0]) <= 20
    assert {row[1:] for row in found[0]} == {("soft", 1)}
