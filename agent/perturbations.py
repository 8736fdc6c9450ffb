"""Now and then the world is brought to nowhere in particular, so that tasks are practised from everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from sim.robot import Observation
from skills.skill import Skill


class Perturbations:
    """Draws whether a skill that perturbs comes next, and which one. Repeatable by its generator."""

    def __init__(self, skills: Sequence[Skill], share: float, rng: np.random.Generator) -> None:
        """Of one run.

        Args:
            skills: those that perturb.
            share: of all choices, those that fall on one of them.
            rng: draws.
        """
        self._skills, self._share = skills, share
        self._rng = rng

    def choose(self, observation: Observation) -> Skill | None:
        """What perturbs next; None: a task is next."""
        if not self._skills or self._rng.random() >= self._share:
            return None
        able = [skill for skill in self._skills if skill.start_problem(observation) is None]
        return able[int(self._rng.integers(len(able)))] if able else None
