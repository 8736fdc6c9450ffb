"""Learning on a robot that drifts: sudden faults of the training ranges that come and go."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks import _daemon
from sim.drift import Drift

FAULTS = {"hours": 24, "faults_per_hour": 120, "repaired_after_s": 45, "wear": False}
"""One or two at a time (`sim.drift_ranges.drawn`)."""
LEAST_S = 3.0
"""Shorter walks, in which a robot has hardly begun to walk, say nothing of what it earns."""


def learn(
    home: Path,
    robot: str,
    minutes: float,
    seed: int,
    settings: Mapping[str, Any],
    *,
    drifts: bool,
    faults_per_hour: float = FAULTS["faults_per_hour"],
) -> None:
    """Run the daemon for so many robot minutes, or go on where it was cut off.

    Args:
        home: where to run; a file beside it says what drifts.
        robot: its name.
        minutes: robot time.
        seed: of the run, and of what drifts.
        settings: by name, such as ``learner.history``.
        drifts: whether faults come and go.
        faults_per_hour: how many come.

    Raises:
        RuntimeError: see `_daemon.run_until`.
    """
    changes = dict(settings)
    if drifts:
        file = home.parent / f"{home.name}-drift.toml"
        file.parent.mkdir(parents=True, exist_ok=True)
        drawn = {"seed": seed, **FAULTS, "faults_per_hour": faults_per_hour}
        lines = [f"{name} = {json.dumps(value)}" for name, value in drawn.items()]
        file.write_text("[random]\n" + "\n".join(lines) + "\n")
        changes["sim.drift"] = str(file)
    told = _daemon.told(changes)
    _daemon.run_until(home, minutes / 60, "--speed", "max", "--seed", str(seed), "--robot", robot, *told)


@dataclass(frozen=True)
class Walked:
    """An attempt of a task that says how well a robot walks."""

    skill: str
    started_s: float
    ended_s: float
    earned: float
    """Mean reward of a step; 0 where it fell, or had earned less."""
    fell: bool


def walks(home: Path) -> list[Walked]:
    """Attempts of tasks that were not aborted, in order; those that were over within `LEAST_S`, in which a robot has
    hardly begun to walk, only where it fell.
    """
    rows = _daemon.query(
        home,
        "SELECT a.skill, a.started_s, a.ended_s, coalesce(a.return, 0.0) / a.steps, a.outcome = 'fall' FROM attempts a "
        "JOIN skills k ON k.name = a.skill WHERE k.kind = 'task' AND a.state = 'finished' AND a.steps > 0 "
        "AND a.outcome != 'aborted' ORDER BY a.id",
    )
    return [
        Walked(skill, started_s, ended_s, 0.0 if fell else max(0.0, earned), bool(fell))
        for skill, started_s, ended_s, earned, fell in rows
        if fell or ended_s - started_s >= LEAST_S
    ]


def as_toml(drifts: Iterable[Drift]) -> str:
    """Drifts as a file that `sim.drift_presets.read_drifts` reads."""
    tables = ([f"{name} = {json.dumps(value)}" for name, value in drift.to_dict().items()] for drift in drifts)
    return "".join("\n".join(("[[drift]]", *lines, "")) for lines in tables)
