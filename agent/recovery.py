"""Falling and getting up again: damp until the robot lies still, then a bounded number of tries to stand (I9)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from agent.attempts import Interrupt
from agent.ledger import Ledger
from agent.loop import ControlLoop, Tick
from agent.postures import Postures
from agent.practice import Practice
from agent.states import Event, Limits
from persistence.records import FALL, Outcome, SelfRecovery
from sim.robot import Command, Observation
from skills.skill import ScriptedSkill

BAD_STANCE = "bad_stance"
"""Kind of self-recovery: the robot stands, but not as a task can start, such as with a leg folded through."""
RESTED = "rested"
"""Not a self-recovery, and not in the books: the robot was without torque, has sunk to the floor, and gets up."""
RELAX_S = 0.5
"""Between two tries to stand up."""
STILL_RATE_RADPS = 0.5


class Recovery:
    """Falls of one run."""

    def __init__(
        self,
        *,
        loop: ControlLoop,
        ledger: Ledger,
        practice: Practice,
        postures: Postures,
        tick: Callable[[Callable[[Observation], Command]], Tick],
        ways: Sequence[ScriptedSkill],
        limits: Limits,
        undo: Callable[[float], None],
    ) -> None:
        """Watch over one robot.

        Args:
            loop: the control loop.
            ledger: the books.
            practice: makes the attempts to stand up.
            postures: what the robot does with itself meanwhile.
            tick: runs a control period; may raise `Interrupt`.
            ways: to stand up, in the order in which they are tried; the last one is tried again.
            limits: of tries, falls and times.
            undo: has what is known to have drifted made up for no more; called with the time before a second try.
        """
        self._loop = loop
        self._ledger = ledger
        self._practice = practice
        self._postures = postures
        self._tick = tick
        self._ways = ways
        self._limits = limits
        self._undo = undo
        self._kind = FALL
        self._limp = self._got_up = False
        """Whether the robot was without torque since the last attempt, and whether it was told to get up."""
        self._fell_s = 0.0
        self._falls_s: deque[float] = deque()
        """Those of the last hour that count."""

    def from_bad_stance(self) -> Interrupt:
        """What to raise where the robot has not fallen, but its legs are wrong."""
        self._kind = BAD_STANCE
        return Interrupt(Event.FALL_PREDICTED, BAD_STANCE)

    def attempting(self) -> None:
        """An attempt begins: the robot is on its feet."""
        self._limp = self._got_up = False

    def went_limp(self) -> None:
        """The robot is without torque."""
        self._limp = True

    def get_up(self) -> None:
        """Have the robot stand up where its legs are not under it, at most once between two attempts: moved to the
        stance from so far away, one may fold through.

        Raises:
            Interrupt: it has to; that is no bad stance where it was without torque, and has sunk to the floor.
        """
        off = self._loop.reading.observation.joint_position - self._loop.robot.spec.stand_position_rad
        if not self._ways or self._got_up or float(np.abs(off).max()) < self._limits.legs_under_rad:
            return
        self._got_up = True
        self._kind = RESTED if self._limp else BAD_STANCE
        raise Interrupt(Event.FALL_PREDICTED, self._kind)

    def forget_falls(self) -> None:
        """A person has been there: the falls before do not count any more."""
        self._falls_s.clear()

    def helped(self) -> None:
        """Somebody who stands by puts the robot on its feet: nothing is entered into the books."""
        self._kind = FALL

    def lie_still(self) -> None:
        """Damp until the robot lies still; a stiff leg would break."""
        self._fell_s = self._loop.reading.robot_s
        still_since_s: float | None = None
        while True:
            now = self._tick(self._postures.damp)
            still = float(np.abs(now.observation.angular_velocity).max()) < STILL_RATE_RADPS
            still_since_s = (still_since_s if still_since_s is not None else now.robot_s) if still else None
            if still_since_s is not None and now.robot_s - still_since_s >= self._limits.base_still_s:
                return
            if now.robot_s - self._fell_s > self._limits.falling_s:
                return

    def stand_up(self) -> str:
        """Stand up, with a bounded number of tries and a bounded number of falls per hour (I9).

        Returns:
            Why the robot does not stand; empty if it does.
        """
        now_s = self._loop.reading.robot_s
        if self._kind != RESTED:
            self._falls_s.append(self._fell_s)
        while self._falls_s and now_s - self._falls_s[0] > 3600.0:
            self._falls_s.popleft()
        if len(self._falls_s) > self._limits.falls_per_hour:
            self._enter(0, stood=False)
            return "too_many_falls"
        # From a bad stance the robot is up already; what is wrong with its legs is for the script to find out.
        ways = self._ways[-1:] if self._kind == BAD_STANCE else self._ways
        most = self._limits.recover_tries if ways else 0
        for tries in range(1, most + 1):
            if tries > 1:
                self._undo(self._loop.reading.robot_s)
                self._relax()
            result = self._practice.attempt(ways[min(tries, len(ways)) - 1])
            if result.interrupt is not None:
                self._enter(tries, stood=False)
                raise result.interrupt
            if result.outcome is Outcome.SUCCESS and self._stays_upright():
                self._enter(tries, stood=True)
                return ""
        self._enter(most, stood=False)
        return "stand_up_failed"

    def _stays_upright(self) -> bool:
        now = self._postures.stand(self._limits.upright_s)
        return now.observation.tilt_rad < self._limits.arming_tilt_rad

    def _relax(self) -> None:
        """Damp for a moment, so that legs that are caught come free before the next try."""
        end_s = self._loop.reading.robot_s + RELAX_S
        while self._tick(self._postures.damp).robot_s < end_s:
            pass

    def _enter(self, tries: int, *, stood: bool) -> None:
        """Into the books."""
        kind, self._kind = self._kind, FALL
        if kind == RESTED:
            return
        self._ledger.fell(
            SelfRecovery(
                kind=kind,
                started_s=self._fell_s,
                ended_s=self._loop.reading.robot_s,
                recovered=stood,
                tries=max(1, tries),
            )
        )
