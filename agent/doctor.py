"""``perdure doctor``: one small function per check, in one table. A check only reports; it changes nothing."""

from __future__ import annotations

import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from agent.machine import package_version, usable_cores
from persistence.home import Home, lock_holder

MINIMUM_DISK_GB = 5.0
"""Free space below which the self-test refuses to start; an hour of robot time needs about 0.1 GB."""
FIXED_SQLITE = (3, 51, 3)
"""First release without the WAL-reset bug, apart from the back-ports below."""
BACKPORTS = ((3, 50, 7), (3, 44, 6))
MINIMUM_TORCH = (2, 10)
"""Before it, loading weights could run code (CVE-2026-24747)."""


class Outcome(StrEnum):
    """What a check found."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """Result of one check."""

    name: str
    outcome: Outcome
    text: str
    """What was found, and what to do where it is not ok."""


Check = Callable[[Path], tuple[Outcome, str]]


def check_python(home: Path) -> tuple[Outcome, str]:
    """PyBullet ships wheels up to Python 3.11 only."""
    del home
    version = ".".join(str(part) for part in sys.version_info[:3])
    if sys.version_info[:2] != (3, 11):
        return Outcome.FAIL, f"{version}; install Python 3.11"
    return Outcome.OK, version


def check_torch(home: Path) -> tuple[Outcome, str]:
    """The learner needs torch; old releases are not safe to load weights with."""
    del home
    version = package_version("torch")
    if version is None:
        return Outcome.FAIL, "not installed; run pip install -e ."
    if release(version) < MINIMUM_TORCH:
        return Outcome.FAIL, f"{version}; install {'.'.join(map(str, MINIMUM_TORCH))} or newer"
    return Outcome.OK, version


def check_packages(home: Path) -> tuple[Outcome, str]:
    """Everything else that the daemon imports."""
    del home
    names = ("numpy", "scipy", "pybullet", "sqlite-utils", "safetensors", "apscheduler", "structlog")
    missing = [name for name in names if package_version(name) is None]
    if missing:
        return Outcome.FAIL, f"not installed: {', '.join(missing)}; run pip install -e ."
    return Outcome.OK, ", ".join(f"{name} {package_version(name)}" for name in names)


def check_sqlite(home: Path) -> tuple[Outcome, str]:
    """Old SQLite can corrupt a database that two connections write at once; perdure has one writer, others may not."""
    del home
    version = sqlite3.sqlite_version
    number = release(version)
    patched = any(number[:2] == fixed[:2] and number >= fixed for fixed in BACKPORTS)
    if number < FIXED_SQLITE and not patched:
        advice = "has the WAL-reset bug (fixed in 3.51.3); perdure writes from one process, no other program may write"
        return Outcome.WARN, f"{version} {advice}"
    return Outcome.OK, version


def check_home(home: Path) -> tuple[Outcome, str]:
    """The home, or the nearest folder above it that exists, can be written."""
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    if not existing.is_dir():
        return Outcome.FAIL, f"{existing} is not a directory; choose another with --home"
    if not os.access(existing, os.W_OK | os.X_OK):
        return Outcome.FAIL, f"{existing} is not writable; choose another with --home, or change its permissions"
    owner = lock_holder(Home(home))
    if owner is not None:
        return Outcome.OK, f"{home}, in use by a daemon (pid {owner.pid})"
    return Outcome.OK, f"{home}{'' if existing == home else ' (will be created)'}"


def check_disk(home: Path) -> tuple[Outcome, str]:
    """There is room for days of episodes."""
    existing = next(folder for folder in (home, *home.parents) if folder.exists())
    free_gb = shutil.disk_usage(existing).free / 1e9
    if free_gb < MINIMUM_DISK_GB:
        return Outcome.FAIL, f"{free_gb:.1f} GB free; free at least {MINIMUM_DISK_GB:g} GB or choose another --home"
    return Outcome.OK, f"{free_gb:.1f} GB free"


def check_clock(home: Path) -> tuple[Outcome, str]:
    """The monotonic clock is fine enough for the loop, and the wall clock is plausible."""
    del home
    resolution_s = time.get_clock_info("monotonic").resolution
    if resolution_s > 1e-3:
        return Outcome.FAIL, f"monotonic clock steps by {1e3 * resolution_s:g} ms; a 50 Hz loop needs 1 ms or less"
    now = datetime.now(UTC)
    if now.year < 2026:
        return Outcome.WARN, f"wall clock says {now:%Y-%m-%d}; set it (figures do not depend on it, dates do)"
    return Outcome.OK, f"{now:%Y-%m-%d %H:%M:%S} UTC, monotonic resolution {1e9 * resolution_s:g} ns"


def check_cores(home: Path) -> tuple[Outcome, str]:
    """The learner has a core of its own."""
    del home
    cores = usable_cores()
    if cores < 2:
        return Outcome.WARN, "1 core; the control loop and the learner share it, so realtime may miss periods"
    return Outcome.OK, f"{cores} cores"


def check_threads(home: Path) -> tuple[Outcome, str]:
    """Number libraries do not take the control loop's core."""
    del home
    threads = os.environ.get("OMP_NUM_THREADS")
    if threads != "1" and usable_cores() < 4:
        return Outcome.WARN, f"OMP_NUM_THREADS={threads or 'not set'}; set it to 1 on a machine with few cores"
    return Outcome.OK, f"OMP_NUM_THREADS={threads or 'not set'}"


def check_store(home: Path) -> tuple[Outcome, str]:
    """The stored data, if there is any, is whole."""
    if not Home(home).db.exists():
        return Outcome.OK, "no database yet"
    facts = store_facts(home)
    if not facts["ok"]:
        problems = "; ".join(str(problem) for problem in facts["problems"])
        return Outcome.FAIL, f"{problems}; restore the newest backup from {Home(home).backups}"
    return Outcome.OK, f"{facts['events']} events, chain {str(facts['chain_head'])[:12]}"


CHECKS: dict[str, Check] = {
    "python": check_python,
    "torch": check_torch,
    "packages": check_packages,
    "sqlite": check_sqlite,
    "home": check_home,
    "disk": check_disk,
    "clock": check_clock,
    "cores": check_cores,
    "threads": check_threads,
    "store": check_store,
}
"""Every check by its name, in the order of the report."""


def examine(home: Path) -> list[Finding]:
    """Run all checks; one that breaks is a finding of its own, never the end of the report."""
    return [_examined(name, check, home) for name, check in CHECKS.items()]


def _examined(name: str, check: Check, home: Path) -> Finding:
    try:
        return Finding(name, *check(home))
    except Exception as error:
        return Finding(name, Outcome.FAIL, f"the check itself failed: {error}")


def store_facts(home: Path) -> dict[str, Any]:
    """Verify the store: ``ok``, ``events``, ``chain_head`` (hex) and ``problems`` (list of text).

    Raises:
        ValueError: there is no database.
    """
    from persistence.report import store_report

    database = Home(home).db
    if not database.is_file():
        raise ValueError(f"no database at {database}; start `perdure run` on this home first, or pass another --home")
    return asdict(store_report(database))


def release(version: str) -> tuple[int, ...]:
    """Leading numbers of a version: ``"2.13.0+cpu"`` gives ``(2, 13, 0)``."""
    numbers: list[int] = []
    for part in version.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)
