"""The robot in a process of its own: what it is told, what it tells, and what happens when either end is gone."""

import os
import signal
import time
from dataclasses import asdict, replace

import numpy as np
import pytest
from fakes import FakeRobot

from agent.clock import WallClock
from agent.permit import GUARD_SILENCE_S, Permission, PermitMemory
from agent.remote_robot import RemoteSimulatedRobot, open_remote_robot
from agent.robot_host import (
    CUT,
    SLICES,
    STOP,
    HostJob,
    Mailboxes,
    ReadingFormat,
    RobotHost,
    last_place,
    pack_command,
    pack_order,
    unpack_command,
)
from sim.minitaur import make_minitaur
from sim.robot import Command, CommandMode, Robot
from sim.state import Pose, SimulationError

DT_S = 0.02
JOB = HostJob(name="minitaur", seed=0, latency_ms=None)


def stance(spec) -> Command:
    return Command(mode=CommandMode.POSITION, target=spec.stand_position_rad, kp=spec.kp, kd=spec.kd)


def until(condition, seconds: float = 30.0) -> None:
    deadline_s = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline_s, "it did not happen in time"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def shared():
    robot = open_remote_robot(JOB, lambda reason: pytest.fail(reason))
    yield robot
    robot.close()


@pytest.fixture
def own():
    """A robot whose process a test may harm, and what was said of it."""
    reasons: list[str] = []
    robot = open_remote_robot(JOB, reasons.append)
    yield robot, reasons
    robot.close()


class TestHost:
    """The host's loop, slice by slice, in this process."""

    @pytest.fixture
    def hosted(self):
        boxes = Mailboxes.new()
        with make_minitaur(0) as robot:
            yield robot, boxes, RobotHost(robot, boxes, 1.0 / DT_S)

    def slices(self, host: RobotHost, n: int) -> None:
        for _ in range(n):
            host._take_command()
            host._advance()
            host._publish()

    def test_a_reading_survives_the_mailbox(self, hosted):
        robot, boxes, host = hosted
        self.slices(host, 7)
        form = ReadingFormat(robot.spec)
        _, values = boxes.reading.get(form.width)
        got, wanted = form.unpack(values, float(values[0])), robot.read()
        for name in wanted.__slots__:
            np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name), err_msg=name)

    def test_its_place_can_be_taken_again(self, hosted):
        robot, boxes, host = hosted
        robot.place(Pose.standing(1.0, -0.5, 0.7))
        self.slices(host, 1)
        before = robot.truth()
        robot.place(last_place(boxes.place))
        np.testing.assert_allclose(robot.truth().base_position[:2], before.base_position[:2], atol=1e-3)
        np.testing.assert_allclose(robot.truth().joint_position, before.joint_position, atol=1e-6)

    def test_a_period_of_slices_is_a_period_of_the_robots_clock(self, hosted):
        robot, _, host = hosted
        begun_s = robot.time_s
        self.slices(host, 10 * SLICES)
        assert robot.time_s - begun_s == pytest.approx(10 * DT_S)

    @pytest.mark.parametrize("scale", [None, np.linspace(0.5, 2.0, 8)])
    def test_a_command_survives_the_mailbox(self, hosted, scale):
        robot, boxes, _ = hosted
        sent = replace(stance(robot.spec), gain_scale=scale)
        boxes.command.put(pack_command(sent))
        got = unpack_command(boxes.command.get(3 + 2 * robot.spec.n_joints)[1])
        assert (got.mode, got.kp, got.kd) == (sent.mode, sent.kp, sent.kd)
        np.testing.assert_array_equal(got.target, sent.target)
        np.testing.assert_array_equal(got.gain_scale, np.ones(8) if scale is None else scale)

    def test_a_command_moves_it_and_silence_damps_it(self, hosted):
        robot, boxes, host = hosted
        boxes.command.put(pack_command(stance(robot.spec)))
        self.slices(host, SLICES)
        assert robot.motor_mode is CommandMode.POSITION
        self.slices(host, round(0.25 / DT_S * SLICES))
        assert robot.motor_mode is CommandMode.DAMPING

    def test_a_stop_ends_in_no_torque_and_a_newer_command_starts_again(self, hosted):
        robot, boxes, host = hosted
        boxes.command.put(pack_command(stance(robot.spec)))
        self.slices(host, SLICES)
        boxes.command.put(pack_order(STOP))
        self.slices(host, round(0.6 / DT_S * SLICES))
        assert robot.motor_mode is None
        boxes.command.put(pack_command(stance(robot.spec)))
        self.slices(host, SLICES)
        assert robot.motor_mode is CommandMode.POSITION

    def test_what_was_commanded_before_it_began_does_not_count(self):
        boxes = Mailboxes.new()
        with make_minitaur(0) as robot:
            boxes.command.put(pack_command(stance(robot.spec)))
            host = RobotHost(robot, boxes, 1.0 / DT_S)
            self.slices(host, SLICES)
            assert robot.motor_mode is None

    @pytest.fixture
    def guarded(self, tmp_path):
        """A hosted robot that stands, with a permit."""
        boxes, permit = Mailboxes.new(), PermitMemory(tmp_path / "permit")
        with make_minitaur(0) as robot:
            host = RobotHost(robot, boxes, 1.0 / DT_S, permit)

            def run(permission: Permission, slices: int, *, commanded: bool = True) -> CommandMode | None:
                for _ in range(slices):
                    permit.allow(permission, latched=False)
                    if commanded:
                        boxes.command.put(pack_command(stance(robot.spec)))
                    self.slices(host, 1)
                return robot.motor_mode

            yield run
        permit.close()

    @pytest.mark.parametrize(
        ("permission", "mode"),
        [(Permission.DAMPING, CommandMode.DAMPING), (Permission.STOP, None), (Permission.CUT, None)],
    )
    def test_the_guard_decides_what_it_may_do(self, guarded, permission, mode):
        assert guarded(Permission.TORQUE, 5 * SLICES) is CommandMode.POSITION
        assert guarded(permission, 30 * SLICES) is mode
        assert guarded(Permission.TORQUE, 5 * SLICES) is CommandMode.POSITION

    def test_a_cut_takes_the_current_off_within_a_slice(self, guarded):
        assert guarded(Permission.TORQUE, SLICES) is CommandMode.POSITION
        assert guarded(Permission.CUT, 1) is None

    def test_what_was_commanded_without_a_permit_is_not_made_up_for(self, guarded):
        guarded(Permission.STOP, SLICES)
        assert guarded(Permission.TORQUE, SLICES, commanded=False) is not CommandMode.POSITION

    @pytest.fixture
    def limp(self, tmp_path):
        """A hosted robot that was stopped and carries no current; runs slices under a permission and with an order."""
        boxes, permit = Mailboxes.new(), PermitMemory(tmp_path / "permit")
        with make_minitaur(0) as robot:
            host = RobotHost(robot, boxes, 1.0 / DT_S, permit)

            def run(permission: Permission | None, slices: int, packed=None) -> CommandMode | None:
                if packed is not None:
                    boxes.command.put(packed)
                for _ in range(slices):
                    if permission is not None:
                        permit.allow(permission, latched=False)
                    self.slices(host, 1)
                return robot.motor_mode

            run(Permission.TORQUE, SLICES, pack_command(stance(robot.spec)))
            assert run(Permission.TORQUE, 30 * SLICES, pack_order(STOP)) is None
            yield robot, run
        permit.close()

    @pytest.mark.parametrize("permission", [*Permission, None], ids=lambda p: p.name if p is not None else "no guard")
    def test_no_permission_gives_current_to_a_robot_without_any(self, limp, permission):
        _, run = limp
        if permission is None:
            time.sleep(1.1 * GUARD_SILENCE_S)
        assert run(permission, 2 * SLICES) is None
        assert run(Permission.TORQUE, 2 * SLICES) is None

    @pytest.mark.parametrize(("order", "slices"), [(STOP, 30 * SLICES), (CUT, 1)])
    def test_less_torque_is_obeyed_whatever_the_guard_allows(self, limp, order, slices):
        robot, run = limp
        assert run(Permission.TORQUE, SLICES, pack_command(stance(robot.spec))) is CommandMode.POSITION
        run(Permission.DAMPING, 1)
        assert run(Permission.DAMPING, slices, pack_order(order)) is None
        assert run(Permission.TORQUE, SLICES) is None

    @pytest.mark.parametrize("rate_hz", [25.0, 30.0, 40.0, 50.0, 125.0, 200.0, 500.0])
    def test_the_world_keeps_to_its_clock_at_any_rate(self, rate_hz):
        with make_minitaur(0) as robot:
            host = RobotHost(robot, Mailboxes.new(), rate_hz)
            begun_s = robot.time_s
            self.slices(host, round(rate_hz * SLICES))
            assert robot.time_s - begun_s == pytest.approx(1.0, abs=0.002)

    def test_an_explosion_is_told_once(self, hosted, monkeypatch):
        robot, boxes, host = hosted

        def explode(dt_s: float) -> None:
            raise SimulationError("now")

        with monkeypatch.context() as patched:
            patched.setattr(robot, "step", explode)
            self.slices(host, 1)
        self.slices(host, 1)
        assert boxes.reading.get(2)[1][1] == 1.0

    def test_a_driver_moves_by_itself_and_only_its_readings_are_given(self):
        class Driver:
            """What hardware offers, and no more."""

            def __init__(self, robot: FakeRobot) -> None:
                self.spec, self.read, self.write, self.stop = robot.spec, robot.read, robot.write, robot.stop

        boxes, robot = Mailboxes.new(), FakeRobot()
        host = RobotHost(Driver(robot), boxes, 1.0 / DT_S)
        robot.x_m = 1.25
        self.slices(host, 1)
        form = ReadingFormat(robot.spec)
        values = boxes.reading.get(form.width)[1]
        assert form.unpack(values, float(values[0])).base_position[0] == 1.25
        assert boxes.place.get(1)[0] == 0


class TestRobot:
    def test_it_is_a_robot_with_the_same_spec(self, shared):
        assert isinstance(shared, Robot)
        with make_minitaur(0) as here:
            np.testing.assert_equal(asdict(shared.spec), asdict(here.spec))

    def test_its_clock_goes_on_by_itself(self, shared):
        first, begun_s = shared.read().stamp_s, time.monotonic()
        time.sleep(0.4)
        passed_s = shared.read().stamp_s - first
        assert 0.2 < passed_s <= time.monotonic() - begun_s + 0.05

    def test_it_stands_up_and_is_healthy(self, shared):
        shared.place(Pose(position=(0.0, 0.0, 0.0)))
        clock = WallClock(DT_S)
        for _ in range(50):
            shared.write(stance(shared.spec))
            clock.tick()
        assert shared.read().base_position[2] > 0.12
        assert shared.health().ok

    def test_placing_it_shows_in_the_next_reading(self, shared):
        shared.place(Pose.standing(1.5, -1.0, 0.0))
        assert shared.read().base_position[:2] == pytest.approx([1.5, -1.0], abs=0.1)

    def test_a_robot_that_cannot_be_made_says_why(self):
        with pytest.raises(ValueError, match="unknown robot 'nobody'"):
            open_remote_robot(HostJob(name="nobody", seed=0, latency_ms=None), print)

    def test_dynamics_that_cannot_be_say_which(self):
        with pytest.raises(ValueError, match="joint_friction_nm=-1"):
            open_remote_robot(replace(JOB, dynamics={"joint_friction_nm": -1.0}), print)


@pytest.mark.parametrize(("again", "x_m"), [(True, 1.0), (False, 0.0)])
def test_a_simulated_robot_is_where_it_was_if_that_is_wanted(tmp_path, again, x_m):
    def opened(job: HostJob) -> RemoteSimulatedRobot:
        return open_remote_robot(job, lambda reason: pytest.fail(reason))

    job = replace(JOB, place=tmp_path / "place")
    first = opened(job)
    first.place(Pose.standing(1.0, 0.0, 0.0))
    first.close()
    second = opened(replace(job, again=again))
    assert second.read().base_position[0] == pytest.approx(x_m, abs=0.1)
    second.close()


class TestTrouble:
    def pid(self, robot: RemoteSimulatedRobot) -> int:
        pid = robot._link._process.pid
        assert pid is not None
        return pid

    def test_a_process_that_dies_is_started_again_where_the_robot_lay(self, own):
        robot, reasons = own
        robot.place(Pose.standing(1.0, 0.5, 0.0))
        until(lambda: robot.read().base_valid)
        last_s = robot.read().stamp_s
        os.kill(self.pid(robot), signal.SIGKILL)
        until(lambda: robot.read() and reasons)
        assert reasons == ["the robot's process ended and was started again"]
        assert not robot.health().ok
        begun = robot.read()
        until(lambda: robot.read() is not begun)
        assert robot.read().stamp_s > last_s
        assert robot.read().base_position[:2] == pytest.approx([1.0, 0.5], abs=0.1)
        until(lambda: robot.health().ok)

    def test_so_is_one_that_hangs(self, own):
        robot, reasons = own
        os.kill(self.pid(robot), signal.SIGSTOP)
        begun = robot.read()
        until(lambda: robot.read() and reasons)
        assert reasons == ["the robot's process was silent for 1 s and was started again"]
        until(lambda: robot.read() is not begun)

    def test_not_more_often_than_thrice_an_hour(self, own, monkeypatch):
        robot, reasons = own
        for _ in range(4):
            robot._link._restarts_s.append(time.monotonic())
        os.kill(self.pid(robot), signal.SIGKILL)
        stale = robot.read()
        for _ in range(20):
            time.sleep(0.01)
            stale = robot.read()
        assert robot.read() is stale
        assert reasons == []
        assert robot.health().problems == ("the robot's process does not answer",)
        robot.place(Pose.standing())  # a person is there
        assert robot.health().ok
        assert robot.read() is not stale

    def test_a_person_brings_one_back_that_hangs(self, own):
        robot, _ = own
        os.kill(self.pid(robot), signal.SIGSTOP)
        robot.place(Pose.standing(0.5, 0.0, 0.0))
        assert robot.read().base_position[0] == pytest.approx(0.5, abs=0.1)

    def test_a_client_that_is_gone_ends_the_host(self, own):
        robot, _ = own
        process = robot._link._process
        robot._link._connection.close()
        process.join(5.0)
        assert process.exitcode == 0
        robot._link._connection, _ = robot._link._context.Pipe()
