"""Searches for one offset of each action, on top of a policy that is left alone.

Where a robot has changed so that it falls at once, each attempt says little to a learner that goes by steps, and much
to one that goes by attempts: a few numbers that hold for all of an attempt are searched for by evolution
(`skills.learners.evolution`). Song et al. (2020, arXiv 2003.01239) adapt a Minitaur within 50 attempts by such a search
over a policy's parameters, Yu et al. (2020, arXiv 1909.12995) by one over what a policy is told of the dynamics.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skills.learners.evolution import Evolution, population
from skills.learners.learner import Arrays, Meta
from skills.policy import PolicyWeights

if TYPE_CHECKING:
    from skills.learners.learner import AttemptSummary, Learner

STEP = 0.3
"""Standard deviation of the first offsets, before the squashing."""
ON_OFFER = 2
"""Offsets of a skill that are offered at once: one may be under way while the next attempt begins."""
LOG_STD = -10.0
"""Log standard deviation of the actions: none to speak of, since the offset is what explores."""
NEWEST_SHARE = 0.2
"""Of the newest mean in the offset that is held for the best: a mean over about the last nine generations. Attempts are
noisy, and the means wander (averaging of iterates: Polyak and Juditsky 1992)."""
LEAST_STEPS = 25
"""Shorter attempts are not judged by, unless they were over by themselves."""
FIRST_VERSION, VERSIONS_EACH = 10**11, 10**4
"""Policies with offsets have versions from here on, so many for each version of the policy below them."""
NAME = "offsets"
"""Of the search in the state of a learner."""
STATE_FORMAT = 1


class OffsetSearch:
    """A learner that holds another one's policy and searches for offsets of it, one search per skill.

    The state of the one below is kept whole beside that of the search: either can go on from what the other has left.
    """

    def __init__(self, below: Learner, skills: Sequence[str], actions: int, seed: int = 0) -> None:
        """Begin without offsets.

        Args:
            below: whose policy is held.
            skills: names of the skills.
            actions: width A of an action.
            seed: of the offsets that are tried.
        """
        self._below = below
        self._skills = tuple(skills)
        self._actions = actions
        self._seed = seed
        self._begin()

    def _begin(self) -> None:
        """Search anew on top of what is below now."""
        tries = population(self._actions)
        self._searches = [Evolution(self._actions, STEP) for _ in self._skills]
        self._scores = np.full((len(self._skills), tries), np.nan)
        """Of the generations under way; NaN: not tried yet. Shape: (K, P)."""
        self._best = np.zeros((len(self._skills), self._actions))
        """The offsets held for the best. Shape: (K, A)."""
        self._longest = np.ones(len(self._skills))
        """Steps of the longest attempt so far. Shape: (K,)."""
        self._next_version = FIRST_VERSION + VERSIONS_EACH * self._policy.version
        self._first_version = np.zeros(len(self._skills), np.int64)
        for skill in range(len(self._skills)):
            self._begin_generation(skill)

    @property
    def _policy(self) -> PolicyWeights:
        return self._below.candidates()[0]

    @property
    def updates(self) -> int:
        """Of the learner below, which makes none meanwhile."""
        return self._below.updates

    @property
    def refused_reason(self) -> str:
        """Nothing is ever undone."""
        return ""

    def update(self, n: int, *, offline: bool = False) -> dict[str, float]:
        """Change nothing; what moves the searches are attempts. Returns figures of each skill."""
        del n, offline
        figures = {}
        for name, search, best in zip(self._skills, self._searches, self._best, strict=True):
            figures[f"generations.{name}"] = float(search.generations[0])
            figures[f"offset_step.{name}"] = float(search.step[0])
            figures[f"offset.{name}"] = float(np.linalg.norm(best))
        return figures

    def attempted(self, summary: AttemptSummary) -> None:
        """Credit an attempt to the offset that acted in it; the last one of a generation moves the search.

        Its score is its return. An attempt that was cut short, not by a fall, counts as if it had gone on as long as
        the longest. Those with any other policy are passed over.
        """
        if summary.policy_version is None or not math.isfinite(summary.mean_reward):
            return
        if summary.steps < LEAST_STEPS and not summary.fell:
            return
        skill = summary.skill
        tried = summary.policy_version - int(self._first_version[skill]) - 1
        if not 0 <= tried < self._scores.shape[1]:
            return
        self._longest[skill] = max(self._longest[skill], summary.steps)
        steps = summary.steps if summary.fell else self._longest[skill]
        self._scores[skill, tried] = steps * summary.mean_reward
        if np.isfinite(self._scores[skill]).all():
            search = self._searches[skill]
            search.follow(self._samples(skill), self._scores[skill])
            self._best[skill] += max(NEWEST_SHARE, 1.0 / search.generations[0]) * (search.mean - self._best[skill])
            self._begin_generation(skill)

    def candidates(self) -> tuple[PolicyWeights, ...]:
        """For each skill the policy with the best offset, then with the next offsets to try."""
        policy, offered = self._policy, []
        for skill, best in enumerate(self._best):
            samples = self._samples(skill)
            offered.append(self._with_offset(policy, skill, best, 0))
            untried = np.flatnonzero(np.isnan(self._scores[skill]))[:ON_OFFER]
            offered += [self._with_offset(policy, skill, samples[each], 1 + int(each)) for each in untried]
        return tuple(offered)

    def state(self) -> tuple[Arrays, Meta]:
        """That of the learner below, and the searches; offsets that are tried follow from seed and counters."""
        arrays, meta = self._below.state()
        mine = {f"{NAME}.{name}": array.copy() for name, array in self._arrays().items()}
        about = {"format": STATE_FORMAT, "skills": list(self._skills), "seed": self._seed}
        return {**arrays, **mine}, {**meta, NAME: about, "next_version": self._next_version}

    def load_state(self, arrays: Arrays, meta: Meta) -> None:
        """Continue from what `state` returned, or begin a search on top of a learner's state that has none.

        Raises:
            ValueError: the state below does not fit, or that of the searches does not.
        """
        about = meta.get(NAME)
        if about is not None:
            self._check(arrays, about)
        self._below.load_state(arrays, meta)
        self._begin()
        if about is None:
            return
        for name, array in self._arrays().items():
            array[:] = arrays[f"{NAME}.{name}"]
        self._seed, self._next_version = int(about["seed"]), int(meta["next_version"])

    def _check(self, arrays: Arrays, about: Meta) -> None:
        for key, needed in (("format", STATE_FORMAT), ("skills", list(self._skills))):
            if about.get(key) != needed:
                raise ValueError(f"search for offsets has {key} {about.get(key)!r}; {needed!r} is needed")
        for name, array in self._arrays().items():
            given = arrays.get(f"{NAME}.{name}")
            if given is None or given.shape != array.shape or given.dtype != array.dtype:
                found = "nothing" if given is None else f"{given.dtype} {given.shape}"
                raise ValueError(f"search for offsets has {found} as {name}; {array.dtype} {array.shape} is needed")
            if name != "scores" and not np.isfinite(given).all():
                raise ValueError(f"search for offsets holds NaN or infinity in {name}; load an older checkpoint")

    def _arrays(self) -> Arrays:
        searches = {
            f"{skill}.{name}": array
            for skill, search in zip(self._skills, self._searches, strict=True)
            for name, array in search.arrays.items()
        }
        mine = {
            "scores": self._scores,
            "best": self._best,
            "longest": self._longest,
            "first_version": self._first_version,
        }
        return {**searches, **mine}

    def _samples(self, skill: int) -> NDArray[np.float64]:
        """Offsets of the generation under way. Shape: (P, A)."""
        search = self._searches[skill]
        return search.samples(np.random.default_rng((self._seed, skill, int(search.generations[0]))))

    def _begin_generation(self, skill: int) -> None:
        self._scores[skill] = np.nan
        self._first_version[skill] = self._next_version
        self._next_version += 1 + self._scores.shape[1]

    def _with_offset(
        self, policy: PolicyWeights, skill: int, offset: NDArray[np.float64], number: int
    ) -> PolicyWeights:
        """The policy below with an offset of its mean, version ``number`` of its generation."""
        *others, (weight, bias) = policy.layers
        moved = bias + np.concatenate((offset, np.zeros(self._actions))).astype(np.float32)
        return replace(
            policy,
            version=int(self._first_version[skill]) + number,
            layers=(*others, (weight, moved)),
            log_std_min=LOG_STD,
            log_std_max=LOG_STD,
            skill=self._skills[skill],
        )
