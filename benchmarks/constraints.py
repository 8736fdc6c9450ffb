"""What learning under constraints saves: `perdure bench constraints --seed 0 --n 60`.

Two learners with the same reward learn four skills from nothing for ``n`` robot minutes: one without constraints, one
that keeps roll, pitch, power and jerk within their limits. Fall prediction does not exist in either. Falls are those of
the whole run; returns are those of the last policies on open floor, by the same reward, without the price of costs.

    python -m benchmarks.constraints [--only constrained] [--seeds 0 1 2 3 4]

The constrained learner is the one of `benchmarks.walk`, seed for seed. Homes that the walking study kept (see
``PERDURE_BENCH_HOMES`` there) are judged here as they are, which saves the robot hour.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agent.evaluation import summary
from benchmarks import _daemon
from benchmarks._statistics import estimate
from benchmarks._study import Cells, Study, main
from benchmarks.walk import OPEN_FLOOR, Judge, kept_home, learn, value
from benchmarks.walk import STUDY as WALKING
from skills.walk import WALKING_SKILLS

DEFAULT_N = 60
ATTEMPTS = 5
LAST_POLICIES = 3
"""Policies two robot minutes apart whose mean is the final return."""


def run(seed: int, n: int, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Learn with or without constraints; without settings, with them.

    Returns:
        ``falls``, ``interventions``, ``return_mean`` (of all skills), ``speed`` per skill, ``multipliers`` (robot
        minutes and the learner's prices and costs at each stored policy; empty without constraints), and
        ``learned_in`` if the run was another study's.
    """
    constrained = (settings or {}).get("constrained", True)
    # Only a cell that the walking study has saved has a home that ran to its end.
    walked = constrained and n == DEFAULT_N and WALKING.path("minitaur", seed).exists()
    kept = kept_home("minitaur", seed) if walked else None
    if kept is not None and kept.is_dir():
        return judged(kept) | {"learned_in": "benchmarks.walk"}
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        learn(home, seed, n, "minitaur", {"learner.constraints": constrained})
        return judged(home)


def judged(home: Path) -> dict[str, Any]:
    """Figures of a run that has ended; those of `run`."""
    judge = Judge("minitaur", home)
    policies = list(_daemon.kept_policies(home / "kept").values())[-LAST_POLICIES:]
    figures = {
        skill: [
            summary(judge.attempts(skill, policy, ATTEMPTS, dynamics="nominal", workspace=OPEN_FLOOR))
            for policy in policies
        ]
        for skill in WALKING_SKILLS
    }
    metrics = _daemon.perdure_json(home, "metrics")
    stored = _daemon.query(home, "SELECT robot_s, figures FROM policies ORDER BY robot_s")
    return {
        "falls": metrics["falls"],
        "interventions": metrics["interventions"],
        "return_mean": float(np.mean([one["return_mean"] for each in figures.values() for one in each])),
        "speed": {
            skill.name: float(np.mean([value(skill, one["measures"]) for one in each]))
            for skill, each in figures.items()
        },
        "multipliers": [(round(s / 60.0, 2), prices) for s, said in stored if (prices := _prices(json.loads(said)))],
    }


def _prices(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(price, 5) for name, price in figures.items() if name.startswith(("lambda.", "cost."))}


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One learner, one seed."""
    return run(seed, settings["minutes"], settings)


def conclude(cells: Cells) -> dict[str, Any]:
    """Falls of all seeds together, and returns, of the constrained learner against the unconstrained."""
    if set(cells) != {"unconstrained", "constrained"}:
        return {}
    falls = {name: sum(cell["falls"] for cell in saved) for name, saved in cells.items()}
    returns = {name: estimate([[cell["return_mean"] for cell in saved]], "higher").iqm for name, saved in cells.items()}
    return {
        "falls_in_all": falls,
        "falls_ratio": falls["constrained"] / falls["unconstrained"] if falls["unconstrained"] else None,
        "return_ratio": returns["constrained"] / returns["unconstrained"],
    }


STUDY = Study(
    name="constraints",
    module="benchmarks.constraints",
    variants={
        "unconstrained": {"constrained": False, "minutes": DEFAULT_N},
        "constrained": {"constrained": True, "minutes": DEFAULT_N},
    },
    cell=cell,
    figures={"falls": "lower", "interventions": "lower", "return_mean": "higher"},
    seeds=(0, 1, 2, 3, 4),
    conclude=conclude,
)

if __name__ == "__main__":
    main(STUDY)
