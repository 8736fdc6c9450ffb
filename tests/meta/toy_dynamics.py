"""Attempts of a body on a spring, pushed by its first action; the second does nothing."""

import numpy as np

from meta.transitions import AttemptSteps

STATE, ACTION = 2, 2
DT_S = 0.1


def step(state, action, gain=1.0):
    """One step on. Shapes: (..., 2), (..., 2) to (..., 2)."""
    x, v = np.moveaxis(state, -1, 0)
    force = gain * action[..., 0] - x - 0.5 * v
    return np.stack((x + DT_S * v, v + DT_S * force), axis=-1)


def attempt(number, length=60, gain=1.0):
    rng = np.random.default_rng(number)
    actions = rng.uniform(-1.0, 1.0, (length, ACTION))
    states = np.zeros((length + 1, STATE))
    states[0] = rng.uniform(-1.0, 1.0, STATE)
    for t in range(length):
        states[t + 1] = step(states[t], actions[t], gain)
    return AttemptSteps(
        attempt=number,
        states=states.astype(np.float32),
        actions=actions.astype(np.float32),
        valid=np.ones(length, bool),
    )


def attempts(n, length=60):
    return [attempt(number, length) for number in range(n)]
