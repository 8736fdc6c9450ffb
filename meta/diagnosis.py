"""What has drifted, by what a check-up measures, from what drifts do to check-ups in simulation.

Each cause that was simulated moves the features of a check-up (`meta.checkup`) in a direction of its own, further the
more it has drifted. Which cause it is, and how much, is a generalised least-squares fit of one of these directions to
the difference from the robot's own usual check-ups: linear discriminant analysis with a class for each cause, whose
noise is that of check-ups of robots that stand a little differently. What the simulator has wrong about the robot as
it usually is cancels out.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from sim.robot import Array

SHRINKAGE = 0.1
"""Weight of the diagonal in the covariance of noise: there are fewer check-ups than features."""
LEAST_STD_SHARE = 0.02
"""Of the median standard deviation: a feature that hardly ever varies is not trusted to be that exact."""
CLEAR = 3.0
"""A cause is named if it explains more than this many times the most that one explained of a usual check-up."""
FARTHEST = 4.0
"""A cause that has to be more than this many times what was simulated explains nothing: it is something else."""
COMPARED = 3
"""Usual check-ups that another one is compared with."""
_SHARES = {"motor_strength", "foot_friction", "base_mass"}
"""Kinds whose size is 1 where nothing has drifted."""
_ARRAYS = ("effects", "precision", "std")
LIBRARY = Path(__file__).parent / "library"


def diagnosis_path(robot: str) -> Path:
    """Where what is known of a robot is stored."""
    return LIBRARY / f"{robot}-checkup.safetensors"


@dataclass(frozen=True, kw_only=True)
class Cause:
    """Something that has drifted, in the terms of the simulator that it was learned in."""

    kind: str
    size: float
    joints: tuple[str, ...] = ()
    axis: str = ""
    at_m: tuple[float, float] = (0.0, 0.0)


@dataclass(frozen=True, kw_only=True)
class Diagnosed:
    """What a check-up says."""

    cause: Cause
    """What explains it best, and its size."""
    clarity: float
    """How much more it explains than the most that one explains of a usual check-up."""


@dataclass(frozen=True, kw_only=True)
class Diagnosis:
    """What drifts do to the check-ups of a kind of robot. Its arrays are never written to."""

    causes: tuple[Cause, ...]
    """Simulated ones, of either sign where a kind has two."""
    effects: Array
    """What each does to the features, in usual standard deviations. Shape: (K, D)."""
    precision: Array
    """Inverse covariance of noise in those. Shape: (D, D)."""
    std: Array
    """Usual standard deviation of each feature. Shape: (D,)."""
    usual_gain: float
    """Most that a cause explains of a usual check-up, in units of noise."""

    @classmethod
    def of(
        cls, usual: Sequence[Array], drifted: Sequence[tuple[Cause, Sequence[Array]]], fresh: Sequence[Array]
    ) -> Diagnosis:
        """Learn from simulated check-ups.

        Args:
            usual: features without drift, at least two.
            drifted: causes, with features of some check-ups each.
            fresh: further features without drift, more than `COMPARED`: they say how much a cause may seem to explain
                of a robot that has not drifted. Those that the noise was learned from would say too little.
        """
        calm = np.stack(usual)
        std = calm.std(axis=0)
        std = np.maximum(std, LEAST_STD_SHARE * np.median(std))
        middle = calm.mean(axis=0)
        effects = np.stack([(np.mean(seen, axis=0) - middle) / std for _, seen in drifted])
        noise = [(calm - middle) / std]
        noise += [(np.stack(seen) - np.mean(seen, axis=0)) / std for _, seen in drifted if len(seen) > 1]
        covariance = np.cov(np.concatenate(noise).T)
        own = np.diag(np.diag(covariance) + SHRINKAGE)
        precision = np.asarray(np.linalg.inv((1.0 - SHRINKAGE) * covariance + SHRINKAGE * own), np.float64)
        made = cls(
            causes=tuple(cause for cause, _ in drifted), effects=effects, precision=precision, std=std, usual_gain=1.0
        )
        return made.calibrated(fresh)

    def calibrated(self, fresh: Sequence[Array]) -> Diagnosis:
        """The same with another `usual_gain`: each of these is compared with some of the others."""
        gains = [
            self._fit(np.mean([fresh[number - back] for back in range(1, COMPARED + 1)], axis=0), features)[0].max()
            for number, features in enumerate(fresh)
        ]
        return replace(self, usual_gain=float(max(gains)))

    def diagnose(self, usual: Sequence[Array], seen: Array) -> Diagnosed | None:
        """The cause of the difference between a check-up and the robot's usual ones.

        Args:
            usual: features of check-ups of this robot before it drifted, best `COMPARED` of them or more; fewer have to
                be differed from more clearly. Shapes: (D,).
            seen: features of the check-up. Shape: (D,).

        Returns:
            None where no cause explains much more than of a usual check-up, or the best would have to be of a size
            that is beyond belief.
        """
        gain, multiple = self._fit(np.mean(usual, axis=0), seen)
        best = int(gain.argmax())
        if multiple[best] > FARTHEST:
            return None
        clarity = float(gain[best]) / (_spread(usual) * self.usual_gain)
        if not clarity > CLEAR:
            return None
        cause = self.causes[best]
        none = 1.0 if cause.kind in _SHARES else 0.0
        size = none + float(multiple[best]) * (cause.size - none)
        return Diagnosed(cause=replace(cause, size=max(size, 0.0) if none else size), clarity=clarity)

    def misfit(self, usual: Sequence[Array], seen: Array) -> float:
        """How far the first few features of a check-up are from the robot's usual ones, whatever the cause.

        Args:
            usual: all features of check-ups of this robot before it drifted. Shapes: (D,).
            seen: the first few of another one. Shape: (at most D,).

        Returns:
            The Mahalanobis distance by the root of their number: about 1 for a usual check-up.
        """
        first = len(seen)
        z = (seen - np.mean(usual, axis=0)[:first]) / self.std[:first]
        covariance = np.linalg.inv(self.precision)[:first, :first]
        return float(np.sqrt(z @ np.linalg.solve(covariance, z) / first / _spread(usual)))

    def _fit(self, usual: Array, seen: Array) -> tuple[Array, Array]:
        """How much of the difference each cause explains, and how many times its simulated size. Shapes: (K,)."""
        z = (seen - usual) / self.std
        towards = self.effects @ self.precision
        along, own = towards @ z, np.sum(towards * self.effects, axis=1)
        multiple = np.maximum(along / own, 0.0)
        return multiple * along, multiple

    def write(self, path: Path) -> None:
        """Store as safetensors."""
        arrays = {name: getattr(self, name).astype(np.float32) for name in _ARRAYS}
        about = {"causes": json.dumps([asdict(cause) for cause in self.causes]), "usual_gain": repr(self.usual_gain)}
        save_file(arrays, path, about)

    @classmethod
    def read(cls, path: Path) -> Diagnosis:
        """Read what `write` wrote.

        Raises:
            ValueError: the file is missing, damaged, or lacks something.
        """
        try:
            with safe_open(path, "np") as file:
                about = file.metadata()
                arrays = {name: file.get_tensor(name).astype(np.float64) for name in _ARRAYS}
            return cls(
                causes=tuple(_cause(each) for each in json.loads(about["causes"])),
                usual_gain=float(about["usual_gain"]),
                **arrays,
            )
        except (OSError, SafetensorError, KeyError, TypeError) as error:
            raise ValueError(
                f"diagnosis {path} cannot be read ({error}); make it anew: python -m benchmarks.checkup"
            ) from error


def _spread(usual: Sequence[Array]) -> float:
    """How much larger squared differences from so few usual check-ups are than from `COMPARED`."""
    return (1.0 + 1.0 / len(usual)) / (1.0 + 1.0 / COMPARED)


def _cause(data: Mapping[str, Any]) -> Cause:
    ahead, left = data.get("at_m", (0.0, 0.0))
    return Cause(**{**data, "joints": tuple(data.get("joints", ())), "at_m": (float(ahead), float(left))})
