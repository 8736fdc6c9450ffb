"""Shaping by a potential keeps the optimal policy of small worlds where it can be computed; another bonus does not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skills.shaping import shaped

DISCOUNT = 0.9


def optimum(reward, moves, over):
    """Values and best actions of a world.

    Args:
        reward: shape (S, A, S).
        moves: probability of each next state. Shape (S, A, S).
        over: whether a step into a state is the last one. Shape (S,).
    """
    values = np.zeros(len(over))
    for _ in range(600):
        worth = (moves * (reward + DISCOUNT * np.where(over, 0.0, values))).sum(axis=2)
        values = worth.max(axis=1)
    return worth


def terms(potential, over):
    """What shaping adds to each step (S, A, S) from state to state."""
    s = len(over)
    before, after = (grid.ravel() for grid in np.meshgrid(potential, potential, indexing="ij"))
    added = shaped(before, after, DISCOUNT, np.tile(over, s)).reshape(s, 1, s)
    return np.broadcast_to(added, (s, 1, s))


@given(st.integers(0, 10_000), st.floats(0.0, 50.0))
def test_no_potential_changes_which_actions_are_best(seed, size):
    rng = np.random.default_rng(seed)
    states, actions = 6, 3
    moves = rng.dirichlet(np.full(states, 0.3), (states, actions))
    reward = rng.normal(size=(states, actions, states))
    over = rng.random(states) < 0.3
    potential = size * rng.normal(size=states)
    plain, with_it = optimum(reward, moves, over), optimum(reward + terms(potential, over), moves, over)
    # Every action of a state is worth less by the same, the potential of that state: the order of them all stays.
    np.testing.assert_allclose(with_it, plain - potential[:, None], atol=1e-6 * (1 + size))


CORRIDOR = np.zeros((5, 2, 5))
"""Five places in a row; an action goes left or right. The last one is the goal, and the end."""
for place in range(5):
    CORRIDOR[place, 0, max(place - 1, 0)] = CORRIDOR[place, 1, min(place + 1, 4)] = 1.0
GOAL = np.arange(5) == 4
REWARD = np.zeros((5, 2, 5))
REWARD[:4, :, 4] = 1.0
NEARNESS = np.arange(5) - 4.0


def test_a_bonus_that_is_no_difference_of_a_potential_changes_it():
    """For being near the goal, as one would pay a robot by its distance: it is better never to arrive."""
    right = optimum(REWARD, CORRIDOR, GOAL).argmax(axis=1)
    assert right[:4].tolist() == [1, 1, 1, 1]
    bonus = np.broadcast_to(0.5 * (NEARNESS + 4.0), REWARD.shape) * ~GOAL
    assert optimum(REWARD + bonus, CORRIDOR, GOAL).argmax(axis=1)[3] == 0
    assert (optimum(REWARD + terms(NEARNESS, GOAL), CORRIDOR, GOAL).argmax(axis=1) == right)[:4].all()


def test_paying_for_getting_nearer_but_not_back_changes_it_too():
    """What rocking to and fro earns: progress that is cut off at zero."""
    progress = np.maximum(np.subtract.outer(-NEARNESS, -NEARNESS), 0.0)[:, None, :] * np.ones((1, 2, 1))
    assert optimum(REWARD + progress, CORRIDOR, GOAL).argmax(axis=1)[3] == 0


def test_a_potential_at_an_end_counts_for_nothing():
    before, after, over = np.array([2.0, 2.0]), np.array([3.0, 3.0]), np.array([False, True])
    assert shaped(before, after, 0.5, over) == pytest.approx([-0.5, -2.0])


def test_along_any_way_it_sums_up_to_what_the_start_decides():
    potential = np.random.default_rng(0).normal(size=21)
    over = np.arange(20) == 19
    added = shaped(potential[:-1], potential[1:], DISCOUNT, over)
    assert DISCOUNT ** np.arange(20) @ added == pytest.approx(-potential[0])
