"""The daemon's end of the learner: hands it attempts, notices when it dies or hangs, starts it again."""

from __future__ import annotations

import contextlib
import multiprocessing
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from agent.learner_messages import (
    Alive,
    Done,
    Failed,
    Ingest,
    LearnerJob,
    SaveCheckpoint,
    Saved,
    Snapshot,
    Stop,
    StoredAttempts,
)
from agent.learner_process import learner_main
from meta.drift_monitor import Condition
from skills.learners.drift_offsets import SearchNews

START_TIMEOUT_S = 60.0
"""Importing torch and rebuilding the replay memory may take this long before a lockstep run gives up waiting."""
HANG_TIMEOUT_S = 120.0
_BACKOFF_S = (0.0, 1.0, 5.0, 30.0)


class LearnerUnavailableError(RuntimeError):
    """The learner did not answer in time although it was started again."""


@dataclass
class LearnerProgress:
    """What the learner last said of itself."""

    version: int = 0
    updates: int = 0
    updates_per_s: float = 0.0
    metrics: dict[str, float] = field(default_factory=dict)
    ticket: int = -1
    """Newest ticket whose updates are all made; -1 before the learner is ready."""
    snapshots: dict[int, Snapshot] = field(default_factory=dict)
    """The snapshots published with each of the last few tickets; the newest ones for a ticket that got several."""
    restarts: int = 0
    skipped: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Why updates were undone; emptied by whoever writes it down."""
    restored_seq: int | None = None
    searches: list[SearchNews] = field(default_factory=list)
    """Searches for offsets that have begun or ended; emptied by whoever writes it down."""


class LearnerLink:
    """Starts, feeds and supervises the learner process. No call but `wait_for` and `close` ever waits."""

    def __init__(
        self,
        job: LearnerJob,
        episodes: Callable[[], StoredAttempts],
        on_saved: Callable[[Saved], None],
        on_restart: Callable[[str], None],
    ) -> None:
        """Start the process.

        Args:
            job: how to start it.
            episodes: the stored attempts, asked again at each restart.
            on_saved: called with each finished checkpoint.
            on_restart: called with the reason when the process had to be started again.
        """
        self.progress = LearnerProgress()
        self._job = job
        self._episodes = episodes
        self._on_saved = on_saved
        self._on_restart = on_restart
        self._context = multiprocessing.get_context("spawn")
        self._next_ticket = 1
        self._unsent: deque[Ingest | SaveCheckpoint] = deque()
        self._restart_at_s: float | None = None
        self._saved_seq = -1
        self._wanted: SaveCheckpoint | None = None
        """The newest checkpoint that was asked for and is not on disk yet."""
        self._heard_s = time.monotonic()
        self._start()

    def ingest(self, path: Path, condition: Condition = Condition.USUAL) -> int:
        """Hand over one stored attempt, and what the robot was like in it. Returns its ticket."""
        ticket = self._next_ticket
        self._next_ticket += 1
        self._unsent.append(Ingest(ticket, path, condition))
        self.poll()
        return ticket

    def checkpoint(self, seq: int, robot_s: float) -> None:
        """Ask for a checkpoint; ``on_saved`` tells when it is on disk."""
        self._wanted = SaveCheckpoint(seq, robot_s)
        self._unsent.append(self._wanted)
        self.poll()

    def poll(self) -> LearnerProgress:
        """Take in what the learner has said, send what it can take, start it again if it is gone."""
        try:
            while self._connection.poll():
                self._hear(self._connection.recv())
            # Messages are small, and a pipe takes hundreds of them; a learner that is behind gets one at a time.
            while self._unsent and self._in_flight < 64:
                self._connection.send(self._unsent.popleft())
                self._in_flight += 1
        except (EOFError, OSError):
            self._gone("the learner process ended")
        if self._restart_at_s is not None and time.monotonic() >= self._restart_at_s:
            self._start()
        return self.progress

    def wait_for(self, ticket: int) -> None:
        """Block until all updates owed for ``ticket`` are made: the meeting point of a lockstep run.

        Raises:
            LearnerUnavailableError: it was silent for too long, twice.
        """
        for timeout_s in (max(START_TIMEOUT_S, HANG_TIMEOUT_S), HANG_TIMEOUT_S):
            begun_s = time.monotonic()
            while time.monotonic() < max(begun_s, self._heard_s) + timeout_s:
                if self.poll().ticket >= ticket:
                    return
                with contextlib.suppress(EOFError, OSError):
                    self._connection.poll(0.5)
            self._gone(f"the learner was silent for {timeout_s:.0f} s")
        raise LearnerUnavailableError(
            f"the learner did not answer within {HANG_TIMEOUT_S:.0f} s, twice; see perdure.log"
        )

    def wait_saved(self, seq: int) -> None:
        """Block until checkpoint ``seq`` is on disk, so that a lockstep run notes it at the same place each time.

        Raises:
            LearnerUnavailableError: it was silent for too long.
        """
        deadline_s = time.monotonic() + HANG_TIMEOUT_S
        while time.monotonic() < deadline_s:
            self.poll()
            if self._saved_seq >= seq:
                return
            with contextlib.suppress(EOFError, OSError):
                self._connection.poll(0.5)
        raise LearnerUnavailableError(
            f"checkpoint {seq} was not written within {HANG_TIMEOUT_S:.0f} s; see perdure.log"
        )

    def close(self, checkpoint: SaveCheckpoint | None = None, timeout_s: float = 20.0) -> None:
        """Write a last checkpoint if asked, then end the process; kill it when it takes too long."""
        if checkpoint is not None and self._process.is_alive():
            self._unsent.append(checkpoint)
        deadline_s = time.monotonic() + timeout_s
        while time.monotonic() < deadline_s and self._restart_at_s is None:
            self.poll()
            if not self._unsent and (checkpoint is None or self._saved_seq >= checkpoint.seq):
                break
            time.sleep(0.01)
        with contextlib.suppress(OSError):
            self._connection.send(Stop())
        self._process.join(max(0.5, min(5.0, deadline_s - time.monotonic())))
        if self._process.is_alive():
            self._process.kill()
            self._process.join()
        self._connection.close()

    def kill(self) -> None:
        """End the process at once; does nothing after `close`."""
        self._restart_at_s = None
        if self._process.is_alive():
            self._process.kill()
        self._process.join()

    @property
    def pid(self) -> int | None:
        """Process number of the learner."""
        return self._process.pid

    def _start(self) -> None:
        self._restart_at_s = None
        self._in_flight = 0
        self._ready = False
        # What was handed over is on disk: this process reads it from there.
        self._unsent = deque([self._wanted] if self._wanted is not None else [])
        self._base_ticket = self._next_ticket - 1
        ours, theirs = self._context.Pipe()
        job = replace(self._job, episodes=self._episodes())
        self._process = self._context.Process(
            target=learner_main, args=(theirs, job), name="perdure-learner", daemon=True
        )
        self._process.start()
        theirs.close()
        self._connection = ours

    def _hear(self, message: Any) -> None:
        p = self.progress
        self._heard_s = time.monotonic()
        if isinstance(message, Alive):
            return
        if isinstance(message, Done):
            p.version, p.updates = message.version, message.updates
            ticket = message.ticket
            p.metrics = message.metrics or p.metrics
            p.updates_per_s = message.updates_per_s
            p.skipped.extend(message.skipped)
            p.searches.extend(message.searches)
            if message.refused:
                p.refused.append(message.refused)
            if message.ticket == 0:
                # A learner that was started again has read every stored attempt, so nothing older is owed.
                ticket = self._base_ticket
                if not self._ready:
                    self._ready, p.restored_seq = True, message.restored_seq
            elif ticket > p.ticket:
                self._in_flight -= 1
            p.ticket = max(p.ticket, ticket)
            p.snapshots[ticket] = message.snapshot
            while len(p.snapshots) > 3:
                del p.snapshots[min(p.snapshots)]
        elif isinstance(message, Failed):
            raise LearnerUnavailableError(f"the learner cannot start: {message.reason}")
        elif isinstance(message, Saved):
            self._in_flight -= 1
            self._saved_seq = message.seq
            if self._wanted is not None and self._wanted.seq <= message.seq:
                self._wanted = None
            # A learner that has to be started again goes on from here, not from where this run began.
            self._job = replace(self._job, max_checkpoint_seq=message.seq)
            self._on_saved(message)

    def _gone(self, reason: str) -> None:
        if self._restart_at_s is not None:
            return
        if self._process.is_alive():
            self._process.kill()
        with contextlib.suppress(OSError):
            self._connection.close()
        p = self.progress
        wait_s = _BACKOFF_S[min(p.restarts, len(_BACKOFF_S) - 1)]
        p.restarts += 1
        self._restart_at_s = time.monotonic() + wait_s
        self._on_restart(reason)
