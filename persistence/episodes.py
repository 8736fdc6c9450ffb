"""Episode files: what the robot measured and did in one attempt.

The file is durable before its row is committed, and the row is the truth: a file without a row is left over from a
crash between the two and is removed at start.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from persistence.errors import EpisodeError
from persistence.files import TMP_SUFFIX, atomic_write, fsync_dir, sha256_bytes
from persistence.home import Home
from persistence.tensors import Tensors, dump_tensors, load_tensors

SUFFIX = ".safetensors"
_METADATA = ("uid", "skill", "action_space", "policy_version")


@dataclass(frozen=True, kw_only=True, eq=False)
class Episode:
    """One attempt of T steps. Features and actions belong to the robot and skill; this room only keeps them."""

    uid: str
    skill: str
    action_space: str
    """Name of the skill family whose actions these are."""
    policy_version: str
    frames: NDArray[np.float32]
    """What was measured before each step and after the last. Shape: (T+1, F)."""
    stamps: NDArray[np.float64]
    """Robot clock of each frame, s. Shape: (T+1,)."""
    actions: NDArray[np.float32]
    """Sent, after filtering. Shape: (T, A)."""
    proposed: NDArray[np.float32]
    """What the policy asked for. Shape: (T, A)."""
    resting: NDArray[np.float32]
    """The action that was in force before the first step. Shape: (A,)."""
    phase: NDArray[np.float32]
    """Phase of the trajectory generator at each frame, rad. Shape: (T+1,)."""
    terminated: bool
    """True when the last frame is an end in itself, not a time limit."""
    cut_short: bool = False
    """Whether it was ended early, so that nobody knows what would have come of it."""
    evaluation: bool = False
    """True when the policy acted without exploration, to be judged."""
    caught: tuple[int, ...] = ()
    """Steps in which a fall was caught, and nothing was done for the skill."""
    known_drift: str = ""
    """What was known of the robot to have drifted; empty: nothing."""

    @property
    def steps(self) -> int:
        """Number of steps T."""
        return len(self.actions)


@dataclass(frozen=True, kw_only=True)
class EpisodeFile:
    """Where an episode lies; both go into the attempt's row."""

    name: str
    """File name inside the episode directory."""
    sha256: str


def write_episode(home: Home, episode: Episode) -> EpisodeFile:
    """Write an episode durably.

    Raises:
        EpisodeError: Shapes do not fit each other, or the action space is unknown.
    """
    tensors: Tensors = {
        "frames": np.asarray(episode.frames, np.float32),
        "stamps": np.asarray(episode.stamps, np.float64),
        "actions": np.asarray(episode.actions, np.float32),
        "proposed": np.asarray(episode.proposed, np.float32),
        "resting": np.asarray(episode.resting, np.float32),
        "phase": np.asarray(episode.phase, np.float32),
        "terminated": np.array([episode.terminated], np.uint8),
    }
    metadata = {name: str(getattr(episode, name)) for name in _METADATA}
    metadata["evaluation"] = str(int(episode.evaluation))
    metadata["cut_short"] = str(int(episode.cut_short))
    metadata["caught"] = " ".join(str(step) for step in episode.caught)
    metadata["known_drift"] = episode.known_drift
    if problem := _problem(tensors, metadata):
        raise EpisodeError(f"episode {episode.uid} cannot be stored: {problem}")
    data = dump_tensors(tensors, metadata)
    name = episode.uid + SUFFIX
    atomic_write(home.episodes / name, data)
    return EpisodeFile(name=name, sha256=sha256_bytes(data))


def read_episode(path: Path, sha256: str | None = None) -> Episode:
    """Read an episode and check it.

    Args:
        path: The file.
        sha256: From the attempt's row; None skips that check.

    Raises:
        EpisodeError: The file is missing, is not the one that was written, or its shapes do not fit each other.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise EpisodeError(
            f"cannot read episode {path} ({error.strerror}); its attempt cannot be learned from"
        ) from error
    if sha256 is not None and sha256_bytes(data) != sha256:
        raise EpisodeError(f"episode {path} is damaged: its sha256 is not {sha256}; restore it from a backup")
    try:
        tensors, metadata = load_tensors(data)
    except ValueError as error:
        raise EpisodeError(f"episode {path} is damaged: {error}; restore it from a backup") from error
    if problem := _problem(tensors, metadata):
        raise EpisodeError(f"episode {path} is malformed: {problem}")
    terminated = bool(tensors.pop("terminated")[0])
    fields: dict[str, Any] = {**{name: metadata[name] for name in _METADATA}, **tensors}
    # Files of older versions do not say these.
    try:
        caught = tuple(int(step) for step in metadata.get("caught", "").split())
    except ValueError as error:
        raise EpisodeError(f"episode {path} is malformed: caught is {metadata['caught']!r}, needs numbers") from error
    return Episode(
        **fields,
        terminated=terminated,
        evaluation=metadata.get("evaluation") == "1",
        cut_short=metadata.get("cut_short") == "1",
        caught=caught,
        known_drift=metadata.get("known_drift", ""),
    )


def remove_orphans(home: Home, rows: Iterable[str]) -> list[str]:
    """Remove files that no row refers to, and half-written ones; call it at start, after `Store.recover`.

    Args:
        home: The home directory.
        rows: Episode file names in the attempts table.

    Returns:
        Names of the removed files, sorted.
    """
    known = set(rows)
    removed = [
        path
        for path in sorted(home.episodes.iterdir())
        if path.name not in known and path.name.endswith((SUFFIX, SUFFIX + TMP_SUFFIX))
    ]
    for path in removed:
        path.unlink()
    if removed:
        fsync_dir(home.episodes)
    return [path.name for path in removed]


def _problem(tensors: Tensors, metadata: dict[str, str]) -> str | None:
    expected = {"frames", "stamps", "actions", "proposed", "resting", "phase", "terminated"}
    if set(tensors) != expected or any(name not in metadata for name in _METADATA):
        return f"it has {sorted(tensors)} and {sorted(metadata)}, needs {sorted(expected)} and {sorted(_METADATA)}"
    frames, actions = tensors["frames"], tensors["actions"]
    if frames.ndim != 2 or actions.ndim != 2:
        return f"frames {frames.shape} and actions {actions.shape} must be 2-D"
    steps = len(actions)
    shapes = {
        "proposed": actions.shape,
        "resting": actions.shape[1:],
        "stamps": (steps + 1,),
        "phase": (steps + 1,),
        "terminated": (1,),
    }
    for name, shape in {"frames": (steps + 1, frames.shape[1]), **shapes}.items():
        if tensors[name].shape != shape:
            return f"{name} has shape {tensors[name].shape}, needs {shape} for {steps} steps"
    return None
