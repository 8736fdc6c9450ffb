"""Errors of the persistence room. Each message names the bad value, the valid ones and what to do next."""

from __future__ import annotations


class PersistenceError(RuntimeError):
    """Root of every error that this room raises about stored data."""


class StoreError(PersistenceError):
    """A write would contradict what the store already holds, or the file is not a perdure store."""


class NewerDatabaseError(StoreError):
    """The database was written by a newer perdure; it was not touched."""


class EpisodeError(PersistenceError):
    """An episode file is missing, damaged, or malformed."""


class CheckpointError(PersistenceError):
    """No checkpoint can be used, or one could not be written."""


class HomeError(PersistenceError):
    """The home directory cannot be used."""


class HomeLockedError(HomeError):
    """Another daemon owns the home directory."""
