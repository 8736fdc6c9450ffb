"""Robots by name: functions of a seed in the entry point group ``perdure.robots``, or a Gymnasium environment."""

from __future__ import annotations

from dataclasses import replace
from importlib.metadata import entry_points

from sim.dynamics import DynamicsParams
from sim.robot import Robot

GROUP = "perdure.robots"
GYM_PREFIX = "gym:"
"""``gym:ID`` is the Gymnasium environment ID as a robot."""


def load_robot(
    name: str,
    seed: int,
    *,
    latency_ms: float | None = None,
    slope_deg: float = 0.0,
    reset_free: bool = False,
    held_out: bool = False,
) -> Robot:
    """Make a robot.

    Args:
        name: its entry point, or ``gym:ID``.
        seed: of everything random in it.
        latency_ms: total control latency of a simulated robot; None: its own.
        slope_deg: of the steeper one of two ramps around the middle of a simulated robot's workspace; 0: it is level.
        reset_free: a Gymnasium environment is reset only by a person.
        held_out: a simulated robot has dynamics that training never sees; those that have no others stay as they are.

    Raises:
        ValueError: no installed robot has this name, or it does not take an option.
    """
    if name.startswith(GYM_PREFIX):
        from sim.gym_robot import GymRobot

        if latency_ms is not None:
            raise ValueError(f"sim.latency_ms is for simulated robots; {name} has no such setting")
        if slope_deg:
            raise ValueError(f"sim.slope_deg is for simulated robots with legs; {name} has no such setting")
        return GymRobot(name.removeprefix(GYM_PREFIX), seed, reset_free=reset_free)
    if reset_free:
        raise ValueError(f"run.reset_free is for {GYM_PREFIX}ID robots; {name!r} is never reset but by a person")
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise ValueError(f"unknown robot {name!r}; installed robots: {', '.join(sorted(points))}, or {GYM_PREFIX}ID")
    robot: Robot = points[name].load()(seed)
    if latency_ms is None and not slope_deg and not held_out:
        return robot
    from sim.simulated_robot import SimulatedRobot

    if not isinstance(robot, SimulatedRobot):
        if latency_ms is None and not slope_deg:
            return robot
        setting = "latency_ms" if latency_ms is not None else "slope_deg"
        raise ValueError(f"sim.{setting} is for simulated robots; {name!r} is none")
    if held_out:
        robot.set_dynamics(robot.body.randomiser(seed).held_out())
    if slope_deg:
        robot.raise_ramps(slope_deg)
    if latency_ms is not None:
        robot.set_dynamics(delayed(robot.dynamics, latency_ms))
    return robot


def delayed(dynamics: DynamicsParams, latency_ms: float | None) -> DynamicsParams:
    """Dynamics with another total control latency, half of it on the way in and half on the way out; None: as is."""
    if latency_ms is None:
        return dynamics
    half_s = 5e-4 * latency_ms
    return replace(dynamics, action_latency_s=half_s, observation_latency_s=half_s)
