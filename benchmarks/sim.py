"""What the robot layer costs over bare physics: `perdure bench sim`.

A recording run trots the robot once and keeps the torques of every physics step. Then two worlds repeat that motion in
alternating blocks: one through the whole layer (commands, delays, motors, sensors), one by bare ``stepSimulation``
with the recorded torques. Physics is repeatable, so both do the same work; the report says whether they ended at the
same place.
"""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from sim import bullet_world as bw
from sim.minitaur import leg_pose_to_joints, make_minitaur
from sim.quiet_bullet import p
from sim.robot import Command, CommandMode
from sim.simulated_robot import SimulatedRobot

DT_S = 0.02
BLOCK_TICKS = 10
"""Control periods per block, 0.2 s of robot time."""
PHASE = np.array([0.0, math.pi, math.pi, 0.0])


def _targets(ticks: int) -> list[Any]:
    times = np.arange(ticks) * DT_S
    return [
        leg_pose_to_joints(0.3 * np.sin(4 * math.pi * t + PHASE), 1.9 - 0.25 * np.cos(4 * math.pi * t + PHASE))
        for t in times
    ]


def _tick(robot: SimulatedRobot, target: Any, sequence: int) -> None:
    spec = robot.spec
    robot.write(Command(mode=CommandMode.POSITION, target=target, kp=spec.kp, kd=spec.kd, sequence=sequence))
    robot.step(DT_S)
    robot.read()


def _record(seed: int, targets: list[Any]) -> list[list[float]]:
    robot = make_minitaur(seed)
    torques: list[list[float]] = []
    motors = robot._motors

    def recording(model: Callable[..., Any]) -> Callable[..., Any]:
        def record(*args: Any) -> Any:
            out = model(*args)
            torques.append(list(out[0] if isinstance(out, tuple) else out))
            return out

        return record

    motors.step = recording(motors.step)  # type: ignore[method-assign]
    motors.coast = recording(motors.coast)  # type: ignore[method-assign]
    for i, target in enumerate(targets):
        _tick(robot, target, i)
    robot.close()
    return torques


def _interleave(
    layer: SimulatedRobot, bare: SimulatedRobot, targets: list[Any], torques: list[list[float]]
) -> tuple[float, float]:
    """CPU seconds of a block through the layer and of the same block in bare physics: medians over alternating blocks.

    What another process takes from a shared core and its caches falls on single blocks, hence the median.
    """
    world = bare._live
    clock = time.process_time
    per_tick = round(DT_S * bw.PHYSICS_HZ)
    layer_blocks, raw_blocks = [], []
    for block in range(0, len(targets), BLOCK_TICKS):
        ticks = range(block, min(block + BLOCK_TICKS, len(targets)))
        start = clock()
        for i in ticks:
            _tick(layer, targets[i], i)
        layer_blocks.append(clock() - start)
        raw_s = 0.0
        for forces in torques[ticks.start * per_tick : ticks.stop * per_tick]:
            p.setJointMotorControlArray(
                world.body, world.motors, p.TORQUE_CONTROL, forces=forces, physicsClientId=world.client
            )
            start = clock()
            p.stepSimulation(physicsClientId=world.client)
            raw_s += clock() - start
        raw_blocks.append(raw_s)
    return float(np.median(layer_blocks)), float(np.median(raw_blocks))


def run(seed: int, n: int = 30) -> dict[str, Any]:
    """Trot for ``n`` robot seconds.

    Args:
        seed: Seed of the sensors.
        n: Robot seconds, at least 1.

    Returns:
        ``steps_per_s`` (physics steps per CPU second through the layer), ``raw_share`` (bare stepping time over layer
        time), both times per step, and the facts of the machine.
    """
    if n < 1:
        raise ValueError(f"n={n} robot seconds; give at least 1")
    targets = _targets(round(n / DT_S))
    torques = _record(seed, targets)
    layer, bare = make_minitaur(seed), make_minitaur(seed)
    layer_s, raw_s = _interleave(layer, bare, targets, torques)
    world = bare._live
    ends = (
        p.getBasePositionAndOrientation(world.body, physicsClientId=world.client)[0],
        tuple(float(v) for v in layer.truth().base_position),
    )
    loop_error = bw.loop_error_m(world)
    layer.close()
    bare.close()
    steps_per_block = round(BLOCK_TICKS * DT_S * bw.PHYSICS_HZ)
    return {
        "steps_per_s": steps_per_block / layer_s,
        "raw_share": raw_s / layer_s,
        "layer_us_per_step": layer_s / steps_per_block * 1e6,
        "raw_us_per_step": raw_s / steps_per_block * 1e6,
        "overhead_of_raw": layer_s / raw_s - 1.0,
        "cpu_minutes_per_robot_hour": layer_s / (BLOCK_TICKS * DT_S) * 60.0,
        "same_motion": ends[0] == ends[1],
        "loop_error_m": loop_error,
        "robot_seconds": n,
        "load_1min": os.getloadavg()[0],
    }
