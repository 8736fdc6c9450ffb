"""Replay memory of the learner: what the robot did, step by step, with every skill's reward beside it.

NumPy only. Episodes live in one ring of rows and are evicted whole, oldest first. The policy's observation is a stack
of the last feature rows, so a row is stored once and the stack is built when a batch is drawn.
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


ENOUGH = 1000
"""Favoured steps from which on they have their whole share of a draw: a few steps would be learned by heart."""


class Batch(NamedTuple):
    """Transitions drawn from the buffer. The arrays are views of two gathered blocks, so they are not contiguous."""

    obs: Float32
    """The last H feature rows up to the step, oldest first. Shape: (batch, H * D)."""
    action: Float32
    """Shape: (batch, A), each in [-1, 1]."""
    reward: Float32
    """Reward of each skill. Shape: (batch, K)."""
    next_obs: Float32
    """The stack one step later. Shape: (batch, H * D)."""
    terminated: Float32
    """1 where the step ended the episode for a skill by itself; 0 where time ran out. Shape: (batch, K)."""
    cost: Float32
    """Costs of the step, the same for every skill. Shape: (batch, C)."""
    advised: Float32
    """1 where there is advice for a skill. Shape: (batch, K); (batch, 0) where none is kept."""
    advice: Float32
    """What each skill is advised to do, one after the other. Shape: (batch, K * A); (batch, 0) where none is kept."""


class ReplayBuffer:
    """A ring of whole episodes over preallocated float32 arrays.

    Positions count rows since the buffer was made and never wrap; the row of a position is its remainder. A step is a
    position that has a successor in its own episode, so the last row of an episode is only ever a ``next_obs``.
    """

    def __init__(
        self,
        capacity: int,
        features: int,
        actions: int,
        skills: int = 1,
        history: int = 1,
        costs: int = 0,
        *,
        advice: bool = False,
    ) -> None:
        """Allocate room for ``capacity`` steps.

        Args:
            capacity: most steps held; the oldest episodes are evicted beyond it.
            features: width D of a feature row.
            actions: width A of an action.
            skills: number K of skills whose rewards are stored.
            history: number H of feature rows stacked into an observation.
            costs: number C of costs that are stored with each step.
            advice: whether what each skill had better do is stored beside what was done.

        Raises:
            ValueError: one of them is not positive, or ``costs`` is negative.
        """
        sizes = {"capacity": capacity, "features": features, "actions": actions, "skills": skills, "history": history}
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(f"{name} is {size}; it must be at least 1")
        if costs < 0:
            raise ValueError(f"costs is {costs}; it must be at least 0")
        self.capacity = capacity
        self.history = history
        # An episode of T steps takes T + 1 rows, so one-step episodes need twice the steps in the worst case. An eighth
        # on top is ample for episodes of eight steps and more; shorter ones are evicted a little earlier.
        self._rows = capacity + capacity // 8 + 2
        self._features = np.zeros((self._rows, features), np.float32)
        self._advised = skills if advice else 0
        # Action, rewards, ends, costs, advice and age of a step lie side by side: one cache miss per draw.
        self._facts = np.zeros(
            (self._rows, actions + 2 * skills + costs + self._advised * (1 + actions) + 1), np.float32
        )
        self._actions = actions
        self._skills = skills
        self._costs = costs
        self._episodes: deque[tuple[int, int, int]] = deque()  # first position, steps, drawable steps
        self._end = 0
        self._steps = 0
        self._steps_added = 0
        # Rows that may be drawn, in a ring of their own, so that a draw is one look-up.
        self._drawable = np.zeros(capacity, np.int64)
        self._drawable_head = 0
        self._drawable_count = 0
        self._offsets = np.arange(1 - history, 2)
        self._favoured_from: int | None = None
        """Number, among all drawable steps ever, of the first one that is favoured."""
        self._favoured_share = 0.0
        self._moment_count = 0
        self._moment_mean = np.zeros(features)
        self._moment_m2 = np.zeros(features)

    def __len__(self) -> int:
        """Number of steps that can be drawn."""
        return self._drawable_count

    @property
    def steps(self) -> int:
        """Number of steps held, drawable or not."""
        return self._steps

    @property
    def steps_added(self) -> int:
        """Number of steps ever added; evicted ones count."""
        return self._steps_added

    @property
    def episodes(self) -> int:
        """Number of episodes held."""
        return len(self._episodes)

    @property
    def features(self) -> int:
        """Width D of a feature row."""
        return self._features.shape[1]

    @property
    def actions(self) -> int:
        """Width A of an action."""
        return self._actions

    @property
    def skills(self) -> int:
        """Number K of skills whose rewards are stored."""
        return self._skills

    @property
    def costs(self) -> int:
        """Number C of costs that are stored with each step."""
        return self._costs

    @property
    def advice(self) -> bool:
        """Whether what each skill had better do is stored beside what was done."""
        return self._advised > 0

    @property
    def obs_width(self) -> int:
        """Width H * D of an observation."""
        return self.history * self.features

    def add_episode(
        self,
        features: NDArray[np.floating[Any]],
        actions: NDArray[np.floating[Any]],
        rewards: NDArray[np.floating[Any]],
        terminated: NDArray[Any],
        valid: NDArray[np.bool_] | None = None,
        costs: NDArray[np.floating[Any]] | None = None,
        advice: NDArray[np.floating[Any]] | None = None,
    ) -> None:
        """Append one episode, evicting the oldest ones where there is no room.

        Args:
            features: feature rows, one more than steps. Shape: (T + 1, D).
            actions: Shape: (T, A).
            rewards: Shape: (T, K).
            terminated: true where the step is the end for a skill; an episode cut by time has none. Shape: (T, K).
            valid: false where a step must not be learned from, such as without a tracker. Shape: (T,); None: all true.
            costs: Shape: (T, C); None only where the buffer keeps none.
            advice: what each skill is advised to do, NaN where it is not; None: nothing. Only where the buffer keeps
                advice. Shape: (T, K, A).

        Raises:
            ValueError: shapes disagree, a value is not finite, or the episode is longer than the capacity.
        """
        steps = len(actions)
        good = np.ones(steps, bool) if valid is None else np.asarray(valid, bool)
        paid = np.zeros((steps, 0)) if costs is None else costs
        told = np.full((steps, self._advised, self.actions), np.nan) if advice is None else advice
        advised = np.isfinite(told).all(axis=-1)
        self._check(
            {
                "features": (features, (steps + 1, self.features)),
                "actions": (actions, (steps, self.actions)),
                "rewards": (rewards, (steps, self.skills)),
                "terminated": (terminated, (steps, self.skills)),
                "valid": (good, (steps,)),
                "costs": (paid, (steps, self.costs)),
                "advice": (np.where(advised[..., None], told, 0.0), (steps, self._advised, self.actions)),
            }
        )
        if not 1 <= steps <= self.capacity:
            raise ValueError(f"the episode has {steps} steps; between 1 and the capacity {self.capacity} are needed")
        first = self._end
        while self._steps + steps > self.capacity or first + steps + 1 - self._oldest() > self._rows:
            self._evict()
        self._write(self._features, first, features)
        # How many rows back the stack may reach; no more than the history is ever asked for.
        age = np.minimum(np.arange(steps), self.history)[:, None]
        kept = np.where(advised[..., None], told, 0.0).reshape(steps, -1)
        facts = np.hstack((actions, rewards, terminated, paid, advised, kept, age), dtype=np.float32)
        self._write(self._facts, first, facts)
        drawable = (first + np.flatnonzero(good)) % self._rows
        self._write(self._drawable, self._drawable_head + self._drawable_count, drawable)
        self._drawable_count += len(drawable)
        self._episodes.append((first, steps, len(drawable)))
        self._end = first + steps + 1
        self._steps += steps
        self._steps_added += steps
        if len(drawable):
            self._add_moments(np.asarray(features, np.float64)[:-1][good])

    def sample(self, rng: np.random.Generator, batch: int) -> Batch:
        """Draw steps uniformly, with replacement, among those that were added as valid.

        Raises:
            ValueError: nothing can be drawn yet.
        """
        block, facts = self._room(batch)
        self._gather(rng, block, facts)
        return self._batch(block, facts)

    def favour_new(self, share: float) -> None:
        """Let what is added from now on make this share of each draw beside its chance; less as long as it is little.

        Raises:
            ValueError: the share is not between 0 and 1.
        """
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share of new steps is {share}; it must be between 0 and 1")
        self._favoured_from = self._drawable_head + self._drawable_count
        self._favoured_share = share

    def favour_none(self, *, drop: bool = False) -> None:
        """Draw uniformly again; with ``drop`` what was favoured is drawn no more at all."""
        left = self._favoured if drop else 0
        self._favoured_from = None
        self._drawable_count -= left
        for index in range(len(self._episodes) - 1, -1, -1):
            if left <= 0:
                return
            first, steps, drawable = self._episodes[index]
            self._episodes[index] = (first, steps, 0)
            left -= drawable

    @property
    def _favoured(self) -> int:
        """How many steps are."""
        if self._favoured_from is None:
            return 0
        return self._drawable_head + self._drawable_count - max(self._favoured_from, self._drawable_head)

    def feature_moments(self) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """Count, mean and variance of the feature rows of all valid steps ever added. Shapes: (), (D,), (D,)."""
        return self._moment_count, self._moment_mean.copy(), self._moment_m2 / max(self._moment_count, 1)

    def _room(self, batch: int) -> tuple[Float32, Float32]:
        """Arrays for feature rows and facts of drawn steps. Shapes: (batch, (H + 1) * D), (batch, facts)."""
        width = (self.history + 1) * self.features
        return np.empty((batch, width), np.float32), np.empty((batch, self._facts.shape[1]), np.float32)

    def _gather(self, rng: np.random.Generator, block: Float32, facts: Float32) -> None:
        """Fill both with drawn steps."""
        if not self._drawable_count:
            raise ValueError("the replay buffer holds no valid step; add an episode before sampling")
        # Scaling uniform floats is three times as fast as drawing integers; its bias is below 1e-9.
        pick = (rng.random(len(facts)) * self._drawable_count).astype(np.int64)
        if (favoured := self._favoured) > 0:
            taken = rng.random(len(facts)) < self._favoured_share * min(1.0, favoured / ENOUGH)
            pick = np.where(taken, self._drawable_count - favoured + pick * favoured // self._drawable_count, pick)
        pick += self._drawable_head % self.capacity
        row = self._drawable.take(pick, mode="wrap")
        self._facts.take(row, axis=0, out=facts, mode="wrap")
        age = facts[:, -1:].astype(np.int64)
        stack = row[:, None] + np.maximum(self._offsets, -age)
        self._features.take(stack.ravel(), axis=0, out=block.reshape(-1, self.features), mode="wrap")

    def _batch(self, block: Float32, facts: Float32) -> Batch:
        """Views of what was gathered."""
        width, reward_at = self.features, self._actions
        terminated_at = reward_at + self._skills
        cost_at = terminated_at + self._skills
        advised_at = cost_at + self._costs
        advice_at = advised_at + self._advised
        return Batch(
            obs=block[:, :-width],
            action=facts[:, :reward_at],
            reward=facts[:, reward_at:terminated_at],
            next_obs=block[:, width:],
            terminated=facts[:, terminated_at:cost_at],
            cost=facts[:, cost_at:advised_at],
            advised=facts[:, advised_at:advice_at],
            advice=facts[:, advice_at:-1],
        )

    def _oldest(self) -> int:
        return self._episodes[0][0] if self._episodes else self._end

    def _evict(self) -> None:
        _, steps, drawable = self._episodes.popleft()
        self._steps -= steps
        self._drawable_head += drawable
        self._drawable_count -= drawable

    @staticmethod
    def _check(parts: dict[str, tuple[NDArray[Any], tuple[int, ...]]]) -> None:
        for name, (values, want) in parts.items():
            if np.shape(values) != want:
                raise ValueError(f"{name} of the episode has shape {np.shape(values)}; {want} is needed")
            # A history stack may reach back over invalid steps, so every row must be finite.
            if not np.isfinite(values).all():
                raise ValueError(f"{name} of the episode hold NaN or infinity; drop the episode or repair the row")

    @staticmethod
    def _write(ring: NDArray[Any], position: int, values: NDArray[Any]) -> None:
        """Write consecutive rows into a ring, in two pieces where they cross its end."""
        size = len(ring)
        at = position % size
        before_end = min(len(values), size - at)
        ring[at : at + before_end] = values[:before_end]
        if before_end < len(values):
            ring[: len(values) - before_end] = values[before_end:]

    def _add_moments(self, rows: NDArray[np.float64]) -> None:
        # Parallel variance of Chan, Golub and LeVeque 1979: exact however the rows are cut into episodes.
        count, mean = len(rows), rows.mean(axis=0)
        total = self._moment_count + count
        delta = mean - self._moment_mean
        self._moment_m2 += ((rows - mean) ** 2).sum(axis=0) + delta**2 * (self._moment_count * count / total)
        self._moment_mean += delta * (count / total)
        self._moment_count = total


class MixedReplay:
    """Two memories drawn from as one: what this robot did lately, and prior data.

    Each draw takes a fixed share from the prior data (RLPD: Ball et al. 2023, arXiv 2302.02948, section 4.1), however
    much of it there is. Rows of both alternate, so that every part of a draw has that share as well.
    """

    def __init__(self, recent: ReplayBuffer, prior: ReplayBuffer, share: float) -> None:
        """Mix two buffers of equal widths; neither is copied, so what is added to them later is drawn too.

        Args:
            recent: what this robot did.
            prior: what there was before; all is drawn from the other one while one of them is empty.
            share: of each draw that comes from ``prior``, in [0, 1].

        Raises:
            ValueError: the widths differ, or the share is out of range.
        """
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"share of prior data is {share}; it must be between 0 and 1")
        for name in ("features", "history", "actions", "skills", "costs", "advice"):
            mine, other = getattr(recent, name), getattr(prior, name)
            if mine != other:
                raise ValueError(f"recent data has {name} {mine}, prior data {other}; only equal ones can be mixed")
        self._recent = recent
        self._prior = prior
        self._share = share
        # Both parts of a draw, kept between draws: fresh memory costs more than what is written to it.
        self._joined = recent._room(0)

    def __len__(self) -> int:
        """Number of steps that can be drawn."""
        return len(self._recent) + len(self._prior)

    @property
    def obs_width(self) -> int:
        """Width H * D of an observation."""
        return self._recent.obs_width

    @property
    def actions(self) -> int:
        """Width A of an action."""
        return self._recent.actions

    @property
    def skills(self) -> int:
        """Number K of skills whose rewards are stored."""
        return self._recent.skills

    @property
    def costs(self) -> int:
        """Number C of costs that are stored with each step."""
        return self._recent.costs

    def sample(self, rng: np.random.Generator, batch: int) -> Batch:
        """Draw steps uniformly from each memory, with replacement: ``share * batch`` of the prior ones, to the nearest.

        Raises:
            ValueError: nothing can be drawn yet.
        """
        if not len(self._prior) or not len(self._recent):
            return (self._prior if len(self._prior) else self._recent).sample(rng, batch)
        # Row i is a prior one where the running total of the share passes a whole number and a half.
        from_prior = np.diff(np.floor(np.arange(batch + 1) * self._share + 0.5)) > 0
        prior_rows = int(np.count_nonzero(from_prior))
        order = np.where(from_prior, batch - prior_rows - 1 + np.cumsum(from_prior), np.cumsum(~from_prior) - 1)
        if len(self._joined[0]) != batch:
            self._joined = self._recent._room(batch)
        block, facts = self._joined
        cut = batch - prior_rows
        self._recent._gather(rng, block[:cut], facts[:cut])
        self._prior._gather(rng, block[cut:], facts[cut:])
        return self._recent._batch(block.take(order, axis=0), facts.take(order, axis=0))

    def feature_moments(self) -> tuple[int, NDArray[np.float64], NDArray[np.float64]]:
        """Count, mean and variance of the feature rows of both memories. Shapes: (), (D,), (D,)."""
        (n, mean, variance), (m, other_mean, other_variance) = (
            buffer.feature_moments() for buffer in (self._recent, self._prior)
        )
        count = max(n + m, 1)
        delta = other_mean - mean
        pooled = (n * variance + m * other_variance) / count + delta**2 * (n * m / count**2)
        return n + m, mean + delta * (m / count), pooled
