"""What a motor that stays weak costs a robot that learns on, with a search for offsets and without.

    python -m benchmarks.lasting_drift [--only searching] [--seeds 0 1 2 3]
    perdure bench lasting-drift --seed 0 --n 120          # with the search; n: minutes of the weak motor

The zoo's Minitaur walks in all directions on an endless floor and learns on. After a calm quarter of an hour a motor
gives half its torque, for two hours; then it is as it was for a last quarter. A seed is a motor (`MOTORS`), of the four
that are at their limit in its walk whatever is made up for (`benchmarks.recovery`). A person who is called twice
repairs the robot: from then on its motor is whole. With ``PERDURE_BENCH_HOMES`` homes are kept there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.drift_ladder import DRIFTED
from benchmarks import _daemon
from benchmarks._drifting import Walked, as_toml, walks
from benchmarks._study import Study, main
from sim.drift import Drift, DriftKind
from skills.walk import WALKING_SKILLS

MOTORS = ("front_left_right", "front_right_left", "back_left_right", "back_right_left")
CALM_S, AFTER_S, WINDOW_S = 900.0, 900.0, 300.0
STRENGTH = 0.5
DEFAULT_N = 120
SET = {
    "run.start": "zoo",
    "workspace.size_m": 1000.0,
    "learner.watch_drift": True,
    "learner.updates_per_step": 1.0,
}


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """One motor, weak for ``n`` minutes. Returns what `cell` returns."""
    return cell({"minutes": n, "set": {**SET, "learner.search_offsets": True}}, seed)


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One motor.

    Returns:
        ``motor``; by skill what its walks earned of the usual, a number for each five minutes from its weakening on
        (``curve``); ``kept_share`` (mean over the skills of the last quarter of an hour before the repair, or before a
        person had to repair it, ``repaired_s`` after it weakened), ``worst_share`` (the skill with the least),
        ``after_share`` (the mean over the last quarter, when all is well again), ``falls`` and ``calls`` under the
        drift.
    """
    drift = Drift(
        kind=DriftKind.MOTOR_STRENGTH,
        size=STRENGTH,
        joints=(MOTORS[seed % len(MOTORS)],),
        begins_s=CALM_S,
        ends_s=CALM_S + 60.0 * settings["minutes"],
    )
    with _daemon.kept_home(f"lasting-{_name(settings)}-seed{seed}") as home:
        home.parent.mkdir(parents=True, exist_ok=True)
        file = home.with_suffix(".toml")
        file.write_text(as_toml([drift]))
        changes = {"sim.drift": str(file), **settings["set"]}
        told = _daemon.told(changes)
        hours = (drift.ends_s + AFTER_S) / 3600.0
        _daemon.run_until(home, hours, "--speed", "max", "--seed", str(seed), "--robot", "minitaur", *told)
        return {"motor": drift.joints[0], **judge(home, drift)}


def _name(settings: Mapping[str, Any]) -> str:
    return "searching" if settings["set"]["learner.search_offsets"] else "learning"


def judge(home: Path, drift: Drift) -> dict[str, Any]:
    """What a home's books say of it. Returns as `cell`."""
    walked = walks(home)
    repaired = _daemon.query(
        home, f"SELECT opened_s FROM interventions WHERE cause = '{DRIFTED}' AND opened_s > {drift.begins_s}"
    )
    ends_s = min([drift.ends_s, *(at_s for (at_s,) in repaired)])
    kept = {name: _share(walked, name, max(drift.begins_s, ends_s - 3 * WINDOW_S), ends_s) for name in _SKILLS}
    after = {name: _share(walked, name, drift.ends_s, drift.ends_s + AFTER_S) for name in _SKILLS}
    windows = np.arange(drift.begins_s, ends_s, WINDOW_S)
    during = f"> {drift.begins_s} AND {{}} < {drift.ends_s}"
    return {
        "curve": {name: [_share(walked, name, at_s, at_s + WINDOW_S) for at_s in windows] for name in _SKILLS},
        "repaired_s": None if ends_s == drift.ends_s else round(ends_s - drift.begins_s, 1),
        "kept_share": _mean(kept),
        "worst_share": min((share for share in kept.values() if share is not None), default=None),
        "after_share": _mean(after),
        "falls": _counted(home, f"self_recoveries WHERE kind = 'fall' AND started_s {during.format('started_s')}"),
        "calls": _counted(home, f"interventions WHERE opened_s {during.format('opened_s')}"),
    }


def _counted(home: Path, rows: str) -> int:
    count: int = _daemon.query(home, f"SELECT count(*) FROM {rows}")[0][0]
    return count


_SKILLS = tuple(skill.name for skill in WALKING_SKILLS)


def _share(walked: Sequence[Walked], skill: str, begin_s: float, end_s: float) -> float | None:
    """What walks of a skill that began in a stretch of time earned per step, of those in the calm."""
    usual = [walk.earned for walk in walked if walk.skill == skill and walk.ended_s < CALM_S]
    found = [walk.earned for walk in walked if walk.skill == skill and begin_s <= walk.started_s < end_s]
    return round(float(np.mean(found) / np.mean(usual)), 3) if usual and found else None


def _mean(shares: Mapping[str, float | None]) -> float | None:
    known = [share for share in shares.values() if share is not None]
    return round(float(np.mean(known)), 3) if known else None


STUDY = Study(
    name="lasting-drift",
    module="benchmarks.lasting_drift",
    variants={
        name: {"minutes": DEFAULT_N, "set": {**SET, "learner.search_offsets": search}}
        for name, search in (("learning", False), ("searching", True))
    },
    cell=cell,
    figures={"kept_share": "higher", "worst_share": "higher", "after_share": "higher", "calls": "lower"},
    seeds=(0, 1, 2, 3),
)

if __name__ == "__main__":
    main(STUDY)
