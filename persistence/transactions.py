"""The part of the store that knows no table: opening, reading, one durable transaction with its events."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from persistence import events, interventions
from persistence.connection import connect_read_only, connect_writer
from persistence.errors import StoreError
from persistence.records import OpenIntervention, check_time
from persistence.rows import insert, latest_run_id

HEAD_NAME = "events.head"


class StoreBase:
    """Opening, reading and transactions; `persistence.store.Store` adds the facts."""

    def __init__(self, conn: sqlite3.Connection, path: Path, *, read_only: bool) -> None:
        self._conn = conn
        self._head_path = path.with_name(HEAD_NAME)
        self._read_only = read_only
        self.path = path
        self.mark_error: str | None = None
        """Why the high-water mark could not be moved after the last commit; None when it was."""

    @classmethod
    def open(cls, path: Path | str, read_only: bool = False) -> Self:
        """Open a database.

        Args:
            path: The database file; the high-water mark lies beside it.
            read_only: For queries only: never blocks the writer, never changes a file.

        Raises:
            NewerDatabaseError: A newer perdure wrote it; it was not touched.
            StoreError: The file is not a perdure database, or is missing when ``read_only``.
        """
        path = Path(path)
        conn = connect_read_only(path) if read_only else connect_writer(path)
        store = cls(conn, path, read_only=read_only)
        if not read_only:
            store._record_losses()
        return store

    def close(self) -> None:
        """Close the database."""
        self._conn.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # ---------------------------------------------------------------- reading

    @property
    def connection(self) -> sqlite3.Connection:
        """The SQLite connection, for queries."""
        return self._conn

    def rows(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = ()) -> list[dict[str, Any]]:
        """Return the rows of a query as dictionaries."""
        return [dict(row) for row in self._conn.execute(sql, parameters).fetchall()]

    def open_interventions(self) -> tuple[OpenIntervention, ...]:
        """Return what waits for a person, oldest first."""
        return interventions.open_interventions(self._conn)

    def chain_head(self) -> events.Head:
        """Return number and hash of the last event."""
        return events.chain_head(self._conn)

    def verify_chain(self) -> list[str]:
        """Return one line per problem of the event chain (see `persistence.events.verify_chain`)."""
        return events.verify_chain(self._conn, self._head_path)

    # ------------------------------------------------------------ transactions

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Run a block as one durable transaction, then move the high-water mark if events were appended.

        Raises:
            StoreError: The store is open for reading only.
        """
        if self._read_only:
            raise StoreError(f"{self.path} is open for reading only; open it with read_only=False")
        conn = self._conn
        before = events.chain_head(conn)
        try:
            # IMMEDIATE: a deferred transaction that reads and then writes fails at once when another writer was faster
            conn.execute("BEGIN IMMEDIATE")
            yield conn
            # read before the commit: nothing may fail between the commit and the acknowledgement
            after = events.chain_head(conn)
            self._commit(before)
        except BaseException:
            if conn.in_transaction:
                conn.execute("ROLLBACK")
            raise
        if after != before:
            self._move_mark(after)

    def append_event(self, kind: str, robot_s: float, data: Mapping[str, Any]) -> events.Head:
        """Append an event that has no table of its own; ``data`` as in `persistence.events.append`."""
        with self.transaction() as conn:
            return events.append(conn, kind, check_time("robot_s", robot_s), data)

    # ------------------------------------------------------------------ private

    def _commit(self, before: events.Head) -> None:
        try:
            self._conn.execute("COMMIT")
        except sqlite3.OperationalError:
            # SQLite can report an interrupt that came when all was durable already: what is there is not lost.
            if self._conn.in_transaction or events.chain_head(self._conn) == before:
                raise

    def _move_mark(self, head: events.Head) -> None:
        try:
            events.write_head(self._head_path, head)
            self.mark_error = None
        except OSError as error:
            # the facts are committed, so the caller must not take them for lost; a mark that lags is sound
            self.mark_error = str(error)

    def _add(self, table: str, kind: str, robot_s: float, row: dict[str, Any]) -> int:
        check_time("robot_s", robot_s)
        with self.transaction() as conn:
            row_id = self._insert_stamped(conn, table, row)
            # where a file lies is no part of what happened: the same seed in another home gives the same chain
            facts = {name: value for name, value in row.items() if name not in ("path", "file")}
            events.append(conn, kind, robot_s, {**facts, "id": row_id})
        return row_id

    @staticmethod
    def _insert_stamped(conn: sqlite3.Connection, table: str, row: Mapping[str, Any]) -> int:
        return insert(conn, table, {**row, "run_id": latest_run_id(conn), "wall_utc": events.wall_utc()})

    def _record_losses(self) -> None:
        problem = events.compare_head(self._conn, self._head_path)
        if problem is not None:
            last_s = self._conn.execute("SELECT robot_s FROM events ORDER BY seq DESC LIMIT 1").fetchone()
            with self.transaction() as conn:
                events.append(conn, events.LOSS_KIND, last_s[0] if last_s else 0.0, {"problem": problem})
