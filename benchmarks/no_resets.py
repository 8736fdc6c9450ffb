"""From lying on its back to walking with no reset: the A1 task of DayDreamer, learned by the daemon from nothing.

    python -m benchmarks.no_resets --seeds 0 1 2

Nobody touches the robot: attempts follow each other without a pause, wherever and however it lies. The figures are
published points per step (`skills.rise_and_walk`), 14 at most, as means over the last `WINDOW` steps of all that the
robot did, exploration included. Published, after 55 minutes: 10.7, and 7.8 for soft actor-critic (score files of Wu et
al. 2022).
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _daemon
from benchmarks._study import Study, main
from skills.rise_and_walk import SUCCESS_POINTS, RiseAndWalk

DEFAULT_N = 40
ROBOT = "a1_lying"
WINDOW = 2000
"""Steps that a mean is taken over: 100 s at 20 Hz."""
MARKS_MIN = (20.0, 30.0, 40.0)
CONTROL = {
    "control.rate_hz": 100,
    "control.policy_rate_hz": 20,
    # No fence: nothing brings the robot back from it.
    "workspace.size_m": 1000.0,
    # All that it does counts, so nothing is done without exploration only to be judged.
    "schedule.evaluate_every_min": 1000,
}
NARROW = {
    "learner.updates_per_step": 2,
    "learner.lr": 1e-3,
    "learner.init_std": 1.0,
    "learner.warmup_steps": 500,
}
LEARNER = {**NARROW, "learner.target_entropy": -0.5}
"""The points come in steps with nothing between them; who explores as narrowly as usual may stay below one for good."""


def run(seed: int, n: int, home: Path | None = None, learner: Mapping[str, Any] = LEARNER) -> dict[str, Any]:
    """Learn for ``n`` robot minutes from an empty home.

    Args:
        seed: of the run, and of how the robot lies at first.
        n: robot minutes.
        home: where to run; a temporary directory if None.
        learner: settings of the daemon by dotted name.

    Returns:
        ``curve`` (robot minutes, steps and points per step of each attempt), ``final``, ``points`` (mean at each of
        `MARKS_MIN` that was reached), ``minutes_to_11`` (None when never), ``steps``, ``interventions``, ``falls``,
        ``updates``, ``unaccounted_s``, ``metrics``.
    """
    if home is None:
        with tempfile.TemporaryDirectory() as folder:
            return run(seed, n, Path(folder) / "home", learner)
    changes = [part for name, value in {**CONTROL, **learner}.items() for part in ("--set", f"{name}={_toml(value)}")]
    skill = RiseAndWalk.name
    arguments = ("--robot", ROBOT, "--skills", skill, "--hours", str(n / 60), "--speed", "max", "--seed", str(seed))
    status = _daemon.run_daemon(home, *arguments, "--fresh", *changes)
    curve = curve_of(home, skill)
    return {
        "minutes": n,
        "final": mean_points(curve, curve[-1][0]),
        "points": {f"{mark:g}": mean_points(curve, mark) for mark in MARKS_MIN if mark <= n},
        "minutes_to_11": minutes_to(curve, SUCCESS_POINTS),
        "steps": sum(steps for _, steps, _ in curve),
        "interventions": status["interventions"],
        "falls": status["falls"],
        "updates": status["updates"],
        "realtime_factor": status["realtime_factor"],
        "unaccounted_s": _daemon.unaccounted_s(home),
        "metrics": _daemon.perdure_json(home, "metrics"),
        "curve": curve,
    }


Curve = Sequence[tuple[float, int, float]]
"""Per attempt: robot minutes at its end, steps, points per step."""


def curve_of(home: Path, skill: str) -> Curve:
    """All attempts of a skill, in order."""
    rows = _daemon.query(
        home, f"SELECT ended_s, steps, measures FROM attempts WHERE skill = '{skill}' AND steps > 0 ORDER BY id"
    )
    return [(round(s / 60.0, 3), int(steps), round(float(json.loads(m)["points"]), 4)) for s, steps, m in rows if m]


def mean_points(curve: Curve, minute: float) -> float:
    """Mean points per step over the last `WINDOW` steps, or all that there are, of what had ended by ``minute``."""
    left, total = WINDOW, 0.0
    for at, steps, points in reversed(curve):
        if at > minute + 1e-3 or left == 0:
            continue
        taken = min(left, steps)
        left -= taken
        total += taken * points
    return total / (WINDOW - left) if left < WINDOW else float("nan")


def minutes_to(curve: Curve, points: float) -> float | None:
    """Robot minutes until the mean over a full window first reaches ``points``."""
    ends = np.cumsum([steps for _, steps, _ in curve])
    for (minute, _, _), end in zip(curve, ends, strict=True):
        if end >= WINDOW and mean_points(curve, minute) >= points:
            return minute
    return None


def _toml(value: Any) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


def cell(settings: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """One run of the study."""
    return run(seed, int(settings["minutes"]), learner=settings["learner"])


STUDY = Study(
    name="no-resets",
    module="benchmarks.no_resets",
    variants={
        "sac": {"minutes": DEFAULT_N, "learner": LEARNER},
        "narrow": {"minutes": DEFAULT_N, "learner": NARROW},
    },
    cell=cell,
    figures={"final": "higher", "minutes_to_11": "lower"},
)

if __name__ == "__main__":
    main(STUDY)
