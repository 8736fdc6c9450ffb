"""What the process asks of the system while the loop runs: to be told to stop, and in real time to be on time."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

SWITCH_INTERVAL_S = 0.0005
"""Other threads give way to the loop after this long at most; Python's own setting is 5 ms."""
SAME_S = 1.0
"""Signals within this time are one wish."""
PRIORITY = 10
OTHERS_PRIORITY = 5
"""Of the process's other threads. Above all ordinary processes too: one that is kept from running while it holds the
interpreter's lock keeps the loop waiting."""


class StopSignal:
    """SIGTERM, SIGINT and SIGHUP ask for a clean stop; one that comes a while later ends the process at once.

    What comes within `SAME_S` is the same wish: a terminal tells all processes, and a guard tells its daemon.
    """

    def __init__(self) -> None:
        """Nothing was asked yet."""
        self.name: str | None = None
        """The signal that came, in lower case; None while the run may go on."""
        self._asked_s = 0.0

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Take the signals over for as long as the block runs; does nothing outside of the main thread."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        names = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
        before = {number: signal.signal(number, self._handle) for number in names}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _handle(self, number: int, frame: object) -> None:
        del frame
        now_s = time.monotonic()
        if self.name is None:
            self.name, self._asked_s = signal.Signals(number).name.lower(), now_s
        elif now_s - self._asked_s > SAME_S:
            os._exit(128 + number)


@contextlib.contextmanager
def punctual(core: int | None) -> Iterator[None]:
    """In real time the loop goes first, threads yield to it quickly, and garbage waits until an attempt is over.

    Args:
        core: bind the process to this core; None lets the system choose.
    """
    _schedule(core, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, PRIORITY, OTHERS_PRIORITY)
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
        gc.unfreeze()
        sys.setswitchinterval(interval_s)
        _schedule(None, os.SCHED_OTHER, 0, 0)


def _schedule(core: int | None, policy: int, priority: int, others_priority: int) -> None:
    """Schedule all threads of the process, where the system allows it; child processes are as they were."""
    main = os.getpid()
    for entry in Path("/proc/self/task").iterdir():
        thread = int(entry.name)
        with contextlib.suppress(OSError):
            if core is not None:
                os.sched_setaffinity(thread, {core})
            wanted = priority if thread == main else others_priority
            os.sched_setscheduler(thread, policy, os.sched_param(wanted))
