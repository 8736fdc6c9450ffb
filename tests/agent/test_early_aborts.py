"""A whole run, in which a skill says that what it handles is nearly lost."""

import pytest

from agent.config import Config
from agent.daemon import run_daemon
from persistence.home import Home
from persistence.store import Store
from skills.hand_control import DOOR
from skills.slide import Slide

HALF_OPEN_M = 0.1


@pytest.mark.parametrize(("heeded", "reason"), [(True, "cannot_be_undone"), (False, "at_end")])
def test_a_task_goes_no_further_unless_nobody_is_to_listen(tmp_path, monkeypatch, heeded, reason):
    monkeypatch.setattr(Slide, "nearly_lost", lambda self, _, now: now.extra[DOOR][0] > HALF_OPEN_M)
    settings = {
        "run.robot": "kuka",
        "run.skills": ["slide_open"],
        "run.attempts": 1,
        "run.early_aborts": heeded,
        "learner.hidden": [16],
        "learner.warmup_steps": 100_000,
    }
    run_daemon(Config.load(None, settings), tmp_path)
    with Store.open(Home(tmp_path).db, read_only=True) as store:
        (row,) = store.rows("SELECT end_reason, policy_version FROM attempts")
    assert row["policy_version"] is None  # its script opens the door
    assert row["end_reason"] == reason
