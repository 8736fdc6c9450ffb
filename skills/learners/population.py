"""Several learners with different settings on one replay memory; each skill acts with the one that does best at it.

No robot time goes into comparing them: what judges a member are the attempts in which it acted (review, section 4.1).
Which member acts next is a bandit whose arms drift, because all of them go on learning: discounted means with an
upper-confidence bonus (Garivier and Moulines 2011, arXiv 0805.3415, section 2.1), so that each is tried again now and
then.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skills.learners.learner import Arrays, Meta
from skills.policy import PolicyWeights

if TYPE_CHECKING:
    from skills.learners.learner import AttemptSummary, Learner

Float64 = NDArray[np.float64]

MEMBER_STRIDE = 10**12
"""A member's policies have versions ``member * MEMBER_STRIDE + own version``, so that whoever has a version knows whose
it is. Those of the first are its own, as those of a learner alone."""
STATE_FORMAT = 1


def member_of(version: int) -> int:
    """Place of the member that made a policy version; 0 for a learner alone."""
    return version // MEMBER_STRIDE


class Standings:
    """How well each member does at each skill, by its own attempts; what is old counts less and less."""

    FORGETTING = 0.95
    """What an attempt counts after one more attempt of its skill: about the last 20 decide."""
    BONUS = 0.7
    """Weight of the bonus, in standard deviations of the skill's rewards."""

    def __init__(self, members: int, skills: int) -> None:
        """Begin with nothing known."""
        self.count: Float64 = np.zeros((members, skills))
        """Discounted number of attempts. Shape: (M, K)."""
        self.total: Float64 = np.zeros((members, skills))
        """Discounted sum of their mean rewards. Shape: (M, K)."""
        self.square: Float64 = np.zeros((members, skills))
        """Discounted sum of their squares. Shape: (M, K)."""

    def attempted(self, member: int, skill: int, mean_reward: float) -> None:
        """Note an attempt's mean reward per step."""
        for array, value in ((self.count, 1.0), (self.total, mean_reward), (self.square, mean_reward**2)):
            array[:, skill] *= self.FORGETTING
            array[member, skill] += value

    def mean(self, member: int, skill: int) -> float:
        """Discounted mean reward; minus infinity for a member that has not acted."""
        count = self.count[member, skill]
        return float(self.total[member, skill] / count) if count > 0.0 else -math.inf

    def best(self, skill: int) -> int:
        """The member with the highest mean; the first before any has acted."""
        return max(range(len(self.count)), key=lambda member: self.mean(member, skill))

    def next_to_act(self, skill: int) -> int:
        """The member with the highest bound X_i + c s sqrt(log n / N_i); one that never acted comes first."""
        never = np.flatnonzero(self.count[:, skill] == 0.0)
        if len(never):
            return int(never[0])
        count, total = self.count[:, skill], self.total[:, skill]
        n = count.sum()
        spread = math.sqrt(max(0.0, self.square[:, skill].sum() / n - (total.sum() / n) ** 2))
        bound = total / count + self.BONUS * spread * np.sqrt(max(0.0, math.log(n)) / count)
        return int(bound.argmax())


class PopulationLearner:
    """Several learners behind the protocol of one."""

    def __init__(self, members: Sequence[Learner], skills: Sequence[str]) -> None:
        """Join learners.

        Args:
            members: learners of the same skills on the same replay memory.
            skills: their names, in the members' order.

        Raises:
            ValueError: there is no member.
        """
        if not members:
            raise ValueError("a population needs at least one member; got none")
        self.standings = Standings(len(members), len(skills))
        self._members = tuple(members)
        self._skills = tuple(skills)

    @property
    def updates(self) -> int:
        """Updates of the member that has taken most: all that were asked for, unless every member has refused some."""
        return max(member.updates for member in self._members)

    @property
    def refused_reason(self) -> str:
        """Why members undid their last updates."""
        reasons = ((index, member.refused_reason) for index, member in enumerate(self._members))
        return "; ".join(f"member {index}: {reason}" for index, reason in reasons if reason)

    def update(self, n: int, *, offline: bool = False) -> dict[str, float]:
        """Take ``n`` updates of each member; their figures come under ``member<i>.``, besides standings per skill."""
        figures: dict[str, float] = {}
        for index, member in enumerate(self._members):
            figures |= {f"member{index}.{name}": value for name, value in member.update(n, offline=offline).items()}
        figures |= {"updates": float(self.updates), "refused": float(bool(self.refused_reason))}
        for skill, name in enumerate(self._skills):
            figures[f"best.{name}"] = float(self.standings.best(skill))
            for index in range(len(self._members)):
                if self.standings.count[index, skill]:
                    figures[f"member{index}.reward.{name}"] = self.standings.mean(index, skill)
        return figures

    def attempted(self, summary: AttemptSummary) -> None:
        """Credit an attempt to the member that acted in it, and tell that one of it under its own version.

        Standings pass over evaluations: without exploration a policy earns more, and only the best gets any.
        """
        if summary.policy_version is None or not math.isfinite(summary.mean_reward):
            return
        member, own = divmod(summary.policy_version, MEMBER_STRIDE)
        if member < len(self._members):
            if not summary.evaluation:
                self.standings.attempted(member, summary.skill, summary.mean_reward)
            self._members[member].attempted(replace(summary, policy_version=own))

    def candidates(self) -> tuple[PolicyWeights, ...]:
        """For each skill the policy of the best member, then that of the member to be tried next if it is another."""
        offered = [member.candidates() for member in self._members]
        chosen = []
        for skill, name in enumerate(self._skills):
            for member in dict.fromkeys((self.standings.best(skill), self.standings.next_to_act(skill))):
                able = [weights for weights in offered[member] if weights.skill in (None, name)]
                base = member * MEMBER_STRIDE
                chosen += [replace(weights, skill=name, version=base + weights.version) for weights in able]
        return tuple(chosen)

    def state(self) -> tuple[Arrays, Meta]:
        """States of all members, their arrays under ``member<i>.``, and the standings."""
        s = self.standings
        arrays: Arrays = {"count": s.count.copy(), "total": s.total.copy(), "square": s.square.copy()}
        metas = []
        for index, member in enumerate(self._members):
            its, meta = member.state()
            arrays |= {f"member{index}.{name}": array for name, array in its.items()}
            metas.append(meta)
        meta = {"kind": "population", "format": STATE_FORMAT, "skills": list(self._skills), "members": metas}
        return arrays, meta

    def load_state(self, arrays: Arrays, meta: Meta) -> None:
        """Continue from what `state` returned.

        Raises:
            ValueError: the state is of another kind, or one of a member does not fit it; nothing is changed then.
        """
        self._check(arrays, meta)
        before = [member.state() for member in self._members]
        try:
            for index, member in enumerate(self._members):
                prefix = f"member{index}."
                its = {name.removeprefix(prefix): a for name, a in arrays.items() if name.startswith(prefix)}
                member.load_state(its, meta["members"][index])
        except ValueError as error:
            for member, (old_arrays, old_meta) in zip(self._members, before, strict=True):
                member.load_state(old_arrays, old_meta)
            raise ValueError(f"member {index} of the population: {error}") from error
        s = self.standings
        s.count, s.total, s.square = (arrays[name].copy() for name in ("count", "total", "square"))

    def _check(self, arrays: Arrays, meta: Meta) -> None:
        wanted: Meta = {"kind": "population", "format": STATE_FORMAT, "skills": list(self._skills)}
        for key, value in wanted.items():
            if meta.get(key) != value:
                raise ValueError(f"learner state has {key} {meta.get(key)!r}; this learner needs {value!r}")
        if len(meta.get("members", ())) != len(self._members):
            raise ValueError(
                f"learner state has {len(meta.get('members', ()))} members; this population has {len(self._members)}"
            )
        shape = self.standings.count.shape
        for name in ("count", "total", "square"):
            given = arrays.get(name)
            if given is None or given.shape != shape or not np.isfinite(given).all():
                raise ValueError(f"learner state has no finite {shape} array {name}; load an older checkpoint")
