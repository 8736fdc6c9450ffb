"""Augmented random search (Mania, Guy, Recht 2018, arXiv 1803.07055, algorithm 2: V2-t), one search per skill.

A linear policy on the normalised newest feature row is perturbed in random directions, each to both sides; an attempt
tries one perturbation and its mean reward is all that is learned from it. What the policy puts out is added to the
skill's prior action, so a search begins at the plain trajectory generator (policies that modulate a generator were
trained in this way: Iscen et al., CoRL 2018).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from skills.learners.learner import Arrays, Meta, Replay
from skills.policy import PolicyWeights

if TYPE_CHECKING:
    from skills.learners.learner import AttemptSummary

Float64 = NDArray[np.float64]

ON_OFFER = 2
"""Perturbations of a skill that are offered at once: one may be under way while the next attempt begins."""
LOG_STD = -10.0
"""Log standard deviation of the actions: none to speak of, since the perturbation is what explores."""
STATE_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class ArsConfig:
    """Settings of `ArsLearner`, under the paper's names: N, b, nu and alpha."""

    directions: int = 4
    """N: directions per step of the search; each costs two attempts."""
    top: int = 4
    """b: the best of them, by the better of their two sides, which make the step; all where they are as few as here."""
    noise: float = 0.02
    """Nu: size of a perturbation: output before the tanh per standard deviation of a feature."""
    step_size: float = 0.02
    """Alpha: size of a step, in the same units, for directions whose sides differ by one standard deviation."""
    normalise: bool = True
    """Shift and scale features by their moments so far (V2); False takes them as they are (V1)."""
    least_steps: int = 25
    """Attempts of fewer policy steps are not judged by, unless they were over by themselves; what they tried is tried
    again."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work, naming the field, its value and what is valid."""
        if self.directions < 1:
            raise ValueError(f"search setting directions is {self.directions}; it must be at least 1")
        if not 1 <= self.top <= self.directions:
            raise ValueError(f"search setting top is {self.top}; it must be in 1..{self.directions} (directions)")
        for name in ("noise", "step_size"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(f"search setting {name} is {value}; it must be positive and finite")


class ArsLearner:
    """Augmented random search behind the same protocol as the learners that use gradients.

    Versions of its policies are numbers of a block that each step of a search takes for itself: the first for the
    policy as it is, then two per direction, plus side before minus side. A version thus belongs to one perturbation of
    one skill.
    """

    def __init__(
        self,
        replay: Replay,
        skills: Sequence[str],
        command_width: int,
        config: ArsConfig | None = None,
        seed: int = 0,
    ) -> None:
        """Begin at policies that put out zero.

        Args:
            replay: fixes the policies' widths and gives the moments of the features; nothing else is drawn from it.
            skills: names of the skills, in the order of the rewards in the replay memory.
            command_width: width C of the commands, which a policy for one skill has no use for.
            config: settings.
            seed: of the directions.

        Raises:
            ValueError: the names do not fit the replay memory.
        """
        if len(skills) != replay.skills:
            raise ValueError(f"{len(skills)} skill names do not fit the replay memory's {replay.skills} skills")
        self.config = config or ArsConfig()
        self._replay = replay
        self._skills = tuple(skills)
        self._command_width = command_width
        self._seed = seed
        self._updates = 0
        self._next_version = 0
        count, width, tries = len(skills), len(replay.feature_moments()[1]), 2 * self.config.directions
        self._policy: Float64 = np.zeros((count, replay.actions, width + 1))
        """Weights of each skill's policy; the last one is of a constant feature, whose value is the square root of D so
        that it moves an action as much as all others together: what it changes, the gait as a whole, is what a search
        over few attempts can find. Shape: (K, A, D + 1)."""
        self._reward_sum: Float64 = np.zeros((count, tries))
        """Mean rewards of the attempts with each perturbation, added up. Shape: (K, 2 N)."""
        self._attempts: NDArray[np.int64] = np.zeros((count, tries), np.int64)
        self._steps: NDArray[np.int64] = np.full(count, -1, np.int64)
        """Steps that each search has made; with the seed they say what its directions are."""
        self._first_version: NDArray[np.int64] = np.zeros(count, np.int64)
        self._obs_mean: Float64 = np.zeros((count, width))
        self._obs_std: Float64 = np.ones((count, width))
        self._last_reward: Float64 = np.zeros(count)
        for skill in range(count):
            self._begin_step(skill)

    @property
    def updates(self) -> int:
        """Updates asked for so far: in a run, policy steps that the robot has made since the warm-up."""
        return self._updates

    @property
    def refused_reason(self) -> str:
        """Nothing is ever undone: an attempt without a finite reward does not count."""
        return ""

    def update(self, n: int, *, offline: bool = False) -> dict[str, float]:
        """Count ``n`` updates; what moves the search are attempts. Returns figures per skill."""
        self._updates += n
        figures = {"updates": float(self._updates)}
        for index, name in enumerate(self._skills):
            figures[f"search_steps.{name}"] = float(self._steps[index])
            figures[f"search_reward.{name}"] = float(self._last_reward[index])
            figures[f"weight_norm.{name}"] = float(np.linalg.norm(self._policy[index]))
        return figures

    def attempted(self, summary: AttemptSummary) -> None:
        """Credit an attempt to the perturbation that acted in it; the last one of a step makes the search go on.

        Attempts with any other policy, also with a perturbation of an earlier step, are passed over.
        """
        if summary.policy_version is None or (summary.steps < self.config.least_steps and not summary.fell):
            return
        skill = summary.skill
        tried = summary.policy_version - int(self._first_version[skill]) - 1
        if 0 <= tried < self._attempts.shape[1] and math.isfinite(summary.mean_reward):
            self._reward_sum[skill, tried] += summary.mean_reward
            self._attempts[skill, tried] += 1
            if self._attempts[skill].all():
                self._step(skill)
                self._begin_step(skill)

    def candidates(self) -> tuple[PolicyWeights, ...]:
        """For each skill the policy as it is, then the next perturbations to try."""
        offered = []
        for skill in range(len(self._skills)):
            directions = self._directions(skill)
            offered.append(self._weights(skill, self._policy[skill], 0))
            for tried in np.flatnonzero(self._attempts[skill] == 0)[:ON_OFFER]:
                side = self.config.noise * (-1.0 if tried % 2 else 1.0)
                parameters = self._policy[skill] + side * directions[tried // 2]
                offered.append(self._weights(skill, parameters, 1 + int(tried)))
        return tuple(offered)

    def state(self) -> tuple[Arrays, Meta]:
        """Policies, rewards of the steps under way, versions and counters; directions follow from seed and counters."""
        arrays = {name: array.copy() for name, array in self._arrays().items()}
        meta: Meta = {
            "kind": "ars",
            "format": STATE_FORMAT,
            "skills": list(self._skills),
            "directions": self.config.directions,
            "updates": self._updates,
            "next_version": self._next_version,
            "seed": self._seed,
        }
        return arrays, meta

    def load_state(self, arrays: Arrays, meta: Meta) -> None:
        """Continue from what `state` returned, with its seed; noise and step size may differ.

        Raises:
            ValueError: the state is of another kind or shape, lacks a part, or holds NaN; nothing is changed then.
        """
        mine, my_meta = self._arrays(), self.state()[1]
        for key in ("kind", "format", "skills", "directions"):
            if meta.get(key) != my_meta[key]:
                raise ValueError(f"learner state has {key} {meta.get(key)!r}; this learner needs {my_meta[key]!r}")
        for name, array in mine.items():
            given = arrays.get(name)
            if given is None or given.shape != array.shape or given.dtype != array.dtype:
                found = "nothing" if given is None else f"{given.dtype} {given.shape}"
                raise ValueError(f"learner state has {found} as {name}; {array.dtype} {array.shape} is needed")
            if not np.isfinite(given).all():
                raise ValueError(f"learner state holds NaN or infinity in {name}; load an older checkpoint")
        lacking = my_meta.keys() - meta.keys()
        if lacking:
            raise ValueError(f"learner state lacks {sorted(lacking)}; load another checkpoint")
        for name, array in mine.items():
            array[:] = arrays[name]
        self._updates, self._next_version, self._seed = (int(meta[key]) for key in ("updates", "next_version", "seed"))

    def _arrays(self) -> Arrays:
        return {
            "policy": self._policy,
            "reward_sum": self._reward_sum,
            "attempts": self._attempts,
            "steps": self._steps,
            "first_version": self._first_version,
            "obs_mean": self._obs_mean,
            "obs_std": self._obs_std,
            "last_reward": self._last_reward,
        }

    def _directions(self, skill: int) -> Float64:
        """Directions of the step under way, standard normal. Shape: (N, A, D + 1)."""
        rng = np.random.default_rng((self._seed, skill, int(self._steps[skill])))
        return rng.standard_normal((self.config.directions, *self._policy.shape[1:]))

    def _step(self, skill: int) -> None:
        """M += alpha / (b sigma_R) sum_k (r(k, +) - r(k, -)) delta_k over the b best directions (algorithm 2)."""
        c = self.config
        rewards = (self._reward_sum[skill] / self._attempts[skill]).reshape(c.directions, 2)
        self._last_reward[skill] = rewards.mean()
        best = np.argsort(-rewards.max(axis=1), kind="stable")[: c.top]
        spread = float(rewards[best].std())
        if spread > 0.0:
            gain = (rewards[best, 0] - rewards[best, 1]) * c.step_size / (c.top * spread)
            self._policy[skill] += np.tensordot(gain, self._directions(skill)[best], axes=1)

    def _begin_step(self, skill: int) -> None:
        """New directions, new versions, newest moments."""
        self._steps[skill] += 1
        self._first_version[skill] = self._next_version
        self._next_version += 1 + self._attempts.shape[1]
        self._reward_sum[skill], self._attempts[skill] = 0.0, 0
        count, mean, variance = self._replay.feature_moments()
        if self.config.normalise and count:
            std = np.sqrt(variance)
            # A feature that hardly moves carries noise at most; scaling it up would only amplify that.
            std[std < 1e-3] = 1.0
            self._obs_mean[skill], self._obs_std[skill] = mean, std

    def _weights(self, skill: int, parameters: Float64, number: int) -> PolicyWeights:
        """One policy of a skill, version ``number`` of its block; only the newest feature row has weights."""
        actions, width = parameters.shape[0], parameters.shape[1] - 1
        obs_width = self._replay.obs_width
        weight = np.zeros((obs_width + self._command_width, 2 * actions), np.float32)
        weight[obs_width - width : obs_width, :actions] = parameters[:, :width].T
        constant = math.sqrt(width)
        bias = np.concatenate((constant * parameters[:, width], np.full(actions, LOG_STD))).astype(np.float32)
        rows = obs_width // width
        return PolicyWeights(
            version=int(self._first_version[skill]) + number,
            layers=((weight, bias),),
            obs_mean=np.tile(self._obs_mean[skill], rows).astype(np.float32),
            obs_std=np.tile(self._obs_std[skill], rows).astype(np.float32),
            log_std_min=LOG_STD,
            skill=self._skills[skill],
        )
