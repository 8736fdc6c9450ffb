"""What follows when a robot is not what it was: go on while that works, then with care, then not without a person.

How well a skill is done is judged by what it earned while the robot was as usual: one attempt in ten was worse than the
worst tenth of those, and of a robot that still can do it hardly more are.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Mapping
from typing import Protocol

from agent.drift_watch import LAST_FINDING
from agent.success_watch import TELLING
from meta.drift_monitor import Finding
from persistence.records import Outcome
from persistence.transactions import StoreBase

WINDOW = 20
"""Newest attempts of a changed robot that are judged together (reliability figures: performance below a floor for as
many attempts)."""
FEWEST, MOST = 10, 40
"""Attempts of a skill while the robot was as usual: so many must be known, and no more are."""
WORST = 0.1
"""Share of those that counts as badly done."""
FLOOR = 0.5
"""Where a smaller share of attempts is done well, the robot is degraded."""
CALLS = 1
"""Calls of a changed robot that a person may answer by putting it back; a further one is for a repair."""
_EARLIER = f"""
SELECT a.skill, a.outcome, a.return / a.steps AS mean_reward FROM attempts a
WHERE a.steps > 0 AND a.return IS NOT NULL AND coalesce(({LAST_FINDING}), ?1) = ?1 ORDER BY a.id
"""
DRIFTED = "drifted"
"""Cause of an intervention: the robot is not what it was, and cannot do what it could."""


class Watch(Protocol):
    """What says whether the robot is what it was."""

    @property
    def changed(self) -> bool:
        """Whether it is not."""

    @property
    def known(self) -> str:
        """What is known to have drifted, made up for or not; empty: nothing."""


def stored_usual(store: StoreBase) -> dict[str, deque[float]]:
    """Mean rewards of the newest attempts of each skill in which nothing had been found of the robot, or that it was as
    usual again; oldest first, minus infinity for a fall.
    """
    found: dict[str, deque[float]] = {}
    for row in store.rows(_EARLIER, (Finding.CALM,)):
        if row["outcome"] in TELLING:
            earned = -math.inf if row["outcome"] == Outcome.FALL else row["mean_reward"]
            found.setdefault(row["skill"], deque(maxlen=MOST)).append(earned)
    return found


class DriftLadder:
    """How far down a changed robot is."""

    def __init__(
        self,
        watch: Watch,
        told: Callable[[float], None] = lambda share: None,
        usual: Mapping[str, deque[float]] | None = None,
    ) -> None:
        """Begin at the top.

        Args:
            watch: says whether the robot is what it was.
            told: gets the share of attempts done well when the robot begins to be degraded.
            usual: what `stored_usual` knows from runs before.
        """
        self.degraded = False
        """Whether attempts are to be made with care."""
        self._watch, self._told = watch, told
        self._usual = dict(usual or {})
        """Mean rewards of the newest attempts of each skill while the robot was as usual."""
        self._well: deque[bool] = deque(maxlen=WINDOW)
        """Whether the newest attempts of the changed robot were done well."""
        self._with_care = 0
        self._calls = 0
        """Calls for a person since the robot changed."""

    @property
    def hopeless(self) -> bool:
        """Whether attempts with care are done no better: a person has to look."""
        return self.degraded and self._with_care >= WINDOW

    def attempted(self, skill: str, mean_reward: float) -> None:
        """An attempt is over that nothing cut short, or that ended in a fall, whose reward is minus infinity."""
        usual = self._usual.setdefault(skill, deque(maxlen=MOST))
        if not self._watch.changed:
            self._calls = 0
            if not self._watch.known:  # else it is not what it was, however well that is made up for
                usual.append(mean_reward)
            self.start_over()
        elif len(usual) >= FEWEST:
            fell = mean_reward == -math.inf
            self._well.append(not fell and mean_reward >= sorted(usual)[int(WORST * len(usual))])
            self._judge()

    def called(self, cause: str) -> str:
        """A person is called for a cause. Returns what to call them for: one who puts a broken robot back on its feet
        does so again and again.
        """
        if not self._watch.changed:
            return cause
        self._calls += 1
        return DRIFTED if self._calls > CALLS else cause

    def start_over(self) -> None:
        """The robot is as usual, or a person has seen to it."""
        self._well.clear()
        self.degraded, self._with_care = False, 0

    def _judge(self) -> None:
        self._with_care += self.degraded
        if len(self._well) < WINDOW:
            return
        share = sum(self._well) / WINDOW
        if share >= FLOOR:
            self.degraded, self._with_care = False, 0
        elif not self.degraded:
            self.degraded = True
            self._told(share)
