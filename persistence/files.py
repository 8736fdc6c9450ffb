"""Durable file writes: temporary name, fsync, rename, fsync of the directory.

In-place writing leaves an unusable file whenever the process dies inside the write; this order never does, because
the rename is atomic and happens only after the content is on disk.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

TMP_SUFFIX = ".tmp"


def fsync_dir(path: Path) -> None:
    """Make renames and unlinks inside the directory ``path`` durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_synced(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path`` in place and sync it; for files that nobody can see yet."""
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def atomic_write(path: Path, data: bytes) -> None:
    """Replace ``path`` by ``data``: a reader sees the old content or the new, also after a power loss.

    Args:
        path: The file to replace; its directory must exist.
        data: The whole new content.
    """
    tmp = path.with_name(path.name + TMP_SUFFIX)
    write_synced(tmp, data)
    tmp.replace(path)
    fsync_dir(path.parent)


def atomic_write_json(path: Path, value: Any) -> None:
    """Replace ``path`` by ``value`` as JSON (see `atomic_write`)."""
    atomic_write(path, (json.dumps(value, sort_keys=True) + "\n").encode())


def sha256_bytes(data: bytes) -> str:
    """Return the SHA-256 of ``data`` in hex."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Return the SHA-256 of the content of ``path`` in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
