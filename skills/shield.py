"""What stands between a task policy and the robot: a judgement of each proposed action, and something safer to do.

In NumPy, for the control loop; `skills.learners.risk` learns it. The scheme is that of Recovery RL (Thananjeyan et al.
2021, arXiv 2010.15920): where the risk of what the task proposes is above a threshold, the recovery policy acts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from skills import ensemble
from skills.policy import MlpPolicy, PolicyWeights

Float32 = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ShieldWeights:
    """One version of a safety critic and its recovery policy. Its arrays are never written to."""

    critic: ensemble.Layers
    """From action, observation and command to the log-odds of harm."""
    recovery: PolicyWeights
    """What to do instead; its mean and standard deviation normalise the critic's observations, too."""
    caution: float
    """Standard deviations of the ensemble's log-odds that are added to their mean."""
    threshold: float
    """Risk from which on the recovery policy acts."""

    def __post_init__(self) -> None:
        wanted = self.recovery.sizes[0] + self.recovery.action_width
        if self.critic[0][0].shape[1] != wanted:
            raise ValueError(f"the critic takes {self.critic[0][0].shape[1]} inputs; its recovery policy has {wanted}")

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        return self.recovery.finite and ensemble.finite(self.critic)

    def to_bytes(self) -> bytes:
        """Serialise to safetensors."""
        tensors: dict[str, NDArray[Any]] = {
            "recovery": np.frombuffer(self.recovery.to_bytes(), np.uint8),
            "limits": np.array([self.caution, self.threshold], np.float64),
            **dict(ensemble.to_tensors(self.critic, "critic")),
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
    """Whether the recovery policy acts in its place."""


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
        self._inverse_std = (1.0 / weights.recovery.obs_std).astype(np.float32)

    def judge(
        self,
        obs: NDArray[np.floating[Any]],
        command: NDArray[np.floating[Any]],
        prior: NDArray[np.floating[Any]],
        proposed: NDArray[np.floating[Any]],
    ) -> Judgement:
        """The proposed action, or a safer one.

        Args:
            obs: stack of feature rows. Shape: (O,).
            command: of the skill that proposes. Shape: (C,).
            prior: what a recovery network that outputs zero does. Shape: (A,).
            proposed: each in [-1, 1]. Shape: (A,).
        """
        risk = self.risk(obs, command, proposed)
        if risk <= self.weights.threshold:
            return Judgement(np.asarray(proposed, np.float32), risk, False)
        return Judgement(self._recovery.act(obs, command, prior), risk, True)

    def risk(
        self,
        obs: NDArray[np.floating[Any]],
        command: NDArray[np.floating[Any]],
        action: NDArray[np.floating[Any]],
    ) -> float:
        """Discounted probability of harm after an action, cautiously. Shapes: (O,), (C,), (A,)."""
        w = self.weights
        seen = np.clip((obs - w.recovery.obs_mean) * self._inverse_std, -w.recovery.obs_clip, w.recovery.obs_clip)
        x = np.concatenate((action, seen, command), dtype=np.float32)[None]
        log_odds = float(ensemble.cautious(ensemble.forward(w.critic, x)[:, 0, 0], w.caution))
        return float(1.0 / (1.0 + np.exp(-log_odds)))
