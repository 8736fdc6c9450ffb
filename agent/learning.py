"""Builds a learner over the stored attempts of one skill family; for the learner's process only (imports torch)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from agent.learner_messages import DRIFT, FALLS, OFFSETS, SHIELD, UNDO
from meta.drift_monitor import Condition
from meta.expectation_learner import ExpectationConfig, ExpectationLearner
from meta.robot_steps import action_size, channel_errors, posture_size, signed_channels, steps_of
from meta.transitions import AttemptSteps
from persistence.episodes import Episode, read_episode
from persistence.replay import MixedReplay, ReplayBuffer
from sim.robot import FrameLayout, Frames, RobotSpec
from skills.contained import mistake_of
from skills.experience import AttemptArrays, Experience, cost_names, experience, transitions
from skills.learned_reward import LearnedReward
from skills.learners.ars import ArsLearner
from skills.learners.config import SacConfig
from skills.learners.drift_offsets import DriftOffsets
from skills.learners.falls import FallConfig, FallLearner, Walk
from skills.learners.learner import AttemptSummary, Learner, Replay
from skills.learners.offline import shown
from skills.learners.offsets import OffsetSearch
from skills.learners.population import PopulationLearner
from skills.learners.risk import RiskConfig, RiskLearner
from skills.learners.sac import SacLearner
from skills.learners.undo import UndoConfig, UndoLearner
from skills.registry import learned, use_folders
from skills.skill import LearnedSkill
from skills.success_classifier import SuccessClassifier
from skills.symmetry import Mirror
from skills.undo_critic import timeless_features

if TYPE_CHECKING:
    from agent.learner_messages import LearnerJob


class Weights(Protocol):
    """What is published for the control loop."""

    def to_bytes(self) -> bytes:
        """Serialise it."""


class Beside(Protocol):
    """What is learned beside the policy."""

    @property
    def updates(self) -> int:
        """How often it has learned so far; 0: there is nothing to act with."""

    def snapshot(self) -> Weights | None:
        """A copy of it as it is now; None: there is none yet."""


class ByAttempt(Beside, Protocol):
    """What learns a bit from each attempt."""

    @property
    def refused_reason(self) -> str:
        """Why the last updates were undone; empty if they were not."""

    def update(self, n: int) -> dict[str, float]:
        """Take ``n`` updates; returns figures of them."""


UPDATES_PER_ATTEMPT = 5
"""Of fall predictor and undo critic."""
DRIFT_UPDATES_PER_ATTEMPT = 60
"""Of the models that say what the robot is expected to do, which learn from every step."""
NEW_SHARE = 0.5
"""Of each batch that comes from what a robot did since it changed."""
UPRIGHT_RAD = 0.4
"""A robot that leans less has not fallen."""
BEFORE_FAMILIES = "tg"
"""What attempts of the walking family were stored under before there were others."""


class Studies:
    """A learner, the replay memory that it learns from, and the way of stored attempts into it.

    Every skill of the family learns from every attempt, also from those of other skills and of scripts that use the
    same actions.
    """

    def __init__(self, job: LearnerJob) -> None:
        """Build an empty replay memory, read prior data, and build the learner.

        Raises:
            ValueError: a setting is not valid, or prior data does not fit the robot.
        """
        self._job = job
        use_folders(job.skill_folders)
        self._skills = learned(job.skills, job.family)
        family = self._skills[0].family
        self._goals = {name: SuccessClassifier(job.spec, family, shown) for name, shown in job.goals.items()}
        self._rewards = {name: LearnedReward(job.spec, family, shown) for name, shown in job.rewards.items()}
        self._discount = self._one_discount()
        self._costs = cost_names(job.spec, self._skills[0]) if job.constrained else ()
        self.buffer = self._new_buffer(job.capacity)
        """What this home's attempts teach; prior data is kept apart."""
        self._shown: NDArray[np.bool_] | None = None
        """Which skills prior data shows; None: there is none."""
        replay = self._with_prior_data()
        self.learner: Learner = self._new_learner(replay)
        self.risk = self._new_risk_learner(replay)
        """What learns the shield, if one is wanted and the family can balance."""
        self.falls = self._new_fall_learner()
        """What learns to predict falls, if that is wanted and the family can balance."""
        self.undo = self._new_undo_learner()
        """What learns whether things can still be undone, if that is wanted and some skill undoes another."""
        self._condition = Condition.USUAL
        self._mistaken: set[str] = set()
        self._told = 0
        """Attempts that were learned from what to expect."""
        self.drift = self._new_expectation_learner()
        """What learns what the robot is expected to do, if that is wanted and it has feet."""
        self.offsets = self._new_drift_offsets(replay)
        """What searches for offsets under known drifts, if that is wanted."""

    def new_mistakes(self) -> str:
        """What skills did wrong here for the first time, by which they are in quarantine; empty: nothing."""
        made = {skill.name: mistake_of(skill) for skill in self._skills}
        new = [mistake for name, mistake in made.items() if mistake is not None and name not in self._mistaken]
        self._mistaken |= {mistake.skill for mistake in new}
        return "; ".join(f"skill {mistake.skill} in {mistake.where}: {mistake.what}" for mistake in new)

    @property
    def by_attempt(self) -> tuple[tuple[ByAttempt, int], ...]:
        """What learns a bit from each attempt, and how many updates."""
        all_: tuple[tuple[ByAttempt | None, int], ...] = (
            (self.falls, UPDATES_PER_ATTEMPT),
            (self.undo, UPDATES_PER_ATTEMPT),
            (self.drift, DRIFT_UPDATES_PER_ATTEMPT),
        )
        return tuple((learner, updates) for learner, updates in all_ if learner is not None)

    @property
    def beside(self) -> dict[str, Beside]:
        """All that is learned beside the policy, by its name."""
        all_: dict[str, Beside | None] = {SHIELD: self.risk, FALLS: self.falls, UNDO: self.undo, DRIFT: self.drift}
        all_[OFFSETS] = self.offsets
        return {name: learner for name, learner in all_.items() if learner is not None}

    def ingest(self, path: Path, condition: Condition = Condition.USUAL) -> AttemptSummary | None:
        """Put one stored attempt into the memory, if its actions are the family's.

        Args:
            path: its file.
            condition: of the robot in it. Of a changed one it is not learned what to expect; what it did makes half of
                what is learned from, and is learned from no more once it is repaired.

        Returns:
            What came of it, if it was one of a skill that learns.

        Raises:
            EpisodeError: the file is damaged.
            ValueError: its arrays do not fit the robot.
        """
        episode = read_episode(path)
        self._favour(condition)
        steps = self._add(self.buffer, episode)
        names = [skill.name for skill in self._skills]
        if self.falls is not None and steps is not None:
            for walk in walks(self._job.spec, episode, steps, self._job.harm_lean_rad):
                self.falls.add(walk)
        if (
            self.drift is not None
            and steps is not None
            and condition is not Condition.CHANGED
            and not episode.evaluation
            and episode.skill in names
        ):
            self.drift.add(self._as_steps(episode, steps))
        if self.undo is not None and steps is not None and episode.skill in names:
            self._learn_to_undo(self.undo, episode)
        if steps is None or episode.skill not in names:
            return None
        index = names.index(episode.skill)
        version = episode.policy_version
        return AttemptSummary(
            skill=index,
            policy_version=int(version) if version.isdecimal() else None,
            steps=len(steps),
            mean_reward=float(steps.rewards[:, index].mean()),
            mean_costs=steps.costs.mean(axis=0, dtype=np.float64) if self._costs else np.zeros(0),
            fell=bool(steps.terminated[-1, index]),
            evaluation=episode.evaluation,
            known_drift=episode.known_drift,
            changed=condition is not Condition.USUAL,
        )

    def _favour(self, condition: Condition) -> None:
        changed = condition is not Condition.USUAL
        if changed and self._condition is Condition.USUAL:
            self.buffer.favour_new(NEW_SHARE)
        elif not changed and self._condition is not Condition.USUAL:
            self.buffer.favour_none(drop=self._condition is Condition.CHANGED)
        self._condition = condition

    def named(self, figures: dict[str, float]) -> dict[str, float]:
        """Figures of the learner with skills and costs by name instead of by index."""
        out = {}
        for name, value in figures.items():
            member, dot, own = name.rpartition(".")
            kind, *indices = own.split("_")
            if kind in ("lambda", "cost") and len(indices) == 2:
                skill, cost = (int(index) for index in indices)
                name = f"{member}{dot}{kind}.{self._skills[skill].name}.{self._costs[cost]}"
            out[name] = value
        return out

    def _add(self, buffer: ReplayBuffer, episode: Episode) -> Experience | None:
        if episode.action_space not in (self._job.family, BEFORE_FAMILIES):
            return None
        arrays, past = attempt_arrays(episode), self._job.past_actions
        steps = experience(self._job.spec, self._skills, arrays, past, self._rewards, self._discount)
        if not len(steps):
            return None
        costs = steps.costs if self._costs else None
        buffer.add_episode(
            steps.features,
            steps.actions,
            steps.rewards + steps.shaping,
            steps.terminated,
            steps.valid,
            costs,
            steps.advice if buffer.advice else None,
        )
        return steps

    def _one_discount(self) -> float | None:
        """What future rewards are discounted by, which shaping and learned rewards need; None: by nothing.

        Raises:
            ValueError: they need it, and there is none, or there are several.
        """
        job = self._job
        layout = FrameLayout.of(job.spec)
        nothing = Frames(np.zeros((0, layout.width), np.float32), layout)
        needing = [skill.name for skill in self._skills if skill.potential(nothing) is not None] + [*self._rewards]
        discounts = {each.get("discount", SacConfig.discount) for each in (job.settings, *job.population)}
        if needing and len(discounts) > 1:
            raise ValueError(
                f"{needing[0]} has a potential or a learned reward, which go with one discount; leave gamma out of "
                "learner.population"
            )
        if self._rewards and job.algorithm == "ars":
            raise ValueError(
                f"the reward of {needing[-1]} is learned, which needs learner.algorithm = sac; go back to its own with "
                f"`perdure skills reward {needing[-1]} --own`"
            )
        if job.algorithm == "ars" or len(discounts) > 1:
            return None
        return float(discounts.pop())

    def _mirrors(self) -> tuple[Mirror, ...]:
        """Mirror images to learn from: none that would tell a skill with a learned reward what another one earns."""
        if not self._job.symmetry:
            return ()
        commands = [skill.command for skill in self._skills]
        apart = [index for index, skill in enumerate(self._skills) if skill.name in self._rewards]
        mirrors = self._skills[0].family.mirrors(self._job.spec, commands)
        return tuple(mirror for mirror in mirrors if all(mirror.skill_of[index] == index for index in apart))

    def _succeeded(self, skill: LearnedSkill, episode: Episode) -> bool:
        """Whether an attempt of a skill succeeded: by what a person has shown, else by its own rule."""
        if (goal := self._goals.get(skill.name)) is not None:
            return bool(goal.reached_in(episode.frames[-1:])[0])
        return skill.success(transitions(FrameLayout.of(self._job.spec), attempt_arrays(episode)))

    def _new_buffer(self, capacity: int) -> ReplayBuffer:
        spec, family = self._job.spec, self._skills[0].family
        widths = family.feature_size(spec), family.action_size(spec), len(self._skills)
        advice = any(skill.script(spec) is not None for skill in self._skills)
        return ReplayBuffer(capacity, *widths, self._job.history, len(self._costs), advice=advice)

    def _with_prior_data(self) -> Replay:
        """The memory to draw from: this home's own, mixed with prior data where there is some."""
        if not self._job.prior_episodes:
            return self.buffer
        prior, rewards = self._new_buffer(self._job.capacity), []
        for path in self._job.prior_episodes:
            steps = self._add(prior, read_episode(path))
            rewards += [steps.rewards] if steps is not None else []
        if not len(prior):
            raise ValueError(
                f"learner.prior_data has {len(self._job.prior_episodes)} attempts, but none with actions of the "
                f"{self._job.family!r} family; name homes in which {self._job.spec.name} practised these skills"
            )
        self._shown = shown(rewards, len(self._skills))
        return MixedReplay(self.buffer, prior, self._job.prior_share)

    def _new_learner(self, replay: Replay) -> Learner:
        job, names = self._job, [skill.name for skill in self._skills]
        if job.algorithm != "sac" and job.population:
            raise ValueError("learner.population needs learner.algorithm = sac; leave out one of them")
        if job.algorithm == "ars":
            return ArsLearner(replay, names, len(self._skills[0].command), seed=job.seed)
        if job.algorithm == "offsets":
            below = self._gradient_learner(replay, job.settings, job.seed)
            return OffsetSearch(below, names, replay.actions, job.seed)
        if not job.population:
            return self._gradient_learner(replay, job.settings, job.seed)
        seeds = np.random.SeedSequence(job.seed).generate_state(len(job.population))
        members = [self._gradient_learner(replay, job.settings, job.seed)]
        members += [
            self._gradient_learner(replay, settings, int(seed))
            for settings, seed in zip(job.population, seeds, strict=True)
        ]
        return PopulationLearner(members, names)

    def _new_risk_learner(self, replay: Replay) -> RiskLearner | None:
        job, family = self._job, self._skills[0].family
        if job.risk is None or not family.marches:
            return None
        commands = [skill.command for skill in self._skills]
        row = family.feature_size(job.spec)
        return RiskLearner(
            replay,
            np.array(commands),
            np.stack([skill.prior_action(job.spec) for skill in self._skills]),
            np.zeros(replay.actions),
            RiskConfig(**job.risk),
            job.seed,
            self._mirrors(),
            harm=lambda seen: family.lean_rad(seen[:, -row:]) > job.harm_lean_rad,
            aim=family.aim,
        )

    def _new_fall_learner(self) -> FallLearner | None:
        job = self._job
        if job.false_alarms_per_min is None or not self._skills[0].family.marches:
            return None
        return FallLearner(job.spec, FallConfig(false_alarms_per_min=job.false_alarms_per_min), job.seed)

    def _new_expectation_learner(self) -> ExpectationLearner | None:
        job = self._job
        if not (job.watch_drift and job.spec.n_feet):
            return None
        n, sent = job.spec.n_joints, self._skills[0].family.action_size(job.spec)
        channels = partial(channel_errors, n)
        # A policy that stays as it is leads nowhere new.
        config = ExpectationConfig(familiar_share=1.0) if job.hold_policy else ExpectationConfig()
        return ExpectationLearner(
            posture_size(job.spec), action_size(sent), channels, signed_channels(n), config, job.seed
        )

    def _new_drift_offsets(self, replay: Replay) -> DriftOffsets | None:
        job = self._job
        if not job.search_offsets or job.algorithm != "sac" or job.population:
            return None
        return DriftOffsets([skill.name for skill in self._skills], replay.actions, job.seed)

    def _as_steps(self, episode: Episode, steps: Experience) -> AttemptSteps:
        """An attempt as dynamics models learn from it; what happened while a fall was caught was not decided."""
        spec, length = self._job.spec, len(steps)
        self._told += 1
        frames = Frames(episode.frames[: length + 1], FrameLayout.of(spec))
        made = steps_of(spec, self._told, frames, episode.actions[:length], episode.resting, episode.phase)
        caught = np.isin(np.arange(length), episode.caught)
        return replace(made, valid=made.valid & steps.valid & ~caught)

    def _new_undo_learner(self) -> UndoLearner | None:
        job = self._job
        undoers = {skill.undone_by for skill in self._skills} & {skill.name for skill in self._skills}
        if job.hopeless_below is None or not undoers:
            return None
        width = self._skills[0].family.feature_size(job.spec)
        config = UndoConfig(hopeless_below=job.hopeless_below)
        return UndoLearner([skill.name for skill in self._skills if skill.name in undoers], width, config, job.seed)

    def _learn_to_undo(self, undo: UndoLearner, episode: Episode) -> None:
        """Say of which places the skill of an attempt was, or was not, successful from."""
        steps = transitions(FrameLayout.of(self._job.spec), attempt_arrays(episode))
        features = timeless_features(self._job.spec, self._skills[0].family, episode.frames)
        for skill in self._skills:
            if skill.name not in undo.skills:
                continue
            if skill.name == episode.skill and not episode.cut_short:
                by_script = not episode.policy_version.isdecimal()
                undo.tried(skill.name, features[:-1], success=self._succeeded(skill, episode), by_script=by_script)
            if skill.irreversible(steps)[-1]:
                undo.lost(skill.name, features)
        task = any(skill.name == episode.skill and skill.undone_by for skill in self._skills)
        if task and not episode.cut_short and not any(skill.irreversible(steps).any() for skill in self._skills):
            undo.passed(features)

    def _gradient_learner(self, replay: Replay, settings: dict[str, Any], seed: int) -> SacLearner:
        job = self._job
        return SacLearner(
            replay,
            np.array([skill.command for skill in self._skills]),
            np.stack([skill.prior_action(job.spec) for skill in self._skills]),
            SacConfig(**settings),
            seed,
            mirrors=self._mirrors(),
            aim=self._skills[0].family.aim,
            shown=self._shown,
        )


def walks(spec: RobotSpec, episode: Episode, steps: Experience, most_lean_rad: float) -> Iterator[Walk]:
    """The stretches between catches of an attempt, as the fall predictor learns from them.

    What is over for every skill is a fall unless the robot is upright: then it was done. A catch that began because the
    body leaned further than ``most_lean_rad`` counts as a fall. Of one that an alarm began nobody knows what it
    prevented: as far as is known, the robot was not falling.
    """

    def stretch(begin: int, last: int) -> Walk:
        readings = slice(begin, last + 1)
        return Walk.of(spec, episode.frames[readings], episode.stamps[readings], None, most_lean_rad)

    begin = 0
    for step in episode.caught:
        if step > begin:
            walk = stretch(begin, step)
            leaned = walk.leans_rad[-1] > walk.most_lean_rad
            yield replace(walk, fell_s=float(episode.stamps[step])) if leaned else walk
        begin = step + 1
    if len(steps) > begin:
        walk = stretch(begin, len(steps))
        fell = bool(steps.terminated[-1].all()) and bool(walk.leans_rad[-1] > UPRIGHT_RAD)
        yield replace(walk, fell_s=float(episode.stamps[len(steps)])) if fell else walk


def attempt_arrays(episode: Episode) -> AttemptArrays:
    """The arrays of a stored attempt under the names that skills use."""
    return AttemptArrays(
        family=episode.action_space,
        frames=episode.frames,
        stamps_s=episode.stamps,
        actions=episode.actions,
        proposed=episode.proposed,
        resting=episode.resting,
        phase_rad=episode.phase,
        caught=episode.caught,
    )
