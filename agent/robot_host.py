"""The robot in a process of its own: neither it nor the daemon falls with the other.

The host takes the newest command from one mailbox and puts its newest reading into another, so neither side waits for
the other. A simulator is stepped on the wall clock in slices of a control period: when commands cease, its own timer
damps the joints, as a real robot's does. Requests that need an answer go through a pipe.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from agent.clock import Steppable, sleep_until
from agent.mailbox import Mailbox
from agent.permit import Permission, PermitMemory
from agent.punctual import punctual
from agent.robots import load_robot
from sim.drift import DriftSchedule, DriftSubject
from sim.robot import Array, Command, CommandMode, FrameLayout, Observation, Robot, RobotSpec
from sim.simulated_robot import SimulatedRobot
from sim.state import Pose, SimulationError

ROOM = 1024
"""Numbers that fit a mailbox; a quadruped's reading has 75."""
SLICES = 5
"""Parts of a control period in which commands are taken and readings given."""
MODES = tuple(CommandMode)
STOP, CUT = len(MODES), len(MODES) + 1
"""Orders, where a command has the index of its mode."""


@dataclass(frozen=True, kw_only=True)
class HostJob:
    """How to start a host."""

    name: str
    seed: int
    latency_ms: float | None
    slope_deg: float = 0.0
    held_out: bool = False
    rate_hz: float | None = None
    """Control rate of the daemon; None: the robot's own."""
    core: int | None = None
    permit: Path | None = None
    """Where the guard's permit is shared; None: whatever is commanded is done."""
    place: Path | None = None
    """File that keeps where a simulated robot is, for the host after this one."""
    again: bool = False
    """Whether a simulated robot lies where the host before had it; else it stands at the origin."""
    dynamics: Mapping[str, Any] = field(default_factory=dict)
    """In what a simulated robot's dynamics are not its nominal ones, by the names of `sim.dynamics.DynamicsParams`."""
    drift: FollowDrift | None = None
    """How a simulated robot drifts."""


@dataclass(frozen=True)
class FollowDrift:
    """Tells a simulated robot to drift from now on; there is no answer."""

    schedule: DriftSchedule
    robot_s: float
    """Robot time of the daemon when it said so."""
    told_s: float
    """The monotonic clock then, which all processes share."""

    def obey(self, robot: SimulatedRobot) -> None:
        """Let the robot follow, which may have just been started."""
        robot.follow_drift(self.schedule, self.robot_s + time.monotonic() - self.told_s)


@dataclass(frozen=True)
class Mailboxes:
    """Between a host and its client."""

    command: Mailbox
    reading: Mailbox
    place: Mailbox
    """Where a simulated robot truly is, so that the world can be built again after a crash; see `pack_place`."""

    @classmethod
    def new(cls, place: Path | None = None) -> Mailboxes:
        """Empty ones, but for a place that an earlier host left in a file."""
        return cls(Mailbox(ROOM), Mailbox(ROOM), Mailbox(ROOM, place))


@dataclass(frozen=True, kw_only=True)
class Hello:
    """What a host says once it is ready."""

    spec: RobotSpec
    placeable: bool
    drift: DriftSubject | None
    """How to say how it drifts; None for robots that cannot."""


@dataclass(frozen=True)
class Refused:
    """Why a host could not start."""

    reason: str


@dataclass(frozen=True)
class AskHealth:
    """Asks for a `Health`."""


@dataclass(frozen=True)
class Place:
    """Asks a simulated robot to be put down; answered by a `Health`."""

    pose: Pose


@dataclass(frozen=True)
class Close:
    """Asks the host to end."""


Request = AskHealth | Place | FollowDrift | Close


class ReadingFormat:
    """A reading as a flat vector: stamp, explosions of a simulation so far, then the fields of a frame."""

    def __init__(self, spec: RobotSpec) -> None:
        """For one robot."""
        layout = FrameLayout.of(spec)
        self._slices = {name: slice(s.start + 2, s.stop + 2) for name, s in layout.slices().items()}
        self.width = layout.width + 2
        """Numbers of a reading."""

    def pack(self, observation: Observation, explosions: int) -> Array:
        """Shape: (`width`,)."""
        values = np.empty(self.width)
        values[0], values[1] = observation.stamp_s, explosions
        for name, where in self._slices.items():
            values[where] = getattr(observation, name)
        return values

    def unpack(self, values: Array, stamp_s: float) -> Observation:
        """The reading, stamped anew; its arrays are views of ``values``."""
        field = {name: values[where] for name, where in self._slices.items()}
        return Observation(
            stamp_s=stamp_s,
            joint_position=field["joint_position"],
            joint_velocity=field["joint_velocity"],
            joint_torque=field["joint_torque"],
            orientation_xyzw=field["orientation_xyzw"],
            angular_velocity=field["angular_velocity"],
            foot_contact=field["foot_contact"],
            battery_v=float(field["battery_v"][0]),
            motor_temperature_c=field["motor_temperature_c"],
            base_position=field["base_position"],
            base_yaw=float(field["base_yaw"][0]),
            base_valid=bool(field["base_valid"][0]),
            extra=field["extra"],
        )


def pack_command(command: Command) -> Array:
    """Mode, gains, targets and the gains' scale. Shape: (3 + 2 n_joints,)."""
    scale = np.ones(len(command.target)) if command.gain_scale is None else command.gain_scale
    return np.concatenate(((MODES.index(command.mode), command.kp, command.kd), command.target, scale))


def unpack_command(values: Array) -> Command:
    """The command that `pack_command` made these of; its arrays are views of ``values``."""
    mode, (target, scale) = MODES[int(values[0])], np.split(values[3:], 2)
    return Command(mode=mode, target=target, kp=float(values[1]), kd=float(values[2]), gain_scale=scale)


def pack_order(order: int) -> Array:
    """`STOP` or `CUT` in place of a command. Shape: (1,)."""
    return np.array([float(order)])


class RobotHost:
    """Runs one robot for a client in another process."""

    def __init__(self, robot: Robot, boxes: Mailboxes, rate_hz: float, permit: PermitMemory | None = None) -> None:
        """Host ``robot`` for control at ``rate_hz``; commands that were put before do not count."""
        self._permit = permit
        self._permission = Permission.TORQUE
        self._sequence = 0
        self._robot = robot
        self._boxes = boxes
        self._slice_s = 1.0 / (rate_hz * SLICES)
        self._format = ReadingFormat(robot.spec)
        self._width = 3 + 2 * robot.spec.n_joints
        self._taken = boxes.command.get(0)[0]
        self._live = False
        """Whether the joints may carry current by a command of ours."""
        self._explosions = 0
        self._open = True
        self._publish()

    def serve(self, connection: Connection) -> None:
        """Serve the client until it asks for the end, or is gone."""
        deadline_s = time.monotonic()
        while self._open:
            try:
                while self._open and connection.poll():
                    self._answer(connection)
            except (EOFError, OSError):
                return
            self._take_command()
            self._advance()
            self._publish()
            # What was missed is not made up: the world would move faster than its clock.
            deadline_s = max(deadline_s + self._slice_s, time.monotonic())
            sleep_until(deadline_s, spin_s=0.0)

    def _answer(self, connection: Connection) -> None:
        request: Request = connection.recv()
        if isinstance(request, Close):
            self._open = False
            return
        if isinstance(request, FollowDrift):
            assert isinstance(self._robot, SimulatedRobot)
            request.obey(self._robot)
            return
        if isinstance(request, Place):
            assert isinstance(self._robot, SimulatedRobot)
            self._robot.place(request.pose)
            self._publish()
        connection.send(self._robot.health())

    def _take_command(self) -> None:
        count, values = self._boxes.command.get(self._width)
        permission = self._permit.permission if self._permit is not None else Permission.TORQUE
        changed, self._permission = permission is not self._permission, permission
        new, self._taken = count != self._taken, count  # what the guard forbids is not made up for
        order = int(values[0]) if new else None
        if order == STOP:  # less torque is always allowed
            self._end(self._robot.stop)
        elif order == CUT:
            self._end(self._robot.cut)
        elif order is not None and permission is Permission.TORQUE:
            self._write(unpack_command(values))
        self._restrain(permission, changed=changed)

    def _restrain(self, permission: Permission, *, changed: bool) -> None:
        """The guard allows no more than this: damping is renewed, the rest is ordered once.

        Damping needs current too: a robot that carries none is left without.
        """
        spec = self._robot.spec
        if permission is Permission.DAMPING and self._live:
            self._write(Command(mode=CommandMode.DAMPING, target=np.zeros(spec.n_joints), kp=0.0, kd=spec.kd))
        elif permission is Permission.STOP and self._live:
            self._end(self._robot.stop)
        elif permission is Permission.CUT and changed:
            self._end(self._robot.cut)

    def _end(self, act: Callable[[], None]) -> None:
        act()
        self._live = False

    def _write(self, command: Command) -> None:
        # Whoever commands may have been started anew and count from 1 again; the robot's count only rises.
        self._sequence += 1
        self._live = True
        self._robot.write(replace(command, sequence=self._sequence))

    def _advance(self) -> None:
        if isinstance(self._robot, Steppable):
            try:
                self._robot.step(self._slice_s)
            except SimulationError:
                self._explosions += 1

    def _publish(self) -> None:
        self._boxes.reading.put(self._format.pack(self._robot.read(), self._explosions))
        if isinstance(self._robot, SimulatedRobot):
            self._boxes.place.put(pack_place(self._robot))


def pack_place(robot: SimulatedRobot) -> Array:
    """Number of joints, position, orientation and joint angles, and what the motors do. Shape: (9 + n_joints,)."""
    true, mode = robot.truth(), robot.motor_mode
    doing = -1.0 if mode is None else float(MODES.index(mode))
    n = len(true.joint_position)
    return np.concatenate(((n,), true.base_position, true.orientation_xyzw, true.joint_position, (doing,)))


def last_place(mailbox: Mailbox) -> Pose | None:
    """Where a host last had its simulated robot; None if there was none."""
    count, values = mailbox.get(ROOM)
    if not count:
        return None
    n, x, y, z, *rest = values.tolist()
    return Pose(
        position=(x, y, z),
        orientation_xyzw=(rest[0], rest[1], rest[2], rest[3]),
        joint_position=tuple(rest[4 : 4 + int(n)]),
    )


def host_main(connection: Connection, job: HostJob, boxes: Mailboxes) -> None:
    """Entry point of the process; signals to stop are the daemon's business, which then ends the host."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        robot = load_robot(
            job.name, job.seed, latency_ms=job.latency_ms, slope_deg=job.slope_deg, held_out=job.held_out
        )
        if isinstance(robot, SimulatedRobot):
            robot.set_dynamics(replace(robot.dynamics, **job.dynamics))
    except (ValueError, RuntimeError, OSError) as error:
        connection.send(Refused(str(error)))
        return
    pose = last_place(boxes.place) if job.again else None
    if pose is not None and isinstance(robot, SimulatedRobot):
        robot.place(pose)
    if job.drift is not None and isinstance(robot, SimulatedRobot):
        job.drift.obey(robot)
    permit = PermitMemory(job.permit) if job.permit is not None else None
    host = RobotHost(robot, boxes, job.rate_hz or robot.spec.control_rate_hz, permit)
    subject = robot.drift_subject if isinstance(robot, SimulatedRobot) else None
    connection.send(Hello(spec=robot.spec, placeable=isinstance(robot, SimulatedRobot), drift=subject))
    with punctual(job.core):
        host.serve(connection)
    robot.close()
    os._exit(0)  # nothing is left to do, and threads of a driver must not keep the process
