"""Searches for one offset of each action, on top of a policy that is left alone.

Where a robot has changed so that it falls at once, each attempt says little to a learner that goes by steps, and much
to one that goes by attempts: a few numbers that hold for all of an attempt are searched for by evolution
(`skills.learners.evolution`). Song et al. (2020, arXiv 2003.01239) adapt a Minitaur within 50 attempts by such a search
over a policy's parameters, Yu et al. (2020, arXiv 1909.12995) by one over what a policy is told of the dynamics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skills.learners.evolution import Evolution, population
from skills.learners.learner import Arrays, Meta
from skills.offsets import with_offset
from skills.policy import PolicyWeights

if TYPE_CHECKING:
    from skills.learners.learner import AttemptSummary, Learner

STEP = 0.3
"""Standard deviation of the first offsets, before the squashing, where a robot falls without any."""
ON_OFFER = 2
"""Offsets of a skill that are offered at once: one may be under way while the next attempt begins."""
NEWEST_SHARE = 0.2
"""Of the newest mean in the offset that is held for the best: a mean over about the last nine generations. Attempts are
noisy, and the means wander (averaging of iterates: Polyak and Juditsky 1992)."""
LEAST_STEPS = 25
"""Shorter attempts are not judged by, unless they were over by themselves."""
SHORT_TRIES = 3
"""An offset whose attempts were as short so many times is tried no more, and counts as an average one."""
FIRST_VERSION, VERSIONS_EACH = 10**11, 10**4
"""Policies with offsets have versions from here on, so many for each version of the policy below them."""
NAME = "offsets"
"""Of the search in the state of a learner."""
STATE_FORMAT = 2


class SkillSearch:
    """A search for the offset of one skill. Each of its generations has versions of its own: the first is of the offset
    held for the best, the others of those that are tried.
    """

    def __init__(
        self, actions: int, seed: Sequence[int], step: float = STEP, begin: NDArray[np.float64] | None = None
    ) -> None:
        """Begin.

        Args:
            actions: width A of an action.
            seed: of the offsets that are tried.
            step: standard deviation of the first ones.
            begin: around which; None: none. Shape: (A,).
        """
        self.search = Evolution(actions, step)
        self.seed = tuple(seed)
        tries = population(actions)
        self._rates = np.full(tries, np.nan)
        """Mean rewards of the attempts of the generation under way; NaN: not tried yet. Shape: (P,)."""
        self._lasted = np.zeros(tries)
        """Steps that each of them counts for; 0: as many as the longest. Shape: (P,)."""
        self._short = np.zeros(tries, np.int64)
        """How often each was over too soon to be judged. Shape: (P,)."""
        self.best = np.zeros(actions)
        """The offset held for the best. Shape: (A,)."""
        self._longest = np.ones(1)
        """Steps of the longest attempt so far."""
        self._first_version = np.zeros(1, np.int64)
        if begin is not None:
            self.search.mean[:] = self.best[:] = begin

    @property
    def generations(self) -> int:
        """How many are over."""
        return int(self.search.generations[0])

    @property
    def longest(self) -> float:
        """Steps of the longest attempt so far; at least 1."""
        return float(self._longest[0])

    @property
    def arrays(self) -> Arrays:
        """All that changes, by name; who writes into them changes it."""
        tries = {"rates": self._rates, "lasted": self._lasted, "short": self._short}
        mine = {"best": self.best, "longest": self._longest, "first_version": self._first_version}
        return {**self.search.arrays, **tries, **mine}

    @property
    def scores(self) -> NDArray[np.float64]:
        """Returns in the generation under way, NaN for what is not tried yet. Shape: (P,)."""
        scores: NDArray[np.float64] = self._rates * np.where(self._lasted > 0.0, self._lasted, self.longest)
        return scores

    @property
    def _settled(self) -> NDArray[np.bool_]:
        """Which offsets of the generation under way need not be tried any more. Shape: (P,)."""
        settled: NDArray[np.bool_] = np.isfinite(self._rates) | (self._short >= SHORT_TRIES)
        return settled

    def begin_generation(self, first_version: int) -> int:
        """Versions from here on are those of the generation under way. Returns the first that is not."""
        self._first_version[0] = first_version
        return first_version + 1 + len(self._rates)

    def attempted(self, summary: AttemptSummary) -> float | None:
        """Credit an attempt to the offset that acted in it; the last one of a generation moves the search.

        Its score is its return. An attempt that was cut short, not by a fall, counts as if it had gone on as long as
        the longest; one that was over at once says nothing. Those with any other policy are passed over.

        Returns:
            The mean score of a generation that is over with it, which needs versions anew; None: none is.
        """
        tried = (summary.policy_version or 0) - int(self._first_version[0]) - 1
        if not 0 <= tried < len(self._rates) or not math.isfinite(summary.mean_reward):
            return None
        if telling(summary):
            self._longest[0] = max(self.longest, summary.steps)
            self._rates[tried] = summary.mean_reward
            self._lasted[tried] = summary.steps if summary.fell else 0
        else:
            self._short[tried] += 1
        if not self._settled.all():
            return None
        known = np.isfinite(self._rates)
        scores = np.where(known, self.scores, self.scores[known].mean() if known.any() else 0.0)
        self.search.follow(self._samples(), scores)
        self.best += max(NEWEST_SHARE, 1.0 / self.generations) * (self.search.mean - self.best)
        self._rates[:], self._short[:] = np.nan, 0
        return float(scores.mean())

    def offered(self) -> Iterator[tuple[int, NDArray[np.float64]]]:
        """Version and offset of the best, then of the next ones to try."""
        version, samples = int(self._first_version[0]), self._samples()
        yield version, self.best
        for tried in np.flatnonzero(~self._settled)[:ON_OFFER]:
            yield version + 1 + int(tried), samples[tried]

    def _samples(self) -> NDArray[np.float64]:
        """Offsets of the generation under way. Shape: (P, A)."""
        return self.search.samples(np.random.default_rng((*self.seed, self.generations)))


def telling(summary: AttemptSummary) -> bool:
    """Whether an attempt by a policy says how good that is."""
    if summary.policy_version is None or not math.isfinite(summary.mean_reward):
        return False
    return summary.steps >= LEAST_STEPS or summary.fell


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
        self._searches = [SkillSearch(self._actions, (self._seed, skill)) for skill in range(len(self._skills))]
        self._next_version = FIRST_VERSION + VERSIONS_EACH * self._policy.version
        for search in self._searches:
            self._next_version = search.begin_generation(self._next_version)

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
        for name, each in zip(self._skills, self._searches, strict=True):
            figures[f"generations.{name}"] = float(each.generations)
            figures[f"offset_step.{name}"] = float(each.search.step[0])
            figures[f"offset.{name}"] = float(np.linalg.norm(each.best))
        return figures

    def attempted(self, summary: AttemptSummary) -> None:
        """See `SkillSearch.attempted`."""
        search = self._searches[summary.skill]
        if search.attempted(summary) is not None:
            self._next_version = search.begin_generation(self._next_version)

    def candidates(self) -> tuple[PolicyWeights, ...]:
        """For each skill the policy with the best offset, then with the next offsets to try."""
        policy = self._policy
        return tuple(
            with_offset(policy, offset, name, version)
            for name, search in zip(self._skills, self._searches, strict=True)
            for version, offset in search.offered()
        )

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
        self._seed = self._seed if about is None else int(about["seed"])
        self._begin()
        if about is None:
            return
        for name, array in self._arrays().items():
            array[:] = arrays[f"{NAME}.{name}"]
        self._next_version = int(meta["next_version"])

    def _check(self, arrays: Arrays, about: Meta) -> None:
        for key, needed in (("format", STATE_FORMAT), ("skills", list(self._skills))):
            if about.get(key) != needed:
                raise ValueError(f"search for offsets has {key} {about.get(key)!r}; {needed!r} is needed")
        for name, array in self._arrays().items():
            given = arrays.get(f"{NAME}.{name}")
            if given is None or given.shape != array.shape or given.dtype != array.dtype:
                found = "nothing" if given is None else f"{given.dtype} {given.shape}"
                raise ValueError(f"search for offsets has {found} as {name}; {array.dtype} {array.shape} is needed")
            if not name.endswith(".rates") and not np.isfinite(given).all():
                raise ValueError(f"search for offsets holds NaN or infinity in {name}; load an older checkpoint")

    def _arrays(self) -> Arrays:
        return {
            f"{skill}.{name}": array
            for skill, search in zip(self._skills, self._searches, strict=True)
            for name, array in search.arrays.items()
        }
