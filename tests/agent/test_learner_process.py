"""What a learner does beside its policy, that it says that it lives meanwhile, and what of it comes back."""

from types import SimpleNamespace

import numpy as np
from learner_kit import learner_job

from agent.learner_messages import Alive, Done, SaveCheckpoint
from agent.learner_process import _Worker
from skills.learners.drift_offsets import FEWEST, FIRST_VERSION, JUDGED
from skills.learners.learner import AttemptSummary


class Counting:
    def __init__(self, said):
        self.said, self.made, self.refused_reason = said, 0, ""

    def update(self, n):
        self.said.append(n)
        self.made += n
        return {"made": float(self.made)}


def worker(*updates):
    """A worker without a process, with something beside the policy for each number of updates per attempt."""
    said = []
    made = object.__new__(_Worker)
    beside = [(Counting(said), each) for each in updates]
    made._studies = SimpleNamespace(by_attempt=beside, new_mistakes=lambda: "")
    made._connection = SimpleNamespace(send=said.append)
    made._refused = ""
    return made, beside, said


def test_what_is_owed_is_made_bit_by_bit_with_signs_of_life_between():
    made, ((learner, _), (other, _)), said = worker(60, 5)
    assert made._learn_beside(4) == {"made": 20.0}
    assert (learner.made, other.made) == (240, 20)
    assert said == [100, Alive(), 100, Alive(), 40, 20]


def test_after_many_attempts_no_more_than_so_many_are_made():
    made, ((learner, _),), said = worker(60)
    made._learn_beside(1000)
    assert learner.made == 2000
    assert said[:-1:2] == [100] * 19
    assert said[1::2] == [Alive()] * 19


def test_after_one_attempt_it_is_made_at_once():
    made, _, said = worker(60)
    made._learn_beside(1)
    assert said == [60]


def attempt(version, mean_reward, drift=""):
    fields = {"steps": 100, "mean_costs": np.zeros(0), "fell": False, "known_drift": drift}
    return AttemptSummary(skill=0, policy_version=version, mean_reward=mean_reward, **fields)


def searching(tmp_path, **changes):
    """A worker that searches for offsets, or will."""
    said = []
    job = learner_job(tmp_path, tmp_path, search_offsets=True, **changes)
    return _Worker(SimpleNamespace(send=said.append), job), said


def test_a_search_for_offsets_goes_on_from_the_checkpoint(tmp_path):
    made, _ = searching(tmp_path)
    for earned, drift, times in ((2.0, "", FEWEST), (1.0, "weak", JUDGED)):
        for _ in range(times):
            made._credit(attempt(3, earned, drift))
    _, tried, *_ = made._offsets.snapshot().rows
    made._credit(attempt(tried.version, 1.5, "weak"))
    made._save(SaveCheckpoint(1, 60.0))
    other, _ = searching(tmp_path, max_checkpoint_seq=1)
    other._restore()
    assert other._offsets.snapshot().to_bytes() == made._offsets.snapshot().to_bytes()
    without, _ = searching(tmp_path / "other")
    assert without._offsets.snapshot().rows == ()


def test_the_learner_is_told_of_no_policy_that_is_not_its_own(tmp_path):
    made, _ = searching(tmp_path)
    told = []
    made._learner.attempted = told.append
    for version in (3, FIRST_VERSION + 1, None):
        made._credit(attempt(version, 1.0))
    made._credit(None)
    assert [summary.policy_version for summary in told] == [3, None, None]


def test_what_is_searched_for_is_said_once(tmp_path):
    made, said = searching(tmp_path)
    for earned, drift, times in ((2.0, "", FEWEST), (1.0, "weak", JUDGED)):
        for _ in range(times):
            made._credit(attempt(3, earned, drift))
    for _ in range(2):
        made._send_done({})
    first, second = (message for message in said if isinstance(message, Done))
    assert [(news.drift, news.skill, news.over) for news in first.searches] == [("weak", "walk_forward", False)]
    assert second.searches == ()
    assert "offsets" in first.snapshot.beside


def test_the_policy_is_held_while_offsets_act(tmp_path):
    made, _ = searching(tmp_path)
    updated = []
    made._update = updated.append
    for drift, times in (("", FEWEST), ("weak", JUDGED), ("", 1)):
        for _ in range(times):
            made._credit(attempt(3, 2.0 if not drift else 1.0, drift))
        made._update_for(10)
    assert updated == [5, 5]
