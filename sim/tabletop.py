"""A mug to be moved on a table: ``tabletop_manipulation`` of the EARL benchmark, written anew from its protocol.

Gymnasium environment ``perdure/Tabletop-v0``, with the figures of Sharma et al. 2022 (arXiv 2112.09605). A gripper
moves by its action and carries the mug while it holds it. Nothing ends an episode and nothing is put back until
`Tabletop.reset` is called. Reward is 1 where gripper and mug are both where the goal has them, else 0.

The hand closes before it moves, on a mug that is closer than `GRASP_DISTANCE`, and carries it at the distance that it
had then. Gripper and mug are clipped to the table each for itself: a mug at the edge stays there while the hand that
holds it goes on. Positions are set, not simulated, so that there is neither inertia nor contact.
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sim.robot import Array

STEP = 0.2
"""Farthest move along an axis in one step."""
EDGE = 2.8
"""Of the table, in x and y, to either side."""
GRASP_DISTANCE = 0.4
SUCCESS_DISTANCE = 0.2
"""Of gripper and mug together, in the space of both places."""
GOALS = ("left-front", "left-back", "back", "front")
"""Where the mug is to go; the gripper is to come back to the middle."""
HOME = len(GOALS)
"""Index of the target that is the start: the mug on the right."""
TARGETS = np.array(
    [
        [0.0, 0.0, -2.5, -1.0],
        [0.0, 0.0, -2.5, 1.0],
        [0.0, 0.0, 0.0, 2.0],
        [0.0, 0.0, 0.0, -2.0],
        [0.0, 0.0, 2.5, 0.0],
    ]
)
"""Gripper x, y and mug x, y of each goal, then of the start. Shape: (5, 4)."""
START = TARGETS[HOME]
OPEN, CLOSED = -1.0, 0.0
"""Both entries of the observation that say whether the mug is held."""
CLOSE_ENOUGH = 0.05
"""Distance from its place at which the demonstrator lets go of the mug."""
GRASP_CLOSER = 0.2
"""Where the demonstrator closes the hand: a gripper farther from the mug would meet the edge before the mug is home."""

Float32 = NDArray[np.float32]


def reached(places: NDArray[np.floating[Any]]) -> NDArray[np.bool_]:
    """Whether gripper and mug are where each target has them.

    Args:
        places: gripper x, y and mug x, y first; more may follow. Shape: (..., at least 4).

    Returns:
        Shape: (..., 5), in the order of `TARGETS`.
    """
    distance = np.linalg.norm(places[..., None, :4] - TARGETS, axis=-1)
    return np.asarray(distance <= SUCCESS_DISTANCE)


class Tabletop(gym.Env[Float32, Float32]):
    """A gripper and a mug.

    Observation: gripper x, y; mug x, y; twice 0 if the mug is held, else -1; and the same six for the goal, (12,).
    Action: the move in x and y, each in [-1, 1] of `STEP`, and the hand, which is closed by a number above 0, (3,).
    """

    metadata = {"render_modes": [], "render_fps": 20}  # noqa: RUF012 - Gymnasium's own attribute

    def __init__(self) -> None:
        """Lay the table."""
        self.observation_space = spaces.Box(-EDGE, EDGE, (12,), np.float32)
        self.action_space = spaces.Box(-1.0, 1.0, (3,), np.float32)
        self.target = 0
        """Index of what the reward is for; may be changed between any two steps."""
        self._place = START.copy()
        self._held = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Float32, dict[str, Any]]:
        """A person puts everything back.

        Args:
            seed: of the goals to come.
            options: ``target``, the index of what the reward is for, instead of a goal drawn at random; ``at``, the
                index of the target whose places gripper and mug are put at, instead of the start.
        """
        super().reset(seed=seed, options=options)
        options = options or {}
        self.target = options.get("target", int(self.np_random.integers(len(GOALS))))
        self._place = TARGETS[options.get("at", HOME)].copy()
        self._held = False
        return self._observation(), {}

    def step(self, action: Float32) -> tuple[Float32, float, bool, bool, dict[str, Any]]:
        """One step; ``info`` has ``success``."""
        x, y, mug_x, mug_y = self._place.tolist()
        across, along, hand = np.asarray(action, np.float64).clip(-1.0, 1.0).tolist()
        self._held = hand > 0 and (self._held or (x - mug_x) ** 2 + (y - mug_y) ** 2 < GRASP_DISTANCE**2)
        new_x, new_y = _on_table(x + STEP * across), _on_table(y + STEP * along)
        if self._held:
            mug_x, mug_y = _on_table(mug_x + new_x - x), _on_table(mug_y + new_y - y)
        self._place[:] = new_x, new_y, mug_x, mug_y
        success = bool(np.linalg.norm(self._place - TARGETS[self.target]) <= SUCCESS_DISTANCE)
        return self._observation(), float(success), False, False, {"success": success}

    def _observation(self) -> Float32:
        seen = np.empty(12, np.float32)
        seen[:4] = self._place
        seen[4:6] = CLOSED if self._held else OPEN
        seen[6:10] = TARGETS[self.target]
        seen[10:] = OPEN
        return seen


def _on_table(coordinate: float) -> float:
    return min(max(coordinate, -EDGE), EDGE)


def demonstrated_action(observation: NDArray[np.floating[Any]]) -> Array:
    """What a person would do for the goal in the observation: fetch the mug, put it down, come back. Shape: (3,)."""
    seen = np.asarray(observation, np.float64)
    gripper, mug, held = seen[:2], seen[2:4], seen[4] == CLOSED
    home, place = seen[6:8], seen[8:10]
    if np.linalg.norm(mug - place) <= CLOSE_ENOUGH:
        way, hand = home - gripper, -1.0
    elif held or np.linalg.norm(mug - gripper) <= GRASP_CLOSER:
        way, hand = place - mug, 1.0
    else:
        way, hand = mug - gripper, -1.0
    return np.append(np.clip(way / STEP, -1.0, 1.0), hand)


def demonstration(at: int, target: int, noise: float, rng: np.random.Generator) -> tuple[Float32, Array]:
    """The demonstrator's way from one target to another, with noise on its moves, until it is there.

    Returns:
        Observations, shape (T + 1, 12), and actions, shape (T, 3).
    """
    env = Tabletop()
    seen, _ = env.reset(options={"at": at, "target": target})
    observations, actions, success = [seen], [], False
    while not success:
        action = demonstrated_action(seen)
        action[:2] = np.clip(action[:2] + noise * rng.standard_normal(2), -1.0, 1.0)
        seen, _, _, _, info = env.step(action.astype(np.float32))
        success = info["success"]
        observations.append(seen)
        actions.append(action)
    return np.array(observations), np.array(actions)


gym.register("perdure/Tabletop-v0", entry_point="sim.tabletop:Tabletop")
