"""Facts about the machine and the software, stored with every benchmark result and every run."""

from __future__ import annotations

import os
import platform
import sqlite3
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("perdure", "torch", "numpy", "scipy", "pybullet", "gymnasium", "sqlite-utils", "safetensors", "apscheduler")

CHECKOUT = Path(__file__).resolve().parents[1]
"""Where the code lies; a checkout also holds ``benchmarks``."""


def machine_facts() -> dict[str, Any]:
    """Facts that a figure depends on.

    Returns:
        ``cpu`` (model name), ``cores`` (usable by this process), ``memory_gib``, ``os``, ``python``, ``sqlite``,
        ``threads`` (OMP_NUM_THREADS or None), ``versions`` (package to version), ``commit`` (git commit, with
        ``+changes`` if files differ; None outside of a checkout), ``utc`` (date and time).
    """
    return {
        "cpu": _cpu_name(),
        "cores": usable_cores(),
        "memory_gib": _memory_gib(),
        "os": platform.platform(),
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "versions": versions(),
        "commit": commit(),
        "utc": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str | None]:
    """Installed version of each package that results depend on; None where it is not installed."""
    return {name: package_version(name) for name in PACKAGES}


def package_version(name: str) -> str | None:
    """Installed version of one package, without importing it; None where it is not installed."""
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def usable_cores() -> int:
    """CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def commit() -> str | None:
    """Git commit of the checkout, with ``+changes`` if tracked files differ; None outside of a checkout."""
    head = _git("rev-parse", "HEAD")
    if not head:
        return None
    changed = _git("status", "--porcelain", "--untracked-files=no")
    return f"{head}+changes" if changed else head


def _git(*arguments: str) -> str | None:
    command = ["git", "-C", str(CHECKOUT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None
