"""A simulated arm behind the `Robot` protocol: its own controller, its force limit, and sensors of its scene.

Every placement builds a new PyBullet world, so that the same placement and commands give the same motion.
"""

from __future__ import annotations

import contextlib
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sim.arm_scene import CUBE_HALF_M, DOOR_TRAVEL_M, TRAY_HALF_M, TRAY_M, ArmScene, handle_at
from sim.quiet_bullet import p, pybullet_data, quiet
from sim.robot import Array, Command, CommandMode, Health, Observation, RobotSpec
from sim.state import Pose, SimulationError

PHYSICS_HZ = 250
COMMAND_TIMEOUT_S = 0.2
"""Without a new command for this long the arm holds its joints where they are."""
FORCE_STOP_S = 0.5
"""How long a force beyond the limit stops the arm; commands that come meanwhile are lost."""
BACK_OFF_S = 0.2
"""Such a stop goes back to where the joints were so long before, so that nothing stays pressed."""
_WRIST = 6
"""Link that carries the hand."""
_HAND = (0.0, 0.022, 0.269)
"""The point between the fingertips, in its frame."""
_ARM = tuple(range(7))
_FLANGE = 7
"""A joint of the model, where the gripper is bolted to the arm."""
_FINGERS, _TIPS = (8, 11), (10, 13)
_FINGER_SIGNS = (-1.0, 1.0)
_GRIP_NM, _TIP_NM = 2.5, 2.0
"""pybullet_envs' kuka.py: what a finger presses with, and what holds its tip."""
_SLACK_RAD = 0.02
"""Of a finger beyond its limits, where it meets its stop."""
_BOLTS_NM = 1000.0
_COUPLING_N = 100.0
"""What keeps the fingers at the same angle; in the model each turns by itself."""
_ROOM_C = 30.0


@dataclass(frozen=True, kw_only=True)
class ArmSensors:
    """Standard deviations of what the arm measures. All assumed, but for the encoders: they are better than 0.1 mm at
    the hand, KUKA's repeatability, and count as exact.
    """

    force_n: float = 1.0
    object_m: float = 0.002
    """A marker on the object, seen by a camera above the tray."""
    object_yaw_rad: float = 0.02
    door_m: float = 0.001
    """A linear encoder on the door's rail; from it comes the handle's place."""
    dropouts_per_s: float = 0.02
    dropout_s: float = 0.2
    """Mean length of a drop-out of the camera; lengths are exponential."""


@dataclass(frozen=True, kw_only=True)
class ArmTruth:
    """What really is, for evaluation only."""

    time_s: float
    hand_m: Array
    """Shape: (3,)."""
    object_m: Array
    """Shape: (3,)."""
    door_m: float
    """How far the door is open."""
    force_n: Array
    """On the hand, from whatever it touches. Shape: (3,)."""

    @property
    def object_lost(self) -> bool:
        """Whether the object has left the tray for good."""
        x, y, z = self.object_m - np.array(TRAY_M)
        return bool(max(abs(x), abs(y)) > TRAY_HALF_M + 0.1 or z < 0.0)


class SimulatedArm:
    """An arm with a gripper, which takes joint positions and holds them with its own controller.

    Where it gets no commands, is stopped or is cut off, its brakes hold it: an arm does not go limp.
    """

    def __init__(self, spec: RobotSpec, *, seed: int = 0, sensors: ArmSensors | None = None) -> None:
        """Build the world: the arm in its stance, the object in the middle of the tray, the door half open.

        Args:
            spec: what is fixed about the arm.
            seed: of the sensors' noise.
            sensors: realistic noise when None.
        """
        self._spec = spec
        self._sensors = sensors or ArmSensors()
        self._rng = np.random.default_rng(seed)
        self._client = -1
        self._closed = False
        self._tick = 0
        self._owed_steps = 0.0
        self._sequence = -1
        self._problem = ""
        self._stopped_until = self._expiry = -1
        self._seen = np.zeros(4)
        self._blind_until_s = 0.0
        self._cached: Observation | None = None
        n = spec.n_joints
        self._cool, self._level, self._still = np.full(n, _ROOM_C), np.array((0.0, 0.0, 0.0, 1.0)), np.zeros(3)
        self._build(spec.stand_position_rad)

    @property
    def spec(self) -> RobotSpec:
        """What is fixed about the arm."""
        return self._spec

    @property
    def time_s(self) -> float:
        """Robot clock."""
        return self._tick / PHYSICS_HZ

    # --- what a real arm has -----------------------------------------------------------------------------------------

    def read(self) -> Observation:
        """The newest reading; two readings at the same time are the same measurement."""
        self._check_open()
        if self._cached is None:
            self._cached = self._measure()
        return self._cached

    def write(self, command: Command) -> None:
        """Set the joint positions that the arm goes to; torques it does not take.

        Raises:
            ValueError: the target or the gains' scale have the wrong shape, a number is not finite, a gain is negative,
                or the mode is `CommandMode.TORQUE`.
        """
        self._check_open()
        if command.sequence <= self._sequence:
            return
        if command.mode is CommandMode.TORQUE:
            raise ValueError(f"{self._spec.name} takes no torques; send joint positions")
        if command.target.shape != (self._spec.n_joints,) or not np.isfinite(command.target).all():
            raise ValueError(f"command {command.sequence} needs {self._spec.n_joints} finite joint positions")
        if not (0.0 <= command.kp < math.inf and 0.0 <= command.kd < math.inf):
            raise ValueError(f"gains kp={command.kp}, kd={command.kd} must be finite and not negative")
        scale = np.ones(self._spec.n_joints) if command.gain_scale is None else command.gain_scale
        if scale.shape != (self._spec.n_joints,) or not (np.isfinite(scale) & (scale >= 0.0)).all():
            raise ValueError(f"command {command.sequence} needs a gain_scale of finite numbers that are not negative")
        self._sequence = command.sequence
        if self._tick < self._stopped_until:
            return
        if command.mode is CommandMode.DAMPING:
            self._brake()
            return
        self._target = np.clip(command.target, self._spec.position_lower_rad, self._spec.position_upper_rad)
        self._expiry = self._tick + round(COMMAND_TIMEOUT_S * PHYSICS_HZ)
        self._drive(command.kp, command.kd, scale)

    def stop(self) -> None:
        """Brake at once; a newer command moves the arm again."""
        if not self._closed:
            self._brake()

    def cut(self) -> None:
        """As `stop`: brakes close by themselves where there is no current."""
        self.stop()

    def health(self) -> Health:
        """A closed arm, an exploded simulation."""
        problems = [self._problem] if self._problem else []
        if self._closed:
            problems.append("robot is closed")
        return Health(ok=not problems, problems=tuple(problems))

    def close(self) -> None:
        """Close the physics; closing twice does nothing."""
        self._closed = True
        self._disconnect()

    def __enter__(self) -> SimulatedArm:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what only a simulation has ----------------------------------------------------------------------------------

    def step(self, dt_s: float) -> None:
        """Advance the robot clock by whole physics steps; the rest of ``dt_s`` counts in the next call.

        Raises:
            SimulationError: the physics exploded; `health` says so until `place`.
        """
        self._check_open()
        self._owed_steps += dt_s * PHYSICS_HZ
        steps = math.floor(self._owed_steps + 1e-6)  # a sum of float periods may be a hair short
        self._owed_steps -= steps
        for _ in range(steps):
            if self._tick == self._expiry:
                self._brake()
            p.stepSimulation(physicsClientId=self._client)
            self._tick += 1
            self._way.append(self._angles())
            if self._tick >= self._stopped_until:
                self._mind_force()
        self._cached = None
        if not np.isfinite([state[0] for state in self._joint_states()]).all():
            self._build(self._spec.stand_position_rad)
            self._problem = (
                f"simulation exploded at {self.time_s:.3f} s; the world was rebuilt, place the robot to go on"
            )
            raise SimulationError(self._problem)

    def place(self, pose: Pose) -> None:
        """Do what a person does: the object in the middle of the tray, the door half open, the arm in its stance.

        Args:
            pose: its joint positions are the arm's, where it has any; an arm's base stays where it is.
        """
        self._check_open()
        self._problem = ""
        joints = self._spec.stand_position_rad if pose.joint_position is None else np.array(pose.joint_position)
        self._build(joints)

    def put_object(self, x_m: float, y_m: float, yaw_rad: float = 0.0, z_m: float = CUBE_HALF_M + 0.02) -> None:
        """Put the object somewhere, at rest."""
        self._check_open()
        self._scene.put_object(x_m, y_m, yaw_rad, z_m)
        self._cached = None

    def put_door(self, open_m: float) -> None:
        """Put the door somewhere between its end stops, at rest.

        Raises:
            ValueError: that is beyond an end stop.
        """
        self._check_open()
        self._scene.put_door(open_m)
        self._cached = None

    def scatter(self, rng: np.random.Generator) -> None:
        """Put object and door anywhere that the hand reaches."""
        assert self._spec.arm is not None
        lower, upper = self._spec.arm.box_lower_m, self._spec.arm.box_upper_m
        x, y, yaw = rng.uniform((*lower[:2], -math.pi), (*upper[:2], math.pi))
        self.put_object(x, y, yaw)
        self.put_door(rng.uniform(0.0, DOOR_TRAVEL_M))

    def truth(self) -> ArmTruth:
        """What really is, for evaluation only."""
        self._check_open()
        hand, _ = self._hand()
        return ArmTruth(
            time_s=self.time_s,
            hand_m=np.array(hand),
            object_m=self._scene.object_pose[:3],
            door_m=self._scene.door_m,
            force_n=np.array(self._force()),
        )

    # --- inside ------------------------------------------------------------------------------------------------------

    def _build(self, joints: Array) -> None:
        if joints.shape != (self._spec.n_joints,):
            raise ValueError(f"pose has {len(joints)} joint positions, the robot has {self._spec.n_joints} joints")
        self._disconnect()
        with quiet():
            c = self._client = int(p.connect(p.DIRECT))
            if c < 0:
                raise RuntimeError("PyBullet gave no physics client; close robots that are no longer used")
            p.setTimeStep(1.0 / PHYSICS_HZ, physicsClientId=c)
            p.setGravity(0.0, 0.0, -9.81, physicsClientId=c)
            p.setPhysicsEngineParameter(deterministicOverlappingPairs=1, physicsClientId=c)
            model = Path(pybullet_data.getDataPath()) / "kuka_iiwa" / "kuka_with_gripper2.sdf"
            (self._body,) = p.loadSDF(str(model), physicsClientId=c)
        self._scene = ArmScene(c)
        foot, _ = p.getDynamicsInfo(self._body, -1, physicsClientId=c)[3:5]
        p.resetBasePositionAndOrientation(self._body, foot, (0.0, 0.0, 0.0, 1.0), physicsClientId=c)
        for link in (*_TIPS, *_FINGERS):
            p.changeDynamics(self._body, link, lateralFriction=1.0, spinningFriction=0.01, physicsClientId=c)
        self._bolt_gripper()
        self._couple_fingers()
        for joint, angle in zip(_ARM, joints[:-1], strict=True):
            p.resetJointState(self._body, joint, angle, physicsClientId=c)
        for joint, sign in zip(_FINGERS, _FINGER_SIGNS, strict=True):
            p.resetJointState(self._body, joint, sign * joints[-1], physicsClientId=c)
        self._target = np.array(joints, np.float64)
        self._way = deque([self._angles()], maxlen=round(BACK_OFF_S * PHYSICS_HZ))
        self._stopped_until = self._expiry = -1
        self._cached = None
        self._brake()
        self._seen = self._scene.object_pose

    def _bolt_gripper(self) -> None:
        """Keep the gripper as it is mounted: left to itself the model's joint creeps by a degree a minute."""
        p.setJointMotorControl2(
            self._body,
            _FLANGE,
            p.POSITION_CONTROL,
            targetPosition=0.0,
            force=_BOLTS_NM,
            positionGain=0.5,
            physicsClientId=self._client,
        )

    def _couple_fingers(self) -> None:
        """Give the fingers stops, and one motion."""
        c, body = self._client, self._body
        low = float(self._spec.position_lower_rad[-1]) - _SLACK_RAD
        high = float(self._spec.position_upper_rad[-1]) + _SLACK_RAD
        for joint, sign in zip(_FINGERS, _FINGER_SIGNS, strict=True):
            stops = sorted((sign * low, sign * high))
            p.changeDynamics(body, joint, jointLowerLimit=stops[0], jointUpperLimit=stops[1], physicsClientId=c)
        axis, here = (0.0, 1.0, 0.0), (0.0, 0.0, 0.0)
        gear = p.createConstraint(
            body, _FINGERS[0], body, _FINGERS[1], p.JOINT_GEAR, axis, here, here, physicsClientId=c
        )
        p.changeConstraint(gear, gearRatio=1.0, maxForce=_COUPLING_N, erp=0.5, physicsClientId=c)

    def _disconnect(self) -> None:
        if self._client >= 0:
            with contextlib.suppress(p.error):
                p.disconnect(physicsClientId=self._client)
        self._client = -1

    def _drive(self, kp: float, kd: float, scale: Array) -> None:
        """Give the joints' own controllers their targets and gains."""
        c, body, spec = self._client, self._body, self._spec
        for joint in _ARM:
            p.setJointMotorControl2(
                body,
                joint,
                p.POSITION_CONTROL,
                targetPosition=self._target[joint],
                force=spec.torque_limit_nm[joint],
                positionGain=kp * scale[joint],
                velocityGain=kd * scale[joint],
                maxVelocity=spec.velocity_limit_radps[joint],
                physicsClientId=c,
            )
        for joint, sign in zip(_FINGERS, _FINGER_SIGNS, strict=True):
            p.setJointMotorControl2(
                body,
                joint,
                p.POSITION_CONTROL,
                targetPosition=sign * self._target[-1],
                force=_GRIP_NM,
                maxVelocity=spec.velocity_limit_radps[-1],
                physicsClientId=c,
            )
        for joint in _TIPS:
            p.setJointMotorControl2(
                body, joint, p.POSITION_CONTROL, targetPosition=0.0, force=_TIP_NM, physicsClientId=c
            )

    def _brake(self) -> None:
        """Hold all joints where they are; what is gripped stays gripped."""
        self._hold(self._angles())

    def _hold(self, joints: Sequence[float]) -> None:
        self._target[:-1] = joints
        self._expiry = -1
        self._drive(self._spec.kp, self._spec.kd, np.ones(self._spec.n_joints))

    def _mind_force(self) -> None:
        if math.hypot(*self._force()) > self._spec.hand_force_limit_n:
            self._hold(self._way[0])
            self._stopped_until = self._tick + round(FORCE_STOP_S * PHYSICS_HZ)

    def _joint_states(self) -> Sequence[tuple[float, float, tuple[float, ...], float]]:
        """Position, velocity, reaction and torque of the arm's joints and of one finger."""
        states: Sequence[tuple[float, float, tuple[float, ...], float]] = p.getJointStates(
            self._body, (*_ARM, _FINGERS[1]), physicsClientId=self._client
        )
        return states

    def _angles(self) -> list[float]:
        """Positions of the arm's joints."""
        return [state[0] for state in p.getJointStates(self._body, _ARM, physicsClientId=self._client)]

    def _hand(self) -> tuple[tuple[float, float, float], float]:
        """Where the hand is, and its heading."""
        frame, turn = p.getLinkState(self._body, _WRIST, computeForwardKinematics=1, physicsClientId=self._client)[4:6]
        r = p.getMatrixFromQuaternion(turn)
        x, y, z = (frame[k] + sum(r[3 * k + i] * _HAND[i] for i in range(3)) for k in range(3))
        return (x, y, z), math.atan2(-r[3], -r[0])

    def _force(self) -> tuple[float, float, float]:
        """What the arm is pushed by. What the fingers press on an object between them cancels out."""
        total = [0.0, 0.0, 0.0]
        for contact in p.getContactPoints(bodyA=self._body, physicsClientId=self._client):
            if contact[2] != self._body:
                for size, direction in (
                    (contact[9], contact[7]),
                    (contact[10], contact[11]),
                    (contact[12], contact[13]),
                ):
                    for axis in range(3):
                        total[axis] += size * direction[axis]
        return total[0], total[1], total[2]

    def _measure(self) -> Observation:
        s, states = self._sensors, self._joint_states()
        seen = self._camera_sees()
        if seen:
            noise = (s.object_m, s.object_m, s.object_m, s.object_yaw_rad) * self._rng.standard_normal(4)
            self._seen = self._scene.object_pose + noise
        hand, heading = self._hand()
        force = np.array(self._force()) + s.force_n * self._rng.standard_normal(3)
        door = self._scene.door_m + s.door_m * self._rng.standard_normal()
        stopped = float(self._tick < self._stopped_until)
        return Observation(
            stamp_s=self.time_s,
            joint_position=np.array([state[0] for state in states]),
            joint_velocity=np.array([state[1] for state in states]),
            joint_torque=np.array([state[3] for state in states]),
            orientation_xyzw=self._level,
            angular_velocity=self._still,
            foot_contact=np.zeros(0),
            battery_v=0.0,
            motor_temperature_c=self._cool,
            base_position=self._still,
            base_yaw=0.0,
            base_valid=seen,
            extra=np.array((*hand, heading, *force, stopped, *self._seen, door, *handle_at(door))),
        )

    def _camera_sees(self) -> bool:
        """Whether the camera sees the object at this reading."""
        now_s = self.time_s
        if now_s < self._blind_until_s:
            return False
        period_s = 1.0 / self._spec.control_rate_hz
        if self._rng.random() < self._sensors.dropouts_per_s * period_s:
            self._blind_until_s = now_s + self._rng.exponential(self._sensors.dropout_s)
            return False
        return True

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the robot is closed")
