"""Says when prediction errors have changed for the worse, with a bound on how often it does so falsely.

Each error is compared with those of calm times: its rank there is a p-value, small where the error is unusually large.
That becomes a normal score z, and for a shift of s standard deviations the likelihood ratio exp(s z - s^2 / 2): an
e-value, a number whose mean is at most 1 as long as nothing has changed (Vovk and Wang 2021, arXiv 1912.06116). They
are collected by the recursion of Shiryaev and Roberts, M <- e (M + 1), which is an e-detector (Shin, Ramdas and Rinaldo
2023, arXiv 2203.03532): M less the number of blocks is a supermartingale, so that the alarm at M >= c comes on average
no earlier than after c blocks. Nothing is assumed of how calm errors are spread. A mean of e-detectors is one, too:
several channels are watched together, either side of those that may err to both, several shifts, and blocks of several
lengths, each M times its length: short ones show soon what errs much, long ones what errs by little in all phases.

What is assumed: a block's error is as calm ones were, given what came before. Within an attempt it is not: a walk errs
a little more than another from its first step to its last, and products of dozens of e-values take that for a change.
So each normal score is compared with what the blocks of its attempt before it let expect, by the random-effects model
of one-way analysis of variance: u + v, u normal and the same for all blocks of an attempt, v normal and of each block
its own, with variances from calm attempts. What is left, in standard deviations of it, is standard normal and
independent of what came before. A change in mid-attempt shows whole at first; of one before its beginning less is left
the longer the attempt takes. Calm data that the ranks have not seen check the mean of the e-values: they are divided
by its upper confidence bound there, where that is above 1.
"""

from __future__ import annotations

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
DEVIATIONS = 2.0
"""Standard errors of the bound that e-values are divided by."""
MOST_CALM = 1000
"""Calm blocks of each channel that ranks are taken among."""
MOST_BETWEEN = 0.8
"""Of a score's variance, that attempts may differ by: with more nothing would be left to tell a change by."""


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
    """Share of each channel in the evidence, which is that of the blocks that have most. Shape: (J,)."""
    size: Float64
    """Mean error of each channel since then, in calm standard deviations of these blocks from the calm mean: of a
    signed channel to either side, else above it. Shape: (J,)."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """What errors are like as long as nothing has changed."""

    block: int
    """Steps that are averaged to one error."""
    calm: Float64
    """Errors of blocks, each column ascending; the last ``signed`` of the channels once more, negated. Shape:
    (n, J + signed)."""
    between: Float64
    """Share of the variance of scores by which attempts differ, the rest being of blocks. Shape: (J + signed,)."""
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
        halves = [[_sides(_blocks(attempt, block), signed) for attempt in attempts[first::2]] for first in (0, 1)]
        known = [_fewest_known(half) for half in halves]
        if min(known) < FEWEST // 2:
            raise ValueError(
                f"{known} calm blocks of {block} steps in the two halves of {len(attempts)} attempts; "
                f"each half needs {FEWEST // 2}"
            )
        calm = np.sort(_as_many_of_each(halves[0], min(known[0], MOST_CALM)), axis=0)
        scores = [_scores(calm, blocks) for blocks in halves[1]]
        between = _between(scores)
        e = np.concatenate([_e_values(_news(each, *_seen_before(each), between)) for each in scores])
        checked = np.isfinite(e).sum(axis=0)
        bound = np.nanmean(e, axis=0) + DEVIATIONS * np.nanstd(e, axis=0) / np.sqrt(checked)
        return cls(block=block, calm=calm, between=between, inflation=np.maximum(bound, 1.0), signed=signed)


class ChangeDetector:
    """Watches J errors of each step; constant time and memory per step."""

    def __init__(self, calibrations: Sequence[Calibration], least_steps: float) -> None:
        """Watch errors.

        Args:
            calibrations: of calm errors, one for each length of blocks.
            least_steps: steps that pass between false alarms, on average at least; see `steps_between_alarms`.

        Raises:
            ValueError: that is less than a block, or the calibrations are of different channels.
        """
        if len({(each.channels, each.signed) for each in calibrations}) != 1:
            raise ValueError(
                f"calibrations of {[each.channels for each in calibrations]} channels; they must be of the same"
            )
        longest = max(each.block for each in calibrations)
        if not least_steps >= longest:
            raise ValueError(f"false alarms every {least_steps} steps; a block alone has {longest}")
        self._least_steps = least_steps
        self._lengths = [_Blocks(each) for each in calibrations]
        self._channels = calibrations[0].channels
        self.reset()

    def reset(self) -> None:
        """Begin anew, as after an alarm has been seen to."""
        self._step = 0
        for blocks in self._lengths:
            blocks.reset()

    def cut(self) -> None:
        """What comes next does not go on from what was, as in another attempt: an unfinished block is dropped, the
        evidence is kept.
        """
        for blocks in self._lengths:
            blocks.cut()

    @property
    def statistic(self) -> float:
        """Evidence of a change, in steps: an alarm is raised when it reaches so many as are to be between two."""
        return float(np.mean([blocks.steps for blocks in self._lengths]))

    def update(self, errors: Float64) -> Alarm | None:
        """Take the errors of one step; those that are not finite are left out. Shape: (J,).

        Raises:
            ValueError: there are not as many errors as were calibrated.
        """
        if errors.shape != (self._channels,):
            raise ValueError(f"errors of shape {errors.shape}; {self._channels} channels were calibrated")
        self._step += 1
        for blocks in self._lengths:
            blocks.update(errors, self._step)
        if self.statistic < self._least_steps:
            return None
        return max(self._lengths, key=lambda blocks: blocks.steps).alarm(self._step)


class _Blocks:
    """Evidence from blocks of one length."""

    def __init__(self, calibration: Calibration) -> None:
        self._calibration = calibration
        self._calm_mean, self._calm_std = calibration.calm.mean(axis=0), calibration.calm.std(axis=0)
        self._calm_std = np.where(self._calm_std > 0.0, self._calm_std, 1.0)
        self.reset()

    def reset(self) -> None:
        sides = self._calibration.calm.shape[1]
        self._evidence = np.zeros((sides, len(SHIFTS)))
        """M of each side of a channel and shift."""
        self._growth = np.zeros(sides)
        """Sum of log e since the change, if there were one: Page's statistic, which says when it came."""
        self._since = np.zeros(sides, np.int64)
        self._size_sum, self._size_count = np.zeros(sides), np.zeros(sides)
        self.cut()

    def cut(self) -> None:
        sides = self._calibration.calm.shape[1]
        self._blocks_seen, self._scores_seen = np.zeros(sides), np.zeros(sides)
        """Blocks of this attempt that are known, and the sum of their scores."""
        self._begin_block()

    @property
    def steps(self) -> float:
        """Evidence in steps."""
        return self._calibration.block * float(self._evidence.mean())

    def update(self, errors: Float64, step: int) -> None:
        known = np.isfinite(errors)
        self._sum += np.where(known, errors, 0.0)
        self._count += known
        self._in_block += 1
        if self._in_block == self._calibration.block:
            self._close_block(step)

    def _begin_block(self) -> None:
        channels = self._calibration.channels
        self._sum, self._count, self._in_block = np.zeros(channels), np.zeros(channels), 0

    def _close_block(self, step: int) -> None:
        signed = self._calibration.signed
        known = _both(_enough(self._count, self._calibration.block), signed)
        mean = np.where(known, _sides(self._sum / np.maximum(self._count, 1), signed), self._calm_mean)
        (score,) = _scores(self._calibration.calm, mean[None])
        news = _news(score, self._blocks_seen, self._scores_seen, self._calibration.between)
        self._blocks_seen += known
        self._scores_seen += np.where(known, score, 0.0)
        e = _e_values(news) / self._calibration.inflation
        evidence = np.minimum(e * (self._evidence + 1.0), _MOST)
        self._evidence = np.where(known[:, None], evidence, self._evidence)
        grown = self._growth + np.log(e.mean(axis=1))
        begins = known & (grown <= 0.0)
        self._growth = np.where(known, np.maximum(grown, 0.0), self._growth)
        self._since[begins] = step
        above = (mean - self._calm_mean) / self._calm_std
        self._size_sum = np.where(begins, 0.0, self._size_sum + known * above)
        self._size_count = np.where(begins, 0.0, self._size_count + known)
        self._begin_block()

    def alarm(self, step: int) -> Alarm:
        by_side, sizes = self._evidence.mean(axis=1), self._size_sum / np.maximum(self._size_count, 1.0)
        side, channels = int(by_side.argmax()), self._calibration.channels
        evidence, size = by_side[:channels].copy(), sizes[:channels].copy()
        first = channels - self._calibration.signed
        evidence[first:] += by_side[channels:]
        size[first:] = np.maximum(size[first:], sizes[channels:])
        return Alarm(
            step=step - 1,
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


def _blocks(attempt: Float64, block: int) -> Float64:
    """Means of an attempt's whole blocks; NaN where too few of a block's errors are known. Shape: (T, J) to (n, J)."""
    errors = attempt[: len(attempt) // block * block].reshape(-1, block, attempt.shape[1])
    known = np.isfinite(errors)
    count = known.sum(axis=1)
    sums = np.where(known, errors, 0.0).sum(axis=1)
    return np.where(_enough(count, block), sums / np.maximum(count, 1), np.nan)


def _fewest_known(attempts: Sequence[Float64]) -> int:
    """Known blocks of the channel that has fewest."""
    return int(sum(np.isfinite(blocks).sum(axis=0) for blocks in attempts).min()) if attempts else 0


def _as_many_of_each(attempts: Sequence[Float64], count: int) -> Float64:
    """So many known blocks of each channel, evenly drawn: rows are not of one time. Shape: (count, J)."""
    blocks = np.concatenate(attempts)
    columns = [column[np.isfinite(column)] for column in blocks.T]
    return np.stack([column[np.linspace(0, len(column) - 1, count).astype(np.intp)] for column in columns], axis=1)


def _scores(calm: Float64, errors: Float64) -> Float64:
    """Normal scores of ranks among calm errors, the share of these and this one that are as large being its p-value;
    NaN of NaN. Shape: (n, J).
    """
    n, sides = calm.shape
    if len(errors) == 1:  # three times as fast as searching, and asked for at each step
        below = (calm < errors).sum(axis=0)[None]
    else:
        below = np.stack([np.searchsorted(calm[:, j], errors[:, j], side="left") for j in range(sides)], axis=1)
    p = np.minimum(n - below + 1.0, n) / (n + 1.0)  # the smallest of all would have a score of minus infinity
    return np.where(np.isfinite(errors), -ndtri(p), np.nan)


def _between(attempts: Sequence[Float64]) -> Float64:
    """Share of the variance of scores, which is 1, that attempts differ by: (n m^2 - 1) / (n - 1) is expected to be it
    for an attempt of n blocks with the mean m. One standard error more, to be on the safe side. Shape: (J,).
    """
    count = np.stack([np.isfinite(scores).sum(axis=0) for scores in attempts]).astype(np.float64)
    total = np.stack([np.nansum(scores, axis=0) for scores in attempts])
    several = count > 1.0
    excess = np.where(several, total**2 / np.maximum(count, 1.0) - 1.0, 0.0)
    weight = np.where(several, count - 1.0, 0.0)
    weights = np.maximum(weight.sum(axis=0), 1.0)
    share = excess.sum(axis=0) / weights
    error = np.sqrt(((excess - share * weight) ** 2).sum(axis=0)) / weights
    bounded: Float64 = np.clip(share + error, 0.0, MOST_BETWEEN)
    return bounded


def _seen_before(scores: Float64) -> tuple[Float64, Float64]:
    """How many blocks of an attempt are known before each, and the sum of their scores. Shapes: (n, J)."""
    known = np.isfinite(scores)
    each = np.where(known, scores, 0.0)
    return np.cumsum(known, axis=0) - known, np.cumsum(each, axis=0) - each


def _news(scores: Float64, seen: Float64, total: Float64, between: Float64) -> Float64:
    """Scores less what is to be expected after so many of an attempt with this sum, in standard deviations of that."""
    within = 1.0 - between
    left = between * within / (within + seen * between)
    return (scores - left / within * total) / np.sqrt(left + within)


def _e_values(scores: Float64) -> Float64:
    """Likelihood ratios of shifts of standard normal scores. Shape: (..., J) to (..., J, K)."""
    return np.exp(SHIFTS * scores[..., None] - 0.5 * SHIFTS**2)
