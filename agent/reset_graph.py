"""Which skill ends where another can start: learned from the run's own attempts, and used to plan ways back.

Skills reset one another (Gupta et al. 2021, "Reset-Free Reinforcement Learning via Multi-Task Learning"). A situation
is the set of skills that can start; an attempt leads from one to another, with chances that are counted. The cheapest
chain to where a wanted skill can start is a stochastic shortest path over the situations that were seen.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from persistence.passages import Passage, Situation

FORGET = 0.98
"""Weight of what was counted before, per attempt from the same situation: policies change."""
HOPE = 1.0
"""Attempts that are assumed of every skill in every situation: half of them lead to what is wanted, half nowhere."""
PERSON_S = 600.0
"""What having to call a person costs, in robot time."""
TRIES, TRIES_EACH = 30, 1
"""Attempts from all situations that can be come to, and of each skill from each, before it counts as known what none of
them leads to."""
OFTEN = 0.2
"""Share of attempts that is no chance any more."""
FADED = 0.05
"""An arrival whose count has faded to less does not count any more."""
SWEEPS = 300
ENOUGH_S = 0.1
"""Estimates that change by less are final."""


@dataclass(frozen=True, kw_only=True)
class Way:
    """How to come to where a wanted skill can start."""

    first: str
    """The skill to attempt first; a wanted one itself where one can start."""
    expected_s: float
    """Robot time until then."""


@dataclass
class _Counted:
    """What came of attempts of one skill from one situation."""

    after: defaultdict[Situation, float]
    took_s: float
    attempts: float = 0.0
    """Their number, old ones faded."""
    tries: int = 0


class ResetGraph:
    """Chances and times of what each skill leads to."""

    def __init__(self, horizons_s: Mapping[str, float]) -> None:
        """Know nothing yet.

        Args:
            horizons_s: skills that may be used as means, with how long an attempt takes at most.
        """
        self._horizons_s = dict(horizons_s)
        self._counted: dict[tuple[Situation, str], _Counted] = {}
        self._situations: dict[Situation, None] = {}
        """In the order in which they were first seen, so that sums are the same in every process."""

    def learn(self, passages: Iterable[Passage]) -> None:
        """Count attempts, oldest first; those of skills that are no means are left out."""
        for passage in passages:
            if passage.skill not in self._horizons_s:
                continue
            key = (passage.before, passage.skill)
            if key not in self._counted:
                self._counted[key] = _Counted(defaultdict(float), passage.took_s)
            counted = self._counted[key]
            for after in counted.after:
                counted.after[after] *= FORGET
            counted.attempts = FORGET * counted.attempts + 1.0
            counted.tries += 1
            counted.after[passage.after] += 1.0
            counted.took_s += (passage.took_s - counted.took_s) / counted.attempts
            self._situations |= {passage.before: None, passage.after: None}

    def way(self, here: Situation, wanted: Situation, means: Iterable[str] | None = None) -> Way | None:
        """The cheapest chain from a situation to where one of some skills can start.

        Args:
            here: what can start now.
            wanted: the skills of which one is to start.
            means: skills that may be attempted first; None: all.

        Returns:
            None where there is nothing to begin with.
        """
        if there := wanted & here:
            return Way(first=min(there), expected_s=0.0)
        allowed = self._horizons_s.keys() if means is None else set(means)
        able = [skill for skill in self._horizons_s if skill in here and skill in allowed]
        if not able:
            return None
        costs = self._costs(wanted)
        first = min(able, key=lambda skill: self._cost(here, skill, wanted, costs))
        return Way(first=first, expected_s=self._cost(here, first, wanted, costs))

    def brings(self, skill: str, wanted: str) -> bool:
        """Whether attempts of one skill from where another cannot start often ended where it can."""
        ends = [
            (share, wanted in after)
            for (before, tried), counted in self._counted.items()
            if tried == skill and wanted not in before
            for after, share in counted.after.items()
        ]
        arrived = sum(share for share, there in ends if there)
        return arrived > 0.0 and arrived >= OFTEN * sum(share for share, _ in ends)

    def cut_off(self, here: Situation, wanted: Situation) -> bool:
        """Whether all that can be done from a situation has been tried often, and none of it leads to a wanted one."""
        seen, ahead, tries = {here}, [here], 0
        while ahead:
            situation = ahead.pop()
            if wanted & situation:
                return False
            for skill in self._horizons_s:
                if skill not in situation:
                    continue
                counted = self._counted.get((situation, skill))
                if counted is None or counted.tries < TRIES_EACH:
                    return False
                tries += counted.tries
                new = {after for after, share in counted.after.items() if share >= FADED} - seen
                seen |= new
                ahead += new
        return not any(skill in here for skill in self._horizons_s) or tries >= TRIES

    def _costs(self, wanted: Situation) -> dict[Situation, float]:
        """Expected robot time from each situation that was seen, by value iteration."""
        costs = dict.fromkeys(self._situations, 0.0)
        for _ in range(SWEEPS):
            change = 0.0
            for situation in costs:
                able = [skill for skill in self._horizons_s if skill in situation]
                if wanted & situation:
                    new = 0.0
                elif able:
                    new = min(self._cost(situation, skill, wanted, costs) for skill in able)
                else:
                    new = PERSON_S
                change = max(change, abs(new - costs[situation]))
                costs[situation] = new
            if change < ENOUGH_S:
                break
        return costs

    def _cost(self, before: Situation, skill: str, wanted: Situation, costs: Mapping[Situation, float]) -> float:
        """Expected robot time with one skill first; what leads back to the same situation is tried again."""
        counted = self._counted.get((before, skill))
        if counted is None:
            return 2.0 * self._horizons_s[skill]
        total = counted.attempts + HOPE
        elsewhere = sum(
            share * (0.0 if wanted & after else costs[after])
            for after, share in counted.after.items()
            if after != before
        )
        stay = counted.after.get(before, 0.0) + 0.5 * HOPE
        return (counted.took_s * total + elsewhere) / (total - stay)
