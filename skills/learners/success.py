"""Learns what success looks like from end states of attempts that a person marked.

A plain question with a known answer for each example: an ensemble learns it by cross-entropy, half of each minibatch
being successes. Some attempts are held back. Platt scaling on those (Platt 1999) gives probabilities their size, and
the threshold is the lowest with which no more than the wanted share of failures held back is taken for success.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import nn

from sim.robot import FloatArray
from skills.ensemble import Float32, normalised
from skills.learners.ensemble_network import EnsembleNetwork, take_updates
from skills.learners.falls import platt
from skills.success_classifier import SuccessWeights


@dataclass(frozen=True, kw_only=True)
class SuccessConfig:
    """Settings of `learn_success`."""

    false_positive_rate: float = 0.01
    """Share of failures held back that may be taken for success."""
    least_threshold: float = 0.5
    """What is less probable than this is no success, whatever that share."""
    least_examples: int = 5
    """Successes, and failures, without which nothing is learned."""
    held_back: int = 4
    """One success and one failure in so many are not learned from, but calibrate."""
    before_end: int = 10
    """Moments of a failure this many steps before its end, and earlier ones, are no success either."""
    most_before_end: int = 8
    """So many of them are learned from, evenly spaced."""
    hidden: tuple[int, ...] = (64, 64)
    ensemble: int = 5
    caution: float = 0.5
    """Standard deviations of the ensemble that are taken off its mean."""
    batch: int = 64
    updates: int = 600
    learning_rate: float = 1e-3
    weight_decay: float = 1e-2

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        if not 0.0 <= self.false_positive_rate < 1.0:
            raise ValueError(f"false_positive_rate is {self.false_positive_rate}; it must be at least 0 and below 1")
        if not 2 <= self.held_back <= self.least_examples:
            raise ValueError(f"held_back is {self.held_back}; it must be between 2 and {self.least_examples}")


@dataclass(frozen=True, kw_only=True)
class LearnedSuccess:
    """A classifier, and what the examples held back say of it: end states only."""

    weights: SuccessWeights
    held_out: int
    """Attempts held back."""
    held_out_accuracy: float
    held_out_false_positives: int
    held_out_false_negatives: int
    negatives: int
    """Moments that were learned from as no success."""


def learn_success(
    successes: Sequence[Float32], failures: Sequence[Float32], config: SuccessConfig | None = None, seed: int = 0
) -> LearnedSuccess:
    """Learn from attempts that a person marked.

    Args:
        successes: feature rows of each attempt that ended in the goal. Shape of each: (T, F).
        failures: of each that did not. Shape of each: (T, F).
        config: settings.
        seed: of networks, minibatches, and the choice of what is held back.

    Raises:
        ValueError: there are too few examples, or the numbers stopped being finite.
    """
    c = config or SuccessConfig()
    for name, given in (("success", successes), ("failure", failures)):
        if len(given) < c.least_examples:
            raise ValueError(
                f"{len(given)} attempts marked as {name} are too few to learn from; "
                f"at least {c.least_examples} of success and {c.least_examples} of failure are needed"
            )
    rng = np.random.default_rng(seed)
    positive, held_positive = _split(successes, c, rng)
    negative, held_negative = _split(failures, c, rng)
    no_goal = np.concatenate([*(_failure(rows, c) for rows in negative), *(_start(rows, c) for rows in positive)])
    weights = _fit(_ends(positive), no_goal, c, rng, seed)
    # Only of an end did the person say what it is.
    weights = _calibrated(weights, _ends(held_positive), _ends(held_negative), c)
    found, taken = (weights.probabilities(_ends(held)) > weights.threshold for held in (held_positive, held_negative))
    return LearnedSuccess(
        weights=weights,
        held_out=len(found) + len(taken),
        held_out_accuracy=float(np.mean(np.concatenate((found, ~taken)))),
        held_out_false_positives=int(taken.sum()),
        held_out_false_negatives=int((~found).sum()),
        negatives=len(no_goal),
    )


def lowest_threshold(negatives: FloatArray, rate: float) -> float:
    """With which no more than a share ``rate`` of these probabilities of failures lies above it. Shape: (B,)."""
    ordered = np.sort(negatives)
    return float(ordered[len(ordered) - 1 - int(rate * len(ordered))])


def _ends(attempts: Sequence[Float32]) -> Float32:
    return np.concatenate([rows[-1:] for rows in attempts])


def _start(rows: Float32, c: SuccessConfig) -> Float32:
    """Of a success: no attempt begins where its goal is reached. None of one that ends before it has left its start."""
    return rows[: int(len(rows) > c.before_end)]


def _failure(rows: Float32, c: SuccessConfig) -> Float32:
    """Moments of a failure well before its end, and its end, which comes last."""
    early = len(rows) - c.before_end
    chosen = np.unique(np.linspace(0, early - 1, c.most_before_end).astype(int)) if early > 0 else ()
    return rows[[*chosen, len(rows) - 1]]


def _split(
    attempts: Sequence[Float32], c: SuccessConfig, rng: np.random.Generator
) -> tuple[list[Float32], list[Float32]]:
    """What to learn from and what to hold back; whole attempts, for moments of one are alike."""
    order = rng.permutation(len(attempts))
    held = len(attempts) // c.held_back
    return [attempts[i] for i in order[held:]], [attempts[i] for i in order[:held]]


def _fit(positive: Float32, negative: Float32, c: SuccessConfig, rng: np.random.Generator, seed: int) -> SuccessWeights:
    kinds = (negative, positive)
    rows = np.concatenate(kinds)
    mean, std = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-3)
    network = EnsembleNetwork(c.ensemble, (rows.shape[1], *c.hidden, 1), torch.Generator().manual_seed(seed))
    adam = torch.optim.AdamW(network.parameters(), c.learning_rate, weight_decay=c.weight_decay)
    half = c.batch // 2
    labels = torch.cat((torch.zeros(half), torch.ones(half))).expand(c.ensemble, -1)

    def loss() -> torch.Tensor:
        # Each member draws its own minibatch, so that members differ where there is little data.
        drawn = np.concatenate([kind[rng.integers(len(kind), size=(c.ensemble, half))] for kind in kinds], axis=1)
        out = network(torch.from_numpy(normalised(drawn, mean, std)))[..., 0]
        return nn.functional.binary_cross_entropy_with_logits(out, labels)

    if take_updates(network, adam, loss, c.updates) is None:
        raise ValueError("the classifier's numbers stopped being finite; look for attempts with broken readings")
    return SuccessWeights(layers=network.arrays(), mean=mean, std=std, caution=c.caution, threshold=c.least_threshold)


def _calibrated(weights: SuccessWeights, positive: Float32, negative: Float32, c: SuccessConfig) -> SuccessWeights:
    """With probabilities of their true size, were both kinds equally frequent, and with a threshold."""
    kinds = [weights.log_odds(rows)[:, 0] for rows in (negative, positive)]
    # The fewer examples, the further from certain the targets (Platt 1999, section 2.2).
    targets = (1.0 / (len(negative) + 2.0), (len(positive) + 1.0) / (len(positive) + 2.0))
    size = max(map(len, kinds))
    slope, offset = platt(np.concatenate([np.resize(odds, size) for odds in kinds]), np.repeat(targets, size))
    if slope > 0.0:
        # Log-odds of all members, and so their mean and spread, are scaled by what the last layer is scaled by.
        weight, bias = weights.layers[-1]
        last = (np.float32(slope) * weight, np.float32(slope) * bias + np.float32(offset))
        weights = replace(weights, layers=(*weights.layers[:-1], last))
    threshold = lowest_threshold(weights.probabilities(negative), c.false_positive_rate)
    return replace(weights, threshold=max(threshold, c.least_threshold))
