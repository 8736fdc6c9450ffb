"""The newest value of a vector, in memory that two processes share. Neither of them ever waits for the other."""

from __future__ import annotations

import mmap
import multiprocessing
import os
from pathlib import Path
from typing import Any

import numpy as np

from sim.robot import Array, FloatArray

_TRIES = 100
"""Copies that a writer may overtake before it counts as broken; it has to write twice while one is made."""


class Mailbox:
    """One process puts, one gets. A value that nobody got is replaced by the next.

    The memory holds a count and two slots, written in turn; a slot begins and ends with the count of its value, so that
    a copy during which the writer came round again is noticed and made anew. To be handed to a process as it starts.
    """

    def __init__(self, room: int, path: Path | None = None) -> None:
        """Make room for vectors of at most ``room`` numbers; with ``path`` in a file, whose value outlives both."""
        self._room = room
        self.path = path
        """The file, if there is one."""
        size = 1 + 2 * (room + 2)
        self._memory = multiprocessing.get_context("spawn").RawArray("d", size) if path is None else None
        self._open()

    def put(self, values: FloatArray) -> None:
        """Make this the newest value. Shape: (n,), n at most ``room``.

        Raises:
            ValueError: it has more numbers than there is room for.
        """
        if len(values) > self._room:
            raise ValueError(f"{len(values)} numbers do not fit a mailbox of {self._room}")
        count = self._count[0] + 1.0
        slot = self._slots[int(count) % 2]
        slot[0] = count
        slot[1 : 1 + len(values)] = values
        slot[-1] = count
        self._count[0] = count

    def get(self, n: int) -> tuple[int, Array]:
        """How many values were put so far, and a copy of the first ``n`` numbers of the newest; zeros before the first.

        Raises:
            RuntimeError: no whole value could be copied; its writer has died while writing, or writes without a pause.
        """
        for _ in range(_TRIES):
            count = self._count[0]
            if not count:
                return 0, np.zeros(n)
            slot = self._slots[int(count) % 2]
            # A writer marks the beginning, writes, and marks the end: the end must be there before the copy, and no
            # new beginning after it.
            whole, values = slot[-1] == count, slot[1 : 1 + n].copy()
            if whole and slot[0] == count:
                return int(count), values
        raise RuntimeError("no whole value in the mailbox; the process that writes it is broken")

    def _open(self) -> None:
        numbers = np.frombuffer(self._memory or self._map(), dtype=np.float64)
        self._count = numbers[:1]
        self._slots = numbers[1:].reshape(2, self._room + 2)

    def _map(self) -> mmap.mmap:
        assert self.path is not None
        size = 8 * (1 + 2 * (self._room + 2))
        with open(self.path, "a+b", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.truncate(size)
            return mmap.mmap(file.fileno(), size)

    def __getstate__(self) -> dict[str, Any]:
        return {"_room": self._room, "path": self.path, "_memory": self._memory}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._open()
