"""What the agent asks of any learner, and what a learner asks of the replay memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from skills.policy import PolicyWeights

Float32 = NDArray[np.float32]
Arrays = dict[str, NDArray[Any]]
Meta = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class AttemptSummary:
    """What came of one attempt."""

    skill: int
    """Index in the learner's skills."""
    policy_version: int | None
    """Of the policy that acted; None where it was none of the learner's."""
    steps: int
    """Policy steps; at least 1."""
    mean_reward: float
    """Of the attempt's own skill, per step."""
    mean_costs: NDArray[np.float64]
    """Mean of each safety cost per step. Shape: (C,)."""
    fell: bool
    """Whether it was over by itself: by a fall, or since it was done."""
    evaluation: bool = False
    """Whether the policy acted without exploration, to be judged."""
    known_drift: str = ""
    """What was known of the robot to have drifted; empty: nothing."""
    changed: bool = False
    """Whether it moved as it was not expected to."""


class TransitionBatch(Protocol):
    """Transitions with the reward of each of K skills, and C costs that all of them share."""

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

    @property
    def cost(self) -> Float32:
        """Safety costs of the step, each at least 0. Shape: (batch, C)."""

    @property
    def advised(self) -> Float32:
        """1 where there is advice for a skill. Shape: (batch, K), or (batch, 0): none is kept."""

    @property
    def advice(self) -> Float32:
        """What each skill is advised to do, one after the other. Shape: (batch, K * A), or (batch, 0): none is kept."""


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

    @property
    def costs(self) -> int:
        """Number C of safety costs; 0 where none are kept."""

    def __len__(self) -> int:
        """Number of steps that can be drawn."""

    def sample(self, rng: np.random.Generator, batch: int) -> TransitionBatch:
        """Draw transitions uniformly."""

    def feature_moments(self) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """Count, mean and variance of the feature rows seen so far. Shapes: (), (D,), (D,)."""


def counted_on(meta: Meta, now: Meta) -> Meta:
    """A learner's state as if it had come after ``now``: going back, it never gives a version of a policy twice."""
    out = meta | {name: now[name] for name in ("updates", "next_version") if name in now}
    if "members" in now:
        pairs = zip(meta["members"], now["members"], strict=True)
        out["members"] = [counted_on(member, other) for member, other in pairs]
    return out


class Learner(Protocol):
    """Improves policies from a replay memory that somebody else fills."""

    @property
    def updates(self) -> int:
        """Gradient updates taken so far; refused ones do not count."""

    @property
    def refused_reason(self) -> str:
        """Why the last `update` was undone, in one line; empty if it was not."""

    def update(self, n: int, *, offline: bool = False) -> dict[str, float]:
        """Take ``n`` gradient updates; returns figures to log. ``offline``: nothing has been tried yet.

        A learner whose numbers stop being finite, or that diverges, goes back to the state before the call and reports
        ``refused`` = 1.
        """

    def attempted(self, summary: AttemptSummary) -> None:
        """Take note of an attempt whose steps are in the replay memory now."""

    def candidates(self) -> tuple[PolicyWeights, ...]:
        """The policies that may act now, each a copy: for each skill the best first, then those to be tried once."""

    def state(self) -> tuple[Arrays, Meta]:
        """Everything that the next update depends on besides the replay memory; the second part is JSON."""

    def load_state(self, arrays: Arrays, meta: Meta) -> None:
        """Continue from what `state` returned.

        Raises:
            ValueError: the state is of another kind, of other shapes, or not finite; the learner is then unchanged.
        """
