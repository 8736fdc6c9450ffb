"""Builds a learner over the stored attempts of one skill family; for the learner's process only (imports torch)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from persistence.episodes import Episode, read_episode
from persistence.replay import ReplayBuffer
from skills.experience import AttemptArrays, experience
from skills.features import feature_size
from skills.learners.config import SacConfig
from skills.learners.sac import SacLearner
from skills.registry import learned
from skills.trajectory_generator import action_size

if TYPE_CHECKING:
    from agent.learner_process import LearnerJob


def build_learner(job: LearnerJob) -> tuple[ReplayBuffer, SacLearner, Callable[[Path], None]]:
    """The replay memory, a learner on it, and a function that puts one stored attempt into the memory.

    Every skill of the family learns from every attempt, also from those of other skills and of scripts that use the
    same actions.
    """
    family = learned(job.skills, job.family)
    spec = job.spec
    n_actions = action_size(spec)
    buffer = ReplayBuffer(job.capacity, feature_size(spec, n_actions), n_actions, len(family), job.history)
    learner = SacLearner(
        buffer,
        np.array([skill.command for skill in family]),
        np.stack([skill.prior_action(spec) for skill in family]),
        SacConfig(**job.settings),
        job.seed,
    )

    def ingest(path: Path) -> None:
        steps = experience(spec, family, attempt_arrays(read_episode(path)))
        if len(steps):
            buffer.add_episode(steps.features, steps.actions, steps.rewards, steps.terminated, steps.valid)

    return buffer, learner, ingest


def attempt_arrays(episode: Episode) -> AttemptArrays:
    """The arrays of a stored attempt under the names that skills use."""
    return AttemptArrays(
        frames=episode.frames,
        stamps_s=episode.stamps,
        actions=episode.actions,
        proposed=episode.proposed,
        resting=episode.resting,
        phase_rad=episode.phase,
    )
