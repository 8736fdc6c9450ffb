"""Which of a learner's candidates acts in an attempt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import structlog

from skills.learners.population import member_of
from skills.policy import PolicyWeights


class Selection:
    """Follows the order in which a learner offers its candidates: the best first, then those it wants tried.

    An attempt that explores takes what is to be tried and has not acted since it was first offered; all others take the
    best. A learner that is an attempt behind is thus not made to try the same twice. What is still on offer once all of
    it has been tried and the best has acted gave the learner nothing to judge by: it is tried again.
    """

    def __init__(self) -> None:
        """Begin with nothing tried."""
        self._tried: dict[str, set[int]] = {}
        self._best: dict[str, int] = {}
        self._log = structlog.get_logger()

    def choose(
        self, skill: str, able: Sequence[PolicyWeights], *, explore: bool, figures: Mapping[str, float]
    ) -> PolicyWeights:
        """The policy of the next attempt.

        Args:
            skill: name of the skill.
            able: candidates that serve it, in the learner's order; at least one.
            explore: whether the attempt may try something out.
            figures: what the learner last said of itself, to log beside a change of the best member.
        """
        best, *to_try = able
        self._note_best(skill, member_of(best.version), figures)
        tried = self._tried.get(skill, set()) & {weights.version for weights in to_try}
        self._tried[skill] = tried
        for weights in to_try:
            if explore and weights.version not in tried:
                tried.add(weights.version)
                return weights
        if explore:
            tried.clear()
        return best

    def _note_best(self, skill: str, member: int, figures: Mapping[str, float]) -> None:
        if self._best.setdefault(skill, 0) != member:
            self._best[skill] = member
            rewards = {name: value for name, value in figures.items() if name.endswith(f".reward.{skill}")}
            self._log.info("population.best", skill=skill, member=member, **rewards)
