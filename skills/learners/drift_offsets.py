"""Where a robot is known to have drifted and a skill earns less for it: searches for offsets, one per drift and skill.

What is made up for need not be all: a motor that gives half its torque is at its limit in some walks, whatever its
gains. Gradients learn from each step and hardly see that; a search by attempts (`skills.learners.offsets`) does, within
some fifty. What it has found is kept: where the same drift comes again, it is there from the second attempt on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skills.learners.learner import Arrays, AttemptSummary, Meta
from skills.learners.offsets import SkillSearch, telling
from skills.offsets import Offset, Offsets

FEWEST, MOST = 10, 40
"""Attempts of a skill on the usual robot: so many must be known, and no more are."""
JUDGED = 5
"""Newest attempts under a drift that are judged together."""
STEP = 0.15
"""Standard deviation of a search's first offsets, before the squashing: the robot still walks, and goes on to."""
WORSE = 0.9
"""Share of what was earned before, below which a search begins."""
DONE = 0.95
"""Share that a generation has to earn of what the usual robot does for a search to be over."""
GENERATIONS = 12
"""A search that has not come to that is over after so many."""
CASES = 64
"""Pairs of drift and skill that are kept; the oldest go first."""
FIRST_VERSION = 5 * 10**11
"""Policies with such offsets have versions from here on: no other learner's are as high, but those of a population."""


@dataclass(frozen=True)
class SearchNews:
    """A search has begun, or is over."""

    drift: str
    """What is known to have drifted."""
    skill: str
    over: bool
    share: float
    """Of what the usual robot earns: before it, or what it came to; not above 1."""


class _Case:
    """One skill under one drift: judged, and where it does badly searched for."""

    def __init__(self, actions: int) -> None:
        self.best: NDArray[np.float64] = np.zeros(actions)
        """The offset in force while nothing is searched for. Shape: (A,)."""
        self.version = 0
        """Of the policy with it; 0: there is no offset."""
        self.earned: deque[float] = deque(maxlen=JUDGED)
        """By the newest attempts while nothing is searched for."""
        self.reached = 1.0
        """Share of the usual that the last search came to, or began with if it found nothing better; at most 1."""
        self.search: SkillSearch | None = None
        self.before = 0.0
        """What was earned when it began."""

    @property
    def facts(self) -> dict[str, Any]:
        """What is no array, as JSON."""
        return {
            "version": self.version,
            "earned": list(self.earned),
            "reached": self.reached,
            "before": self.before,
            "searching": self.search is not None,
        }

    @property
    def arrays(self) -> Arrays:
        """All arrays, by name; who writes into them changes it."""
        searched = {} if self.search is None else self.search.arrays
        return {"best": self.best, **{f"search.{name}": array for name, array in searched.items()}}


class DriftOffsets:
    """All cases of one robot's skills, from what is told of attempts."""

    STATE_FORMAT = 1

    def __init__(self, skills: Sequence[str], actions: int, seed: int = 0) -> None:
        """Begin with nothing known.

        Args:
            skills: their names, in the order of `AttemptSummary.skill`.
            actions: width A of an action.
            seed: of the offsets that are tried.
        """
        self._skills, self._actions, self._seed = tuple(skills), actions, seed
        self._usual: list[deque[float]] = [deque(maxlen=MOST) for _ in skills]
        """What attempts of each skill on the usual robot earned."""
        self._longest = [1] * len(skills)
        """Steps of the longest attempt of each skill."""
        self._cases: dict[tuple[str, int], _Case] = {}
        self._drift = ""
        """What is known to have drifted in the newest attempt."""
        self._next_version = FIRST_VERSION
        self.news: list[SearchNews] = []
        """What is not told yet; emptied by whoever tells it."""

    @property
    def updates(self) -> int:
        """Searches that have begun, whose offsets are there to act."""
        return sum(case.search is not None or case.version > 0 for case in self._cases.values())

    @property
    def acting(self) -> bool:
        """Whether there are any for what is known to have drifted now. The policy below had better not change then: it
        would learn to do what they do, and they would do it once more.
        """
        return any(
            drift == self._drift and (case.search is not None or case.version > 0)
            for (drift, _), case in self._cases.items()
        )

    @property
    def figures(self) -> dict[str, float]:
        """Of the drift that is there now: by skill the generations of a search that is on, or the share of the usual
        that one has come to.
        """
        out = {}
        for (drift, skill), case in self._cases.items():
            if drift == self._drift and case.search is not None:
                out[f"offsets.generations.{self._skills[skill]}"] = float(case.search.generations)
            elif drift == self._drift and case.version:
                out[f"offsets.reached.{self._skills[skill]}"] = case.reached
        return out

    def attempted(self, summary: AttemptSummary) -> None:
        """Take note of an attempt; those without exploration, which are to judge the policy, are passed over."""
        self._drift = summary.known_drift
        skill, known = summary.skill, self._cases.get((summary.known_drift, summary.skill))
        if summary.evaluation:
            return
        if not telling(summary):
            if known is not None and known.search is not None:
                self._searched(known, known.search, summary)
            return
        self._longest[skill] = max(self._longest[skill], summary.steps)
        earned = summary.mean_reward * (summary.steps / self._longest[skill] if summary.fell else 1.0)
        usual = self._usual[skill]
        if not summary.known_drift:
            if not summary.changed:
                usual.append(earned)
            return
        if len(usual) < FEWEST:
            return
        case = self._cases.setdefault((summary.known_drift, skill), _Case(self._actions))
        if len(self._cases) > CASES:
            del self._cases[next(iter(self._cases))]
        if case.search is None:
            self._judge(case, summary, earned)
        else:
            self._searched(case, case.search, summary)

    def _judge(self, case: _Case, summary: AttemptSummary, earned: float) -> None:
        """An attempt while nothing is searched for."""
        case.earned.append(earned)
        mean, usual = float(np.mean(case.earned)), self._usually(summary.skill)
        if len(case.earned) == JUDGED and mean < WORSE * case.reached * usual:
            case.search, case.before = self._new_search(summary.skill, case.best), mean
            case.earned.clear()
            self._tell(summary, over=False, share=mean / usual)

    def _usually(self, skill: int) -> float:
        """What an attempt of the usual robot earns per step."""
        return float(np.mean(self._usual[skill]))

    def _searched(self, case: _Case, search: SkillSearch, summary: AttemptSummary) -> None:
        """An attempt while something is: the last one of a generation says whether it goes on."""
        score = search.attempted(summary)
        if score is None:
            return
        mean, usual = score / search.longest, self._usually(summary.skill)
        if mean < DONE * usual and search.generations < GENERATIONS:
            self._next_version = search.begin_generation(self._next_version)
            return
        if mean > case.before:
            # A search that has arrived is there; the mean over generations still has the way in it.
            case.best = search.search.mean if mean >= DONE * usual else search.best
            case.version = self._next_version
            self._next_version += 1
        case.reached = min(1.0, max(mean, case.before) / usual) if usual > 0.0 else 1.0
        case.search = None
        self._tell(summary, over=True, share=case.reached)

    def _tell(self, summary: AttemptSummary, *, over: bool, share: float) -> None:
        self.news.append(SearchNews(summary.known_drift, self._skills[summary.skill], over, min(1.0, share)))

    def _new_search(self, skill: int, begin: NDArray[np.float64]) -> SkillSearch:
        # By its first version, no two searches try the same.
        seed = (self._seed, skill, self._next_version - FIRST_VERSION)
        search = SkillSearch(self._actions, seed, STEP, begin)
        self._next_version = search.begin_generation(self._next_version)
        return search

    def snapshot(self) -> Offsets | None:
        """What may act: the best for each drift that a search has been for, and what is to be tried under this one."""
        rows = []
        for (drift, skill), case in self._cases.items():
            offered = [(case.version, case.best)] if case.version else []
            if case.search is not None:
                offered = list(case.search.offered())[: None if drift == self._drift else 1]
            rows += [
                Offset(drift=drift, skill=self._skills[skill], version=version, values=values.copy())
                for version, values in offered
            ]
        return Offsets(tuple(rows))

    def state(self) -> tuple[Arrays, Meta]:
        """Everything that follows from the attempts so far; the second part is JSON."""
        cases = [
            {"drift": drift, "skill": skill, **case.facts, "seed": case.search.seed if case.search else None}
            for (drift, skill), case in self._cases.items()
        ]
        meta = {
            "format": self.STATE_FORMAT,
            "skills": list(self._skills),
            "usual": [list(usual) for usual in self._usual],
            "longest": list(self._longest),
            "drift": self._drift,
            "next_version": self._next_version,
            "cases": cases,
        }
        arrays = {
            f"{number}.{name}": array.copy()
            for number, case in enumerate(self._cases.values())
            for name, array in case.arrays.items()
        }
        return arrays, meta

    def load_state(self, arrays: Arrays, meta: Meta) -> None:
        """Continue from what `state` returned; of skills that are there no more nothing is kept.

        Raises:
            ValueError: it is of another format, or its arrays do not fit; nothing is changed then.
        """
        if meta.get("format") != self.STATE_FORMAT:
            raise ValueError(f"offsets under drift have format {meta.get('format')!r}; {self.STATE_FORMAT} is needed")
        other = DriftOffsets(self._skills, self._actions, self._seed)
        here = {old: self._skills.index(name) for old, name in enumerate(meta["skills"]) if name in self._skills}
        for number, facts in enumerate(meta["cases"]):
            if facts["skill"] not in here:
                continue
            case = other._cases[facts["drift"], here[facts["skill"]]] = _Case(self._actions)
            case.version, case.reached, case.before = int(facts["version"]), facts["reached"], facts["before"]
            case.earned.extend(facts["earned"])
            case.search = SkillSearch(self._actions, facts["seed"]) if facts["searching"] else None
            for name, array in case.arrays.items():
                _read(arrays, f"{number}.{name}", array)
        for old, new in here.items():
            other._usual[new].extend(meta["usual"][old])
            other._longest[new] = int(meta["longest"][old])
        other._drift, other._next_version = str(meta["drift"]), int(meta["next_version"])
        self.__dict__.update(other.__dict__)


def _read(arrays: Arrays, name: str, into: NDArray[Any]) -> None:
    given = arrays.get(name)
    if given is None or given.shape != into.shape or given.dtype != into.dtype:
        found = "nothing" if given is None else f"{given.dtype} {given.shape}"
        raise ValueError(f"offsets under drift have {found} as {name}; {into.dtype} {into.shape} is needed")
    into[:] = given
