"""The home directory: its paths, its lock, and the check that it can be used at all."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from persistence.errors import HomeError, HomeLockedError

_LOCK_TRIES = 10
_LOCK_PAUSE_S = 0.02


def default_home() -> Path:
    """The user's data directory."""
    from platformdirs import user_data_path

    return user_data_path("perdure", appauthor=False)


def typed(words: str, home: Path) -> str:
    """``perdure WORDS`` in backquotes, as one types it where this home is meant."""
    usual = os.environ.get("PERDURE_HOME") or default_home()
    named = "" if home == Path(usual).expanduser().absolute() else f" --home {shlex.quote(str(home))}"
    return f"`perdure {words}{named}`"


@dataclass(frozen=True)
class Home:
    """Paths inside a home directory."""

    root: Path

    @property
    def db(self) -> Path:
        """The SQLite database."""
        return self.root / "perdure.db"

    @property
    def head(self) -> Path:
        """High-water mark of the event chain, outside of the database."""
        return self.root / "events.head"

    @property
    def episodes(self) -> Path:
        """Directory with one file per attempt."""
        return self.root / "episodes"

    @property
    def checkpoints(self) -> Path:
        """Directory with one directory per checkpoint."""
        return self.root / "checkpoints"

    @property
    def backups(self) -> Path:
        """Directory with database backups."""
        return self.root / "backups"

    @property
    def goals(self) -> Path:
        """Directory with one success classifier per skill whose goal a person has shown; it may be missing."""
        return self.root / "goals"

    @property
    def deployed(self) -> Path:
        """Directory with the policies that are or were deployed; it may be missing."""
        return self.root / "deployed"

    @property
    def rewards(self) -> Path:
        """Directory with one reward per skill that a person has shown, and what they compared; it may be missing."""
        return self.root / "rewards"

    @property
    def lock(self) -> Path:
        """Lock file of the daemon."""
        return self.root / "daemon.lock"

    @property
    def status(self) -> Path:
        """What the daemon is doing now, as JSON."""
        return self.root / "status.json"

    @property
    def log(self) -> Path:
        """Log of the daemon, JSON lines."""
        return self.root / "perdure.log"

    def prepare(self) -> Self:
        """Create the directories and make sure that files can be written.

        Raises:
            HomeError: A directory cannot be created or written.
        """
        try:
            for directory in (self.root, self.episodes, self.checkpoints, self.backups):
                directory.mkdir(parents=True, exist_ok=True)
                probe = directory / f".probe-{os.getpid()}"
                probe.write_bytes(b"probe")
                probe.unlink()
        except OSError as error:
            raise HomeError(
                f"home directory {self.root} is not writable ({error.strerror}: {error.filename}); "
                "choose another with --home or $PERDURE_HOME, or change its permissions"
            ) from error
        return self


@dataclass(frozen=True, kw_only=True)
class LockOwner:
    """Who holds the lock of a home directory."""

    pid: int
    started_utc: str


class HomeLock:
    """An exclusive lock on a home directory; the kernel drops it when the owner dies, so it never goes stale."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._file: IO[str] | None = None

    def acquire(self) -> Self:
        """Take the lock.

        Raises:
            HomeLockedError: Another process holds it.
        """
        file = self._home.lock.open("a+", encoding="utf-8")
        if not _try_lock(file):
            file.close()
            owner = read_owner(self._home)
            who = f"pid {owner.pid}, since {owner.started_utc}" if owner else "pid unknown"
            raise HomeLockedError(
                f"another daemon ({who}) uses {self._home.root}; "
                f"stop it with {typed('stop', self._home.root)}, or choose another home with --home"
            )
        file.truncate(0)
        started_utc = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        file.write(json.dumps({"pid": os.getpid(), "started_utc": started_utc}))
        file.flush()
        self._file = file
        return self

    def release(self) -> None:
        """Give the lock back; does nothing when it is not held."""
        if self._file is not None:
            self._file.truncate(0)
            self._file.close()
            self._file = None

    def __enter__(self) -> Self:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def _try_lock(file: IO[str]) -> bool:
    # `lock_holder` in another process shares the lock for an instant; that must not refuse a daemon
    for _ in range(_LOCK_TRIES):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            time.sleep(_LOCK_PAUSE_S)
    return False


def read_owner(home: Home) -> LockOwner | None:
    """Return who wrote the lock file last, or None when it is absent, empty or unreadable."""
    try:
        facts = json.loads(home.lock.read_text(encoding="utf-8"))
        return LockOwner(pid=int(facts["pid"]), started_utc=str(facts["started_utc"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def lock_holder(home: Home) -> LockOwner | None:
    """Return the owner of a lock that is held right now, or None; never takes or creates the lock."""
    try:
        with home.lock.open("r", encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            return None
    except FileNotFoundError:
        return None
    except BlockingIOError:
        return read_owner(home) or LockOwner(pid=-1, started_utc="unknown")
