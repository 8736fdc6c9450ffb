"""Whether a check-up says what of a robot has drifted, and by how much.

    python -m benchmarks.checkup --learn a1                # simulates check-ups under drifts and stores what they do
    perdure bench checkup --seed 0 --n 3                   # n: times that each drift is tried on each robot

A robot walks some way in some direction, by the generator of its gait alone, ends that as walks end, and is checked up
(`meta.checkup`). What drifts do is learned from drifts of the training ranges, and judged by drifts of the ranges to
judge in, of sizes drawn at random, one at a time; the usual check-ups that each is compared with are three of the same
robot before it drifted.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agent.checkups import drift_of
from agent.compensated_robot import CompensatedRobot
from agent.robots import load_robot
from meta.checkup import CheckUp
from meta.diagnosis import COMPARED, Cause, Diagnosis, diagnosis_path
from sim.drift import KINDS, Drift, DriftKind, DriftSchedule, DriftSubject
from sim.drift_ranges import SIZES, unit_of
from sim.robot import Array, Robot
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose
from skills.gait import GAIT, MARCH_S

ROBOTS = ("minitaur", "a1")
DEFAULT_N = 2
USUAL, EACH = 48, 4
"""Check-ups to learn from: without drift, and of each cause."""
WALK_S = (1.0, 3.0)
STRIDE = 0.7
"""Of either side, at most, as an action."""
PAYLOADS_M = ((0.0, 0.05), (0.0, -0.05), (0.05, 0.0), (-0.05, 0.0))
KNOWN = (DriftKind.BATTERY_VOLTAGE,)
"""Measured by the robot."""
FRESH_SEED, TRAINING_SEED, JUDGING_SEED = 5_000, 10_000, 20_000


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Judge what is stored.

    Returns:
        By robot: ``seconds`` that a check-up takes, ``named`` by kind (right kind and place, and all of that kind),
        ``named_share`` (of all), ``joint_share`` (of drifts of a joint that are told from nothing, those whose joint
        was named), ``size_error`` (median, of those named, over the size of what drifted: of a motor, the strength that
        it keeps), and ``false_share`` (of check-ups without drift, those that name something).
    """
    return {robot: judge(robot, seed, n) for robot in ROBOTS}


def learn(name: str) -> Diagnosis:
    """Simulate check-ups with and without drifts of the training ranges."""
    with _robot(name, 0) as robot:
        subject = robot.drift_subject
    usual, fresh = ([check(name, first + number) for number in range(USUAL)] for first in (0, FRESH_SEED))
    drifted = [
        (cause_of(drift), [check(name, TRAINING_SEED + EACH * number + again, drift) for again in range(EACH)])
        for number, drift in enumerate(causes(subject))
    ]
    return Diagnosis.of(usual, drifted, fresh)


def causes(subject: DriftSubject, rng: np.random.Generator | None = None) -> Iterator[Drift]:
    """Every place that a kind of drift may have, in both directions where it has two.

    Args:
        subject: the robot.
        rng: draws sizes from the range to judge in; None: the largest of the training range.
    """
    for kind, sizes in SIZES.items():
        if kind in KNOWN:
            continue
        facts = KINDS[kind]
        places: list[dict[str, Any]] = [{}]
        if facts.joints:
            places = [{"joints": (joint,)} for joint in subject.joint_names]
        elif facts.axes:
            places = [{"axis": axis} for axis in facts.axes]
        elif kind is DriftKind.PAYLOAD:
            places = [{"at_m": at_m} for at_m in PAYLOADS_M]
        less = kind in (DriftKind.MOTOR_STRENGTH, DriftKind.FOOT_FRICTION)
        for place in places:
            for sign in (1.0, -1.0) if sizes.either_sign else (1.0,):
                size = sizes.training[0 if less else 1] if rng is None else float(rng.uniform(*sizes.held_out))
                yield Drift(kind=kind, size=sign * size * unit_of(kind, subject), **place)


def cause_of(drift: Drift) -> Cause:
    """A drift as a diagnosis knows it."""
    return Cause(kind=drift.kind.value, size=drift.size, joints=drift.joints, axis=drift.axis, at_m=drift.at_m)


def check(name: str, seed: int, *drifts: Drift) -> Array:
    """One check-up of a simulated robot that has walked, its battery compensated for."""
    rng = np.random.default_rng(seed)
    with _robot(name, seed) as robot:
        spec = robot.spec
        dt_s = 1.0 / spec.control_rate_hz
        robot.place(Pose.standing(yaw_rad=float(rng.uniform(-np.pi, np.pi))))
        robot.follow_drift(DriftSchedule(drifts, spec.joint_names), robot.time_s)
        walk, march = np.zeros((2, GAIT.action_size(spec)))
        walk[1:3] = rng.uniform(-STRIDE, STRIDE, 2)
        actions = [walk] * round(float(rng.uniform(*WALK_S)) / dt_s) + [march] * round(MARCH_S / dt_s)
        return _walk_and_check(robot, CompensatedRobot(robot), dt_s, actions)


def _walk_and_check(world: SimulatedRobot, robot: Robot, dt_s: float, actions: Sequence[Array]) -> Array:
    """The features of a check-up after a walk of one action in each control period."""
    spec = robot.spec
    motion, actuator = CheckUp(spec, dt_s), GAIT.actuator(spec, dt_s)
    actuator.start(robot.read())
    readings = []
    for period in range(len(actions) + motion.periods):
        since = period - len(actions)
        command = motion.command(since) if since >= 0 else actuator.command(actions[period], robot.read())
        robot.write(replace(command, sequence=period + 1))
        world.step(dt_s)
        readings.append(robot.read())
    return motion.features(readings[len(actions) :])


def _robot(name: str, seed: int) -> SimulatedRobot:
    robot = load_robot(name, seed)
    assert isinstance(robot, SimulatedRobot)
    return robot


def judge(name: str, seed: int, n: int) -> dict[str, Any]:
    """See `run`."""
    diagnosis, rng = Diagnosis.read(diagnosis_path(name)), np.random.default_rng(seed)
    with _robot(name, 0) as robot:
        subject, spec = robot.drift_subject, robot.spec
    first = JUDGING_SEED + 1000 * seed
    usual = [check(name, first + number) for number in range(COMPARED)]
    named: dict[str, list[bool]] = defaultdict(list)
    joints: list[bool] = []
    errors: list[float] = []
    drifts = [drift for _ in range(n) for drift in causes(subject, rng)]
    for number, drift in enumerate(drifts, first + COMPARED):
        found = diagnosis.diagnose(usual, check(name, number, drift))
        right = found is not None and place(drift_of(found.cause)) == place(drift)
        named[drift.kind.value].append(right)
        if found is not None and drift.joints:
            joints.append(found.cause.joints == drift.joints)
        if found is not None and right:
            errors.append(abs(drift_of(found.cause).size - drift.size) / max(abs(drift.size), 1e-9))
    calm = [diagnosis.diagnose(usual, check(name, first + 500 + number)) for number in range(10 * n)]
    everything = [right for each in named.values() for right in each]
    return {
        "seconds": CheckUp(spec, 1.0 / spec.control_rate_hz).periods / spec.control_rate_hz,
        "named": {kind: [sum(each), len(each)] for kind, each in named.items()},
        "named_share": sum(everything) / len(everything),
        "joint_share": sum(joints) / max(1, len(joints)),
        "size_error": float(np.median(errors)) if errors else None,
        "false_share": sum(found is not None for found in calm) / len(calm),
    }


def place(drift: Drift) -> tuple[object, ...]:
    """What is to be named right: all but the size."""
    return drift.kind, drift.joints, drift.axis, drift.at_m, drift.size > 0.0


if __name__ == "__main__":
    if "--learn" in sys.argv:
        which = sys.argv[-1]
        learn(which).write(diagnosis_path(which))
    else:
        print(__doc__)
