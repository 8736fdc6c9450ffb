"""Runs of the daemon that watch for drift, one after the other on one home."""

from agent.checkups import CheckUps
from agent.config import Config
from agent.daemon import run_daemon
from agent.drift_watch import DriftWatch
from agent.status import read_status
from meta.drift_monitor import Condition, Finding
from persistence.episodes import read_episode
from persistence.records import DriftEvent
from persistence.store import Store

TINY = {"learner.hidden": [16], "learner.batch": 16, "learner.warmup_steps": 100_000, "run.skills": ["walk_forward"]}


def test_a_run_begins_with_what_the_last_one_knew(tmp_path, monkeypatch):
    settings = TINY | {"run.attempts": 1, "learner.watch_drift": True, "learner.hold_policy": True}
    monkeypatch.setattr(CheckUps, "due", lambda self, robot_s: False)
    seen = []
    begins = DriftWatch.begins
    monkeypatch.setattr(
        DriftWatch, "begins", lambda self, controller: (seen.append(self.condition), begins(self, controller))[1]
    )
    run_daemon(Config.load(None, settings), tmp_path)
    status = read_status(tmp_path).status
    assert (status.drift, status.drift_since_s, status.updates) == (None, None, 0)  # nothing to compare with yet
    with Store.open(tmp_path / "perdure.db") as store:
        end_s = store.rows("SELECT ended_s FROM runs")[0]["ended_s"]
        store.add_drift(DriftEvent(kind=Finding.CHANGED.value, robot_s=end_s, detail={"joints": ["front_left_left"]}))
    run_daemon(Config.load(None, settings), tmp_path)
    status = read_status(tmp_path).status
    assert (status.drift_since_s, status.drift_joint) == (end_s, "front_left_left")
    assert seen[0] is Condition.USUAL
    assert seen[-1] is Condition.CHANGED


def test_what_is_known_to_have_drifted_goes_with_each_attempt(tmp_path, monkeypatch):
    monkeypatch.setattr(CheckUps, "due", lambda self, robot_s: False)
    begins = DriftWatch.begins

    def named_meanwhile(self, controller):
        self.known = "motor_strength front_left_left"
        begins(self, controller)

    monkeypatch.setattr(DriftWatch, "begins", named_meanwhile)
    run_daemon(Config.load(None, TINY | {"run.attempts": 2, "learner.watch_drift": True}), tmp_path)
    episodes = [read_episode(path) for path in sorted((tmp_path / "episodes").iterdir())]
    assert [episode.known_drift for episode in episodes] == ["", "motor_strength front_left_left"]
