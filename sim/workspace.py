"""The floor a robot may use: a square with a soft fence, where it should turn back, and a hard one, where it must stop.

Plain arithmetic on positions that the external tracker measures, called each control period; needs no simulator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Workspace:
    """A square around the origin of the tracker's frame, 5 m x 5 m by default.

    Raises:
        ValueError: sizes are not finite and positive, or the soft fence leaves no room.
    """

    size_m: float = 5.0
    """Side length; the hard fence."""
    soft_margin_m: float = 0.5
    """Distance of the soft fence inside the hard one."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.size_m) and 0.0 < self.soft_margin_m < 0.5 * self.size_m):
            raise ValueError(
                f"a workspace of size_m={self.size_m} with a soft fence soft_margin_m={self.soft_margin_m} inside has "
                "no room; the margin must be positive and under half of the size"
            )

    @property
    def hard_half_m(self) -> float:
        """Distance of the hard fence from the middle, along either axis."""
        return 0.5 * self.size_m

    @property
    def soft_half_m(self) -> float:
        """Distance of the soft fence from the middle, along either axis."""
        return self.hard_half_m - self.soft_margin_m

    def margin_m(self, x_m: float, y_m: float) -> float:
        """Distance to the hard fence along the nearer axis; negative outside, NaN where the position is not known."""
        return self.hard_half_m - max(abs(x_m), abs(y_m)) if x_m == x_m and y_m == y_m else math.nan

    def inside_soft(self, x_m: float, y_m: float) -> bool:
        """Whether a position is inside the soft fence; one with NaN is not."""
        return self.margin_m(x_m, y_m) >= self.soft_margin_m

    def inside_hard(self, x_m: float, y_m: float) -> bool:
        """Whether a position is inside the hard fence; one with NaN is not."""
        return self.margin_m(x_m, y_m) >= 0.0
