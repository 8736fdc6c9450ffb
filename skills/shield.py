"""What stands between a task policy and the robot: a judgement of each proposed action, and something safer to do.

In NumPy, for the control loop; `skills.learners.risk` learns it. The scheme is that of Recovery RL (Thananjeyan et al.
2021, arXiv 2010.15920): where the risk of what the task proposes is above a threshold, something safer is done: the
nearest safe action, of the recovery policy's and others. The risk of an action is that of where it leads, by a model of
the next step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from skills import ensemble
from skills.policy import MlpPolicy, PolicyWeights

Float32 = NDArray[np.float32]
SAFE_SHARE = 0.25
"""Share of the threshold below which an action may be done in place of one above it."""
BLENDS = np.array([0.25, 0.5, 0.75], np.float32)[:, None]
"""Shares of the recovery policy's action in what lies between it and the proposed one."""
OTHER_ACTIONS = 64
"""Drawn beside these. A policy that learns from few places near harm is behind on them."""


@dataclass(frozen=True, kw_only=True)
class ShieldWeights:
    """One version of a safety critic, its model and its recovery policy. Its arrays are never written to."""

    model: ensemble.Layers
    """From action and observation to the change of the newest feature row in one step, all normalised."""
    critic: ensemble.Layers
    """From observation and command to the log-odds of harm; each member judges by its own member of the model."""
    recovery: PolicyWeights
    """What to do instead; its mean and standard deviation normalise the observations of the others, too."""
    caution: float
    """Standard deviations of the ensemble's log-odds that are added to their mean."""
    threshold: float
    """Risk from which on something else is done."""

    def __post_init__(self) -> None:
        recovery = self.recovery
        for name, layers, wanted in (
            ("critic", self.critic, recovery.sizes[0]),
            ("model", self.model, recovery.action_width + recovery.obs_width),
        ):
            if layers[0][0].shape[1] != wanted:
                raise ValueError(f"the {name} takes {layers[0][0].shape[1]} inputs; its recovery policy has {wanted}")
        if recovery.obs_width % self.row_width:
            raise ValueError(f"rows of {self.row_width} features make no stack of {recovery.obs_width}")

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return self.recovery.finite and ensemble.finite(self.critic) and ensemble.finite(self.model)

    @property
    def row_width(self) -> int:
        """Width D of a feature row."""
        return int(self.model[-1][0].shape[2])

    def to_bytes(self) -> bytes:
        """Serialise to safetensors."""
        tensors: dict[str, NDArray[Any]] = {
            "recovery": np.frombuffer(self.recovery.to_bytes(), np.uint8),
            "limits": np.array([self.caution, self.threshold], np.float64),
            **dict(ensemble.to_tensors(self.critic, "critic")),
            **dict(ensemble.to_tensors(self.model, "model")),
        }
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> ShieldWeights:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are truncated, lack a tensor, or hold shapes that do not fit together.
        """
        try:
            tensors = load(data)
            caution, threshold = (float(value) for value in tensors["limits"])
            return cls(
                model=ensemble.from_tensors(tensors, "model"),
                critic=ensemble.from_tensors(tensors, "critic"),
                recovery=PolicyWeights.from_bytes(tensors["recovery"].tobytes()),
                caution=caution,
                threshold=threshold,
            )
        except (SafetensorError, KeyError, IndexError) as error:
            raise ValueError(f"shield bytes cannot be read ({error}); use the last good version") from error


@dataclass(frozen=True, slots=True)
class Judgement:
    """What became of a proposed action."""

    action: Float32
    """What to send. Shape: (A,)."""
    risk: float
    """Of the proposed action, in [0, 1]."""
    recovered: bool
    """Whether something else is done in its place."""


class Shield:
    """Judges actions with one version of the weights; not for use by two threads at once."""

    def __init__(self, weights: ShieldWeights) -> None:
        """Prepare to judge.

        Raises:
            ValueError: a weight is NaN or infinite.
        """
        if not weights.finite:
            raise ValueError("the shield holds NaN or infinity; use the last good version")
        self.weights = weights
        self._recovery = MlpPolicy(weights.recovery)
        safe = SAFE_SHARE * weights.threshold
        self._safe = math.log(safe / (1.0 - safe))
        rng = np.random.default_rng(weights.recovery.version)
        self._others = rng.uniform(-1.0, 1.0, (OTHER_ACTIONS, weights.recovery.action_width)).astype(np.float32)
        self._inverse_std = (1.0 / weights.recovery.obs_std).astype(np.float32)

    def judge(
        self,
        obs: NDArray[np.floating[Any]],
        command: NDArray[np.floating[Any]],
        prior: NDArray[np.floating[Any]],
        proposed: NDArray[np.floating[Any]],
    ) -> Judgement:
        """The proposed action, or the nearest one that is safe, or the safest that is known.

        Args:
            obs: stack of feature rows. Shape: (O,).
            command: of the skill that proposes. Shape: (C,).
            prior: what a recovery network that outputs zero does. Shape: (A,).
            proposed: each in [-1, 1]. Shape: (A,).
        """
        risk = self.risk(obs, command, proposed)
        if risk <= self.weights.threshold:
            return Judgement(np.asarray(proposed, np.float32), risk, False)
        wanted, learned = np.asarray(proposed, np.float32), self._recovery.act(obs, command, prior)
        blends = wanted + BLENDS * (learned - wanted)
        actions = np.concatenate((learned[None], prior[None], blends, self._others), dtype=np.float32)
        log_odds = self._log_odds(obs, command, actions)
        safe = np.flatnonzero(log_odds <= self._safe)
        # Whoever flees as far as it can comes back for another try, and learns no way round.
        distance = np.linalg.norm(actions[safe] - wanted, axis=1)
        chosen = safe[distance.argmin()] if len(safe) else log_odds.argmin()
        return Judgement(actions[chosen].copy(), risk, True)

    def risk(
        self,
        obs: NDArray[np.floating[Any]],
        command: NDArray[np.floating[Any]],
        action: NDArray[np.floating[Any]],
    ) -> float:
        """Discounted probability of harm after an action, cautiously. Shapes: (O,), (C,), (A,)."""
        (log_odds,) = self._log_odds(obs, command, np.asarray(action, np.float32)[None])
        return 0.5 + 0.5 * math.tanh(0.5 * float(log_odds))

    def _log_odds(self, obs: NDArray[Any], command: NDArray[Any], actions: Float32) -> Float32:
        """Log-odds of harm after each action, cautiously. Shapes: (O,), (C,), (N, A) to (N,)."""
        w, n = self.weights, len(actions)
        seen = np.clip((obs - w.recovery.obs_mean) * self._inverse_std, -w.recovery.obs_clip, w.recovery.obs_clip)
        stack = np.broadcast_to(seen.astype(np.float32), (n, len(seen)))
        ahead = next_stacks(stack, ensemble.forward(w.model, np.concatenate((actions, stack), axis=1)))
        commands = np.broadcast_to(command, (*ahead.shape[:2], len(command)))
        judged = np.concatenate((ahead, commands), axis=2, dtype=np.float32)
        return ensemble.cautious(ensemble.forward(w.critic, judged)[..., 0], w.caution)


def next_stacks(stack: Float32, change: Float32) -> Float32:
    """Stacks one step later, by what each member says of the newest row. Shapes: (B, O), (E, B, D) to (E, B, O)."""
    rows = change.shape[2]
    newest = stack[:, -rows:] + change
    older = np.broadcast_to(stack[:, rows:], (len(change), *stack[:, rows:].shape))
    return np.concatenate((older, newest), axis=2)
