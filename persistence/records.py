"""The records that cross the border of this room, and its closed vocabularies.

All ``*_s`` fields are seconds of the robot clock, which is continuous over all runs of a home directory: a run starts
where the one before it ended. Wall-clock stamps stand beside the rows for display and are never part of a figure.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Any


class E10State(StrEnum):
    """The six exclusive equipment states of SEMI E10; together they cover all observed time."""

    PRODUCTIVE = "productive"
    STANDBY = "standby"
    ENGINEERING = "engineering"
    SCHEDULED_DOWN = "scheduled_down"
    UNSCHEDULED_DOWN = "unscheduled_down"
    NON_SCHEDULED = "non_scheduled"


class Outcome(StrEnum):
    """How an attempt ended."""

    SUCCESS = "success"
    TIMEOUT = "timeout"
    FALL = "fall"
    UNSAFE = "unsafe"
    FAULT = "fault"
    ABORTED = "aborted"


class InterruptClass(StrEnum):
    """Class of an interrupt in SEMI E10: an assist resumes with no part replaced, a failure is every other one."""

    ASSIST = "assist"
    FAILURE = "failure"


class SkillKind(StrEnum):
    """What a skill is for."""

    TASK = "task"
    RESET = "reset"
    RECOVERY = "recovery"


STATE_TO_E10: Mapping[str, E10State] = MappingProxyType(
    {
        "ARMING": E10State.PRODUCTIVE,
        "ATTEMPT": E10State.PRODUCTIVE,
        "DEGRADED": E10State.PRODUCTIVE,
        "RESET": E10State.PRODUCTIVE,
        "HOLD": E10State.PRODUCTIVE,
        "FALLING": E10State.PRODUCTIVE,
        "RECOVER": E10State.PRODUCTIVE,
        "STANDBY": E10State.STANDBY,
        "LEARN_ONLY": E10State.STANDBY,
        "BOOT": E10State.STANDBY,
        "SELF_TEST": E10State.STANDBY,
        "SHUTDOWN": E10State.STANDBY,
        "ENGINEERING": E10State.ENGINEERING,
        "MAINTENANCE": E10State.SCHEDULED_DOWN,
        "NEED_HUMAN": E10State.UNSCHEDULED_DOWN,
        "SAFE_STOP": E10State.UNSCHEDULED_DOWN,
        "ESTOP": E10State.UNSCHEDULED_DOWN,
        "CRASHED": E10State.UNSCHEDULED_DOWN,
        "OFF": E10State.NON_SCHEDULED,
    }
)
"""Operating state → E10 state. CRASHED and OFF are no states of the machine: they name the time between two runs."""

_PLANNED_UNLESS_AFTER_A_STOP = frozenset({"BOOT", "SELF_TEST"})


def e10_of(state: str, *, unplanned: bool = False) -> E10State:
    """Return the E10 state of an operating state.

    Args:
        state: Name of the operating state, such as ``"ATTEMPT"``.
        unplanned: True from a crash or an interrupt until the self-test after it has passed. BOOT and SELF_TEST are
            then unscheduled downtime, otherwise standby; other states do not depend on it.

    Raises:
        ValueError: The state is unknown.
    """
    if state not in STATE_TO_E10:
        raise ValueError(f"unknown operating state {state!r}; valid: {', '.join(STATE_TO_E10)}")
    if unplanned and state in _PLANNED_UNLESS_AFTER_A_STOP:
        return E10State.UNSCHEDULED_DOWN
    return STATE_TO_E10[state]


def check_time(name: str, value: float) -> float:
    """Return ``value`` as a float.

    Raises:
        ValueError: It is not a finite number of seconds, zero or more.
    """
    seconds = float(value)
    if not math.isfinite(seconds) or seconds < 0:
        raise ValueError(f"{name} must be a finite number of robot seconds >= 0, got {value!r}")
    return seconds


def _check_span(started_s: float, ended_s: float) -> None:
    check_time("started_s", started_s)
    check_time("ended_s", ended_s)
    if ended_s < started_s:
        raise ValueError(f"ended_s={ended_s!r} lies before started_s={started_s!r}; the robot clock never goes back")


@dataclass(frozen=True, kw_only=True)
class StateInterval:
    """A stretch of time in one operating state. Its end must be the very float that the next one starts with."""

    state: str
    e10: E10State
    started_s: float
    ended_s: float
    attempt_id: int | None = None

    def __post_init__(self) -> None:
        _check_span(self.started_s, self.ended_s)

    @classmethod
    def of(
        cls, state: str, started_s: float, ended_s: float, *, unplanned: bool = False, attempt_id: int | None = None
    ) -> StateInterval:
        """Build an interval with the E10 state that belongs to ``state`` (see `e10_of`)."""
        e10 = e10_of(state, unplanned=unplanned)
        return cls(state=state, e10=e10, started_s=started_s, ended_s=ended_s, attempt_id=attempt_id)


@dataclass(frozen=True, kw_only=True)
class RunStart:
    """What is known when the daemon starts. Only ``robot``, ``speed`` and ``seed`` enter the event chain."""

    robot: str
    started_s: float
    speed: str = "max"
    seed: int | None = None
    config: Mapping[str, Any] = field(default_factory=dict)
    versions: Mapping[str, Any] = field(default_factory=dict)
    boot_id: str = ""
    pid: int | None = None

    def __post_init__(self) -> None:
        check_time("started_s", self.started_s)


@dataclass(frozen=True, kw_only=True)
class SkillRow:
    """A skill of the library, as attempts refer to it."""

    name: str
    kind: SkillKind
    version: str = ""
    family: str = ""
    description: str = ""


@dataclass(frozen=True, kw_only=True)
class AttemptStart:
    """An attempt about to begin. ``phase_id`` None means the current phase."""

    run_id: int
    skill: str
    started_s: float
    phase_id: int | None = None
    policy_version: int | None = None
    """None for a scripted skill."""
    evaluation: bool = False
    could_start: tuple[str, ...] | None = None
    """All skills whose start region the world was in; None: not known."""

    def __post_init__(self) -> None:
        check_time("started_s", self.started_s)


@dataclass(frozen=True, kw_only=True)
class AttemptEnd:
    """How an attempt ended. Numbers that are not finite are stored as NULL, so that a NaN policy still leaves a row."""

    attempt_id: int
    ended_s: float
    outcome: Outcome
    end_reason: str = ""
    steps: int = 0
    return_: float | None = None
    measures: Mapping[str, float | None] = field(default_factory=dict)
    """Named results such as ``speed_mps``."""
    reward_terms: Mapping[str, float | None] = field(default_factory=dict)
    """Sum of each named reward term over the attempt."""
    episode_file: str | None = None
    episode_sha256: str | None = None

    def __post_init__(self) -> None:
        check_time("ended_s", self.ended_s)
        Outcome(self.outcome)


CANNOT_BE_UNDONE = "cannot_be_undone"
"""End of an attempt that went where no other skill could bring the world back from."""
FALL = "fall"
"""Kind of self-recovery that counts as a fall."""
CAUGHT = "caught"
"""Kind of self-recovery: the robot leaned too far, balanced first, and did not fall."""
NOTHING_CAN_START = "nothing_can_start"
"""Cause of an intervention: the world is where no skill can start, and none can bring it back."""
TASK_CUT_OFF = "task_cut_off"
"""Cause of an intervention: some skills can start, but none of them leads to where some task can."""
STUCK = frozenset({NOTHING_CAN_START, TASK_CUT_OFF})
"""Causes that the last attempt has led to."""


@dataclass(frozen=True, kw_only=True)
class SelfRecovery:
    """Trouble that the agent met alone; a precursor, never an interrupt.

    A fall is one row of kind `FALL`, whether the robot stood up again (``recovered``) or not.
    """

    kind: str
    started_s: float
    ended_s: float
    recovered: bool
    tries: int = 1
    attempt_id: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        _check_span(self.started_s, self.ended_s)


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """A person has to act."""

    cause: str
    e10_class: InterruptClass
    opened_s: float
    note: str = ""
    operator: str = ""
    attempt_id: int | None = None

    def __post_init__(self) -> None:
        check_time("opened_s", self.opened_s)
        InterruptClass(self.e10_class)
        if not self.cause:
            raise ValueError("an intervention needs a cause, got an empty string; name what happened, such as 'stuck'")


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Something broke or was made to break."""

    kind: str
    robot_s: float
    severity: str = "soft"
    """``soft``, ``hard`` or ``estop``."""
    injected: bool = False
    attempt_id: int | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class DriftEvent:
    """A change of the robot's dynamics or of how success is told: injected by a person, or detected by the agent."""

    kind: str
    robot_s: float
    source: str = "detected"
    """``injected`` or ``detected``."""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PolicyRow:
    """A policy snapshot that was stored."""

    version: int
    robot_s: float
    family: str = ""
    updates: int = 0
    file: str | None = None
    sha256: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)
    """What the learner said of itself: losses, temperatures, multipliers and costs."""
    parent: int | None = None
    """Version that it was learned on from, in this home; None: there is none."""
    origin: Mapping[str, Any] = field(default_factory=dict)
    """What its learner began with since then, as `agent.ancestry.Ancestry` says."""
    attempts: int | None = None
    """Attempts of this home that it had learned from."""


@dataclass(frozen=True, kw_only=True)
class CheckpointRow:
    """A checkpoint directory that exists and was verified; recorded after its rename."""

    seq: int
    robot_s: float
    path: str
    manifest_sha256: str
    replay_attempt_id: int | None = None
    """The last attempt whose steps the learner had when it was written."""
    good: bool = False
    """Known good by evaluation; never pruned."""


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """Result of evaluation attempts of one skill."""

    skill: str
    robot_s: float
    attempts: int
    success_rate: float | None = None
    return_mean: float | None = None
    policy_version: int | None = None
    measures: Mapping[str, float | None] = field(default_factory=dict)
    robot: str = ""
    """Name of the simulated robot; empty: the run's own."""
    dynamics: str = ""
    """Of that robot, such as ``held-out``."""
    seed: int | None = None
    purpose: str = "run"
    """``run``, ``eval``, ``comparison`` or ``tier``."""
    figures: Mapping[str, Any] = field(default_factory=dict)
    """Intervals, and what else the purpose needs."""


@dataclass(frozen=True, kw_only=True)
class Deployment:
    """From now on another version of a skill's policy is the deployed one."""

    skill: str
    robot_s: float
    policy_version: int
    before_version: int | None
    """The one until then; None: there was none."""
    action: str
    """``promote`` or ``roll_back``."""
    reason: str
    evaluations: tuple[int, ...]
    """Ids of those that it follows from."""
    file: str
    """Of the policy, in the home's folder ``deployed``."""
    sha256: str
    operator: str = ""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Work tied to a clock by a cron expression."""

    name: str
    cron: str
    action: str
    skill: str | None = None
    enabled: bool = True


@dataclass(frozen=True, kw_only=True)
class OpenIntervention:
    """An intervention that nobody has closed yet."""

    id: int
    cause: str
    e10_class: InterruptClass
    opened_s: float
    note: str


@dataclass(frozen=True, kw_only=True)
class ResumeState:
    """Where the daemon goes on after any stop."""

    robot_time_s: float
    """End of the recorded time: the next run starts here."""
    run_id: int | None
    """The latest run, None in an empty store."""
    phase_id: int | None
    crashed: bool
    """The latest run did not end by itself; BOOT and SELF_TEST are then unplanned (see `e10_of`)."""
    operating_state: str | None
    """At the last heartbeat; a latched state is entered again."""
    open_interventions: tuple[OpenIntervention, ...]
    attempts: int
    """Attempts that ended, aborted ones included."""
    aborted_attempts: tuple[int, ...]
    """Ids of the attempts that this very call ended as aborted."""
    last_attempt_id: int | None
    policy_version: int | None
    """Newest policy version used by an attempt or stored."""
    checkpoint_seq: int | None
    """Newest recorded checkpoint: pass it to ``load_newest(max_seq=…)``."""
    recent_crashes: int
    """Crashes whose last heartbeat lies in the last 10 minutes of wall time."""
