"""Figures over a few runs that can be trusted: interquartile mean with bootstrap intervals (Agarwal et al. 2021).

"Deep Reinforcement Learning at the Edge of the Statistical Precipice", arXiv 2108.13264. A run that never got there
counts as infinite: the order of the runs holds, and a figure that would rest on such a run is infinite itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agent.estimates import interquartile_mean

Better = Literal["higher", "lower"]
Strata = Sequence[Sequence[float]]
"""Figure of each run, by task; where there is one task, there is one stratum."""

RESAMPLES = 10_000


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """One figure over runs."""

    iqm: float
    """Mean of the middle half of all runs."""
    low: float
    """Lower end of the 95 % bootstrap interval of ``iqm``."""
    high: float
    """Upper end."""
    median: float
    worst: float
    runs: int


def estimate(strata: Strata, better: Better = "higher", seed: int = 0) -> Estimate:
    """Interquartile mean over all runs of all tasks, with its stratified bootstrap interval.

    Args:
        strata: figure of each run, by task; tasks must share one scale.
        better: which run is the worst: the lowest, or the highest.
        seed: of the bootstrap.

    Raises:
        ValueError: a task without a run, or a run without a figure.
    """
    runs = np.concatenate(_checked(strata))
    low, high = _interval(interquartile_mean(np.concatenate(_resampled(strata, seed), axis=-1)))
    return Estimate(
        iqm=float(interquartile_mean(runs)),
        low=low,
        high=high,
        median=float(np.median(runs)),
        worst=float(runs.min() if better == "higher" else runs.max()),
        runs=len(runs),
    )


def probability_of_improvement(mine: Strata, theirs: Strata, seed: int = 0) -> tuple[float, float, float]:
    """Probability that a run of ours is above a run of theirs, averaged over tasks, with its 95 % interval.

    Equal figures count as half (section 4.3 of the paper; Mann and Whitney's statistic over the number of pairs).

    Raises:
        ValueError: not the same number of tasks, a task without a run, or a run without a figure.
    """
    if len(mine) != len(theirs):
        raise ValueError(f"{len(mine)} tasks against {len(theirs)}; both need runs of the same tasks")
    figure = _above(_checked(mine), _checked(theirs))
    draws = _resampled([*mine, *theirs], seed)
    return float(figure), *_interval(_above(draws[: len(mine)], draws[len(mine) :]))


def _above(mine: list[NDArray[np.float64]], theirs: list[NDArray[np.float64]]) -> NDArray[np.float64]:
    by_task = []
    for a, b in zip(mine, theirs, strict=True):
        a, b = a[..., :, None], b[..., None, :]
        by_task.append(((a > b) + 0.5 * (a == b)).mean((-2, -1)))
    return np.asarray(np.mean(by_task, axis=0))


def _checked(strata: Strata) -> list[NDArray[np.float64]]:
    runs = [np.asarray(stratum, np.float64) for stratum in strata]
    if not runs or not all(map(len, runs)):
        raise ValueError(f"runs per task are {[*map(len, runs)]}; each task needs at least one")
    for stratum in runs:
        if np.isnan(stratum).any():
            raise ValueError(f"a run has NaN for a figure, among {stratum.tolist()}; infinity says that it never came")
    return runs


def _resampled(strata: Strata, seed: int) -> list[NDArray[Any]]:
    """Each task's runs drawn again from its own runs, with replacement. Shape of each: (RESAMPLES, n)."""
    rng = np.random.default_rng(seed)
    return [runs[rng.integers(len(runs), size=(RESAMPLES, len(runs)))] for runs in _checked(strata)]


def _interval(figures: NDArray[np.float64]) -> tuple[float, float]:
    # Figures that occurred, the outer ones: between a number and infinity there is nothing to interpolate.
    return (
        float(np.quantile(figures, 0.025, method="lower")),
        float(np.quantile(figures, 0.975, method="higher")),
    )
