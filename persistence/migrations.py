"""The schema and how a database comes to it.

Each migration is one function; a released one never changes. ``PRAGMA user_version`` holds how many were applied, so
that an older perdure recognises a newer database before it touches it.
"""

from __future__ import annotations

import sqlite3

from sqlite_utils import Database, Migrations

from persistence import schema

MIGRATIONS = Migrations("perdure")


def _run_script(db: Database, script: str) -> None:
    # one statement at a time: executescript() would commit the transaction that guards the migration
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            db.execute(statement)
            statement = ""


@MIGRATIONS()
def m001_initial(db: Database) -> None:
    """Tables, indexes, append-only triggers and views of version 1."""
    _run_script(db, schema.INITIAL)
    db.execute("PRAGMA user_version = 1")


@MIGRATIONS()
def m002_learner_figures(db: Database) -> None:
    """What the learner said of itself when a policy was stored: losses, temperatures, multipliers and costs."""
    db.execute("ALTER TABLE policies ADD COLUMN figures TEXT NOT NULL DEFAULT '{}' CHECK (json_valid(figures))")
    db.execute("PRAGMA user_version = 2")


@MIGRATIONS()
def m003_could_start(db: Database) -> None:
    """Which skills could have started where an attempt did; NULL in attempts that are older."""
    valid = "could_start IS NULL OR json_valid(could_start)"
    db.execute(f"ALTER TABLE attempts ADD COLUMN could_start TEXT CHECK ({valid})")
    db.execute("PRAGMA user_version = 3")


@MIGRATIONS()
def m004_versions(db: Database) -> None:
    """Where each policy comes from, what was evaluated how, and which version of a skill is deployed."""
    _run_script(db, schema.VERSIONS)
    db.execute("PRAGMA user_version = 4")


def migrate(conn: sqlite3.Connection) -> None:
    """Apply the migrations that ``conn`` lacks, each in its own transaction."""
    MIGRATIONS.apply(Database(conn, execute_plugins=False))
