"""How a robot comes to rest after an attempt."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from fakes import DT_S, FakeRobot

from agent.attempts import Interrupt
from agent.clock import SimulatedClock
from agent.config import SafetyConfig
from agent.loop import ControlLoop
from agent.postures import PATIENCE_S, REST_S, SHUTDOWN_DAMPING_S, STANCE_RATE_RADPS, Postures
from agent.safety import ActionGate, Monitors
from agent.states import Event
from sim.minitaur import make_minitaur
from sim.robot import Command, CommandMode
from sim.workspace import Workspace
from skills.decisions import DecisionController
from skills.gait import GAIT, MARCH_S
from skills.hand_control import HAND_FAMILY
from skills.pose_control import BODY
from skills.return_home import ReturnHome
from skills.skill import Progress
from skills.stand_up import StandUp


@pytest.fixture
def loop():
    robot = FakeRobot()
    monitors = Monitors(robot.spec, Workspace(), SafetyConfig(), 50.0)
    return ControlLoop(robot, SimulatedClock(robot, DT_S), ActionGate(robot.spec, DT_S), monitors)


def controller(loop, family) -> DecisionController:
    """One that asks for as much as it may."""
    spec = loop.robot.spec
    most = np.ones(family.action_size(spec))
    out = DecisionController(family, family.actuator(spec, DT_S), lambda *_: most, 0.0 * most, decimation=2)
    out.start(loop.reading.observation)
    return out


class TestComingToRest:
    def test_a_walk_fades_into_a_march_that_goes_on_where_the_gait_was(self, loop):
        walk = controller(loop, GAIT)
        for _ in range(20):
            loop.tick(walk.act)
        before_s, phase_rad = loop.reading.robot_s, walk.phase_rad
        loop.tick(partial(walk.act_idle, action=np.zeros(GAIT.action_size(loop.robot.spec))))
        assert 0.0 < walk.phase_rad - phase_rad < 1.0
        assert walk.decision is not None
        assert walk.decision.sent.min() > 0.1
        Postures(loop, loop.tick).come_to_rest(walk)
        assert loop.reading.robot_s - before_s == pytest.approx(MARCH_S + DT_S)
        assert walk.decision is not None
        assert np.abs(walk.decision.sent).max() < 1e-3

    def test_a_scripted_walk_home_ends_so_too(self, loop):
        Postures(loop, loop.tick).come_to_rest(ReturnHome().controller(loop.robot.spec, DT_S))
        assert loop.reading.robot_s == pytest.approx(MARCH_S)

    @pytest.mark.parametrize("from_here", [True, False])
    def test_what_may_have_been_stopped_on_its_way_begins_from_where_it_is(self, loop, monkeypatch, from_here):
        walk, begun = controller(loop, GAIT), []
        monkeypatch.setattr(GAIT, "rests_from_here", from_here)
        monkeypatch.setattr(walk, "start", begun.append)
        here = loop.reading.observation
        Postures(loop, loop.tick).come_to_rest(walk)
        assert begun == ([here] if from_here else [])
        assert HAND_FAMILY.rests_from_here

    def test_what_needs_no_coming_to_rest_is_left_alone(self, loop):
        Postures(loop, loop.tick).come_to_rest(controller(loop, BODY))
        assert loop.reading.robot_s == 0.0


class TestStanding:
    @staticmethod
    def crouch(loop):
        """What a fall is caught by."""
        spec = loop.robot.spec
        command = Command(mode=CommandMode.POSITION, target=spec.stand_position_rad + 0.5, kp=spec.kp, kd=spec.kd)
        return lambda observation: command

    def test_a_robot_that_has_just_stood_for_so_long_does_not_do_so_again(self, loop):
        postures = Postures(loop, loop.tick)
        assert postures.stand(0.4).robot_s == pytest.approx(0.4)
        assert postures.stand(0.4).robot_s == pytest.approx(0.4 + DT_S)
        assert postures.stand(1.0).robot_s == pytest.approx(1.0)

    def test_one_that_did_something_else_meanwhile_stands_anew(self, loop):
        postures = Postures(loop, loop.tick)
        postures.stand(0.4)
        loop.tick(postures.damp)
        assert postures.stand(0.4).robot_s == pytest.approx(0.8 + DT_S)

    def test_so_does_one_that_was_interrupted_while_it_stood(self, loop):
        ticks = iter(range(10))

        def tick(act):
            if next(ticks, None) is None:
                raise Interrupt(Event.SIGTERM, "sigterm")
            return loop.tick(act)

        with pytest.raises(Interrupt):
            (postures := Postures(loop, tick)).stand(0.4)
        ticks = iter(range(100))
        assert postures.stand(0.4).robot_s == pytest.approx(10 * DT_S + 0.4)

    def test_time_in_which_a_fall_is_caught_does_not_count(self, loop):
        caught = iter([False] * 5 + [True] * 30)
        postures = Postures(loop, lambda act: loop.tick(self.crouch(loop)) if next(caught, False) else loop.tick(act))
        assert postures.stand(0.4).robot_s == pytest.approx(35 * DT_S + 0.4)
        crouched, again = (loop.robot.commands[number].target for number in (34, 35))
        np.testing.assert_allclose(again, crouched - STANCE_RATE_RADPS * DT_S)  # from where the legs are, slowly

    def test_one_that_cannot_stand_is_not_waited_for_for_ever(self, loop):
        postures = Postures(loop, lambda act: loop.tick(self.crouch(loop)))
        assert postures.stand(0.4).robot_s == pytest.approx(0.4 + PATIENCE_S)


def modes(loop):
    return [command.mode for command in loop.robot.commands]


class TestTakingRest:
    @pytest.fixture
    def resting(self, loop):
        """Of a robot that says where it rests."""
        spec = loop.robot.spec
        loop.robot.spec = replace(spec, rest_position_rad=spec.stand_position_rad + 0.7)
        return loop

    def test_the_legs_go_there_no_faster_than_to_the_stance(self, resting):
        Postures(resting, resting.tick).take_rest()
        targets = np.stack([command.target for command in resting.robot.commands])
        np.testing.assert_allclose(targets[-1], resting.robot.spec.rest_position_rad)
        assert np.abs(np.diff(targets, axis=0)).max() <= STANCE_RATE_RADPS * DT_S + 1e-9
        assert resting.reading.robot_s == pytest.approx(REST_S)

    def test_a_robot_that_does_not_care_stays_as_it_is(self, loop):
        Postures(loop, loop.tick).take_rest()
        assert loop.robot.commands == []

    def test_one_that_stands_takes_a_rest_before_it_is_let_go_and_one_that_lies_does_not(self, resting):
        Postures(resting, resting.tick).sit_down(1.6)
        n = round(REST_S / DT_S)
        assert modes(resting)[: n + 1] == [CommandMode.POSITION] * n + [CommandMode.DAMPING]
        assert resting.reading.robot_s == pytest.approx(REST_S + SHUTDOWN_DAMPING_S + DT_S)
        resting.robot.commands.clear()
        resting.robot.tilt_rad = 1.5
        resting.tick(None)
        Postures(resting, resting.tick).sit_down(1.6)
        assert CommandMode.POSITION not in modes(resting)


@pytest.mark.parametrize("weak", [None, 1, 6])
def test_a_minitaur_that_took_a_rest_is_up_again_at_once(weak):
    """From its stance it would sink onto its legs, and take ten seconds to a minute to get up."""
    with make_minitaur(3) as robot:
        if weak is not None:
            strength = [0.5 if motor == weak else 1.0 for motor in range(robot.spec.n_joints)]
            robot.set_dynamics(replace(robot.dynamics, motor_strength=tuple(strength)))
        monitors = Monitors(robot.spec, Workspace(), SafetyConfig(), 50.0)
        loop = ControlLoop(robot, SimulatedClock(robot, DT_S), ActionGate(robot.spec, DT_S), monitors)
        postures = Postures(loop, loop.tick)
        postures.stand(0.5)
        postures.take_rest()
        for _ in range(250):
            assert not loop.tick(None).alerts.fallen
        up = StandUp().controller(robot.spec, DT_S)
        up.start(loop.reading.observation)
        began_s = loop.reading.robot_s
        while up.progress(loop.reading.observation) is Progress.RUNNING:
            assert not loop.tick(up.act).alerts.saturated
            assert loop.reading.robot_s - began_s < 3.0
        assert robot.truth().base_position[2] > 0.9 * robot.spec.stand_height_m
