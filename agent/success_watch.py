"""Watches for success that changes without cause.

A skill that gets better earns more reward while it succeeds more often, and one that gets worse less. Where the share
of successes jumps and the reward does not go with it, it may be the telling that has changed: a classifier that met
something new, a sensor that reports what is not there. Somebody has to look before the figures are believed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from agent.two_samples import rank_sum, two_proportions
from persistence.records import Outcome
from persistence.transactions import StoreBase

WINDOW = 30
"""Attempts that are compared with as many before them."""
SIGNIFICANT = 1e-4
"""A jump of the share of successes has a p-value below this."""
MOVED = 0.05
"""The reward has moved the same way if its p-value is no higher than this."""
TELLING = (Outcome.SUCCESS, Outcome.TIMEOUT, Outcome.FALL, Outcome.UNSAFE)
"""Outcomes that say something of the skill; aborts and faults come from elsewhere and are in the books."""
SUCCESS_WITHOUT_CAUSE = "success_without_cause"
"""Kind of its rows among the drift events."""
_EARLIER = """
SELECT a.skill, a.outcome, a.return / a.steps AS mean_reward FROM attempts a
WHERE a.steps > 0 AND a.return IS NOT NULL AND a.phase_id = (SELECT max(id) FROM phases)
    AND a.ended_s > coalesce(
        (SELECT max(d.robot_s) FROM drift_events d WHERE d.kind = ? AND d.detail ->> 'skill' = a.skill), -1.0
    )
ORDER BY a.id
"""


@dataclass(frozen=True, kw_only=True)
class Jump:
    """Success that changed without cause."""

    skill: str
    before: float
    """Share of successes in the attempts before."""
    after: float
    """In the newest ones."""
    attempts: int
    """Of each."""
    p_success: float
    """How probable so much of a change is by chance."""
    p_reward: float
    """How probable so much of a change of the reward in the same direction is."""


Tried = tuple[bool, float]
"""Whether an attempt succeeded, and its mean reward per step."""
Told = Callable[[Jump, float], None]
"""Told of a jump and the robot time."""


class SuccessWatch:
    """Compares the newest attempts of each skill with those before them."""

    def __init__(self, told: Told, earlier: Mapping[str, Sequence[Tried]] | None = None, window: int = WINDOW) -> None:
        """Begin with attempts of earlier runs, oldest first, by skill."""
        self._told, self._window = told, window
        self._tried = {skill: deque(tried, maxlen=2 * window) for skill, tried in (earlier or {}).items()}

    def attempted(self, skill: str, outcome: Outcome, mean_reward: float, robot_s: float) -> None:
        """An attempt is over."""
        if outcome not in TELLING:
            return
        tried = self._tried.setdefault(skill, deque(maxlen=2 * self._window))
        tried.append((outcome is Outcome.SUCCESS, mean_reward))
        jump = find_jump(skill, tried) if len(tried) == tried.maxlen else None
        if jump is not None:
            tried.clear()  # what comes now is compared with itself: one alarm for one change
            self._told(jump, robot_s)


def find_jump(skill: str, tried: Sequence[Tried]) -> Jump | None:
    """The jump between the older half of these attempts and the newer half, if there is one."""
    n = len(tried) // 2
    success, reward = zip(*tried, strict=True)
    before, after = sum(success[:n]), sum(success[n:])
    p_success = two_proportions(after, n, before, n)
    if p_success >= SIGNIFICANT:
        return None
    newer, older = reward[n:], reward[:n]
    p_reward = rank_sum(newer, older) if after > before else rank_sum(older, newer)
    if p_reward <= MOVED:
        return None
    return Jump(skill=skill, before=before / n, after=after / n, attempts=n, p_success=p_success, p_reward=p_reward)


def earlier_attempts(store: StoreBase, window: int = WINDOW) -> dict[str, deque[Tried]]:
    """The newest attempts of each skill of the current phase, since its last alarm; oldest first."""
    found: dict[str, deque[Tried]] = {}
    for row in store.rows(_EARLIER, (SUCCESS_WITHOUT_CAUSE,)):
        if row["outcome"] in TELLING:
            tried = found.setdefault(row["skill"], deque(maxlen=2 * window))
            tried.append((row["outcome"] == Outcome.SUCCESS, row["mean_reward"]))
    return found
