"""What learning under constraints saves: `perdure bench constraints --seed 0 --n 60`.

Two learners with the same reward learn four skills from nothing: one without constraints, one that begins careful and
keeps roll, pitch, power and jerk within their limits. Catching falls is off in both. Falls are those of the whole run;
returns are those of the last policies on open floor, by the same reward, without the price of costs. ``n`` is in robot
minutes, on the Minitaur; the A1, which falls more easily, shows in a quarter of an hour what differs.

    python -m benchmarks.constraints [--only a1-constrained a1-unconstrained] [--seeds 0 1 2 3 4]
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import _daemon
from benchmarks._study import Cells, Study, main
from benchmarks.walk import against, end_of_run, learn

DEFAULT_N = 60


def run(seed: int, n: int) -> dict[str, Any]:
    """Learn on the Minitaur for ``n`` robot minutes with constraints and without them.

    Returns:
        What `cell` returns for each of both, by its name.
    """
    return {name: cell({**VARIANTS[f"minitaur-{name}"], "minutes": n}, seed) for name in KINDS}


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One robot, one learner, one seed.

    Returns:
        ``falls``, ``interventions``, ``return_mean`` (of all skills), ``speed`` per skill, and ``multipliers`` (robot
        minutes and the learner's prices and costs at each stored policy; empty without constraints).
    """
    robot, minutes = settings["robot"], settings["minutes"]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        learn(home, seed, minutes, robot, {"learner.constraints": settings["constrained"], "safety.catch": False})
        return end_of_run(robot, home) | {"multipliers": _multipliers(home)}


def _multipliers(home: Path) -> list[tuple[float, dict[str, float]]]:
    """Robot minutes and prices of each stored policy."""
    stored = _daemon.query(home, "SELECT robot_s, figures FROM policies ORDER BY robot_s")
    return [(round(s / 60.0, 2), prices) for s, said in stored if (prices := _prices(json.loads(said)))]


def _prices(figures: Mapping[str, float]) -> dict[str, float]:
    return {name: round(price, 5) for name, price in figures.items() if name.startswith(("lambda.", "cost."))}


def conclude(cells: Cells) -> dict[str, Any]:
    """Falls, interventions and returns of the constrained learner against the unconstrained, by robot."""
    compared = {robot: against(*(f"{robot}-{kind}" for kind in KINDS), cells) for robot in ROBOT_MINUTES}
    return {robot: facts for robot, facts in compared.items() if facts}


KINDS = ("unconstrained", "constrained")
ROBOT_MINUTES = {"a1": 15, "minitaur": DEFAULT_N}
VARIANTS: dict[str, dict[str, Any]] = {
    f"{robot}-{kind}": {"robot": robot, "constrained": kind == "constrained", "minutes": minutes}
    for robot, minutes in ROBOT_MINUTES.items()
    for kind in KINDS
}

STUDY = Study(
    name="constraints",
    module="benchmarks.constraints",
    variants=VARIANTS,
    cell=cell,
    figures={"falls": "lower", "interventions": "lower", "return_mean": "higher"},
    seeds=(0, 1, 2, 3, 4),
    conclude=conclude,
)

if __name__ == "__main__":
    main(STUDY)
