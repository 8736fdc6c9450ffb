"""Drifts at random: slow wear and sudden faults, from a range to train in or from one to judge in.

The two ranges of a kind never meet (Ibarz et al. 2021, section 4.5.2: one set of dynamics to train, another to judge).
Sizes are in units of the robot, so that one table serves all: what rubs in multiples of the most that its training
dynamics rub, and so on (`unit_of`). All of them are assumptions.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from sim.drift import KINDS, Drift, DriftKind, DriftSubject

Range = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """Sizes of a kind of drift, in units of the robot."""

    training: Range
    held_out: Range
    either_sign: bool = False
    """Whether it is as often negative."""


SIZES: Mapping[DriftKind, Sizes] = {
    DriftKind.MOTOR_STRENGTH: Sizes(training=(0.6, 0.95), held_out=(0.3, 0.55)),
    DriftKind.JOINT_FRICTION: Sizes(training=(0.5, 1.5), held_out=(1.7, 2.5)),
    DriftKind.VISCOUS_FRICTION: Sizes(training=(0.5, 1.5), held_out=(1.7, 2.5)),
    DriftKind.BASE_MASS: Sizes(training=(1.05, 1.25), held_out=(1.3, 1.5)),
    DriftKind.PAYLOAD: Sizes(training=(0.3, 1.2), held_out=(1.4, 1.8)),
    DriftKind.COM_SHIFT: Sizes(training=(0.4, 1.0), held_out=(1.1, 1.5), either_sign=True),
    DriftKind.BATTERY_VOLTAGE: Sizes(training=(-0.12, -0.03), held_out=(-0.25, -0.15)),
    DriftKind.BATTERY_RESISTANCE: Sizes(training=(0.01, 0.04), held_out=(0.05, 0.08)),
    DriftKind.JOINT_OFFSET: Sizes(training=(0.02, 0.08), held_out=(0.1, 0.15), either_sign=True),
    DriftKind.GYRO_BIAS: Sizes(training=(0.02, 0.1), held_out=(0.15, 0.3), either_sign=True),
    DriftKind.TILT_BIAS: Sizes(training=(0.01, 0.05), held_out=(0.07, 0.12), either_sign=True),
    DriftKind.LATENCY: Sizes(training=(0.005, 0.015), held_out=(0.02, 0.04)),
    DriftKind.FOOT_FRICTION: Sizes(training=(0.5, 0.9), held_out=(0.3, 0.45)),
}
"""A dead motor has no size and is in neither range: it is drawn where `drawn` is told so."""
FAULTS = tuple(SIZES)
WEAR = (
    DriftKind.MOTOR_STRENGTH,
    DriftKind.JOINT_FRICTION,
    DriftKind.VISCOUS_FRICTION,
    DriftKind.BATTERY_RESISTANCE,
    DriftKind.JOINT_OFFSET,
    DriftKind.FOOT_FRICTION,
)
"""What wears slowly."""


def unit_of(kind: DriftKind, subject: DriftSubject) -> float:
    """What a size of 1 in `SIZES` is on a robot, in the unit of `sim.drift.KINDS`."""
    ranges = subject.ranges
    units = {
        DriftKind.JOINT_FRICTION: ranges.joint_friction_nm[1],
        DriftKind.VISCOUS_FRICTION: ranges.viscous_friction_nms[1],
        DriftKind.PAYLOAD: ranges.payload_kg[1],
        DriftKind.COM_SHIFT: ranges.com_offset_m[1],
        DriftKind.BATTERY_VOLTAGE: subject.nominal.battery_v,
    }
    return units.get(kind, 1.0)


def drawn(
    subject: DriftSubject,
    *,
    seed: int,
    hours: float = 24.0,
    faults_per_hour: float = 1.0,
    repaired_after_s: float | None = 1800.0,
    wear: bool = True,
    held_out: bool = False,
    dead_motors: bool = False,
    kinds: Sequence[str] = FAULTS,
    begins_s: float = 0.0,
) -> tuple[Drift, ...]:
    """Wear and faults of a robot over some hours; a function of its arguments alone.

    Args:
        subject: The robot.
        seed: Of everything random; training and held-out draws of one seed have nothing in common.
        hours: Length of the process. Wear comes in over all of it.
        faults_per_hour: Rate of a Poisson process of sudden faults.
        repaired_after_s: Mean time to the repair of a fault, exponential; None: never.
        wear: Whether each kind of `WEAR` comes in slowly, in one joint where it is of joints.
        held_out: Whether sizes are from the range to judge in.
        dead_motors: Whether a fault may also be a dead motor.
        kinds: Of faults, one as often as another.
        begins_s: When the process begins.

    Raises:
        ValueError: a number is not finite or negative, repairs are at once, or there is no such kind, or none at all.
    """
    if repaired_after_s == 0.0:
        raise ValueError("repaired_after_s is 0: a fault that is repaired at once; leave it out where none is repaired")
    numbers = (hours, faults_per_hour, begins_s, repaired_after_s or 0.0)
    if not all(math.isfinite(number) and number >= 0.0 for number in numbers):
        raise ValueError(
            f"hours, faults_per_hour, repaired_after_s and begins_s {numbers} must be finite and not negative"
        )
    if not kinds or (unknown := [kind for kind in kinds if kind not in FAULTS]):
        named = f"unknown kind {unknown[0]!r}" if kinds else "no kind"
        raise ValueError(f"kinds of faults has {named}; valid: {', '.join(FAULTS)}")
    rng = np.random.default_rng(np.random.SeedSequence((int(seed), int(held_out))))
    length_s = 3600.0 * hours
    out: list[Drift] = []
    if wear and length_s > 0.0:
        out += [_draw(rng, kind, subject, held_out, begins_s=begins_s, over_s=length_s) for kind in WEAR]
    faults = [*map(DriftKind, kinds), *([DriftKind.DEAD_MOTOR] if dead_motors else [])]
    at_s = 0.0
    while faults_per_hour > 0.0:
        at_s += float(rng.exponential(3600.0 / faults_per_hour))
        if at_s >= length_s:
            break
        kind = faults[int(rng.integers(len(faults)))]
        rest_s = math.inf if repaired_after_s is None else float(rng.exponential(repaired_after_s))
        fault_s = begins_s + at_s
        out.append(_draw(rng, kind, subject, held_out, begins_s=fault_s, ends_s=fault_s + rest_s))
    return tuple(out)


def _draw(
    rng: np.random.Generator,
    kind: DriftKind,
    subject: DriftSubject,
    held_out: bool,
    *,
    begins_s: float,
    over_s: float = 0.0,
    ends_s: float = math.inf,
) -> Drift:
    facts, size = KINDS[kind], 0.0
    if kind in SIZES:
        sizes = SIZES[kind]
        size = float(rng.uniform(*(sizes.held_out if held_out else sizes.training))) * unit_of(kind, subject)
        if sizes.either_sign and rng.random() < 0.5:
            size = -size
    joints = (subject.joint_names[int(rng.integers(len(subject.joint_names)))],) if facts.joints else ()
    axis = facts.axes[int(rng.integers(len(facts.axes)))] if facts.axes else ""
    at_m = (0.0, 0.0)
    if kind is DriftKind.PAYLOAD:
        at_m = (
            float(rng.uniform(*subject.ranges.payload_offset_m)),
            float(rng.uniform(*subject.ranges.payload_offset_m)),
        )
    return Drift(
        kind=kind, size=size, joints=joints, axis=axis, at_m=at_m, begins_s=begins_s, over_s=over_s, ends_s=ends_s
    )
