"""Opening the database: version check before anything is touched, then the pragmas that durability needs."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from persistence.errors import NewerDatabaseError, StoreError

SCHEMA_VERSION = 4
BUSY_TIMEOUT_S = 5.0


def connect_read_only(path: Path) -> sqlite3.Connection:
    """Open the database for reading only; such a connection never blocks the writer.

    Raises:
        StoreError: There is no perdure database at ``path``.
        NewerDatabaseError: A newer perdure wrote it.
    """
    if not path.is_file():
        raise StoreError(f"no database at {path}; start `perdure run` on this home first, or pass another --home")
    conn = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        if _version(conn, path) == 0:
            raise StoreError(f"{path} is a new, empty database; start `perdure run` on this home first")
    except BaseException:
        conn.close()
        raise
    conn.row_factory = sqlite3.Row
    return conn


def connect_writer(path: Path) -> sqlite3.Connection:
    """Open or create the database for its one writer and bring it to the current schema.

    Raises:
        StoreError: The file is not a perdure database, or it is locked.
        NewerDatabaseError: A newer perdure wrote it; the file is not touched.
    """
    if path.exists() and path.stat().st_size:
        _check_before_touching(path)
    conn = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None)
    try:
        conn.execute("PRAGMA journal_mode = WAL")
        # FULL syncs every commit; NORMAL may roll back committed transactions after a power loss
        conn.execute("PRAGMA synchronous = FULL")
        conn.execute("PRAGMA foreign_keys = ON")
        if conn.execute("PRAGMA user_version").fetchone()[0] < SCHEMA_VERSION:
            # imported here because it is slow and needed once per database
            from persistence.migrations import migrate

            migrate(conn)
    except BaseException:
        conn.close()
        raise
    conn.row_factory = sqlite3.Row
    return conn


def _check_before_touching(path: Path) -> None:
    probe = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
    try:
        _version(probe, path)
    finally:
        probe.close()


def _version(conn: sqlite3.Connection, path: Path) -> int:
    try:
        version = int(conn.execute("PRAGMA user_version").fetchone()[0])
        tables = {row[0] for row in conn.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise StoreError(
            f"cannot read {path} as a database ({error}); restore a backup or pass another --home"
        ) from error
    if version > SCHEMA_VERSION:
        raise NewerDatabaseError(
            f"{path} has schema version {version}, this perdure knows up to {SCHEMA_VERSION}; "
            "install a newer perdure, or pass another --home (the file was not changed)"
        )
    if tables - {"_sqlite_migrations"} and not {"events", "runs"} <= tables:
        raise StoreError(
            f"{path} is not a perdure database (its tables: {', '.join(sorted(tables)[:5])}); pass another --home"
        )
    return version
