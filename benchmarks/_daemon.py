"""Runs the real daemon for a benchmark, as a user would: the command in a process of its own, facts from its home."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agent.parent import die_with_parent
from agent.policies import POLICY_TENSOR
from persistence.checkpoints import checkpoint_seqs, load_newest
from persistence.errors import PersistenceError
from persistence.home import Home
from skills.policy import PolicyWeights

SLACK_H = 1e-3


def command(home: Path, *arguments: str) -> list[str]:
    """The command line of a daemon on ``home``."""
    return [sys.executable, "-m", "agent.cli", "run", "--home", str(home), "--no-web", "--json", *arguments]


def told(settings: Mapping[str, Any]) -> list[str]:
    """Arguments that set these, by dotted name."""
    return [part for name, value in settings.items() for part in ("--set", f"{name}={json.dumps(value)}")]


def environment() -> dict[str, str]:
    """The environment of a measured process: one thread per library."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}


def run_daemon(home: Path, *arguments: str) -> dict[str, Any]:
    """Run a daemon to its end. Returns its last status.

    Raises:
        RuntimeError: it failed; the message has what it printed.
    """
    done = subprocess.run(
        command(home, *arguments),
        capture_output=True,
        text=True,
        env=environment(),
        check=False,
        preexec_fn=_stop_with_study,
    )
    return _status(done.returncode, done.stdout, done.stderr)


def _stop_with_study() -> None:
    """A daemon whose study was killed stops in order, and the study goes on from there when it is run again."""
    die_with_parent(signal.SIGTERM)  # a Python that is only starting up may swallow SIGINT


def run_until(home: Path, hours: float, *arguments: str) -> None:
    """Run a daemon on a home, or go on where it was cut off, until it has so many robot hours behind it.

    Raises:
        RuntimeError: it failed, or ended before its time, such as by a signal.
    """
    left_h = hours - practised_h(home)
    if left_h <= SLACK_H:
        return
    run_daemon(home, "--hours", str(left_h), *arguments)
    done_h = practised_h(home)
    if hours - done_h > SLACK_H:
        raise RuntimeError(
            f"the run ended after {60 * done_h:.1f} of {60 * hours:.1f} robot minutes; run it again to go on"
        )


def practised_h(home: Path) -> float:
    """Robot time that a home has behind it."""
    if not Home(home).db.is_file():
        return 0.0
    practised_s: float = query(home, "SELECT max(coalesce(ended_s, heartbeat_s)) FROM runs")[0][0] or 0.0
    return practised_s / 3600


@contextmanager
def kept_home(name: str) -> Iterator[Path]:
    """A home that is kept under this name where ``PERDURE_BENCH_HOMES`` says so, or else a temporary one."""
    folder = os.environ.get("PERDURE_BENCH_HOMES")
    if folder:
        yield Path(folder) / name
        return
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(temporary) / "home"


def remembered(home: Path, key: str, find: Callable[[], Any]) -> Any:
    """What was found of a home at some moment, kept beside it as JSON: the home itself goes on and changes."""
    kept = home.with_name(f"{home.name}-evaluations.json")
    known: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    if key not in known:
        known[key] = find()
        kept.write_text(json.dumps(known), encoding="utf-8")
    return known[key]


def run_and_keep_policies(home: Path, keep: Path, *arguments: str) -> dict[str, Any]:
    """Run a daemon to its end and copy each checkpoint's policy as it appears; a home keeps only the newest.

    Args:
        home: where to run.
        keep: folder for the copies, ``<robot ms>.safetensors`` each.
        arguments: of ``perdure run``.

    Returns:
        Its last status.

    Raises:
        RuntimeError: it failed; the message has what it printed.
    """
    keep.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        daemon = subprocess.Popen(
            command(home, *arguments),
            stdout=out,
            stderr=errors,
            text=True,
            env=environment(),
            preexec_fn=_stop_with_study,
        )
        try:
            while daemon.poll() is None:
                time.sleep(0.1)  # a short run writes several a second, and a home keeps three
                _copy_policies(home, keep)
        finally:
            daemon.kill()
        _copy_policies(home, keep)
        out.seek(0)
        errors.seek(0)
        return _status(daemon.wait(), out.read(), errors.read())


def _copy_policies(home: Path, keep: Path) -> None:
    directory = Home(home).checkpoints
    for seq in checkpoint_seqs(directory):
        if any(keep.glob(f"{seq}-*")):
            continue
        try:
            loaded = load_newest(directory, max_seq=seq)
        except PersistenceError:
            continue  # it went while it was read
        if loaded is not None and loaded.seq == seq:
            path = keep / f"{seq}-{round(1000 * loaded.meta['robot_s'])}.safetensors"
            path.write_bytes(loaded.tensors[POLICY_TENSOR].tobytes())


def kept_policies(keep: Path) -> dict[float, PolicyWeights]:
    """What `run_and_keep_policies` kept, by robot time in minutes, in order."""
    found = {int(path.stem.split("-")[1]) / 60_000: path for path in keep.glob("*.safetensors")}
    return {minutes: PolicyWeights.from_bytes(found[minutes].read_bytes()) for minutes in sorted(found)}


def _status(code: int, out: str, errors: str) -> dict[str, Any]:
    if code or "Traceback" in errors:
        raise RuntimeError(f"perdure run ended with {code}: {errors.strip()[-2000:]}")
    status: dict[str, Any] = json.loads(out)
    return status


def perdure_json(home: Path, *arguments: str) -> Any:
    """Output of another command of perdure on ``home``, parsed."""
    full = [sys.executable, "-m", "agent.cli", *arguments, "--home", str(home), "--json"]
    done = subprocess.run(full, capture_output=True, text=True, env=environment(), check=False)
    if not done.stdout:
        raise RuntimeError(f"{' '.join(arguments)} ended with {done.returncode}: {done.stderr.strip()}")
    return json.loads(done.stdout)


def query(home: Path, sql: str) -> list[tuple[Any, ...]]:
    """Rows of a query on the database of ``home``, which may be in use."""
    connection = sqlite3.connect(f"file:{home / 'perdure.db'}?mode=ro", uri=True, timeout=10.0)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def unaccounted_s(home: Path) -> float:
    """Observed time less the sum of all state times, over all runs of a home."""
    (observed,) = query(home, "SELECT sum(ended_s - started_s) FROM runs")[0]
    (accounted,) = query(home, "SELECT sum(ended_s - started_s) FROM state_intervals")[0]
    return float(observed or 0.0) - float(accounted or 0.0)


def acknowledged(home: Path) -> dict[int, str]:
    """Attempts whose end the daemon has confirmed outside of the database: id and outcome, from its log."""
    out: dict[int, str] = {}
    path = home / "perdure.log"
    if not path.exists():
        return out
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # the last line of a killed process
        if entry.get("event") == "attempt.finished":
            out[int(entry["attempt"])] = str(entry["outcome"])
    return out
