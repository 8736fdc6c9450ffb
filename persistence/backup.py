"""Backups of the database while the daemon runs, verified before they count."""

from __future__ import annotations

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from persistence import events
from persistence.connection import connect_read_only
from persistence.errors import StoreError
from persistence.files import TMP_SUFFIX, fsync_dir
from persistence.home import Home
from persistence.report import check_database


@dataclass(frozen=True, kw_only=True)
class Backup:
    """A verified copy of the database."""

    path: Path
    head: events.Head
    """Last event in the copy."""


def backup(home: Home, keep: int = 7) -> Backup:
    """Copy the database with SQLite's online backup, verify the copy, and remove the oldest ones.

    Episodes and checkpoints are plain files that are never changed after they were written; copy them as they are.

    Args:
        home: The home directory; a running daemon is not disturbed.
        keep: How many backups to keep.

    Raises:
        StoreError: The copy did not verify; it was removed and older backups were kept.
    """
    home.backups.mkdir(parents=True, exist_ok=True)
    tmp = home.backups / f"backup-{os.getpid()}.db{TMP_SUFFIX}"
    tmp.unlink(missing_ok=True)
    try:
        head = _copy_and_check(home.db, tmp)
        final = home.backups / f"perdure-{head.seq:010d}.db"
        fd = os.open(tmp, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)
        tmp.replace(final)
        events.write_head(final.with_suffix(".head"), head)
    finally:
        tmp.unlink(missing_ok=True)
    for old in sorted(home.backups.glob("perdure-*.db"))[:-keep]:
        old.unlink()
        old.with_suffix(".head").unlink(missing_ok=True)
    fsync_dir(home.backups)
    return Backup(path=final, head=head)


def _copy_and_check(source_path: Path, target_path: Path) -> events.Head:
    source = connect_read_only(source_path)
    target = sqlite3.connect(target_path, isolation_level=None)
    try:
        source.backup(target)
        # one file: a copy in WAL mode would need its -wal beside it
        target.execute("PRAGMA journal_mode = DELETE")
        problems = check_database(target, None)
        if problems:
            raise StoreError(f"the backup of {source_path} did not verify: {problems[0]}; run `perdure doctor --store`")
        return events.chain_head(target)
    finally:
        target.close()
        source.close()
