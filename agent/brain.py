"""Where the running skills get their policies from, and where their attempts go to be learned from.

In lockstep the policy of an attempt is the snapshot that contains all attempts but the last one, whichever process was
faster: loop and learner work side by side, and a run can still be repeated bit by bit. Otherwise it is the newest
snapshot, taken without waiting.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from agent.clearance import Clearance
from agent.learner_link import LearnerLink
from agent.learner_messages import DRIFT, FALLS, OFFSETS, SHIELD, UNDO, Snapshot
from agent.selection import Selection
from meta.drift_monitor import Condition
from meta.expectation import Expectation
from sim.robot import Observation, RobotSpec
from skills.decisions import DecisionController, by_script
from skills.fall_predictor import FallPredictor, FallPredictorWeights
from skills.family import Script
from skills.offsets import Offsets
from skills.policy import PolicyWeights
from skills.policy_control import policy_controller
from skills.shield import Shield, ShieldWeights
from skills.skill import Controller, LearnedSkill, ScriptedSkill, Skill, SkillKind
from skills.undo_critic import UndoCritic, UndoCriticWeights

W = TypeVar("W")
RECENT = 10
"""Attempts by a policy that say how often it succeeds."""
LOCKSTEP_LAG = 1
"""Attempts whose updates a lockstep run does not wait for."""


class PolicyUnavailableError(RuntimeError):
    """A learned skill has no policy to act with."""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """An attempt of a learned skill, as the books have it."""

    skill: str
    by_policy: bool
    """Else its script made it."""
    success: bool


class Brain:
    """Policies of one run."""

    def __init__(
        self,
        link: LearnerLink | None,
        spec: RobotSpec,
        *,
        dt_s: float,
        seed: int,
        attempts_before: int,
        lockstep: bool,
        decimation: int,
        history: int,
        past_actions: bool = True,
        script_below: float = 0.0,
        earlier: Iterable[Turn] = (),
        fixed: Sequence[PolicyWeights] = (),
        clearance: Clearance | None = None,
    ) -> None:
        """Connect skills and learner.

        Args:
            link: the learner; None acts with ``fixed`` alone.
            spec: the robot.
            dt_s: control period.
            seed: of the exploration.
            attempts_before: attempts that the home directory has already; exploration goes on from there.
            lockstep: whether to wait for the learner at fixed points.
            decimation: control periods per policy step.
            history: feature rows in an observation.
            past_actions: whether policies see what was sent before.
            script_below: share of successes below which a task's own script makes every other attempt; above 0 those of
                resets make all of them.
            earlier: what was attempted in runs before, oldest first.
            fixed: the policies of a run without a learner.
            clearance: says which policies may act; None: all.
        """
        self.lockstep = lockstep
        self.policy_version: int | None = fixed[0].version if fixed else None
        self.fall_predictor: FallPredictor | None = None
        """Of the newest snapshot that was taken, where falls are learned to be predicted."""
        self.undo_critic: UndoCritic | None = None
        """Likewise, where it is learned whether things can be undone."""
        self.expectation: Expectation | None = None
        """Likewise, where it is learned what the robot does."""
        self._link = link
        self._spec = spec
        self._dt_s = dt_s
        self._seed = seed
        self._count = attempts_before
        self._decimation = decimation
        self._history = history
        self._past_actions = past_actions
        self._script_below = script_below
        self._recent: dict[str, deque[bool]] = {}
        """Whether the newest attempts of each skill by a policy succeeded."""
        self._by_script: set[str] = set()
        """Skills whose last attempt was made by their script."""
        for each in earlier:
            self._made(each.skill, by_policy=each.by_policy)
            if each.by_policy:
                self._succeeded(each.skill, each.success)
        self._candidates = tuple(fixed)
        self._clearance = clearance
        self._loaded: Snapshot | None = None
        self._shield: Shield | None = None
        self._selection, self._offset_selection = Selection(), Selection()
        self._offsets = Offsets()
        self._pending: deque[tuple[Future[Path | None], Condition]] = deque()
        self._last_ticket = 0

    def ready(self, skill: Skill) -> bool:
        """Whether `controller` can answer at once; a lockstep run may wait for it instead."""
        if self.lockstep or not isinstance(skill, LearnedSkill):
            return True
        if self._link is not None and not (self._candidates or self._link.progress.snapshots):
            return False
        if self._clearance is None:
            return True
        self._refresh(skill)
        return not self._candidates or bool(self._cleared())

    def controller(self, skill: Skill, *, explore: bool, known_drift: str = "") -> tuple[Controller, int | None]:
        """A controller for one attempt, and the policy version behind it (None for a script).

        Args:
            skill: what to attempt.
            explore: whether to try anything new.
            known_drift: what the robot is known to have drifted by.

        Raises:
            PolicyUnavailableError: there is no policy at all.
        """
        self._count += 1
        if isinstance(skill, ScriptedSkill):
            return skill.controller(self._spec, self._dt_s), None
        if not isinstance(skill, LearnedSkill):
            raise TypeError(f"skill {skill.name!r} is neither learned nor scripted")
        script = self._script(skill) if explore else None
        if script is not None:
            actuator, resting = skill.family.actuator(self._spec, self._dt_s), skill.prior_action(self._spec)
            decide = by_script(script, self._spec)
            return DecisionController(skill.family, actuator, decide, resting, decimation=self._decimation), None
        self._refresh(skill)
        able = [weights for weights in self._cleared() if weights.skill in (None, skill.name)]
        if not able:
            raise PolicyUnavailableError(
                f"skill {skill.name!r} has no policy; run with the learner or from a checkpoint"
            )
        figures = self._link.progress.metrics if self._link else {}
        weights = self._selection.choose(skill.name, able, explore=explore, figures=figures)
        if self._clearance is None and (moved := self._offsets.candidates(weights, skill.name, known_drift)):
            weights = self._offset_selection.choose(skill.name, moved, explore=explore, figures={})
        self.policy_version = weights.version
        rng = np.random.default_rng((self._seed, self._count)) if explore else None
        controller = policy_controller(
            skill,
            self._spec,
            self._dt_s,
            weights,
            rng,
            decimation=self._decimation,
            history=self._history,
            past_actions=self._past_actions,
            shield=self._shield,
        )
        return controller, weights.version

    def hopeless(self, observation: Observation) -> frozenset[str]:
        """Skills that undo others and would hardly ever succeed from here on; none while that is not known."""
        return self.undo_critic.hopeless(observation) if self.undo_critic is not None else frozenset()

    def _script(self, skill: LearnedSkill) -> Script | None:
        """What decides in the next attempt instead of a policy that hardly ever succeeds: every other time, so that it
        goes on being tried. A reset is help, and no place to try a policy: what its script can do is left to that.
        """
        recent = self._recent.get(skill.name, ())
        if skill.kind is SkillKind.RESET:
            needed = self._script_below > 0.0
        else:
            needed = sum(recent) < self._script_below * max(1, len(recent)) and skill.name not in self._by_script
        script = skill.script(self._spec) if needed else None
        self._made(skill.name, by_policy=script is None)
        return script

    def _made(self, skill: str, *, by_policy: bool) -> None:
        if by_policy:
            self._by_script.discard(skill)
        else:
            self._by_script.add(skill)

    def _succeeded(self, skill: str, success: bool) -> None:
        self._recent.setdefault(skill, deque(maxlen=RECENT)).append(success)

    def attempted(
        self,
        finished: Future[Path | None],
        skill: str = "",
        version: int | None = None,
        *,
        success: bool = False,
        condition: Condition = Condition.USUAL,
    ) -> None:
        """An attempt is over; once its file is on disk the learner gets it.

        Args:
            finished: gives its file.
            skill: what was attempted.
            version: of the policy that did; None: a script.
            success: whether it succeeded.
            condition: of the robot.
        """
        if version is not None:
            self._succeeded(skill, success)
        self._pending.append((finished, condition))
        if self.lockstep:
            wait([finished])
        self.poll()

    def poll(self) -> None:
        """Hand over what is on disk and take in what the learner says; never waits."""
        if self._link is None:
            self._pending.clear()
            return
        while self._pending and self._pending[0][0].done():
            future, condition = self._pending.popleft()
            # A write that failed is the ledger's to report; there is nothing to learn from then.
            path = None if future.exception() else future.result()
            if path is not None:
                self._last_ticket = self._link.ingest(path, condition)
        self._link.poll()

    def catch_up(self) -> None:
        """Wait until the learner has learned from every attempt that it was handed.

        Raises:
            LearnerUnavailableError: it was silent for too long.
        """
        if self._link is not None:
            self._link.wait_for(self._last_ticket)

    def _cleared(self) -> tuple[PolicyWeights, ...]:
        """The candidates that may act."""
        if self._clearance is None or not self._candidates:
            return self._candidates
        cleared = self._clearance.choose(self._count, self._candidates)
        if not cleared and self.lockstep:
            cleared = self._clearance.choose(self._count, self._candidates)  # waits for the first verdict
        return cleared

    def _refresh(self, skill: LearnedSkill) -> None:
        """Take the snapshots that the next attempt, one of ``skill``, is to choose from."""
        if self._link is None:
            return
        progress = self._link.progress
        newest = progress.snapshots.get(max(progress.snapshots, default=-1))
        if self.lockstep:
            ticket = max(0, self._last_ticket - LOCKSTEP_LAG)
            self._link.wait_for(ticket)
            # A learner that was started again may know the ticket by a later snapshot only.
            newest = progress.snapshots.get(ticket) or progress.snapshots[max(progress.snapshots)]
        if newest is None or newest == self._loaded:
            return
        try:
            candidates = tuple(PolicyWeights.from_bytes(path.read_bytes()) for path in newest.policies)
            shield = self._read(newest, SHIELD, ShieldWeights.from_bytes)
            falls = self._read(newest, FALLS, FallPredictorWeights.from_bytes)
            undo = self._read(newest, UNDO, UndoCriticWeights.from_bytes)
            expectation = self._read(newest, DRIFT, Expectation.from_bytes)
            offsets = self._read(newest, OFFSETS, Offsets.from_bytes)
        except OSError:
            return  # already replaced by newer ones, which the next attempt gets
        read = (*candidates, shield, falls, undo, expectation, offsets)
        if all(weights.finite for weights in read if weights is not None):
            self._candidates, self._loaded = candidates, newest
            self._shield = Shield(shield) if shield is not None else None
            self.fall_predictor = FallPredictor(self._spec, falls) if falls is not None else None
            self.expectation = expectation
            self._offsets = offsets or Offsets()
            if undo is not None:
                self.undo_critic = UndoCritic(self._spec, skill.family, undo)

    @staticmethod
    def _read(snapshot: Snapshot, name: str, decode: Callable[[bytes], W]) -> W | None:
        """What is learned beside the policies; None where it is not."""
        path = snapshot.beside.get(name)
        return decode(path.read_bytes()) if path is not None else None
