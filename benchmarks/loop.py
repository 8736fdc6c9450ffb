"""Whether the loop keeps its deadlines in real time beside a learner at full load: `perdure bench loop --n 300`.

``n`` is in seconds of wall time. The learner works without a pause on a core of its own.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import _daemon

DEFAULT_N = 300
RATE_HZ = 50.0


def run(seed: int, n: int) -> dict[str, Any]:
    """Run the daemon for ``n`` seconds in real time.

    Returns:
        ``hz`` (control periods per wall second), ``late_ms_p50``, ``late_ms_p99``, ``late_ms_max``, ``missed`` (periods
        that ended more than one period late), ``ticks``, ``learner_updates_per_s`` and ``learner_busy_share``.
    """
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        status = _daemon.run_daemon(
            home,
            *("--hours", str(n / 3600), "--speed", "realtime", "--seed", str(seed)),
            *("--set", "control.core=0", "--set", "learner.core=1"),
            *("--set", "learner.warmup_steps=250", "--set", "learner.idle_updates_per_step=100"),
        )
        log = (home / "perdure.log").read_text(encoding="utf-8").splitlines()
    ended = next(entry for entry in map(json.loads, reversed(log)) if entry["event"] == "run.ended")
    busy_s = status["updates"] / status["updates_per_s"] if status["updates_per_s"] else 0.0
    return {
        **{key: ended[key] for key in ("hz", "ticks", "late_ms_p50", "late_ms_p99", "late_ms_max", "missed")},
        "robot_s": status["robot_s"],
        "learner_updates_per_s": status["updates_per_s"],
        "learner_busy_share": busy_s / status["robot_s"],
    }
