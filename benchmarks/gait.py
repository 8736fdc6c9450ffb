"""How fast the plain trajectory generator walks: `perdure bench gait`.

Every walking skill with a policy that outputs zero, for attempts of 10 s. These speeds are the baseline that learning
has to beat. A zero policy is blind, so attempts differ by their starts: each joint begins up to 0.05 rad off the
stance.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from sim.minitaur import make_minitaur
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose
from skills.features import HISTORY
from skills.gait import GAIT
from skills.policy import PolicyWeights
from skills.policy_control import policy_controller
from skills.walk import FALLEN_UP_Z, WALKING_SKILLS, Walk

DEFAULT_N = 10
DT_S = 0.02
DECIMATION = 2
JOINT_OFFSET_RAD = 0.05


def run(seed: int, n: int = DEFAULT_N) -> dict[str, Any]:
    """Speeds of the four directions over ``n`` attempts each.

    Returns:
        Per skill: mean, standard deviation, least and greatest speed in the asked direction (``unit`` says of what),
        falls, and the mean motion along each axis; all true, from start to end of an attempt. Besides, the ``command``
        that gives these figures again.
    """
    rng = np.random.default_rng(seed)
    with make_minitaur(seed) as robot:
        skills = {skill.name: _measure(robot, skill, rng, n) for skill in WALKING_SKILLS}
    return {**skills, "command": f"perdure bench gait --seed {seed} --n {n} --save"}


def _measure(robot: SimulatedRobot, skill: Walk, rng: np.random.Generator, n: int) -> dict[str, Any]:
    motions = np.array([_attempt(robot, skill, rng) for _ in range(n)])
    forward, turn = skill.command
    speed = turn * motions[:, 2] if turn else forward * motions[:, 0]
    return {
        "unit": "rad/s" if turn else "m/s",
        "mean": round(float(speed.mean()), 4),
        "sd": round(float(speed.std()), 4),
        "min": round(float(speed.min()), 4),
        "max": round(float(speed.max()), 4),
        "falls": int(motions[:, 3].sum()),
        "forward_mps": round(float(motions[:, 0].mean()), 4),
        "left_mps": round(float(motions[:, 1].mean()), 4),
        "yaw_rate_radps": round(float(motions[:, 2].mean()), 4),
    }


def _attempt(robot: SimulatedRobot, skill: Walk, rng: np.random.Generator) -> tuple[float, float, float, bool]:
    """Mean forward and left speed along the start heading, mean yaw rate, and whether the robot fell."""
    spec = robot.spec
    joints = spec.stand_position_rad + rng.uniform(-JOINT_OFFSET_RAD, JOINT_OFFSET_RAD, spec.n_joints)
    robot.place(Pose(joint_position=tuple(joints)))
    controller = policy_controller(skill, spec, DT_S, _zero_policy(skill, robot), None, decimation=DECIMATION)
    controller.start(robot.read())
    start = robot.truth()
    heading, turned = start.yaw_rad, 0.0
    for _ in range(round(skill.horizon_s / DT_S)):
        command = controller.act(robot.read())
        command.sequence = round(robot.time_s / DT_S)
        robot.write(command)
        robot.step(DT_S)
        now = robot.truth()
        turned += math.remainder(now.yaw_rad - heading, math.tau)
        heading = now.yaw_rad
        if now.up_z < FALLEN_UP_Z:
            break
    seconds = now.time_s - start.time_s
    way = (now.base_position - start.base_position) / seconds
    return float(way[0]), float(way[1]), turned / seconds, now.up_z < FALLEN_UP_Z


def _zero_policy(skill: Walk, robot: SimulatedRobot) -> PolicyWeights:
    actions = len(skill.prior_action(robot.spec))
    observed = HISTORY * GAIT.feature_size(robot.spec)
    inputs = observed + len(skill.command)
    layer = (np.zeros((inputs, 2 * actions), np.float32), np.zeros(2 * actions, np.float32))
    ones = np.ones(observed, np.float32)
    return PolicyWeights(version=0, layers=(layer,), obs_mean=np.zeros_like(ones), obs_std=ones)
