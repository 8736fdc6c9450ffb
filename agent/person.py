"""The simulated person who answers an intervention: waits, picks the robot up, puts it down in the middle, says so."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from agent.drift_ladder import DRIFTED
from persistence.records import STUCK
from sim.state import Pose

ASSIST_CAUSES = frozenset(
    {
        "stand_up_failed",
        "hard_fence",
        "reset_failed",
        "arming_failed",
        *STUCK,
        "too_many_falls",
        "robot_unfit",
    }
)
"""Causes that a person mends by placing the robot: no part replaced, no further deviation (SEMI E10: an assist)."""


@runtime_checkable
class Placeable(Protocol):
    """A simulated robot, as a person handles it."""

    def place(self, pose: Pose) -> None:
        """Put the robot down."""


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a person did about an intervention."""

    name: str
    note: str
    physical_release: bool
    """Whether the emergency stop was released at the robot."""


class SimulatedPerson:
    """Comes ``delay_s`` of robot time after the call. Only a simulator has one; nothing else may place the robot."""

    def __init__(
        self,
        robot: Placeable,
        delay_s: float,
        *,
        every_attempt: bool = False,
        repair: Callable[[float], None] = lambda robot_s: None,
    ) -> None:
        """Look after one robot.

        Args:
            robot: it.
            delay_s: how long the person takes to come.
            every_attempt: whether everything is put back after each attempt, a robot that fell too.
            repair: makes the robot what it was, at a robot time.
        """
        self.every_attempt = every_attempt
        self._robot, self._repair = robot, repair
        self._delay_s = delay_s
        self._called_s: float | None = None

    def call(self, robot_s: float) -> None:
        """An intervention was opened at ``robot_s``."""
        self._called_s = robot_s

    def answer(self, cause: str, robot_s: float) -> Answer | None:
        """Act if the person has arrived: the robot then stands in the middle of its workspace."""
        if self._called_s is None or robot_s - self._called_s < self._delay_s:
            return None
        self._called_s = None
        if cause == DRIFTED:
            self._repair(robot_s)
        self.put_back()
        return Answer(
            name="simulated person",
            note=f"{cause}: {'repaired and ' if cause == DRIFTED else ''}put back on its feet in the middle",
            physical_release=cause == "estop",
        )

    def put_back(self) -> None:
        """The robot stands in the middle of its workspace, and so does what it handles."""
        self._robot.place(Pose.standing())
