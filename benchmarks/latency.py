"""What a control delay costs (review, section 4.8): `perdure bench latency --seed 0 --n 20`.

The robot learns to walk forward and backward with 0, 20, 40 and 80 ms from measurement to action. Ours sees its last
observations and actions, from which the state at the time of the action can be told; the naive learner sees only the
newest observation and not what it sent. ``n`` is in robot minutes.

    python -m benchmarks.latency [--only ours-0ms ours-40ms] [--seeds 0 1 2]
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agent.evaluation import summary
from benchmarks import _daemon
from benchmarks._study import Cells, Study, main
from benchmarks.walk import OPEN_FLOOR, Judge, learn, value
from skills.walk import WALKING_SKILLS

DEFAULT_N = 20
DELAYS_MS = (0, 20, 40, 80)
SKILLS = WALKING_SKILLS[:2]
LAST_POLICIES = 3
"""The figure is the mean over this many of the last policies, stored two robot minutes apart."""
ATTEMPTS = 5
SEES = {
    "ours": {},
    "naive": {"learner.history": 1, "learner.past_actions": False},
}


def run(seed: int, n: int, settings: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """Learn and evaluate at one delay; without settings, ours at 40 ms.

    Returns:
        ``return_mean`` and ``speed_mps`` of the last policies, at the delay that they learned with; ``falls`` in all.
    """
    settings = settings or {"delay_ms": 40, "sees": "ours"}
    changes = {
        "run.skills": [skill.name for skill in SKILLS],
        "sim.latency_ms": float(settings["delay_ms"]),
        **SEES[settings["sees"]],
    }
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        learn(home, seed, n, "minitaur", changes)
        judge = Judge("minitaur", home)
        policies = list(_daemon.kept_policies(home / "kept").values())[-LAST_POLICIES:]
        figures = {
            skill.name: [
                summary(judge.attempts(skill, policy, ATTEMPTS, dynamics="nominal", workspace=OPEN_FLOOR))
                for policy in policies
            ]
            for skill in SKILLS
        }
        falls = _daemon.perdure_json(home, "metrics")["falls"]
    return {
        "return_mean": float(np.mean([f["return_mean"] for judged in figures.values() for f in judged])),
        "speed_mps": float(np.mean([value(skill, f["measures"]) for skill in SKILLS for f in figures[skill.name]])),
        "falls": falls,
        "evaluations": figures,
    }


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One delay, one way of seeing, one seed."""
    return run(seed, settings["minutes"], settings)


def conclude(cells: Cells) -> dict[str, Any]:
    """Mean return at each delay over that without delay, seed by seed where both are there."""
    shares: dict[str, list[float]] = {}
    for sees in SEES:
        base = {cell["seed"]: cell["return_mean"] for cell in cells.get(f"{sees}-0ms", ())}
        for delay in DELAYS_MS[1:]:
            name = f"{sees}-{delay}ms"
            shares[name] = [
                cell["return_mean"] / base[cell["seed"]] for cell in cells.get(name, ()) if cell["seed"] in base
            ]
    return {"return_over_no_delay": {name: values for name, values in shares.items() if values}}


STUDY = Study(
    name="latency",
    module="benchmarks.latency",
    variants={
        f"{sees}-{delay}ms": {"delay_ms": delay, "sees": sees, "minutes": DEFAULT_N}
        for sees in SEES
        for delay in DELAYS_MS
    },
    cell=cell,
    figures={"return_mean": "higher", "speed_mps": "higher", "falls": "lower"},
    conclude=conclude,
)

if __name__ == "__main__":
    main(STUDY)
