"""How soon a robot with a weak motor walks again as it did: the daemon as it runs, with all that takes time.

    python -m benchmarks.recovery [--only a1] [--seeds 0 1 2]
    perdure bench recovery --seed 0 --n 8                 # the Minitaur; n: motors

The zoo's policies walk in all directions on an endless floor and stay as they are. After twenty calm minutes one motor
after another, drawn at random, gives half its torque for two minutes; between them all is well for a minute and a half.
The robot is back when the first attempt begins after the motor has been made up for, if walks ahead from then until its
repair earn per step `BACK` of what they do in the calm, on average: before that the change has to be noticed, the robot
to stand still and to be checked up. Where nothing is made up for it was never gone if all walks ahead meanwhile earn
as much, and else it is not back. Walks that end within three seconds, in which a robot has hardly begun to walk, do not
count unless it fell. With ``PERDURE_BENCH_HOMES`` homes are kept there.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from agent.checkups import DIAGNOSED
from agent.robots import load_robot
from benchmarks import _daemon
from benchmarks._drifting import as_toml, walks
from benchmarks._study import Cells, Study, main
from meta.drift_monitor import Finding
from sim.drift import Drift, DriftKind

CALM_S, LASTS_S, PAUSE_S = 1200.0, 120.0, 90.0
STRENGTH = 0.5
JUDGED = "walk_forward"
BACK = 0.9
DEFAULT_N = 8
SET = {
    "run.start": "zoo",
    "workspace.size_m": 1000.0,
    "learner.watch_drift": True,
    "learner.hold_policy": True,
}


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """One run of the Minitaur with ``n`` weak motors. Returns what `together` returns."""
    return together([cell({"robot": "minitaur", "motors": n, "set": SET}, seed)])


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One run.

    Returns:
        ``motors``: of each ``joint``, ``noticed_s`` (when it was suspected first, of those found), ``named_s`` and
        ``back_s`` (robot time since it weakened; None: not before its repair), ``right`` (whether the joint was named),
        ``share`` (mean of what walks ahead earned, from ``back_s`` on or of all, over the usual; None: there was none
        to judge by) and ``falls``; and ``calls``, how often a person was needed.
    """
    with load_robot(settings["robot"], 0) as robot:
        drifts = tuple(schedule(robot.spec.joint_names, settings["motors"], seed))
    with _daemon.kept_home(f"recovery-{settings['robot']}-seed{seed}") as home:
        home.parent.mkdir(parents=True, exist_ok=True)
        file = home.with_suffix(".toml")
        file.write_text(as_toml(drifts))
        changes = {"sim.drift": str(file), **settings["set"]}
        told = _daemon.told(changes)
        hours = (CALM_S + len(drifts) * (LASTS_S + PAUSE_S)) / 3600.0
        _daemon.run_until(home, hours, "--speed", "max", "--seed", str(seed), "--robot", settings["robot"], *told)
        return {"motors": judge(home, drifts), "calls": _daemon.query(home, "SELECT count(*) FROM interventions")[0][0]}


def schedule(joints: Sequence[str], n: int, seed: int) -> Iterator[Drift]:
    """Weak motors, one after the other."""
    rng = np.random.default_rng((seed, 2))
    for number in range(n):
        begins_s = CALM_S + number * (LASTS_S + PAUSE_S)
        yield Drift(
            kind=DriftKind.MOTOR_STRENGTH,
            size=STRENGTH,
            joints=(str(rng.choice(joints)),),
            begins_s=begins_s,
            ends_s=begins_s + LASTS_S,
        )


def judge(home: Path, drifts: Sequence[Drift]) -> list[dict[str, Any]]:
    """What a home's books say of these. Returns ``motors`` of `cell`."""
    walked = [walk for walk in walks(home) if walk.skill == JUDGED]
    usual = float(np.mean([walk.earned for walk in walked if walk.ended_s < CALM_S]))
    shares = [(walk.started_s, walk.earned / usual) for walk in walked]
    tasks = "SELECT a.started_s FROM attempts a JOIN skills k ON k.name = a.skill WHERE k.kind = 'task'"
    begun = [at_s for (at_s,) in _daemon.query(home, f"{tasks} AND a.state = 'finished' AND a.steps > 0 ORDER BY a.id")]
    changes, suspicions = (
        [at_s for (at_s,) in _rows(home, kind.value, "robot_s")] for kind in (Finding.CHANGED, Finding.SUSPECTED)
    )
    named = [
        (at_s, json.loads(detail)["joints"])
        for at_s, detail in _rows(home, DIAGNOSED, "robot_s, detail")
        if "joints" in json.loads(detail)
    ]
    fell = [at_s for (at_s,) in _daemon.query(home, "SELECT started_s FROM self_recoveries WHERE kind = 'fall'")]
    found = []
    for drift in drifts:
        begins_s, ends_s = drift.begins_s, drift.ends_s
        changed_s = next((at_s for at_s in changes if begins_s <= at_s < ends_s), None)
        noticed_s = changed_s
        if changed_s is not None:
            noticed_s = next((at_s for at_s in suspicions if begins_s <= at_s <= changed_s), changed_s)
        told = [each for each in named if changed_s is not None and changed_s <= each[0] < ends_s]
        since_s = told[0][0] if told else begins_s
        after = [share for started_s, share in shares if since_s <= started_s < ends_s]
        share = float(np.mean(after)) if after else None
        back_s = None
        if share is not None and share >= BACK:
            first_s = next(started_s for started_s in begun if started_s >= since_s)
            back_s = round(first_s - begins_s, 2) if told else 0.0
        found.append(
            {
                "joint": drift.joints[0],
                "noticed_s": _since(noticed_s, begins_s),
                "named_s": _since(told[0][0] if told else None, begins_s),
                "back_s": back_s,
                "right": bool(told) and told[0][1] == list(drift.joints),
                "share": None if share is None else round(share, 3),
                "falls": sum(begins_s <= at_s < ends_s for at_s in fell),
            }
        )
    return found


def _rows(home: Path, kind: str, columns: str) -> list[tuple[Any, ...]]:
    return _daemon.query(home, f"SELECT {columns} FROM drift_events WHERE kind = '{kind}' ORDER BY id")


def _since(at_s: float | None, begins_s: float) -> float | None:
    return None if at_s is None else round(at_s - begins_s, 2)


def together(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Runs of one robot together.

    Returns:
        ``motors`` and ``noticed`` (how many), ``right`` (of those noticed), ``noticed_s_median``, ``named_s_median``
        (of those noticed; one that was not named counts as late for ever, and a median of that is None), ``judged``,
        ``never_gone`` and ``back`` (how many, these included), ``back_s_median`` (of those judged that were gone),
        ``back_s_median_noticed`` (of those noticed and judged, of which each that was not named counts as not back,
        whatever it earned), ``share`` (mean), ``falls`` and ``calls`` (None: not known of all runs).
    """
    motors = [motor for each in cells for motor in each["motors"]]
    noticed = [motor for motor in motors if motor["noticed_s"] is not None]
    judged = [motor for motor in motors if motor["share"] is not None]
    return {
        "motors": len(motors),
        "noticed": len(noticed),
        "right": sum(motor["right"] for motor in noticed),
        "noticed_s_median": _median([motor["noticed_s"] for motor in noticed]),
        "named_s_median": _median([motor["named_s"] for motor in noticed]),
        "judged": len(judged),
        "never_gone": sum(motor["back_s"] == 0.0 for motor in judged),
        "back_s_median": _median([motor["back_s"] for motor in judged if motor["back_s"] != 0.0]),
        "back_s_median_noticed": _median(
            [motor["back_s"] if motor["named_s"] is not None else None for motor in noticed if motor in judged]
        ),
        "back": sum(motor["back_s"] is not None for motor in motors),
        "share": float(np.mean([motor["share"] for motor in judged])) if judged else None,
        "falls": sum(motor["falls"] for motor in motors),
        "calls": sum(each["calls"] for each in cells) if all("calls" in each for each in cells) else None,
    }


def _median(seconds: Sequence[float | None]) -> float | None:
    known = [np.inf if each is None else each for each in seconds]
    median = float(np.median(known)) if known else np.inf
    return median if np.isfinite(median) else None


def conclude(cells: Cells) -> dict[str, Any]:
    """What `together` returns, by robot."""
    return {variant: together(found) for variant, found in cells.items()}


STUDY = Study(
    name="recovery",
    module="benchmarks.recovery",
    variants={robot: {"robot": robot, "motors": DEFAULT_N, "set": SET} for robot in ("a1", "minitaur")},
    cell=cell,
    seeds=(0, 1, 2),
    conclude=conclude,
)

if __name__ == "__main__":
    main(STUDY)
