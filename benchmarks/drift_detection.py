"""How many drifts the daemon notices, how soon, whether it names the joint, and how often it sees one that is none.

    python -m benchmarks.drift_detection [--only minitaur-fixed] [--seeds 0 1 2]
    perdure bench drift-detection --seed 0 --n 12          # Minitaur, fixed policy; n: drifts

The zoo's policies walk in all directions. ``fixed``: they stay as they are, and only what the robot is expected to do
is learned; ``learning``: they learn on. After twenty calm minutes come drifts of each kind but the battery's voltage,
which a robot measures, of sizes that no training has, each for a minute, with pauses of a minute and a half. A drift
is noticed if the daemon says so while it lasts: errors of motion have alarmed twice within half a minute of practice,
or errors or sensors once, and a check-up has named something then. Delays are in time that the robot practised; a
check-up takes some seconds besides. Its joint is named by the check-up that follows (`agent.checkups`), or else by
the errors that gave it away. With ``PERDURE_BENCH_HOMES`` homes are kept there, and a run that was cut off goes on.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from agent.checkups import DIAGNOSED
from agent.drift_watch import WATCHED
from agent.robots import load_robot
from benchmarks import _daemon
from benchmarks._drifting import LEAST_S, as_toml
from benchmarks._study import Cells, Study, main
from meta.drift_monitor import Finding
from sim.drift import KINDS, Drift, DriftKind, DriftSubject
from sim.drift_ranges import SIZES, unit_of
from sim.simulated_robot import SimulatedRobot

CALM_S, LASTS_S, PAUSE_S = 1200.0, 60.0, 90.0
WATCHED_KINDS = tuple(kind for kind in SIZES if kind is not DriftKind.BATTERY_VOLTAGE)
DEFAULT_N = len(WATCHED_KINDS)
AFTER_S = 60.0
"""A change that is seen this soon after a repair may be of the drift, or of the repair, where it was made up for."""
ROBOTS = ("minitaur", "a1")
POLICIES: Mapping[str, Mapping[str, Any]] = {
    "fixed": {"learner.hold_policy": True},
    "learning": {"learner.updates_per_step": 1.0},
}


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """One run of the Minitaur with fixed policies and ``n`` drifts. Returns what `together` returns."""
    return together([cell({"robot": ROBOTS[0], "drifts": n, "set": POLICIES["fixed"]}, seed)])


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One run.

    Returns:
        ``drifts`` (of each: ``kind``, ``size``, ``joint``, ``delay_s`` or None where it was not noticed, ``named``, and
        ``earned``, what a step earned meanwhile over what one of the same skill did while all was calm),
        ``false_alarms``, ``suspicions`` (of the same time) and ``calm_h`` (practice without drift in which changes were
        watched for).
    """
    robot = load_robot(settings["robot"], 0)
    assert isinstance(robot, SimulatedRobot)
    with robot:
        drifts = tuple(schedule(robot.drift_subject, settings["drifts"], seed))
    policy = next(name for name, changes in POLICIES.items() if changes == settings["set"])
    with _daemon.kept_home(f"detection-{settings['robot']}-{policy}-{len(drifts)}-seed{seed}") as home:
        home.parent.mkdir(parents=True, exist_ok=True)
        file = home.with_suffix(".toml")
        file.write_text(as_toml(drifts))
        changes = {"run.start": "zoo", "learner.watch_drift": True, "sim.drift": str(file), **settings["set"]}
        told = _daemon.told(changes)
        hours = (CALM_S + len(drifts) * (LASTS_S + PAUSE_S)) / 3600.0
        _daemon.run_until(home, hours, "--speed", "max", "--seed", str(seed), "--robot", settings["robot"], *told)
        return judge(home, drifts)


def schedule(subject: DriftSubject, n: int, seed: int) -> Iterator[Drift]:
    """Drifts of all kinds in turn, of sizes from the range to judge in."""
    rng = np.random.default_rng((seed, 1))
    for number in range(n):
        kind = WATCHED_KINDS[number % len(WATCHED_KINDS)]
        facts, sizes = KINDS[kind], SIZES[kind]
        size = float(rng.uniform(*sizes.held_out)) * unit_of(kind, subject)
        if sizes.either_sign and rng.random() < 0.5:
            size = -size
        begins_s = CALM_S + number * (LASTS_S + PAUSE_S)
        yield Drift(
            kind=kind,
            size=round(size, 5),
            joints=(str(rng.choice(subject.joint_names)),) if facts.joints else (),
            axis=str(rng.choice(facts.axes)) if facts.axes else "",
            begins_s=begins_s,
            ends_s=begins_s + LASTS_S,
        )


@dataclass(frozen=True)
class Change:
    """A change that was found, or what a check-up named."""

    at_s: float
    joints: Sequence[str]


def judge(home: Path, drifts: Sequence[Drift]) -> dict[str, Any]:
    """What a home's daemon found of these drifts. Returns as `cell`."""
    rows = _daemon.query(
        home, f"SELECT robot_s, detail FROM drift_events WHERE kind = '{Finding.CHANGED.value}' ORDER BY id"
    )
    changes = [Change(at_s, json.loads(detail)["joints"]) for at_s, detail in rows]
    looked = _daemon.query(home, f"SELECT robot_s, detail FROM drift_events WHERE kind = '{DIAGNOSED}' ORDER BY id")
    named = [Change(at_s, json.loads(detail)["joints"]) for at_s, detail in looked if "joints" in json.loads(detail)]
    practised = _daemon.query(home, "SELECT started_s, ended_s FROM attempts WHERE ended_s IS NOT NULL ORDER BY id")
    spans = np.array(practised).reshape(-1, 2)
    attempts = _daemon.query(
        home,
        "SELECT a.skill, a.started_s, a.ended_s, coalesce(a.return, 0.0) / a.steps FROM attempts a "
        "JOIN skills k ON k.name = a.skill WHERE k.kind = 'task' AND a.state = 'finished' AND a.steps > 0 "
        f"AND a.outcome != 'aborted' AND a.ended_s - a.started_s >= {LEAST_S}",
    )
    found = []
    for drift in drifts:
        inside = [change for change in changes if drift.begins_s <= change.at_s < drift.ends_s]
        first = inside[0] if inside else None
        told = [each for each in named if first is not None and first.at_s <= each.at_s < drift.ends_s] or inside
        found.append(
            {
                "kind": drift.kind.value,
                "size": drift.size,
                "joint": drift.joints[0] if drift.joints else None,
                "delay_s": None if first is None else round(_within_s(spans, drift.begins_s, first.at_s), 2),
                "named": bool(drift.joints and told and list(drift.joints) == list(told[0].joints)),
                "earned": _earned(attempts, drift),
            }
        )
    watched_s = _daemon.query(home, f"SELECT min(robot_s) FROM drift_events WHERE kind = '{WATCHED}'")[0][0]
    ours = [(0.0, watched_s or 0.0), *((drift.begins_s, drift.ends_s + AFTER_S) for drift in drifts)]
    rows = _daemon.query(home, f"SELECT robot_s FROM drift_events WHERE kind = '{Finding.SUSPECTED.value}'")
    false, suspected = (
        [at_s for at_s in times if not any(begin <= at_s < end for begin, end in ours)]
        for times in ([change.at_s for change in changes], [at_s for (at_s,) in rows])
    )
    calm_s = _within_s(spans, 0.0, np.inf) - sum(_within_s(spans, begin, end) for begin, end in ours)
    return {
        "drifts": found,
        "false_alarms": len(false),
        "suspicions": len(suspected),
        "calm_h": calm_s / 3600.0,
    }


def _earned(attempts: Sequence[tuple[str, float, float, float]], drift: Drift) -> float | None:
    """Share of their usual reward per step that attempts of skill, begin, end and reward earned under a drift."""
    shares = []
    for skill, started_s, ended_s, reward in attempts:
        usual = [each for name, _, end_s, each in attempts if name == skill and end_s < CALM_S]
        if drift.begins_s <= started_s and ended_s <= drift.ends_s and usual:
            shares.append(reward / float(np.mean(usual)))
    return round(float(np.mean(shares)), 3) if shares else None


def _within_s(spans: np.ndarray[Any, Any], begin_s: float, end_s: float) -> float:
    """How much of some spans of time lies between two times."""
    cut = np.clip(spans, begin_s, end_s)
    return float((cut[:, 1] - cut[:, 0]).sum())


def together(cells: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Runs of one variant together.

    Returns:
        ``detected_share``, ``delay_s_median`` (of those detected), ``named_share`` (of the detected drifts of a joint,
        those whose joint was named), ``false_alarms_per_h`` and ``suspicions_per_h`` of calm practice,
        ``missed_earned`` (what robots earned under drifts that were not noticed, ascending), and ``by_kind`` with
        detected and all of each kind.
    """
    drifts = [drift for each in cells for drift in each["drifts"]]
    calm_h = max(1e-9, sum(each["calm_h"] for each in cells))
    seen = [drift for drift in drifts if drift["delay_s"] is not None]
    of_joints = [drift for drift in seen if drift["joint"] is not None]
    return {
        "detected_share": len(seen) / max(1, len(drifts)),
        "delay_s_median": float(np.median([drift["delay_s"] for drift in seen])) if seen else None,
        "named_share": sum(drift["named"] for drift in of_joints) / len(of_joints) if of_joints else None,
        "false_alarms_per_h": sum(each["false_alarms"] for each in cells) / calm_h,
        "suspicions_per_h": sum(each["suspicions"] for each in cells) / calm_h,
        "missed_earned": sorted(
            drift["earned"] for drift in drifts if drift["delay_s"] is None and drift.get("earned") is not None
        ),
        "by_kind": {
            kind: [
                sum(drift["kind"] == kind and drift["delay_s"] is not None for drift in drifts),
                sum(drift["kind"] == kind for drift in drifts),
            ]
            for kind in dict.fromkeys(drift["kind"] for drift in drifts)
        },
    }


def conclude(cells: Cells) -> dict[str, Any]:
    """What `together` returns, by variant."""
    return {variant: together(found) for variant, found in cells.items()}


STUDY = Study(
    name="drift-detection",
    module="benchmarks.drift_detection",
    variants={
        f"{robot}-{name}": {"robot": robot, "drifts": DEFAULT_N, "set": settings}
        for robot in ROBOTS
        for name, settings in POLICIES.items()
    },
    cell=cell,
    seeds=(0, 1, 2),
    conclude=conclude,
)

if __name__ == "__main__":
    main(STUDY)
