"""Learns ensembles of dynamics models from stored attempts, each member from a bootstrap of its own.

The loss is the Gaussian negative log-likelihood (Chua et al. 2018, eq. 1), over one step or over several: then a member
goes on from its own predictions, as it will when it is planned with, and learns not to let its errors add up (Nagabandi
et al. 2018, arXiv 1708.02596, section IV-E).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from meta.dynamics import DynamicsEnsemble
from meta.transitions import AttemptSteps, Scales, Steps, split_by_attempt
from meta.updates import take_updates

BOUNDS_WEIGHT = 0.01
"""How much the bounds of the log variance are drawn together (appendix A.1 of the paper)."""


@dataclass(frozen=True, kw_only=True)
class DynamicsConfig:
    """Settings of `DynamicsLearner`."""

    members: int = 5
    hidden: tuple[int, ...] = (128, 128)
    rollout: int = 1
    """Steps that a member goes on from its own predictions in the loss; 1: single steps."""
    batch: int = 256
    """Windows of ``rollout`` steps per member and update."""
    learning_rate: float = 1e-3
    weight_decay: float = 1e-5
    validation_share: float = 0.15
    """Of the attempts."""
    validation_windows: int = 2048
    """Windows of the validation attempts that are looked at, at most."""
    evaluate_every: int = 100
    """Updates between two looks at the validation loss."""
    patience: int = 5
    """Looks without progress of any member after which learning ends."""
    least_progress: float = 1e-3
    """Fall of the validation loss, in nat per number of the state, that counts as progress."""
    most_updates: int = 10_000

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, naming the field, its value and what is valid."""
        for name in ("members", "rollout", "batch", "validation_windows", "evaluate_every", "patience", "most_updates"):
            self._need(name, getattr(self, name) >= 1, "at least 1")
        self._need("hidden", len(self.hidden) >= 1 and min(self.hidden) >= 1, "one or more positive widths")
        self._need("validation_share", 0.0 < self.validation_share < 1.0, "between 0 and 1")
        self._need("learning_rate", 0.0 < self.learning_rate < math.inf, "positive and finite")
        for name in ("weight_decay", "least_progress"):
            self._need(name, 0.0 <= getattr(self, name) < math.inf, "zero or positive, and finite")

    def _need(self, name: str, valid: bool, what: str) -> None:
        if not valid:
            raise ValueError(f"dynamics setting {name} is {getattr(self, name)!r}; it must be {what}")


@dataclass(frozen=True, kw_only=True)
class _Windows:
    """Tensors of all steps, and the rows from which windows begin."""

    states: Tensor
    actions: Tensor
    starts: NDArray[np.intp]

    @classmethod
    def of(cls, attempts: Sequence[AttemptSteps], length: int) -> _Windows:
        steps = Steps(attempts)
        states, actions = torch.from_numpy(steps.states), torch.from_numpy(steps.actions)
        return cls(states=states, actions=actions, starts=steps.starts(length))


class DynamicsLearner:
    """An ensemble and what it takes to learn it."""

    def __init__(self, state_size: int, action_size: int, config: DynamicsConfig | None = None, seed: int = 0) -> None:
        """Make new networks for states of S and actions of A numbers."""
        self.config = c = config or DynamicsConfig()
        self.updates = 0
        """Gradient updates taken so far."""
        self.refused_reason = ""
        """Why the last updates were undone; empty if they were not."""
        self.seed = seed
        """Of networks, minibatches, and of the split of attempts into those to learn from and to validate on."""
        self._rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        self.ensemble = DynamicsEnsemble(state_size, action_size, c.hidden, c.members, generator)
        self._adam = torch.optim.AdamW(self.ensemble.parameters(), c.learning_rate, weight_decay=c.weight_decay)

    def fit(self, attempts: Sequence[AttemptSteps]) -> dict[str, float]:
        """Learn until the validation loss falls no more; each member is left as it was at its best.

        The first call takes the scales of its data, and later ones keep them: networks that go on learning see their
        inputs as before. A later call never leaves a member worse on the validation attempts than it found it.

        Returns:
            ``validation_loss`` (mean over members, nat per number), ``validation_error`` (root mean square of the
            ensemble's one-step error, in usual steps), ``updates`` and ``windows`` that it learned from.

        Raises:
            ValueError: fewer than two attempts, or a side of the split has no window of trusted steps.
        """
        c = self.config
        learned, validated = split_by_attempt(attempts, c.validation_share, self.seed)
        train, held = _Windows.of(learned, c.rollout), _Windows.of(validated, c.rollout)
        if not len(train.starts) or not len(held.starts):
            raise ValueError(
                f"{len(train.starts)} windows of {c.rollout} trusted steps to learn from, {len(held.starts)} to "
                "validate on; both need at least one"
            )
        if self.updates == 0:
            self.ensemble.set_scales(Scales.of(Steps(learned)))
        sample = np.random.default_rng(self.seed).permutation(held.starts)[: c.validation_windows]
        taken, loss = self._improve(train, held, sample)
        error = self._one_step_error(held, sample)
        return {
            "validation_loss": loss,
            "validation_error": error,
            "updates": float(taken),
            "windows": float(len(train.starts)),
        }

    def refine(self, attempts: Sequence[AttemptSteps], n: int) -> float | None:
        """Take ``n`` updates on attempts, however well they fit already: for learning that goes on as more come.

        The first call takes the scales of its data, and later ones keep them. Every attempt is learned from; which to
        validate on is the caller's business.

        Returns:
            The loss of the last minibatch, in nat per number; None where there is no window of trusted steps, or where
            updates led to numbers that are not finite and were undone (`refused_reason`).
        """
        self.refused_reason = ""
        windows = _Windows.of(attempts, self.config.rollout)
        if not len(windows.starts) or n <= 0:
            return None
        if self.updates == 0:
            self.ensemble.set_scales(Scales.of(Steps(attempts)))
        # Each member draws its own minibatches; a bag of its own would change with every attempt that comes.
        bags = np.broadcast_to(windows.starts, (self.config.members, len(windows.starts)))
        loss = take_updates(self.ensemble.parameters(), self._adam, lambda: self._minibatch(windows, bags), n)
        if loss is None:
            self.refused_reason = f"the dynamics models' numbers stopped being finite within {n} updates"
            return None
        self.updates += n
        return loss / self.config.members

    def loss(self, windows: _Windows, rows: NDArray[np.intp]) -> Tensor:
        """Negative log-likelihood of windows, in nat per number, without its constant.

        Args:
            windows: where they are.
            rows: where they begin, for each member. Shape: (E, B).

        Returns:
            Shape: (E,).
        """
        ensemble, at = self.ensemble, torch.from_numpy(rows)
        states, total = windows.states[at], torch.zeros(len(rows))
        for step in range(self.config.rollout):
            mean, log_variance = ensemble(states, windows.actions[at + step])
            error = mean - ensemble.normalised_difference(states, windows.states[at + step + 1])
            total = total + 0.5 * (error.square() * (-log_variance).exp() + log_variance).mean((1, 2))
            states = ensemble.advance(states, mean)
        return total / self.config.rollout

    def _improve(self, train: _Windows, held: _Windows, sample: NDArray[np.intp]) -> tuple[int, float]:
        """Updates with early stopping; returns how many, and the best validation loss."""
        c = self.config
        # Each member's own draw of the windows, with replacement: some it never sees.
        bags = self._rng.choice(train.starts, (c.members, len(train.starts)))
        best, kept = self._validate(held, sample), self._copy()
        taken, waited = 0, 0
        self.refused_reason = ""
        while taken < c.most_updates and waited < c.patience:
            n = min(c.evaluate_every, c.most_updates - taken)
            if take_updates(self.ensemble.parameters(), self._adam, lambda: self._minibatch(train, bags), n) is None:
                self.refused_reason = f"the dynamics models' numbers stopped being finite within {n} updates"
                break
            taken += n
            now = self._validate(held, sample)
            better = now < best - c.least_progress
            waited = 0 if bool(better.any()) else waited + 1
            best = torch.where(better, now, best)
            for old, parameter in zip(kept, self.ensemble.parameters(), strict=True):
                old[better] = parameter.detach()[better]
        with torch.no_grad():
            for old, parameter in zip(kept, self.ensemble.parameters(), strict=True):
                parameter.copy_(old)
        self.updates += taken
        return taken, float(best.mean())

    def _minibatch(self, train: _Windows, bags: NDArray[np.intp]) -> Tensor:
        drawn = self._rng.integers(bags.shape[1], size=(len(bags), self.config.batch))
        span = self.ensemble.most_log_variance - self.ensemble.least_log_variance
        fit = self.loss(train, np.take_along_axis(bags, drawn, axis=1)).sum()
        return fit + BOUNDS_WEIGHT * span.mean((1, 2)).sum()

    @torch.no_grad()
    def _validate(self, held: _Windows, sample: NDArray[np.intp]) -> Tensor:
        """Loss of each member; infinite where it is not a number. Shape: (E,)."""
        loss = self.loss(held, np.tile(sample, (self.config.members, 1)))
        return torch.nan_to_num(loss, nan=math.inf)

    def _one_step_error(self, held: _Windows, sample: NDArray[np.intp]) -> float:
        at = torch.from_numpy(sample)
        predicted = self.ensemble.predict(held.states[at], held.actions[at]).mean
        error = (predicted - held.states[at + 1]) / self.ensemble.delta_std
        return float(error.square().mean().sqrt())

    def _copy(self) -> list[Tensor]:
        return [parameter.detach().clone() for parameter in self.ensemble.parameters()]
