"""What the agent asks of any learner, and what a learner asks of the replay memory."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skills.policy import PolicyWeights

Float32 = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]
Meta = dict[str, Any]


class TransitionBatch(Protocol):
    """Transitions with the reward of each of K skills."""

    @property
    def obs(self) -> Float32:
        """Shape: (batch, O)."""

    @property
    def action(self) -> Float32:
        """Shape: (batch, A), each in [-1, 1]."""

    @property
    def reward(self) -> Float32:
        """Shape: (batch, K)."""

    @property
    def next_obs(self) -> Float32:
        """Shape: (batch, O)."""

    @property
    def terminated(self) -> Float32:
        """1 where the step is the end for a skill; 0 also where time ran out. Shape: (batch, K)."""


class Replay(Protocol):
    """Where a learner draws its transitions from."""

    @property
    def obs_width(self) -> int:
        """Width O of an observation: a whole number of feature rows."""

    @property
    def actions(self) -> int:
        """Width A of an action."""

    @property
    def skills(self) -> int:
        """Number K of skills."""

    def __len__(self) -> int:
        """Number of steps that can be drawn."""

    def sample(self, rng: np.random.Generator, batch: int) -> TransitionBatch:
        """Draw transitions uniformly."""

    def feature_moments(self) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """Count, mean and variance of the feature rows seen so far. Shapes: (), (D,), (D,)."""


class Learner(Protocol):
    """Improves a policy from a replay memory that somebody else fills."""

    def update(self, n: int) -> dict[str, float]:
        """Take ``n`` gradient updates; returns figures to log.

        A learner whose numbers stop being finite goes back to the state before the call and reports ``refused`` = 1.
        """

    def snapshot(self) -> PolicyWeights:
        """A copy of the policy as it is now."""

    def state(self) -> tuple[Arrays, Meta]:
        """Everything that the next update depends on besides the replay memory; the second part is JSON."""

    def load_state(self, arrays: Arrays, meta: Meta) -> None:
        """Continue from what `state` returned.

        Raises:
            ValueError: the state is of another kind, of other shapes, or not finite; the learner is then unchanged.
        """
