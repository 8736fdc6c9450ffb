"""Why the tasks of a home are practised as they are, in plain words, from its books alone."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from agent.curriculum import (
    ENOUGH,
    FEWEST,
    MASTERY,
    WINDOW,
    Curriculum,
    History,
    Standing,
    mean_reward,
    success_rate,
    successes_for,
)
from agent.curriculum_books import stored_curriculum
from persistence.transactions import StoreBase

NEWEST = 100
"""Attempts of which a task's share is told."""
SAME = 0.1
"""Less progress is told as none."""
_SHARES = """
SELECT a.skill FROM attempts a WHERE a.state = 'finished' AND NOT a.evaluation
    AND a.skill IN (SELECT value FROM json_each(?)) ORDER BY a.id DESC LIMIT ?
"""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """Why one task is practised as it is."""

    skill: str
    standing: Standing
    successes: int
    """Of ``attempts``."""
    attempts: int
    """The newest ones that count."""
    success_rate: float | None
    """None: nothing counts yet."""
    lower: float
    """Ends of the interval of the success rate."""
    upper: float
    progress: float | None
    """How far success or reward went lately, in [0, 1]; None: too few attempts to tell."""
    waits_for: tuple[str, ...]
    """What has to succeed more often first."""
    wanted_share: float
    """Which share of the practice it should have."""
    got_share: float | None
    """Which share of the newest attempts it had; None: there was none."""
    reason: str


def explain(store: StoreBase, newest: int = NEWEST) -> tuple[Explanation, ...]:
    """Each task of the newest run, in the order of names; empty where no run has begun a curriculum."""
    curriculum = stored_curriculum(store)
    if curriculum is None:
        return ()
    names = sorted(curriculum.needs)
    had = Counter(row["skill"] for row in store.rows(_SHARES, (json.dumps(names), newest)))
    return tuple(_explanation(curriculum, name, had) for name in names)


def _explanation(curriculum: Curriculum, name: str, had: Counter[str]) -> Explanation:
    history = curriculum.histories[name]
    lower, upper = history.interval
    attempts = len(history.newest)
    return Explanation(
        skill=name,
        standing=curriculum.standing(name),
        successes=history.successes,
        attempts=attempts,
        success_rate=history.successes / attempts if attempts else None,
        lower=lower,
        upper=upper,
        progress=history.progress,
        waits_for=curriculum.waits_for(name),
        wanted_share=curriculum.shares().get(name, 0.0),
        got_share=had[name] / had.total() if had else None,
        reason=_reason(curriculum, name),
    )


def _reason(curriculum: Curriculum, name: str) -> str:
    history, standing = curriculum.histories[name], curriculum.standing(name)
    has = _has(history, "mastered", MASTERY, FEWEST)
    if standing is Standing.WAITING:
        needed = {other: curriculum.histories[other] for other in curriculum.waits_for(name)}
        waits = (f"{other} ({_has(history, 'enough', ENOUGH)})" for other, history in needed.items())
        return f"waiting, tried now and then: needs {', '.join(waits)}"
    if not curriculum.directed:
        why = "uniform" if curriculum.mode == "uniform" else "none waits for another"
        return f"practised in turn with the others ({why}): {_lately(history)}"
    if standing is Standing.MASTERED:
        return f"mastered ({has}): practised now and then to keep it"
    if standing is Standing.REGRESSED:
        return f"practised again first: was mastered, and is not any more ({has})"
    shares = curriculum.shares()
    most = shares[name] == max(shares.values()) > min(shares.values())
    return f"practised{' most' if most else ''}: {_lately(history)}"


def _has(history: History, purpose: str, least: float, fewest: int = 0) -> str:
    """How many successes there are, and how many there have to be."""
    attempts = len(history.newest)
    counted = next(n for n in range(max(attempts, fewest), WINDOW + 1) if successes_for(least, n) is not None)
    return f"{history.successes} of {attempts}, {purpose} from {successes_for(least, counted)} of {counted}"


def _lately(history: History) -> str:
    """What has changed: success, or where that has not the reward."""
    if history.progress is None:
        return f"new, {history.successes} of {len(history.newest)} so far"
    older, newer = history.halves()
    before, now = success_rate(older), success_rate(newer)
    if abs(now - before) >= SAME:
        return f"success went from {before:.2f} to {now:.2f}"
    earned = f"reward per step went from {mean_reward(older):.2f} to {mean_reward(newer):.2f}"
    return f"success stays at {now:.2f}" + (f", {earned}" if history.progress >= SAME else "")
