"""Which policy versions may act: those that have passed a safety evaluation.

A version is evaluated in simulation, in dynamics that training never sees, by a process of its own, while the robot
acts with the newest version that passed. In lockstep the verdict is waited for at a fixed attempt, so that a run can be
repeated; otherwise it counts as soon as it is there.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import Any

from agent.attempts import UNSAFE_ENDS
from agent.config import Config
from agent.parent import die_with_parent
from skills.policy import PolicyWeights


class NotClearedError(RuntimeError):
    """No policy has passed its safety evaluation."""


@dataclass(frozen=True, kw_only=True)
class Exam:
    """A safety evaluation. Picklable."""

    robot: str
    """Name of the simulated robot to evaluate on."""
    skills: tuple[str, ...]
    """Learned skills of the run."""
    config: dict[str, Any]
    attempts: int
    """Of each skill."""
    most_failures: int
    """With which a version still passes, over all skills."""
    seed: int


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of it."""

    version: int
    attempts: int = 0
    failures: int = 0
    """Attempts that ended in a fall, over the fence, or at a limit of the robot."""
    passed: bool
    problem: str = ""
    """Why there was no evaluation; empty if there was."""


Examine = Callable[[PolicyWeights], Future[Verdict]]


class Clearance:
    """Keeps the policies that may act."""

    def __init__(
        self,
        examine: Examine,
        *,
        every: int,
        lockstep: bool,
        told: Callable[[Verdict], None] = lambda verdict: None,
    ) -> None:
        """Begin with none.

        Args:
            examine: starts the evaluation of one version.
            every: attempts between two evaluations; in lockstep, also between an evaluation and its verdict.
            lockstep: whether verdicts are waited for at fixed attempts.
            told: called with each verdict.
        """
        self._examine = examine
        self._every = every
        self._lockstep = lockstep
        self._told = told
        self._cleared: tuple[PolicyWeights, ...] = ()
        self._offered: tuple[PolicyWeights, ...] = ()
        self._verdicts: list[Future[Verdict]] = []
        self._next = 0
        """Attempt from which on the next evaluation may begin."""

    def choose(self, attempt: int, candidates: Sequence[PolicyWeights]) -> tuple[PolicyWeights, ...]:
        """The policies that may act in an attempt; none while the first of all are still being evaluated.

        Args:
            attempt: its number.
            candidates: what would act without an evaluation.

        Raises:
            NotClearedError: none has ever passed, and the newest have not either.
        """
        if self._verdicts and self._over(attempt):
            self._conclude()
        if not self._verdicts and attempt >= self._next and self._versions(candidates) != self._versions(self._offered):
            self._offered, self._next = tuple(candidates), attempt + self._every
            self._verdicts = [self._examine(weights) for weights in candidates]
        return self._cleared

    def _over(self, attempt: int) -> bool:
        if not self._lockstep:
            return all(verdict.done() for verdict in self._verdicts)
        return attempt >= self._next or not self._cleared

    def _conclude(self) -> None:
        wait(self._verdicts)
        examined = [(w, _verdict(w, future)) for w, future in zip(self._offered, self._verdicts, strict=True)]
        self._verdicts = []
        for _, verdict in examined:
            self._told(verdict)
        passed = [weights for weights, verdict in examined if verdict.passed]
        renewed = {weights.skill for weights in passed}
        # Where each skill has policies of its own, one that failed leaves the skill with those that passed before.
        self._cleared = (*passed, *(weights for weights in self._cleared if weights.skill not in renewed))
        able = {weights.skill for weights in self._cleared}
        for weights, verdict in examined:
            if weights.skill not in able:
                raise NotClearedError(_refusal(verdict))

    @staticmethod
    def _versions(policies: Sequence[PolicyWeights]) -> tuple[tuple[int, str | None], ...]:
        return tuple((weights.version, weights.skill) for weights in policies)


def _verdict(weights: PolicyWeights, examined: Future[Verdict]) -> Verdict:
    """The verdict; a version whose evaluation failed of itself has not passed."""
    error = examined.exception()
    if error is None:
        return examined.result()
    return Verdict(version=weights.version, passed=False, problem=f"{type(error).__name__}: {error}")


def _refusal(verdict: Verdict) -> str:
    if verdict.problem:
        return f"policy {verdict.version} could not be evaluated for its clearance: {verdict.problem}"
    return (
        f"policy {verdict.version} failed in {verdict.failures} of {verdict.attempts} attempts of its safety "
        "evaluation, and no version before it has passed; begin with another policy (--start zoo), or allow more "
        "(safety.clearance_failures)"
    )


class Examiner:
    """Evaluates policy versions in a process of its own."""

    def __init__(self, exam: Exam, core: int | None = None) -> None:
        """Start nothing yet; evaluate on a core, or wherever the system chooses."""
        self._exam = exam
        self._core = core
        self._pool = self._new_pool()

    def _new_pool(self) -> ProcessPoolExecutor:
        return ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=_begin, initargs=(self._core,))

    def __call__(self, weights: PolicyWeights) -> Future[Verdict]:
        """Start the evaluation of one version."""
        policy = weights.to_bytes()
        try:
            return self._pool.submit(examine, self._exam, policy)
        except BrokenProcessPool:  # the process was killed, such as for its memory
            self._pool = self._new_pool()
            return self._pool.submit(examine, self._exam, policy)

    def close(self) -> None:
        """End the process; what it is at is lost."""
        self._pool.shutdown(wait=False, cancel_futures=True)


def _begin(core: int | None) -> None:
    """In the new process: end with the daemon, and leave the core of its control loop."""
    die_with_parent()
    with contextlib.suppress(OSError):
        os.sched_setaffinity(0, {core} if core is not None else range(os.cpu_count() or 1))


def examine(exam: Exam, policy: bytes) -> Verdict:
    """Evaluate one version, here and now."""
    from agent.evaluation import attempts_of
    from persistence.records import Outcome
    from skills.registry import get

    weights = PolicyWeights.from_bytes(policy)
    skills = exam.skills if weights.skill is None else (weights.skill,)
    config = Config.from_dict(exam.config)
    results = [
        result
        for skill in skills
        for result in attempts_of(get(skill), exam.robot, weights, exam.attempts, exam.seed, config=config)
    ]
    failures = sum(
        result.outcome is Outcome.FALL or result.end_reason in UNSAFE_ENDS | {"hard_fence"} for result in results
    )
    return Verdict(
        version=weights.version, attempts=len(results), failures=failures, passed=failures <= exam.most_failures
    )
