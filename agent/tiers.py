"""How far a skill can be trusted on a robot: four tiers, each earned by bounds on what its attempts have shown."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from persistence.proportions import proportion_interval
from persistence.reliability import mtbf_interval

CONFIDENCE = 0.95
"""Of each bound, one-sided."""
BROUGHT_BACK = 0.9
"""Share of attempts after which the robot comes to where it may start by itself: at least so much."""
GOT_UP = 0.9
"""Share of falls that it gets up from by itself: at least so much."""
WITHIN_LIMITS = 0.95
"""Share of attempts that no limit of the robot and no hard fence has ended: at least so much."""
CALLS_PER_H = 1.0
"""Calls for a person per productive hour: at most so many."""


class Tier(StrEnum):
    """From the least to the most that a skill may be trusted with."""

    SIM_ONLY = "sim-only"
    """Nothing is known of what it leaves behind."""
    RESETTABLE = "resettable"
    """After it the robot comes back to where it may start."""
    FALL_SAFE = "fall-safe"
    """It also gets up when it has fallen, and keeps within its limits."""
    UNATTENDED = "unattended"
    """It also hardly ever calls for a person."""

    @property
    def rank(self) -> int:
        """0 for the least."""
        return list(Tier).index(self)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What attempts of one skill have shown. What is done by resets and recoveries counts for the task before."""

    attempts: int
    calls: int
    """For a person, whatever the cause."""
    beyond_limits: int
    """Attempts that a limit of the robot or the hard fence has ended."""
    hours: float
    """Productive robot time."""
    falls: int
    got_up: int
    """Falls from which the robot got up by itself."""
    can_fall: bool = True

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> Evidence:
        """Read what `facts` gave, out of whatever else stands beside it."""
        return cls(**{field.name: facts[field.name] for field in fields(cls)})

    def facts(self) -> dict[str, Any]:
        """All figures, with the bounds that tiers go by."""
        return asdict(self) | {
            "brought_back_lower": self.brought_back_lower,
            "got_up_lower": self.got_up_lower if self.can_fall else None,
            "within_limits_lower": self.within_limits_lower,
            "calls_per_h_upper": self.calls_per_h_upper if math.isfinite(self.calls_per_h_upper) else None,
        }

    @property
    def brought_back_lower(self) -> float:
        """Bound of the share of attempts after which no person was called."""
        return share_lower(self.attempts - min(self.calls, self.attempts), self.attempts)

    @property
    def got_up_lower(self) -> float:
        """Bound of the share of falls that it got up from."""
        return share_lower(self.got_up, self.falls)

    @property
    def within_limits_lower(self) -> float:
        """Bound of the share of attempts within all limits."""
        return share_lower(self.attempts - self.beyond_limits, self.attempts)

    @property
    def calls_per_h_upper(self) -> float:
        """Bound of the rate of calls; infinite before any time has passed."""
        if self.hours <= 0.0:
            return math.inf
        return 1.0 / mtbf_interval(self.hours, self.calls, CONFIDENCE, sides=1).lower


@dataclass(frozen=True, kw_only=True)
class Standing:
    """The tier that evidence earns."""

    tier: Tier
    missing: tuple[str, ...]
    """What the next tier needs; empty at the top."""


def standing(evidence: Evidence | None) -> Standing:
    """The highest tier whose conditions hold, and those of all below it."""
    if evidence is None:
        return Standing(tier=Tier.SIM_ONLY, missing=("nothing has been evaluated",))
    reached = Tier.SIM_ONLY
    for tier in list(Tier)[1:]:
        missing = _missing(evidence, tier)
        if missing:
            return Standing(tier=reached, missing=missing)
        reached = tier
    return Standing(tier=reached, missing=())


def _missing(e: Evidence, tier: Tier) -> tuple[str, ...]:
    if tier is Tier.RESETTABLE:
        what = f"brought back without a person after {_of(e.attempts - min(e.calls, e.attempts), e.attempts)} attempts"
        return _low(what, e.brought_back_lower, BROUGHT_BACK)
    if tier is Tier.FALL_SAFE:
        up = _low(f"got up from {_of(e.got_up, e.falls)} falls", e.got_up_lower, GOT_UP) if e.can_fall else ()
        kept = f"within limits in {_of(e.attempts - e.beyond_limits, e.attempts)} attempts"
        return (*up, *_low(kept, e.within_limits_lower, WITHIN_LIMITS))
    if e.calls_per_h_upper <= CALLS_PER_H:
        return ()
    most = f"at most {e.calls_per_h_upper:.2g}" if e.hours > 0.0 else "unknown"
    calls = f"{e.calls} call{'' if e.calls == 1 else 's'}"
    return (f"{calls} in {e.hours:.2f} h: {most} per hour, needs {CALLS_PER_H:g}",)


def _of(some: int, of: int) -> str:
    return f"{some} of {of}"


def _low(what: str, bound: float, needed: float) -> tuple[str, ...]:
    return () if bound >= needed else (f"{what}: at least {bound:.3f}, needs {needed:g}",)


def share_lower(successes: int, n: int) -> float:
    """One-sided lower bound of a share at `CONFIDENCE`; 0 of nothing."""
    return proportion_interval(successes, n, 2.0 * CONFIDENCE - 1.0)[0]
