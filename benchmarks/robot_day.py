"""A robot day of wear: 24 robot hours in which all that wears does, with pushes, and nobody beside the robot.

    python -m benchmarks.robot_day [--only a1-8h] [--seeds 0 1 2]
    perdure bench robot-day --seed 0 --n 24               # the A1; n is in robot hours

The zoo's policies learn on while motors weaken, joints rub, encoders slip, feet lose their grip and the battery ages,
each to a size that no training has by the end (`sim.drift_ranges`), and the robot is pushed ten times an hour, by up to
0.5 m/s. Changes are watched for. A day takes two hours on two cores; ``a1-8h`` and ``minitaur-8h`` wear as much in a
third of it. With ``PERDURE_BENCH_HOMES`` a home is kept there, and a run that was cut off goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from agent.drift_ladder import DRIFTED
from benchmarks import _daemon
from benchmarks._study import Study, main
from meta.drift_monitor import Finding
from sim.drift_ranges import WEAR

DEFAULT_N = 24
SET = {
    "run.start": "zoo",
    "learner.watch_drift": True,
    "learner.updates_per_step": 0.25,
    "sim.pushes_per_h": 10.0,
    "sim.push_mps": 0.5,
}
WORN_OUT = frozenset({DRIFTED, "robot_unfit", "arming_failed", "stand_up_failed", "too_many_falls"})
"""Causes of calls for a person that wear may be behind."""


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """``n`` hours of the A1. Returns what `cell` returns."""
    return cell({"robot": "a1", "hours": n, "set": SET}, seed)


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One robot, one seed.

    Returns:
        ``first_hour`` and ``last_hour`` (share of the tasks' attempts that succeeded), ``kept_share`` (of the two),
        ``calls`` and ``calls_of_wear`` (those with one of `WORN_OUT` causes), ``causes``, ``falls``, ``pushes``,
        ``changes`` that were noticed, and ``curve`` (successes and attempts of each hour).
    """
    hours = float(settings["hours"])
    with _daemon.kept_home(f"robot-day-{settings['robot']}-{hours:g}h-seed{seed}") as home:
        home.parent.mkdir(parents=True, exist_ok=True)
        file = home.with_suffix(".toml")
        wear = {"seed": seed, "hours": hours, "faults_per_hour": 0, "wear": True, "held_out": True}
        file.write_text("[random]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in wear.items()))
        changes = {**settings["set"], "sim.drift": str(file)}
        told = _daemon.told(changes)
        _daemon.run_until(home, hours, "--speed", "max", "--seed", str(seed), "--robot", settings["robot"], *told)
        return judge(home, hours)


def judge(home: Path, hours: float) -> dict[str, Any]:
    """What a home's books say of a day. Returns as `cell`."""
    curve = [[0, 0] for _ in range(max(1, round(hours)))]
    tried = _daemon.query(
        home,
        "SELECT a.ended_s, a.outcome = 'success' FROM attempts a JOIN skills k ON k.name = a.skill "
        "WHERE a.state = 'finished' AND a.outcome != 'aborted' AND k.kind = 'task' AND NOT a.evaluation",
    )
    for ended_s, success in tried:
        hour = curve[min(int(ended_s // 3600.0), len(curve) - 1)]
        hour[0] += success
        hour[1] += 1
    shares = [successes / max(1, attempts) for successes, attempts in curve]
    causes = dict(_daemon.query(home, "SELECT cause, count(*) FROM interventions GROUP BY cause"))
    counts = {
        "falls": "SELECT count(*) FROM self_recoveries WHERE kind = 'fall'",
        "pushes": "SELECT count(*) FROM faults WHERE kind = 'push'",
        "changes": f"SELECT count(*) FROM drift_events WHERE kind = '{Finding.CHANGED.value}'",
    }
    return {
        "first_hour": shares[0],
        "last_hour": shares[-1],
        "kept_share": shares[-1] / shares[0] if shares[0] else 0.0,
        "calls": sum(causes.values()),
        "calls_of_wear": sum(count for cause, count in causes.items() if cause in WORN_OUT),
        "causes": causes,
        **{name: _daemon.query(home, sql)[0][0] for name, sql in counts.items()},
        "wears": [kind.value for kind in WEAR],
        "curve": curve,
    }


STUDY = Study(
    name="robot-day",
    module="benchmarks.robot_day",
    variants={
        f"{robot}{suffix}": {"robot": robot, "hours": hours, "set": SET}
        for robot in ("a1", "minitaur")
        for suffix, hours in (("", DEFAULT_N), ("-8h", 8))
    },
    cell=cell,
    figures={"kept_share": "higher", "last_hour": "higher", "calls_of_wear": "lower", "falls": "lower"},
    seeds=(0, 1, 2),
)

if __name__ == "__main__":
    main(STUDY)
