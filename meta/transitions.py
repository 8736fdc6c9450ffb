"""Stored attempts as dynamics models need them: states, actions, which steps can be trusted, and their scales."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]
CLIP = 10.0
"""Bound of a normalised input, in standard deviations: beyond it networks have seen nothing."""
CONSTANT = 1e-6
"""A standard deviation below which a number counts as constant; it is not scaled then."""


@dataclass(frozen=True, kw_only=True)
class AttemptSteps:
    """One attempt of T steps.

    What a state is, the caller decides. Angles that wrap around belong in it as sine and cosine: models learn
    differences.
    """

    attempt: int
    """Its number in the store; decides whether it trains or validates."""
    states: Float32
    """Shape: (T + 1, S)."""
    actions: Float32
    """What the robot was sent, shape: (T, A)."""
    valid: NDArray[np.bool_]
    """Steps between two readings that can be trusted. Data of a broken sensor never trains anything. Shape: (T,)."""
    checks: Float32 | None = None
    """Further errors of each step, which no model is needed for; None: there are none. Shape: (T, C)."""
    turning: Float32 | None = None
    """What these depend on as long as nothing changes (`meta.sensor_checks`). Shape: (T, D)."""

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together."""
        steps = len(self.actions)
        if self.states.ndim != 2 or self.actions.ndim != 2:
            raise ValueError(f"attempt {self.attempt}: states {self.states.shape} and actions {self.actions.shape}")
        if len(self.states) != steps + 1 or self.valid.shape != (steps,):
            raise ValueError(
                f"attempt {self.attempt}: {steps} actions need {steps + 1} states and {steps} marks of trust, "
                f"not {len(self.states)} and {self.valid.shape}"
            )


@dataclass(frozen=True, kw_only=True)
class Scales:
    """Mean and standard deviation of everything that goes into a model or comes out of it."""

    input_mean: Float32
    input_std: Float32
    """Of state and action side by side. Shapes: (S + A,)."""
    delta_mean: Float32
    delta_std: Float32
    """Of the difference of the next state and the state. Shapes: (S,)."""

    @classmethod
    def of(cls, steps: Steps) -> Scales:
        """Those of all trusted steps.

        Raises:
            ValueError: there is no trusted step.
        """
        at = steps.starts(1)
        if not len(at):
            raise ValueError("no attempt has a trusted step to take scales from")
        input_mean, input_std = _moments(np.concatenate((steps.states[at], steps.actions[at]), axis=1))
        delta_mean, delta_std = _moments(steps.states[at + 1] - steps.states[at])
        return cls(input_mean=input_mean, input_std=input_std, delta_mean=delta_mean, delta_std=delta_std)


def _moments(rows: Float32) -> tuple[Float32, Float32]:
    mean, std = rows.mean(axis=0, dtype=np.float64), rows.std(axis=0, dtype=np.float64)
    return mean.astype(np.float32), np.where(std > CONSTANT, std, 1.0).astype(np.float32)


class Steps:
    """Steps of many attempts, one after the other, such that no window reaches from one attempt into the next."""

    def __init__(self, attempts: Sequence[AttemptSteps]) -> None:
        """Join attempts; a row without action stands at the end of each.

        Raises:
            ValueError: there is no attempt.
        """
        if not attempts:
            raise ValueError("no attempts; at least one is needed")
        none = np.zeros((1, attempts[0].actions.shape[1]), np.float32)
        self.states: Float32 = np.concatenate([a.states for a in attempts], dtype=np.float32)
        """Shape: (R, S)."""
        self.actions: Float32 = np.concatenate([part for a in attempts for part in (a.actions, none)], dtype=np.float32)
        """Shape: (R, A)."""
        trusted = np.concatenate([part for a in attempts for part in (a.valid, (False,))])
        finite = np.isfinite(self.states).all(axis=1) & np.isfinite(self.actions).all(axis=1)
        self.valid: NDArray[np.bool_] = trusted & finite & np.roll(finite, -1)
        """Rows from which a trusted step leads to the next row. Shape: (R,)."""

    def starts(self, length: int) -> NDArray[np.intp]:
        """Rows from which ``length`` trusted steps follow one another within an attempt."""
        if length > len(self.valid):
            return np.zeros(0, np.intp)
        return np.flatnonzero(np.lib.stride_tricks.sliding_window_view(self.valid, length).all(axis=1))


def split_by_attempt(
    attempts: Sequence[AttemptSteps], share: float, seed: int
) -> tuple[list[AttemptSteps], list[AttemptSteps]]:
    """Attempts to learn from and attempts to validate on.

    Steps of one attempt resemble one another, so a split by step would praise a model that has only learned them by
    heart. Which side an attempt is on depends on its number and the seed alone: as attempts are added, none changes
    sides, unless a side were empty.

    Raises:
        ValueError: fewer than two attempts, or two with one number.
    """
    draws = {a.attempt: float(np.random.default_rng((seed, a.attempt)).random()) for a in attempts}
    if len(draws) < 2 or len(draws) < len(attempts):
        raise ValueError(f"{len(attempts)} attempts of {len(draws)} numbers; a split by attempt needs two or more")
    ordered = sorted(draws, key=draws.__getitem__)
    validating = {number for number, draw in draws.items() if draw < share}
    validating = (validating | {ordered[0]}) - {ordered[-1]}
    return [a for a in attempts if a.attempt not in validating], [a for a in attempts if a.attempt in validating]
