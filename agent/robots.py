"""Robots by name: functions of a seed in the entry point group ``perdure.robots``."""

from __future__ import annotations

from importlib.metadata import entry_points

from sim.robot import Robot

GROUP = "perdure.robots"


def load_robot(name: str, seed: int) -> Robot:
    """Make a robot.

    Args:
        name: its entry point.
        seed: of everything random in it.

    Raises:
        ValueError: no installed robot has this name.
    """
    points = {point.name: point for point in entry_points(group=GROUP)}
    if name not in points:
        raise ValueError(f"unknown robot {name!r}; installed robots: {', '.join(sorted(points))}")
    robot: Robot = points[name].load()(seed)
    return robot
