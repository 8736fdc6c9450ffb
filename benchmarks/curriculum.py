"""How long a robot takes to learn skills that build on each other, with the curriculum and by taking turns.

    python -m benchmarks.curriculum [--only progress uniform] [--seeds 0 1 2]
    perdure bench curriculum --seed 0 --n 60              # n: robot minutes of each of the two runs at most

A robot learns the proving skills from nothing, in one home with `run.curriculum` = ``progress`` and in one with
``uniform``, where none waits for another and all are practised alike. Once the run itself, by its attempts with
exploration, has taken each skill for mastered, each is evaluated: ten attempts of the newest policy on the nominal
robot, which cost no robot time. All are learned if each succeeds in at least 80 %; else the run goes on for five robot
minutes. With ``PERDURE_BENCH_HOMES`` homes and evaluations are kept there, and a run that was cut off goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.curriculum import MODES, Standing
from agent.evaluation import attempts_of, summary
from agent.ledger import STANDINGS
from agent.policies import find_policy
from agent.stored_config import stored_config
from benchmarks import _daemon
from benchmarks._study import Cells, Settings, Study, main
from skills.registry import get
from skills.skill import LearnedSkill

SKILLS = (
    *(f"walk_to_{level}_{end}" for level in (1, 2, 3) for end in ("north", "south")),
    *(f"follow_1_{side}" for side in ("right", "left")),
    "return_to_charger",
)
DEFAULT_N = 120
EVERY_MIN = 5.0
"""Robot time between two looks."""
ATTEMPTS = 10
"""Of each skill in an evaluation."""
LEARNED = 0.8
TARGET = 0.6
"""Share of the time of taking turns in which the curriculum should get there."""
Evaluated = tuple[float, dict[str, float]]
"""Robot minutes, and the success rate of each skill."""


def settings_of(
    mode: str, skills: Sequence[str] = SKILLS, robot: str = "minitaur", minutes: float = DEFAULT_N
) -> Settings:
    """Settings of a variant; any list of skills will do."""
    return {"curriculum": mode, "skills": list(skills), "robot": robot, "minutes": minutes}


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """One seed with ``n`` robot minutes at most. Returns what `cell` returns for each mode, and ``time_share``."""
    found: dict[str, Any] = {mode: cell(settings_of(mode, minutes=n), seed) for mode in MODES}
    return {**found, "time_share": _share(found["progress"], found["uniform"])}


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One mode, one seed.

    Returns:
        ``learned_min`` (robot minutes until all skills are learned by an evaluation; None: not within ``minutes``),
        ``mastered_min`` (until the run had taken each for mastered once), ``mastered`` (the same by skill),
        ``evaluations`` (robot minutes and success rate of each skill) and ``attempts`` (how many of each skill).
    """
    mode, skills = settings["curriculum"], list(settings["skills"])
    with _daemon.kept_home(f"curriculum-{settings['robot']}-{mode}-seed{seed}") as home:
        evaluations: list[Evaluated] = []
        learned_min: float | None = None
        last = float(settings["minutes"])
        for minutes in (*np.arange(EVERY_MIN, last - 1e-9, EVERY_MIN), last):
            _learn(home, settings, float(minutes), seed)
            if None in _mastered(home, skills, float(minutes)).values():
                continue
            evaluations.append((float(minutes), _evaluated(home, settings, float(minutes), seed)))
            if min(evaluations[-1][1].values()) >= LEARNED:
                learned_min = float(minutes)
                break
        mastered, attempts = _mastered(home, skills), _attempts(home, skills)
    times = [time for time in mastered.values() if time is not None]
    return {
        "learned_min": learned_min,
        "mastered_min": max(times) if len(times) == len(skills) else None,
        "mastered": mastered,
        "evaluations": evaluations,
        "attempts": attempts,
    }


def conclude(cells: Cells) -> dict[str, Any]:
    """Time of the curriculum as a share of that of taking turns, seed by seed; None: one of them did not get there."""
    if not all(mode in cells for mode in MODES):
        return {}
    by_seed = {mode: {cell["seed"]: cell for cell in cells[mode]} for mode in MODES}
    both = sorted(by_seed["progress"].keys() & by_seed["uniform"].keys())
    shares = [_share(by_seed["progress"][seed], by_seed["uniform"][seed]) for seed in both]
    known = [share for share in shares if share is not None]
    median = float(np.median(known)) if len(known) == len(shares) and known else None
    return {"time_share": shares, "time_share_median": median, "target": TARGET}


def _evaluated(home: Path, settings: Mapping[str, Any], minutes: float, seed: int) -> dict[str, float]:
    """Success rates after so many robot minutes; those that are kept with the home are taken from there."""
    found: dict[str, float] = _daemon.remembered(
        home,
        f"{minutes:g}",
        lambda: {skill: _success_rate(home, settings["robot"], skill, seed) for skill in settings["skills"]},
    )
    return found


def _learn(home: Path, settings: Mapping[str, Any], minutes: float, seed: int) -> None:
    told = ("--robot", settings["robot"], "--skills", ",".join(settings["skills"]), "--seed", str(seed))
    mode = ("--set", f"run.curriculum={json.dumps(settings['curriculum'])}")
    _daemon.run_until(home, minutes / 60, "--speed", "max", *told, *mode)


def _success_rate(home: Path, robot: str, skill: str, seed: int) -> float:
    chosen = get(skill)
    assert isinstance(chosen, LearnedSkill)
    policy = find_policy("latest", robot, chosen, home)
    found = summary(attempts_of(chosen, robot, policy, ATTEMPTS, seed, "nominal", config=stored_config(home)))
    return float(found["success_rate"])


def _mastered(home: Path, skills: Sequence[str], by_min: float = np.inf) -> dict[str, float | None]:
    """Robot minutes at which each skill was first mastered, as the run itself judged; None: not by then."""
    sql = f"SELECT data ->> 'skill', min(robot_s) FROM events WHERE kind = '{STANDINGS[Standing.MASTERED]}' GROUP BY 1"
    found = {skill: robot_s / 60 for skill, robot_s in _daemon.query(home, sql)}
    return {skill: found[skill] if found.get(skill, np.inf) <= by_min else None for skill in skills}


def _attempts(home: Path, skills: Sequence[str]) -> dict[str, int]:
    found = dict(_daemon.query(home, "SELECT skill, count(*) FROM attempts WHERE NOT evaluation GROUP BY skill"))
    return {skill: found.get(skill, 0) for skill in skills}


def _share(progress: Mapping[str, Any], uniform: Mapping[str, Any]) -> float | None:
    times = progress["learned_min"], uniform["learned_min"]
    return None if None in times else times[0] / times[1]


STUDY = Study(
    name="curriculum",
    module="benchmarks.curriculum",
    variants={mode: settings_of(mode) for mode in MODES},
    cell=cell,
    figures={"learned_min": "lower", "mastered_min": "lower"},
    seeds=(0, 1, 2),
    conclude=conclude,
)

if __name__ == "__main__":
    main(STUDY)
