"""A robot that lives in another process (`agent.robot_host`): the client's end, a `Robot` like any other.

While its host is being started again its readings are old, which the sensor monitor takes for what it is.
"""

from __future__ import annotations

from collections.abc import Callable

from agent.host_link import HostLink
from agent.robot_host import CUT, STOP, AskHealth, HostJob, Place, ReadingFormat, pack_command, pack_order
from sim.drift import DriftSchedule, DriftSubject
from sim.robot import Command, Health, Observation, RobotSpec
from sim.state import Pose, SimulationError

ANSWER_TIMEOUT_S = 0.2
PLACE_TIMEOUT_S = 10.0


def open_remote_robot(job: HostJob, on_restart: Callable[[str], None]) -> RemoteRobot:
    """Start a host and return its robot; arguments and errors as for `HostLink`."""
    link = HostLink(job, on_restart)
    return RemoteSimulatedRobot(link) if link.placeable else RemoteRobot(link)


class RemoteRobot:
    """The robot of a host."""

    def __init__(self, link: HostLink) -> None:
        """Use a host that is ready."""
        self._link = link
        self._format = ReadingFormat(link.spec)
        self._starts, self._count, self._explosions = link.starts, 0, 0
        self._offset_s = 0.0
        """Added to the host's stamps: those of a new one begin at 0 again."""
        self._last = self._newest()

    @property
    def spec(self) -> RobotSpec:
        """What is fixed about the robot."""
        return self._link.spec

    def read(self) -> Observation:
        """The newest reading; the last one again while there is no newer one.

        Raises:
            SimulationError: the physics exploded since the last call.
        """
        if self._link.boxes.reading.get(0)[0] == self._count:
            self._link.look_after()
        else:
            self._last = self._newest()
        return self._last

    def write(self, command: Command) -> None:
        """Set the command that the robot holds from now on."""
        self._link.boxes.command.put(pack_command(command))

    def stop(self) -> None:
        """Damping now, then torque off."""
        self._link.boxes.command.put(pack_order(STOP))

    def cut(self) -> None:
        """Torque off at once."""
        self._link.boxes.command.put(pack_order(CUT))

    def health(self) -> Health:
        """The robot's own word, or that it does not answer."""
        answer = self._link.ask(AskHealth(), ANSWER_TIMEOUT_S)
        if isinstance(answer, Health):
            return answer
        return Health(ok=False, problems=("the robot's process does not answer",))

    def close(self) -> None:
        """End the host."""
        self._link.close()

    def _newest(self) -> Observation:
        self._count, values = self._link.boxes.reading.get(self._format.width)
        silent_s = self._link.heard()
        if self._link.starts != self._starts:
            self._starts, self._explosions = self._link.starts, 0
            self._offset_s = self._last.stamp_s + silent_s - float(values[0])
        exploded, self._explosions = int(values[1]) > self._explosions, int(values[1])
        if exploded:
            raise SimulationError("the simulation exploded; its world was rebuilt, place the robot to go on")
        return self._format.unpack(values, self._offset_s + float(values[0]))


class RemoteSimulatedRobot(RemoteRobot):
    """A simulated one: whoever plays the person can put it down, and it can be made to drift."""

    @property
    def drift_subject(self) -> DriftSubject:
        """How to say how it drifts."""
        assert self._link.drift_subject is not None
        return self._link.drift_subject

    def follow_drift(self, schedule: DriftSchedule, robot_s: float) -> None:
        """Drift by a schedule from now on, whose time is ``robot_s`` now; its host is told, and not waited for."""
        self._link.follow_drift(schedule, robot_s)

    def place(self, pose: Pose) -> None:
        """Put the robot down.

        Raises:
            RuntimeError: its host does not answer.
        """
        self._link.revive()
        if not isinstance(self._link.ask(Place(pose), PLACE_TIMEOUT_S), Health):
            raise RuntimeError("the robot's process does not answer; the robot could not be placed")
        self._last = self._newest()
