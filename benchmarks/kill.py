"""Whether anything is lost when the daemon is killed at random moments: `perdure bench kill --n 50`.

``n`` is the number of SIGKILLs, each followed by a resume on the same home. Attempts count as acknowledged once the
daemon has said so in its log, outside of the database (the idea of Jepsen: record each acknowledged operation outside
of the system, crash it, compare).
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _daemon

DEFAULT_N = 50
KILL_WITHIN_S = 14.0
"""A kill comes at a random moment within this long: while the learner starts, in attempts, and between them."""
_SETTINGS = (
    *("--set", "learner.hidden=[32,32]", "--set", "learner.batch=32", "--set", "learner.warmup_steps=250"),
    *("--set", "schedule.checkpoint_every_min=0.5", "--set", "person.delay_s=5"),
)


def run(seed: int, n: int) -> dict[str, Any]:
    """Kill the daemon ``n`` times.

    Returns:
        ``kills``, ``lost`` (acknowledged attempts that the database lacks or tells otherwise), ``doubled`` (ids or
        episode files that appear twice), ``chain_ok``, ``store_problems``, ``unaccounted_s``, ``acknowledged``,
        ``aborted``, ``crashes_logged`` and ``files_without_row``.
    """
    rng = np.random.default_rng(seed)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        kills = 0
        while kills < n:
            kills += _start_and_kill(home, seed, float(rng.uniform(0.0, KILL_WITHIN_S)))
        _daemon.run_daemon(home, "--attempts", "1", "--seed", str(seed), *_SETTINGS)
        return {"kills": kills, **_compare(home)}


def _start_and_kill(home: Path, seed: int, after_s: float) -> bool:
    """Start the daemon, wait until its books are open and a random time more, and kill it with its children."""
    process = subprocess.Popen(
        _daemon.command(home, "--seed", str(seed), *_SETTINGS),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=_daemon.environment(),
    )
    started = time.monotonic()
    runs_before = _runs(home)
    while process.poll() is None and _runs(home) == runs_before and time.monotonic() - started < 60:
        time.sleep(0.02)
    time.sleep(after_s)
    if process.poll() is not None:
        stderr = process.stderr.read().decode() if process.stderr else ""
        raise RuntimeError(f"the daemon ended by itself with {process.returncode}: {stderr.strip()}")
    process.send_signal(signal.SIGKILL)
    process.wait()
    if process.stderr:
        process.stderr.close()
    return True


def _runs(home: Path) -> int:
    with contextlib.suppress(Exception):
        return int(_daemon.query(home, "SELECT count(*) FROM runs")[0][0])
    return 0


def _compare(home: Path) -> dict[str, Any]:
    promised = _daemon.acknowledged(home)
    rows = _daemon.query(home, "SELECT id, outcome, state, episode_file FROM attempts ORDER BY id")
    stored = {row[0]: row[1] for row in rows if row[2] == "finished"}
    files = [row[3] for row in rows if row[3]]
    on_disk = {path.name for path in (home / "episodes").iterdir()}
    doctor = _daemon.perdure_json(home, "doctor", "--store")
    return {
        "acknowledged": len(promised),
        "lost": sum(stored.get(number) != outcome for number, outcome in promised.items()) + len(set(files) - on_disk),
        "doubled": len(rows) - len({row[0] for row in rows}) + len(files) - len(set(files)),
        "chain_ok": bool(doctor["ok"]),
        "store_problems": doctor["problems"],
        "unaccounted_s": _daemon.unaccounted_s(home),
        "aborted": sum(row[1] == "aborted" for row in rows),
        "crashes_logged": _daemon.query(home, "SELECT count(*) FROM runs WHERE ended = 'crash'")[0][0],
        "files_without_row": len(on_disk - set(files)),
    }
