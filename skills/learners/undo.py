"""Learns from stored attempts how probable each skill's success is from wherever it was tried.

An attempt that succeeds says so of every place on its way, one that fails likewise; with a known answer for each stored
moment an ensemble learns it by cross-entropy. What led to where nothing can be brought back from counts as a failure of
the skills that would have had to. Of a skill that has a script, too, only those attempts count that have succeeded more
often of late, by the script or by the policy: what one of them can still undo is not lost. Thresholds are such that
hardly any of the attempts that lost nothing would have been ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from sim.robot import FloatArray
from skills.ensemble import normalised
from skills.learners.ensemble_network import EnsembleNetwork, take_updates
from skills.learners.ring import Ring
from skills.undo_critic import UndoCriticWeights, success_probabilities

Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class UndoConfig:
    """Settings of `UndoLearner`."""

    hopeless_below: float = 0.25
    """Where a skill succeeds less often than this share of its newest success rate, nothing is left for it to undo."""
    most_cut: float = 0.03
    """Share of the attempts that lost nothing which may be ended early all the same."""
    passed_kept: int = 200
    """Such attempts that say how many would be."""
    least_attempts: int = 20
    """Attempts of a skill before its critic is listened to."""
    recent: int = 50
    """Attempts that make its newest success rate."""
    before_loss: int = 15
    """Steps before something is lost that count as failures: whoever is there is about to lose it."""
    hidden: tuple[int, ...] = (64, 64)
    ensemble: int = 5
    caution: float = 0.5
    """Standard deviations of the ensemble that are taken off its mean."""
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    capacity: int = 100_000
    """Moments that are kept of each skill."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        if not 0.0 < self.hopeless_below < 1.0:
            raise ValueError(f"hopeless_below is {self.hopeless_below}; it must be between 0 and 1")


class _Way:
    """Attempts of one skill, made in one way."""

    def __init__(self, width: int, config: UndoConfig) -> None:
        self.moments = Ring(config.capacity, width + 1)
        """Feature rows, each with whether the attempt succeeded."""
        self.outcomes: deque[bool] = deque(maxlen=config.recent)

    @property
    def rate(self) -> float:
        """Share of the newest attempts that succeeded."""
        return sum(self.outcomes) / len(self.outcomes) if self.outcomes else 0.0

    def add(self, features: Float32, success: bool) -> None:
        label = np.full((len(features), 1), success, np.float32)
        self.moments.add(np.concatenate((features, label), axis=1))


class UndoLearner:
    """Learns critics of the success of K skills of a family."""

    def __init__(self, skills: Sequence[str], width: int, config: UndoConfig | None = None, seed: int = 0) -> None:
        """Make new networks.

        Args:
            skills: names of the skills that undo something.
            width: of a feature row.
            config: settings.
            seed: of networks and minibatches.
        """
        self.config = c = config or UndoConfig()
        self.skills = tuple(skills)
        self.updates = 0
        """Gradient updates taken so far."""
        self.refused_reason = ""
        """Why the last updates were undone; empty if they were not."""
        self._rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        self._network = EnsembleNetwork(c.ensemble, (width, *c.hidden, len(skills)), generator)
        self._adam = torch.optim.AdamW(self._network.parameters(), c.learning_rate, weight_decay=c.weight_decay)
        self._ways = {name: {by: _Way(width, c) for by in (False, True)} for name in self.skills}
        """Attempts of each skill, by its policy and by its script."""
        self._passed: deque[Float32] = deque(maxlen=c.passed_kept)
        """Places that attempts went through which lost nothing. Shape of each: (T, F)."""
        self._mean, self._std = np.zeros(width, np.float32), np.ones(width, np.float32)

    def tried(self, skill: str, features: Float32, *, success: bool, by_script: bool = False) -> None:
        """An attempt of one of the skills went through these places. Shape: (T, F)."""
        way = self._ways[skill][by_script]
        way.outcomes.append(success)
        way.add(features, success)

    def lost(self, skill: str, features: Float32) -> None:
        """An attempt, of whatever skill, led to where this one can bring nothing back from. Shape: (T, F)."""
        for way in self._ways[skill].values():
            way.add(features[-self.config.before_loss :], False)

    def passed(self, features: Float32) -> None:
        """An attempt went through these places, and nothing was lost. Shape: (T, F)."""
        self._passed.append(features)

    def update(self, n: int) -> dict[str, float]:
        """Take ``n`` gradient updates.

        Returns:
            ``undo_loss`` of the last minibatch; nothing where no attempt has been seen, or where updates led to numbers
            that are not finite and were undone.
        """
        self.refused_reason = ""
        known = [index for index, name in enumerate(self.skills) if len(self._best(name).moments)]
        if n <= 0 or not known:
            return {}
        self._normalise(known)
        loss = take_updates(self._network, self._adam, lambda: self._loss(known), n)
        if loss is None:
            self.refused_reason = f"the undo critic's numbers stopped being finite within {n} updates"
            return {}
        self.updates += n
        return {"undo_loss": loss}

    def snapshot(self) -> UndoCriticWeights:
        """A copy of the critics as they are now."""
        weights = UndoCriticWeights(
            skills=self.skills,
            layers=self._network.arrays(),
            mean=self._mean.copy(),
            std=self._std.copy(),
            least=np.array([self._least(name) for name in self.skills]),
            caution=self.config.caution,
        )
        return replace(weights, least=np.minimum(weights.least, self._most(weights)))

    def _best(self, skill: str) -> _Way:
        by_policy, by_script = self._ways[skill].values()
        return by_script if by_script.rate > by_policy.rate else by_policy

    def _least(self, skill: str) -> float:
        way = self._best(skill)
        return self.config.hopeless_below * way.rate if len(way.outcomes) >= self.config.least_attempts else 0.0

    def _most(self, weights: UndoCriticWeights) -> FloatArray:
        """Thresholds under which few of the attempts that lost nothing would have been ended. Shape: (K,)."""
        if len(self._passed) < self.config.least_attempts:
            return np.zeros(len(self.skills))
        ends = np.cumsum([len(features) for features in self._passed])[:-1]
        probabilities = success_probabilities(weights, np.concatenate(self._passed))
        lows = np.stack([places.min(axis=0) for places in np.split(probabilities, ends)])
        most: FloatArray = np.quantile(lows, self.config.most_cut / len(self.skills), axis=0, method="lower")
        return most

    def _normalise(self, known: Sequence[int]) -> None:
        rows = np.concatenate([self._best(self.skills[index]).moments.all[:, :-1] for index in known])
        self._mean = rows.mean(axis=0)
        self._std = np.maximum(rows.std(axis=0), 1e-3)

    def _loss(self, known: Sequence[int]) -> torch.Tensor:
        """Of a minibatch; each member draws its own, so that they differ where there is little data."""
        share = max(1, self.config.batch // len(known))
        rings = [self._best(self.skills[index]).moments for index in known]
        drawn = np.stack([[ring.draw(share, self._rng) for ring in rings] for _ in range(self.config.ensemble)])
        x = normalised(drawn[..., :-1], self._mean, self._std)
        members, skills = drawn.shape[:2]
        out = self._network(torch.from_numpy(x.reshape(members, skills * share, -1)))
        own = out.reshape(members, skills, share, -1)[:, range(skills), :, list(known)]
        labels = torch.from_numpy(np.moveaxis(drawn[..., -1], 1, 0).copy())
        return nn.functional.binary_cross_entropy_with_logits(own, labels)
