"""Driving a weak car up a hill with a reward that is rare, without and with a potential; see `benchmarks.shaping`."""

from __future__ import annotations

import numpy as np

from sim.robot import FloatArray, Frames, Transition
from skills.gym_task import GymTask

HEIGHT = 0.0025 / 3.0
"""Gymnasium's MountainCarContinuous-v0: what its hill weighs against speed squared, halved."""


class Sparse(GymTask):
    """Earns nothing on the way."""

    on_request = True

    def __init__(self, name: str) -> None:
        """Give it a name."""
        self.name, self.summary = name, "drive up the hill"

    def reward_terms(self, transition: Transition) -> dict[str, FloatArray]:
        """there, effort."""
        effort = -0.01 * np.mean(transition.action**2, axis=-1)
        return {"there": 10.0 * self.terminated(transition), "effort": effort}


class Shaped(Sparse):
    """The same, and the learner knows that a car with more energy is more promising."""

    def potential(self, frames: Frames) -> FloatArray:
        """Height and speed as one energy: -10 at rest in the valley, 0 at rest on top."""
        place, speed = frames.extra[..., 0], frames.extra[..., 1]
        return 5.0 * (np.sin(3.0 * place) + 0.5 * speed**2 / HEIGHT - 1.0)


SKILLS = [Sparse("sparse_car"), Shaped("shaped_car")]
