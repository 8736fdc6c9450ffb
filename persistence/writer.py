"""A thread that owns the store, so that nobody else waits for the disk."""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from persistence.errors import PersistenceError
from persistence.store import Store

T = TypeVar("T")


class WriterFullError(PersistenceError):
    """Too many writes wait; the disk is slower than the robot."""


class StoreWriter:
    """Runs functions on the store, in order, in a thread of its own.

    Args:
        path: The database.
        capacity: Most writes that may wait. When they do, `submit` refuses at once instead of blocking the caller.
        on_error: Called in the writer's thread with each exception that a function raises; the future gets it too.
    """

    def __init__(
        self, path: Path | str, *, capacity: int = 1024, on_error: Callable[[BaseException], None] | None = None
    ) -> None:
        self._path = Path(path)
        self._on_error = on_error
        self._queue: queue.Queue[tuple[Callable[[Store], Any], Future[Any]] | None] = queue.Queue(capacity)
        self._gate = threading.Lock()
        self._closed = False
        self._opened: Future[None] = Future()
        self._thread = threading.Thread(target=self._work, name="store-writer", daemon=True)
        self._thread.start()
        self._opened.result()

    def submit(self, fn: Callable[[Store], T]) -> Future[T]:
        """Queue ``fn``; its result or exception comes through the future. Never blocks.

        Raises:
            WriterFullError: ``capacity`` writes wait already.
            PersistenceError: The writer is closed.
        """
        future: Future[T] = Future()
        with self._gate:
            if self._closed:
                raise PersistenceError("the store writer is closed; nothing can be written any more")
            try:
                self._queue.put_nowait((fn, future))
            except queue.Full as error:
                raise WriterFullError(
                    f"{self._queue.maxsize} writes wait for the disk; stop the robot until the queue is shorter"
                ) from error
        return future

    @property
    def backlog(self) -> int:
        """How many writes wait."""
        return self._queue.qsize()

    def flush(self) -> None:
        """Wait until everything submitted so far is durable."""
        self.submit(lambda _store: None).result()

    def close(self) -> None:
        """Finish every queued write, close the store and end the thread; safe to call again."""
        with self._gate:
            already = self._closed
            self._closed = True
        if not already:
            self._queue.put(None)
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _report(self, error: BaseException) -> None:
        if self._on_error is not None:
            # the callback belongs to the caller; what it raises must not end the only thread that can write
            with contextlib.suppress(Exception):
                self._on_error(error)

    def _work(self) -> None:
        try:
            store = Store.open(self._path)
        except BaseException as error:
            self._opened.set_exception(error)
            return
        self._opened.set_result(None)
        with store:
            while (item := self._queue.get()) is not None:
                fn, future = item
                if not future.set_running_or_notify_cancel():
                    continue
                try:
                    result = fn(store)
                except BaseException as error:
                    future.set_exception(error)
                    self._report(error)
                else:
                    future.set_result(result)
