"""Says when prediction errors have changed for the worse, with a bound on false alarms that does not rest on a model.

Each error is compared with those of calm times: its rank there is a p-value, small where the error is unusually large.
That becomes a normal score z, and for a shift of s standard deviations the likelihood ratio exp(s z - s^2 / 2): an
e-value, a number whose mean is at most 1 as long as nothing has changed (Vovk and Wang 2021, arXiv 1912.06116). They
are collected by the recursion of Shiryaev and Roberts, M <- e (M + 1), which is an e-detector (Shin, Ramdas and Rinaldo
2023, arXiv 2203.03532): M less the number of blocks is a supermartingale, so that the alarm at M >= c comes on average
no earlier than after c blocks. Nothing is assumed of how errors are distributed. A mean of e-detectors is one, too:
several channels are watched together, either side of those that may err to both, and several shifts.

What is assumed: a block's error is as calm ones were, given what came before. Errors within a stride depend on each
other; those of blocks about as long as one hardly do. Calm data that the ranks have not seen check the mean of the
e-values: they are divided by its upper confidence bound there, where that is above 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Float64 = NDArray[np.float64]
SHIFTS = np.array((0.5, 1.0, 2.0))
"""In standard deviations of a block's error."""
FEWEST = 200
"""Calm blocks that calibration needs."""
_MOST = 1e200
"""Of the evidence of a channel, which grows on as long as nobody resets it."""
_LEAST = 1e-12
"""Of an e-value, whose logarithm is wanted: one that is the least of all has none."""
DEVIATIONS = 2.0
"""Standard errors of the bound that e-values are divided by."""


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """Errors have changed."""

    step: int
    """Step at which it was raised, counted from 0 at the last reset."""
    since: int
    """Step since when they have probably been larger: after which the evidence began to grow."""
    channel: int
    """Which has changed most clearly."""
    evidence: Float64
    """Share of each channel in the statistic. Shape: (J,)."""
    size: Float64
    """Mean error of each channel since then, in calm standard deviations from the calm mean: of a signed channel to
    either side, else above it. Shape: (J,)."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What errors are like as long as nothing has changed."""

    block: int
    """Steps that are averaged to one error."""
    calm: Float64
    """Errors of blocks, each column ascending; the last ``signed`` of the channels once more, negated. Shape:
    (n, J + signed)."""
    inflation: Float64
    """What the e-values of each are divided by, at least 1. Shape: (J + signed, K)."""
    signed: int = 0
    """So many of the last channels err to either side."""

    @property
    def channels(self) -> int:
        """J."""
        return int(self.calm.shape[1]) - self.signed

    @classmethod
    def of(cls, attempts: Sequence[Float64], block: int, signed: int = 0) -> Calibration:
        """Learn from attempts during which nothing changed, each of shape (T, J).

        Every other attempt gives ranks, the rest check them. A block never reaches over the end of an attempt. The last
        ``signed`` channels are of either sign.

        Raises:
            ValueError: a block is empty, or there are too few blocks at least half of which is known.
        """
        if block < 1:
            raise ValueError(f"block is {block}; it must be at least 1")
        halves = [_sides(_blocks(attempts[first::2], block), signed) for first in (0, 1)]
        if min(map(len, halves)) < FEWEST // 2:
            raise ValueError(
                f"{[*map(len, halves)]} calm blocks of {block} steps in the two halves of {len(attempts)} attempts; "
                f"each half needs {FEWEST // 2}"
            )
        calm = np.sort(halves[0], axis=0)
        e = _e_values(calm, halves[1])
        bound = e.mean(axis=0) + DEVIATIONS * e.std(axis=0) / math.sqrt(len(e))
        return cls(block=block, calm=calm, inflation=np.maximum(bound, 1.0), signed=signed)


class ChangeDetector:
    """Watches J errors of each step; constant time and memory per step."""

    def __init__(self, calibration: Calibration, least_steps: float) -> None:
        """Watch errors.

        Args:
            calibration: of calm errors.
            least_steps: steps that pass between false alarms, on average at least; see `steps_between_alarms`.

        Raises:
            ValueError: that is less than a block.
        """
        if not least_steps >= calibration.block:
            raise ValueError(f"false alarms every {least_steps} steps; a block alone has {calibration.block}")
        self.threshold = least_steps / calibration.block
        """Of the statistic: blocks between false alarms, on average at least."""
        self._calibration = calibration
        self._calm_mean, self._calm_std = calibration.calm.mean(axis=0), calibration.calm.std(axis=0)
        self._calm_std = np.where(self._calm_std > 0.0, self._calm_std, 1.0)
        self.reset()

    def reset(self) -> None:
        """Begin anew, as after an alarm has been seen to."""
        sides = self._calibration.calm.shape[1]
        self._step = 0
        self._evidence = np.zeros((sides, len(SHIFTS)))
        """M of each side of a channel and shift."""
        self._growth = np.zeros(sides)
        """Sum of log e since the change, if there were one: Page's statistic, which says when it came."""
        self._since = np.zeros(sides, np.int64)
        self._size_sum, self._size_count = np.zeros(sides), np.zeros(sides)
        self._begin_block()

    def cut(self) -> None:
        """What comes next does not go on from what was: an unfinished block is dropped, the evidence is kept."""
        self._begin_block()

    @property
    def statistic(self) -> float:
        """Evidence of a change; an alarm is raised when it reaches `threshold`."""
        return float(self._evidence.mean())

    def update(self, errors: Float64) -> Alarm | None:
        """Take the errors of one step; those that are not finite are left out. Shape: (J,).

        Raises:
            ValueError: there are not as many errors as were calibrated.
        """
        if errors.shape != self._sum.shape:
            raise ValueError(f"errors of shape {errors.shape}; {self._sum.shape[0]} channels were calibrated")
        known = np.isfinite(errors)
        self._sum += np.where(known, errors, 0.0)
        self._count += known
        self._in_block += 1
        self._step += 1
        if self._in_block < self._calibration.block:
            return None
        self._close_block()
        return self._alarm() if self.statistic >= self.threshold else None

    def _begin_block(self) -> None:
        channels = self._calibration.channels
        self._sum, self._count, self._in_block = np.zeros(channels), np.zeros(channels), 0

    def _close_block(self) -> None:
        signed = self._calibration.signed
        known = _both(_enough(self._count, self._calibration.block), signed)
        mean = np.where(known, _sides(self._sum / np.maximum(self._count, 1), signed), self._calm_mean)
        e = _e_values(self._calibration.calm, mean[None])[0] / self._calibration.inflation
        evidence = np.minimum(e * (self._evidence + 1.0), _MOST)
        self._evidence = np.where(known[:, None], evidence, self._evidence)
        grown = self._growth + np.log(np.maximum(e.mean(axis=1), _LEAST))
        begins = known & (grown <= 0.0)
        self._growth = np.where(known, np.maximum(grown, 0.0), self._growth)
        self._since[begins] = self._step
        above = (mean - self._calm_mean) / self._calm_std
        self._size_sum = np.where(begins, 0.0, self._size_sum + known * above)
        self._size_count = np.where(begins, 0.0, self._size_count + known)
        self._begin_block()

    def _alarm(self) -> Alarm:
        by_side, sizes = self._evidence.mean(axis=1), self._size_sum / np.maximum(self._size_count, 1.0)
        side, channels = int(by_side.argmax()), self._calibration.channels
        evidence, size = by_side[:channels].copy(), sizes[:channels].copy()
        first = channels - self._calibration.signed
        evidence[first:] += by_side[channels:]
        size[first:] = np.maximum(size[first:], sizes[channels:])
        return Alarm(
            step=self._step - 1,
            since=int(self._since[side]),
            channel=side if side < channels else side - self._calibration.signed,
            evidence=evidence / evidence.sum(),
            size=size,
        )


def steps_between_alarms(false_alarms_per_hour: float, rate_hz: float) -> float:
    """Steps on average between false alarms that come this often.

    Raises:
        ValueError: a number is not positive.
    """
    if not (false_alarms_per_hour > 0.0 and rate_hz > 0.0):
        raise ValueError(f"{false_alarms_per_hour} false alarms per hour at {rate_hz} Hz; both must be positive")
    return 3600.0 * rate_hz / false_alarms_per_hour


def _sides(means: Float64, signed: int) -> Float64:
    """Errors that are bad where they are large: the last ``signed`` of them once more, negated. Shape: (..., J) to
    (..., J + signed).
    """
    return np.concatenate((means, -means[..., means.shape[-1] - signed :]), axis=-1)


def _both(channels: NDArray[np.bool_], signed: int) -> NDArray[np.bool_]:
    """What holds for channels, for their sides. Shape: (J,) to (J + signed,)."""
    return np.concatenate((channels, channels[len(channels) - signed :]))


def _enough(known: NDArray[Any], block: int) -> NDArray[np.bool_]:
    """Whether the mean of so many known errors of a block counts: of fewer than half it is not like the others."""
    return np.asarray(2 * known >= block)


def _blocks(attempts: Sequence[Float64], block: int) -> Float64:
    """Means of blocks, of each channel as many as of the one with fewest: rows of these are not of one time. Shape:
    (n, J).
    """
    parts = [a[: len(a) // block * block].reshape(-1, block, a.shape[1]) for a in attempts]
    errors: Float64 = np.concatenate(parts) if parts else np.zeros((0, block, 0))
    known = np.isfinite(errors)
    count = known.sum(axis=1)
    sums = np.where(known, errors, 0.0).sum(axis=1)
    means = np.where(_enough(count, block), sums / np.maximum(count, 1), np.nan)
    columns = [column[np.isfinite(column)] for column in means.T]
    fewest = min(map(len, columns), default=0)
    if not fewest:
        return np.zeros((0, means.shape[1]))
    return np.stack([column[np.linspace(0, len(column) - 1, fewest).astype(np.intp)] for column in columns], axis=1)


def _e_values(calm: Float64, errors: Float64) -> Float64:
    """Likelihood ratios of shifts for normal scores of ranks, the share of calm errors and this one that are as large
    being its p-value. (n, J) to (n, J, K).
    """
    n, sides = calm.shape
    below = np.stack([np.searchsorted(calm[:, j], errors[:, j], side="left") for j in range(sides)], axis=1)
    score = -ndtri((n - below + 1.0) / (n + 1.0))
    e: Float64 = np.exp(SHIFTS * score[..., None] - 0.5 * SHIFTS**2)
    return e
