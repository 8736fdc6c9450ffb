"""Learns rewards from what a person said of stored attempts: which succeeded, or which is better than another.

An ensemble learns each, every member scaled to unit variance over what it learned from, so that a good step is worth
about 1, whatever was asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sim.robot import FloatArray
from skills.ensemble import Float32, Layers, forward, normalised
from skills.learned_reward import RewardWeights, Source
from skills.learners.ensemble_network import EnsembleNetwork, take_updates
from skills.learners.success import SuccessConfig, learn_success

LEAST_STD = 1e-3
UNKNOWN = -1.0
Pair = tuple[int, int]
"""Places of the better and of the worse attempt in a list of attempts."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """An attempt as a preference is learned from it."""

    rows: Float32
    """`skills.learned_reward.reward_rows` of its steps. Shape: (T, F)."""
    shares: FloatArray
    """What part each step is of what the person judged. Sums up to 1. Shape: (T,)."""

    @classmethod
    def of(cls, rows: Float32, seen: NDArray[np.bool_], ended: bool, longest: int) -> Shown:
        """Make one.

        Args:
            rows: shape (T, F), T at least 1.
            seen: steps whose rows can be trusted. Shape: (T,).
            ended: whether nothing can follow the last step: then it goes on to the end of the ``longest`` attempt.
            longest: steps of the longest attempt that it is compared with.

        Raises:
            ValueError: no step can be trusted.
        """
        shares = seen.astype(np.float64)
        if ended:
            shares[-1] = 1.0 + longest - len(rows)
        if not shares.any():
            raise ValueError("the tracker saw none of its steps")
        return cls(rows=rows, shares=shares / shares.sum())


@dataclass(frozen=True, kw_only=True)
class PreferenceConfig:
    """Settings of `learn_preferences`."""

    least_pairs: int = 10
    """Pairs without which nothing is learned."""
    folds: int = 5
    """Parts of the pairs, each of which is foretold from the others to see how well that goes."""
    steps: int = 16
    """Drawn of each attempt in each minibatch."""
    certainty: float = 10.0
    """Log-odds that an attempt is better if it earns 1 more per step, before the networks are scaled."""
    mistaken: float = 0.1
    """Share of preferences that say nothing: a person errs (section 2.2.3 of Christiano et al. 2017)."""
    hidden: tuple[int, ...] = (32, 32)
    ensemble: int = 3
    caution: float = 0.5
    """Standard deviations of the ensemble that are taken off its mean."""
    batch: int = 32
    updates: int = 200
    learning_rate: float = 2e-3
    weight_decay: float = 10.0
    """Much: some dozens of pairs say little of dozens of features."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        if not 2 <= self.folds <= self.least_pairs:
            raise ValueError(f"folds is {self.folds}; it must be between 2 and {self.least_pairs}")
        if not 0.0 <= self.mistaken < 1.0:
            raise ValueError(f"mistaken is {self.mistaken}; it must be at least 0 and below 1")


@dataclass(frozen=True, kw_only=True)
class LearnedPreferences:
    """A reward, and how well the same learner foretells pairs from others."""

    weights: RewardWeights
    held_out: int
    """Pairs that were foretold from pairs of other attempts."""


def learn_examples(
    successes: Sequence[Float32], failures: Sequence[Float32], config: SuccessConfig | None = None, seed: int = 0
) -> RewardWeights:
    """The log-odds that the goal of these attempts is reached, as a reward. Arguments are those of `learn_success`."""
    learned = learn_success(successes, failures, config, seed)
    w = learned.weights
    rows = np.concatenate([*successes, *failures])
    return RewardWeights(
        layers=_to_unit_variance(w.layers, normalised(rows, w.mean, w.std), np.full(len(rows), 1.0 / len(rows))),
        mean=w.mean,
        std=w.std,
        caution=w.caution,
        source=Source.EXAMPLES,
        held_out_accuracy=learned.held_out_accuracy,
    )


def learn_preferences(
    attempts: Sequence[Shown], pairs: Sequence[Pair], config: PreferenceConfig | None = None, seed: int = 0
) -> LearnedPreferences:
    """Learn a reward of which better attempts earn more per step (Bradley and Terry 1952).

    Raises:
        ValueError: there are too few pairs, or the numbers stopped being finite.
    """
    c = config or PreferenceConfig()
    if len(pairs) < c.least_pairs:
        raise ValueError(f"{len(pairs)} pairs are too few to learn from; at least {c.least_pairs} are needed")
    right = [one for part in _parts(pairs, c, seed) for one in _foretold(attempts, pairs, part, c, seed)]
    weights = _fit(attempts, pairs, c, seed)
    accuracy = float(np.mean(right)) if right else UNKNOWN
    return LearnedPreferences(weights=replace(weights, held_out_accuracy=accuracy), held_out=len(right))


def earned(weights: RewardWeights, attempt: Shown) -> FloatArray:
    """What each member of the ensemble gives an attempt per step. Shape: (E,)."""
    out = forward(weights.layers, normalised(attempt.rows, weights.mean, weights.std))[..., 0]
    per_step: FloatArray = out @ attempt.shares
    return per_step


def doubt(first: FloatArray, second: FloatArray) -> FloatArray:
    """How little the members agree on which of two attempts is better: the deviation of what each holds probable.

    Section 2.2.4 of Christiano et al. 2017. Shapes: (..., E) to (...).
    """
    probable = 1.0 / (1.0 + np.exp(np.clip(_LOG_ODDS * (second - first), -60.0, 60.0)))
    deviation: FloatArray = probable.std(axis=-1)
    return deviation


_LOG_ODDS = 5.0
"""That an attempt is better which earns 1 more per step, in standard deviations of a step."""


def _parts(pairs: Sequence[Pair], c: PreferenceConfig, seed: int) -> list[NDArray[np.intp]]:
    return np.array_split(np.random.default_rng(seed).permutation(len(pairs)), c.folds)


def _foretold(
    attempts: Sequence[Shown], pairs: Sequence[Pair], part: NDArray[np.intp], c: PreferenceConfig, seed: int
) -> list[bool]:
    """Whether each pair of a part is told rightly by pairs of other attempts; nothing where these are too few."""
    held = [pairs[i] for i in part]
    known = {attempt for pair in held for attempt in pair}
    others = [pair for pair in pairs if not known & {*pair}]
    if len(others) < c.least_pairs // 2:
        return []
    weights = _fit(attempts, others, c, seed)
    return [bool((earned(weights, attempts[a]) - earned(weights, attempts[b])).mean() > 0.0) for a, b in held]


def _fit(attempts: Sequence[Shown], pairs: Sequence[Pair], c: PreferenceConfig, seed: int) -> RewardWeights:
    rng = np.random.default_rng(seed)
    used, places = np.unique(pairs, return_inverse=True)
    places = places.reshape(-1, 2)
    rows = np.concatenate([attempts[i].rows for i in used])
    shares = np.concatenate([attempts[i].shares for i in used])
    mean, std = rows.mean(axis=0), np.maximum(rows.std(axis=0), LEAST_STD)
    seen, ends = normalised(rows, mean, std), np.cumsum(shares)
    network = EnsembleNetwork(c.ensemble, (rows.shape[1], *c.hidden, 1), torch.Generator().manual_seed(seed))
    adam = torch.optim.AdamW(network.parameters(), c.learning_rate, weight_decay=c.weight_decay)
    # Each member has its own choice of pairs, some more than once, so that members differ where there is little data.
    own = places[rng.integers(len(pairs), size=(c.ensemble, len(pairs)))]
    target = torch.full((c.ensemble, c.batch), 1.0 - 0.5 * c.mistaken)

    def draw() -> Float32:
        drawn = own[:, rng.integers(len(pairs), size=c.batch), :, None]
        # The steps of the attempt at place i take up the stretch from i to i + 1, each its share.
        steps = np.searchsorted(ends, drawn + rng.random((*drawn.shape[:3], c.steps)), side="right")
        return seen[np.minimum(steps, len(seen) - 1)]

    def loss() -> torch.Tensor:
        out = network(torch.from_numpy(draw().reshape(c.ensemble, -1, seen.shape[1])))
        better, worse = out.reshape(c.ensemble, c.batch, 2, c.steps).mean(dim=3).unbind(dim=2)
        return nn.functional.binary_cross_entropy_with_logits(c.certainty * (better - worse), target)

    if take_updates(network, adam, loss, c.updates) is None:
        raise ValueError("the reward's numbers stopped being finite; look for attempts with broken readings")
    return RewardWeights(
        layers=_to_unit_variance(network.arrays(), seen, shares / len(used)),
        mean=mean,
        std=std,
        caution=c.caution,
        source=Source.PREFERENCES,
        held_out_accuracy=UNKNOWN,
    )


def _to_unit_variance(layers: Layers, rows: Float32, shares: FloatArray) -> Layers:
    """The same networks with outputs of mean 0 and deviation 1 over rows of these shares, each member by itself."""
    out = forward(layers, rows)[..., 0]
    mean = out @ shares
    deviation = np.maximum(np.sqrt((out - mean[:, None]) ** 2 @ shares), LEAST_STD)
    scale, shift = (array.astype(np.float32)[:, None, None] for array in (1.0 / deviation, mean))
    weight, bias = layers[-1]
    return (*layers[:-1], (weight * scale, (bias - shift) * scale))
