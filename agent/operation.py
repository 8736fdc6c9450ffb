"""Operation: the state machine together with what its table cannot know, the start permit and the latches.

An immutable value. The daemon keeps the newest one, stores its latches, and records an interval per state.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from agent.latches import Acknowledgement, Latches, Level
from agent.states import AUTONOMOUS_MOTION, LATCHING, Event, State, is_defined, next_state

_PERMIT_KEPT = AUTONOMOUS_MOTION | {State.STANDBY, State.LEARN_ONLY}


@dataclass(frozen=True, kw_only=True)
class Operation:
    """Operating state, start permit and latches at one moment."""

    state: State = State.BOOT
    permitted: bool = False
    """Whether motion may start from STANDBY. Lost whenever the agent stops being in operation (I3)."""
    latches: Latches = field(default_factory=Latches)

    def accepts(self, event: Event) -> bool:
        """Whether ``event`` does anything now; if not, the caller logs it and goes on (I8)."""
        return is_defined(self.state, event) and not self._refused(event)

    def _refused(self, event: Event) -> bool:
        """Whether a permit or a latch forbids what the table would allow."""
        if event == Event.START_PERMIT:
            return self.latches.held_state is not None
        if event == Event.TASK_READY:
            return not self.permitted or self.latches.forbids_start
        if event == Event.SOFT_CLEAR and self.state == State.HOLD:
            return not self.permitted
        if event == Event.HUMAN_ACK:
            return self.latches.held_state is not None
        return False

    def apply(self, event: Event, *, cause: str = "", robot_s: float = 0.0, active: bool = False) -> Operation:
        """What holds after ``event``.

        Entering NEED_HUMAN or SAFE_STOP latches a level 2 cause, entering ESTOP a level 3 cause. A further hard fault
        in a state that is latched already adds its own cause.

        Args:
            event: what happened.
            cause: constant name of the cause for the latch and the log; the event's own name if empty.
            robot_s: robot time, for the latch.
            active: whether the condition behind the cause goes on; such a latch is cleared only after
                `Latches.condition_gone`.
        """
        if not self.accepts(event) and event not in (Event.HARD_FAULT, Event.ESTOP):
            return self
        state, latches = next_state(self.state, event), self.latches
        if event == Event.BOOT_OK:
            state = latches.held_state or state
        elif event == Event.TASK_READY:
            latches = latches.new_attempt()
        elif event == Event.SELFTEST_OK and self.state == State.SELF_TEST:
            latches = latches.self_test_passed()
        if event in (Event.HARD_FAULT, Event.ESTOP) or (state in LATCHING and event != Event.BOOT_OK):
            level = Level.L3 if event == Event.ESTOP else Level.L2
            held = State.SAFE_STOP if event == Event.HARD_FAULT else state
            latches = latches.add(cause or event.value, level, held, robot_s, active=active)
        permitted = (self.permitted or event == Event.START_PERMIT) and state in _PERMIT_KEPT
        return replace(self, state=state, permitted=permitted, latches=latches)

    def acknowledge(self, by: Acknowledgement) -> Operation:
        """A person acknowledges what is latched; the agent goes to SELF_TEST once nothing else holds it.

        Raises:
            ValueError: the acknowledgement lacks a name or an action, or torque was on.
        """
        return replace(self, latches=self.latches.acknowledge(by)).apply(Event.HUMAN_ACK)

    @property
    def waits_for_human(self) -> bool:
        """Whether only a person can end the present state."""
        return self.state in LATCHING
