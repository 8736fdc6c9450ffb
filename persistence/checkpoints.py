"""Checkpoints that survive a crash at any instant, and loading that never trusts a damaged one.

A checkpoint is a directory ``ckpt-<seq>`` with one safetensors file and a manifest. It is written under a temporary
name, synced, renamed, and read back before an older one is removed. Nothing is ever pickled.
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from persistence.errors import CheckpointError
from persistence.events import canonical
from persistence.files import TMP_SUFFIX, fsync_dir, sha256_bytes, write_synced
from persistence.tensors import Tensors, dump_tensors, load_tensors

SCHEMA = 1
TENSORS_NAME = "tensors.safetensors"
MANIFEST_NAME = "manifest.json"
_NAME = re.compile(r"ckpt-(\d+)")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What a checkpoint directory holds."""

    seq: int
    path: Path
    sha256: str
    """Of the manifest, which covers every file."""
    meta: Mapping[str, Any]
    """What the caller stored beside the tensors: counters, random state, normaliser, replay high-water mark."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """A loaded checkpoint."""

    seq: int
    tensors: Tensors
    meta: Mapping[str, Any]
    refused: tuple[str, ...]
    """One line for each newer checkpoint that was damaged."""


def save_checkpoint(
    directory: Path,
    seq: int,
    tensors: Mapping[str, NDArray[Any]],
    meta: Mapping[str, Any],
    *,
    keep: int = 3,
    protect: Collection[int] = (),
) -> Manifest:
    """Write a checkpoint, verify it by reading it back, then remove old ones.

    A directory of the same number is a leftover of a crash before its row was committed; it is replaced.

    Args:
        directory: Home of all checkpoints.
        seq: Number of this one, larger than every recorded one.
        tensors: Weights, optimiser state, normaliser statistics.
        meta: JSON values; non-finite numbers become null.
        keep: How many to keep, at least 3.
        protect: Numbers never to remove, such as those known good by evaluation.

    Raises:
        CheckpointError: It did not verify; no other checkpoint was removed.
        ValueError: ``keep`` is under 3.
    """
    if keep < 3:
        raise ValueError(f"keep={keep} checkpoints is too few; valid: 3 or more")
    final = directory / f"ckpt-{seq}"
    tmp = directory / f"ckpt-{seq}{TMP_SUFFIX}"
    _remove(tmp)
    tmp.mkdir(parents=True)
    data = dump_tensors(tensors)
    write_synced(tmp / TENSORS_NAME, data)
    files = [{"name": TENSORS_NAME, "size": len(data), "sha256": sha256_bytes(data)}]
    write_synced(tmp / MANIFEST_NAME, _manifest_bytes({"schema": SCHEMA, "seq": seq, "files": files, "meta": meta}))
    fsync_dir(tmp)
    _remove(final)
    tmp.rename(final)
    fsync_dir(directory)
    try:
        manifest, _ = _read(final)
    except ValueError as error:
        raise CheckpointError(f"{final} did not verify after writing ({error}); check the disk") from error
    _prune(directory, keep, protect)
    return manifest


def load_newest(directory: Path, max_seq: int | None = None) -> Checkpoint | None:
    """Load the newest checkpoint that verifies, falling back to older ones.

    Args:
        directory: Home of all checkpoints.
        max_seq: Newest number that the store recorded; None accepts any.

    Returns:
        The checkpoint, or None when there is none at all.

    Raises:
        CheckpointError: There are checkpoints and every one is damaged.
    """
    refused: list[str] = []
    for seq in sorted(checkpoint_seqs(directory), reverse=True):
        if max_seq is not None and seq > max_seq:
            continue
        path = directory / f"ckpt-{seq}"
        try:
            manifest, tensors = _read(path)
        except ValueError as error:
            refused.append(f"checkpoint {path} is damaged and was not used: {error}")
            continue
        return Checkpoint(seq=seq, tensors=tensors, meta=manifest.meta, refused=tuple(refused))
    if refused:
        raise CheckpointError(
            f"no usable checkpoint in {directory} ({'; '.join(refused)}); restore a backup, or start with --fresh"
        )
    return None


def verify_checkpoint(path: Path) -> Manifest:
    """Check every byte of a checkpoint directory.

    Raises:
        CheckpointError: It is damaged.
    """
    try:
        return _read(path)[0]
    except ValueError as error:
        raise CheckpointError(f"checkpoint {path} is damaged: {error}") from error


def checkpoint_seqs(directory: Path) -> list[int]:
    """Return the numbers of all complete checkpoint directories, in order."""
    if not directory.is_dir():
        return []
    return sorted(int(match[1]) for path in directory.iterdir() if (match := _NAME.fullmatch(path.name)))


def _manifest_bytes(facts: Mapping[str, Any]) -> bytes:
    # a flipped bit in the manifest can still be JSON, so it carries its own checksum
    body = canonical(facts)
    return canonical({"manifest": json.loads(body), "sha256": sha256_bytes(body.encode())}).encode()


def _read(path: Path) -> tuple[Manifest, Tensors]:
    try:
        raw = (path / MANIFEST_NAME).read_bytes()
        data = (path / TENSORS_NAME).read_bytes()
    except OSError as error:
        raise ValueError(f"{Path(error.filename).name} cannot be read ({error.strerror})") from error
    try:
        outer = json.loads(raw)
        facts = outer["manifest"]
        if sha256_bytes(canonical(facts).encode()) != outer["sha256"]:
            raise ValueError("its checksum does not fit")
        schema, seq, files, meta = facts["schema"], int(facts["seq"]), facts["files"], facts["meta"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{MANIFEST_NAME} is damaged ({error})") from error
    if schema != SCHEMA:
        raise ValueError(f"schema {schema} is unknown; this perdure knows {SCHEMA}")
    if path.name != f"ckpt-{seq}":
        raise ValueError(f"{MANIFEST_NAME} belongs to ckpt-{seq}")
    expected = files[0]
    if len(data) != expected["size"]:
        raise ValueError(f"{TENSORS_NAME} has {len(data)} bytes, was written with {expected['size']}")
    if sha256_bytes(data) != expected["sha256"]:
        raise ValueError(f"{TENSORS_NAME} does not have the sha256 that it was written with")
    return Manifest(seq=seq, path=path, sha256=sha256_bytes(raw), meta=meta), load_tensors(data)[0]


def _prune(directory: Path, keep: int, protect: Collection[int]) -> None:
    for seq in checkpoint_seqs(directory)[:-keep]:
        if seq not in protect:
            _remove(directory / f"ckpt-{seq}")
    for leftover in directory.glob(f"ckpt-*{TMP_SUFFIX}"):
        shutil.rmtree(leftover)
    fsync_dir(directory)


def _remove(path: Path) -> None:
    if not path.exists():
        return
    # renamed first: a crash inside the removal must not leave half a checkpoint under a valid name
    doomed = path.with_name(path.name + ".removed" + TMP_SUFFIX)
    if doomed.exists():
        shutil.rmtree(doomed)
    path.rename(doomed)
    shutil.rmtree(doomed)
