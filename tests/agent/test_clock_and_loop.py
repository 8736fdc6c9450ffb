"""Robot time without drift, deadlines of the wall clock, and the order of things in one control period."""

import numpy as np
import pytest
from fakes import DT_S, N_JOINTS, FakeRobot, FakeTime, observation

from agent import clock as clock_module
from agent.clock import SimulatedClock, WallClock
from agent.config import SafetyConfig
from agent.loop import ControlLoop, Lateness
from agent.safety import ActionGate, Monitors
from sim.robot import Command, CommandMode, Observation
from sim.workspace import Workspace


class Still:
    """A simulator that takes no time, or as long as it is told."""

    def __init__(self, time: FakeTime | None = None) -> None:
        self.costs_s: list[float] = []
        self.steps = 0
        self._time = time

    def step(self, dt_s: float) -> None:
        assert dt_s == DT_S
        self.steps += 1
        if self._time is not None and self.costs_s:
            self._time.sleep(self.costs_s.pop(0))


@pytest.fixture
def wall(monkeypatch):
    time = FakeTime()
    monkeypatch.setattr(clock_module, "time", time)
    return time


class TestClock:
    @pytest.mark.parametrize("start_s", [0.0, 3600.0, 86_400.5])
    def test_robot_time_has_no_drift(self, start_s):
        clock = SimulatedClock(Still(), DT_S, start_s=start_s)
        for _ in range(100_000):
            clock.tick()
        assert clock.now_s() == start_s + 2000.0

    def test_at_full_speed_nothing_is_late_and_nothing_waits(self, wall):
        simulator = Still(wall)
        simulator.costs_s = [1.0] * 5
        clock = SimulatedClock(simulator, DT_S)
        assert [clock.tick() for _ in range(5)] == [0.0] * 5
        assert simulator.steps == 5

    def test_in_real_time_a_tick_ends_at_its_deadline(self, wall):
        clock = SimulatedClock(Still(wall), DT_S, realtime=True)
        begun = wall.now_s
        late = [clock.tick() for _ in range(100)]
        assert wall.now_s - begun == pytest.approx(100 * DT_S, abs=1e-4)
        assert max(late) < 1e-4

    def test_lateness_is_measured_and_not_made_up_by_hurrying(self, wall):
        simulator = Still(wall)
        simulator.costs_s = [0.001, 0.001, 0.100, 0.001, 0.001]
        clock = SimulatedClock(simulator, DT_S, realtime=True)
        ends, late = [], []
        for _ in range(5):
            late.append(clock.tick())
            ends.append(wall.now_s)
        # The period that took 100 ms had 20 for it, and began on time.
        assert late[2] == pytest.approx(0.080, abs=1e-3)
        assert late[3] < 1e-3
        assert np.diff(ends)[2:] == pytest.approx([DT_S, DT_S], abs=1e-3)


class TestWallClock:
    def test_it_stands_until_the_first_tick_and_then_goes_with_the_wall(self, wall):
        clock = WallClock(DT_S, start_s=100.0)
        wall.sleep(5.0)
        assert clock.now_s() == 100.0
        for _ in range(50):
            clock.tick()
            wall.sleep(0.5 * DT_S)
        assert clock.now_s() == pytest.approx(100.0 + 50 * DT_S, abs=1e-3)

    def test_within_a_period_no_time_passes(self, wall):
        clock = WallClock(DT_S)
        clock.tick()
        before = clock.now_s()
        wall.sleep(0.5 * DT_S)
        assert clock.now_s() == before

    def test_what_was_missed_has_passed_and_is_not_made_up(self, wall):
        clock = WallClock(DT_S)
        late, ends = [], []
        for busy_s in (0.001, 0.001, 0.100, 0.001, 0.001):
            wall.sleep(busy_s)
            late.append(clock.tick())
            ends.append(clock.now_s())
        assert late[2] == pytest.approx(0.080, abs=1e-3)
        assert late[3] < 1e-3
        assert np.diff(ends) == pytest.approx([DT_S, 0.100, DT_S, DT_S], abs=1e-3)


class TestLateness:
    def test_nothing_seen(self):
        assert Lateness().summary(DT_S) == {
            "ticks": 0,
            "hz": 0.0,
            "late_ms_p50": 0.0,
            "late_ms_p99": 0.0,
            "late_ms_max": 0.0,
            "missed": 0,
        }

    def test_hand_computed(self):
        lateness = Lateness()
        for late_ms in (0.0, 1.0, 2.0, 3.0, 25.0):
            lateness.add(late_ms / 1e3)
        found = lateness.summary(DT_S)
        assert found["ticks"] == 5
        assert found["late_ms_p50"] == pytest.approx(2.0)
        assert found["late_ms_max"] == pytest.approx(25.0)
        assert found["missed"] == 1

    def test_the_ring_keeps_the_newest(self):
        lateness = Lateness(capacity=3)
        for late_s in (9.0, 9.0, 0.0, 0.0, 0.0):
            lateness.add(late_s)
        assert lateness.summary(DT_S)["late_ms_max"] == 0.0
        assert lateness.summary(DT_S)["ticks"] == 5


@pytest.fixture
def robot():
    return FakeRobot()


@pytest.fixture
def loop(robot):
    monitors = Monitors(robot.spec, Workspace(), SafetyConfig(), 50.0)
    return ControlLoop(robot, SimulatedClock(robot, DT_S), ActionGate(robot.spec, DT_S), monitors)


def stand(reading: Observation) -> Command:
    return Command(mode=CommandMode.POSITION, target=reading.joint_position, kp=1.0, kd=0.02)


class TestLoop:
    def test_a_period_reads_acts_gates_writes_and_waits(self, robot, loop):
        seen = []

        def act(reading: Observation) -> Command:
            robot.calls.append("act")
            seen.append(reading.stamp_s)
            return Command(mode=CommandMode.POSITION, target=np.full(N_JOINTS, np.nan), kp=1.0, kd=0.0)

        for _ in range(3):
            loop.tick(act)
        assert robot.calls == ["read", *["act", "write", "step", "read"] * 3]
        assert seen == pytest.approx([0.0, 0.02, 0.04])
        assert all(sent.mode is CommandMode.DAMPING for sent in robot.commands)

    def test_it_acts_on_the_newest_reading(self, loop):
        before = loop.reading
        after = loop.tick(stand)
        assert loop.reading is after
        assert after.robot_s == pytest.approx(before.robot_s + DT_S)
        assert after.observation.stamp_s == pytest.approx(DT_S)

    def test_sequence_numbers_rise_by_one_also_across_a_stop(self, robot, loop):
        for act in (stand, stand, None, None, stand, stand):
            loop.tick(act)
        assert [sent.sequence for sent in robot.commands] == [1, 2, 3, 4]

    def test_stop_is_called_once_while_limp_and_again_after_a_command(self, robot, loop):
        for act in (None, None, None):
            loop.tick(act)
        assert robot.calls.count("stop") == 1
        for act in (stand, None, None):
            loop.tick(act)
        assert robot.calls.count("stop") == 2

    def test_after_a_stop_targets_are_limited_against_the_measured_position(self, robot, loop):
        loop.tick(lambda _: Command(mode=CommandMode.POSITION, target=np.full(N_JOINTS, 0.7), kp=1.0, kd=0.0))
        loop.tick(None)
        robot._joints = np.full(N_JOINTS, -1.0)
        loop.tick(None)
        loop.tick(lambda _: Command(mode=CommandMode.POSITION, target=np.full(N_JOINTS, 2.0), kp=1.0, kd=0.0))
        np.testing.assert_allclose(robot.commands[-1].target, -1.0 + 10.0 * DT_S)

    def test_refresh_forgets_old_readings_and_lets_no_time_pass(self, robot, loop):
        for _ in range(10):
            loop.tick(stand)
        now_s = loop.reading.robot_s
        robot.ticks = 2  # the sensors were started again: stamps go back
        robot.x_m = 1.0
        assert loop.tick(None).observation.base_position[0] == 0.0
        fresh = loop.refresh()
        assert fresh.observation.base_position[0] == 1.0
        assert fresh.robot_s == pytest.approx(now_s + DT_S)
        assert not fresh.alerts.sensor_fault

    def test_a_fault_of_the_sensors_shows_in_the_tick(self, robot, loop):
        robot.spoil = lambda _: observation(0.0)
        faults = [loop.tick(stand).alerts.sensor_fault for _ in range(6)]
        assert faults == [False] * 4 + [True] * 2
