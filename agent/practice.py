"""Choosing and making attempts, with everything that belongs to one: policy, books, learner, scheduler."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping

from agent.attempts import AttemptResult, AttemptRunner, Interrupt, TickFunction
from agent.brain import Brain
from agent.curriculum import TELLING, Tried
from agent.drift_ladder import DriftLadder
from agent.drift_watch import DriftWatch
from agent.ledger import Ledger
from agent.loop import ControlLoop, Tick
from agent.perturbations import Perturbations
from agent.postures import Postures
from agent.scene import Scene
from agent.scheduler import Pose2D, Scheduler
from agent.success_watch import SuccessWatch
from meta.drift_monitor import Condition
from persistence.records import AttemptEnd, Evaluation, Outcome
from sim.robot import Observation
from sim.workspace import Workspace
from skills.skill import Controller, LearnedSkill, Skill, SkillKind
from skills.success_classifier import SuccessClassifier


class Practice:
    """Attempts of one run."""

    def __init__(
        self,
        *,
        loop: ControlLoop,
        ledger: Ledger,
        brain: Brain,
        scheduler: Scheduler,
        scene: Scene,
        workspace: Workspace,
        postures: Postures,
        tick: TickFunction,
        goals: Mapping[str, SuccessClassifier],
        success_watch: SuccessWatch | None = None,
        perturbations: Perturbations | None = None,
        drift_watch: DriftWatch | None = None,
        ladder: DriftLadder | None = None,
    ) -> None:
        """Make attempts on one control loop.

        Args:
            loop: the control loop.
            ledger: the books.
            brain: where policies come from and attempts go to.
            scheduler: picks the next task.
            scene: what can start, and the ways to what cannot.
            workspace: where the robot may be.
            postures: what the robot does while an attempt waits for its row.
            tick: runs a control period; may raise `Interrupt`.
            goals: what decides the success of skills in the place of their own rules, by name.
            success_watch: told of what comes of each attempt.
            perturbations: what comes in between tasks; None: nothing does.
            drift_watch: follows how the robot moves; None: nothing does.
            ladder: told of what comes of each attempt.
        """
        self.skill_name = ""
        """Skill of the running attempt; empty between attempts."""
        self.last_speed_mps: dict[str, float] = {}
        """Forward speed of the last attempt of each skill."""
        self.evaluations: deque[LearnedSkill] = deque()
        """Skills whose evaluation is due; an attempt without exploration each, when the pose suits."""
        self._loop = loop
        self._ledger = ledger
        self._brain = brain
        self._scheduler = scheduler
        self._scene = scene
        self._postures = postures
        self._tick = tick
        self._goals = goals
        self._success_watch = success_watch
        self._perturbations = perturbations
        self._drift_watch = drift_watch
        self._ladder = ladder
        self._runner = AttemptRunner(loop, workspace, tick, drift_watch)
        self._controller: Controller | None = None

    def leave_out(self, name: str) -> None:
        """Attempt a skill no more."""
        self._scheduler.leave_out(name)
        self._scene.leave_out(name)
        self.evaluations = deque(skill for skill in self.evaluations if skill.name != name)

    def choose(self, now: Tick) -> tuple[Skill, bool]:
        """The next skill, and whether to attempt it as an evaluation: a task, or what leads to where it can start, or
        what perturbs.
        """
        pose, here = Pose2D.of(now.observation), self._scene.situation(now.observation)
        scores = self._scheduler.scores(pose, now.robot_s)
        if due := [skill for skill in self.evaluations if skill.name in here]:
            best = max(due, key=lambda skill: scores[skill.name])
            if scores[best.name] >= max(scores.values()) - self._scheduler.TEMPERATURE:
                return best, True
        perturbing = self._perturbations.choose(now.observation) if self._perturbations is not None else None
        if perturbing is not None:
            return perturbing, False
        ways = self._scene.ways(here)
        task = self._scheduler.choose(pose, now.robot_s, {name: way.expected_s for name, way in ways.items()})
        return (self._scene.skill(ways[task.name].first) if ways else task), False

    def attempt(self, skill: Skill, *, evaluation: bool = False, with_care: bool = False) -> AttemptResult:
        """One attempt with its books: the row that it began is durable before the robot moves for it (I10).

        An attempt ``with_care`` tries nothing new: the policy acts without exploration.
        """
        self.skill_name = skill.name
        while not self._brain.ready(skill):
            # A learner takes seconds to start; in real time the robot waits on its feet.
            self._tick(self._postures.stance)
            self._brain.poll()
        known_drift = self._drift_watch.known if self._drift_watch is not None else ""
        explore = not (evaluation or with_care)
        controller, version = self._brain.controller(skill, explore=explore, known_drift=known_drift)
        if self._drift_watch is not None:
            self._drift_watch.expect(self._brain.expectation, self._loop.reading.robot_s)
        self._controller = controller
        start = self._loop.reading
        here = self._scene.situation(start.observation)
        self._scene.begins(skill, here, start.robot_s)
        future = self._ledger.start_attempt(
            skill.name, start.robot_s, version, evaluation=evaluation, could_start=tuple(sorted(here))
        )
        try:
            while not (self._brain.lockstep or future.done()):
                self._tick(self._postures.stance)
        except Interrupt:
            aborted = AttemptEnd(
                attempt_id=future.result(),
                ended_s=self._loop.reading.robot_s,
                outcome=Outcome.ABORTED,
                end_reason="interrupted before it began",
            )
            self._ledger.finish_attempt(aborted, skill.name, version, None)
            raise
        attempt_id = future.result()
        self._ledger.attempt_started(attempt_id)
        pose = Pose2D.of(self._loop.reading.observation)
        to_middle = not evaluation and self._scheduler.turn_follows(skill.name, start.robot_s)
        # An evaluation shows what the policy does by itself; a reset is what help there is.
        practised = skill.kind is SkillKind.TASK and not evaluation
        hopeless = self._scene.hopeless if practised else None
        goal = self._goals.get(skill.name)
        result = self._runner.run(
            skill, controller, to_middle=to_middle, as_practised=practised, hopeless=hopeless, goal=goal
        )
        end = self._loop.reading
        finished = self._ledger.finish_attempt(
            AttemptEnd(
                attempt_id=attempt_id,
                ended_s=end.robot_s,
                outcome=result.outcome,
                end_reason=result.end_reason,
                steps=result.steps,
                return_=result.return_,
                measures=result.measures,
                reward_terms=result.reward_terms,
            ),
            skill.name,
            version,
            result.arrays,
            evaluation=evaluation,
            known_drift=known_drift,
        )
        condition = self._drift_watch.condition if self._drift_watch is not None else Condition.USUAL
        success, judged = result.outcome is Outcome.SUCCESS, result.outcome is not Outcome.ABORTED
        self._brain.attempted(finished, skill.name, version if judged else None, success=success, condition=condition)
        if judged:
            self._judged(skill, result, pose, end)
        by_policy = version is not None or not isinstance(skill, LearnedSkill)
        if by_policy and not evaluation and condition is not Condition.CHANGED:
            self._learn_standings(skill, result, end.robot_s)
        if evaluation and judged and isinstance(skill, LearnedSkill) and result.interrupt is None:
            self._evaluated(skill, result, version, end.robot_s)
        self.skill_name = ""
        return result

    def falling(self, observation: Observation) -> bool:
        """Whether a learned skill is being attempted, and its robot is about to fall."""
        predictor = self._brain.fall_predictor
        return predictor is not None and self._runner.recording and predictor.alarm(observation)

    def caught(self, observation: Observation) -> None:
        """A fall begins to be caught at this reading, within an attempt or between two."""
        self._runner.caught(observation)

    def come_to_rest(self) -> None:
        """Bring the robot to rest after an attempt."""
        if self._controller is not None:
            self._postures.come_to_rest(self._controller)

    def _judged(self, skill: Skill, result: AttemptResult, start: Pose2D, end: Tick) -> None:
        """An attempt that was not aborted tells of its skill."""
        if self._success_watch is not None and result.return_ is not None:
            self._success_watch.attempted(skill.name, result.outcome, result.mean_reward, end.robot_s)
        fell = result.outcome is Outcome.FALL
        if self._ladder is not None and result.return_ is not None and (result.interrupt is None or fell):
            self._ladder.attempted(skill.name, -math.inf if fell else result.mean_reward)
        if "speed_mps" in result.measures:
            self.last_speed_mps[skill.name] = result.measures["speed_mps"]
        if result.steps and result.interrupt is None:
            self._scheduler.attempted(skill.name, start, Pose2D.of(end.observation), result.mean_reward, end.robot_s)

    def _learn_standings(self, skill: Skill, result: AttemptResult, now_s: float) -> None:
        """Where tasks stand in the curriculum follows from what their policies and scripts do."""
        if result.outcome not in TELLING:
            return
        earned = result.mean_reward if math.isfinite(result.mean_reward) else 0.0
        tried = Tried(skill=skill.name, success=result.outcome is Outcome.SUCCESS, mean_reward=earned)
        for change in self._scheduler.curriculum.attempted(tried):
            self._ledger.standing(change, now_s)

    def _evaluated(self, skill: LearnedSkill, result: AttemptResult, version: int | None, now_s: float) -> None:
        if skill in self.evaluations:
            self.evaluations.remove(skill)
        self._ledger.evaluation(
            Evaluation(
                skill=skill.name,
                robot_s=now_s,
                attempts=1,
                success_rate=float(result.outcome is Outcome.SUCCESS),
                return_mean=result.return_,
                policy_version=version,
                measures=result.measures,
            )
        )
