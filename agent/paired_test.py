"""Whether one of two ways succeeds more often, by pairs of attempts, looked at ten times on the way.

McNemar's test (1947) on the pairs of which one succeeds and the other does not, with the group-sequential bounds of
O'Brien and Fleming (1979): it may stop early, and is wrong in no more than one of twenty comparisons of equals. Pairs
share start, dynamics and noise: what makes both fail says nothing of either.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

LOOKS = 10
BOUND = 2.087
"""At the last look, for one wrong verdict in twenty (Jennison and Turnbull 2000, table 2.3); at look k it is larger by
the root of `LOOKS` / k."""
FEWEST = 6
"""Pairs that differ, before which nothing is said: of fewer even a one-sided row may be chance, and the normal
approximation is none."""


@dataclass(frozen=True, kw_only=True)
class Paired:
    """What is known after some pairs."""

    pairs: int
    first_only: int
    """Pairs in which the first alone succeeded."""
    second_only: int
    z: float
    """Positive where the first is better."""
    bound: float
    """What z has to reach, either way, at this look; infinite between looks."""

    @property
    def decided(self) -> bool:
        """Whether they differ."""
        return self.first_only + self.second_only >= FEWEST and abs(self.z) >= self.bound

    @property
    def difference(self) -> float:
        """Share of successes of the first less that of the second."""
        return (self.first_only - self.second_only) / self.pairs

    @property
    def interval(self) -> tuple[float, float]:
        """Of the difference; of all looks together it misses in one comparison of twenty. Wide before the first."""
        bound = self.bound if math.isfinite(self.bound) else BOUND * math.sqrt(LOOKS)
        differing = self.first_only + self.second_only
        # Half a pair each way keeps it from being of no width where none has differed yet.
        spread = (differing + 1.0) / self.pairs - self.difference**2
        half = bound * math.sqrt(max(spread, 0.0) / self.pairs)
        return max(-1.0, self.difference - half), min(1.0, self.difference + half)


def paired(first: Sequence[bool], second: Sequence[bool], most: int) -> Paired:
    """Compare pairs so far of ``most`` pairs that there will be at most.

    Args:
        first: success of the first in each pair.
        second: success of the second.
        most: at least `LOOKS`; looks come after each tenth of them.

    Raises:
        ValueError: there are not as many of both, none, too many, or ``most`` is too small.
    """
    n = len(first)
    if not (0 < n == len(second) <= most and most >= LOOKS):
        raise ValueError(f"{n} and {len(second)} attempts are no pairs of at most {most}, at least {LOOKS}")
    first_only = sum(a and not b for a, b in zip(first, second, strict=True))
    second_only = sum(b and not a for a, b in zip(first, second, strict=True))
    differing = first_only + second_only
    look = LOOKS if n == most else n // (most // LOOKS)
    at_look = n == most or n % (most // LOOKS) == 0
    return Paired(
        pairs=n,
        first_only=first_only,
        second_only=second_only,
        z=(first_only - second_only) / math.sqrt(differing) if differing else 0.0,
        bound=BOUND * math.sqrt(LOOKS / look) if at_look and look else math.inf,
    )
