"""A thread for small files that tell of a run, so that the control loop never waits for a disk that stands still."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable

CAPACITY = 1024


class BackgroundWriter:
    """Runs writes in order, in a thread of its own; for the log and the status, on which nothing depends.

    What fails, and what comes when ``capacity`` writes wait, is left out without a word: a disk that is full or stands
    still is the store's to report (`persistence.writer`), which runs into it as well.
    """

    def __init__(self, capacity: int = CAPACITY) -> None:
        self._queue: queue.Queue[Callable[[], object] | None] = queue.Queue(capacity)
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="background-writer", daemon=True)
        self._thread.start()

    def submit(self, write: Callable[[], object]) -> None:
        """Have ``write`` called soon. Never blocks and never raises."""
        if not self._closed:
            with contextlib.suppress(queue.Full):
                self._queue.put_nowait(write)

    def close(self) -> None:
        """Finish what waits; what comes later is left out. Safe to call again."""
        if not self._closed:
            self._closed = True
            self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (write := self._queue.get()) is not None:
            with contextlib.suppress(Exception):  # whatever it was must not end the only thread that writes
                write()
