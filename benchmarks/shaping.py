"""Does a potential help where rewards are rare? Going to four places by three rewards, driving up a hill by two.

    python -m benchmarks.shaping [--only car-sparse car-shaped] [--seeds 0 1 2]

``own``: the skills' own terms, progress towards the place among them, capped. ``sparse``: without those; what is left
is 10 for being there, a price for each step, for roughness and for a fall. ``shaped``: the same with a potential, the
distance (`LearnedSkill.potential`). The Minitaur, from nothing, in its workspace; success is counted by the same rule.
``car-sparse`` and ``car-shaped``: Gymnasium's MountainCarContinuous-v0, 10 for being up and a price for effort; its
energy is the potential.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import _daemon
from benchmarks._study import Study, main

DEFAULT_N = 15
FOLDER = Path(__file__).parent / "places"
CAR_MINUTES = 4
CAR_FOLDER = Path(__file__).parent / "car"
CAR = "gym:MountainCarContinuous-v0"
PARTS = 3
NAMES = {"own": "go_to_0{}", "sparse": "sparse_{}", "shaped": "shaped_{}"}


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One reward, one seed.

    Returns:
        ``success`` (share of the attempts in each third of the robot time), ``attempts`` (of each third), ``final``
        (the last share) and ``interventions``.
    """
    hours, reward = float(settings["minutes"]) / 60, settings["reward"]
    if settings.get("car"):
        skills, folder, robot = f"{reward}_car", CAR_FOLDER, CAR
    else:
        skills = ",".join(NAMES[reward].format(number) for number in range(1, 5))
        folder, robot = FOLDER, "minitaur"
    words = ("--robot", robot, "--skills", skills, "--skill-folder", str(folder), "--speed", "max", "--seed", str(seed))
    with _daemon.kept_home(f"shaping-{'car-' if settings.get('car') else ''}{reward}-seed{seed}") as home:
        _daemon.run_until(home, hours, *words)
        rows = _daemon.query(
            home,
            "SELECT started_s, outcome FROM attempts WHERE skill IN (SELECT name FROM skills "
            "WHERE kind = 'task') AND outcome IN ('success', 'timeout', 'fall', 'unsafe')",
        )
        called = _daemon.query(home, "SELECT count(*) FROM interventions")[0][0]
    part_s = 3600 * hours / PARTS
    thirds = [
        [outcome == "success" for at_s, outcome in rows if i * part_s <= at_s < (i + 1) * part_s] for i in range(PARTS)
    ]
    shares = [sum(third) / len(third) if third else None for third in thirds]
    return {"success": shares, "attempts": [len(t) for t in thirds], "final": shares[-1], "interventions": called}


STUDY = Study(
    name="shaping",
    module="benchmarks.shaping",
    variants={name: {"reward": name, "minutes": DEFAULT_N} for name in NAMES}
    | {f"car-{name}": {"reward": name, "minutes": CAR_MINUTES, "car": True} for name in ("sparse", "shaped")},
    cell=cell,
    figures={"final": "higher"},
    seeds=(0, 1, 2),
)

if __name__ == "__main__":
    main(STUDY)
