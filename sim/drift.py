"""Drift: how a robot changes while it works, as a function of robot time.

A `Drift` is one change: it begins, comes in at once (a fault) or slowly (wear), and may end (a repair). A
`DriftSchedule` says what all of them together make of the nominal robot at any time, from nothing but that time: a run
that goes on after a crash meets the same robot as one that never stopped.

Backlash is not among them: play between motor and link is a state of its own in each joint, which no parameter of
these actuators is.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from typing import Any

from sim.dynamics import BOUNDS, DynamicsParams, DynamicsRanges

STAIRS = 100
"""What comes in slowly does so in this many equal steps, so that nothing has to be recomputed between two of them."""
SLACK_S = 1e-6
"""A clock that counts periods may be this far from a time that was written down."""
AXES = ("x", "y", "z")
Axes3 = tuple[float, float, float]
_NONE3: Axes3 = (0.0, 0.0, 0.0)


class DriftKind(StrEnum):
    """What of a robot drifts."""

    MOTOR_STRENGTH = "motor_strength"
    DEAD_MOTOR = "dead_motor"
    JOINT_FRICTION = "joint_friction"
    VISCOUS_FRICTION = "viscous_friction"
    BASE_MASS = "base_mass"
    PAYLOAD = "payload"
    COM_SHIFT = "com_shift"
    BATTERY_VOLTAGE = "battery_voltage"
    BATTERY_RESISTANCE = "battery_resistance"
    JOINT_OFFSET = "joint_offset"
    GYRO_BIAS = "gyro_bias"
    TILT_BIAS = "tilt_bias"
    LATENCY = "latency"
    FOOT_FRICTION = "foot_friction"


@dataclass(frozen=True, kw_only=True)
class KindFacts:
    """What the size of a kind of drift means, and what else it takes."""

    meaning: str
    low: float
    high: float
    """Sizes that are allowed."""
    joints: bool = False
    """Whether it is of single joints; of all where none is named."""
    axes: tuple[str, ...] = ()
    """Axes of the body of which it takes one."""


KINDS: Mapping[DriftKind, KindFacts] = {
    DriftKind.MOTOR_STRENGTH: KindFacts(
        meaning="share of its torque that a motor keeps", low=0.0, high=2.0, joints=True
    ),
    DriftKind.DEAD_MOTOR: KindFacts(meaning="no size: a motor has no torque", low=0.0, high=0.0, joints=True),
    DriftKind.JOINT_FRICTION: KindFacts(meaning="N m of Coulomb friction more", low=0.0, high=1.0, joints=True),
    DriftKind.VISCOUS_FRICTION: KindFacts(meaning="N m s/rad of viscous friction more", low=0.0, high=0.5, joints=True),
    DriftKind.BASE_MASS: KindFacts(meaning="times the mass of the body", low=0.5, high=2.0),
    DriftKind.PAYLOAD: KindFacts(meaning="kg strapped to the body", low=0.0, high=5.0),
    DriftKind.COM_SHIFT: KindFacts(
        meaning="m by which the centre of mass moves", low=-0.04, high=0.04, axes=("x", "y")
    ),
    DriftKind.BATTERY_VOLTAGE: KindFacts(meaning="V more, or less where negative", low=-40.0, high=10.0),
    DriftKind.BATTERY_RESISTANCE: KindFacts(meaning="ohm more", low=0.0, high=0.2),
    DriftKind.JOINT_OFFSET: KindFacts(meaning="rad that an encoder reads too much", low=-1.0, high=1.0, joints=True),
    DriftKind.GYRO_BIAS: KindFacts(meaning="rad/s that the gyroscope reads too much", low=-5.0, high=5.0, axes=AXES),
    DriftKind.TILT_BIAS: KindFacts(meaning="rad of tilt that is read too much", low=-0.5, high=0.5, axes=("x", "y")),
    DriftKind.LATENCY: KindFacts(meaning="s of control latency more", low=0.0, high=0.2),
    DriftKind.FOOT_FRICTION: KindFacts(meaning="share of their friction that the feet keep", low=0.0, high=2.0),
}


@dataclass(frozen=True, kw_only=True)
class DriftSubject:
    """What must be known of a simulated robot to say how it drifts."""

    joint_names: tuple[str, ...]
    n_legs: int
    mass_kg: float
    mount_m: tuple[float, float]
    """Half distances between the leg mounts, along and across."""
    nominal: DynamicsParams
    ranges: DynamicsRanges

    @property
    def legs(self) -> tuple[tuple[str, ...], ...]:
        """Joints of each leg."""
        n = len(self.joint_names) // self.n_legs
        return tuple(self.joint_names[leg * n : (leg + 1) * n] for leg in range(self.n_legs))


@dataclass(frozen=True, kw_only=True)
class Drift:
    """One change of a robot.

    Raises:
        ValueError: unknown kind, a size that is not allowed, or something that the kind does not take.
    """

    kind: DriftKind
    size: float = 0.0
    """See `KINDS`."""
    joints: tuple[str, ...] = ()
    """Names of the joints that it is of, for kinds of single joints; empty: all."""
    axis: str = ""
    at_m: tuple[float, float] = (0.0, 0.0)
    """Where a payload is, ahead and to the left of the body's centre."""
    begins_s: float = 0.0
    """Robot time."""
    over_s: float = 0.0
    """How long it takes to come in; 0: at once."""
    ends_s: float = math.inf
    """Robot time from which on it is repaired."""

    def __post_init__(self) -> None:
        try:
            object.__setattr__(self, "kind", DriftKind(self.kind))
        except ValueError:
            raise ValueError(f"unknown kind of drift {str(self.kind)!r}; valid: {', '.join(DriftKind)}") from None
        facts, what = KINDS[self.kind], f"drift {self.kind.value}"
        if not facts.low <= self.size <= facts.high:
            raise ValueError(
                f"{what} of size {self.size!r}; allowed: {facts.low:g} to {facts.high:g} ({facts.meaning})"
            )
        if self.joints and not facts.joints:
            raise ValueError(f"{what} is not of single joints; leave out {', '.join(self.joints)}")
        if self.axis not in (facts.axes or ("",)):
            raise ValueError(f"{what} with axis {self.axis!r}; valid: {', '.join(facts.axes) or 'none'}")
        if self.kind is not DriftKind.PAYLOAD and any(self.at_m):
            raise ValueError(f"{what} is at no place; only a payload is")
        times = (self.begins_s, self.over_s, *self.at_m)
        if not all(map(math.isfinite, times)) or self.over_s < 0.0 or not self.begins_s < self.ends_s:
            raise ValueError(
                f"{what} from {self.begins_s!r} s over {self.over_s!r} s until {self.ends_s!r} s at {self.at_m} m; "
                "give finite numbers, an end after the beginning, and no negative duration"
            )

    @property
    def place(self) -> str:
        """What drifts, whatever its size: kind, joints and axis."""
        return " ".join(part for part in (self.kind.value, *self.joints, self.axis) if part)

    def share(self, robot_s: float) -> float:
        """How much of it is there at a time: 0 none, 1 all; rises in `STAIRS` steps, ends at once."""
        if robot_s < self.begins_s or robot_s >= self.ends_s:
            return 0.0
        return 1.0 if robot_s >= self.begins_s + self.over_s else self._stair(robot_s) / STAIRS

    def next_change_s(self, robot_s: float) -> float:
        """The next time at which `share` may change; infinity: it never does again."""
        if robot_s < self.begins_s:
            return self.begins_s
        if robot_s >= self.ends_s:
            return math.inf
        if robot_s >= self.begins_s + self.over_s:
            return self.ends_s
        stair = self._stair(robot_s) + 1
        return min(self.ends_s, self.begins_s + (stair * self.over_s / STAIRS if stair < STAIRS else self.over_s))

    def _stair(self, robot_s: float) -> int:
        return min(int(STAIRS * (robot_s - self.begins_s) / self.over_s + 1e-9), STAIRS - 1)

    def to_dict(self) -> dict[str, Any]:
        """What differs from the defaults, in JSON's terms; `from_dict` reads it back."""
        out: dict[str, Any] = {"kind": self.kind.value, "size": self.size}
        for field in fields(self)[2:]:
            value = getattr(self, field.name)
            if value != field.default:
                out[field.name] = list(value) if isinstance(value, tuple) else value
        return out

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Drift:
        """Read a table of a schedule file, or what `to_dict` gave; ``joint`` stands for one of ``joints``.

        Raises:
            ValueError: a key is unknown, or a value is of the wrong type or not allowed.
        """
        values = dict(data)
        if "joint" in values:
            values["joints"] = [*values.get("joints", ()), values.pop("joint")]
        names = {field.name for field in fields(cls)}
        if unknown := values.keys() - names:
            raise ValueError(f"unknown key {sorted(unknown)[0]!r} of a drift; valid: joint, {', '.join(sorted(names))}")
        for name in ("size", "begins_s", "over_s", "ends_s"):
            if name in values:
                values[name] = _number(name, values[name])
        if "joints" in values:
            values["joints"] = tuple(str(joint) for joint in _items("joints", values["joints"]))
        if "at_m" in values:
            ahead, left = _items("at_m", values["at_m"], n=2)
            values["at_m"] = (_number("at_m", ahead), _number("at_m", left))
        if "kind" not in values:
            raise ValueError(f"a drift without kind; valid: {', '.join(DriftKind)}")
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class Drifted:
    """A robot at one time: what drift has made of it."""

    dynamics: DynamicsParams
    joint_offset_rad: tuple[float, ...]
    """What each encoder reads too much."""
    tilt_bias_rad: Axes3 = _NONE3
    gyro_bias_radps: Axes3 = _NONE3


class DriftSchedule:
    """All drifts of one robot; a pure function of nominal dynamics and robot time.

    The order in which they are given does not matter. Ratios multiply, all else adds up, and what the simulator cannot
    represent stops at its bounds.
    """

    def __init__(self, drifts: Sequence[Drift] = (), joint_names: Sequence[str] = ()) -> None:
        """Put drifts together.

        Args:
            drifts: In any order.
            joint_names: Of the robot.

        Raises:
            ValueError: a drift is of a joint that the robot does not have.
        """
        self.joint_names = tuple(joint_names)
        self._index = {name: i for i, name in enumerate(self.joint_names)}
        for drift in drifts:
            check_joints(drift, self.joint_names)
        self.drifts = tuple(sorted(drifts, key=_order))

    def at(self, nominal: DynamicsParams, robot_s: float) -> Drifted:
        """The robot at a time; without any drift its dynamics are ``nominal`` itself."""
        now = [(drift, share) for drift in self.drifts if (share := drift.share(robot_s)) > 0.0]
        made, every = _Making(nominal), range(len(nominal.motor_strength))
        for drift, share in now:
            made.add(drift, share, [self._index[name] for name in drift.joints] or every)
        return made.done() if now else made.untouched()

    def next_change_s(self, robot_s: float) -> float:
        """The next time at which `at` may give something else; infinity: it never will."""
        return min((drift.next_change_s(robot_s) for drift in self.drifts), default=math.inf)


class DriftFollower:
    """A schedule on the clock of a robot that may have begun to count later than the schedule's."""

    def __init__(self, schedule: DriftSchedule | None = None, ahead_s: float = 0.0) -> None:
        """Follow a schedule whose time is ``ahead_s`` ahead of the robot's own clock; None: nothing drifts."""
        self._schedule = schedule or DriftSchedule()
        self._ahead_s = ahead_s + SLACK_S
        self.due_s = math.inf
        """On the robot's own clock: nothing changes before."""

    def at(self, nominal: DynamicsParams, time_s: float) -> Drifted:
        """The robot at a time of its own clock."""
        now_s = time_s + self._ahead_s
        self.due_s = self._schedule.next_change_s(now_s) - self._ahead_s
        return self._schedule.at(nominal, now_s)


def check_joints(drift: Drift, joint_names: Sequence[str]) -> None:
    """Refuse a drift of a joint that there is not.

    Raises:
        ValueError: it names one, with those that there are.
    """
    for name in drift.joints:
        if name not in joint_names:
            raise ValueError(f"drift {drift.kind.value} of unknown joint {name!r}; joints: {', '.join(joint_names)}")


class _Making:
    """Sums up what drifts make of a robot."""

    def __init__(self, nominal: DynamicsParams) -> None:
        n = len(nominal.motor_strength)
        self._nominal = nominal
        self._strength = list(nominal.motor_strength)
        self._viscous = list(nominal.extra_viscous_nms or (0.0,) * n)
        self._friction = list(nominal.extra_friction_nm or (0.0,) * n)
        self._payload = [nominal.payload_kg, *(nominal.payload_kg * x for x in nominal.payload_offset_m)]
        self._com = [*nominal.com_offset_m]
        self._ratio = {"base_mass_ratio": nominal.base_mass_ratio, "foot_friction": nominal.foot_friction}
        self._volts, self._ohms = nominal.battery_v, nominal.battery_resistance_ohm
        self._latency_s = 0.0
        self._offset, self._tilt, self._gyro = [0.0] * n, [0.0] * 3, [0.0] * 3

    def add(self, drift: Drift, share: float, joints: Sequence[int]) -> None:
        """Add so much of a drift; ``joints`` are those that it is of."""
        more, ratio = share * drift.size, 1.0 + share * (drift.size - 1.0)
        axis = AXES.index(drift.axis) if drift.axis else 0
        match drift.kind:
            case DriftKind.MOTOR_STRENGTH | DriftKind.DEAD_MOTOR:
                for i in joints:
                    self._strength[i] *= ratio
            case DriftKind.JOINT_FRICTION:
                _add(self._friction, joints, more)
            case DriftKind.VISCOUS_FRICTION:
                _add(self._viscous, joints, more)
            case DriftKind.JOINT_OFFSET:
                _add(self._offset, joints, more)
            case DriftKind.BASE_MASS:
                self._ratio["base_mass_ratio"] *= ratio
            case DriftKind.FOOT_FRICTION:
                self._ratio["foot_friction"] *= ratio
            case DriftKind.PAYLOAD:
                for k, part in enumerate((1.0, *drift.at_m)):
                    self._payload[k] += more * part
            case DriftKind.COM_SHIFT:
                self._com[axis] += more
            case DriftKind.BATTERY_VOLTAGE:
                self._volts += more
            case DriftKind.BATTERY_RESISTANCE:
                self._ohms += more
            case DriftKind.LATENCY:
                self._latency_s += more
            case DriftKind.TILT_BIAS:
                self._tilt[axis] += more
            case DriftKind.GYRO_BIAS:
                self._gyro[axis] += more

    def untouched(self) -> Drifted:
        """The nominal robot."""
        return Drifted(dynamics=self._nominal, joint_offset_rad=tuple(self._offset))

    def done(self) -> Drifted:
        """The sum."""
        nominal, (kg, ahead, left) = self._nominal, self._payload
        action, late = nominal.action_latency_s, nominal.observation_latency_s
        # What is late now gets later in the same proportion.
        way_in = action / (action + late) if action + late > 0.0 else 0.5
        bounded = {
            **self._ratio,
            "payload_kg": kg,
            "payload_offset_m": (ahead / kg, left / kg) if kg > 0.0 else nominal.payload_offset_m,
            "com_offset_m": tuple(self._com),
            "motor_strength": tuple(self._strength),
            "battery_v": self._volts,
            "battery_resistance_ohm": self._ohms,
            "action_latency_s": action + way_in * self._latency_s,
            "observation_latency_s": late + (1.0 - way_in) * self._latency_s,
            "extra_viscous_nms": tuple(self._viscous) if any(self._viscous) else nominal.extra_viscous_nms,
            "extra_friction_nm": tuple(self._friction) if any(self._friction) else nominal.extra_friction_nm,
        }
        values: dict[str, Any] = {name: _bounded(name, value) for name, value in bounded.items()}
        return Drifted(
            dynamics=replace(nominal, **values),
            joint_offset_rad=tuple(self._offset),
            tilt_bias_rad=(self._tilt[0], self._tilt[1], self._tilt[2]),
            gyro_bias_radps=(self._gyro[0], self._gyro[1], self._gyro[2]),
        )


def _add(values: list[float], indices: Sequence[int], more: float) -> None:
    for i in indices:
        values[i] += more


def _bounded(name: str, value: Any) -> Any:
    low, high = BOUNDS[name]
    if isinstance(value, tuple):
        return tuple(min(max(number, low), high) for number in value)
    return min(max(value, low), high)


def _order(drift: Drift) -> tuple[Any, ...]:
    return tuple(getattr(drift, field.name) for field in fields(Drift))


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} = {value!r} of a drift is no number")
    return float(value)


def _items(name: str, value: Any, n: int | None = None) -> Sequence[Any]:
    if isinstance(value, str) or not isinstance(value, Sequence) or (n is not None and len(value) != n):
        raise ValueError(f"{name} = {value!r} of a drift is no list{f' of {n} numbers' if n else ''}")
    return value
