"""Draws what a gradient update learns from: transitions, each given to one skill, priced, mirrored and normalised."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skills.learners.config import SacConfig
from skills.learners.lagrangian import penalised
from skills.learners.learner import Float32, Replay, TransitionBatch
from skills.learners.networks import with_ones
from skills.policy import prior_preactivation
from skills.symmetry import Mirror

Aim = Callable[[Float32, Float32], NDArray[np.floating[Any]]]
"""(newest feature rows, commands) -> what the networks are told instead of the commands, of the same shape."""
CHUNK = 16
"""Updates whose transitions are drawn in one go; more of them leave the cache."""


class Minibatch(NamedTuple):
    """What one gradient update learns from; B transitions, each of one skill."""

    inputs: Tensor
    """Action, observation, command and a one; first (s, u), then (s, a), then (s', u'). The update fills in u and u',
    the actor's actions. Shape: (3 B, A + I + 1)."""
    reward: Tensor
    """Shape: (B,)."""
    discount: Tensor
    """Gamma, or 0 where the step ended the episode. Shape: (B,)."""
    skill: Tensor
    """One-hot. Shape: (B, K)."""
    prior: Tensor
    """atanh of the skill's prior action, for u and for u'. Shape: (2 B, A)."""
    noise: Tensor
    """Standard normal, for u and for u'. Shape: (2 B, A)."""
    advised: Tensor
    """1 where there is advice on what to do, 0 elsewhere; only where the actor imitates. Shape: (B,)."""
    advice: Tensor
    """What had better be done there. Shape: (B, A)."""


class Sampler:
    """Draws minibatches from a replay memory.

    A minibatch is cut into one block as it was and one for each mirror image. Draws are independent of each other, so
    which transition is mirrored needs no randomness of its own.
    """

    def __init__(
        self,
        replay: Replay,
        commands: NDArray[np.floating[Any]],
        priors: NDArray[np.floating[Any]],
        config: SacConfig,
        mirrors: Sequence[Mirror],
        skill_weights: Sequence[float] | None,
        aim: Aim | None = None,
    ) -> None:
        """Make the buffers of `CHUNK` minibatches; arguments as for `SacLearner`.

        Raises:
            ValueError: shapes disagree with the replay memory, or weights are negative, not finite or all zero.
        """
        skills, actions = replay.skills, replay.actions
        if commands.ndim != 2 or len(commands) != skills or priors.shape != (skills, actions):
            raise ValueError(
                f"commands {commands.shape} and priors {priors.shape} do not fit the replay memory's {skills} skills "
                f"and {actions} actions; ({skills}, C) and ({skills}, {actions}) are needed"
            )
        self._config = config
        self._replay = replay
        self._commands = commands.astype(np.float32)
        self._aim = aim
        self._priors = prior_preactivation(priors)
        self._one_hot = np.eye(skills, dtype=np.float32)
        self._skill_edges = _edges(skill_weights, skills)
        self._blocks = _blocks(mirrors, config.batch, replay)
        self._features = len(replay.feature_moments()[1])
        self.input_width = replay.obs_width + commands.shape[1]
        """Width I of observation and command."""
        self.mean: Float32 = np.zeros(replay.obs_width, np.float32)
        """Of the features, over the stack. Shape: (O,)."""
        self.std: Float32 = np.ones(replay.obs_width, np.float32)
        """Shape: (O,)."""
        self.norm_count = 0
        """Steps behind ``mean`` and ``std``."""
        # Torch aligns its memory the same way in every process; elsewhere a matrix product may round otherwise.
        self._inputs = with_ones(CHUNK, 3 * config.batch, actions + self.input_width)[1]
        if config.device != "cpu":
            self._inputs = self._inputs.pin_memory()  # what the GPU fetches by itself

    def refresh_normaliser(self) -> None:
        """Take mean and standard deviation from the replay memory, until there are steps enough."""
        c = self._config
        if not c.normalise or self.norm_count >= c.normalise_steps:
            return
        self.norm_count, mean, variance = self._replay.feature_moments()
        std = np.sqrt(variance)
        # A feature that hardly moves carries noise at most; scaling it up would only amplify that.
        std[std < 1e-3] = 1.0
        times = self._replay.obs_width // len(mean)
        self.mean = np.tile(mean, times).astype(np.float32)
        self.std = np.tile(std, times).astype(np.float32)

    def draw(
        self,
        updates: int,
        rng: np.random.Generator,
        generator: torch.Generator,
        multiplier: NDArray[np.floating[Any]] | None = None,
    ) -> tuple[list[Minibatch], float]:
        """Transitions for at most `CHUNK` updates, each given to one skill.

        Args:
            updates: how many minibatches.
            rng: of the draws.
            generator: of the actor's noise.
            multiplier: price of each cost for each skill; None: costs are free. Shape: (K, C).

        Returns:
            The minibatches, which the next call overwrites, and the largest size of a reward in them.
        """
        batch, rows = self._config.batch, updates * self._config.batch
        drawn = self._replay.sample(rng, rows)
        skill = np.searchsorted(self._skill_edges, rng.random(rows), side="right").reshape(updates, batch)
        # Skill whose reward and end a transition has: that of the skill it looks like in the mirror.
        source = skill.copy()
        for block, mirror in self._blocks:
            source[:, block] = mirror.skill_of[skill[:, block]]
        self._fill(updates, skill, drawn.obs, drawn.next_obs, drawn.action)
        row, column = np.arange(rows), source.ravel()
        reward = drawn.reward[row, column]
        if multiplier is not None and multiplier.any():
            reward = penalised(reward, drawn.cost, multiplier[skill.ravel()])
        discount = self._config.discount * (1.0 - drawn.terminated[row, column])
        prior = self._priors[skill]
        tensors = (
            self._inputs[:updates],
            torch.from_numpy(reward.reshape(updates, batch)),
            torch.from_numpy(discount.reshape(updates, batch)),
            torch.from_numpy(self._one_hot[skill]),
            torch.from_numpy(np.concatenate((prior, prior), axis=1)),
            torch.randn(updates, 2 * batch, self._replay.actions, generator=generator),
            *self._advice(drawn, source),
        )
        on_device = (tensor.to(self._config.device) for tensor in tensors)
        parts = [Minibatch(*part) for part in zip(*(tensor.unbind(0) for tensor in on_device), strict=True)]
        return parts, float(np.abs(reward).max())

    def _advice(self, drawn: TransitionBatch, source: NDArray[np.intp]) -> tuple[Tensor, Tensor]:
        """Which transitions come with advice for the skill that they are given to, and that advice.

        Shapes: (updates, B), (updates, B, A).
        """
        actions = self._replay.actions
        if not self._config.imitation or not drawn.advised.shape[1]:
            return torch.zeros(source.shape), torch.zeros((*source.shape, actions))
        row, skill = np.arange(source.size), source.ravel()
        advised = drawn.advised[row, skill].reshape(source.shape)
        columns = skill[:, None] * actions + np.arange(actions)
        advice = np.empty((*source.shape, actions), np.float32)
        self._reflect(advice, drawn.advice[row[:, None], columns].reshape(advice.shape), Mirror.actions)
        return torch.from_numpy(advised), torch.from_numpy(advice)

    def _fill(self, updates: int, skill: NDArray[np.intp], obs: Float32, next_obs: Float32, action: Float32) -> None:
        """Write observations, commands and stored actions of the minibatches, mirrored and normalised."""
        batch, inputs = self._config.batch, self._inputs[:updates].numpy()
        actions, width = self._replay.actions, len(self.mean)
        clip, scale = self._config.obs_clip, 1.0 / self.std
        command = self._commands[skill]
        for at, rows in ((1, obs), (2, next_obs)):
            into = inputs[:, at * batch : (at + 1) * batch, actions : actions + width]
            self._reflect(into, rows.reshape(updates, batch, -1), Mirror.rows)
            told = command if self._aim is None else self._aim(into[..., -self._features :], command)
            inputs[:, at * batch : (at + 1) * batch, actions + width : -1] = told
            into -= self.mean
            into *= scale
            np.clip(into, -clip, clip, out=into)
        inputs[:, :batch, actions:-1] = inputs[:, batch : 2 * batch, actions:-1]
        self._reflect(inputs[:, batch : 2 * batch, :actions], action.reshape(updates, batch, -1), Mirror.actions)

    def _reflect(self, into: Float32, rows: Float32, mirrored: Callable[[Mirror, Float32], Float32]) -> None:
        """Copy rows of minibatches, each block as its mirror image shows it."""
        into[:] = rows
        for block, mirror in self._blocks:
            into[:, block] = mirrored(mirror, rows[:, block])


def _blocks(mirrors: Sequence[Mirror], batch: int, replay: Replay) -> list[tuple[slice, Mirror]]:
    """The part of a minibatch that each mirror image gets; the first part and a rest stay as they are."""
    if batch <= len(mirrors):
        raise ValueError(f"batch is {batch}; {len(mirrors)} mirror images need more")
    features = len(replay.feature_moments()[1])
    for mirror in mirrors:
        have = (len(mirror.row_index), len(mirror.action_index), len(mirror.skill_of))
        if have != (features, replay.actions, replay.skills):
            raise ValueError(
                f"a mirror image of {have} features, actions and skills does not fit the replay memory's "
                f"{(features, replay.actions, replay.skills)}"
            )
    size = batch // (len(mirrors) + 1)
    return [(slice(index * size, (index + 1) * size), mirror) for index, mirror in enumerate(mirrors, 1)]


def _edges(weights: Sequence[float] | None, skills: int) -> NDArray[np.float64]:
    """Inner edges of the unit interval's cuts whose lengths are the skills' shares. Shape: (K - 1,)."""
    share = np.ones(skills) if weights is None else np.asarray(weights, np.float64)
    if share.shape != (skills,) or not np.isfinite(share).all() or share.min() < 0 or share.sum() <= 0:
        raise ValueError(f"skill weights {weights} must be {skills} numbers of at least 0, not all 0")
    return np.cumsum(share / share.sum())[:-1]
