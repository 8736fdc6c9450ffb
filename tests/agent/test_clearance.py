"""Policies act only once they have passed their safety evaluation."""

from __future__ import annotations

import json
import math
import os
import signal
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np
import pytest

from agent import daemon
from agent.clearance import Clearance, Exam, Examiner, NotClearedError, Verdict, examine
from agent.config import Config
from agent.policies import find_policy
from persistence.store import Store
from skills.policy import PolicyWeights
from skills.registry import get


def policy(version: int, skill: str | None = None) -> PolicyWeights:
    layers = ((np.zeros((3, 2), np.float32), np.zeros(2, np.float32)),)
    return PolicyWeights(
        version=version, skill=skill, layers=layers, obs_mean=np.zeros(3, np.float32), obs_std=np.ones(3, np.float32)
    )


class Board:
    """Examiners that answer when a test says so."""

    def __init__(self, failures: dict[int, int]) -> None:
        self.asked: list[int] = []
        self.told: list[Verdict] = []
        self._failures = failures
        self._open: list[tuple[int, Future[Verdict]]] = []

    def __call__(self, weights: PolicyWeights) -> Future[Verdict]:
        self.asked.append(weights.version)
        future: Future[Verdict] = Future()
        self._open.append((weights.version, future))
        return future

    def answer(self) -> None:
        for version, future in self._open:
            failures = self._failures.get(version, 0)
            future.set_result(Verdict(version=version, attempts=8, failures=failures, passed=failures == 0))
        self._open.clear()


class Hasty(Board):
    """Examiners that answer at once."""

    def __call__(self, weights: PolicyWeights) -> Future[Verdict]:
        future = super().__call__(weights)
        self.answer()
        return future


def versions(policies) -> list[int]:
    return [weights.version for weights in policies]


class TestRealtime:
    def made(self, board: Board) -> Clearance:
        return Clearance(board, every=3, lockstep=False, told=board.told.append)

    def test_nothing_acts_before_the_first_verdict_and_nobody_waits_for_it(self):
        board = Board({})
        clearance = self.made(board)
        assert clearance.choose(0, [policy(1)]) == ()
        assert clearance.choose(0, [policy(2)]) == ()
        board.answer()
        assert versions(clearance.choose(0, [policy(2)])) == [1]
        assert [verdict.version for verdict in board.told] == [1]

    def test_the_newest_is_examined_every_so_many_attempts_and_acts_once_it_passed(self):
        board = Board({})
        clearance = self.made(board)
        acted = []
        for attempt in range(8):
            acted.append(versions(clearance.choose(attempt, [policy(10 + attempt)])))
            board.answer()
        assert board.asked == [10, 13, 16]
        assert acted == [[], [10], [10], [10], [13], [13], [13], [16]]

    def test_one_that_falls_never_acts_and_the_last_that_passed_goes_on(self):
        board = Board({13: 1})
        clearance = self.made(board)
        acted = []
        for attempt in range(8):
            acted += versions(clearance.choose(attempt, [policy(10 + attempt)]))
            board.answer()
        assert board.asked == [10, 13, 16]
        assert acted == [10, 10, 10, 10, 10, 10, 16]
        assert [verdict.passed for verdict in board.told] == [True, False, True]

    def test_the_same_policy_is_not_examined_twice(self):
        board = Hasty({})
        clearance = self.made(board)
        for attempt in range(10):
            clearance.choose(attempt, [policy(1)])
        assert board.asked == [1]

    def test_of_several_candidates_those_that_passed_act(self):
        board = Hasty({2: 1})
        clearance = self.made(board)
        clearance.choose(0, [policy(1), policy(2), policy(3)])
        assert versions(clearance.choose(0, [policy(1), policy(2), policy(3)])) == [1, 3]

    def test_a_skill_whose_own_policy_failed_keeps_the_one_that_passed_before(self):
        board = Hasty({12: 1})
        clearance = self.made(board)
        for attempt in range(3):
            clearance.choose(attempt, [policy(1, "go"), policy(2, "back")])
        for attempt in range(3, 6):
            acted = clearance.choose(attempt, [policy(11, "go"), policy(12, "back")])
        assert [(weights.skill, weights.version) for weights in acted] == [("go", 11), ("back", 2)]

    def test_a_skill_without_any_that_passed_ends_the_run_though_others_did(self):
        clearance = self.made(Hasty({2: 1}))
        clearance.choose(0, [policy(1, "go"), policy(2, "back")])
        with pytest.raises(NotClearedError, match="policy 2 failed"):
            clearance.choose(0, [policy(1, "go"), policy(2, "back")])

    def test_an_evaluation_that_breaks_off_clears_nothing_and_ends_nothing(self):
        board = Board({})
        clearance = self.made(board)
        clearance.choose(0, [policy(1)])
        board.answer()
        clearance.choose(3, [policy(2)])
        board._open.pop()[1].set_exception(MemoryError("no room"))
        assert versions(clearance.choose(4, [policy(3)])) == [1]
        assert board.told[-1] == Verdict(version=2, passed=False, problem="MemoryError: no room")
        first = self.made(board)
        first.choose(0, [policy(4)])
        board._open.pop()[1].set_exception(ValueError("robot 'x' is no simulated robot"))
        with pytest.raises(NotClearedError, match=r"policy 4 could not be evaluated .* no simulated robot"):
            first.choose(0, [policy(4)])

    def test_if_none_ever_passed_the_run_ends_with_the_reason(self):
        board = Hasty({1: 5})
        clearance = self.made(board)
        clearance.choose(0, [policy(1)])
        with pytest.raises(NotClearedError, match=r"policy 1 failed in 5 of 8 attempts .*--start zoo"):
            clearance.choose(0, [policy(1)])


def test_in_lockstep_a_verdict_counts_from_a_fixed_attempt_on():
    for board in (Hasty({}), Board({})):
        clearance = Clearance(board, every=3, lockstep=True)
        clearance.choose(0, [policy(10)])
        board.answer()
        acted = []
        for attempt in range(8):
            if attempt in (3, 6):
                board.answer()  # at the last moment
            acted += versions(clearance.choose(attempt, [policy(10 + attempt)]))
        assert acted == [10, 10, 10, 10, 10, 10, 13, 13]


def exam(**changes) -> Exam:
    fields = {"robot": "minitaur", "skills": ("walk_forward",), "attempts": 1, "most_failures": 0, "seed": 0}
    return Exam(**{**fields, "config": Config().to_dict(), **changes})


def test_a_policy_that_walks_passes_and_one_that_throws_itself_down_does_not(tmp_path):
    walks = find_policy("zoo", "minitaur", get("walk_forward"), tmp_path)
    assert examine(exam(), walks.to_bytes()) == Verdict(version=walks.version, attempts=1, failures=0, passed=True)
    walks = find_policy("zoo", "a1", get("walk_backward"), tmp_path)
    rng = np.random.default_rng(1)
    layers = tuple((rng.normal(0.0, 4.0, w.shape) / math.sqrt(len(w)), b) for w, b in walks.layers)
    wild = replace(walks, layers=tuple((w.astype(np.float32), b) for w, b in layers))
    either = exam(robot="a1", skills=("walk_backward", "turn_left"))
    verdict = examine(either, wild.to_bytes())
    assert verdict.attempts == 2
    assert verdict.failures > 0
    assert not verdict.passed
    assert examine(replace(either, most_failures=2), wild.to_bytes()).passed


def test_an_examiner_that_is_killed_loses_one_evaluation_and_goes_on(tmp_path):
    walks = find_policy("zoo", "minitaur", get("walk_forward"), tmp_path)
    examiner = Examiner(exam())
    try:
        lost = examiner(walks)
        (pid,) = examiner._pool._processes
        os.kill(pid, signal.SIGKILL)
        assert isinstance(lost.exception(timeout=60.0), BrokenProcessPool)
        assert examiner(walks).result(timeout=60.0).passed
    finally:
        examiner.close()


def test_a_run_acts_with_what_passed_and_says_so_in_the_books(tmp_path):
    settings = {
        "run.start": "zoo",
        "run.attempts": 2,
        "run.skills": ["walk_forward", "walk_backward"],
        "learner.enabled": False,
        "safety.clearance_every": 1,
        "safety.clearance_attempts": 1,
    }
    assert daemon.run_daemon(Config.load(None, settings), tmp_path) == 0
    with Store.open(tmp_path / "perdure.db", read_only=True) as store:
        said = [json.loads(row["data"]) for row in store.rows("SELECT data FROM events WHERE kind = 'policy.examined'")]
        acted = {row["policy_version"] for row in store.rows("SELECT * FROM attempts WHERE skill LIKE 'walk_%'")}
    assert {verdict["version"] for verdict in said if verdict["passed"]} == acted
    assert all(verdict["failures"] == 0 for verdict in said)
