"""How often a robot stands up again: `perdure bench standup`.

Random fallen poses (any orientation, legs anywhere) of both quadrupeds, at most three tries within 20 s of robot time:
the learned way first, then the script, with damping between two tries, as in the daemon. A second run has one motor at
half its torque, another one in each pose; a third has a wall right beside the robot, on another side each time. Every
command passes the safety gate, and a try counts only if the true tilt, height and joints are those of a stand.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from agent.opening import abilities_of
from agent.pilot import RELAX_S
from agent.robots import load_robot
from agent.safety import ActionGate
from sim.robot import Command, CommandMode
from sim.simulated_robot import SimulatedRobot
from skills.skill import Progress

DEFAULT_N = 500
ROBOTS = ("minitaur", "a1")
DT_S = 0.02
TRIES = 3
LONGEST_S = 20.0
WEAK_STRENGTH = 0.5
WALL_SHARE = 0.2
_TILT_RAD = math.radians(15.0)
_HEIGHT_SLACK_M = 0.04


def run(seed: int = 0, n: int = DEFAULT_N) -> dict[str, Any]:
    """Stand up from ``n`` random fallen poses, as many with one weak motor, and a fifth as many beside a wall.

    Returns:
        ``success_rate``, ``poses``, ``seconds_median`` (robot time over all tries, of the successes), ``tries``
        (how many poses took 1, 2, 3 tries or failed), ``poses_with_motor_off`` (a driver switched a motor off) and,
        under ``one_weak_motor`` and ``wall``, the same again; all of the Minitaur, and under ``a1`` of the other.
    """
    of_robot = {
        robot: {
            **measure(robot, seed, n),
            "one_weak_motor": measure(robot, seed + 1, n, weak=True),
            "wall": measure(robot, seed + 2, math.ceil(WALL_SHARE * n), wall=True),
        }
        for robot in ROBOTS
    }
    return {**of_robot.pop("minitaur"), **of_robot}


def measure(name: str, seed: int, n: int, *, weak: bool = False, wall: bool = False) -> dict[str, Any]:
    """Figures of ``n`` poses.

    Args:
        name: The robot.
        seed: Seed of the poses and of the sensors' noise.
        n: Number of poses.
        weak: One motor at half strength, a different one in each pose.
        wall: A wall right beside the robot.
    """
    rng = np.random.default_rng(seed)
    tries = {"1": 0, "2": 0, "3": 0, "failed": 0}
    seconds, tripped, failed = [], 0, []
    robot = load_robot(name, seed)
    assert isinstance(robot, SimulatedRobot)
    with robot:
        nominal, sequence = robot.dynamics, 0
        for index in range(n):
            robot.cool()
            if weak:
                strength = list(nominal.motor_strength)
                strength[index % robot.spec.n_joints] *= WEAK_STRENGTH
                robot.set_dynamics(replace(nominal, motor_strength=tuple(strength)))
            robot.place(robot.random_fallen_pose(rng))
            if wall:
                robot.put_wall(index % 4)
            tried, took_s, off, sequence = recover(robot, sequence)
            tries[str(tried) if tried else "failed"] += 1
            tripped += off
            if tried:
                seconds.append(took_s)
            else:
                failed.append(index)
    return {
        "success_rate": 1.0 - tries["failed"] / n if n else 0.0,
        "poses": n,
        "seconds_median": round(float(np.median(seconds)), 3) if seconds else None,
        "seconds_p95": round(float(np.percentile(seconds, 95)), 3) if seconds else None,
        "tries": tries,
        "poses_with_motor_off": tripped,
        "failed_poses": failed,
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
        gate = ActionGate(spec, DT_S)
        progress = Progress.RUNNING
        end_s = min(start_s + LONGEST_S, robot.time_s + skill.horizon_s) - 0.5 * DT_S
        while robot.time_s < end_s:
            sequence += 1
            robot.write(replace(gate.filter(controller.act(observation), observation), sequence=sequence))
            robot.step(DT_S)
            observation = robot.read()
            off = off or not robot.health().ok
            progress = controller.progress(observation)
            if progress is not Progress.RUNNING:
                break
        if progress is Progress.SUCCEEDED and _really_stands(robot):
            return attempt, robot.time_s - start_s, off, sequence
        sequence += 1
        robot.write(replace(damping, sequence=sequence))
        robot.step(RELAX_S)
    return 0, robot.time_s - start_s, off, sequence


def _really_stands(robot: SimulatedRobot) -> bool:
    truth, spec = robot.truth(), robot.spec
    return (
        truth.up_z > math.cos(_TILT_RAD)
        and abs(float(truth.base_position[2]) - spec.stand_height_m) < _HEIGHT_SLACK_M
        and float(np.abs(truth.joint_position - spec.stand_position_rad).max()) < 0.5
    )
