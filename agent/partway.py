"""How far towards where it leads a command may go."""

from __future__ import annotations

from collections.abc import Callable

from sim.robot import Array

HALVINGS = 4
"""How finely the share of a command that is still safe is found: to a sixteenth."""


def partway(start: Array, target: Array, safe: Callable[[Array], bool]) -> Array:
    """The point between a start that is safe and a target that is not up to which it is safe. Shapes: (n_joints,)."""
    share, step = 0.0, 0.5
    for _ in range(HALVINGS):
        if safe(start + (share + step) * (target - start)):
            share += step
        step *= 0.5
    return start + share * (target - start)
