"""Going to places with a reward that is rare, without and with a potential; `benchmarks.shaping` compares them."""

from __future__ import annotations

from sim.robot import FloatArray, Frames, Transition
from skills.go_to import PLACES_M, GoTo


class Sparse(GoTo):
    """Earns nothing on the way."""

    def reward_terms(self, transition: Transition) -> dict[str, FloatArray]:
        """hurry, roughness, there, fall."""
        terms = super().reward_terms(transition)
        return {name: terms[name] for name in ("hurry", "roughness", "there", "fall")}


class Shaped(Sparse):
    """The same, and the learner knows that near is more promising than far."""

    per_m = 40.0

    def potential(self, frames: Frames) -> FloatArray:
        """What is left of the way, so that it is 0 there."""
        return -self.per_m * self._seen(frames)[0]


SKILLS = [
    kind(f"{name}_{number}", place_m)
    for name, kind in (("sparse", Sparse), ("shaped", Shaped))
    for number, place_m in enumerate(PLACES_M[:4], 1)
]
