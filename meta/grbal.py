"""Gradient-based adaptive learner: a dynamics model meta-learned to fit the last moments of whatever robot this is now.

GrBAL (Nagabandi, Clavera et al. 2019, arXiv 1803.11347): the last M steps adapt the model, the K steps that follow
judge it, so tasks are nothing but consecutive pieces of stored attempts. Nobody has to say what changed between them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from meta.meta_learner import Examples, GradientMetaLearner, MetaConfig, Parameters, Tasks, meta_learner
from meta.planning_model import PlanningModel
from meta.transitions import CLIP, AttemptSteps, Float32, Scales, Steps


@dataclass(frozen=True, kw_only=True)
class GrbalConfig:
    """Settings of `Grbal`; past, future and the one inner step are those of the paper's tasks."""

    meta_learner: str = "maml"
    """Which engine takes the gradients: ``maml`` or ``learn2learn``."""
    meta: MetaConfig = field(default_factory=MetaConfig)
    hidden: tuple[int, ...] = (128, 128)
    past: int = 16
    """M: last steps that the model adapts to."""
    future: int = 16
    """K: steps after them that judge the adapted model."""
    tasks: int = 16
    """Tasks per meta-step."""

    def __post_init__(self) -> None:
        """Refuse settings that cannot work."""
        for name in ("past", "future", "tasks"):
            if getattr(self, name) < 1:
                raise ValueError(f"GrBAL setting {name} is {getattr(self, name)!r}; it must be at least 1")
        if not self.hidden or min(self.hidden) < 1:
            raise ValueError(f"GrBAL setting hidden is {self.hidden!r}; it must be one or more positive widths")


def dynamics_network(sizes: tuple[int, ...], generator: torch.Generator) -> nn.Sequential:
    """From normalised state and action to the normalised difference to the next state; new weights for layers of these
    widths, as torch's own linear layers draw them.
    """
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(sizes):
        layer = nn.Linear(fan_in, fan_out)
        with torch.no_grad():
            for parameter in layer.parameters():
                parameter.uniform_(-(fan_in**-0.5), fan_in**-0.5, generator=generator)
        layers += [layer, nn.ReLU()]
    return nn.Sequential(*layers[:-1])


class Grbal:
    """A dynamics model and how it adapts."""

    def __init__(self, scales: Scales, config: GrbalConfig | None = None, seed: int = 0) -> None:
        """Make a new network for data of these scales."""
        self.config = c = config or GrbalConfig()
        self.scales = scales
        self._rng = np.random.default_rng(seed)
        sizes = (len(scales.input_mean), *c.hidden, len(scales.delta_mean))
        network = dynamics_network(sizes, torch.Generator().manual_seed(seed))
        self.learner: GradientMetaLearner = meta_learner(c.meta_learner, network, c.meta)

    def learn(self, attempts: Sequence[AttemptSteps], n: int) -> dict[str, float]:
        """Take ``n`` meta-steps, each on tasks drawn anew.

        Returns:
            Figures of the last one (`GradientMetaLearner.meta_step`); nothing where it was undone.

        Raises:
            ValueError: no attempt has as many trusted steps in a row as a task needs.
        """
        steps, figures = Steps(attempts), dict[str, float]()
        starts = steps.starts(self.config.past + self.config.future)
        if not len(starts):
            length = self.config.past + self.config.future
            raise ValueError(f"no attempt has {length} trusted steps in a row, which a task needs")
        for _ in range(n):
            figures = self.learner.meta_step(self.tasks(steps, self._rng.choice(starts, self.config.tasks)))
        return figures

    def tasks(self, steps: Steps, starts: NDArray[np.intp]) -> Tasks:
        """Pieces of past and future that begin at these rows. Shape: (N,)."""
        rows = starts[:, None] + np.arange(self.config.past + self.config.future)
        examples = self.examples(steps.states[rows], steps.actions[rows], steps.states[rows + 1])
        past, future = slice(self.config.past), slice(self.config.past, None)
        return Tasks(*(Examples(examples.inputs[:, part], examples.targets[:, part]) for part in (past, future)))

    def examples(self, states: Float32, actions: Float32, following: Float32) -> Examples:
        """Steps as the network takes them. Shapes: (..., S), (..., A), (..., S)."""
        s = self.scales
        inputs = (np.concatenate((states, actions), axis=-1) - s.input_mean) / s.input_std
        targets = (following - states - s.delta_mean) / s.delta_std
        return Examples(
            torch.from_numpy(np.clip(inputs, -CLIP, CLIP).astype(np.float32)),
            torch.from_numpy(targets.astype(np.float32)),
        )

    def adapt(self, states: Float32, actions: Float32, following: Float32) -> Parameters:
        """What the meta-learned parameters become after the robot's last steps, in order.

        Every call starts from the meta-learned parameters: adaptation leaves nothing behind, and a repaired robot is
        known again at once. Shapes: (M, S), (M, A), (M, S).

        Returns:
            Adapted parameters; the meta-learned ones where adaptation led to numbers that are not finite.
        """
        adapted = self.learner.adapt(self.learner.parameters, self.examples(states, actions, following))
        if all(math.isfinite(float(value.sum())) for value in adapted.values()):
            return adapted
        return {name: value.detach() for name, value in self.learner.parameters.items()}

    def planning_model(self, *members: Parameters) -> PlanningModel:
        """A copy of the network with these parameters, to plan with; several make an ensemble."""
        tensors = [
            torch.stack([value.detach() for value in same]) for same in zip(*(m.values() for m in members), strict=True)
        ]
        layers = [
            (weight.transpose(1, 2).contiguous(), bias[:, None])
            for weight, bias in zip(tensors[::2], tensors[1::2], strict=True)
        ]
        return PlanningModel(layers, self.scales)
