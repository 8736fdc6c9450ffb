"""The torque permit: eight words of memory that the guard, the robot and the control loop share.

The guard writes what the robot may do and a challenge; the control loop answers each challenge with its complement,
which shows that it turns, not merely that its process exists (the scheme of Spot's E-Stop service). The robot's process
obeys: without a sign of life from the guard it damps. Standard library alone, so that the guard stays small.

Each word is written by one process and is a whole machine word, so that none is ever seen half written.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import secrets
import time
from enum import IntEnum
from pathlib import Path

GUARD_SILENCE_S = 0.2
"""A permit whose guard has shown no sign of life for this long allows damping only."""
_WORDS = 8
_CHALLENGE, _LEVEL, _BEAT, _LATCHED, _ANSWER = range(5)
_MASK = (1 << 64) - 1
_LEFT = _MASK
"""Answer of a loop that ended as it should; no complement of a challenge, since none is 0."""


class Permission(IntEnum):
    """What the robot may do; the greater, the less."""

    TORQUE = 0
    """Whatever it is told."""
    DAMPING = 1
    STOP = 2
    """Damping for a moment, then no torque."""
    CUT = 3
    """No torque from now on."""


def runtime_dir(home: Path) -> Path:
    """Where the sockets and shared memory of a home's processes are: short, in memory, and this user's alone."""
    base = Path("/dev/shm") if Path("/dev/shm").is_dir() else Path("/tmp")
    key = hashlib.sha256(str(home.resolve()).encode()).hexdigest()[:16]
    path = base / f"perdure-{os.getuid()}-{key}"
    path.mkdir(mode=0o700, exist_ok=True)
    if path.is_symlink() or path.stat().st_uid != os.getuid() or path.stat().st_mode & 0o077:
        raise PermissionError(f"{path} is not this user's alone; remove it")
    return path


class PermitMemory:
    """The shared words. Whoever has a file of them can read all; each process writes its own."""

    def __init__(self, path: Path) -> None:
        """Map the file, which is made if there is none."""
        with open(path, "a+b", opener=lambda name, flags: os.open(name, flags, 0o600)) as file:
            file.truncate(8 * _WORDS)
            self._map = mmap.mmap(file.fileno(), 8 * _WORDS)
        self._words = memoryview(self._map).cast("Q")
        self._reals = memoryview(self._map).cast("d")

    # ------------------------------------------------------------------ guard

    def challenge(self) -> None:
        """Draw a new challenge; the answer to the one before no longer counts."""
        self._words[_CHALLENGE] = secrets.randbits(63) + 1

    @property
    def answered(self) -> bool:
        """Whether the loop has answered the newest challenge."""
        return self._words[_ANSWER] == self._words[_CHALLENGE] ^ _MASK

    @property
    def left(self) -> bool:
        """Whether the loop has ended as it should."""
        return self._words[_ANSWER] == _LEFT

    def allow(self, permission: Permission, *, latched: bool) -> None:
        """Say what the robot may do, whether a person has to clear something first, and that the guard lives."""
        self._words[_LEVEL] = int(permission)
        self._words[_LATCHED] = int(latched)
        self._reals[_BEAT] = time.monotonic()

    # ----------------------------------------------------------- control loop

    def renew(self) -> None:
        """Answer the newest challenge; once in a control period."""
        self._words[_ANSWER] = self._words[_CHALLENGE] ^ _MASK

    def leave(self) -> None:
        """The loop ends as it should: its silence from now on means nothing."""
        self._words[_ANSWER] = _LEFT

    # ---------------------------------------------------------- robot, anyone

    @property
    def permission(self) -> Permission:
        """What the robot may do now."""
        silent = self.silence_s > GUARD_SILENCE_S  # first: an old level must not pass for one of a newer sign of life
        level = Permission(min(self._words[_LEVEL], Permission.CUT))
        return max(level, Permission.DAMPING) if silent else level

    @property
    def silence_s(self) -> float:
        """For how long the guard has given no sign of life."""
        return time.monotonic() - self._reals[_BEAT]

    @property
    def latched(self) -> bool:
        """Whether a person has to clear something in the guard before the robot may move."""
        return bool(self._words[_LATCHED])

    def close(self) -> None:
        """Unmap the memory."""
        self._words.release()
        self._reals.release()
        self._map.close()
