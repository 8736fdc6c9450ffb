"""Mirror images of a robot's experience: a step seen in a mirror is as true as the step itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sim.robot import FloatArray

Index = NDArray[np.intp]


@dataclass(frozen=True, kw_only=True, eq=False)
class Mirror:
    """One mirror image as signed permutations.

    The mirrored transition of a step teaches skill k with the reward of skill ``skill_of[k]``.

    Raises:
        ValueError: an index is no permutation, a sign is not 1 or -1, or mirroring twice does not give the original.
    """

    row_index: Index
    """Shape: (D,) over one feature row."""
    row_sign: FloatArray
    """Shape: (D,)."""
    action_index: Index
    """Shape: (A,)."""
    action_sign: FloatArray
    """Shape: (A,)."""
    skill_of: Index
    """Shape: (K,)."""

    def __post_init__(self) -> None:
        signs = {"row": self.row_sign, "action": self.action_sign, "skill": np.ones(len(self.skill_of))}
        indices = {"row": self.row_index, "action": self.action_index, "skill": self.skill_of}
        for name, index in indices.items():
            sign = signs[name]
            if not np.array_equal(np.sort(index), np.arange(len(index))):
                raise ValueError(f"{name} index {index.tolist()} of a mirror is no permutation")
            if sign.shape != index.shape or not np.all(np.abs(sign) == 1.0):
                raise ValueError(f"{name} signs of a mirror must be {len(index)} times 1 or -1, not {sign.tolist()}")
            if not (np.array_equal(index[index], np.arange(len(index))) and np.all(sign * sign[index] == 1.0)):
                raise ValueError(f"mirroring a {name} twice does not give it back")

    def rows(self, stacked: NDArray[Any]) -> NDArray[Any]:
        """Mirror observations, stacks of feature rows. Shape: (..., H * D) in and out."""
        shape = stacked.shape
        split = stacked.reshape(*shape[:-1], -1, len(self.row_index))
        mirrored: NDArray[Any] = (split[..., self.row_index] * self.row_sign.astype(split.dtype)).reshape(shape)
        return mirrored

    def actions(self, action: NDArray[Any]) -> NDArray[Any]:
        """Mirror actions. Shape: (..., A) in and out."""
        mirrored: NDArray[Any] = action[..., self.action_index] * self.action_sign.astype(action.dtype)
        return mirrored
