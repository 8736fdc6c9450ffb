"""The daemon's end of the guard: the permit that its control loop renews, and what the guard has decided."""

from __future__ import annotations

from pathlib import Path

from agent.attempts import Interrupt
from agent.guard import ask_guard, permit_path, stored_latches
from agent.guard_watch import ESTOP
from agent.latches import Acknowledgement
from agent.permit import Permission, PermitMemory
from agent.states import LATCHING, TORQUE_ALLOWED, Event, Limits, State

GONE = "guard_gone"
"""Cause of a hard fault: the guard gives no sign of life, so nobody would stop the robot if the loop hung."""
LATE = "control_loop_late"
"""Cause of a soft fault: the loop was silent for long enough that the robot was made to damp."""
GONE_AFTER_S = Limits().silence_s
_DAMPED = frozenset({State.HOLD, State.FALLING})
"""States in which the robot only damps, in any case."""
ANSWER_TIMEOUT_S = 0.1
"""The guard answers within a turn; the control loop waits, and must not itself be taken for silent."""


class GuardLink:
    """One home's guard."""

    def __init__(self, home: Path) -> None:
        """Share the permit of a guard that runs."""
        self._home = home
        self._permit = PermitMemory(permit_path(home))

    def renew(self) -> None:
        """Show that the control loop turns; once in a control period."""
        self._permit.renew()

    def look(self, state: State) -> None:
        """Hear what the guard has decided.

        Raises:
            Interrupt: the guard has stopped the robot, has made it damp while it moved, or is gone, and ``state`` does
                not yet say so.
        """
        permission, latched = self._permit.permission, self._permit.latched
        if permission is Permission.CUT and state is not State.ESTOP:
            raise Interrupt(Event.ESTOP, ESTOP)  # nothing else cuts
        if latched and state not in LATCHING:
            raise Interrupt(Event.HARD_FAULT, self._cause())
        if self.gone and state in TORQUE_ALLOWED:
            raise Interrupt(Event.HARD_FAULT, GONE)
        if permission is Permission.DAMPING and state in TORQUE_ALLOWED and state not in _DAMPED:
            raise Interrupt(Event.SOFT_FAULT, LATE)

    @property
    def gone(self) -> bool:
        """Whether the guard has given no sign of life for so long that it will give none any more."""
        return self._permit.silence_s > GONE_AFTER_S

    def acknowledge(self, by: Acknowledgement) -> bool:
        """Tell the guard what a person has said. Returns whether nothing is latched there any more."""
        request = {
            "do": "acknowledge",
            "name": by.name,
            "action": by.action,
            "released": by.physical_release,
            "given_s": by.given_s,
        }
        try:
            return not ask_guard(self._home, request, ANSWER_TIMEOUT_S)["latches"]
        except (ConnectionError, ValueError):
            return False

    def leave(self) -> None:
        """The control loop ends as it should."""
        self._permit.leave()

    def _cause(self) -> str:
        """What the guard latched last; it stores that a moment after it is in force."""
        latches = tuple(stored_latches(self._home))
        return latches[-1].cause if latches else "guard"
