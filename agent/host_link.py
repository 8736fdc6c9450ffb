"""The daemon's end of the robot's process: starts it, asks it, notices when it ends or hangs, starts it again."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from agent.robot_host import AskHealth, Close, FollowDrift, Hello, HostJob, Mailboxes, Refused, Request, host_main
from sim.drift import DriftSchedule, DriftSubject
from sim.robot import RobotSpec

START_TIMEOUT_S = 60.0
SILENCE_S = 1.0
"""A host that has given no reading for this long hangs."""
CLOSE_TIMEOUT_S = 2.0
REVIVE_TIMEOUT_S = 0.2
RESTARTS_PER_HOUR = 3


class HostLink:
    """Supervises one host. No call but the first and `close` waits for longer than it is told to."""

    def __init__(self, job: HostJob, on_restart: Callable[[str], None]) -> None:
        """Start the host and wait until it is ready.

        Args:
            job: how to start it.
            on_restart: told why, each time that the host is started again.

        Raises:
            ValueError: the robot cannot be made; the reason is the host's.
            RuntimeError: the host does not start.
        """
        self.boxes = Mailboxes.new(job.place)
        self.starts = 0
        """How often a host was started; each counts its time and its explosions from 0."""
        self._job = job
        self._on_restart = on_restart
        self._context = multiprocessing.get_context("spawn")
        self._restarts_s: deque[float] = deque()
        self._start(job)
        hello = self._wait(START_TIMEOUT_S)
        if not isinstance(hello, Hello):
            self.kill()
            if isinstance(hello, Refused):
                raise ValueError(hello.reason)
            raise RuntimeError(f"the process of robot {job.name!r} does not start; try it with --speed max")
        self.placeable = hello.placeable
        """Whether the robot is simulated, so that a simulated person can put it down."""
        self.drift_subject: DriftSubject | None = hello.drift
        """How to say how the robot drifts, if it can."""
        self.spec: RobotSpec = hello.spec
        """What is fixed about the robot."""
        self._starting = False
        self._heard_s = self._ready_s = time.monotonic()

    def heard(self) -> float:
        """The host has given a new reading; how long after the one before, in s."""
        self._meet()
        before_s, self._heard_s = self._heard_s, time.monotonic()
        return self._heard_s - before_s

    def look_after(self) -> None:
        """There was no new reading: start a host again that has ended or hangs. Never waits for it."""
        hello = self._meet()
        if isinstance(hello, Refused) or not self._process.is_alive():
            why = f"could not start ({hello.reason})" if isinstance(hello, Refused) else "ended"
            self._start_again(f"{why} and was started again")
        elif not self._starting and time.monotonic() - max(self._heard_s, self._ready_s) > SILENCE_S:
            self._start_again(f"was silent for {SILENCE_S:g} s and was started again")

    def revive(self) -> None:
        """A person is there: a host that was given up or gives no answer is started again, and this waits for it."""
        if self._process.is_alive() and self.ask(AskHealth(), REVIVE_TIMEOUT_S) is not None:
            return
        self._restarts_s.clear()
        self._start_again("was started again by a person")
        self._connection.poll(START_TIMEOUT_S)
        self._meet()

    def _meet(self) -> Hello | Refused | None:
        """While a host starts: what it says of itself."""
        hello = self._wait(0.0) if self._starting else None
        if isinstance(hello, Hello):
            self._starting, self._ready_s = False, time.monotonic()
        return hello if isinstance(hello, Hello | Refused) else None

    def ask(self, request: Request, timeout_s: float) -> Any:
        """The host's answer; None if it gives none in time."""
        self._meet()
        if self._starting:
            return None
        try:
            while self._connection.poll():
                self._connection.recv()  # an answer that came too late for an earlier request
            self._connection.send(request)
        except (EOFError, OSError):
            return None
        return self._wait(timeout_s)

    def follow_drift(self, schedule: DriftSchedule, robot_s: float) -> None:
        """Tell the host, and each that takes its place, how its robot drifts; it gives no answer."""
        order = FollowDrift(schedule, robot_s, time.monotonic())
        self._job = replace(self._job, drift=order)
        with contextlib.suppress(OSError):
            self._connection.send(order)

    def close(self) -> None:
        """End the host."""
        self.ask(Close(), 0.0)
        self._process.join(CLOSE_TIMEOUT_S)
        self.kill()

    def kill(self) -> None:
        """End the process at once."""
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _start(self, job: HostJob) -> None:
        self._starting = True
        self.starts += 1
        self._connection, theirs = self._context.Pipe()
        self._process = self._context.Process(
            target=host_main, args=(theirs, job, self.boxes), name="robot", daemon=True
        )
        self._process.start()
        theirs.close()

    def _start_again(self, reason: str) -> None:
        now_s = time.monotonic()
        while self._restarts_s and now_s - self._restarts_s[0] > 3600.0:
            self._restarts_s.popleft()
        if len(self._restarts_s) >= RESTARTS_PER_HOUR:
            return
        self._restarts_s.append(now_s)
        self.kill()
        self._start(replace(self._job, again=True))
        self._on_restart(f"the robot's process {reason}")

    def _wait(self, timeout_s: float) -> Any:
        with contextlib.suppress(EOFError, OSError):
            if self._connection.poll(timeout_s):
                return self._connection.recv()
        return None
