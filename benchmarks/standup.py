"""How often a robot stands up again: `perdure bench standup`.

Random fallen poses (any orientation, legs anywhere) of both quadrupeds, at most three tries within 20 s of robot time:
the learned way first, then the script, with damping between two tries, as in the daemon. A second run has one motor at
half its torque, another one in each pose; a third has a wall right beside the robot, on another side each time. In a
fourth the Minitaur lies on its belly with a leg caught under it, where it threw its legs about with two weak motors. In
a fifth the robot has taken a rest as in the daemon, without torque, on a floor with grip and on one with little; each
motor in turn gives half its torque, or none does.
Every command passes the safety gate, the monitors end a try where a motor stays at its limit or all of them take too
much power, as in the daemon, and a try counts only if the true tilt, height and joints are those of a stand.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from agent.clock import SimulatedClock
from agent.config import SafetyConfig
from agent.loop import ControlLoop
from agent.opening import abilities_of
from agent.postures import Postures
from agent.recovery import RELAX_S
from agent.robots import load_robot
from agent.safety import ActionGate, Monitors
from agent.states import Limits
from sim.dynamics import DynamicsParams
from sim.robot import Command, CommandMode
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose
from sim.workspace import Workspace
from skills.skill import Progress

DEFAULT_N = 500
ROBOTS = ("minitaur", "a1")
DT_S = 0.02
TRIES = 3
LONGEST_S = 20.0
WEAK_STRENGTH = 0.5
WALL_SHARE = 0.2
CAUGHT_SHARE = 0.1
RESTED_SHARE = 0.5
STOOD_S, RESTED_S = 1.0, 8.0
SLIPPERY = 0.4
"""Of the floor's grip."""
CAUGHT_RAD = 1.0
"""Extension of a leg from the stance, beyond what it is ever told: its foot is on the wrong side of the knees."""
LEVEL_RAD = math.radians(45.0)
CAUGHT_STRENGTHS = ((0.45, 0.65), (0.5, 0.8))
"""What two motors give meanwhile; the gaits of the zoo get so far by a stumble within minutes."""
_TILT_RAD = math.radians(15.0)
_HEIGHT_SLACK_M = 0.04


def run(seed: int = 0, n: int = DEFAULT_N) -> dict[str, Any]:
    """Stand up from ``n`` random fallen poses, as many with one weak motor, a fifth as many beside a wall, a tenth as
    many with a leg caught under the body, and half as many after a rest.

    Returns:
        ``success_rate``, ``poses``, ``seconds_median`` (robot time over all tries, of the successes), ``tries``
        (how many poses took 1, 2, 3 tries or failed), ``poses_with_motor_off`` (a driver switched a motor off) and,
        under ``one_weak_motor``, ``wall``, ``rested`` and ``caught_leg``, the same again; all of the Minitaur, and
        under ``a1`` of the other, whose legs are not caught.
    """
    of_robot = {
        robot: {
            **measure(robot, seed, n),
            "one_weak_motor": measure(robot, seed + 1, n, weak=True),
            "wall": measure(robot, seed + 2, math.ceil(WALL_SHARE * n), wall=True),
            "rested": measure_rested(robot, seed + 4, math.ceil(RESTED_SHARE * n)),
        }
        for robot in ROBOTS
    }
    caught = measure("minitaur", seed + 3, math.ceil(CAUGHT_SHARE * n), caught=True)
    return {**of_robot.pop("minitaur"), "caught_leg": caught, **of_robot}


def measure(
    name: str, seed: int, n: int, *, weak: bool = False, wall: bool = False, caught: bool = False
) -> dict[str, Any]:
    """Figures of ``n`` poses.

    Args:
        name: The robot.
        seed: Seed of the poses and of the sensors' noise.
        n: Number of poses.
        weak: One motor at half strength, a different one in each pose.
        wall: A wall right beside the robot.
        caught: A leg caught under the robot, with two weak motors.
    """
    rng = np.random.default_rng(seed)
    recovered = []
    robot = load_robot(name, seed)
    assert isinstance(robot, SimulatedRobot)
    with robot:
        nominal, sequence = robot.dynamics, 0
        for index in range(n):
            robot.cool()
            if weak:
                robot.set_dynamics(weakened(nominal, index % robot.spec.n_joints))
            if caught:
                sequence = catch_leg(robot, nominal, rng, sequence)
            else:
                robot.place(robot.random_fallen_pose(rng))
            if wall:
                robot.put_wall(index % 4)
            tried, took_s, off, sequence = recover(robot, sequence)
            recovered.append((tried, took_s, off))
    return _figures(recovered)


def measure_rested(name: str, seed: int, n: int) -> dict[str, Any]:
    """Figures of ``n`` rests of a robot that stood, each with a motor of its own at half strength, or none."""
    recovered = []
    for index in range(n):
        robot = load_robot(name, seed + index)
        assert isinstance(robot, SimulatedRobot)
        with robot:
            weak, slippery = index % (robot.spec.n_joints + 1), index // (robot.spec.n_joints + 1) % 2 == 1
            dynamics = weakened(robot.dynamics, weak - 1) if weak else robot.dynamics
            grip = dynamics.foot_friction * (SLIPPERY if slippery else 1.0)
            robot.set_dynamics(replace(dynamics, foot_friction=grip))
            robot.place(Pose.standing())
            gate, monitors = ActionGate(robot.spec, DT_S), Monitors(robot.spec, Workspace(), SafetyConfig(), 1.0 / DT_S)
            loop = ControlLoop(robot, SimulatedClock(robot, DT_S), gate, monitors)
            postures = Postures(loop, loop.tick)
            postures.stand(STOOD_S)
            postures.sit_down(Limits().legs_under_rad)
            for _ in range(round(RESTED_S / DT_S)):
                loop.tick(None)
            robot.cool()
            tried, took_s, off, _ = recover(robot, round(robot.time_s / DT_S))  # beyond what the loop has counted
            recovered.append((tried, took_s, off))
    return _figures(recovered)


def weakened(dynamics: DynamicsParams, motor: int) -> DynamicsParams:
    """With a motor that gives half its torque."""
    strength = list(dynamics.motor_strength)
    strength[motor] *= WEAK_STRENGTH
    return replace(dynamics, motor_strength=tuple(strength))


def _figures(recovered: Sequence[tuple[int, float, bool]]) -> dict[str, Any]:
    """Of what `recover` returned but for the last."""
    n, tries = len(recovered), {"1": 0, "2": 0, "3": 0, "failed": 0}
    for tried, *_ in recovered:
        tries[str(tried) if tried else "failed"] += 1
    seconds = [took_s for tried, took_s, _ in recovered if tried]
    return {
        "success_rate": 1.0 - tries["failed"] / n if n else 0.0,
        "poses": n,
        "seconds_median": round(float(np.median(seconds)), 3) if seconds else None,
        "seconds_p95": round(float(np.percentile(seconds, 95)), 3) if seconds else None,
        "tries": tries,
        "poses_with_motor_off": sum(off for *_, off in recovered),
        "failed_poses": [index for index, (tried, *_) in enumerate(recovered) if not tried],
    }


def recover(robot: SimulatedRobot, sequence: int) -> tuple[int, float, bool, int]:
    """Try up to three times from where the robot lies.

    Args:
        robot: The robot.
        sequence: The last sequence number sent to it.

    Returns:
        The try that worked (0 for none), robot time over all tries in s, whether a driver switched a motor off, and the
        last sequence number sent.
    """
    spec, start_s, off = robot.spec, robot.time_s, False
    ways = abilities_of((), spec).stand_ups
    damping = Command(mode=CommandMode.DAMPING, target=np.zeros(spec.n_joints), kp=0.0, kd=spec.kd)
    for attempt in range(1, TRIES + 1):
        skill, observation = ways[min(attempt, len(ways)) - 1], robot.read()
        controller = skill.controller(spec, DT_S)
        controller.start(observation)
        gate, monitors = ActionGate(spec, DT_S), Monitors(spec, Workspace(), SafetyConfig(), 1.0 / DT_S)
        progress = Progress.RUNNING
        end_s = min(start_s + LONGEST_S, robot.time_s + skill.horizon_s) - 0.5 * DT_S
        while robot.time_s < end_s:
            sequence += 1
            robot.write(replace(gate.filter(controller.act(observation), observation), sequence=sequence))
            robot.step(DT_S)
            observation, alerts = monitors.update(robot.read())
            off = off or not robot.health().ok
            progress = controller.progress(observation)
            if progress is not Progress.RUNNING or alerts.saturated or alerts.overpowered:
                break
        if progress is Progress.SUCCEEDED and _really_stands(robot):
            return attempt, robot.time_s - start_s, off, sequence
        sequence += 1
        robot.write(replace(damping, sequence=sequence))
        robot.step(RELAX_S)
    return 0, robot.time_s - start_s, off, sequence


def catch_leg(robot: SimulatedRobot, nominal: DynamicsParams, rng: np.random.Generator, sequence: int) -> int:
    """Throw the legs about, with two weak motors, until one of them is caught under a body that lies level.

    Returns:
        The last sequence number sent.
    """
    spec, gate = robot.spec, ActionGate(robot.spec, DT_S)
    assert spec.leg_to_joint is not None and spec.leg_lower_rad is not None and spec.leg_upper_rad is not None
    to_leg, n = np.linalg.inv(spec.leg_to_joint), spec.n_feet
    strength = np.array(nominal.motor_strength)
    weak = rng.choice(spec.n_joints, len(CAUGHT_STRENGTHS), replace=False)
    strength[weak] *= [rng.uniform(*each) for each in CAUGHT_STRENGTHS]
    robot.set_dynamics(replace(nominal, motor_strength=tuple(strength.tolist())))
    damping = Command(mode=CommandMode.DAMPING, target=np.zeros(spec.n_joints), kp=0.0, kd=spec.kd)
    lower, upper = np.r_[np.full(n, -1.2), spec.leg_lower_rad[n:]], np.r_[np.full(n, 1.2), spec.leg_upper_rad[n:]]
    while True:
        robot.place(Pose.standing(0.0, 0.0, 0.0))
        robot.cool()
        for _ in range(int(rng.integers(3, 10))):
            target = spec.stand_position_rad + spec.leg_to_joint @ rng.uniform(lower, upper)
            thrown = Command(mode=CommandMode.POSITION, target=target, kp=1.5 * spec.kp, kd=0.3 * spec.kd)
            for _ in range(8):
                sequence += 1
                robot.write(replace(gate.filter(thrown, robot.read()), sequence=sequence))
                robot.step(DT_S)
        sequence += 1
        robot.write(replace(damping, sequence=sequence))
        robot.step(RELAX_S)
        legs = to_leg @ (robot.read().joint_position - spec.stand_position_rad)
        if robot.truth().up_z > math.cos(LEVEL_RAD) and legs[n:].max() > CAUGHT_RAD:
            return sequence


def _really_stands(robot: SimulatedRobot) -> bool:
    truth, spec = robot.truth(), robot.spec
    return (
        truth.up_z > math.cos(_TILT_RAD)
        and abs(float(truth.base_position[2]) - spec.stand_height_m) < _HEIGHT_SLACK_M
        and float(np.abs(truth.joint_position - spec.stand_position_rad).max()) < 0.5
    )
