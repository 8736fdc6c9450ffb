"""The policy network in NumPy: what runs in the control loop, without torch.

u = tanh(mean(s) + atanh(prior) + std(s) * noise): the squashed Gaussian of soft actor-critic (Haarnoja et al. 2019,
arXiv 1812.05905, appendix C), whose mean is shifted by a skill's prior action. A network whose output is zero therefore
sends the prior.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

Float32 = NDArray[np.float32]

PRIOR_LIMIT = 0.99
"""Prior actions are clipped to this size before atanh, so that a prior of 1 stays within reach of the network."""


def prior_preactivation(prior: NDArray[np.floating[Any]]) -> Float32:
    """What a prior action adds before the tanh: atanh(prior). Same shape, float32."""
    shifted: Float32 = np.arctanh(np.clip(prior, -PRIOR_LIMIT, PRIOR_LIMIT)).astype(np.float32)
    return shifted


@dataclass(frozen=True, kw_only=True)
class PolicyWeights:
    """One version of a policy: all that is needed to act. Its arrays are never written to."""

    version: int
    """Rises with each snapshot of a learner."""
    layers: tuple[tuple[Float32, Float32], ...]
    """Weight (in, out) and bias (out,) of each layer; ReLU between them. The first takes observation and command, the
    last gives mean and log std: out = 2 A."""
    obs_mean: Float32
    """Shape: (O,)."""
    obs_std: Float32
    """Positive. Shape: (O,)."""
    obs_clip: float = 10.0
    """Normalised observations are clipped to this many standard deviations."""
    log_std_min: float = -10.0
    log_std_max: float = 2.0
    skill: str | None = None
    """The one skill that it serves; None: every skill of its family."""

    def __post_init__(self) -> None:
        if not self.layers:
            raise ValueError("a policy needs at least one layer; got none")
        for index, (weight, bias) in enumerate(self.layers):
            if weight.ndim != 2 or bias.shape != weight.shape[1:]:
                raise ValueError(
                    f"layer {index} has weight {weight.shape} and bias {bias.shape}; (in, out) and (out,) are needed"
                )
        for (before, _), (after, _) in pairwise(self.layers):
            if before.shape[1] != after.shape[0]:
                raise ValueError(f"a layer of {before.shape[1]} outputs feeds one of {after.shape[0]} inputs")
        if self.obs_mean.shape != self.obs_std.shape or self.obs_width > self.sizes[0]:
            raise ValueError(
                f"normaliser shapes {self.obs_mean.shape} and {self.obs_std.shape} do not fit {self.sizes[0]} inputs"
            )

    @property
    def sizes(self) -> tuple[int, ...]:
        """Widths of the network from input to output."""
        return (self.layers[0][0].shape[0], *(weight.shape[1] for weight, _ in self.layers))

    @property
    def obs_width(self) -> int:
        """Width O of an observation."""
        return len(self.obs_mean)

    @property
    def command_width(self) -> int:
        """Width C of a command."""
        return self.sizes[0] - self.obs_width

    @property
    def action_width(self) -> int:
        """Width A of an action."""
        return self.sizes[-1] // 2

    @property
    def finite(self) -> bool:
        """Whether no number is NaN or infinite."""
        arrays = [self.obs_mean, self.obs_std, *(array for layer in self.layers for array in layer)]
        return all(bool(np.isfinite(array).all()) for array in arrays)

    @cached_property
    def sha256(self) -> str:
        """Digest of everything but the version, so that equal behaviour has an equal digest."""
        return hashlib.sha256(replace(self, version=0).to_bytes()).hexdigest()

    def to_flat(self) -> Float32:
        """Weights and biases of all layers one after the other. Shape: (parameters,)."""
        return np.concatenate([array.ravel() for layer in self.layers for array in layer])

    def to_bytes(self) -> bytes:
        """Serialise to safetensors; the same weights give the same bytes."""
        tensors: dict[str, NDArray[Any]] = {
            "version": np.array([self.version], np.int64),
            "bounds": np.array([self.obs_clip, self.log_std_min, self.log_std_max], np.float64),
            "obs_mean": self.obs_mean,
            "obs_std": self.obs_std,
        }
        if self.skill is not None:
            tensors["skill"] = np.frombuffer(self.skill.encode(), np.uint8)
        for index, (weight, bias) in enumerate(self.layers):
            tensors[f"layer{index:02d}.weight"] = np.ascontiguousarray(weight)
            tensors[f"layer{index:02d}.bias"] = np.ascontiguousarray(bias)
        return save(tensors)

    @classmethod
    def from_bytes(cls, data: bytes) -> PolicyWeights:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the bytes are truncated, lack a tensor, or hold shapes that do not fit together.
        """
        try:
            tensors = load(data)
            depth = sum(name.endswith(".weight") for name in tensors)
            clip, low, high = (float(value) for value in tensors["bounds"])
            return cls(
                version=int(tensors["version"][0]),
                layers=tuple((tensors[f"layer{i:02d}.weight"], tensors[f"layer{i:02d}.bias"]) for i in range(depth)),
                obs_mean=tensors["obs_mean"],
                obs_std=tensors["obs_std"],
                obs_clip=clip,
                log_std_min=low,
                log_std_max=high,
                skill=bytes(tensors["skill"]).decode() if "skill" in tensors else None,
            )
        except (SafetensorError, KeyError, UnicodeDecodeError) as error:
            raise ValueError(f"policy bytes cannot be read ({error}); use the last good version") from error


def layers_from_flat(flat: Float32, sizes: Sequence[int]) -> tuple[tuple[Float32, Float32], ...]:
    """Cut a flat array into weight (in, out) and bias (out,) of each layer. The result views ``flat``.

    Raises:
        ValueError: ``flat`` does not hold exactly the parameters of a network of these sizes.
    """
    needed = sum(fan_in * fan_out + fan_out for fan_in, fan_out in pairwise(sizes))
    if flat.shape != (needed,):
        raise ValueError(f"flat parameters have shape {flat.shape}; sizes {tuple(sizes)} need ({needed},)")
    layers, at = [], 0
    for fan_in, fan_out in pairwise(sizes):
        weight = flat[at : at + fan_in * fan_out].reshape(fan_in, fan_out)
        at += fan_in * fan_out
        layers.append((weight, flat[at : at + fan_out]))
        at += fan_out
    return tuple(layers)


class MlpPolicy:
    """Acts with one version of the weights; not for use by two threads at once."""

    def __init__(self, weights: PolicyWeights) -> None:
        """Preallocate the activations of one step.

        Raises:
            ValueError: a weight is NaN or infinite.
        """
        if not weights.finite:
            raise ValueError(f"policy version {weights.version} holds NaN or infinity; use the last good version")
        self.weights = weights
        self._inverse_std = (1.0 / weights.obs_std).astype(np.float32)
        self._activations = [np.zeros(size, np.float32) for size in weights.sizes]

    def act(
        self,
        obs: NDArray[np.floating[Any]],
        command: NDArray[np.floating[Any]],
        prior: NDArray[np.floating[Any]],
        noise: NDArray[np.floating[Any]] | None = None,
    ) -> Float32:
        """One action.

        Args:
            obs: stack of feature rows as `ReplayBuffer` builds it. Shape: (O,).
            command: what the skill is told to do. Shape: (C,).
            prior: the skill's prior action. Shape: (A,).
            noise: standard normal; None acts without exploration. Shape: (A,).

        Returns:
            The action, each in [-1, 1], in an array of its own. Shape: (A,).
        """
        w = self.weights
        width = w.obs_width
        x = self._activations[0]
        np.subtract(obs, w.obs_mean, out=x[:width], casting="same_kind")
        x[:width] *= self._inverse_std
        np.clip(x[:width], -w.obs_clip, w.obs_clip, out=x[:width])
        x[width:] = command
        last = len(w.layers) - 1
        for index, (weight, bias) in enumerate(w.layers):
            out = self._activations[index + 1]
            np.matmul(x, weight, out=out)
            out += bias
            if index < last:
                np.maximum(out, 0.0, out=out)
            x = out
        actions = w.action_width
        pre_tanh: Float32 = x[:actions] + prior_preactivation(prior)
        if noise is not None:
            pre_tanh += np.exp(np.clip(x[actions:], w.log_std_min, w.log_std_max)) * noise
        return np.tanh(pre_tanh)
