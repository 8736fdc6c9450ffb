"""Operating states: where the agent is now, and one table of what may follow.

`next_state` is a pure function over `TRANSITIONS`. A pair that the table does not list leaves the state as it is (I8).
The table knows no time and no counting. Whoever runs it measures the durations of `Limits` and sends the event when one
of them runs out:

- ARMING longer than `Limits.arming_s` is ``arm_timeout``; the third in a row is followed by ``selftest_fail``.
- HOLD longer than `Limits.hold_window_s`, or a silence longer than `Limits.silence_s`, is ``hard_fault``.
- FALLING longer than `Limits.falling_s` counts as ``base_still``: standing up is tried from whatever pose it is.
- RESET and RECOVER repeat inside of their state; ``reset_fail`` and ``recover_fail`` say that all tries are used up.

`agent.operation` adds to the table what it cannot know: the start permit and the latches.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from types import MappingProxyType


class State(StrEnum):
    """Where the agent is now. Exactly one holds at any time; state times sum to the observed time."""

    BOOT = "BOOT"
    """Reading configuration, lock, database and latches."""
    SELF_TEST = "SELF_TEST"
    """Checking sensors, limits, disk, clock and policy without moving."""
    STANDBY = "STANDBY"
    """Ready; waits for a start permit and for the scheduler."""
    ARMING = "ARMING"
    """Standing up to the nominal stance and checking tilt, temperature and battery."""
    ATTEMPT = "ATTEMPT"
    """One try of one skill."""
    RESET = "RESET"
    """Bringing the world back to where another skill can start."""
    HOLD = "HOLD"
    """Damping only, until a soft fault clears."""
    FALLING = "FALLING"
    """A fall is predicted or under way: protective pose."""
    RECOVER = "RECOVER"
    """Standing up again."""
    DEGRADED = "DEGRADED"
    """An attempt with capped speed and torque, because the robot has changed."""
    LEARN_ONLY = "LEARN_ONLY"
    """The robot may not move (it charges, or is too warm); the learner goes on."""
    NEED_HUMAN = "NEED_HUMAN"
    """The agent cannot help itself; torque is off until a person acknowledges."""
    SAFE_STOP = "SAFE_STOP"
    """Controlled stop, then torque off; latched."""
    ESTOP = "ESTOP"
    """Torque off at once; latched until physically released and acknowledged."""
    ENGINEERING = "ENGINEERING"
    """An operator holds the robot: experiments, calibration, maintenance."""
    SHUTDOWN = "SHUTDOWN"
    """Safe pose, torque off, end of the process."""


class Event(StrEnum):
    """What can happen to the agent."""

    BOOT_OK = "boot_ok"
    BOOT_FAIL = "boot_fail"
    SELFTEST_OK = "selftest_ok"
    SELFTEST_FAIL = "selftest_fail"
    START_PERMIT = "start_permit"
    """An operator, or the command that started the daemon, allows motion."""
    TASK_READY = "task_ready"
    """The scheduler has picked an attempt whose start region holds."""
    ARMED = "armed"
    ARM_TIMEOUT = "arm_timeout"
    ATTEMPT_DONE = "attempt_done"
    ATTEMPT_TIMEOUT = "attempt_timeout"
    RESET_OK = "reset_ok"
    RESET_FAIL = "reset_fail"
    SOFT_FAULT = "soft_fault"
    """Link, sensor, fence or plug-in trouble that may pass."""
    SOFT_CLEAR = "soft_clear"
    """The soft fault has been gone for `Limits.soft_clear_s`."""
    FALL_PREDICTED = "fall_predicted"
    """The fall predictor fired, or the tilt was above `Limits.fall_tilt_rad` for `Limits.fall_tilt_s`."""
    BASE_STILL = "base_still"
    UPRIGHT = "upright"
    RECOVER_FAIL = "recover_fail"
    DRIFT = "drift"
    """The dynamics changed; performance is still above the floor."""
    PERF_LOW = "perf_low"
    HARD_FAULT = "hard_fault"
    """An L2 cause: hot or dead actuator, database not writable, crash loop, repeated NaN."""
    ESTOP = "estop"
    """Emergency stop, or another L3 cause."""
    HUMAN_ACK = "human_ack"
    OPERATOR_TAKE = "operator_take"
    OPERATOR_RELEASE = "operator_release"
    SIGTERM = "sigterm"


class Severity(IntEnum):
    """How much a state restricts the robot. Of several causes the one with the highest severity wins (I4)."""

    NORMAL = 0
    DEGRADED = 1
    HOLD = 2
    FALL = 3
    """Above HOLD: holding rigidly while falling does harm."""
    NEED_HUMAN = 4
    SAFE_STOP = 5
    SHUTDOWN = 6
    """The process is ending; only an emergency stop comes before that."""
    ESTOP = 7


_SEVERITY = {
    State.DEGRADED: Severity.DEGRADED,
    State.HOLD: Severity.HOLD,
    State.FALLING: Severity.FALL,
    State.RECOVER: Severity.FALL,
    State.NEED_HUMAN: Severity.NEED_HUMAN,
    State.SAFE_STOP: Severity.SAFE_STOP,
    State.SHUTDOWN: Severity.SHUTDOWN,
    State.ESTOP: Severity.ESTOP,
}

AUTONOMOUS_MOTION = frozenset(
    {State.ARMING, State.ATTEMPT, State.RESET, State.HOLD, State.FALLING, State.RECOVER, State.DEGRADED}
)
"""States in which the agent itself moves or damps the robot. They need a start permit."""

TORQUE_ALLOWED = AUTONOMOUS_MOTION | {State.ENGINEERING}
"""States in which torque may be non-zero for as long as they last (I1)."""

LATCHING = frozenset({State.NEED_HUMAN, State.SAFE_STOP, State.ESTOP})
"""States that only a person's acknowledgement ends; entering one opens exactly one intervention (I6)."""


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Named durations and counts of the state machine, in robot time."""

    arming_s: float = 10.0
    arming_tries: int = 3
    arming_tilt_rad: float = 0.2269
    """13 degrees: a robot that leans more is not armed. A Minitaur with two legs folded through leans by 14 to 15."""
    legs_under_rad: float = 1.6
    """A robot with a joint farther from its stance is not on its feet; in mid-stride a Minitaur's are up to 1.1 off."""
    reset_s: float = 60.0
    """Longest try to come back; the horizon of a reset skill is no longer."""
    reset_tries: int = 3
    settle_s: float = 2.0
    """What is in the way of a task for longer than this is there to stay."""
    hold_window_s: float = 5.0
    """A soft fault that lasts longer becomes a hard fault."""
    soft_clear_s: float = 1.0
    """A soft fault must be gone this long before HOLD ends."""
    silence_s: float = 1.0
    """Silence of a link or a heartbeat becomes a hard fault after this long."""
    command_silence_s: float = 0.2
    """The robot's own timer: damping when no command comes for this long."""
    falling_s: float = 3.0
    base_still_s: float = 0.5
    upright_s: float = 1.0
    recover_s: float = 20.0
    """Longest try to stand up; the horizon of a recovery skill is no longer."""
    recover_tries: int = 3
    falls_per_hour: int = 10
    safe_stop_settle_s: float = 3.0
    """SAFE_STOP sits down with torque for at most this long, then cuts it."""
    shutdown_settle_s: float = 10.0
    crash_window_s: float = 600.0
    crash_count: int = 5
    """This many crashes within ``crash_window_s`` are an L2 cause."""


_ANY = frozenset(State)
_MOVING = frozenset({State.ARMING, State.ATTEMPT, State.RESET, State.DEGRADED})

TRANSITIONS: tuple[tuple[frozenset[State], Event, State], ...] = (
    # from                                           event                    to
    (frozenset({State.BOOT}), Event.BOOT_OK, State.SELF_TEST),
    (frozenset({State.BOOT}), Event.BOOT_FAIL, State.SAFE_STOP),
    (frozenset({State.SELF_TEST}), Event.SELFTEST_OK, State.STANDBY),
    (frozenset({State.SELF_TEST}), Event.SELFTEST_FAIL, State.NEED_HUMAN),
    (frozenset({State.STANDBY}), Event.START_PERMIT, State.STANDBY),
    (frozenset({State.STANDBY}), Event.TASK_READY, State.ARMING),
    (frozenset({State.STANDBY}), Event.SELFTEST_FAIL, State.NEED_HUMAN),
    # Not moving yet: the fault only forbids to start.
    (frozenset({State.STANDBY}), Event.SOFT_FAULT, State.LEARN_ONLY),
    (frozenset({State.LEARN_ONLY}), Event.SOFT_CLEAR, State.STANDBY),
    (frozenset({State.ARMING}), Event.ARMED, State.ATTEMPT),
    (frozenset({State.ARMING}), Event.ARM_TIMEOUT, State.STANDBY),
    (frozenset({State.ARMING}), Event.SELFTEST_FAIL, State.NEED_HUMAN),
    (frozenset({State.ATTEMPT, State.DEGRADED}), Event.ATTEMPT_DONE, State.RESET),
    (frozenset({State.ATTEMPT, State.DEGRADED}), Event.ATTEMPT_TIMEOUT, State.RESET),
    (frozenset({State.ATTEMPT}), Event.DRIFT, State.DEGRADED),
    (frozenset({State.DEGRADED}), Event.SELFTEST_OK, State.ATTEMPT),
    (frozenset({State.DEGRADED}), Event.PERF_LOW, State.NEED_HUMAN),
    (frozenset({State.RESET}), Event.RESET_OK, State.STANDBY),
    (frozenset({State.RESET}), Event.TASK_READY, State.ARMING),
    (frozenset({State.RESET}), Event.RESET_FAIL, State.NEED_HUMAN),
    # RECOVER gives way to HOLD although a fall outranks it: a robot that lies on the floor is safest damped.
    (_MOVING | {State.RECOVER}, Event.SOFT_FAULT, State.HOLD),
    (frozenset({State.HOLD}), Event.SOFT_CLEAR, State.RESET),
    (_MOVING | {State.HOLD}, Event.FALL_PREDICTED, State.FALLING),
    (frozenset({State.FALLING}), Event.BASE_STILL, State.RECOVER),
    # A false alarm: the robot caught itself.
    (frozenset({State.FALLING}), Event.UPRIGHT, State.RESET),
    (frozenset({State.RECOVER}), Event.UPRIGHT, State.RESET),
    (frozenset({State.RECOVER, State.FALLING}), Event.RECOVER_FAIL, State.NEED_HUMAN),
    (LATCHING, Event.HUMAN_ACK, State.SELF_TEST),
    (frozenset({State.STANDBY, State.LEARN_ONLY, State.HOLD}), Event.OPERATOR_TAKE, State.ENGINEERING),
    (frozenset({State.ENGINEERING}), Event.OPERATOR_RELEASE, State.SELF_TEST),
    # The operator is gone: stop and wait for one. HOLD would lead back to motion that nobody permitted.
    (frozenset({State.ENGINEERING}), Event.SOFT_FAULT, State.SAFE_STOP),
    # A process that is ending is stopping already; the latch makes the next start wait for a person.
    (_ANY - {State.SHUTDOWN, State.ESTOP}, Event.HARD_FAULT, State.SAFE_STOP),
    (_ANY, Event.ESTOP, State.ESTOP),
    (_ANY - {State.ESTOP}, Event.SIGTERM, State.SHUTDOWN),
)
"""Every defined transition. All other pairs leave the state as it is."""


def _compile() -> Mapping[tuple[State, Event], State]:
    """Expand the rows to one entry per pair, refusing two rows for one pair."""
    table: dict[tuple[State, Event], State] = {}
    for sources, event, target in TRANSITIONS:
        for source in sources:
            if (source, event) in table:
                raise ValueError(f"two transitions for state {source} and event {event}")
            table[source, event] = target
    return MappingProxyType(table)


TABLE: Mapping[tuple[State, Event], State] = _compile()
"""`TRANSITIONS` with one entry per (state, event) pair."""


def next_state(state: State, event: Event) -> State:
    """The state after ``event``; the same state where the table defines no transition (I8)."""
    return TABLE.get((state, event), state)


def is_defined(state: State, event: Event) -> bool:
    """Whether the table defines what ``event`` does in ``state``; if not, the caller logs it and goes on."""
    return (state, event) in TABLE


def severity(state: State) -> Severity:
    """How much ``state`` restricts the robot."""
    return _SEVERITY.get(state, Severity.NORMAL)


def most_severe(*states: State) -> State:
    """Of the states that several causes ask for, the one that wins (I4); the first of equals.

    Raises:
        ValueError: no state is given.
    """
    if not states:
        raise ValueError("most_severe needs at least one state")
    return max(states, key=severity)


def torque_allowed(state: State, in_state_s: float, limits: Limits | None = None) -> bool:
    """Whether torque may be non-zero ``in_state_s`` seconds after entering ``state`` (I1).

    SAFE_STOP and SHUTDOWN have a bounded settle phase, in which the robot sits down before torque is cut.
    """
    limits = limits or Limits()
    settle = {State.SAFE_STOP: limits.safe_stop_settle_s, State.SHUTDOWN: limits.shutdown_settle_s}
    return state in TORQUE_ALLOWED or in_state_s < settle.get(state, 0.0)
