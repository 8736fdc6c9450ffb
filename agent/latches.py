"""Latches: why the robot may not move, and what it takes to clear each cause.

The scale has four steps. A cause of level 0 or 1 clears by itself under stated conditions; level 2 and 3 are cleared by
a person alone (I5): no learner, skill, page, configuration or timer can. Latches are kept as JSON across restarts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from enum import IntEnum
from typing import Any

from agent.states import State, severity


class Level(IntEnum):
    """How a cause clears."""

    L0 = 0
    """When its condition is gone (the caller applies the hysteresis). A warning; motion goes on."""
    L1 = 1
    """When its condition is gone and the scheduler has chosen a new attempt."""
    L2 = 2
    """When its condition is gone and a person has acknowledged, with name and reason, torque being off."""
    L3 = 3
    """As L2, after a physical release, and a passed self-test on top."""


@dataclass(frozen=True, kw_only=True)
class Latch:
    """One active cause."""

    cause: str
    level: Level
    state: State
    """The state that this cause holds the agent in; NEED_HUMAN, SAFE_STOP or ESTOP from level 2 on."""
    since_s: float
    """Robot time of the first report."""
    active: bool = True
    """Whether the condition still holds."""
    acknowledged: bool = False
    """Level 3 only: a person has acknowledged; the self-test is still to pass."""


@dataclass(frozen=True, kw_only=True)
class Acknowledgement:
    """A person's word that a cause is dealt with."""

    name: str
    """Who."""
    action: str
    """What was done, and why the robot may go on."""
    torque_off: bool
    """Whether torque was off at that time, as the robot reports it."""
    physical_release: bool = False
    """Whether the emergency stop was released at the robot. Level 3 needs it."""
    part_replaced: bool = False
    """Whether a part was replaced: the intervention is then a failure, whatever its length."""
    given_s: float = math.inf
    """`time.monotonic` when it was given, for the guard: it says nothing of what was latched later."""


@dataclass(frozen=True)
class Latches:
    """All active causes. Immutable: each method returns the latches that hold afterwards."""

    items: tuple[Latch, ...] = ()

    def __iter__(self) -> Iterator[Latch]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)

    @property
    def level(self) -> Level | None:
        """The highest level among the causes; None without any."""
        return max((latch.level for latch in self.items), default=None)

    @property
    def held_state(self) -> State | None:
        """The state that a person must end, most severe first; None when no cause of level 2 or 3 is left."""
        held = [latch.state for latch in self.items if latch.level >= Level.L2 and not latch.acknowledged]
        return max(held, key=severity, default=None)

    @property
    def forbids_start(self) -> bool:
        """Whether a new attempt may not start. A level 1 cause whose condition is gone does not forbid it."""
        return any(latch.level >= Level.L2 or (latch.level == Level.L1 and latch.active) for latch in self.items)

    def add(self, cause: str, level: Level, state: State, robot_s: float, *, active: bool = True) -> Latches:
        """Report a cause. Repeating it keeps its first time; its level never falls, its state never weakens.

        Args:
            cause: constant name of the cause; one latch per name.
            level: how it clears.
            state: state it holds the agent in.
            robot_s: robot time of the report.
            active: False for what is over as soon as it happened, such as the last failed stand-up.

        Raises:
            ValueError: ``cause`` is empty, or a level from 2 on names a state that no person ends.
        """
        if not cause:
            raise ValueError("a latch needs a cause")
        if level >= Level.L2 and state not in (State.NEED_HUMAN, State.SAFE_STOP, State.ESTOP):
            raise ValueError(f"a latch of level {level.name} holds NEED_HUMAN, SAFE_STOP or ESTOP, not {state}")
        new = Latch(cause=cause, level=level, state=state, since_s=robot_s, active=active)
        for old in self.items:
            if old.cause == cause:
                strongest = max(old.state, state, key=severity)
                new = replace(new, level=max(old.level, level), state=strongest, since_s=old.since_s)
        return Latches((*(latch for latch in self.items if latch.cause != cause), new))

    def condition_gone(self, cause: str) -> Latches:
        """The condition behind ``cause`` no longer holds: level 0 clears, the others wait for what else they need."""
        kept = (replace(latch, active=False) if latch.cause == cause else latch for latch in self.items)
        return Latches(tuple(latch for latch in kept if latch.active or latch.level > Level.L0))

    def new_attempt(self) -> Latches:
        """The scheduler has chosen a new attempt: clears level 1 causes whose condition is gone."""
        return Latches(tuple(latch for latch in self.items if latch.active or latch.level != Level.L1))

    def acknowledge(self, by: Acknowledgement) -> Latches:
        """A person acknowledges: clears level 2, and marks level 3, where the condition is gone.

        Causes that still hold stay latched; level 3 stays without a physical release.

        Raises:
            ValueError: no name or no action is given, or torque was not off.
        """
        if not by.name.strip() or not by.action.strip():
            raise ValueError("an acknowledgement needs the name of a person and what was done")
        if not by.torque_off:
            raise ValueError("torque must be off when a latch is acknowledged; stop the robot first")
        kept = []
        for latch in self.items:
            if latch.level == Level.L3 and by.physical_release and not latch.active:
                kept.append(replace(latch, acknowledged=True))
            elif latch.level != Level.L2 or latch.active:
                kept.append(latch)
        return Latches(tuple(kept))

    def self_test_passed(self) -> Latches:
        """The self-test passed: clears level 3 causes that a person has acknowledged."""
        return Latches(tuple(latch for latch in self.items if not latch.acknowledged))

    def to_json(self) -> list[dict[str, Any]]:
        """As JSON values, for the store: one object per cause with the fields of `Latch`."""
        return [asdict(latch) | {"level": int(latch.level), "state": latch.state.value} for latch in self.items]

    @classmethod
    def from_json(cls, data: list[Mapping[str, Any]]) -> Latches:
        """Read what `to_json` wrote.

        Raises:
            ValueError: a field is missing or names no known level or state. The caller treats that as a latch.
        """
        if not isinstance(data, list):
            raise ValueError(f"stored latches are not readable: {data!r} is no list")
        try:
            return cls(
                tuple(
                    Latch(
                        cause=str(item["cause"]),
                        level=Level(item["level"]),
                        state=State(item["state"]),
                        since_s=float(item["since_s"]),
                        active=bool(item["active"]),
                        acknowledged=bool(item["acknowledged"]),
                    )
                    for item in data
                )
            )
        except (KeyError, TypeError) as error:
            raise ValueError(f"stored latches are not readable: {error!r} in {data!r}") from error
