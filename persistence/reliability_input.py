"""Input checks shared by the reliability statistics."""

from __future__ import annotations

import math
import operator
from typing import SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, NDArray


def check_options(confidence: float, termination: str) -> None:
    """Raise ValueError unless ``confidence`` lies in (0, 1) and ``termination`` is known."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence={confidence!r} must lie in (0, 1), such as 0.9")
    if termination not in ("time", "failure"):
        raise ValueError(f"termination={termination!r}; valid: 'time', 'failure'")


def positive(name: str, value: float) -> float:
    """Return ``value`` as a float; ValueError unless it is finite and more than 0."""
    number = float(value)
    if not math.isfinite(number) or number <= 0:
        raise ValueError(f"{name}={value!r} must be finite and more than 0")
    return number


def count(name: str, value: SupportsIndex) -> int:
    """Return ``value`` as an int; ValueError unless it is a whole number >= 0."""
    try:
        number = operator.index(value)
    except TypeError as error:
        raise ValueError(f"{name}={value!r} must be a whole number") from error
    if number < 0:
        raise ValueError(f"{name}={value!r} must be 0 or more")
    return number


def failure_times(times: ArrayLike, minimum: int) -> NDArray[np.float64]:
    """Return ``times`` as an array; ValueError unless 1-D, positive, ascending and at least ``minimum`` long."""
    t = np.asarray(times, dtype=np.float64)
    if t.ndim != 1:
        raise ValueError(f"times must be 1-D, got shape {t.shape}")
    if len(t) < minimum:
        raise ValueError(f"{len(t)} failure times are too few; at least {minimum} needed")
    bad = t[~(np.isfinite(t) & (t > 0))]
    if len(bad):
        raise ValueError(f"times must be finite and more than 0, got {bad[0]}")
    if np.any(np.diff(t) < 0):
        raise ValueError(f"times must ascend, got {t[np.argmax(np.diff(t) < 0) + 1]} too late; sort them first")
    return t


def end_of(t: NDArray[np.float64], end: float | None, termination: str) -> float:
    """Return the end of the observation; ValueError when it contradicts the times or would have to be guessed."""
    last = float(t[-1])
    if termination == "failure":
        if end is not None and float(end) != last:
            raise ValueError(f"end={end!r}, but a failure-terminated observation ends at its last failure, {last}")
        return last
    if end is None:
        raise ValueError("a time-terminated observation needs its end; pass end=, or termination='failure'")
    if positive("end", end) < last:
        raise ValueError(f"end={end!r} lies before the last failure at {last}")
    return float(end)
