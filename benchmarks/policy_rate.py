"""Which rate of policy decisions learns best: `perdure bench policy-rate --seed 0 --n 15`.

``n`` is in robot minutes. One daemon per rate learns from nothing, all else being equal; what counts is how fast the
robot walks, exploration included, over the last fifth of that time.
"""

from __future__ import annotations

import json
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _daemon

DEFAULT_N = 15
RATES_HZ = (10, 25, 50)
"""Whole fractions of the control rate around those of published walkers, 10 to 30 Hz."""


def run(seed: int, n: int) -> dict[str, Any]:
    """Learn at each rate. Returns ``speed_mps`` (rate -> mean over forward and backward), ``falls`` and ``updates``."""
    with tempfile.TemporaryDirectory() as folder:

        def one(rate_hz: int) -> dict[str, Any]:
            home = Path(folder) / str(rate_hz)
            # A discount per step that means the same horizon in seconds at every rate, and one update per 40 ms.
            settings = {
                "control.policy_rate_hz": rate_hz,
                "learner.gamma": round(0.98 ** (25 / rate_hz), 5),
                "learner.updates_per_step": 25 / rate_hz,
                "learner.warmup_steps": 40 * rate_hz,
            }
            pairs = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
            status = _daemon.run_daemon(home, "--hours", str(n / 60), "--seed", str(seed), *pairs)
            return {"speed_mps": _late_speed(home, 60.0 * n), "falls": status["falls"], "updates": status["updates"]}

        with ThreadPoolExecutor(2) as pool:
            results = dict(zip(RATES_HZ, pool.map(one, RATES_HZ), strict=True))
    return {
        key: {str(rate): facts[key] for rate, facts in results.items()} for key in ("speed_mps", "falls", "updates")
    }


def _late_speed(home: Path, end_s: float) -> float | None:
    rows = _daemon.query(
        home,
        "SELECT skill, measures FROM attempts WHERE skill IN ('walk_forward', 'walk_backward') AND steps > 0 "
        f"AND ended_s > {0.8 * end_s}",
    )
    signs = {"walk_forward": 1.0, "walk_backward": -1.0}
    speeds = [signs[skill] * json.loads(measures).get("speed_mps", 0.0) for skill, measures in rows]
    return float(np.mean(speeds)) if speeds else None
