"""What the daemon tells of itself while it runs: the status file behind `perdure status` and the live view."""

from __future__ import annotations

import os
import time
from concurrent.futures import Future
from functools import partial
from typing import Any

from agent.background import BackgroundWriter
from agent.brain import Brain
from agent.config import Config
from agent.drift_watch import DriftWatch
from agent.learner_link import LearnerLink
from agent.ledger import Ledger
from agent.pilot import Pilot
from agent.status import Status, write_status
from persistence.home import Home
from persistence.metrics import metrics
from persistence.writer import StoreWriter
from sim.robot import Clock

METRICS_S = 5.0
"""Wall time between two looks at the persistence metrics."""


class Reporter:
    """Collects the status of one run; the metrics in it come from the writer's thread and are a little old."""

    def __init__(
        self,
        *,
        config: Config,
        home: Home,
        writer: StoreWriter,
        background: BackgroundWriter,
        ledger: Ledger,
        pilot: Pilot,
        brain: Brain,
        link: LearnerLink | None,
        clock: Clock,
        attempts_before: int,
        drift_watch: DriftWatch | None = None,
    ) -> None:
        """Report on a run that begins now."""
        self._config = config
        self._home = home
        self._writer = writer
        self._background = background
        self._ledger = ledger
        self._pilot = pilot
        self._brain = brain
        self._link = link
        self._clock = clock
        self._attempts_before = attempts_before
        self._drift_watch = drift_watch
        self._metrics: dict[str, Any] = {}
        self._metrics_future: Future[dict[str, Any]] | None = None
        self._due_s = 0.0
        self._started_wall_s = time.monotonic()
        self._started_robot_s = clock.now_s()

    def write(self, last_error: str | None) -> None:
        """Have the status file replaced, without waiting for the disk."""
        status = self.status(time.monotonic(), last_error)
        self._background.submit(partial(write_status, self._home.root, status))

    def write_last(self, last_error: str | None) -> None:
        """Replace the status file for the last time, with metrics of the closed books."""
        self._metrics = self._writer.submit(metrics).result()
        self._metrics_future, self._due_s = None, float("inf")
        self.write(last_error)

    def status(self, wall_s: float, last_error: str | None) -> Status:
        """What the run is doing now."""
        self._refresh_metrics(wall_s)
        m = self._metrics
        now_s = self._clock.now_s()
        progress = self._link.progress if self._link else None
        drift = self._drift_watch.status if self._drift_watch is not None else None
        elapsed_s = max(1e-6, wall_s - self._started_wall_s)
        return Status(
            pid=os.getpid(),
            run_id=self._ledger.run_id,
            state=self._pilot.operation.state.value,
            skill=self._pilot.practice.skill_name or None,
            attempts=self._attempts_before + self._ledger.totals.attempts,
            robot_s=now_s,
            observed_hours=now_s / 3600.0,
            productive_hours=m.get("productive_hours", 0.0),
            speed_mps=self._pilot.practice.last_speed_mps.get("walk_forward"),
            falls=m.get("falls", 0),
            self_recoveries=m.get("self_recoveries", 0),
            interventions=m.get("interventions", 0),
            failures=m.get("failures", 0),
            mtbf_hours=m.get("mtbf_hours"),
            mtbf_lower_hours=m.get("mtbf_lower_hours"),
            mtbf_upper_hours=m.get("mtbf_upper_hours"),
            policy_version=self._brain.policy_version,
            drift=drift.condition if drift is not None else None,
            drift_since_s=drift.since_s if drift is not None else None,
            drift_joint=(drift.joint or None) if drift is not None else None,
            drift_cause=(drift.cause or None) if drift is not None else None,
            updates=progress.updates if progress else 0,
            updates_per_s=progress.updates_per_s if progress else 0.0,
            realtime_factor=(now_s - self._started_robot_s) / elapsed_s,
            home=str(self._home.root),
            robot=self._config.run.robot,
            seed=self._config.run.seed,
            mode=self._config.run.speed,
            last_error=last_error,
        )

    def _refresh_metrics(self, wall_s: float) -> None:
        """Ask the writer for the figures of the live view, in its own thread and on its own connection."""
        future = self._metrics_future
        if future is not None and future.done():
            self._metrics_future = None
            if future.exception() is None:
                self._metrics = future.result()
        if self._metrics_future is None and wall_s >= self._due_s:
            self._due_s = wall_s + METRICS_S
            self._metrics_future = self._writer.submit(metrics)
