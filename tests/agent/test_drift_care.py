"""What a run makes to look after a robot that may drift."""

import pytest
from fakes import FakeRobot

from agent import drift_care as made_of
from agent.config import LearnerConfig
from agent.drift_care import can_be_made_up_for, drift_care
from agent.notes import Notes
from agent.robots import load_robot
from persistence.home import Home
from persistence.writer import StoreWriter


@pytest.mark.parametrize("named", [True, False])
def test_check_ups_decide_about_sensors_where_they_name_what_has_drifted(named, monkeypatch, tmp_path):
    told, monitor = {}, made_of.DriftMonitor
    monkeypatch.setattr(made_of, "DriftMonitor", lambda spec, **rest: told.update(rest) or monitor(spec, **rest))
    robot = can_be_made_up_for(load_robot("minitaur", 0) if named else FakeRobot())
    home = Home(tmp_path / "home")
    home.prepare()
    with StoreWriter(home.db) as writer:
        care = drift_care(robot, 0.02, "walk", LearnerConfig(), writer, Notes())
    assert (care.checkups is not None) == told["checked_up"] == named
    assert care.watch is not None
    assert care.ladder is not None
    if named:
        robot.close()
