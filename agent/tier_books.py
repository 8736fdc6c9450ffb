"""What a home's books and perdure's library say of the tier of a skill on a robot."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agent.ancestry import ZOO
from agent.attempts import UNSAFE_ENDS
from agent.config import Config
from agent.lineage import Line, line_of
from agent.policies import DEPLOYED, zoo_version
from agent.tiers import Evidence, Standing, standing
from persistence.records import FALL, E10State
from persistence.recovery import CRASH_CAUSE
from persistence.store import Store
from skills.skill import LearnedSkill, Skill

LIBRARY = Path(__file__).resolve().parent.parent / "skills" / "library" / "tiers.json"
"""What the policies of the zoo and the scripts have earned; `python -m benchmarks.tiers` makes it."""
TIER = "tier"
"""Purpose of such evaluations."""
NEWEST = 1000
"""Attempts of tasks that books are read back for: what older ones show says little of a skill that has learned."""
_TASKS = """
SELECT a.skill, a.started_s, a.outcome, a.end_reason FROM attempts a JOIN skills k ON k.name = a.skill
WHERE k.kind = 'task' AND a.state = 'finished' ORDER BY a.id DESC LIMIT ?
"""
_STORED = """
SELECT policy_version, robot, dynamics, seed, figures, wall_utc FROM evaluations
WHERE skill = ? AND purpose = 'tier' ORDER BY id DESC
"""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """The tier of a skill on a robot, and what it rests on."""

    standing: Standing
    version: int | None
    """Policy that a run would begin with; None: a script, or a policy that has learned nothing yet."""
    evidence: Evidence | None = None
    source: str = ""
    """Where the evidence is: ``home`` or ``library``; empty: there is none."""
    evaluated_version: int | None = None
    dynamics: str = ""
    wall_utc: str = ""


def read_evidence(store: Store, skill: str, *, can_fall: bool, newest: int = NEWEST) -> Evidence:
    """What the newest attempts of a home show of a task.

    Calls, falls and time after an attempt of a task, until the next one, are counted for it: its resets and recoveries
    are there for it. A crash of the daemon is no skill's doing.
    """
    tasks = store.rows(_TASKS, (newest,))[::-1]
    starts = [row["started_s"] for row in tasks]

    def of_skill(rows: Sequence[Mapping[str, Any]], at: str) -> list[Mapping[str, Any]]:
        before = ((row, bisect_right(starts, row[at]) - 1) for row in rows)
        return [row for row, index in before if index >= 0 and tasks[index]["skill"] == skill]

    calls = store.rows("SELECT opened_s FROM interventions WHERE cause <> ?", (CRASH_CAUSE,))
    fell = store.rows("SELECT started_s, recovered FROM self_recoveries WHERE kind = ?", (FALL,))
    worked = store.rows("SELECT started_s, ended_s FROM state_intervals WHERE e10 = ?", (E10State.PRODUCTIVE.value,))
    falls = of_skill(fell, "started_s")
    mine = [row for row in tasks if row["skill"] == skill and row["outcome"] != "aborted"]
    return Evidence(
        attempts=len(mine),
        calls=len(of_skill(calls, "opened_s")),
        beyond_limits=sum(row["end_reason"] in UNSAFE_ENDS | {"hard_fence"} for row in mine),
        hours=sum(row["ended_s"] - row["started_s"] for row in of_skill(worked, "started_s")) / 3600.0,
        falls=len(falls),
        got_up=sum(row["recovered"] for row in falls),
        can_fall=can_fall,
    )


def judge(skill: Skill, robots: Sequence[str], config: Config, store: Store | None) -> Judged:
    """The tier of a task, by the newest evidence of the policy that a run would begin with, or of one before it.

    Args:
        skill: the task.
        robots: names of the robot: what it is called as a run's robot, and in its spec.
        config: of the run.
        store: books of its home; None: there are none.
    """
    learned = isinstance(skill, LearnedSkill)
    line = _line(skill, config, store) if isinstance(skill, LearnedSkill) else None
    version = line.versions[0] if line is not None and line.versions else None
    for row in [*_stored(store, skill.name), *_shipped(skill.name)]:
        if row["robot"] not in robots or learned != (row["policy_version"] is not None):
            continue
        if line is not None and row["policy_version"] not in line.versions:
            continue
        evidence = Evidence.of(row["figures"])
        return Judged(
            standing=standing(evidence),
            version=version,
            evidence=evidence,
            source=row["source"],
            evaluated_version=row["policy_version"],
            dynamics=row["dynamics"],
            wall_utc=row["wall_utc"],
        )
    return Judged(standing=standing(None), version=version)


def unearned(tasks: Sequence[Skill], robots: Sequence[str], config: Config, store: Store) -> str:
    """Why the first of these tasks must not be left alone with the robot; empty: all may be."""
    for skill in tasks:
        judged = judge(skill, robots, config, store)
        if judged.standing.missing:
            return (
                f"skill {skill.name!r} is {judged.standing.tier.value} on {robots[0]!r}, and not to be left alone with "
                f"a real robot ({'; '.join(judged.standing.missing)}); let it earn more with `perdure skills tier "
                f"{skill.name} --robot {robots[0]} --earn`, or stay beside the robot and say so with --attended"
            )
    return ""


def evaluation_of(
    skill: Skill, robot: str, evidence: Evidence, version: int | None, dynamics: str = "", seed: int | None = None
) -> dict[str, Any]:
    """Evidence as an evaluation that a home can store; without dynamics it is out of the books of a robot's life."""
    figures = evidence.facts() | {"tier": standing(evidence).tier.value}
    row = {"skill": skill.name, "robot": robot, "policy_version": version, "attempts": evidence.attempts}
    return {**row, "purpose": TIER, "dynamics": dynamics, "seed": seed, "figures": figures}


def _line(skill: LearnedSkill, config: Config, store: Store | None) -> Line:
    """The policy that a run begins with, and its ancestors, that of the zoo among them."""
    if store is not None and config.run.start == DEPLOYED:
        stored = store.rows("SELECT policy_version AS version FROM v_deployed WHERE skill = ?", (skill.name,))
    else:
        newest = "SELECT version FROM policies ORDER BY robot_s DESC, version DESC LIMIT 1"
        stored = store.rows(newest) if store is not None else []
    if store is not None and stored:
        line = line_of(store, stored[0]["version"])
        if line.origin.get("begun") != ZOO:
            return line
        return Line(versions=(*line.versions, line.origin["version"]), origin=line.origin)
    version = zoo_version(config.run.robot, skill.family.name) if config.run.start == "zoo" else None
    return Line(versions=() if version is None else (version,), origin={})


def _stored(store: Store | None, skill: str) -> list[dict[str, Any]]:
    rows = store.rows(_STORED, (skill,)) if store is not None else []
    return [row | {"figures": json.loads(row["figures"]), "source": "home"} for row in rows]


def _shipped(skill: str) -> list[dict[str, Any]]:
    rows = json.loads(LIBRARY.read_text(encoding="utf-8")) if LIBRARY.is_file() else []
    return [row | {"source": "library"} for row in rows if row["skill"] == skill]
