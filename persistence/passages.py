"""From one attempt to the next: where each could start, and where the next one could.

What an attempt leaves behind is measured when the next one begins, with the robot at rest: which skills could start
then. Where a person was called since a task could not start any more, it left nothing to start from.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise

from persistence.records import STUCK
from persistence.transactions import StoreBase

Situation = frozenset[str]
"""Names of the skills that can start; empty: none can, and a person has to come."""

NEWEST = 5000
"""Attempts that are gone through: what older ones led to says little of policies that have changed since."""
_ATTEMPTS = """
SELECT a.run_id, a.skill, a.started_s, a.ended_s, a.could_start,
    (SELECT i.cause FROM interventions i WHERE i.opened_s >= a.ended_s ORDER BY i.opened_s LIMIT 1) AS cause,
    (SELECT min(i.opened_s) FROM interventions i WHERE i.opened_s >= a.ended_s) AS called_s
FROM attempts a WHERE a.state = 'finished' AND a.could_start IS NOT NULL ORDER BY a.id DESC LIMIT ?
"""


@dataclass(frozen=True, kw_only=True)
class Passage:
    """One attempt as a step from situation to situation."""

    skill: str
    before: Situation
    after: Situation
    took_s: float
    """From its start to the start of the next, or to the call for a person."""


def passages(store: StoreBase, newest: int = NEWEST) -> list[Passage]:
    """Those of the newest attempts, oldest first, but what a person or the end of a run cut off from the next one."""
    found: list[Passage] = []
    for row, following in pairwise([*store.rows(_ATTEMPTS, (newest,))[::-1], None]):
        assert row is not None
        called_s, next_s = row["called_s"], None
        if following is not None and following["run_id"] == row["run_id"]:
            next_s = following["started_s"]
        if following is not None and next_s is not None and (called_s is None or called_s > next_s):
            after, until_s = Situation(json.loads(following["could_start"])), next_s
        elif called_s is not None and row["cause"] in STUCK:
            after, until_s = Situation(), called_s
        else:
            continue
        before = Situation(json.loads(row["could_start"]))
        found.append(Passage(skill=row["skill"], before=before, after=after, took_s=until_s - row["started_s"]))
    return found
