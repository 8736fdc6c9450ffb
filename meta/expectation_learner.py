"""Keeps up to date what a robot is expected to do, and what errors are like while nothing changes."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from meta.change_point import Calibration
from meta.dynamics import DynamicsEnsemble
from meta.dynamics_learner import DynamicsConfig, DynamicsLearner
from meta.expectation import Expectation, ForwardModel
from meta.sensor_checks import unusual, usual_checks
from meta.transitions import AttemptSteps, Float32, Scales

Errors = Callable[[Float32, Float32, Float32, Float32 | None], NDArray[np.floating[Any]]]
"""Normalised errors, foretold states and states as they turned out, each (T, S), and further errors (`AttemptSteps`),
to channels (T, J)."""


@dataclass(frozen=True, kw_only=True)
class ExpectationConfig:
    """Settings of `ExpectationLearner`."""

    model: DynamicsConfig = field(default_factory=lambda: DynamicsConfig(members=3, hidden=(96, 96)))
    blocks: tuple[int, ...] = (2, 10)
    """Steps that are averaged to one error, of each length that is watched. Those of one step take a burst, as of a
    start from an unsteady stance, for a change (`docs/decisions/0042-attempts-differ.md`)."""
    held_back: int = 3
    """One attempt in so many is not learned from, but calibrates."""
    first_steps: int = 8000
    """Steps that are waited for: the scales of the models are those of this data."""
    least_updates: int = 1200
    """Updates before the first version: one that knows a robot badly is soon surprised by it, and stays so."""
    capacity: int = 60_000
    """Newest steps that are learned from."""
    held_capacity: int = 12_000
    """Newest steps that calibrate."""
    every: int = 10
    """Attempts between two versions."""
    familiar_share: float = 0.7
    """Share of calm steps, those that the models agree about most, whose errors count; a block does if half of it
    is of them. A policy that changes leads where the models have not been, surer there than they should be."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        if self.held_back < 2:
            raise ValueError(f"held_back is {self.held_back}; with less than 2 nothing is left to learn from")
        if not 0.0 < self.familiar_share <= 1.0:
            raise ValueError(f"familiar_share is {self.familiar_share}; it must be above 0 and at most 1")


class ExpectationLearner:
    """Learns one robot's dynamics, attempt by attempt."""

    def __init__(
        self,
        state_size: int,
        action_size: int,
        channels: Errors,
        signed: int,
        config: ExpectationConfig | None = None,
        seed: int = 0,
    ) -> None:
        """Make new models of states of S and actions of A numbers.

        Args:
            state_size: S.
            action_size: A.
            channels: makes of errors what is watched.
            signed: how many of the last channels are of either sign.
            config: settings.
            seed: of networks and minibatches.
        """
        self.config = c = config or ExpectationConfig()
        self._learner = DynamicsLearner(state_size, action_size, c.model, seed)
        self._channels, self._signed = channels, signed
        self._learned, self._held = _Newest(c.capacity), _Newest(c.held_capacity)
        self._attempts = 0
        self._newest: Expectation | None = None
        self._due = c.every

    @property
    def updates(self) -> int:
        """Gradient updates taken so far."""
        return self._learner.updates

    @property
    def refused_reason(self) -> str:
        """Why the last updates were undone; empty if they were not."""
        return self._learner.refused_reason

    def add(self, attempt: AttemptSteps) -> None:
        """Take in an attempt."""
        self._attempts += 1
        (self._held if self._attempts % self.config.held_back == 0 else self._learned).add(attempt)

    def update(self, n: int) -> dict[str, float]:
        """Take ``n`` gradient updates.

        Returns:
            ``expectation_loss`` of the last minibatch; nothing where too little has been seen, or where updates led to
            numbers that are not finite and were undone.
        """
        if self._learned.steps < self.config.first_steps:
            return {}
        loss = self._learner.refine(self._learned.attempts, n)
        return {} if loss is None else {"expectation_loss": loss}

    def snapshot(self) -> Expectation | None:
        """The newest version, one in so many attempts; None as long as too little has been seen to calibrate."""
        if self.updates >= self.config.least_updates and self._attempts >= self._due:
            try:
                self._newest = self._calibrated()
            except ValueError:
                return self._newest  # too few blocks yet
            self._due = self._attempts + self.config.every
        return self._newest

    def _calibrated(self) -> Expectation:
        """The models as they are now, with errors on attempts that they never learned from."""
        model, rows, disagreements = forward_model(self._learner.ensemble), [], []
        usual = self._usual_checks()
        for attempt in self._held.attempts:
            z, expected, disagreement = model.errors(attempt.states[:-1], attempt.actions, attempt.states[1:])
            checks = None
            if attempt.checks is not None and attempt.turning is not None:
                checks = unusual(attempt.checks, attempt.turning, usual)
            channels = self._channels(z, expected, attempt.states[1:], checks)
            rows.append(np.where(attempt.valid[:, None], channels, np.nan))
            disagreements.append(np.where(attempt.valid, disagreement, np.nan))
        familiar = float(np.nanquantile(np.concatenate(disagreements), self.config.familiar_share))
        judged = rows[0].shape[1] - usual.shape[1]
        for row, off in zip(rows, disagreements, strict=True):
            row[off > familiar, :judged] = np.nan
        calibrations = tuple(Calibration.of(rows, block, self._signed) for block in self.config.blocks)
        return Expectation(
            version=self._attempts, model=model, calibrations=calibrations, usual_checks=usual, familiar=familiar
        )

    def _usual_checks(self) -> Float32:
        parts = [
            (each.checks, each.turning, each.valid)
            for each in self._learned.attempts
            if each.checks is not None and each.turning is not None
        ]
        return usual_checks(parts) if parts else np.zeros((1, 0), np.float32)


class _Newest:
    """The newest attempts with so many steps in all."""

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._attempts: deque[AttemptSteps] = deque()
        self.steps = 0

    @property
    def attempts(self) -> Sequence[AttemptSteps]:
        return self._attempts

    def add(self, attempt: AttemptSteps) -> None:
        self._attempts.append(attempt)
        self.steps += len(attempt.actions)
        while self.steps > self._capacity and len(self._attempts) > 1:
            self.steps -= len(self._attempts.popleft().actions)


def forward_model(ensemble: DynamicsEnsemble) -> ForwardModel:
    """A copy of an ensemble as it is now."""

    def copied(name: str) -> Float32:
        array: Float32 = getattr(ensemble, name).detach().numpy().copy()
        return array

    return ForwardModel(
        layers=tuple(
            (weight.detach().numpy().copy(), bias.detach().numpy().copy())
            for weight, bias in zip(ensemble.weights, ensemble.biases, strict=True)
        ),
        log_variance=(copied("least_log_variance"), copied("most_log_variance")),
        scales=Scales(**{name: copied(name) for name in ("input_mean", "input_std", "delta_mean", "delta_std")}),
    )
