"""What the books say of the curriculum: the attempts that count, and what a run goes by."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterator, Sequence

from agent.config import Config
from agent.curriculum import TELLING, Curriculum, Tried, needs_of
from agent.drift_watch import FINDINGS
from agent.quarantine import SKILL_QUARANTINED
from meta.drift_monitor import Finding
from persistence.store import Store
from persistence.transactions import StoreBase
from skills.skill import Skill

BEGUN = "curriculum.begun"
"""Kind of the event that holds what the tasks of a run need, and how practice is shared out."""
_TRIED = f"""
SELECT a.skill, a.outcome = 'success' AS success, a.return / a.steps AS mean_reward, a.ended_s
FROM attempts a JOIN skills k ON k.name = a.skill
WHERE a.state = 'finished' AND NOT a.evaluation AND (a.policy_version IS NOT NULL OR k.family = '')
    AND a.outcome IN ({", ".join("?" * len(TELLING))})
ORDER BY a.id
"""
_QUARANTINED = """
SELECT f.detail ->> 'skill' AS skill FROM faults f
WHERE f.kind = ? AND f.run_id = (SELECT max(id) FROM runs) ORDER BY f.id
"""


def open_curriculum(store: Store, tasks: Sequence[Skill], config: Config, now_s: float) -> Curriculum:
    """The curriculum of a run that begins now; enters what it goes by into the books.

    Raises:
        ValueError: tasks wait for each other.
    """
    needs, mode = needs_of(tasks), config.run.curriculum
    store.append_event(BEGUN, now_s, {"mode": mode, "needs": needs})
    return Curriculum(needs, mode, tries(store))


def stored_curriculum(store: StoreBase) -> Curriculum | None:
    """That of the newest run, as it stands now; None: no run has begun one."""
    rows = store.rows("SELECT data FROM events WHERE kind = ? ORDER BY seq DESC LIMIT 1", (BEGUN,))
    if not rows:
        return None
    begun = json.loads(rows[0]["data"])
    needs = {name: tuple(needed) for name, needed in begun["needs"].items()}
    made = Curriculum(needs, begun["mode"], tries(store))
    for row in store.rows(_QUARANTINED, (SKILL_QUARANTINED,)):
        made.leave_out(row["skill"])
    return made


def tries(store: StoreBase) -> Iterator[Tried]:
    """The attempts that count, oldest first.

    Not those that were evaluations, that something else than the skill ended, that a script made in a policy's place,
    or of a robot that was not what it was: what such a robot cannot do need not be learned again.
    """
    marks = ", ".join("?" * len(FINDINGS))
    found = store.rows(f"SELECT robot_s, kind FROM drift_events WHERE kind IN ({marks}) ORDER BY id", FINDINGS)
    times = [row["robot_s"] for row in found]
    for row in store.rows(_TRIED, sorted(TELLING)):
        last = bisect_right(times, row["ended_s"]) - 1
        if last < 0 or found[last]["kind"] != Finding.CHANGED:
            yield Tried(skill=row["skill"], success=bool(row["success"]), mean_reward=row["mean_reward"] or 0.0)
