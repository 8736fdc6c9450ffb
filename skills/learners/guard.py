"""Tells a learner that diverges from one that learns, and says what to do about it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from enum import Enum

SLACK = 2.0
"""How far beyond the largest possible value a critic may be: function approximation overshoots for a while."""
LOSS_JUMP = 1000.0
"""A loss this many times its usual size is an explosion, if it is also larger than rewards can explain."""
LOSS_MEMORY = 0.99
"""Weight of the past in the usual loss, per call."""
PATIENCE = 3
"""Refusals in a row before something is changed."""


class Remedy(Enum):
    """What a refusal calls for."""

    NOTHING = "nothing"
    SLOW = "slow"
    """Clear the optimiser's moments and halve the learning rate for a while."""
    RESET = "reset"
    """Begin with new networks."""


class Guard:
    """Judges the figures of each call of `update`.

    A value is at most the largest soft reward over 1 - gamma. That is |r| plus the temperature times the entropy, which
    is at most A log 2 (uniform actions) and not far below what it is steered to.
    """

    def __init__(self, discount: float, actions: int, entropy_target: float) -> None:
        """Begin with nothing seen."""
        self._horizon = 1.0 / (1.0 - discount)
        self._entropy = max(actions * math.log(2.0), abs(entropy_target))
        self.reward_size = 1.0
        """Largest size of a reward seen, penalties included; at least 1."""
        self.bonus_size = 0.0
        """Largest temperature times entropy so far; values outlive the temperature they were learned at."""
        self.usual_loss = 0.0
        """Average of the accepted calls' critic losses; 0 before the first."""
        self.in_a_row = 0
        """Refusals since the last accepted call."""

    def bound(self, figures: Mapping[str, float]) -> float:
        """Largest size of a value that is believed at the temperature and entropy of these figures."""
        return SLACK * (self.reward_size + max(self.bonus_size, self._bonus(figures))) * self._horizon

    def fault(self, figures: Mapping[str, float], finite: bool, reward_size: float) -> str:
        """What is wrong with a call, in one line; empty if nothing is.

        Args:
            figures: ``critic_loss``, ``q_size``, ``entropy`` and temperatures of the last minibatch.
            finite: whether all parameters are.
            reward_size: largest size of a reward in the call.
        """
        if not math.isfinite(reward_size):
            return "a reward is not finite"
        self.reward_size = max(self.reward_size, reward_size)
        broken = [name for name, value in figures.items() if not math.isfinite(value)]
        if broken or not finite:
            return f"not finite: {', '.join(broken) or 'a parameter'}"
        bound = self.bound(figures)
        if figures["q_size"] > bound:
            return f"a critic says {figures['q_size']:.3g}; rewards and entropy allow {bound:.3g} at most"
        loss = figures["critic_loss"]
        # No two values within the bound differ by more than twice the bound.
        if loss > 2.0 * bound**2:
            return f"critic loss {loss:.3g} is more than values within {bound:.3g} can have"
        jump = self.usual_loss and loss > LOSS_JUMP * self.usual_loss
        if jump and loss > 0.5 * (10.0 * self.reward_size) ** 2:
            return f"critic loss {loss:.3g} is {loss / self.usual_loss:.3g} times its usual size"
        return ""

    def accept(self, figures: Mapping[str, float]) -> None:
        """Note a call that was kept."""
        loss = figures["critic_loss"]
        self.bonus_size = max(self.bonus_size, self._bonus(figures))
        self.usual_loss = loss if not self.usual_loss else LOSS_MEMORY * self.usual_loss + (1.0 - LOSS_MEMORY) * loss
        self.in_a_row = 0

    def refuse(self) -> Remedy:
        """Note a call that was undone. Returns what to do: gentle the first time patience ends, then thorough."""
        self.in_a_row += 1
        if self.in_a_row % PATIENCE:
            return Remedy.NOTHING
        return Remedy.SLOW if self.in_a_row == PATIENCE else Remedy.RESET

    def state(self) -> dict[str, float]:
        """All that the next judgement depends on; JSON."""
        return {
            "reward_size": self.reward_size,
            "bonus_size": self.bonus_size,
            "usual_loss": self.usual_loss,
            "in_a_row": self.in_a_row,
        }

    def load_state(self, state: Mapping[str, float]) -> None:
        """Go on from what `state` returned."""
        self.reward_size, self.bonus_size = float(state["reward_size"]), float(state["bonus_size"])
        self.usual_loss, self.in_a_row = float(state["usual_loss"]), int(state["in_a_row"])

    def _bonus(self, figures: Mapping[str, float]) -> float:
        alpha = max(value for name, value in figures.items() if name.startswith("temperature"))
        return alpha * max(self._entropy, abs(figures["entropy"]))
