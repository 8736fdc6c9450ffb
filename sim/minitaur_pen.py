"""The Minitaur in a pen: a floor of 3 m x 3 m between four walls, as in EARL's task of that name.

The benchmark is that of Sharma et al. (2022), "Autonomous Reinforcement Learning: Formalism and Benchmarking"; robot
and physics are `sim.minitaur`'s.
"""

from __future__ import annotations

from dataclasses import replace

from sim.dynamics import DynamicsParams
from sim.minitaur import MINITAUR, minitaur_spec
from sim.sensors import SensorParams
from sim.simulated_robot import SimulatedRobot

PEN_M = 3.0
"""Between facing walls (earl_benchmark/envs/minitaur_gym_env.py: WALL_POSITIONS)."""
MINITAUR_PEN = replace(MINITAUR, pen_m=PEN_M)


def make_minitaur_pen(
    seed: int = 0, dynamics: DynamicsParams | None = None, sensors: SensorParams | None = None
) -> SimulatedRobot:
    """A simulated Minitaur in the middle of its pen; the entry point ``minitaur_pen`` of ``perdure.robots``.

    Args:
        seed: Seed of all sensor noise.
        dynamics: Nominal when None.
        sensors: Realistic noise when None.
    """
    return SimulatedRobot(minitaur_spec(), MINITAUR_PEN, seed=seed, dynamics=dynamics, sensors=sensors)
