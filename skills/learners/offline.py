"""Learning from stored steps alone, before anything is tried.

An actor that climbs critics soon finds actions that nobody took and that the critics praise by mistake; where something
is tried, that shows, and here nothing is. So the actor is held while it climbs: to the stored actions where these show
the skill (TD3+BC: Fujimoto and Gu 2021, arXiv 2106.06860), else to the skill's prior, since what was done for others
leads away from it. What follows a step may be judged by stored actions alone (implicit Q-learning: Kostrikov, Nair and
Levine 2021, arXiv 2110.06169). Networks, temperatures and optimiser are those that go on learning from attempts
afterwards; only the state values below are left behind.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skills.learners.config import SacConfig
from skills.learners.ensemble_network import EnsembleNetwork
from skills.learners.minibatch import Minibatch

STRETCH = 25
"""Policy steps; a second of a walking robot."""
SHOWN = 0.5
"""Mean reward of a stretch that shows a skill; a good step is worth about 1."""


def shown(rewards: Iterable[NDArray[np.float32]], skills: int) -> NDArray[np.bool_]:
    """Whether the best hundredth of what is stored shows each of the skills.

    Args:
        rewards: of each attempt. Shape of each: (T, K).
        skills: their number K.
    """
    means = [np.zeros((0, skills))]
    for each in rewards:
        width = min(STRETCH, len(each))
        means += [each[begin : begin + width].mean(0)[None] for begin in range(0, len(each) - width + 1, width)]
    stretches = np.concatenate(means)
    return np.quantile(stretches, 0.99, axis=0) >= SHOWN if len(stretches) else np.zeros(skills, bool)


def advising(minibatch: Minibatch, action: Tensor) -> Minibatch:
    """The minibatch with actions as advice, where a script does not advise otherwise. Shape of them: (B, A)."""
    advice = torch.where(minibatch.advised[:, None] > 0, minibatch.advice, action)
    return minibatch._replace(advised=torch.ones_like(minibatch.advised), advice=advice)


class ImplicitValues:
    """What a state is worth if the better ones of the actions stored there are taken: an upper expectile of Q."""

    def __init__(self, width: int, config: SacConfig, generator: torch.Generator) -> None:
        """New network over ``width`` inputs, observation and command."""
        self._config = config
        with torch.inference_mode(False):
            self._network = EnsembleNetwork(1, (width, *config.hidden, 1), generator).to(config.device)
        self._optimiser = torch.optim.Adam(self._network.parameters(), lr=config.learning_rate)

    def target(self, minibatch: Minibatch, q: Tensor) -> Tensor:
        """Learn from Q of the stored actions, shape (B,). Returns the critics' target r + gamma (1 - d) V(s')."""
        batch, actions = self._config.batch, minibatch.advice.shape[1]
        with torch.inference_mode(False), torch.enable_grad():
            observed = minibatch.inputs[batch:, actions:-1].clone()
            value, following = self._network(observed)[0, :, 0].split(batch)
            # Loss E[|tau - 1(Q < V)| (Q - V)^2]  (eq. 5): V lies above most of Q where tau is large.
            above = q.clone() - value
            weight = torch.where(above > 0, self._config.expectile, 1.0 - self._config.expectile)
            self._optimiser.zero_grad()
            (weight * above.square()).mean().backward()
            self._optimiser.step()
        target: Tensor = minibatch.reward + minibatch.discount * following.detach()
        return target
