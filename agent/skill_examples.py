"""What a skill is tried on before it runs: readings and steps of a robot that does random things in its actions."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agent.robots import load_robot
from sim.robot import Command, CommandMode, FrameLayout, Frames, Observation, RobotSpec, Transition
from sim.state import Pose
from skills.family import Family
from skills.skill import Ground

STANDS_S, MOVES_S = 0.5, 4.0
LEVEL = Ground()
POSTURES_RAD = 0.1
"""Spread of the random targets of a robot whose skill has no actions."""


@dataclass(frozen=True)
class Examples:
    """Of one robot."""

    spec: RobotSpec
    standing: Observation
    """After standing still for `STANDS_S`."""
    readings: tuple[Observation, ...]
    steps: Transition
    """All steps in order."""

    def part(self, which: slice) -> Transition:
        """Some of the steps, as copies that nobody else sees."""
        layout, steps = FrameLayout.of(self.spec), self.steps
        return Transition(
            frame=Frames(steps.frame.data[which].copy(), layout),
            action=steps.action[which].copy(),
            previous_action=steps.previous_action[which].copy(),
            next_frame=Frames(steps.next_frame.data[which].copy(), layout),
            dt_s=steps.dt_s[which].copy(),
        )


def examples(robot: str, family: Family | None, seed: int = 0, ground: Ground = LEVEL) -> Examples:
    """Let a robot do random things.

    Args:
        robot: name of an installed simulated robot, or ``gym:ID``.
        family: whose actions it takes; None: it goes from posture to posture.
        seed: of what it does.
        ground: where it does so.

    Raises:
        ValueError: no installed robot has this name, or it cannot have the family's skills.
    """
    rng = np.random.default_rng(seed)
    body: Any = load_robot(robot, seed, slope_deg=ground.slope_deg)  # simulated: it has steps
    with contextlib.closing(body):
        spec: RobotSpec = body.spec
        if family is not None and (problem := family.problem(spec)):
            raise ValueError(problem)
        if hasattr(body, "place"):
            body.place(Pose.standing(y_m=ground.y_m) if spec.n_feet else Pose())
        dt_s, decimation = 1.0 / spec.control_rate_hz, round(spec.control_rate_hz / spec.policy_rate_hz)
        size = spec.n_joints if family is None else family.action_size(spec)
        actuator = None if family is None else family.actuator(spec, dt_s)
        sequence = 0

        def send(command: Command) -> None:
            nonlocal sequence
            sequence += 1
            command.sequence = sequence
            body.write(command)
            body.step(dt_s)

        def posture(target: NDArray[np.float64]) -> Command:
            within = np.clip(target, spec.position_lower_rad, spec.position_upper_rad)
            return Command(mode=CommandMode.POSITION, target=within, kp=spec.kp, kd=spec.kd)

        for _ in range(round(STANDS_S / dt_s)):
            send(posture(spec.stand_position_rad))
        readings: list[Observation] = [body.read()]
        if actuator is not None:
            actuator.start(readings[0])
        actions = [np.zeros(size)]
        for _ in range(round(MOVES_S * spec.policy_rate_hz)):
            actions.append(np.clip(0.8 * actions[-1] + 0.3 * rng.standard_normal(size), -0.99, 0.99))
            for _ in range(decimation):
                if actuator is None:
                    send(posture(spec.stand_position_rad + POSTURES_RAD * actions[-1]))
                else:
                    send(actuator.command(actions[-1].astype(np.float32), body.read()))
            readings.append(body.read())
    return Examples(spec, readings[0], tuple(readings), _steps(spec, readings, actions))


def _steps(spec: RobotSpec, readings: Sequence[Observation], actions: Sequence[NDArray[np.float64]]) -> Transition:
    layout = FrameLayout.of(spec)
    frames = np.stack([layout.pack(each) for each in readings])
    taken = np.array(actions, np.float32)
    return Transition(
        frame=Frames(frames[:-1], layout),
        action=taken[1:],
        previous_action=taken[:-1],
        next_frame=Frames(frames[1:], layout),
        dt_s=np.full(len(frames) - 1, 1.0 / spec.policy_rate_hz),
    )
