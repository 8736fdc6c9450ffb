"""Offsets of a policy's actions, as they act; `skills.learners.offsets` searches for them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from skills.policy import PolicyWeights

LOG_STD = -10.0
"""Log standard deviation of actions with an offset: none to speak of, since the offset is what explores."""
_VALUES, _ABOUT = "offsets", "about"


def with_offset(policy: PolicyWeights, offset: NDArray[np.floating[Any]], skill: str, version: int) -> PolicyWeights:
    """A policy for one skill whose mean is moved, before the squashing.

    Args:
        policy: what is moved.
        offset: by what. Shape: (A,).
        skill: the one that it then serves.
        version: of the policy that comes of it.
    """
    *others, (weight, bias) = policy.layers
    moved = bias + np.concatenate((offset, np.zeros_like(offset))).astype(np.float32)
    return replace(
        policy,
        version=version,
        layers=(*others, (weight, moved)),
        log_std_min=LOG_STD,
        log_std_max=LOG_STD,
        skill=skill,
    )


@dataclass(frozen=True, kw_only=True)
class Offset:
    """One that may act."""

    drift: str
    """What has to be known to have drifted (`sim.drift.Drift.place`)."""
    skill: str
    version: int
    """Of the policy that it makes."""
    values: NDArray[np.float64]
    """Shape: (A,)."""


@dataclass(frozen=True)
class Offsets:
    """All of them, of each drift and skill the best first, then those to be tried."""

    rows: tuple[Offset, ...] = ()

    def candidates(self, policy: PolicyWeights, skill: str, drift: str) -> tuple[PolicyWeights, ...]:
        """The policy with each offset for this skill and drift, in their order; empty: there is none."""
        fitting = [row for row in self.rows if (row.skill, row.drift) == (skill, drift)]
        return tuple(with_offset(policy, row.values, skill, row.version) for row in fitting)

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return all(bool(np.isfinite(row.values).all()) for row in self.rows)

    def to_bytes(self) -> bytes:
        """Serialise to safetensors."""
        about = [{"drift": row.drift, "skill": row.skill, "version": row.version} for row in self.rows]
        text = np.frombuffer(json.dumps(about).encode(), np.uint8)
        return save({_VALUES: _stacked([row.values for row in self.rows]), _ABOUT: text})

    @classmethod
    def from_bytes(cls, data: bytes) -> Offsets:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are truncated, or are no offsets.
        """
        try:
            tensors = load(data)
            about = json.loads(tensors[_ABOUT].tobytes())
            pairs = zip(about, tensors[_VALUES].astype(np.float64), strict=True)
            return cls(tuple(Offset(**row, values=values) for row, values in pairs))
        except (SafetensorError, KeyError, TypeError, UnicodeDecodeError) as error:
            raise ValueError(f"these bytes hold no offsets: {error}") from error


def _stacked(values: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    return np.stack(values) if values else np.zeros((0, 0))
