"""What a run tells is in its books, and what last went wrong is kept for people."""

from types import SimpleNamespace

import pytest

from agent.ancestry import Ancestry
from agent.learner_messages import Saved
from agent.notes import SEARCH_BEGUN, SEARCH_OVER, Notes
from agent.success_watch import Jump
from skills.learners.drift_offsets import SearchNews


class Ledger:
    def __init__(self):
        self.written = []

    def __getattr__(self, name):
        return lambda *args, **options: self.written.append((name, args, options))


@pytest.fixture
def ledger():
    return Ledger()


@pytest.fixture
def notes(ledger):
    made = Notes()
    made.open(ledger, SimpleNamespace(now_s=lambda: 7.0), "walk")
    return made


def test_what_was_damaged_is_told_once(notes, ledger, capsys):
    told = ["a: truncated", "b: not finite"]
    notes.skipped(told)
    assert told == []
    assert notes.last_error == "b: not finite"
    assert capsys.readouterr().err.splitlines() == [
        f"damaged and not used: {note}" for note in ("a: truncated", "b: not finite")
    ]
    assert ledger.written == []


def test_updates_that_were_undone_are_faults(notes, ledger):
    told = ["loss is NaN"]
    notes.refused(told)
    assert told == []
    assert notes.last_error == "updates undone: loss is NaN"
    assert ledger.written == [("fault", ("learner_diverged", 7.0, "soft"), {})]


@pytest.mark.parametrize(("what", "kind"), [("learner_restarted", "learner"), ("robot_restarted", "robot_process")])
def test_what_had_to_be_started_again_is_a_fault(notes, ledger, what, kind):
    getattr(notes, what)("it died")
    assert notes.last_error == "it died"
    assert ledger.written == [("fault", (kind, 7.0, "soft"), {})]


def test_searches_for_offsets_are_rows_and_told_once(notes, ledger):
    told = [SearchNews("weak left", "walk", False, 0.6789), SearchNews("weak left", "walk", True, 0.95)]
    notes.searched(told)
    assert told == []
    rows = [row for _, (row,), _ in ledger.written]
    assert [(row.kind, row.robot_s) for row in rows] == [(SEARCH_BEGUN, 7.0), (SEARCH_OVER, 7.0)]
    assert rows[0].detail == {"drift": "weak left", "skill": "walk", "share": 0.679}


def test_a_push_was_done_to_the_robot(notes, ledger):
    notes.pushed(3.0)
    assert ledger.written == [("fault", ("push", 3.0, "soft"), {"injected": True})]


def test_a_checkpoint_comes_with_its_policy(notes, ledger):
    notes.saved(Saved(3, 12.5, 40, 40, "ckpt-3", "ab", {"loss": 1.0}, Ancestry(parent=20, attempts=5)))
    ((_, (row, policy), _),) = ledger.written
    assert (row.seq, row.path, row.manifest_sha256) == (3, "ckpt-3", "ab")
    assert (policy.version, policy.family, policy.figures) == (40, "walk", {"loss": 1.0})
    assert (policy.parent, policy.origin, policy.attempts) == (20, {"begun": "nothing"}, 5)


def test_success_without_cause_is_a_drift(notes, ledger):
    jump = Jump(skill="walk", before=0.1, after=0.9, attempts=30, p_success=1e-6, p_reward=0.5)
    notes.success_jumped(jump, 5.0)
    ((name, (row,), _),) = ledger.written
    assert (name, row.kind, row.robot_s, row.detail["skill"]) == ("drift", "success_without_cause", 5.0, "walk")
