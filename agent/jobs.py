"""Jobs that are tied to a clock: evaluations, checkpoints, backups.

APScheduler's triggers say when a job is due; the daemon asks between attempts, when the robot stands. They are read
on the robot clock rather than by APScheduler's own wall-clock thread, so that a run at full speed does the same jobs at
the same robot times whenever it is repeated (docs/decisions/0004-robot-clock-jobs.md).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from apscheduler.triggers.base import BaseTrigger
from apscheduler.triggers.interval import IntervalTrigger

from persistence.backup import backup
from persistence.home import Home

EPOCH = datetime(2000, 1, 1, tzinfo=UTC)
"""Robot time 0, as the triggers see it."""


@dataclass
class _Job:
    trigger: BaseTrigger
    run: Callable[[], None]
    next_fire: datetime | None


class RobotClockJobs:
    """Runs what is due at a robot time. A job that was missed several times over runs once."""

    def __init__(self, now_s: float) -> None:
        """Begin at robot time ``now_s``."""
        self._jobs: dict[str, _Job] = {}
        self._start = EPOCH + timedelta(seconds=now_s)

    def every(self, name: str, minutes: float, run: Callable[[], None]) -> None:
        """Run a job each ``minutes`` of robot time, for the first time when they have passed; 0 switches it off."""
        if minutes <= 0:
            return
        first = self._start + timedelta(minutes=minutes)
        self.add(name, IntervalTrigger(seconds=minutes * 60.0, start_date=first, timezone=UTC), run)

    def add(self, name: str, trigger: BaseTrigger, run: Callable[[], None]) -> None:
        """Run a job by any APScheduler trigger.

        Raises:
            ValueError: the name is taken.
        """
        if name in self._jobs:
            raise ValueError(f"a job named {name!r} exists already; jobs are {sorted(self._jobs)}")
        self._jobs[name] = _Job(trigger, run, trigger.get_next_fire_time(None, self._start))

    def run_due(self, now_s: float) -> list[str]:
        """Run every job that is due. Returns their names, in the order in which they were added."""
        now = EPOCH + timedelta(seconds=now_s)
        ran = []
        for name, job in self._jobs.items():
            if job.next_fire is None or job.next_fire > now:
                continue
            fired = job.next_fire
            while fired is not None and fired <= now:
                fired = job.trigger.get_next_fire_time(fired, now)
            job.next_fire = fired
            job.run()
            ran.append(name)
        return ran


def start_backup(home: Home) -> None:
    """Copy the database in a thread of its own: the copy only reads, and may take its time."""
    threading.Thread(target=_back_up, args=(home,), name="backup", daemon=True).start()


def _back_up(home: Home) -> None:
    log = structlog.get_logger()
    try:
        made = backup(home)
        log.info("backup.made", file=made.path.name)
    except (OSError, RuntimeError, ValueError) as error:
        log.error("backup.failed", error=str(error))
