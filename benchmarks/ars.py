"""Random search against gradients at equal robot time: `perdure bench ars --seed 0 --n 30`.

``n`` is in robot minutes. The same daemon runs from an empty home with each of both learners: augmented random search
over the trajectory generator (one linear policy per skill) and soft actor-critic. The curves are forward speeds of its
own attempts: evaluations, which do not explore, and all others. Once with all skills, as a user would, and once with
the two that undo each other, so that the search, which learns from nothing but attempts, gets more of them.

All seeds of the study:

    python -m benchmarks.ars
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _daemon
from benchmarks._study import Study, main

DEFAULT_N = 30
SKILL = "walk_forward"
BOTH_WAYS = "walk_forward,walk_backward"
EVALUATE_EVERY_MIN = 3.0
"""Of robot time, for every variant the same; each evaluation takes one attempt of each skill."""
BINS = 12
"""Points of the curve that is kept beside the single attempts."""


def run(seed: int, n: int) -> dict[str, Any]:
    """Learn for ``n`` robot minutes with each learner.

    Returns:
        What `cell` returns for each variant, by its name.
    """
    return {name: cell({**settings, "minutes": n}, seed) for name, settings in VARIANTS.items()}


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One run of the daemon.

    Args:
        settings: ``minutes`` of robot time, ``set`` (further settings as the command line takes them) and ``skills``
            (None means all).
        seed: of the run.

    Returns:
        Figures of `progress`, and ``falls``, ``interventions`` and ``updates`` of the run.
    """
    minutes = settings["minutes"]
    changes = (*settings["set"], f"schedule.evaluate_every_min={EVALUATE_EVERY_MIN}")
    arguments = [part for change in changes for part in ("--set", change)]
    if settings["skills"]:
        arguments += ["--skills", settings["skills"]]
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        status = _daemon.run_daemon(
            home, "--hours", str(minutes / 60), "--speed", "max", "--seed", str(seed), *arguments
        )
        return {
            **progress(home, minutes),
            "falls": status["falls"],
            "interventions": status["interventions"],
            "updates": status["updates"],
        }


def progress(home: Path, minutes: float) -> dict[str, Any]:
    """How the forward speed went.

    Returns:
        ``attempts`` (robot minutes, m/s, whether an evaluation, policy version of each forward attempt), ``curve_mps``
        (mean of all of them in equal parts of the time; None where there was none), ``final_mps`` (mean of the
        evaluations in the last third), ``acting_mps`` (mean of the others in the last third), ``mean_mps`` (over
        ``curve_mps``: the area under it).
    """
    rows = _daemon.query(
        home,
        "SELECT ended_s, measures, evaluation, policy_version FROM attempts "
        f"WHERE skill = '{SKILL}' AND steps > 25 AND state = 'finished' ORDER BY id",
    )
    attempts = [
        (round(ended_s / 60.0, 3), round(json.loads(measures)["speed_mps"], 4), bool(evaluation), version)
        for ended_s, measures, evaluation, version in rows
        if "speed_mps" in json.loads(measures)
    ]
    late = [attempt for attempt in attempts if attempt[0] > 2.0 / 3.0 * minutes]
    parts: list[list[float]] = [[] for _ in range(BINS)]
    for at_min, speed_mps, _, _ in attempts:
        parts[min(BINS - 1, int(at_min / minutes * BINS))].append(speed_mps)
    curve = [_mean(part) for part in parts]
    return {
        "attempts": attempts,
        "curve_mps": curve,
        "final_mps": _mean([speed for _, speed, evaluation, _ in late if evaluation]),
        "acting_mps": _mean([speed for _, speed, evaluation, _ in late if not evaluation]),
        "mean_mps": _mean([speed for speed in curve if speed is not None]),
    }


def _mean(values: list[float]) -> float | None:
    return float(np.mean(values)) if values else None


VARIANTS: dict[str, dict[str, Any]] = {
    f"{algorithm}{suffix}": {"set": [f"learner.algorithm={algorithm}"], "skills": skills, "minutes": DEFAULT_N}
    for suffix, skills in (("", None), ("-both-ways", BOTH_WAYS))
    for algorithm in ("sac", "ars")
}

STUDY = Study(
    name="ars",
    module="benchmarks.ars",
    variants=VARIANTS,
    cell=cell,
    figures={"final_mps": "higher", "acting_mps": "higher", "mean_mps": "higher", "falls": "lower"},
)

if __name__ == "__main__":
    main(STUDY)
