"""A planar runner one of whose motors may be dead: PyBullet's half cheetah as Gymnasium environments.

``perdure/HalfCheetah-v0`` is whole; in ``perdure/HalfCheetahWithoutBthigh-v0`` the named motor has no torque, and so on
for the other five: the crippled joints of Nagabandi, Clavera et al. 2019 (arXiv 1803.11347). The body is the MJCF that
PyBullet ships, with the springs and dampers in its joints that the file has and PyBullet's loader leaves out: without
them it lies on its belly, and a step is hardly to be foretold. Motor torques and the length of a step are those of
PyBullet's own environment (pybullet_envs, robot_locomotors.py and gym_locomotion_envs.py). Nothing ends an episode but
its time.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from sim.quiet_bullet import p, pybullet_data, quiet

TORQUES_NM = {"bthigh": 108.0, "bshin": 81.0, "bfoot": 54.0, "fthigh": 126.0, "fshin": 54.0, "ffoot": 27.0}
"""Largest torque of each motor."""
SPRINGS_NM_PER_RAD = np.array((240.0, 180.0, 120.0, 180.0, 120.0, 60.0))
DAMPERS_NMS_PER_RAD = (6.0, 4.5, 3.0, 4.5, 3.0, 1.5)
"""Of each joint, in half_cheetah.xml; springs pull to 0."""
JOINTS = tuple(TORQUES_NM)
STEP_S, SUBSTEPS = 0.0165, 4
EPISODE_STEPS = 300
EFFORT = 0.05
"""Cost of a squared action beside a speed in m/s."""
START_SPREAD = 0.1
"""Joints begin up to this far from the middle, in rad, as in PyBullet's environment."""
VELOCITY_SCALE = 0.1
FORWARD = 2
"""Index of the forward speed in an observation, in m/s."""


class HalfCheetah(gym.Env[NDArray[np.float32], NDArray[np.float32]]):
    """Runs as fast as it can with little effort: reward is the speed ahead less `EFFORT` times the squared action.

    An observation holds height (m), pitch (rad), speed ahead and up (m/s), pitch rate (rad/s, times `VELOCITY_SCALE`),
    and for each joint its angle (rad) and its speed (as the pitch rate).
    """

    metadata: dict[str, Any] = {"render_modes": []}  # noqa: RUF012 - Gymnasium reads a dict
    dt = STEP_S

    def __init__(self, crippled: str | None = None) -> None:
        """Make a world of its own.

        Raises:
            ValueError: there is no such motor.
        """
        if crippled is not None and crippled not in TORQUES_NM:
            raise ValueError(f"no motor {crippled!r}; there are {', '.join(JOINTS)}")
        n = len(JOINTS)
        self.action_space = spaces.Box(-1.0, 1.0, (n,), np.float32)
        self.observation_space = spaces.Box(-np.inf, np.inf, (5 + 2 * n,), np.float32)
        self._torque_nm = np.array([0.0 if name == crippled else torque for name, torque in TORQUES_NM.items()])
        with quiet():
            self._client = p.connect(p.DIRECT)
        models = Path(pybullet_data.getDataPath())
        self._floor = p.loadURDF(str(models / "plane_implicit.urdf"), physicsClientId=self._client)
        (self._body, *_) = p.loadMJCF(str(models / "mjcf" / "half_cheetah.xml"), physicsClientId=self._client)
        p.setGravity(0.0, 0.0, -9.8, physicsClientId=self._client)
        p.setPhysicsEngineParameter(
            fixedTimeStep=STEP_S / SUBSTEPS,
            numSolverIterations=5,
            deterministicOverlappingPairs=1,
            physicsClientId=self._client,
        )
        self._index: dict[str, int] = {}
        self._torso = -1
        for index in range(p.getNumJoints(self._body, physicsClientId=self._client)):
            info = p.getJointInfo(self._body, index, physicsClientId=self._client)
            self._index[info[1].decode()] = index
            if info[12].decode() == "torso":
                self._torso = index
            p.setJointMotorControl2(self._body, index, p.VELOCITY_CONTROL, force=0.0, physicsClientId=self._client)
        self._motors = [self._index[name] for name in JOINTS]
        for index, damping in zip(self._motors, DAMPERS_NMS_PER_RAD, strict=True):
            p.changeDynamics(self._body, index, jointDamping=damping, physicsClientId=self._client)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        """Begin near the middle of all joints."""
        super().reset(seed=seed, options=options)
        for index in self._index.values():
            p.resetJointState(self._body, index, 0.0, 0.0, physicsClientId=self._client)
        for index in self._motors:
            angle = float(self.np_random.uniform(-START_SPREAD, START_SPREAD))
            p.resetJointState(self._body, index, angle, 0.0, physicsClientId=self._client)
        return self._seen(), {}

    def step(self, action: NDArray[np.float32]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """One step; actions beyond their bounds count as the bounds."""
        clipped = np.clip(action, -1.0, 1.0)
        motors_nm = self._torque_nm * clipped
        before = self._ahead_m()
        for _ in range(SUBSTEPS):
            joints = p.getJointStates(self._body, self._motors, physicsClientId=self._client)
            torques = (motors_nm - SPRINGS_NM_PER_RAD * [state[0] for state in joints]).tolist()
            p.setJointMotorControlArray(
                self._body, self._motors, p.TORQUE_CONTROL, forces=torques, physicsClientId=self._client
            )
            p.stepSimulation(physicsClientId=self._client)
        speed = (self._ahead_m() - before) / STEP_S
        effort = float(np.square(clipped).sum())
        return self._seen(), speed - EFFORT * effort, False, False, {"speed_mps": speed}

    def close(self) -> None:
        """End the world."""
        if p.isConnected(self._client):
            p.disconnect(self._client)

    def _ahead_m(self) -> float:
        return float(p.getLinkState(self._body, self._torso, physicsClientId=self._client)[0][0])

    def _seen(self) -> NDArray[np.float32]:
        state = p.getLinkState(self._body, self._torso, computeLinkVelocity=1, physicsClientId=self._client)
        pitch = p.getEulerFromQuaternion(state[1])[1]
        joints = p.getJointStates(self._body, self._motors, physicsClientId=self._client)
        (speed, _, climb), (_, turning, _) = state[6], state[7]
        body = (state[0][2], pitch, speed, climb, VELOCITY_SCALE * turning)
        angles = [each[0] for each in joints]
        return np.array([*body, *angles, *(VELOCITY_SCALE * each[1] for each in joints)], np.float32)


def env_id(crippled: str | None = None) -> str:
    """Identifier of the environment without a motor, to be made with the module's name before it.

    Raises:
        ValueError: there is no such motor.
    """
    if crippled is not None and crippled not in TORQUES_NM:
        raise ValueError(f"no motor {crippled!r}; there are {', '.join(JOINTS)}")
    return f"perdure/HalfCheetah{'' if crippled is None else 'Without' + crippled.capitalize()}-v0"


for _name in (None, *JOINTS):
    gym.register(
        id=env_id(_name),
        entry_point="sim.half_cheetah:HalfCheetah",
        kwargs={"crippled": _name},
        max_episode_steps=EPISODE_STEPS,
    )
