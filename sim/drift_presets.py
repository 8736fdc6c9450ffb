"""Drifts with names, and schedules as files.

Sizes that were published for the Minitaur are scaled to other robots: volts by the nominal battery, kilograms to robots
that are heavier.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sim.drift import Drift, DriftKind, DriftSubject, check_joints
from sim.drift_ranges import drawn

_MINITAUR_V, _MINITAUR_KG = 16.0, 7.5
_MAKE = Callable[[DriftSubject, str], tuple[Drift, ...]]


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Drifts that come together."""

    what: str
    make: _MAKE
    """From the robot and the joint that was asked for, empty where none was."""


def _strength(subject: DriftSubject, joint: str, share: float) -> tuple[Drift, ...]:
    joint = joint or subject.legs[-1][-1]
    return (Drift(kind=DriftKind.MOTOR_STRENGTH, size=share, joints=(joint,)),)


def _first_leg(subject: DriftSubject, share: float) -> tuple[Drift, ...]:
    return (Drift(kind=DriftKind.MOTOR_STRENGTH, size=share, joints=subject.legs[0]),)


def _battery(subject: DriftSubject, minitaur_v: float) -> Drift:
    share = minitaur_v / _MINITAUR_V - 1.0
    return Drift(kind=DriftKind.BATTERY_VOLTAGE, size=share * subject.nominal.battery_v)


def _side_load(subject: DriftSubject, minitaur_kg: float, *, side: float) -> Drift:
    kg = minitaur_kg * max(1.0, subject.mass_kg / _MINITAUR_KG)
    return Drift(kind=DriftKind.PAYLOAD, size=kg, at_m=(0.0, side * min(subject.mount_m[1], 0.08)))


def _latency(subject: DriftSubject, total_s: float) -> Drift:
    own_s = subject.nominal.action_latency_s + subject.nominal.observation_latency_s
    return Drift(kind=DriftKind.LATENCY, size=max(0.0, total_s - own_s))


def _one(kind: DriftKind, size: float) -> _MAKE:
    return lambda subject, joint: (Drift(kind=kind, size=size),)


PRESETS: Mapping[str, Preset] = {
    "half_motor": Preset(
        what="one motor at half strength (the last joint, or --joint)",
        make=lambda subject, joint: _strength(subject, joint, 0.5),
    ),
    "battery_side": Preset(
        what="battery down to 10 V of 16, and 500 g on the left side (Song et al. 2020)",
        make=lambda subject, joint: (_battery(subject, 10.0), _side_load(subject, 0.5, side=1.0)),
    ),
    # The drifts that the trotting policy of PyBullet was measured under.
    "table_mass": Preset(what="mass of the body times 1.5", make=_one(DriftKind.BASE_MASS, 1.5)),
    "table_motors": Preset(what="all motors at 0.7", make=_one(DriftKind.MOTOR_STRENGTH, 0.7)),
    "table_latency_40": Preset(
        what="40 ms of control latency in all", make=lambda subject, joint: (_latency(subject, 0.04),)
    ),
    "table_latency_60": Preset(
        what="60 ms of control latency in all", make=lambda subject, joint: (_latency(subject, 0.06),)
    ),
    "table_slippery": Preset(what="foot friction at 0.3", make=_one(DriftKind.FOOT_FRICTION, 0.3)),
    "table_battery": Preset(what="battery down to 14 V of 16", make=lambda subject, joint: (_battery(subject, 14.0),)),
    "table_leg_half": Preset(
        what="all motors of the first leg at 0.5", make=lambda subject, joint: _first_leg(subject, 0.5)
    ),
    "table_leg_fifth": Preset(
        what="all motors of the first leg at 0.2", make=lambda subject, joint: _first_leg(subject, 0.2)
    ),
    "table_combo": Preset(
        what="mass 1.2, motors 0.8, 30 ms of latency, foot friction 0.5 together",
        make=lambda subject, joint: (
            Drift(kind=DriftKind.BASE_MASS, size=1.2),
            Drift(kind=DriftKind.MOTOR_STRENGTH, size=0.8),
            _latency(subject, 0.03),
            Drift(kind=DriftKind.FOOT_FRICTION, size=0.5),
        ),
    ),
    # Sizes beyond the training ranges of `sim.drift_ranges`.
    "held_out_motor": Preset(
        what="one motor at 0.4", make=lambda subject, joint: _strength(subject, joint or subject.legs[1][-1], 0.4)
    ),
    "held_out_stiff": Preset(
        what="one joint that rubs, twice as much as any in training",
        make=lambda subject, joint: (
            Drift(
                kind=DriftKind.JOINT_FRICTION,
                size=2.0 * subject.ranges.joint_friction_nm[1],
                joints=(joint or subject.legs[2][-1],),
            ),
        ),
    ),
    "held_out_load": Preset(
        what="a load on the right side, 1.6 times the heaviest in training dynamics",
        make=lambda subject, joint: (
            Drift(
                kind=DriftKind.PAYLOAD,
                size=1.6 * subject.ranges.payload_kg[1],
                at_m=(0.0, -min(subject.mount_m[1], 0.08)),
            ),
        ),
    ),
    "held_out_battery": Preset(
        what="battery at 0.8 of its voltage",
        make=lambda subject, joint: (Drift(kind=DriftKind.BATTERY_VOLTAGE, size=-0.2 * subject.nominal.battery_v),),
    ),
    "held_out_encoder": Preset(
        what="one encoder that reads 0.12 rad too much",
        make=lambda subject, joint: (
            Drift(kind=DriftKind.JOINT_OFFSET, size=0.12, joints=(joint or subject.legs[0][-1],)),
        ),
    ),
    "held_out_slippery": Preset(what="foot friction at 0.4", make=_one(DriftKind.FOOT_FRICTION, 0.4)),
}
TABLE = tuple(name for name in PRESETS if name.startswith("table_"))
"""The nine drifts of the published trotting policy's table."""
HELD_OUT = tuple(name for name in PRESETS if name.startswith("held_out_"))
"""Six drifts to judge by, which are never to be trained with."""


def preset(
    name: str,
    subject: DriftSubject,
    *,
    joint: str = "",
    begins_s: float = 0.0,
    over_s: float = 0.0,
    ends_s: float = math.inf,
) -> tuple[Drift, ...]:
    """The drifts of a preset on a robot.

    Args:
        name: One of `PRESETS`.
        subject: The robot.
        joint: For presets of one joint; empty: the preset's own.
        begins_s: When all of them begin.
        over_s: How long they take to come in.
        ends_s: When they are repaired.

    Raises:
        ValueError: unknown name, a joint that there is not, or a preset that is not of one joint.
    """
    if name not in PRESETS:
        raise ValueError(f"unknown drift {name!r}; presets: {', '.join(PRESETS)}")
    made = PRESETS[name].make(subject, joint)
    if joint and not any(drift.joints == (joint,) for drift in made):
        raise ValueError(f"drift {name} is not of one joint; leave out {joint}")
    for drift in made:
        check_joints(drift, subject.joint_names)
    return tuple(replace(drift, begins_s=begins_s, over_s=over_s, ends_s=ends_s) for drift in made)


def find_drifts(text: str, subject: DriftSubject) -> tuple[Drift, ...]:
    """What a setting means: ``""`` nothing, a file (``*.toml``), or ``PRESET`` or ``PRESET@SECONDS`` of robot time.

    Raises:
        ValueError: there is no such preset or file, or it is wrong.
    """
    if not text:
        return ()
    if text.endswith(".toml"):
        return read_drifts(Path(text).expanduser(), subject)
    name, at, begins = text.partition("@")
    try:
        begins_s = float(begins) if at else 0.0
    except ValueError:
        raise ValueError(f"drift {text!r} begins at {begins!r}, which is no number of seconds") from None
    return preset(name, subject, begins_s=begins_s)


def read_drifts(path: Path, subject: DriftSubject) -> tuple[Drift, ...]:
    """Read a schedule from a TOML file; see `drifts_from`.

    Raises:
        ValueError: it cannot be read or is wrong; the message names the file.
    """
    try:
        data = tomllib.loads(path.read_text(encoding="utf-8"))
        return drifts_from(data, subject)
    except OSError as error:
        raise ValueError(f"cannot read the drift schedule {path}: {error.strerror}") from error
    except ValueError as error:
        raise ValueError(f"drift schedule {path}: {error}") from error


def drifts_from(data: Mapping[str, Any], subject: DriftSubject) -> tuple[Drift, ...]:
    """Drifts from tables: each of ``drift`` has the fields of `Drift` (or ``preset`` in place of ``kind``), and
    ``random``, or each of several, the arguments of `sim.drift_ranges.drawn`.

    Raises:
        ValueError: something in it is unknown or not allowed.
    """
    if unknown := data.keys() - {"drift", "random"}:
        raise ValueError(f"unknown table {sorted(unknown)[0]!r}; valid: [[drift]] and [random]")
    random = data.get("random", [])
    processes = [random] if isinstance(random, Mapping) else random
    for name, tables in (("drift", data.get("drift", [])), ("random", processes)):
        if not isinstance(tables, Sequence) or not all(isinstance(table, Mapping) for table in tables):
            raise ValueError(f"{name!r} is a list of tables; write [[{name}]]")
    out: list[Drift] = []
    for table in data.get("drift", []):
        out += _from_table(table, subject)
    for process in processes:
        try:
            out += drawn(subject, **process)
        except TypeError as error:
            raise ValueError(f"[random] {error}") from error
    return tuple(out)


def _from_table(table: Mapping[str, Any], subject: DriftSubject) -> tuple[Drift, ...]:
    if "preset" not in table:
        drift = Drift.from_dict(table)
        check_joints(drift, subject.joint_names)
        return (drift,)
    values = {name: value for name, value in table.items() if name != "preset"}
    try:
        return preset(str(table["preset"]), subject, **values)
    except TypeError as error:
        raise ValueError(f"preset {table['preset']}: {error}") from error
