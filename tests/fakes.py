"""A robot made of arithmetic, for tests of the agent: 8 joints, 4 feet, no physics, every reading scripted."""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np

from sim.robot import Command, CommandMode, Health, Observation, RobotSpec
from sim.state import Pose

DT_S = 0.02
N_JOINTS = 8


def fake_spec() -> RobotSpec:
    stand = np.full(N_JOINTS, 0.5)
    return RobotSpec(
        name="fake",
        simulated=True,
        joint_names=tuple(f"joint_{i}" for i in range(N_JOINTS)),
        foot_names=("front_left", "back_left", "front_right", "back_right"),
        position_lower_rad=np.full(N_JOINTS, -2.0),
        position_upper_rad=np.full(N_JOINTS, 2.0),
        velocity_limit_radps=np.full(N_JOINTS, 10.0),
        torque_limit_nm=np.full(N_JOINTS, 3.0),
        stand_position_rad=stand,
        stand_height_m=0.2,
        kp=1.0,
        kd=0.02,
        leg_to_joint=np.eye(N_JOINTS),
        hip_positions_m=np.array([(x, y, 0.0) for y in (0.1, -0.1) for x in (0.2, -0.2)]),
        battery_nominal_v=16.0,
        battery_minimum_v=14.0,
        motor_temperature_limit_c=80.0,
    )


def observation(stamp_s: float = 0.0, *, tilt_rad: float = 0.0, x_m: float = 0.0, y_m: float = 0.0) -> Observation:
    """An upright robot at rest, but for what is given; the tilt is a roll."""
    return Observation(
        stamp_s=stamp_s,
        joint_position=np.full(N_JOINTS, 0.5),
        joint_velocity=np.zeros(N_JOINTS),
        joint_torque=np.zeros(N_JOINTS),
        orientation_xyzw=np.array([math.sin(tilt_rad / 2), 0.0, 0.0, math.cos(tilt_rad / 2)]),
        angular_velocity=np.zeros(3),
        foot_contact=np.ones(4),
        battery_v=16.0,
        motor_temperature_c=np.full(N_JOINTS, 30.0),
        base_position=np.array([x_m, y_m, 0.2]),
        base_yaw=0.0,
        base_valid=True,
    )


class FakeRobot:
    """Goes where it is told in no time; `script` is called before each step and may change anything."""

    def __init__(self) -> None:
        self.spec = fake_spec()
        self.x_m = self.y_m = self.yaw_rad = self.tilt_rad = 0.0
        self.velocity_mps = (0.0, 0.0)
        """World velocity while it holds position commands."""
        self.temperature_c = 30.0
        self.torque_nm = 0.0
        self.spoil: Callable[[Observation], Observation] = lambda reading: reading
        """What is wrong with the sensors."""
        self.script: Callable[[FakeRobot], None] = lambda robot: None
        self.rights_itself = True
        """Whether position commands bring a tilted robot upright."""
        self.goes_home = True
        """Whether position commands move it towards the middle when it has been told no velocity."""
        self.problems: tuple[str, ...] = ()
        self.ticks = 0
        self.commands: list[Command] = []
        self.calls: list[str] = []
        self.places: list[float] = []
        self.powered = False
        """Whether the motors may have torque."""
        self.on_write: Callable[[Command], None] = lambda command: None
        self._held: Command | None = None
        self._joints = self.spec.stand_position_rad.copy()

    @property
    def time_s(self) -> float:
        return self.ticks * DT_S

    def read(self) -> Observation:
        self.calls.append("read")
        reading = observation(self.time_s, tilt_rad=self.tilt_rad, x_m=self.x_m, y_m=self.y_m)
        reading = replace(
            reading,
            joint_position=self._joints.copy(),
            joint_torque=np.full(N_JOINTS, self.torque_nm),
            motor_temperature_c=np.full(N_JOINTS, self.temperature_c),
            base_yaw=self.yaw_rad,
        )
        return self.spoil(reading)

    def write(self, command: Command) -> None:
        self.calls.append("write")
        if not (np.isfinite(command.target).all() and command.target.shape == (N_JOINTS,)):
            raise ValueError("the gate let a command through that no robot takes")
        self.on_write(command)
        self.commands.append(command)
        self._held = command
        self.powered = True

    def stop(self) -> None:
        self.calls.append("stop")
        self._held = None
        self.powered = False

    def cut(self) -> None:
        self.calls.append("cut")
        self._held = None
        self.powered = False

    def health(self) -> Health:
        return Health(ok=not self.problems, problems=self.problems)

    def close(self) -> None:
        self.powered = False

    def step(self, dt_s: float) -> None:
        self.calls.append("step")
        self.script(self)
        self.ticks += 1
        if self._held is None or self._held.mode is not CommandMode.POSITION:
            return
        self._joints = np.asarray(self._held.target, dtype=np.float64)
        if self.tilt_rad and self.rights_itself:
            self.tilt_rad = max(0.0, self.tilt_rad - 2.0 * dt_s)
        elif self.velocity_mps != (0.0, 0.0):
            self.x_m += dt_s * self.velocity_mps[0]
            self.y_m += dt_s * self.velocity_mps[1]
        elif self.goes_home:
            self.x_m -= math.copysign(min(abs(self.x_m), dt_s), self.x_m)
            self.y_m -= math.copysign(min(abs(self.y_m), dt_s), self.y_m)

    def place(self, pose: Pose) -> None:
        self.places.append(self.time_s)
        self.x_m, self.y_m = pose.position[0], pose.position[1]
        self.tilt_rad = 0.0
        self.velocity_mps = (0.0, 0.0)
        self._held = None
        self.powered = False


class FakeTime:
    """Wall time that passes only when somebody sleeps or a test says so."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def monotonic(self) -> float:
        # A busy wait must end: each look costs a little.
        self.now_s += 1e-7
        return self.now_s

    def sleep(self, seconds: float) -> None:
        self.now_s += max(0.0, seconds)
