"""Does a robot learn to walk by what a person prefers, and by nothing else?

    python -m benchmarks.preferences [--seeds 0 1 2] [--only preferences]

``preferences``: the Minitaur wanders about for two robot minutes without learning. Then a simulated person compares
pairs of its stored attempts by how fast they went ahead, as the tracker saw it, and the robot learns by the reward that
this teaches, in the place of the skill's own terms; every two minutes the person answers further questions, those that
the reward is least certain of. ``own``: the same two minutes, then the skill's own terms. Speeds are those of the
attempts in practice, exploring.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from agent.rewards import learn_from_preferences, propose, reward_facts
from benchmarks import _daemon
from benchmarks._study import Study, main
from persistence.home import Home
from skills.registry import get
from skills.skill import LearnedSkill

DEFAULT_N = 10
SKILL = "walk_forward"
ROUND_MIN = 2.0
FIRST_PAIRS, FURTHER_PAIRS = 20, 10
UNTAUGHT = 1_000_000
WORKSPACE_M = 50.0
"""Room for a robot that walks on and on; at its end the script brings it back."""


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One reward, one seed.

    Returns:
        ``speed_mps`` (mean of the attempts in each round), ``final_mps`` (of the last one), ``success`` (share in the
        last one), ``pairs`` (that the person compared) and ``held_out_accuracy`` (after the last comparison).
    """
    minutes, asked = float(settings["minutes"]), bool(settings["asked"])
    with _daemon.kept_home(f"preferences-{asked}-seed{seed}") as home:
        for begin in np.arange(0.0, minutes - 1e-9, ROUND_MIN):
            done = _daemon.practised_h(home) > (begin + ROUND_MIN) / 60 - _daemon.SLACK_H
            if begin and asked and not done:
                _ask(home, FURTHER_PAIRS if begin > ROUND_MIN else FIRST_PAIRS)
            _practise(home, float(begin + ROUND_MIN), seed, untaught=begin == 0.0)
        told = reward_facts(Home(home), SKILL)
        rows = _daemon.query(
            home,
            f"SELECT started_s, measures, outcome FROM attempts WHERE skill = '{SKILL}' AND steps > 25 ORDER BY id",
        )
    tried = [(at_s // (60 * ROUND_MIN), json.loads(m).get("speed_mps"), outcome) for at_s, m, outcome in rows]
    rounds = [
        [speed for number, speed, _ in tried if number == i and speed is not None]
        for i in range(int(minutes / ROUND_MIN))
    ]
    last = [outcome == "success" for number, _, outcome in tried if number == len(rounds) - 1]
    speeds = [float(np.mean(each)) if each else None for each in rounds]
    return {
        "speed_mps": speeds,
        "final_mps": speeds[-1],
        "success": float(np.mean(last)) if last else None,
        "pairs": told["pairs"],
        "held_out_accuracy": told["held_out_accuracy"],
    }


def _practise(home: Path, minutes: float, seed: int, *, untaught: bool) -> None:
    words = ["--robot", "minitaur", "--skills", SKILL, "--speed", "max", "--seed", str(seed)]
    words += ["--set", f"workspace.size_m={WORKSPACE_M}"]
    if untaught:
        words += ["--set", f"learner.warmup_steps={UNTAUGHT}"]
    _daemon.run_until(home, minutes / 60, *words)


def _ask(home: Path, count: int) -> None:
    """Have the person compare pairs of attempts."""
    skill = get(SKILL)
    assert isinstance(skill, LearnedSkill)
    better, worse = [], []
    for pair in propose(Home(home), skill, count):
        speeds = [pair[f"{side}_measures"].get("speed_mps", 0.0) for side in ("first", "second")]
        sides = ("first", "second") if speeds[0] >= speeds[1] else ("second", "first")
        better.append(pair[sides[0]])
        worse.append(pair[sides[1]])
    learn_from_preferences(Home(home), skill, better, worse)


STUDY = Study(
    name="preferences",
    module="benchmarks.preferences",
    variants={
        "preferences": {"asked": True, "minutes": DEFAULT_N},
        "own": {"asked": False, "minutes": DEFAULT_N},
    },
    cell=cell,
    figures={"final_mps": "higher"},
    seeds=(0, 1, 2),
)

if __name__ == "__main__":
    main(STUDY)
