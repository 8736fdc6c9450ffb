"""How a robot comes to rest after an attempt."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from fakes import DT_S, FakeRobot

from agent.clock import SimulatedClock
from agent.config import SafetyConfig
from agent.loop import ControlLoop
from agent.postures import Postures
from agent.safety import ActionGate, Monitors
from sim.workspace import Workspace
from skills.decisions import DecisionController
from skills.gait import GAIT, MARCH_S
from skills.hand_control import HAND_FAMILY
from skills.pose_control import BODY
from skills.return_home import ReturnHome


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
