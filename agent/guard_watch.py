"""What the guard decides, apart from processes and sockets: the permission that follows from silence and latches."""

from __future__ import annotations

from agent.latches import Acknowledgement, Latches, Level
from agent.permit import Permission
from agent.states import Limits, State

DAMP_AFTER_S = 0.15
"""Silence of the control loop after which the robot may only damp: with a turn of the guard and one of the robot's
process within `Limits.command_silence_s`."""
STOP_AFTER_S = Limits().silence_s
"""Silence after which it is stopped, and a person is needed."""
START_S = 120.0
"""A daemon whose control loop has not answered for this long after its start is replaced."""
SILENT_LOOP = "control_loop_silent"
ESTOP = "estop"
CRASH_LOOP = "crash_loop"
CRASHES, CRASH_WINDOW_S = Limits().crash_count, Limits().crash_window_s
"""Ends of the daemon by no will of its own, within this time, after which it is not started again."""


class GuardWatch:
    """Silence, crashes and latches of one home."""

    def __init__(self, latches: Latches) -> None:
        """Begin with what was latched before; no loop yet, so no torque."""
        self.latches = latches
        """What a person has to clear. It only changes by methods of this class."""
        self.frozen = False
        """Whether the daemon is to be replaced: its control loop has been silent for too long, or never began."""
        self._heard_s: float | None = None
        self._begun_s: float | None = None
        """When a daemon was started that has not answered yet."""
        self._crashes_s: list[float] = []

    def begun(self, now_s: float) -> None:
        """A daemon was started."""
        self._begun_s = now_s

    def heard(self, now_s: float) -> None:
        """The control loop has answered."""
        self._heard_s, self._begun_s = now_s, None

    def gone(self) -> None:
        """There is no control loop: it has ended, or is not there yet."""
        self._heard_s, self.frozen = None, False

    def update(self, now_s: float) -> Permission:
        """What the robot may do now; latches a loop that is silent for too long."""
        silence_s = 0.0 if self._heard_s is None else now_s - self._heard_s
        silent = silence_s > STOP_AFTER_S
        self.frozen = silent or (self._begun_s is not None and now_s - self._begun_s > START_S)
        if silent:
            self._latch(SILENT_LOOP, Level.L2, State.SAFE_STOP, now_s)
        if self.latches.held_state is State.ESTOP:
            return Permission.CUT
        if self.latches or self._heard_s is None:
            return Permission.STOP
        return Permission.DAMPING if silence_s > DAMP_AFTER_S else Permission.TORQUE

    def estop(self, now_s: float) -> None:
        """Somebody wants no torque, at once. Pressed again it is a new stop: what was said before does not cover it."""
        self.latches = Latches(tuple(latch for latch in self.latches if latch.cause != ESTOP))
        self._latch(ESTOP, Level.L3, State.ESTOP, now_s)

    def crashed(self, now_s: float) -> bool:
        """The daemon ended by no will of its own. Returns whether to start it again."""
        self.gone()
        self._crashes_s = [at_s for at_s in self._crashes_s if now_s - at_s < CRASH_WINDOW_S] + [now_s]
        if len(self._crashes_s) < CRASHES:
            return True
        self._latch(CRASH_LOOP, Level.L2, State.SAFE_STOP, now_s)
        return False

    def acknowledge(self, by: Acknowledgement) -> None:
        """A person has dealt with what was latched when they said so.

        Raises:
            ValueError: no name or no action is given, or torque was on.
        """
        seen = Latches(tuple(latch for latch in self.latches if latch.since_s <= by.given_s))
        later = tuple(latch for latch in self.latches if latch.since_s > by.given_s)
        self.latches = Latches((*seen.acknowledge(by).self_test_passed(), *later))

    def _latch(self, cause: str, level: Level, state: State, now_s: float) -> None:
        # Each is over as soon as it has happened; what follows is a person's business.
        self.latches = self.latches.add(cause, level, state, now_s, active=False)
