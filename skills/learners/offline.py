"""Learning from stored steps alone, before anything is tried.

An actor that climbs critics soon finds actions that nobody took and that the critics praise by mistake; where something
is tried, that shows, and here nothing is. So the actor is held to the stored actions while it climbs (TD3+BC: Fujimoto
and Gu 2021, arXiv 2106.06860), and what follows a step may be judged by stored actions alone (implicit Q-learning:
Kostrikov, Nair and Levine 2021, arXiv 2110.06169). Networks, temperatures and optimiser are those that go on learning
from attempts afterwards; only the state values below are left behind.
"""

from __future__ import annotations

import torch
from torch import Tensor

from skills.learners.config import SacConfig
from skills.learners.ensemble_network import EnsembleNetwork
from skills.learners.minibatch import Minibatch


def held_to_stored(minibatch: Minibatch, batch: int, actions: int) -> Minibatch:
    """The minibatch with what was done as advice, where a script does not advise otherwise."""
    done = minibatch.inputs[batch : 2 * batch, :actions]
    advice = torch.where(minibatch.advised[:, None] > 0, minibatch.advice, done)
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
        return minibatch.reward + minibatch.discount * following.detach()
