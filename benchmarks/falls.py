"""What catching falls saves while skills are learned from nothing: `perdure bench falls --seed 0 --n 60`.

The daemon learns four skills from an empty home: alone, with falls caught once the body leans too far, and with falls
predicted and caught before that. Falls are those of the whole run, between attempts too; returns are those of the last
policies on open floor. ``n`` is in robot minutes, on the Minitaur; the A1, which falls more easily, shows in a quarter
of an hour what differs. In the variants ``shielded`` a learned critic stands before the robot, besides catching;
``two-hours`` are the first two hours with falls predicted and caught; in ``hour-cleared`` a policy acts only after a
safety evaluation.

    python -m benchmarks.falls [--only a1-caught a1-alone] [--seeds 0 1 2 3 4]
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import _daemon
from benchmarks._study import Cells, Study, main
from benchmarks.walk import against, end_of_run, learn

DEFAULT_N = 60


def run(seed: int, n: int) -> dict[str, Any]:
    """Learn on the Minitaur for ``n`` robot minutes in each way.

    Returns:
        What `cell` returns for each, by its name.
    """
    return {kind: cell({**VARIANTS[f"minitaur-{kind}"], "minutes": n}, seed) for kind in KINDS}


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One robot, one seed.

    Returns:
        ``falls``, ``interventions``, ``return_mean``, ``speed`` (see `benchmarks.walk.end_of_run`), ``catches`` (falls
        that were caught), and ``falls_min``: robot minutes at which each fall began.
    """
    robot = settings["robot"]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        learn(home, seed, settings["minutes"], robot, settings["set"])
        began = _daemon.query(home, "SELECT kind, started_s FROM self_recoveries ORDER BY started_s")
        return end_of_run(robot, home) | {
            "catches": sum(kind == "caught" for kind, _ in began),
            "falls_min": [round(started_s / 60.0, 2) for kind, started_s in began if kind == "fall"],
        }


def conclude(cells: Cells) -> dict[str, Any]:
    """Falls, interventions and returns of each way against those of the robot alone, by robot."""
    pairs = [
        (f"{robot}-alone", f"{robot}-{kind}") for robot in ROBOT_MINUTES for kind in (*list(KINDS)[1:], "shielded")
    ]
    compared = {other: against(plain, other, cells) for plain, other in pairs}
    return {other: facts for other, facts in compared.items() if facts}


KINDS = {
    "alone": {"safety.catch": False},
    "caught": {"safety.catch": True, "learner.predict_falls": False},
    "foreseen": {"safety.catch": True, "learner.predict_falls": True},
}
"""Settings of each way: nothing is done about falls; leans are caught; falls are predicted, too."""
ROBOT_MINUTES = {"a1": 15, "minitaur": DEFAULT_N}
SHIELDED = {"safety.catch": True, "learner.shield": True}
"""Leans are caught, and what a learned critic finds too risky is replaced before."""
CLEARED = {**KINDS["foreseen"], "safety.clearance_every": 10}
"""Besides, only policies act that have passed a safety evaluation, the newest of every ten attempts."""
LONG_MINUTES = 120
"""Published for a robot's first 115 minutes: fewer than five falls (Yang et al. 2022, arXiv 2203.02638)."""
VARIANTS: dict[str, dict[str, Any]] = {
    f"{robot}-{kind}": {"robot": robot, "minutes": minutes, "set": settings}
    for robot, minutes in ROBOT_MINUTES.items()
    for kind, settings in KINDS.items()
} | {
    f"{robot}-{name}": {"robot": robot, "minutes": minutes, "set": settings}
    for robot in ROBOT_MINUTES
    for name, minutes, settings in (
        ("shielded", ROBOT_MINUTES[robot], SHIELDED),
        ("two-hours", LONG_MINUTES, KINDS["foreseen"]),
        ("hour-cleared", 60, CLEARED),
    )
}

STUDY = Study(
    name="falls",
    module="benchmarks.falls",
    variants=VARIANTS,
    cell=cell,
    figures={"falls": "lower", "interventions": "lower", "return_mean": "higher"},
    seeds=(0, 1, 2, 3, 4),
    conclude=conclude,
)

if __name__ == "__main__":
    main(STUDY)
