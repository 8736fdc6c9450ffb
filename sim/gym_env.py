"""Gymnasium environments ``perdure/Minitaur-v0`` and ``perdure/A1-v0``: walk forward with direct leg-space actions.

They are for comparing learners on common ground. Their reward comes from the simulator's truth, which the daemon's
skills never see.
"""

from __future__ import annotations

from importlib.metadata import entry_points
from typing import Any, cast

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sim.robot import Array, Command, CommandMode, Observation
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose, Truth

ENV_ID, A1_ENV_ID = "perdure/Minitaur-v0", "perdure/A1-v0"
LEG_RANGES_RAD = (0.5, 0.5, 0.3)
"""What an action of 1 means for a swing, an extension and, where legs have it, an abduction."""
TARGET_SPEED_MPS = 0.5
ENERGY_WEIGHT_PER_J = 0.0005
FALL_UP_Z = 0.85
"""Fallen when more tilted than this cosine, as in the Minitaur environments of pybullet_envs."""
FALL_HEIGHT_M = 0.1
OBSERVATION_LIMIT = 100.0
_SMOOTHING = 0.6
"""Share of the new action in the low-pass filter."""


def make_simulated_robot(name: str, seed: int) -> SimulatedRobot:
    """Make a simulated robot by its entry point in the group ``perdure.robots``.

    Raises:
        ValueError: no such robot is installed, or it is not a simulated one.
    """
    found = {point.name: point for point in entry_points(group="perdure.robots")}
    if name not in found:
        raise ValueError(f"no robot {name!r}; installed robots are {sorted(found)}")
    robot = found[name].load()(seed=seed)
    if not isinstance(robot, SimulatedRobot):
        raise ValueError(f"robot {name!r} is not a simulated one; the environment has to place it")
    return robot


class WalkEnv(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Walk forward for ``episode_s`` seconds without falling.

    Action: swings, extensions and, where legs have them, abductions of all legs in [-1, 1], (8,) for the Minitaur and
    (12,) for the A1. Observation: joint positions about the stance, joint velocities, up vector in the body frame, body
    rates, contacts and the smoothed last action, scaled to order one, (34,) and (46,).
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 25}  # noqa: RUF012 - Gymnasium's own attribute

    def __init__(
        self,
        *,
        robot: str = "minitaur",
        policy_hz: int = 25,
        episode_s: float = 10.0,
        randomise: bool = False,
        render_mode: str | None = None,
    ) -> None:
        """Describe the spaces; the robot that acts is made by the first reset.

        Args:
            robot: Entry point name of a simulated robot.
            policy_hz: 25 or 50 actions per second.
            episode_s: Robot seconds until truncation.
            randomise: Draw training dynamics at each reset.
            render_mode: "rgb_array" or None.

        Raises:
            ValueError: a rate or mode that is not offered.
        """
        if policy_hz not in (25, 50):
            raise ValueError(f"policy_hz={policy_hz}; the control loop runs at 50 Hz, so 25 and 50 are offered")
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"render_mode={render_mode!r}; 'rgb_array' and None are offered")
        if not episode_s > 0.0:
            raise ValueError(f"episode_s={episode_s} must be above 0")
        self.render_mode = render_mode
        self._robot_name = robot
        self._ticks = 50 // policy_hz
        self._limit = round(episode_s * policy_hz)
        self._randomise = randomise
        self._robot: SimulatedRobot | None = None
        self._sequence = 0
        with make_simulated_robot(robot, 0) as example:
            spec = example.spec
        self._legs = np.repeat(LEG_RANGES_RAD[: spec.leg_dofs], spec.n_feet)
        width = 2 * spec.n_joints + 6 + spec.n_feet + len(self._legs)
        self.action_space = spaces.Box(-1.0, 1.0, (len(self._legs),), np.float32)
        self.observation_space = spaces.Box(-OBSERVATION_LIMIT, OBSERVATION_LIMIT, (width,), np.float32)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Put the robot into its stance; a seed also restarts its sensors' noise."""
        super().reset(seed=seed)
        if self._robot is None or seed is not None:
            self.close()
            noise_seed, dynamics_seed = (int(s) for s in self.np_random.integers(1 << 31, size=2))
            self._robot = make_simulated_robot(self._robot_name, noise_seed)
            self._dynamics = self._robot.body.randomiser(dynamics_seed)
            self._sequence = 0
        robot = self._robot
        if self._randomise:
            robot.set_dynamics(self._dynamics.training())
        robot.cool()
        robot.place(Pose.standing())
        self._steps = 0
        self._action: Array = np.zeros(len(self._legs))
        for _ in range(25):
            self._command(self._action, 1)
        self._truth = robot.truth()
        return self._observe(robot.read()), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """Hold one action for a policy step."""
        robot = self._live
        clipped = np.clip(np.asarray(action, dtype=np.float64), -1.0, 1.0)
        self._action = self._action + _SMOOTHING * (clipped - self._action)
        self._command(self._action, self._ticks)
        self._steps += 1
        before, self._truth = self._truth, robot.truth()
        reward, terms = _reward(before, self._truth, self._ticks * 0.02)
        fallen = self._truth.up_z < FALL_UP_Z or float(self._truth.base_position[2]) < FALL_HEIGHT_M
        return self._observe(robot.read()), reward, fallen, self._steps >= self._limit, terms

    def render(self) -> NDArray[np.uint8] | None:
        """A picture of 320 x 240, shape (240, 320, 3), or None without a render mode."""
        return self._live.camera(320, 240) if self.render_mode == "rgb_array" else None

    def close(self) -> None:
        """Close the robot."""
        if self._robot is not None:
            self._robot.close()
            self._robot = None

    @property
    def _live(self) -> SimulatedRobot:
        if self._robot is None:
            raise gym.error.ResetNeeded("call reset() first")
        return self._robot

    def _command(self, action: Array, ticks: int) -> None:
        robot = self._live
        spec = robot.spec
        target = spec.stand_position_rad + cast(Array, spec.leg_to_joint) @ (action * self._legs)
        for _ in range(ticks):
            robot.write(
                Command(mode=CommandMode.POSITION, target=target, kp=spec.kp, kd=spec.kd, sequence=self._sequence)
            )
            self._sequence += 1
            robot.step(0.02)

    def _observe(self, reading: Observation) -> NDArray[np.float32]:
        x, y, z, w = reading.orientation_xyzw
        up = (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y))
        flat = np.concatenate(
            (
                reading.joint_position - self._live.spec.stand_position_rad,
                0.1 * reading.joint_velocity,
                up,
                0.2 * reading.angular_velocity,
                reading.foot_contact,
                self._action,
            ),
            dtype=np.float32,
        )
        return np.clip(flat, -OBSERVATION_LIMIT, OBSERVATION_LIMIT)


def _reward(before: Truth, after: Truth, dt_s: float) -> tuple[float, dict[str, Any]]:
    """Forward speed up to the target, less energy and turning; the terms are returned by name."""
    velocity = (after.base_position - before.base_position) / dt_s
    speed = float(np.cos(before.yaw_rad) * velocity[0] + np.sin(before.yaw_rad) * velocity[1])
    energy = after.energy_j - before.energy_j
    turn = abs(float(after.angular_velocity[2]))
    reward = min(speed, TARGET_SPEED_MPS) / TARGET_SPEED_MPS - ENERGY_WEIGHT_PER_J * energy / dt_s - 0.1 * turn
    return reward, {"speed_mps": speed, "energy_j": energy, "turn_radps": turn}


for _id, _robot in ((ENV_ID, "minitaur"), (A1_ENV_ID, "a1")):
    if _id not in gym.registry:
        gym.register(id=_id, entry_point="sim.gym_env:WalkEnv", kwargs={"robot": _robot})
