"""A population on one replay memory against each of its members alone: `perdure bench population --seed 0 --n 15`.

``n`` is in robot minutes. Every variant runs the same daemon from an empty home for the same robot time: the members
alone, and all of them together, where the robot acts with the best by its attempts. The question is whether the
population comes near the best member without anyone having known which that is.

All seeds of the study:

    python -m benchmarks.population
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks import ars
from benchmarks._study import Cells, Study, main
from skills.learners.population import member_of

DEFAULT_N = 15
FURTHER = ("lr=1e-3", "gamma=0.9,tau=0.02")
"""What the second and third member change; the first has the settings of a run without a population."""


def run(seed: int, n: int) -> dict[str, Any]:
    """Learn for ``n`` robot minutes with the population and with each member alone.

    Returns:
        What `cell` returns for each variant, by its name.
    """
    return {name: cell({**settings, "minutes": n}, seed) for name, settings in VARIANTS.items()}


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One run of the daemon, as in `benchmarks.ars.cell`.

    Returns:
        The same, and ``acted``: forward attempts in which each member acted, and ``acted_late``: in the last third.
    """
    facts = ars.cell(settings, seed)
    late_min = 2.0 / 3.0 * settings["minutes"]
    for name, since_min in (("acted", 0.0), ("acted_late", late_min)):
        members = Counter(member_of(version) for at_min, _, _, version in facts["attempts"] if at_min > since_min)
        facts[name] = {f"member{member}": count for member, count in sorted(members.items())}
    return facts


def conclude(cells: Cells) -> dict[str, Any]:
    """The population's acting speed beside the best and the worst member's, each the mean over seeds."""
    speeds = {
        name: float(np.mean([cell["acting_mps"] for cell in saved if cell["acting_mps"] is not None]))
        for name, saved in cells.items()
        if any(cell["acting_mps"] is not None for cell in saved)
    }
    alone = {name: speed for name, speed in speeds.items() if name != "population"}
    if "population" not in speeds or len(alone) < len(VARIANTS) - 1:
        return {}
    best = max(alone, key=lambda name: alone[name])
    return {
        "best_member": best,
        "population_to_best": speeds["population"] / alone[best],
        "population_to_mean": speeds["population"] / float(np.mean(list(alone.values()))),
        "worst_to_best": min(alone.values()) / alone[best],
    }


def _settings(changes: list[str]) -> dict[str, Any]:
    return {"set": changes, "skills": None, "minutes": DEFAULT_N}


VARIANTS: dict[str, dict[str, Any]] = {
    "population": _settings([f"learner.population={json.dumps(FURTHER)}"]),
    "member0": _settings([]),
    **{
        f"member{index}": _settings([f"learner.{change}" for change in text.split(",")])
        for index, text in enumerate(FURTHER, start=1)
    },
}

STUDY = Study(
    name="population",
    module="benchmarks.population",
    variants=VARIANTS,
    cell=cell,
    figures={"final_mps": "higher", "acting_mps": "higher", "mean_mps": "higher", "falls": "lower"},
    conclude=conclude,
)

if __name__ == "__main__":
    main(STUDY)
