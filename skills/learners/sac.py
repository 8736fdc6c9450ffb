"""Soft actor-critic with automatic temperature (Haarnoja et al. 2019, arXiv 1812.05905), for a family of skills.

One actor and one ensemble of critics serve K skills. Each drawn transition is given to one of them, drawn at random:
its command joins the observation, its reward and termination make the target, its prior shifts the actor's mean, and
its own temperature weighs the entropy. With K = 1, no command and a prior of zero this is plain soft actor-critic.

What is drawn and how it is prepared is in `skills.learners.minibatch`, the arithmetic of an update in
`skills.learners.core`; this file decides when to update, reset, refuse, and which policy may act.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from skills.learners.captured import CapturedStep
from skills.learners.config import SacConfig
from skills.learners.core import SacCore
from skills.learners.guard import Guard, Remedy
from skills.learners.lagrangian import PidLagrangian
from skills.learners.learner import Arrays, AttemptSummary, Meta, Replay
from skills.learners.minibatch import CHUNK, Aim, Minibatch, Sampler
from skills.learners.offline import ImplicitValues
from skills.policy import PolicyWeights, layers_from_flat
from skills.symmetry import Mirror

STATE_FORMAT = 2
SLOW_UPDATES = 1000
"""Updates at half the learning rate after several refusals in a row."""


class _Progress(NamedTuple):
    """What a refused call takes back besides the networks."""

    updates: int = 0
    reset_at: int = 0
    """Update at which the networks were new."""
    held: PolicyWeights | None = None
    """The policy that acts while new networks recover."""


class SacLearner:
    """Soft actor-critic over a replay memory that somebody else fills."""

    def __init__(
        self,
        replay: Replay,
        commands: NDArray[np.floating[Any]],
        priors: NDArray[np.floating[Any]],
        config: SacConfig | None = None,
        seed: int = 0,
        skill_weights: Sequence[float] | None = None,
        mirrors: Sequence[Mirror] = (),
        aim: Aim | None = None,
        shown: NDArray[np.bool_] | None = None,
    ) -> None:
        """Make new networks.

        Args:
            replay: where transitions come from; its widths fix the networks'. Costs that it keeps are constrained.
            commands: what each skill tells the policy to do; C may be 0. Shape: (K, C).
            priors: what each skill does when the network puts out zero, in [-1, 1]. Shape: (K, A).
            config: settings.
            seed: of the networks and of every draw.
            skill_weights: how often each skill is given a transition, relative to the others; None: equally often.
            mirrors: mirror images under which a transition is as true as the original; each gets an equal part of
                every minibatch, as the original does.
            aim: turns commands into what the networks are told of them at an observation; None: the commands.
            shown: which skills the steps show that are there before anything is tried. Shape: (K,); None: all.

        Raises:
            ValueError: shapes disagree with the replay memory, weights are negative, not finite or all zero, or torch
                finds no such device.
        """
        self.config = config or SacConfig()
        if self.config.device == "cuda" and not torch.cuda.is_available():
            raise ValueError(f"learner setting device is 'cuda', but torch {torch.__version__} finds no GPU; use 'cpu'")
        self._rng = np.random.default_rng(seed)
        self._generator = torch.Generator().manual_seed(seed)
        self._sampler = Sampler(replay, commands, priors, self.config, mirrors, skill_weights, aim)
        width, actions, skills = self._sampler.input_width, replay.actions, replay.skills
        self._core = SacCore(width, actions, skills, self.config, self._generator)
        if shown is not None:
            self._core.shown.copy_(torch.from_numpy(shown))
        self._captured = CapturedStep(self._core) if self.config.device == "cuda" else None
        self._lagrangian = PidLagrangian(skills, replay.costs, self.config)
        self._guard = Guard(self.config.discount, actions, self._core.entropy_target)
        self._progress = _Progress()
        self._values: ImplicitValues | None = None
        """While nothing is tried."""
        self._good = self._core.bank.clone()
        self._refused = 0
        self._refused_reason = ""
        self._slow_until = 0

    @property
    def updates(self) -> int:
        """Gradient updates taken so far; refused ones do not count."""
        return self._progress.updates

    @property
    def refused_reason(self) -> str:
        """Why the last `update` was undone, in one line for the log; empty if it was not."""
        return self._refused_reason

    def update(self, n: int, *, offline: bool = False) -> dict[str, float]:
        """Take ``n`` gradient updates.

        Args:
            n: how many.
            offline: whether nothing has been tried yet (`skills.learners.offline`).

        Returns:
            ``updates``, ``refused_updates`` (both since the start), ``refused`` (1 if this call was undone) and for
            each cost ``lambda_<skill>_<cost>`` and ``cost_<skill>_<cost>``; unless the call was undone, also figures of
            the last minibatch: ``critic_loss``, ``q_mean``, ``q_size`` (largest size), ``entropy``, ``temperature``
            (mean over skills), ``temperature_<k>`` and ``grad_norm``.

        Raises:
            ValueError: ``n`` is below 1, or the replay memory is empty.
        """
        if n < 1:
            raise ValueError(f"update was asked for {n} updates; at least 1 is needed")
        self._sampler.refresh_normaliser()
        self._good.copy_(self._core.bank)
        before = self._progress
        slow = 0.5 if self.updates < self._slow_until else 1.0
        self._core.learning_rate = slow * self.config.learning_rate
        with torch.inference_mode():
            reward_size = self._take(n, offline)
            figures = self._core.figures()
            # A sum that is finite has no term that is not; one pass over the parameters instead of three.
            finite = math.isfinite(float(self._core.bank.sum()))
        self._refused_reason = self._guard.fault(figures, finite, reward_size)
        if self._refused_reason:
            self._undo(n, before)
            figures = {}
        else:
            self._guard.accept(figures)
        counts = {
            "updates": float(self.updates),
            "refused_updates": float(self._refused),
            "refused": float(bool(self._refused_reason)),
        }
        return counts | self._lagrangian.figures() | figures

    def attempted(self, summary: AttemptSummary) -> None:
        """Move the multipliers of the attempt's skill; an attempt in which no policy acted says nothing about ours.

        Raises:
            ValueError: the skill is none of this learner's, or the costs do not fit.
        """
        skills = len(self._lagrangian.cost)
        if not 0 <= summary.skill < skills:
            raise ValueError(f"skill {summary.skill} of the attempt is not one of the learner's {skills}, from 0 on")
        if summary.policy_version is not None and summary.steps:
            self._lagrangian.attempted(summary.skill, summary.steps, summary.mean_costs)

    def candidates(self) -> tuple[PolicyWeights, ...]:
        """The policy that may act: the one now, or the one from before a reset while new networks recover."""
        held = self._progress.held
        return (self.snapshot() if held is None else held,)

    def snapshot(self) -> PolicyWeights:
        """A copy of the actor as it is now; its version is the number of updates behind it."""
        flat = self._core.actor_flat.cpu().numpy().copy()
        return PolicyWeights(
            version=self.updates,
            layers=layers_from_flat(flat, self._core.actor_sizes),
            obs_mean=self._sampler.mean.copy(),
            obs_std=self._sampler.std.copy(),
            obs_clip=self.config.obs_clip,
            log_std_min=self.config.log_std_min,
            log_std_max=self.config.log_std_max,
        )

    def state(self) -> tuple[Arrays, Meta]:
        """Networks, optimiser, normaliser, multipliers, counters, random states, and a policy that is being held."""
        arrays: Arrays = {
            "bank": self._core.bank.cpu().numpy().copy(),
            "obs_mean": self._sampler.mean.copy(),
            "obs_std": self._sampler.std.copy(),
            "torch_rng": self._generator.get_state().numpy().copy(),
            "multipliers": self._lagrangian.state(),
        }
        p = self._progress
        if p.held is not None:
            arrays["held_policy"] = np.frombuffer(p.held.to_bytes(), np.uint8)
        meta: Meta = {
            "kind": "sac",
            "format": STATE_FORMAT,
            "updates": p.updates,
            "reset_at": p.reset_at,
            "refused_updates": self._refused,
            "slow_until": self._slow_until,
            "guard": self._guard.state(),
            "normaliser_count": self._sampler.norm_count,
            "actor_sizes": list(self._core.actor_sizes),
            "critic_sizes": list(self._core.critic_sizes),
            "ensemble": self.config.ensemble,
            "batch_norm": self.config.batch_norm,
            "rng": self._rng.bit_generator.state,
        }
        return arrays, meta

    def load_state(self, arrays: Arrays, meta: Meta) -> None:
        """Continue from what `state` returned; learning rate and the like may differ, the networks may not.

        Multipliers of another set of costs are not taken over: constraints were switched on or off since.

        Raises:
            ValueError: the state is of another kind or shape, lacks a part, or holds NaN; nothing is changed then.
        """
        self._check(arrays, meta)
        held = PolicyWeights.from_bytes(arrays["held_policy"].tobytes()) if "held_policy" in arrays else None
        if held is not None and not held.finite:
            raise ValueError("learner state holds NaN or infinity in held_policy; load an older checkpoint")
        self._progress = _Progress(int(meta["updates"]), int(meta["reset_at"]), held)
        self._guard.load_state(meta["guard"])
        self._rng.bit_generator.state = meta["rng"]
        self._generator.set_state(torch.from_numpy(arrays["torch_rng"].copy()))
        self._core.bank.copy_(torch.from_numpy(arrays["bank"].copy()))
        self._sampler.mean, self._sampler.std = arrays["obs_mean"].copy(), arrays["obs_std"].copy()
        self._sampler.norm_count = int(meta["normaliser_count"])
        self._refused, self._slow_until = int(meta["refused_updates"]), int(meta["slow_until"])
        if arrays["multipliers"].shape == self._lagrangian.state().shape:
            self._lagrangian.load_state(arrays["multipliers"])

    def _check(self, arrays: Arrays, meta: Meta) -> None:
        mine, my_meta = self.state()
        for key in ("kind", "format", "actor_sizes", "critic_sizes", "ensemble", "batch_norm"):
            if meta.get(key) != my_meta[key]:
                raise ValueError(f"learner state has {key} {meta.get(key)!r}; this learner needs {my_meta[key]!r}")
        skills = len(self._lagrangian.multiplier)
        of = arrays["multipliers"].shape[1] if "multipliers" in arrays and arrays["multipliers"].ndim == 3 else skills
        if of != skills:
            raise ValueError(
                f"learner state is of {of} skills of the family, and this run has {skills}; name the same with "
                "--skills, or begin in an empty home, with the old one in learner.prior_data"
            )
        for name in mine.keys() - {"held_policy"}:
            given, array = arrays.get(name), mine[name]
            shape = given.shape if given is not None and name == "multipliers" else array.shape
            if given is None or given.dtype != array.dtype or given.shape != shape:
                found = "nothing" if given is None else f"{given.dtype} {given.shape}"
                raise ValueError(f"learner state has {found} as {name}; {array.dtype} {array.shape} is needed")
            if not np.isfinite(given).all():
                raise ValueError(f"learner state holds NaN or infinity in {name}; load an older checkpoint")
        lacking = [name for name in my_meta if name not in meta]
        lacking += [name for name in my_meta["guard"] if name not in meta.get("guard", {})]
        if lacking:
            raise ValueError(f"learner state lacks {sorted(lacking)}; load another checkpoint")

    def _take(self, n: int, offline: bool) -> float:
        """Take ``n`` updates. Returns the largest size of a reward in them."""
        reward_size = 0.0
        for done in range(0, n, CHUNK):
            minibatches, size = self._sampler.draw(
                min(CHUNK, n - done), self._rng, self._generator, self._lagrangian.multiplier
            )
            reward_size = max(reward_size, size)
            step = self._next_step(offline)
            for minibatch in minibatches:
                p, c = self._progress, self.config
                if c.reset_every and p.updates - p.reset_at >= c.reset_every:
                    self._reset()
                    step = self._next_step(offline)
                step(minibatch)
                self._count()
        return reward_size

    def _next_step(self, offline: bool) -> Callable[[Minibatch], None]:
        """How to take the next updates: one by one, or replayed on the GPU where they repeat."""
        if offline and self.config.offline != "sac":
            return partial(self._core.offline_step, values=self._state_values())
        self._values = None
        return self._captured.replay if self._captured and self._core.repeats else self._core.step

    def _state_values(self) -> ImplicitValues | None:
        if self._values is None and self.config.offline == "iql":
            self._values = ImplicitValues(self._sampler.input_width, self.config, self._generator)
        return self._values

    def _count(self) -> None:
        """One update more; networks that have recovered act again."""
        p = self._progress
        updates = p.updates + 1
        recovered = updates - p.reset_at >= self.config.recovery_updates
        self._progress = _Progress(updates, p.reset_at, None if recovered else p.held)

    def _reset(self) -> None:
        """Begin with new networks; the policy that may act now goes on acting until they have recovered."""
        (held,) = self.candidates()
        self._core.reset()
        self._progress = _Progress(self.updates, self.updates, held)

    def _undo(self, n: int, before: _Progress) -> None:
        """Take the last ``n`` updates back; if that happens again and again, change something."""
        self._core.bank.copy_(self._good)
        self._progress = before
        self._values = None
        self._refused += n
        remedy = self._guard.refuse()
        if remedy is Remedy.SLOW:
            self._core.forget_moments()
            self._slow_until = self.updates + SLOW_UPDATES
        elif remedy is Remedy.RESET:
            self._reset()
