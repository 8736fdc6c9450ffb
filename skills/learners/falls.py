"""Learns to predict falls from the attempts that are stored anyway.

A safety critic without actions (Srinivasan et al. 2020, arXiv 2010.14603, learn one with them): whether the robot falls
within a horizon, under the policies that made the attempts. With a horizon this is a plain question with a known answer
for each stored moment, so an ensemble learns it by cross-entropy, without bootstrapping. Falls are rare: half of each
minibatch is drawn from before falls, and calibration on attempts held back (Platt 1999) gives probabilities their true
size again. The threshold is the lowest with which no more false alarms are to be expected than are allowed.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from meta.robot_steps import posture, posture_size
from sim.robot import FloatArray, FrameLayout, Frames, RobotSpec
from skills.fall_predictor import FallPredictorWeights, calibrated, cautious_log_odds
from skills.lean import lean_rad
from skills.learners.ensemble_network import EnsembleNetwork, take_updates
from skills.learners.ring import Ring

NEVER = 1.0
"""Threshold of a predictor that has seen too little to be listened to."""
_PLATT_STEPS = 50
Bools = NDArray[np.bool_]
Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class FallConfig:
    """Settings of `FallLearner`."""

    horizon_s: float = 0.5
    """What counts is a fall within this time."""
    false_alarms_per_min: float = 0.2
    """How many false alarms are allowed."""
    false_alarm_s: float = 1.5
    """An alarm is false if the robot neither falls nor leans too far within this time, nor did; alarms closer together
    than this are one."""
    held_back: int = 4
    """One attempt in so many is not learned from, but calibrates. Counted for attempts with and without a fall."""
    least_threshold: float = 0.05
    """A fall less probable than this gives no alarm, however rare false alarms are."""
    least_falls: int = 3
    """Falls held back before there are alarms at all."""
    hidden: tuple[int, ...] = (64, 64)
    ensemble: int = 5
    caution: float = 0.5
    """Standard deviations of the ensemble that are added to its mean."""
    batch: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    capacity: int = 400_000
    """Postures that are kept."""
    held_capacity: int = 400
    """Attempts held back that are kept."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        if not (0.0 < self.horizon_s <= self.false_alarm_s):
            raise ValueError(f"horizon_s is {self.horizon_s}; it must be above 0 and at most {self.false_alarm_s}")
        if self.held_back < 2:
            raise ValueError(f"held_back is {self.held_back}; with less than 2 nothing is left to learn from")


@dataclass(frozen=True, kw_only=True, eq=False)
class Walk:
    """One attempt, or a part of one, as a fall predictor sees it."""

    postures: Float32
    """Shape: (T, F)."""
    leans_rad: FloatArray
    """By `skills.lean`. Shape: (T,)."""
    most_lean_rad: float
    """A body that leans further is in trouble, whether it falls or not."""
    stamps_s: FloatArray
    """Shape: (T,)."""
    fell_s: float | None
    """When the robot fell; None: it did not, as far as the attempt went."""
    disturbed: bool = False
    """Whether somebody tried to make it fall: such a walk says nothing of how often alarms are false."""

    @classmethod
    def of(
        cls,
        spec: RobotSpec,
        frames: Float32,
        stamps_s: FloatArray,
        fell_s: float | None,
        most_lean_rad: float | None = None,
    ) -> Walk:
        """From what was measured. Shapes: (T, frame width), (T,). The robot's own ``most_lean_rad`` when None."""
        seen = Frames(frames, FrameLayout.of(spec))
        return cls(
            postures=posture(spec, seen),
            leans_rad=lean_rad(seen.up, seen.angular_velocity),
            most_lean_rad=spec.catch_lean_rad if most_lean_rad is None else most_lean_rad,
            stamps_s=stamps_s,
            fell_s=fell_s,
        )

    def labels(self, horizon_s: float) -> tuple[Bools, Bools]:
        """Which moments lie before a fall within the horizon, and of which that is known. Shapes: (T,), (T,)."""
        if self.fell_s is None:
            return np.zeros(len(self.stamps_s), np.bool_), self.stamps_s <= self.stamps_s[-1] - horizon_s
        left_s = self.fell_s - self.stamps_s
        return left_s <= horizon_s, left_s > 0.0

    def good(self, around_s: float) -> Bools:
        """Moments with neither a fall nor too much of a lean around them: an alarm there is false. Shape: (T,)."""
        troubles_s = self.stamps_s[self.leans_rad > self.most_lean_rad]
        if self.fell_s is not None:
            troubles_s = np.append(troubles_s, self.fell_s)
        if not len(troubles_s):
            return np.ones(len(self.stamps_s), np.bool_)
        after = np.minimum(np.searchsorted(troubles_s, self.stamps_s), len(troubles_s) - 1)
        nearest_s = np.minimum(
            np.abs(troubles_s[after] - self.stamps_s), np.abs(troubles_s[np.maximum(after - 1, 0)] - self.stamps_s)
        )
        good: Bools = nearest_s > around_s
        return good


class FallLearner:
    """Learns one robot's falls."""

    def __init__(self, spec: RobotSpec, config: FallConfig | None = None, seed: int = 0) -> None:
        """Make new networks."""
        self.config = c = config or FallConfig()
        self.updates = 0
        """Gradient updates taken so far."""
        self.refused_reason = ""
        """Why the last updates were undone; empty if they were not."""
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        width = posture_size(spec)
        self._network = EnsembleNetwork(c.ensemble, (width, *c.hidden, 1), self._generator)
        self._adam = torch.optim.AdamW(self._network.parameters(), c.learning_rate, weight_decay=c.weight_decay)
        self._rows = {fell: Ring(c.capacity // 2, width) for fell in (False, True)}
        self._held: deque[Walk] = deque(maxlen=c.held_capacity)
        self._walks = {False: 0, True: 0}
        self._mean, self._std = np.zeros(width, np.float32), np.ones(width, np.float32)
        self._slope, self._offset, self._threshold = 1.0, 0.0, NEVER

    def add(self, walk: Walk) -> None:
        """Take in an attempt."""
        fell = walk.fell_s is not None
        self._walks[fell] += 1
        if self._walks[fell] % self.config.held_back == 0:
            self._held.append(walk)
            return
        falling, known = walk.labels(self.config.horizon_s)
        for kind, rows in self._rows.items():
            rows.add(walk.postures[known & (falling == kind)])

    def update(self, n: int) -> dict[str, float]:
        """Take ``n`` gradient updates and calibrate.

        Returns:
            ``fall_loss`` of the last minibatch and ``fall_threshold``; nothing where no fall or nothing else has been
            seen, or where updates led to numbers that are not finite and were undone.
        """
        self.refused_reason = ""
        if n <= 0 or not all(len(rows) for rows in self._rows.values()):
            return {}
        self._normalise()
        loss = take_updates(self._network, self._adam, self._loss, n)
        if loss is None:
            self.refused_reason = f"the fall predictor's numbers stopped being finite within {n} updates"
            return {}
        self.updates += n
        self._calibrate()
        return {"fall_loss": loss, "fall_threshold": self._threshold}

    def snapshot(self) -> FallPredictorWeights:
        """A copy of the predictor as it is now."""
        return FallPredictorWeights(
            layers=self._network.arrays(),
            mean=self._mean.copy(),
            std=self._std.copy(),
            horizon_s=self.config.horizon_s,
            caution=self.config.caution,
            slope=self._slope,
            offset=self._offset,
            threshold=self._threshold,
        )

    def _loss(self) -> torch.Tensor:
        """Of a minibatch; each member draws its own, so that they differ where there is little data."""
        half = self.config.batch // 2
        drawn = [
            np.concatenate([self._rows[fell].draw(half, self._rng) for fell in (False, True)])
            for _ in range(self.config.ensemble)
        ]
        x = torch.from_numpy(np.clip((np.stack(drawn) - self._mean) / self._std, -10.0, 10.0))
        labels = torch.cat((torch.zeros(half), torch.ones(half))).expand(self.config.ensemble, -1)
        return nn.functional.binary_cross_entropy_with_logits(self._network(x)[..., 0], labels)

    def _normalise(self) -> None:
        calm = self._rows[False].all
        self._mean = calm.mean(axis=0)
        self._std = np.maximum(calm.std(axis=0), 1e-3)

    def _calibrate(self) -> None:
        if sum(walk.fell_s is not None for walk in self._held) < self.config.least_falls:
            self._slope, self._offset, self._threshold = 1.0, 0.0, NEVER
            return
        weights = self.snapshot()
        log_odds = [cautious_log_odds(weights, walk.postures) for walk in self._held]
        labels = [walk.labels(self.config.horizon_s) for walk in self._held]
        self._slope, self._offset = platt(
            np.concatenate([odds[known] for odds, (_, known) in zip(log_odds, labels, strict=True)]),
            np.concatenate([falling[known] for falling, known in labels]),
        )
        scored = [
            (calibrated(odds, self._slope, self._offset), walk)
            for odds, walk in zip(log_odds, self._held, strict=True)
            if not walk.disturbed
        ]
        self._threshold = min(max(lowest_threshold(scored, self.config), self.config.least_threshold), NEVER)


def lowest_threshold(scored: Sequence[tuple[FloatArray, Walk]], config: FallConfig) -> float:
    """With which no more false alarms are to be expected than are allowed; infinite where attempts are too few to tell.

    Of ``k`` stretches of time, one more is expected to exceed the largest of them in as many to come; so the threshold
    is one place higher than what these attempts alone would allow.

    Args:
        scored: what is compared with the threshold at each moment of an attempt, shape (T,), and the attempt.
        config: what is allowed.
    """
    highest, minutes = [], 0.0
    for score, walk in scored:
        for block in calm_blocks(walk, config.false_alarm_s):
            highest.append(float(score[block].max()))
            minutes += float(walk.stamps_s[block][-1] - walk.stamps_s[block][0]) / 60.0
    allowed = int(config.false_alarms_per_min * minutes)
    if not allowed:
        return math.inf
    return float(np.sort(highest)[-allowed]) if allowed <= len(highest) else -math.inf


def calm_blocks(walk: Walk, length_s: float) -> list[NDArray[np.intp]]:
    """Indices of stretches of an attempt in which an alarm would be false, none longer than ``length_s``."""
    calm = np.flatnonzero(walk.good(length_s))
    if not len(calm):
        return []
    number = (walk.stamps_s[calm] / length_s).astype(int)
    return np.split(calm, np.flatnonzero(np.diff(number)) + 1)


def platt(log_odds: FloatArray, labels: Bools | FloatArray) -> tuple[float, float]:
    """Slope and offset with which log-odds become those of the labels: logistic regression by Newton's method.

    Args:
        log_odds: of a model. Shape: (B,).
        labels: what came true, or how probably. Shape: (B,).
    """
    x = np.stack((log_odds.astype(np.float64), np.ones(len(log_odds))), axis=1)
    # A slight pull to zero: without it, data that can be told apart perfectly has no answer.
    weight = np.array([1.0, 0.0])
    for _ in range(_PLATT_STEPS):
        p = 1.0 / (1.0 + np.exp(-np.clip(x @ weight, -60.0, 60.0)))
        gradient = x.T @ (p - labels) + 1e-3 * weight
        hessian = (x * (p * (1.0 - p))[:, None]).T @ x + 1e-3 * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        size = float(np.abs(step).max())
        weight = weight - step * min(1.0, 1.0 / max(size, 1e-9))
        if size < 1e-6:
            break
    return float(max(weight[0], 0.0)), float(weight[1])


@dataclass(frozen=True)
class Reliability:
    """One bin of a reliability diagram."""

    forecast: float
    """Mean probability that was told."""
    frequency: float
    """How often it came true."""
    count: int


def reliability_diagram(probability: FloatArray, labels: Bools, bins: int = 10) -> list[Reliability]:
    """Forecasts and frequencies over bins of equal width, of those that are not empty. Shapes: (B,), (B,)."""
    index = np.minimum((probability * bins).astype(int), bins - 1)
    return [
        Reliability(float(probability[inside].mean()), float(labels[inside].mean()), int(inside.sum()))
        for inside in (index == each for each in range(bins))
        if inside.any()
    ]


def expected_calibration_error(diagram: Sequence[Reliability]) -> float:
    """Mean distance of forecast and frequency (Guo et al. 2017, arXiv 1706.04599)."""
    total = sum(each.count for each in diagram)
    return sum(each.count * abs(each.forecast - each.frequency) for each in diagram) / total
